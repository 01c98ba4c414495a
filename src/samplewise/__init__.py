"""Samplewise decides what to draw next, and gets the most out of a budget.

>>> import samplewise as sw
>>> pool = sw.Pool.from_rows([{"text": f"row {i}", "score": i} for i in range(20)])
>>> len(sw.select(pool, budget="25%", method="random", rng=0).indices)
5
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samplewise.rooms import lazily

if TYPE_CHECKING:
    from samplewise.answer import Answers, answer, answer_async
    from samplewise.budget import Budget
    from samplewise.decode import Decoding, decode
    from samplewise.jobs.comparison import Comparison, compare
    from samplewise.ledger import Ledger
    from samplewise.mix import mix
    from samplewise.pool import Pool
    from samplewise.registry import make as method
    from samplewise.registry import methods
    from samplewise.score import score
    from samplewise.select import Selection, select
    from samplewise.train import train

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
    "mix",
    "score",
    "select",
    "train",
]
__version__ = "0.1.0"

__getattr__ = lazily(
    __name__,
    {
        "Answers": "answer.base",
        "answer": "answer.base",
        "answer_async": "answer.base",
        "Budget": "budget",
        "Comparison": "jobs.comparison",
        "Decoding": "decode.decoding",
        "Ledger": "ledger",
        "Pool": "pool",
        "Selection": "select.base",
        "compare": "jobs.comparison",
        "decode": "decode.decoding",
        "method": "registry:make",
        "methods": "registry",
        "mix": "mix.base",
        "score": "score.base",
        "select": "select.base",
        "train": "train.base",
    },
)
