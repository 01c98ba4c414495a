"""The law is found again in data made by it, and fits Beta curves as the card says."""

import numpy as np
import pytest

from samplewise.measure.pass_at_k import beta_coverage
from samplewise.measure.sampling_cost import (
    cost_per_solved,
    flops_per_token,
    samples_worth_paying,
    sampling_flops,
)
from samplewise.measure.scaling_law import family_overlay, fit_law, paper_grid


@pytest.mark.parametrize("a", [-0.05, -1.0, -4.0, -9.0])
@pytest.mark.parametrize("b", [0.05, 0.3, 0.9])
def test_the_law_is_found_again(a, b):
    k = paper_grid()
    law = fit_law(k, np.exp(a * k**-b))
    assert (law.a, law.b) == pytest.approx((a, b), abs=1e-6)
    assert law.max_error < 1e-7
    assert law.predict(1) == pytest.approx(np.exp(a))


def test_the_grid_of_the_paper():
    grid = paper_grid()
    assert len(grid) == 37
    assert (grid[0], grid[-1]) == (1, 10_000)


@pytest.mark.parametrize("shape", [(0.3, 3), (0.5, 5), (0.15, 3), (0.3, 1)])
def test_beta_curves_fit_as_well_as_the_card_says(shape):
    k = paper_grid()
    law = fit_law(k, beta_coverage(*shape, k))
    assert 0.003 < law.mean_error < 0.0135
    assert 0.011 < law.max_error < 0.0275


def test_nothing_solved_by_one_sample():
    k = np.array([1, 2, 4, 8, 16])
    law = fit_law(k, [0.0, 0.0, 0.02, 0.05, 0.1])
    assert law.max_error < 0.02
    assert law.a < 0 < law.b


def test_all_solved():
    law = fit_law([1, 2, 4], [1.0, 1.0, 1.0])
    assert law.predict([1, 100]) == pytest.approx([1, 1], abs=1e-6)


def test_extrapolation_is_flagged():
    law = fit_law([2, 10], [0.1, 0.2])
    assert law.extrapolates([1, 2, 10, 11]).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("k", "c"),
    [([1], [0.5]), ([1, 1], [0.5, 0.5]), ([1, 2], [0, 0]), ([0, 1], [0, 1]), ([1, 2], [0, 2])],
)
def test_bad_points(k, c):
    with pytest.raises(ValueError):
        fit_law(k, c)


def test_shifted_curves_fall_together():
    k = np.arange(1, 2001)
    weak, strong = (np.exp(-3 * (times * k) ** -0.5) for times in (1.0, 10.0))
    overlay = family_overlay({"strong": strong, "weak": weak})
    assert overlay.shift == {"strong": 1, "weak": 10}
    assert overlay.anchor == strong[0]
    assert weak[9:2000:10] == pytest.approx(strong[:200])
    for wrong in ({}, {"a": []}):
        with pytest.raises(ValueError):
            family_overlay(wrong)


def test_costs():
    assert flops_per_token(8e9, 32, 4096, 0) == 1.6e10
    assert sampling_flops(3.0, 10, 5, [1, 4]).tolist() == [45.0, 90.0]
    assert cost_per_solved([0.2962], [5 * 0.0072]).round(4).tolist() == [0.1215]
    with pytest.raises(ValueError):
        flops_per_token(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("price", "value", "best"), [(0.0, 1.0, 4), (0.02, 1.0, 3), (0.5, 1.0, 0), (0.15, 1.0, 1)]
)
def test_samples_that_pay(price, value, best):
    share = [0.2, 0.3, 0.35, 0.36]
    assert samples_worth_paying(share, price, value) == best
    gains = [value * c - price * k for k, c in enumerate([0.0, *share])]
    assert best == int(np.argmax(gains))


def test_bad_money():
    with pytest.raises(ValueError):
        samples_worth_paying([0.1], -1, 1)
    with pytest.raises(ValueError):
        samples_worth_paying([], 1, 1)
