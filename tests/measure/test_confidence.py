"""The worth of N tries, against simulation, tables and search."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplewise.measure.confidence import best_law, confidence_report, pass_at_n, proof_pass_at_n
from samplewise.measure.pass_at_k import pass_at_k


def test_simulated_tries_succeed_as_often():
    rng = np.random.default_rng(0)
    chances, n, runs = np.array([0.003, 0.05, 0.4]), 12, 20_000
    seen = (rng.random((runs, n, 3)) < chances).any(axis=1).mean(axis=0)
    expected = pass_at_n(chances, n)
    assert (np.abs(seen - expected) < 3 * np.sqrt(expected * (1 - expected) / runs)).all()


def test_small_chances_keep_their_digits():
    assert pass_at_n(1e-18, 4) == pytest.approx(4e-18)
    assert pass_at_n([0.0, 1.0], 5).tolist() == [0.0, 1.0]


def test_counts_give_the_share_of_subsets_with_a_right_one():
    for n, c, k in itertools.product([5], range(6), range(1, 6)):
        subsets = list(itertools.combinations(range(n), k))
        share = np.mean([min(subset) < c for subset in subsets])
        assert pass_at_k(n, c, k) == pytest.approx(share)


def test_a_policy_that_is_sure_of_half_is_passed_at_seven():
    sure = np.mean(pass_at_n([[1.0], [0.0]], np.arange(1, 10)), axis=0)
    unsure = pass_at_n(0.1, np.arange(1, 10))
    assert sure.tolist() == [0.5] * 9
    assert np.flatnonzero(unsure > sure)[0] + 1 == 7
    assert unsure[6] == pytest.approx(0.522, abs=5e-4)


@pytest.mark.parametrize("tries", [1.5, 2, 5, 40])
@pytest.mark.parametrize("beliefs", [[0.6, 0.3, 0.1], [0.34, 0.33, 0.33], [0.9, 0.1, 0.0]])
def test_no_law_on_a_grid_is_better_than_the_best(tries, beliefs):
    def worth(law):
        return (beliefs * pass_at_n(law, tries)).sum(axis=-1)

    steps = np.linspace(0, 1, 201)
    a, b = (axis.ravel() for axis in np.meshgrid(steps, steps))
    grid = np.column_stack([a, b, 1 - a - b])[a + b <= 1]
    values = worth(np.clip(grid, 0, 1))
    law = best_law(beliefs, tries)
    assert law.sum() == pytest.approx(1)
    assert worth(law) >= values.max() - 1e-12
    assert np.abs(grid[values.argmax()] - law).max() < 0.011


def test_one_try_takes_the_likeliest_and_many_spread():
    assert best_law([0.2, 0.5, 0.3], 1).tolist() == [0.0, 1.0, 0.0]
    assert best_law([0.4, 0.4, 0.2], 1).tolist() == [0.5, 0.5, 0.0]
    np.testing.assert_allclose(best_law([0.7, 0.2, 0.1], 1e5), 1 / 3, atol=1e-4)
    np.testing.assert_allclose(best_law([0.25] * 4, 3), 0.25)
    tops = [best_law([0.5, 0.3, 0.2], n).max() for n in (1, 2, 4, 8, 64)]
    assert tops == sorted(tops, reverse=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.integers(1, 6))
def test_a_proof_is_found_as_the_table_of_tries_says(steps, tries):
    table = proof_pass_at_n(steps, tries)
    assert table[-1, 0] == pytest.approx(float(pass_at_n(np.prod(steps), tries)), abs=1e-12)
    # From step t of the last attempt but r - 1: it succeeds, or r - 1 whole ones are left.
    for left, place in np.ndindex(table.shape):
        rest = np.prod(steps[place:])
        again = pass_at_n(np.prod(steps), left) if left else 0.0
        assert table[left, place] == pytest.approx(rest + (1 - rest) * again, abs=1e-12)


def test_a_report_of_confidence():
    sure = np.array([1.0, 0.95, 0.95, 0.3, 0.25, 0.2])
    right = [True, True, False, False, True, False]
    report = confidence_report(np.log(sure), right, bins=5)
    assert report.confidence == pytest.approx(sure.mean())
    assert report.accuracy == 0.5
    assert report.overconfidence == pytest.approx(sure.mean() - 0.5)
    assert report.counts.tolist() == [1, 2, 0, 0, 3]
    gaps = [0.2, abs(0.275 - 0.5), abs(2.9 / 3 - 2 / 3)]
    assert report.calibration_error == pytest.approx((gaps[0] + 2 * gaps[1] + 3 * gaps[2]) / 6)
    assert np.isnan(report.accuracies[2])


@pytest.mark.parametrize(
    "call",
    [
        lambda: pass_at_n(1.1, 2),
        lambda: pass_at_n(float("nan"), 2),
        lambda: pass_at_n(0.5, 0.5),
        lambda: best_law([], 2),
        lambda: best_law([0.0, 0.0], 2),
        lambda: best_law([0.7, 0.7], 2),
        lambda: best_law([0.5, 0.5], 0.5),
        lambda: proof_pass_at_n([], 2),
        lambda: proof_pass_at_n([1.5], 2),
        lambda: proof_pass_at_n([0.5], 0),
        lambda: confidence_report([0.1], [True]),
        lambda: confidence_report([float("nan")], [True]),
        lambda: confidence_report([-0.1], [True, False]),
        lambda: confidence_report([], []),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(ValueError):
        call()
