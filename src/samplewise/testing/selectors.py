"""What every method that chooses rows must do; run it on a method of your own.

>>> from samplewise.registry import find
>>> from samplewise.testing import check_selector
>>> check_selector(find("random"))
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import pickle
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from samplewise.budget import BudgetLike
from samplewise.engine.base import Engine
from samplewise.pool import Pool
from samplewise.select.base import Selection, Selector, select
from samplewise.testing.common import (
    Backwards,
    check_bad_knobs,
    check_names,
    found_elsewhere,
    leaves_global_state,
    refused,
)

__all__ = ["check_selector", "sample_pool", "selector_checks"]

T = TypeVar("T")
R = TypeVar("R")
Check = Callable[[Selector], None]

_ROWS = 240


def check_selector(method: Selector | type[Selector]) -> None:
    """Run every check of the room on a method.

    Parameters
    ----------
    method : Selector or type
        A method, or its class, which is then made with its default knobs.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says how.
    """
    made = method if isinstance(method, Selector) else method()
    for check in selector_checks():
        check(made)


def selector_checks() -> list[Check]:
    """Give the checks one by one, for a parametrised test."""
    return [
        check_names,
        check_budget,
        check_extreme_budgets,
        check_same_seed,
        check_other_process,
        check_other_engine,
        check_other_seed,
        check_global_state,
        check_input_is_left_alone,
        check_copies,
        check_duplicates,
        check_memory,
        check_needs,
        check_bad_knobs,
        check_bad_requests,
    ]


def sample_pool(rows: int = _ROWS, dimensions: int = 8, *, without: Sequence[str] = ()) -> Pool:
    """Make a pool with vectors, texts, labels, scores and a target; `without` leaves some out.

    Parameters
    ----------
    rows, dimensions : int
    without : sequence of {'text', 'groups', 'score', 'target'}
    """
    rng = np.random.default_rng(12)
    centres = rng.normal(size=(6, dimensions))
    owner = rng.integers(0, len(centres), rows)
    columns: dict[str, Any] = {
        "text": [f"row {row} of blob {blob}" for row, blob in enumerate(owner.tolist())],
        "groups": [f"blob {blob}" for blob in owner.tolist()],
        "score": np.exp(rng.normal(size=rows)),
    }
    for column in without:
        columns.pop(column, None)
    vectors = (centres[owner] + 0.3 * rng.normal(size=(rows, dimensions))).astype(np.float32)
    pool = Pool.from_arrays(vectors, columns.pop("groups", None), **columns)
    if "target" in without:
        return pool
    aim = (centres[1] + 0.3 * rng.normal(size=(20, dimensions))).astype(np.float32)
    texts = [f"row {row} of blob 1" for row in range(len(aim))]
    return pool.with_target(Pool.from_arrays(aim, text=texts))


def check_budget(method: Selector) -> None:
    """Check that it chooses exactly what the budget buys: rows that exist, each once."""
    pool = sample_pool()
    for budget, count in ((1, 1), (7, 7), ("5%", 12), (100, 100)):
        selection = _select(method, pool, budget)
        _well_formed(selection, count)


def check_extreme_budgets(method: Selector) -> None:
    """Check a budget of all rows, one of more, and a pool of one row."""
    pool = sample_pool(30)
    for budget in (30, "100%", 1_000):
        selection = _select(method, pool, budget)
        _well_formed(selection, 30)
    _well_formed(_select(method, sample_pool(1), 1), 1)


def check_same_seed(method: Selector) -> None:
    """Check that the same seed gives the same rows, in the same order."""
    pool = sample_pool()
    first, second = (_select(method, pool, 20) for _ in range(2))
    assert _digest(first) == _digest(second), f"{method.name} gave other rows for the same seed"


def check_other_process(method: Selector) -> None:
    """Check that it chooses the same in another process with another hash seed."""
    there = found_elsewhere(
        method, "selectors", "s._digest(s._select(method, s.sample_pool(), 20))"
    )
    here = _digest(_select(method, sample_pool(), 20))
    assert there == here, f"{method.name} differs in another process"


def check_other_engine(method: Selector) -> None:
    """Check that it chooses the same on an engine that pickles all and works backwards."""
    pool = sample_pool()
    elsewhere = _select(method, pool, 20, engine=Backwards())
    assert _digest(elsewhere) == _digest(_select(method, pool, 20)), (
        f"{method.name} differs on another engine"
    )


def check_other_seed(method: Selector) -> None:
    """Check that another seed gives other rows, unless the docstring says "deterministic"."""
    pool = sample_pool()
    found = {_digest(_select(method, pool, 20, rng=seed)) for seed in range(4)}
    deterministic = "deterministic" in (type(method).__doc__ or "").lower()
    assert deterministic or len(found) > 1, (
        f"{method.name} ignores its seed; if that is meant, say 'deterministic' in its docstring"
    )


def check_global_state(method: Selector) -> None:
    """Check that it neither uses nor moves the global random states of Python and NumPy."""
    pool = sample_pool()
    leaves_global_state(method, lambda: _digest(_select(method, pool, 20)))


def check_input_is_left_alone(method: Selector) -> None:
    """Check that it leaves the pool as it is, and gives out none of its memory."""
    pool = sample_pool()
    assert pool.embeddings is not None
    assert pool.score is not None
    pool.embeddings.setflags(write=False)
    before = pool.embeddings.copy(), pool.score.copy()
    selection = _select(method, pool, 20)
    assert np.array_equal(pool.embeddings, before[0]), f"{method.name} changed the vectors"
    assert np.array_equal(pool.score, before[1]), f"{method.name} changed the scores"
    given = [selection.indices, selection.weights, *selection.columns.values()]
    for held in (pool.embeddings, pool.score, pool.line):
        assert not any(np.shares_memory(held, array) for array in given), (
            f"{method.name} gave out the pool's own memory"
        )


def check_copies(method: Selector) -> None:
    """Check that pickled, copied or rebuilt from its knobs it is the same method."""
    pool = sample_pool()
    expected = _digest(_select(method, pool, 20))
    rebuilt = type(method)(**method.settings())
    for other in (pickle.loads(pickle.dumps(method)), copy.deepcopy(method), rebuilt):
        assert other == method, f"{method.name} is not equal to its copy"
        assert _digest(_select(other, pool, 20)) == expected, f"a copy of {method.name} differs"


def check_duplicates(method: Selector) -> None:
    """Check that it copes with rows that are all the same."""
    pool = Pool.from_arrays(
        np.ones((40, 5), np.float32), ["a"] * 40, ["same text"] * 40, np.full(40, 2.0)
    ).with_target(Pool.from_arrays(np.ones((3, 5), np.float32), text=["same text"] * 3))
    _well_formed(_select(method, pool, 15), 15)


def check_memory(method: Selector) -> None:
    """Check that it holds no matrix of rows by rows: of 8,000 rows it would take 256 MB."""
    pool = sample_pool(8_000, 16)
    _select(method, pool, 8)
    tracemalloc.start()
    _select(method, pool, 80)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 128 << 20, f"{method.name} held {peak >> 20} MB for 8,000 rows"


def check_needs(method: Selector) -> None:
    """Check that it names what a pool lacks, before any work is done."""
    if "score" in method.needs:
        with refused(method, "score"):
            _select(method, sample_pool(without=["score"]), 5)
        pool = sample_pool()
        assert pool.score is not None
        broken = dataclasses.replace(pool, score=np.where(np.arange(_ROWS) == 3, np.nan, 0.0))
        with refused(method, "score"):
            _select(method, broken, 5)
    if "groups" in method.needs:
        with refused(method, "source"):
            _select(method, sample_pool(without=["groups"]), 5)
    if "target" in method.needs:
        with refused(method, "target"):
            _select(method, sample_pool(without=["target"]), 5)
    if "outcomes" in method.needs:
        with refused(method, "outcome"):
            select(sample_pool(), 5, method, rng=0)
        with refused(method, "outcome"):
            select(sample_pool(), 5, method, rng=0, outcome=lambda pool, draws: [np.nan])


def check_bad_requests(method: Selector) -> None:
    """Check that it refuses budgets that make no sense, and knobs it does not have."""
    pool = sample_pool()
    for budget, word in ((0, "budget"), ("200%", "budget"), ("abc", "budget"), ("$5", "dollars")):
        with refused(method, word):
            _select(method, pool, budget)
    with refused(method, "knob"):
        select(pool, 5, method, no_such_knob=1)
    with refused(method, "rng"):
        _select(method, pool, 5, rng=-1)


def _select(
    method: Selector, pool: Pool, budget: BudgetLike, *, rng: int = 0, engine: Engine | None = None
) -> Selection:
    outcome = _outcome if "outcomes" in method.needs else None
    return select(pool, budget, method, rng=rng, engine=engine or "local", outcome=outcome)


def _outcome(pool: Pool, draws: NDArray[np.int64]) -> NDArray[np.float64]:
    return 1.0 + (draws % 5).astype(np.float64)


def _well_formed(selection: Selection, count: int) -> None:
    name, rows = selection.method.name, len(selection.pool)
    indices, weights = selection.indices, selection.weights
    assert len(indices) == count, f"{name} chose {len(indices)} rows of {rows}, not {count}"
    assert indices.dtype == np.int64, f"{name} gave {indices.dtype} for indices"
    assert indices.min() >= 0, f"{name} chose a row below 0"
    assert indices.max() < rows, f"{name} chose row {indices.max()} of {rows}"
    if not selection.method.repeats:
        assert len(np.unique(indices)) == count, f"{name} chose a row twice"
    assert weights.shape == indices.shape, f"{name} gave {len(weights)} weights"
    assert np.isfinite(weights).all(), f"{name} gave a weight that is not finite"
    assert (weights > 0).all(), f"{name} gave a weight of 0 or less"
    for column, values in selection.columns.items():
        assert len(values) == rows, f"{name}: column {column!r} has {len(values)} values"
    assert selection.scores.num_rows == rows


def _digest(selection: Selection) -> str:
    """Hash what was chosen and what was known: rows, order, weights and columns."""
    digest = hashlib.sha256(selection.indices.tobytes() + selection.weights.tobytes())
    for name, values in sorted(selection.columns.items()):
        content = np.ascontiguousarray(values)
        digest.update(name.encode() + str(content.dtype).encode())
        digest.update(repr(content.tolist()).encode() if content.dtype == object else content.data)
    return digest.hexdigest()
