import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.select import herding
from samplewise.select.herding import Herding, fourier_features, herd


def plain_greedy(X, n):
    """Herding by the definition, in float64."""
    X = X.astype(np.float64)
    want, chosen = X.mean(axis=0), []
    for _ in range(n):
        products = X @ want
        products[chosen] = -np.inf
        chosen.append(int(products.argmax()))
        want = want + X.mean(axis=0) - X[chosen[-1]]
    return chosen


@given(st.integers(0, 10**6), st.sampled_from([2, 4, 8, 16, 32, 64]), st.integers(1, 6))
@settings(max_examples=60)
def test_picks_are_those_of_a_plain_greedy_ties_included(seed, m, d):
    rng = np.random.default_rng(seed)
    # Small whole numbers and a power of two of rows: all is exact, and ties are many.
    X = rng.integers(-2, 3, (m, d)).astype(np.float32)
    n = int(rng.integers(1, m + 1))
    indices, errors = herd(X, n)
    assert indices.tolist() == plain_greedy(X, n)
    sums = np.cumsum(X[indices], axis=0, dtype=np.float64)
    gaps = sums / np.arange(1, n + 1)[:, None] - X.mean(axis=0)
    np.testing.assert_allclose(errors, np.linalg.norm(gaps, axis=1), atol=1e-6)


def test_the_error_of_the_mean_falls_like_one_over_b():
    X = np.random.default_rng(0).normal(size=(5_000, 8)).astype(np.float32)
    _, errors = herd(X, 400)
    scaled = errors * np.arange(1, 401)
    # b times the error stays within one bound; for random rows it grows like sqrt(b).
    assert scaled[200:].max() < 1.5 * scaled[:100].max()
    random = np.cumsum(X[:400], axis=0) / np.arange(1, 401)[:, None] - X.mean(axis=0)
    assert errors[399] < 0.1 * np.linalg.norm(random[399])
    slope = np.polyfit(np.log(np.arange(10, 401)), np.log(errors[9:]), 1)[0]
    assert -1.3 < slope < -0.7


def test_a_tilted_copy_of_one_row_is_all_the_same():
    X = np.ones((9, 3), np.float32)
    assert herd(X, 4)[0].tolist() == [0, 1, 2, 3]
    assert herd(X[:1], 1)[1].tolist() == [0.0]


def test_blocks_and_threads_change_nothing(monkeypatch):
    X = np.random.default_rng(1).normal(size=(700, 5)).astype(np.float32)
    alone = herd(X, 50)[0].tolist()
    monkeypatch.setattr(herding, "_BLOCK", 64)
    monkeypatch.setattr(herding, "cores", lambda: 5)
    assert herd(X, 50)[0].tolist() == alone == plain_greedy(X, 50)


def test_fourier_features_are_those_of_the_kernel():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4)).astype(np.float32)
    found = fourier_features(X, 40_000, 1.5, rng)
    squares = ((X[:, None] - X[None]) ** 2).sum(axis=2)
    # A product is a mean of 40,000 terms of variance at most 1: four standard errors are 0.02.
    np.testing.assert_allclose(found @ found.T, np.exp(-squares / (2 * 1.5**2)), atol=0.03)


def test_with_a_kernel_the_distribution_is_matched_not_the_mean_alone():
    rng = np.random.default_rng(0)
    # Two rings around one mean: the linear kernel cannot tell them from their middle.
    angle, radius = rng.uniform(0, 2 * np.pi, 2_000), np.repeat([1.0, 6.0], 1_000)
    X = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
    pool = sw.Pool.from_arrays(X)
    chosen = sw.select(pool, 100, "herding", rng=0, kernel="rbf").indices
    assert 40 <= (chosen < 1_000).sum() <= 60

    def discrepancy(rows):
        """Maximum mean discrepancy to the pool, squared."""
        near = np.exp(-((X[:, None] - X[None, rows]) ** 2).sum(axis=2) / (2 * 3.0**2))
        return near[rows].mean() - 2 * near.mean()

    chosen = sw.select(pool, 100, "herding", rng=0, kernel="rbf", width=3.0).indices
    random = [discrepancy(rng.choice(2_000, 100, replace=False)) for _ in range(5)]
    assert discrepancy(chosen) < min(random)


def test_each_class_is_herded_for_itself():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(60, 4)).astype(np.float32), np.repeat(["a", "b", "c"], [30, 20, 10])
    selection = sw.select(sw.Pool.from_arrays(X, y), 12, "herding", per_class=True)
    parts = {"a": (0, 30, 6), "b": (30, 50, 4), "c": (50, 60, 2)}
    for low, high, count in parts.values():
        inside = [row - low for row in selection.indices.tolist() if low <= row < high]
        assert inside == plain_greedy(X[low:high], count)
    assert sorted(y[selection.indices[:6]]) == ["a", "a", "a", "b", "b", "c"]  # in their shares
    assert np.isfinite(selection.columns["mean_error"]).sum() == 12


def test_classes_are_needed_for_per_class_alone():
    pool = sw.Pool.from_arrays(np.eye(4))
    assert len(sw.select(pool, 2, "herding")) == 2
    with pytest.raises(InputError, match="source or a label"):
        sw.select(pool, 2, "herding", per_class=True)


@pytest.mark.parametrize(
    "knobs", [{"kernel": "cubic"}, {"features": 0}, {"width": 0.0}, {"width": float("nan")}]
)
def test_knobs_are_checked(knobs):
    with pytest.raises(UsageError, match=f"knob '{next(iter(knobs))}'"):
        Herding(**knobs)
