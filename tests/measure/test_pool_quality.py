"""Hope and risk: by hand, and of simulated pools against the integral of their order statistics."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from samplewise.measure.pool_quality import pool_quality

GREEDY, WARM = norm(0, 0.3), norm(-0.605, 1.4)


def extremes(members):
    """Integrate the expected least and greatest of independent normals, and their mean."""

    def below(x):
        return np.prod([one.cdf(x) for one in members])

    def above(x):
        return np.prod([one.sf(x) for one in members])

    most = quad(lambda x: 1 - below(x), 0, 20)[0] - quad(below, -20, 0)[0]
    least = quad(above, 0, 20)[0] - quad(lambda x: 1 - above(x), -20, 0)[0]
    return most, least, np.mean([one.mean() for one in members])


@pytest.mark.parametrize(
    ("members", "published"),
    [([WARM] * 5, (1.02, -2.23, -0.605)), ([GREEDY, *[WARM] * 4], (0.95, -2.05, -0.484))],
)
def test_hedging_bounds_the_loss_and_costs_little_gain(members, published):
    pools = np.stack(
        [one.rvs(100_000, random_state=seed) for seed, one in enumerate(members)], axis=1
    )
    found = pool_quality(pools, np.zeros(100_000))
    assert not found.relative
    assert found[:3] == pytest.approx(extremes(members), abs=0.012)
    assert extremes(members) == pytest.approx(published, abs=0.01)


def test_ratios_are_taken_only_to_scores_above_0():
    assert pool_quality([[3.0, 1.0], [1.0, 0.0]], [2.0, 0.5]) == (75.0, -75.0, 0.0, True)
    assert pool_quality([[3.0, 1.0], [1.0, 0.0]], [2.0, 0.0]) == (1.0, -0.5, 0.25, False)
    assert pool_quality([[3.0]], [2.0], relative=False).hope == 1.0
    with pytest.raises(ValueError, match="plain differences"):
        pool_quality([[3.0]], [-2.0], relative=True)


def test_the_greedy_answer_alone_has_neither_hope_nor_risk():
    assert pool_quality([[2.0], [3.0]], [2.0, 3.0])[:3] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("scores", "greedy"), [([], []), ([[1.0]], [1.0, 2.0]), ([[np.nan]], [1.0]), ([1.0], [1.0])]
)
def test_shapes_that_do_not_fit_are_refused(scores, greedy):
    with pytest.raises(ValueError):
        pool_quality(scores, greedy)
