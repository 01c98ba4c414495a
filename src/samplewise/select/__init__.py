"""Which rows to train on."""

from samplewise.rooms import open_door
from samplewise.select.base import Selection, Selector, select

__all__ = ["Selection", "Selector", "select"]

open_door(__name__)
