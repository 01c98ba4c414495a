import tracemalloc
from itertools import combinations

import numpy as np
import pytest

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.select import facility_location
from samplewise.select.facility_location import FacilityLocation, lazy_greedy


def likeness_of(X):
    X = X.astype(np.float64)
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    X = X / np.where(lengths > 0, lengths, 1)
    return np.maximum(X @ X.T, 0)


def dense_gains(X, chosen, alpha=0.0, score=None):
    """Yield, before each pick, the gain of every row by the definition, in float64."""
    likeness = likeness_of(X)
    quality = np.zeros(len(X)) if score is None else alpha * score
    served = np.zeros(len(X))
    for step, row in enumerate(chosen):
        raised = np.maximum(likeness - served[:, None], 0).sum(axis=0)
        gain = (1 - alpha) * raised / len(X) + quality
        gain[chosen[:step]] = -np.inf
        yield gain
        served = np.maximum(served, likeness[:, row])


def random_pool(seed):
    rng = np.random.default_rng(seed)
    m, d = int(rng.integers(5, 250)), int(rng.integers(2, 40))
    blobs = rng.normal(size=(4, d))[rng.integers(0, 4, m)]
    X = (blobs + rng.uniform(0.05, 1) * rng.normal(size=(m, d))) * rng.uniform(0.1, 9, (m, 1))
    return X.astype(np.float32), rng.normal(size=m), int(rng.integers(1, m + 1))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(30))
def test_every_pick_is_one_of_a_dense_greedy(seed, alpha):
    X, score, n = random_pool(seed)
    pool = sw.Pool.from_arrays(X, score=score)
    selection = sw.select(pool, n, "facility-location", alpha=alpha)
    found, chosen = selection.columns["gain"], selection.indices
    assert np.isnan(found).sum() == len(X) - n
    for row, gain in zip(chosen, dense_gains(X, chosen, alpha, score), strict=True):
        # Where two rows are within rounding of each other, either is the best.
        assert gain[row] >= gain.max() - 1e-6
        assert abs(found[row] - gain[row]) < 1e-6


def test_ties_go_to_the_lowest_index():
    X = np.eye(4, dtype=np.float32)[[3, 1, 1, 0, 2, 0, 3, 1]]
    assert lazy_greedy(X, np.arange(8), 8)[0].tolist() == [1, 0, 3, 4, 2, 5, 6, 7]
    assert lazy_greedy(np.ones((5, 2), np.float32), np.arange(5), 3)[0].tolist()[0] == 0


def test_within_the_greedy_bound_of_the_best_set():
    X, _, _ = random_pool(5)
    X = X[:14]
    likeness = likeness_of(X)
    best = max(likeness[:, list(some)].max(axis=1).sum() for some in combinations(range(len(X)), 3))
    chosen, gains = lazy_greedy(X, np.arange(len(X)), 3)
    np.testing.assert_allclose(likeness[:, chosen].max(axis=1).sum(), gains.sum(), rtol=1e-5)
    assert (1 - 1 / np.e) * best <= gains.sum() <= best * 1.00001


