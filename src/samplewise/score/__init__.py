"""What a row is worth: scores that any selector can choose by."""

from samplewise.rooms import open_door
from samplewise.score.base import Scorer, score

__all__ = ["Scorer", "score"]

open_door(__name__)
