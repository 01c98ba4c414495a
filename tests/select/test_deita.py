import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samplewise as sw
from samplewise.errors import UsageError
from samplewise.select import deita
from samplewise.select.deita import Deita, filter_near


def plain_walk(X, order, n, threshold):
    """Walk by the definition."""
    taken = []
    for row in order:
        nearest = min((((X[row] - X[one]) ** 2).sum() for one in taken), default=np.inf)
        if len(taken) < n and nearest > threshold:
            taken.append(int(row))
    return taken


@given(st.integers(0, 10**6), st.integers(1, 50), st.integers(1, 5), st.integers(0, 8))
@settings(max_examples=60)
def test_rows_are_those_of_a_plain_walk(seed, m, d, threshold):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (m, d)).astype(np.float32)
    order, n = rng.permutation(m), int(rng.integers(1, m + 1))
    # Half a unit above a whole number: no squared distance is near it.
    taken, squares = filter_near(X, order, n, threshold + 0.5)
    assert taken.tolist() == plain_walk(X, order, n, threshold + 0.5)
    seen = order[: int(np.flatnonzero(order == taken[-1])[0]) + 1]
    assert np.isfinite(squares[taken[1:]]).all()
    assert np.isinf(squares[order[0]])
    assert not np.isnan(squares[seen]).any()


def test_blocks_change_nothing(monkeypatch):
    X = np.random.default_rng(0).normal(size=(600, 6)).astype(np.float32)
    expected = plain_walk(X, np.arange(600), 80, 2.0)
    assert filter_near(X, np.arange(600), 80, 2.0)[0].tolist() == expected
    monkeypatch.setattr(deita, "_BLOCK", 7)
    assert filter_near(X, np.arange(600), 80, 2.0)[0].tolist() == expected


def test_without_a_threshold_it_takes_the_best_and_no_copy_before_the_end():
    X = np.repeat(100 + np.random.default_rng(0).normal(size=(20, 5)), 2, axis=0)
    score = np.arange(40.0)
    selection = sw.select(sw.Pool.from_arrays(X, score=score), 25, "deita", threshold=0.0)
    assert selection.indices.tolist() == [*range(39, 0, -2), *range(38, 28, -2)]
    taken = selection.columns["taken"]
    assert (taken == "far").sum() == 20
    assert (taken == "fill").sum() == 5
    assert (taken[selection.indices[20:]] == "fill").all()


def test_only_rows_that_were_looked_at_have_a_distance():
    X = np.eye(5)
    selection = sw.select(sw.Pool.from_arrays(X, score=[1, 5, 4, 3, 2]), 2, "deita")
    assert selection.indices.tolist() == [1, 2]
    distance = selection.columns["distance"]
    assert np.isnan(distance[[0, 3, 4]]).all()
    np.testing.assert_allclose(distance[2], np.sqrt(2))


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf")])
def test_knobs_are_checked(threshold):
    with pytest.raises(UsageError, match="knob 'threshold'"):
        Deita(threshold=threshold)
