"""What every method that scores rows must do; run it on a method of your own.

>>> from samplewise.registry import find
>>> from samplewise.testing import check_scorer
>>> check_scorer(find("el2n", "score")(epochs=2))
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.engine.base import Engine
from samplewise.pool import Pool
from samplewise.score.base import Scorer, score
from samplewise.testing.common import (
    Backwards,
    check_bad_knobs,
    check_names,
    found_elsewhere,
    leaves_global_state,
    refused,
)
from samplewise.testing.selectors import sample_pool

__all__ = ["check_scorer", "scorer_checks"]

Check: TypeAlias = Callable[[Scorer], None]
Floats: TypeAlias = NDArray[np.float64]

_ROWS = 240
_FEW = 12  # for a method that is slow


def check_scorer(method: Scorer | type[Scorer]) -> None:
    """Run every check of the room on a method.

    A method that sets `slow` is given a dozen rows, and its memory is not measured.

    Parameters
    ----------
    method : Scorer or type
        A method, or its class, which is then made with its default knobs.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says how.
    """
    made = method if isinstance(method, Scorer) else method()
    for check in scorer_checks():
        check(made)


def scorer_checks() -> list[Check]:
    """Give the checks one by one, for a parametrised test."""
    return [
        check_names,
        check_scores,
        check_same_seed,
        check_other_process,
        check_other_engine,
        check_global_state,
        check_input_is_left_alone,
        check_copies,
        check_duplicates,
        check_memory,
        check_needs,
        check_bad_knobs,
        check_bad_requests,
    ]


def check_scores(method: Scorer) -> None:
    """Check that it gives one finite number a row, and copes with a pool of one row."""
    for rows in (1, _FEW) if method.slow else (1, 2, _FEW, _ROWS):
        _well_formed(method, _pool(method, rows))


def check_same_seed(method: Scorer) -> None:
    """Check that the same seed gives the same scores."""
    pool = _pool(method)
    first, second = (_digest(_score(method, pool)) for _ in range(2))
    assert first == second, f"{method.name} gave other scores for the same seed"


def check_other_process(method: Scorer) -> None:
    """Check that it scores the same in another process with another hash seed."""
    there = found_elsewhere(method, "scorers", "s._digest(s._score(method, s._pool(method)))")
    here = _digest(_score(method, _pool(method)))
    assert there == here, f"{method.name} differs in another process"


def check_other_engine(method: Scorer) -> None:
    """Check that it scores the same on an engine that pickles all and works backwards."""
    pool = _pool(method)
    elsewhere = _score(method, pool, engine=Backwards())
    assert _digest(elsewhere) == _digest(_score(method, pool)), (
        f"{method.name} differs on another engine"
    )


def check_global_state(method: Scorer) -> None:
    """Check that it neither uses nor moves the global random states of Python and NumPy."""
    pool = _pool(method)
    leaves_global_state(method, lambda: _digest(_score(method, pool)))


def check_input_is_left_alone(method: Scorer) -> None:
    """Check that it leaves the pool as it is, and gives out none of its memory."""
    pool = _pool(method)
    assert pool.embeddings is not None
    assert pool.score is not None
    assert pool.classes is not None
    held: tuple[NDArray[Any], ...] = (
        pool.embeddings,
        pool.score,
        pool.classes.codes,
        pool.line,
    )
    before = [array.copy() for array in held]
    pool.embeddings.setflags(write=False)
    pool.score.setflags(write=False)
    given = _raw(method, pool)
    for array, old in zip(held, before, strict=True):
        assert np.array_equal(array, old), f"{method.name} changed its pool"
        assert not np.shares_memory(array, given), f"{method.name} gave out the pool's own memory"


def check_copies(method: Scorer) -> None:
    """Check that pickled, copied or rebuilt from its knobs it is the same method."""
    pool = _pool(method)
    expected = _digest(_score(method, pool))
    rebuilt = type(method)(**method.settings())
    others = [pickle.loads(pickle.dumps(method)), copy.deepcopy(method), rebuilt]
    for other in others:
        assert other == method, f"{method.name} is not equal to its copy"
    for other in others[:1] if method.slow else others:
        assert _digest(_score(other, pool)) == expected, f"a copy of {method.name} differs"


def check_duplicates(method: Scorer) -> None:
    """Check that it copes with rows that are all the same, and of one class."""
    rows = _FEW if method.slow else 40
    vectors = np.ones((rows, 5), np.float32)
    pool = Pool.from_arrays(vectors, ["a"] * rows, ["same text"] * rows, np.zeros(rows))
    _well_formed(method, _answered(pool) if "response" in method.needs else pool)


def check_memory(method: Scorer) -> None:
    """Check that it holds no matrix of rows by rows: of 8,000 rows it would take 256 MB."""
    if method.slow:
        return
    pool = sample_pool(8_000, 16)
    tracemalloc.start()
    _score(method, pool)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 128 << 20, f"{method.name} held {peak >> 20} MB for 8,000 rows"


def check_needs(method: Scorer) -> None:
    """Check that it names what a pool lacks, before any work is done."""
    if "text" in method.needs:
        with refused(method, "text"):
            _score(method, sample_pool(_FEW, without=["text"]))
    if "response" in method.needs:
        with refused(method, "response"):
            _score(method, sample_pool(_FEW))
    if "groups" in method.needs:
        with refused(method, "label"):
            _score(method, sample_pool(_FEW, without=["groups"]))
    if "embeddings" in method.needs:
        bare = sample_pool(_FEW, without=["text"])
        with refused(method, "text"):  # there is nothing to make vectors of
            _score(method, dataclasses.replace(bare, embeddings=None))


def check_bad_requests(method: Scorer) -> None:
    """Check that it refuses knobs it does not have, and a seed that is none."""
    pool = _pool(method, _FEW)
    with refused(method, "knob"):
        score(pool, method, no_such_knob=1)
    with refused(method, "rng"):
        score(pool, method, rng=-1)


def _pool(method: Scorer, rows: int | None = None) -> Pool:
    pool = sample_pool(rows or (_FEW if method.slow else _ROWS))
    return _answered(pool) if "response" in method.needs else pool


def _answered(pool: Pool) -> Pool:
    """Give the pool's rows a response each; the text that they had becomes the prompt."""
    assert pool.embeddings is not None
    assert pool.label is not None
    assert pool.score is not None
    rows = [
        {"prompt": text, "response": f"answer {row % 3}", "label": label, "score": score}
        for row, (text, label, score) in enumerate(
            zip(
                pool.texts(np.arange(len(pool))),
                [pool.label.names[code] for code in pool.label.codes],
                pool.score.tolist(),
                strict=True,
            )
        )
    ]
    return Pool.from_rows(rows).with_embeddings(pool.embeddings)


def _score(method: Scorer, pool: Pool, engine: Engine | None = None) -> Floats:
    scored = score(pool, method, rng=0, engine=engine or "local").score
    assert scored is not None
    return scored


def _raw(method: Scorer, pool: Pool) -> Floats:
    """Score as the method does, before the base checks and copies."""
    from samplewise.engine import make_engine
    from samplewise.progress import Silent

    return method.score(pool, np.random.default_rng(0), make_engine("local"), Silent())


def _well_formed(method: Scorer, pool: Pool) -> None:
    given = _raw(method, pool)
    assert isinstance(given, np.ndarray), f"{method.name} gave {type(given).__name__}"
    assert given.shape == (len(pool),), f"{method.name} gave {given.shape} for {len(pool)} rows"
    assert given.dtype == np.float64, f"{method.name} gave {given.dtype}"
    assert np.isfinite(given).all(), f"{method.name} gave a score that is not finite"


def _digest(values: Floats) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()
