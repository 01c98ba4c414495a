"""Losses and loops that learn from what was drawn."""

from __future__ import annotations

from samplewise.rooms import open_door
from samplewise.train.base import Learner, Loop, Rollout, Task, train

__all__ = ["Learner", "Loop", "Rollout", "Task", "train"]

open_door(__name__)
