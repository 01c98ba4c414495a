"""One self-contained HTML file from a run."""

from samplewise.report.render import render
from samplewise.report.selection import summarise

__all__ = ["render", "summarise"]
