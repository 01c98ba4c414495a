import numpy as np
import pytest

from samplewise.measure.loss_trajectories import cluster_accuracy, cluster_trajectories


def test_rows_that_are_learned_at_the_same_time_are_found():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    steps = np.arange(30)
    falls = 1 / (1 + np.exp(steps - np.array([5, 15, 25])[truth][:, None]))
    losses = falls + rng.normal(scale=0.2, size=falls.shape)
    assert cluster_accuracy(cluster_trajectories(losses, 3, rng=0), truth) > 0.98
    # At no checkpoint alone are they told apart as well.
    best = max(
        cluster_accuracy(cluster_trajectories(losses[:, [t]], 3, rng=0), truth) for t in steps[::5]
    )
    assert best < 0.9


def test_accuracy_is_of_the_best_naming():
    assert cluster_accuracy([2, 2, 0, 0, 1], ["x", "x", "y", "y", "z"]) == 1
    assert cluster_accuracy([0, 1, 2, 3], [0, 0, 0, 0]) == 0.25
    # Naming the groups one after the other, largest first, would give 5 of 9 and not 6.
    groups, truth = [0] * 5 + [1] * 3 + [0], [0] * 3 + [1] * 2 + [0] * 3 + [1]
    assert cluster_accuracy(groups, truth) == pytest.approx(6 / 9)


def test_bad_input_is_refused():
    for losses, k in (([[np.nan]], 1), ([1.0, 2.0], 1), ([[1.0]], 2), ([[1.0]], 0)):
        with pytest.raises(ValueError):
            cluster_trajectories(losses, k)
    for groups, truth in (([], []), ([1, 2], [1])):
        with pytest.raises(ValueError):
            cluster_accuracy(groups, truth)
