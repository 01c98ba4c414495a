"""Samplewise decides what to draw next, and gets the most out of a budget.

>>> import samplewise as sw
>>> pool = sw.Pool.from_rows([{"text": f"row {i}", "score": i} for i in range(20)])
>>> len(sw.select(pool, budget="25%", method="random", rng=0).indices)
5
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplewise.answer import Answers, answer, answer_async
    from samplewise.budget import Budget
    from samplewise.decode import Decoding, decode
    from samplewise.jobs.comparison import Comparison, compare
    from samplewise.ledger import Ledger
    from samplewise.pool import Pool
    from samplewise.registry import make as method
    from samplewise.registry import methods
    from samplewise.score import score
    from samplewise.select import Selection, select

__all__ = [
    "Answers",
    "Budget",
    "Comparison",
    "Decoding",
    "Ledger",
    "Pool",
    "Selection",
    "__version__",
    "answer",
    "answer_async",
    "compare",
    "decode",
    "method",
    "methods",
    "score",
    "select",
]
__version__ = "0.1.0"

_HOMES = {
    "Answers": ("answer.base", "Answers"),
    "answer": ("answer.base", "answer"),
    "answer_async": ("answer.base", "answer_async"),
    "Budget": ("budget", "Budget"),
    "Comparison": ("jobs.comparison", "Comparison"),
    "Ledger": ("ledger", "Ledger"),
    "Pool": ("pool", "Pool"),
    "Selection": ("select.base", "Selection"),
    "compare": ("jobs.comparison", "compare"),
    "Decoding": ("decode.decoding", "Decoding"),
    "decode": ("decode.decoding", "decode"),
    "method": ("registry", "make"),
    "methods": ("registry", "methods"),
    "score": ("score.base", "score"),
    "select": ("select.base", "select"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the package itself imports fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(f"samplewise.{module}"), attribute)
    globals()[name] = value
    return value
