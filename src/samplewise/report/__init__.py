"""One self-contained HTML file from a run."""

from samplewise.report.answers import summarise_answers
from samplewise.report.decoding import summarise_decoding
from samplewise.report.methods import Run, summarise_methods
from samplewise.report.render import render, render_page
from samplewise.report.selection import summarise
from samplewise.report.strategies import summarise_strategies
from samplewise.report.training import Beside, Draws, summarise_training

__all__ = [
    "Beside",
    "Draws",
    "Run",
    "render",
    "render_page",
    "summarise",
    "summarise_answers",
    "summarise_decoding",
    "summarise_methods",
    "summarise_strategies",
    "summarise_training",
]