def test_keeping_earlier_likenesses_changes_nothing(monkeypatch):
    X, _, _ = random_pool(11)
    m = len(X)
    kept = lazy_greedy(X, np.arange(m), m // 2)
    monkeypatch.setattr(facility_location, "_KEPT_BYTES", 8 * X.shape[1] * 5)  # room for 5 rows
    some = lazy_greedy(X, np.arange(m), m // 2)
    monkeypatch.setattr(facility_location, "_KEPT_BYTES", 0)
    none = lazy_greedy(X, np.arange(m), m // 2)
    for indices, gains in (kept, some, none):
        exact = dense_gains(X, indices)
        for row, found, gain in zip(indices, gains / m, exact, strict=True):
            assert gain[row] >= gain.max() - 1e-6
            assert abs(found - gain[row]) < 1e-6


def test_a_part_of_the_pool_stands_for_it():
    rng = np.random.default_rng(0)
    X = 3 * rng.normal(size=(6, 16))[rng.integers(0, 6, 3_000)] + rng.normal(size=(3_000, 16))
    pool = sw.Pool.from_arrays(X)
    likeness = likeness_of(X)

    def worth(reference, seed):
        knobs = {"reference": reference, "rng": seed}
        chosen = sw.select(pool, 12, "facility-location", **knobs).indices
        return likeness[:, chosen].max(axis=1).sum()

    full = worth(3_000, 0)
    assert worth(500, 0) > 0.98 * full
    picks = [sw.select(pool, 12, "facility-location", reference=50, rng=s).indices for s in (0, 1)]
    assert picks[0].tolist() != picks[1].tolist()


def test_only_directions_count_and_zero_vectors_come_last():
    X, _, _ = random_pool(3)
    X[4] = 0
    huge = X * np.float32(1e30)
    n = len(X)
    chosen = lazy_greedy(X, np.arange(n), n)
    np.testing.assert_allclose(lazy_greedy(huge, np.arange(n), n)[1], chosen[1], atol=1e-4)
    assert chosen[1][chosen[0].tolist().index(4)] == 0


def test_a_score_is_needed_for_alpha_alone():
    pool = sw.Pool.from_arrays(np.eye(4))
    assert len(sw.select(pool, 2, "facility-location")) == 2
    with pytest.raises(InputError, match="score"):
        sw.select(pool, 2, "facility-location", alpha=0.5)


@pytest.mark.parametrize("knobs", [{"reference": 0}, {"alpha": -0.1}, {"alpha": float("nan")}])
def test_knobs_are_checked(knobs):
    with pytest.raises(UsageError, match=f"knob '{next(iter(knobs))}'"):
        FacilityLocation(**knobs)


def test_no_matrix_of_all_pairs():
    X = np.random.default_rng(0).normal(size=(6_000, 32)).astype(np.float32)
    lazy_greedy(X[:9], np.arange(9), 2)  # compile
    tracemalloc.start()
    lazy_greedy(X, np.arange(6_000), 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000 * 6_000 * 4 / 5


@pytest.mark.parametrize("seed", range(6))
def test_nearness_picks_are_those_of_a_dense_greedy(seed):
    X, _, n = random_pool(seed)
    X = X + 100  # far from the origin
    gap = np.linalg.norm(X[:, None].astype(np.float64) - X[None], axis=2)
    chosen, gains = lazy_greedy(X, np.arange(len(X)), n, likeness="nearness")
    served = np.full(len(X), -np.inf)
    for step, row in enumerate(chosen):
        gain = np.maximum(-gap, served[:, None]).sum(axis=0)
        # The product that the distance comes from has seven digits, and a root halves them.
        slack = 2e-3 * np.sqrt(len(X)) * gap.max()
        assert gain[np.setdiff1d(np.arange(len(X)), chosen[:step])].max() <= gain[row] + slack
        served = np.maximum(served, -gap[:, row])
    assert (np.diff(gains) <= 1e-3).all()


@pytest.mark.parametrize("seed", range(10))
def test_bounds_are_never_below_the_gains(seed):
    X, _, n = random_pool(seed)
    rows = np.arange(len(X))
    cosine = facility_location.Cosine(X, rows)
    likeness, served = likeness_of(X), np.zeros(len(X))
    for row in lazy_greedy(X, rows, min(n, 20))[0]:
        gains = np.maximum(likeness - served[:, None], 0).sum(axis=0)
        assert (cosine.bounds(rows, served.astype(np.float32)) >= gains - 1e-9).all()
        served = np.maximum(served, likeness[:, row])


def test_blocks_and_threads_change_nothing(monkeypatch):
    X = np.random.default_rng(0).normal(size=(900, 24)).astype(np.float32)
    monkeypatch.setattr(facility_location, "_PRODUCTS", 30_000)  # 33 rows a block
    monkeypatch.setattr(facility_location, "_SHARE", 1)
    found = []
    for cores in (1, 5):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: range(cores))
        found.append(lazy_greedy(X, np.arange(900), 90))
    assert found[0][0].tolist() == found[1][0].tolist()
    assert found[0][1].tolist() == found[1][1].tolist()


@pytest.mark.parametrize("likeness", ["cosine", "nearness"])
def test_all_gains_are_brought_up_to_date_exactly(likeness, monkeypatch):
    X = np.random.default_rng(0).normal(size=(700, 24)).astype(np.float32)
    expected = lazy_greedy(X, np.arange(700), 30, likeness=likeness)
    monkeypatch.setattr(facility_location, "_KEPT_BYTES", 0)  # so that it never fits
    refreshed, refresh = [], facility_location._Cover.refresh
    monkeypatch.setattr(
        facility_location._Cover, "refresh", lambda self: refreshed.append(1) or refresh(self)
    )
    indices, gains = lazy_greedy(X, np.arange(700), 30, likeness=likeness)
    assert len(refreshed) > 15
    assert indices.tolist() == expected[0].tolist()
    np.testing.assert_allclose(gains, expected[1], rtol=1e-4)


def test_where_not_all_can_be_kept_the_rest_is_worked_out_anew(monkeypatch):
    X = np.random.default_rng(0).normal(size=(900, 24)).astype(np.float32)
    expected = lazy_greedy(X, np.arange(900), 90)
    # As if the rows looked at had shown that all fits, where there is room for a part.
    monkeypatch.setattr(facility_location._Cover, "fits", lambda _: True)
    monkeypatch.setattr(facility_location, "_KEPT_BYTES", 6 * 40_000)
    indices, gains = lazy_greedy(X, np.arange(900), 90)
    assert indices.tolist() == expected[0].tolist()
    np.testing.assert_allclose(gains, expected[1], rtol=1e-5)
