"""Which whole answers to draw, verify and keep: a room of methods, and a door to call."""

from samplewise.answer.base import (
    Answer,
    Answers,
    Judge,
    Kept,
    Prompted,
    Strategy,
    answer,
    answer_async,
    export_samples,
    solve_all,
)
from samplewise.answer.draws import Draws, Meter, Origin, Sampling
from samplewise.answer.problems import problems_of, read_problems
from samplewise.rooms import open_door

__all__ = [
    "Answer",
    "Answers",
    "Draws",
    "Judge",
    "Kept",
    "Meter",
    "Origin",
    "Prompted",
    "Sampling",
    "Strategy",
    "answer",
    "answer_async",
    "export_samples",
    "problems_of",
    "read_problems",
    "solve_all",
]

open_door(__name__)
