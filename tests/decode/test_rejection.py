"""Recursive rejection: against closed forms, and where it estimates."""

import numpy as np
import pytest

from samplewise.decode import rejection
from samplewise.decode.rejection import (
    RecursiveRejection,
    RecursiveRejectionWithoutReplacement,
    Rejection,
    choose_recursively,
)
from samplewise.errors import UsageError
from small_laws import gumbel_pair, random_law


def test_one_draft_is_kept_by_the_ratio_and_replaced_from_the_rest():
    target, draft = np.array([0.2, 0.5, 0.3]), np.array([0.4, 0.5, 0.1])
    chances, rest = Rejection().choose(target, draft, np.array([0]))
    assert chances.tolist() == [0.5]
    assert rest.tolist() == [0.0, 0.0, 1.0]


def test_the_example_with_two_tokens():
    target, draft = [1.0, 0.0], [0.5, 0.5]
    assert RecursiveRejection().acceptance(target, draft, 2) == pytest.approx(0.75, abs=1e-15)
    without = RecursiveRejectionWithoutReplacement()
    assert without.acceptance(target, draft, 2) == pytest.approx(1, abs=1e-15)


def test_later_drafts_are_held_against_what_is_left():
    target, draft = np.array([0.1, 0.2, 0.7]), np.array([0.5, 0.3, 0.2])
    with_replacement = choose_recursively(target, draft, np.array([0, 1]), replace=True)
    # After token 0 is rejected, all that is left is token 2.
    assert with_replacement.chances == pytest.approx([0.2, 0.0])
    target = np.array([0.3, 0.4, 0.3])
    without = choose_recursively(target, draft, np.array([0, 2]), replace=False)
    # Left are (0, 0.1, 0.1) / 0.2, against (0, 0.6, 0.4).
    assert without.chances == pytest.approx([0.6, 0.4])
    with_replacement = choose_recursively(target, draft, np.array([0, 1]), replace=True)
    assert with_replacement.chances == pytest.approx([0.6, 0.4])


def test_an_estimate_is_within_its_error_of_all_outcomes(monkeypatch):
    rng = np.random.default_rng(0)
    verifier = RecursiveRejectionWithoutReplacement(samples=400)
    for _ in range(20):
        target, draft = random_law(rng, 5), random_law(rng, 5)
        exact = verifier.rate(target, draft, 3)
        assert exact.error == 0
        with monkeypatch.context() as patch:
            patch.setattr(rejection, "_OUTCOMES", 0)
            found = verifier.rate(target, draft, 3)
            assert found == verifier.rate(target, draft, 3)
        assert abs(found.value - exact.value) <= 4 * found.error + 1e-12


def test_the_error_shrinks_with_the_samples():
    target, draft = gumbel_pair(np.random.default_rng(0), 200)
    errors = [
        RecursiveRejectionWithoutReplacement(samples).rate(target, draft, 3).error
        for samples in (100, 900)
    ]
    assert 0 < errors[1] < errors[0] / 2


def test_a_number_of_samples_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="'samples' is 1"):
        RecursiveRejectionWithoutReplacement(samples=1)
