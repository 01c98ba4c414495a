"""How often each row, source, skill or group is drawn, and how a sampling budget is split."""

from __future__ import annotations

from samplewise.mix.base import Allocation, Allocator, Draws, Mixer, Sources, Stream, mix
from samplewise.rooms import open_door

__all__ = ["Allocation", "Allocator", "Draws", "Mixer", "Sources", "Stream", "mix"]

open_door(__name__)
