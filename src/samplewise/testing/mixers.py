"""The contract of every method that says how often something is drawn."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from samplewise.errors import UsageError
from samplewise.mix.base import Allocator, Draws, Mix, Mixer, Sources
from samplewise.testing.common import (
    check_bad_knobs,
    check_names,
    found_elsewhere,
    leaves_global_state,
)

__all__ = ["check_mix", "digest", "mix_checks"]

_SIZES, _TOTAL = (23, 9, 5, 1), 120


def mix_checks(kind: str) -> list[Callable[[Any], None]]:
    """List the checks that every method of a kind must pass, each a function of a method."""
    every = [
        check_names,
        check_bad_knobs,
        _pickles,
        _same_seed_same_result,
        _same_in_another_process,
        _global_state,
    ]
    own: dict[str, list[Callable[[Any], None]]] = {
        "mixer": [
            _other_seed,
            _draws_rows_of_their_sources,
            _labels_give_rows_back,
            _any_range_is_the_same,
            _goes_on_from_anywhere,
            _processes_share_one_order,
            _leaves_sources_alone,
            _one_row_is_drawn_or_refused,
            _refuses_bad_numbers,
        ],
        "allocator": [_splits_exactly, _one_group_gets_all, _state_goes_round, _refuses_no_group],
    }
    return every + own[kind]


def check_mix(method: Mix) -> None:
    """Run every check on one method.

    Raises
    ------
    AssertionError
        If it breaks the contract.
    """
    for check in mix_checks(method.kind):
        check(method)


def digest(method: Any, seed: int = 0) -> str:
    """Hash what a method draws, or how it splits."""
    if isinstance(method, Mixer):
        drawn = _start(method, seed).draw(_TOTAL)
        made = repr([part.tolist() for part in drawn])
    else:
        made = repr(method.start(5, rng=seed).ask(17).tolist())
    return hashlib.blake2b(made.encode()).hexdigest()


def _start(method: Mixer, seed: int = 0, **more: Any) -> Any:
    sources = Sources.of(dict(zip("abcd", _SIZES, strict=True)))
    return method.start(sources, rng=seed, total=_TOTAL, **more)


def _same(first: Draws, second: Draws, message: str) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=message)


# --- all ------------------------------------------------------------------------------------------


def _pickles(method: Mix) -> None:
    assert pickle.loads(pickle.dumps(method)) == method


def _same_seed_same_result(method: Mix) -> None:
    assert digest(method) == digest(method), f"{method.name} is not decided by the seed"


def _same_in_another_process(method: Mix) -> None:
    there = found_elsewhere(method, "mixers", "s.digest(method)")
    assert there == digest(method), f"{method.name} differs in another process"


def _global_state(method: Mix) -> None:
    leaves_global_state(method, lambda: digest(method))


# --- mixers ---------------------------------------------------------------------------------------


def _other_seed(method: Mixer) -> None:
    assert digest(method, 0) != digest(method, 1), f"{method.name} does not heed the seed"


def _draws_rows_of_their_sources(method: Mixer) -> None:
    drawn = _start(method).draw(_TOTAL)
    first = np.concatenate([[0], np.cumsum(_SIZES)])
    assert drawn.indices.dtype == drawn.sources.dtype == np.int64
    assert drawn.weights.dtype == np.float64
    assert len(drawn.indices) == len(drawn.sources) == len(drawn.weights) == _TOTAL
    assert (drawn.indices >= first[drawn.sources]).all(), f"{method.name}: row of another source"
    assert (drawn.indices < first[drawn.sources + 1]).all(), f"{method.name}: row of another source"
    assert (drawn.weights > 0).all()
    assert np.isfinite(drawn.weights).all()


def _labels_give_rows_back(method: Mixer) -> None:
    labels = np.repeat(list("abcd"), _SIZES)
    shuffle = np.random.default_rng(3).permutation(len(labels))
    sources = Sources.of(labels=labels[shuffle])
    drawn = method.start(sources, rng=0, total=_TOTAL).draw(_TOTAL)
    named = np.asarray(sources.names)[drawn.sources]
    assert (labels[shuffle][drawn.indices] == named).all(), f"{method.name}: row of another label"


def _any_range_is_the_same(method: Mixer) -> None:
    stream = _start(method)
    whole = stream.between(0, _TOTAL)
    for start, stop in ((60, 90), (3, 60), (0, 1), (89, 120), (50, 50)):
        part = Draws(*(column[start:stop] for column in whole))
        _same(stream.between(start, stop), part, f"{method.name}: draws {start} to {stop} differ")
    assert stream.position == 0, f"{method.name}: to look ahead moves the stream"


def _goes_on_from_anywhere(method: Mixer) -> None:
    whole = _start(method).draw(_TOTAL)
    for stop in (0, 1, 37, 64):
        stream = _start(method)
        stream.draw(stop)
        state = json.loads(json.dumps(stream.state_dict()))
        again = _start(method, seed=99)
        again.load_state_dict(state)
        rest = Draws(*(column[stop:] for column in whole))
        _same(again.draw(_TOTAL - stop), rest, f"{method.name}: a state of {stop} goes on wrongly")


def _processes_share_one_order(method: Mixer) -> None:
    whole = _start(method).draw(_TOTAL)
    for rank in range(3):
        stream = _start(method, rank=rank, world_size=3)
        first, then = stream.draw(7), stream.draw(_TOTAL // 3 - 7)
        found = Draws(*map(np.concatenate, zip(first, then, strict=True)))
        own = Draws(*(column[rank::3] for column in whole))
        _same(found, own, f"{method.name}: process {rank} of 3 draws otherwise")


def _leaves_sources_alone(method: Mixer) -> None:
    sources = Sources.of(list(_SIZES))
    before = sources.sizes.copy()
    method.start(sources, rng=0, total=_TOTAL).draw(50)
    assert (sources.sizes == before).all(), f"{method.name} changes the sources"


def _one_row_is_drawn_or_refused(method: Mixer) -> None:
    try:
        stream = method.start(Sources.of(1), rng=0, total=10)
    except UsageError:  # a share of one row may be none
        return
    assert (stream.draw(10).indices == 0).all()


def _refuses_bad_numbers(method: Mixer) -> None:
    sources = Sources.of(list(_SIZES))
    for wrong in ({"rank": 2, "world_size": 2}, {"rank": -1}, {"total": 0}):
        try:
            method.start(sources, rng=0, **{"total": _TOTAL, **wrong})
        except UsageError:
            continue
        raise AssertionError(f"{method.name} takes {wrong}")
    try:
        _start(method).draw(-1)
    except UsageError:
        return
    raise AssertionError(f"{method.name} draws -1 rows")


# --- allocators -----------------------------------------------------------------------------------


def _splits_exactly(method: Allocator) -> None:
    allocation = method.start(5, rng=0)
    for n in (0, 1, 4, 17, 1000):
        counts = allocation.ask(n)
        assert counts.dtype == np.int64
        assert counts.shape == (5,)
        assert counts.min() >= 0, f"{method.name} gives a group less than nothing"
        assert counts.sum() == n, f"{method.name} splits {n} into {counts}"


def _one_group_gets_all(method: Allocator) -> None:
    assert method.start(1, rng=0).ask(9).tolist() == [9]


def _state_goes_round(method: Allocator) -> None:
    allocation = method.start(5, rng=0)
    allocation.ask(11)
    state = json.loads(json.dumps(allocation.state_dict()))
    again = method.start(5, rng=99)
    again.load_state_dict(state)
    for n in (3, 20):
        assert again.ask(n).tolist() == allocation.ask(n).tolist(), f"{method.name}: another state"


def _refuses_no_group(method: Allocator) -> None:
    try:
        method.start(0, rng=0)
    except UsageError:
        return
    raise AssertionError(f"{method.name} splits over no group")
