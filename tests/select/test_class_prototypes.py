import numpy as np
import pytest

import samplewise as sw
from samplewise.errors import UsageError
from samplewise.select.class_prototypes import ClassPrototypes


def test_one_row_of_every_tight_group_of_every_class():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 3)) * 50
    group = np.repeat(np.arange(6), 20)
    X = centres[group] + 0.1 * rng.normal(size=(120, 3))
    pool = sw.Pool.from_arrays(X, y=[f"class {one % 2}" for one in group])
    found = sw.select(pool, 6, "class-prototypes", rng=0, restarts=5).indices
    assert sorted(group[found].tolist()) == list(range(6))
    for row in found:  # the nearest to the group's mean
        members = X[group == group[row]]
        distances = np.linalg.norm(members - members.mean(axis=0), axis=1)
        assert np.linalg.norm(X[row] - members.mean(axis=0)) == pytest.approx(distances.min())


def test_every_class_gets_its_share():
    X = np.random.default_rng(0).normal(size=(100, 3))
    labels = np.repeat(["a", "b", "c"], [80, 19, 1])
    found = sw.select(sw.Pool.from_arrays(X, y=labels), 10, "class-prototypes", rng=0)
    assert np.unique(labels[found.indices], return_counts=True)[1].tolist() == [7, 2, 1]
    assert np.isfinite(found.columns["distance"]).all()
    few = sw.select(sw.Pool.from_arrays(X, y=labels), 1, "class-prototypes", rng=0)
    assert labels[few.indices].tolist() == ["a"]
    assert np.isnan(few.columns["distance"][labels != "a"]).all()


def test_rows_that_repeat():
    X = np.repeat(np.eye(2), 10, axis=0)
    pool = sw.Pool.from_arrays(X, y=["a"] * 10 + ["b"] * 10)
    for n in (2, 11, 20):
        found = sw.select(pool, n, "class-prototypes", rng=0).indices
        assert len(np.unique(found)) == n


def test_rows_without_a_label_are_a_class_of_their_own():
    X = np.random.default_rng(0).normal(size=(40, 3))
    pool = sw.Pool.from_arrays(X, y=[None if row < 10 else "a" for row in range(40)])
    found = sw.select(pool, 8, "class-prototypes", rng=0)
    assert np.count_nonzero(found.indices < 10) == 2
    assert (found.columns["class"] == -1).tolist() == [row < 10 for row in range(40)]


@pytest.mark.parametrize("knob", ["iterations", "restarts"])
def test_knobs_are_checked(knob):
    with pytest.raises(UsageError, match=f"class-prototypes: knob '{knob}' is 0"):
        ClassPrototypes(**{knob: 0})
