"""All verifiers: the law of what they give is the target's, and they keep what they say they do."""

import numpy as np
import pytest
from scipy.stats import chisquare

from samplewise import registry
from samplewise.decode.base import Verifier
from samplewise.decode.drafting import every_draft
from samplewise.decode.multi_draft import (
    GreedyDraft,
    OptimalMultiDraft,
    OptimalMultiDraftWithoutReplacement,
)
from samplewise.decode.optimal_transport import KSequential, SpecTr
from samplewise.decode.optimum import optimal_acceptance
from samplewise.decode.rejection import (
    RecursiveRejection,
    RecursiveRejectionWithoutReplacement,
    Rejection,
)
from samplewise.errors import UsageError
from small_laws import random_law

DEFAULTS = [cls() for cls in registry.methods("decode") if issubclass(cls, Verifier)]
VERIFIERS = [
    *DEFAULTS,
    KSequential(factor=1.3),
    KSequential(factor=4.0),
    KSequential(tolerance=0.1),
]
NAMES = [f"{one.name} {one.settings() or ''}" for one in VERIFIERS]
OPTIMAL = (SpecTr, GreedyDraft, OptimalMultiDraft, OptimalMultiDraftWithoutReplacement)
each_default = pytest.mark.parametrize("verifier", DEFAULTS, ids=lambda one: one.name)
each_verifier = pytest.mark.parametrize("verifier", VERIFIERS, ids=NAMES)


def counts(verifier, *some):
    return [count for count in some if verifier.most is None or count <= verifier.most]


def test_all_verifiers_are_registered_under_their_names_and_short_names():
    assert {type(one) for one in VERIFIERS} >= {
        *OPTIMAL,
        KSequential,
        RecursiveRejection,
        RecursiveRejectionWithoutReplacement,
        Rejection,
    }
    for short, name in {
        "rrs": "recursive-rejection",
        "rrsw": "recursive-rejection-without-replacement",
        "kseq": "k-seq",
    }.items():
        assert registry.find(short, "decode").name == name


@each_verifier
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 12])
def test_the_output_law_is_the_target(verifier, size):
    rng = np.random.default_rng(size)
    cases = 12 if size < 8 else 1
    for count in counts(verifier, 1, 2, 3):
        for _ in range(cases):
            target, draft = random_law(rng, size), random_law(rng, size)
            law = verifier.law(target, draft, count)
            np.testing.assert_allclose(law, target, rtol=0, atol=1e-9)


@each_verifier
def test_the_output_law_is_the_target_with_many_drafts(verifier):
    rng = np.random.default_rng(1)
    for count in counts(verifier, 5):
        for size in (2, 3):
            target, draft = random_law(rng, size), random_law(rng, size)
            law = verifier.law(target, draft, count)
            np.testing.assert_allclose(law, target, rtol=0, atol=1e-9)


@each_verifier
def test_the_rate_is_that_of_all_outcomes_and_at_most_the_optimum(verifier):
    rng = np.random.default_rng(2)
    for count in counts(verifier, 1, 2, 3):
        for _ in range(10):
            target, draft = random_law(rng, 4), random_law(rng, 4)
            outcomes, chances = every_draft(draft, count, verifier.scheme)
            hit = [
                verifier.choose(target, draft, tokens).law(tokens)[np.unique(tokens)].sum()
                for tokens in outcomes
            ]
            rate = verifier.acceptance(target, draft, count)
            best = optimal_acceptance(target, draft, count, verifier.scheme).rate
            assert rate == pytest.approx(chances @ hit, abs=1e-9)
            assert rate <= best + 1e-9
            if isinstance(verifier, OPTIMAL):
                assert rate == pytest.approx(best, abs=1e-9)


@each_default
def test_one_draft_is_speculative_sampling(verifier):
    rng = np.random.default_rng(3)
    for _ in range(10):
        target, draft = random_law(rng, 5), random_law(rng, 5)
        expected = np.minimum(target, draft).sum()
        assert verifier.acceptance(target, draft, 1) == pytest.approx(expected, abs=1e-12)


@each_default
def test_drafts_of_the_target_itself_are_kept(verifier):
    law = np.array([0.5, 0.3, 0.2, 0.0])
    for count in counts(verifier, 1, 2, 3):
        assert verifier.acceptance(law, law, count) == pytest.approx(1, abs=1e-9)


@each_verifier
def test_laws_with_nothing_in_common_keep_nothing_but_the_law(verifier):
    target, draft = np.array([0.0, 0.0, 0.3, 0.7]), np.array([0.6, 0.4, 0.0, 0.0])
    for count in counts(verifier, 1, 2):
        assert verifier.acceptance(target, draft, count) == pytest.approx(0, abs=1e-12)
        law = verifier.law(target, draft, count)
        np.testing.assert_allclose(law, target, atol=1e-12)


@each_verifier
def test_draws_follow_the_target_and_are_accepted_as_often_as_computed(verifier):
    rng = np.random.default_rng(4)
    target, draft = np.array([0.3, 0.25, 0.2, 0.15, 0.1]), np.array([0.05, 0.15, 0.5, 0.1, 0.2])
    (count,) = counts(verifier, 3) or [1]
    seen, accepted, draws = np.zeros(5), 0, 5000
    for _ in range(draws):
        tokens = verifier.draw(draft, count, rng)
        token, is_draft = verifier.verify(target, draft, tokens, rng)
        assert is_draft == (token in tokens)
        seen[token] += 1
        accepted += is_draft
    assert chisquare(seen, draws * target).pvalue > 0.001
    rate = verifier.acceptance(target, draft, count)
    assert abs(accepted / draws - rate) < 4 * np.sqrt(rate * (1 - rate) / draws)


@each_verifier
def test_laws_are_left_as_they_are(verifier):
    target, draft = np.array([0.3, 0.3, 0.4]), np.array([0.1, 0.7, 0.2])
    for law in (target, draft):
        law.flags.writeable = False
    rng = np.random.default_rng(0)
    (count,) = counts(verifier, 2) or [1]
    tokens = verifier.draw(draft, count, rng)
    tokens.flags.writeable = False
    verifier.verify(target, draft, tokens, rng)
    assert verifier.acceptance(target, draft, count) <= 1


@each_verifier
def test_bad_requests_are_refused(verifier):
    law, rng = np.array([0.5, 0.5]), np.random.default_rng(0)
    for call in (
        lambda: verifier.draw(law, 0, rng),
        lambda: verifier.acceptance(law, law, 0),
        lambda: verifier.verify(law, law, np.array([], np.int64), rng),
    ):
        with pytest.raises(UsageError, match="count is 0"):
            call()
    with pytest.raises(UsageError, match="target has 2 tokens and draft 3"):
        verifier.acceptance(law, [0.2, 0.2, 0.6], 1)
    with pytest.raises(UsageError, match="no chance under the draft's law"):
        verifier.verify(law, np.array([1.0, 0.0]), np.array([1]), rng)


def test_a_verifier_of_one_draft_refuses_two():
    law, rng = np.array([0.5, 0.5]), np.random.default_rng(0)
    for call in (
        lambda: Rejection().draw(law, 2, rng),
        lambda: Rejection().acceptance(law, law, 2),
        lambda: Rejection().verify(law, law, np.array([0, 1]), rng),
    ):
        with pytest.raises(UsageError, match=r"takes 1 draft .* count is 2[^$]*optimal-multi"):
            call()
