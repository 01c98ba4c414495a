"""K-SEQ and the exact plan: closed forms, the literal linear program, and Markov chains."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import chisquare

from samplewise.decode.drafting import every_draft
from samplewise.decode.multi_draft import GreedyDraft, OptimalMultiDraft
from samplewise.decode.optimal_transport import (
    KSequential,
    SpecTr,
    kseq_rho,
    speculative_block,
    transport_plan,
)
from samplewise.decode.optimum import acceptance_bound
from samplewise.decode.rejection import RecursiveRejection, Rejection
from samplewise.errors import UsageError
from small_laws import random_law


def instances(cases, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(cases):
        size, count = int(rng.integers(3, 6)), int(rng.integers(2, 4))
        yield random_law(rng, size), random_law(rng, size), count


def residual(target, draft, count, factor):
    """What K-SEQ leaves of the target, by the formula; not clipped."""
    kept = np.minimum(draft, target / factor)
    share = kept.sum()
    accepted = 1 - (1 - share) ** count
    return target - kept * (accepted / share if share else count), accepted, kept


def test_the_least_factor_solves_its_equation():
    for target, draft, count in instances(60):
        rho = kseq_rho(target, draft, count, 1e-12)
        left, accepted, kept = residual(target, draft, count, rho)
        assert 1 <= rho <= count
        assert accepted == pytest.approx(rho * kept.sum(), abs=1e-9) or rho == 1
        assert left.min() >= -1e-12


def test_a_smaller_factor_breaks_the_law_somewhere():
    broken = 0
    for target, draft, count in instances(60):
        rho = kseq_rho(target, draft, count, 1e-12)
        left, _, _ = residual(target, draft, count, 1 + 0.9 * (rho - 1))
        broken += left.min() < -1e-9
    assert broken > 10


def test_the_output_law_by_the_formula():
    for target, draft, count in instances(60):
        rho = kseq_rho(target, draft, count)
        left, accepted, kept = residual(target, draft, count, rho)
        share = kept.sum()
        law = kept * (accepted / share if share else count) + left.clip(0)
        np.testing.assert_allclose(law, target, rtol=0, atol=1e-12)
        assert left.sum() == pytest.approx(1 - accepted, abs=1e-12)
        found = KSequential().law(target, draft, count)
        np.testing.assert_allclose(found, target, rtol=0, atol=1e-12)


def test_one_draft_is_speculative_sampling():
    for target, draft, _ in instances(20):
        assert kseq_rho(target, draft, 1) == 1
        for token in np.flatnonzero(draft):
            one, other = (
                each.choose(target, draft, np.array([token]))
                for each in (KSequential(), Rejection())
            )
            np.testing.assert_allclose(one.chances, other.chances, atol=1e-12)
            if one.chances[0] < 1 - 1e-9:
                np.testing.assert_allclose(one.rest, other.rest, atol=1e-12)


def test_the_examples():
    law = np.array([0.2, 0.3, 0.5])
    assert kseq_rho(law, law, 5) == 1
    assert KSequential().acceptance(law, law, 5) == 1
    target, draft = np.array([1.0, 0.0]), np.array([0.5, 0.5])
    for factor in (1.0, 1.4, 2.0):
        assert np.minimum(draft, target / factor).sum() == 0.5
    assert KSequential().acceptance(target, draft, 2) == pytest.approx(0.75, abs=1e-12)
    apart = np.array([0.0, 0.0, 1.0]), np.array([0.5, 0.5, 0.0])
    assert KSequential().acceptance(*apart, 2) == 0
    assert KSequential().choose(*apart, np.array([0, 1])).rest.tolist() == [0, 0, 1]


def test_the_order_of_rates_and_the_guarantee():
    ratios = []
    for target, draft, count in instances(60):
        rate = KSequential().acceptance(target, draft, count)
        best = transport_plan(target, draft, count, "with-replacement").rate
        bound = acceptance_bound(target, draft, count)
        assert rate <= best + 1e-9
        assert best <= bound + 1e-9
        assert rate >= (1 - (1 - 1 / count) ** count) * bound - 1e-6
        if best > 1e-9:
            ratios.append(rate / best)
    assert min(ratios) >= 1 - 1 / np.e


def test_more_drafts_are_never_worse():
    for target, draft, _ in instances(20):
        for verifier in (KSequential(), SpecTr(), RecursiveRejection()):
            rates = [verifier.acceptance(target, draft, count) for count in (1, 2, 3, 4)]
            assert min(np.diff(rates)) > -1e-6


def test_a_factor_of_ones_own():
    for target, draft, count in instances(20):
        best, small = KSequential(1e-10), KSequential(1e-10, factor=1.0)
        rho = kseq_rho(target, draft, count, 1e-10)
        # Too small a factor gives way to the least.
        rate = small.acceptance(target, draft, count)
        assert rate == pytest.approx(best.acceptance(target, draft, count), abs=1e-12)
        # A large one tries each draft with less, and leaves more to be hit by chance.
        outcomes, weights = every_draft(draft, count, "with-replacement")
        tried = [
            sum(
                weight * verifier.choose(target, draft, tokens).chances.sum()
                for tokens, weight in zip(outcomes, weights, strict=True)
            )
            for verifier in (best, KSequential(factor=float(count)))
        ]
        assert tried[1] <= tried[0] + 1e-9
        assert 0 <= kseq_rho(target, draft, count, 0.1) - rho <= 0.1


def test_a_larger_factor_can_keep_more_by_chance():
    target, draft = np.array([0.56, 0.44]), np.array([0.06, 0.94])
    assert KSequential(factor=3.0).acceptance(target, draft, 3) > (
        KSequential().acceptance(target, draft, 3) + 0.005
    )


@pytest.mark.parametrize(("knob", "value"), [("tolerance", 0.0), ("factor", 0.5)])
def test_knobs_that_cannot_be_are_refused(knob, value):
    with pytest.raises(UsageError, match=f"'{knob}' is {value}"):
        KSequential(**{knob: value})


def literal_program(target, draft, count):
    """The plan of V^(count + 1) entries, with both marginals as limits."""
    size = len(target)
    tuples = list(itertools.product(range(size), repeat=count))
    gain = [-(token in drafts) for drafts in tuples for token in range(size)]
    rows = np.kron(np.eye(len(tuples)), np.ones(size))
    columns = np.tile(np.eye(size), len(tuples))
    sums = [np.prod(draft[list(drafts)]) for drafts in tuples]
    return -linprog(gain, np.vstack([rows, columns]), [*sums, *target], method="highs").fun


def test_the_plan_reaches_what_the_literal_program_does():
    rng = np.random.default_rng(5)
    for size, count in [(2, 2), (3, 2), (4, 2), (3, 3), (5, 1)] * 3:
        target, draft = random_law(rng, size), random_law(rng, size)
        plan = transport_plan(target, draft, count, "with-replacement")
        assert plan.rate == pytest.approx(literal_program(target, draft, count), abs=1e-8)


@pytest.mark.parametrize("scheme", ["with-replacement", "without-replacement", "greedy"])
def test_a_plan_is_a_coupling(scheme):
    for target, draft, count in instances(15):
        plan = transport_plan(target, draft, count, scheme)
        kept = np.zeros(len(target))
        for tokens, chance in zip(*every_draft(draft, count, scheme), strict=True):
            members = sorted(set(tokens.tolist()))
            shares = plan.shares[tuple(members)]
            assert shares.min() >= 0
            assert shares.sum() <= 1 + 1e-12
            kept[members] += chance * shares
        assert (kept <= target + 1e-12).all()
        assert kept.sum() == pytest.approx(plan.rate, abs=1e-12)
        assert plan.rest.sum() == pytest.approx(1)


def test_a_plan_that_is_too_large_is_refused_with_what_to_use():
    flat = np.full(50_000, 1 / 50_000)
    rng = np.random.default_rng(0)
    for name, mend in {
        "spectr": "use optimal-multi-draft, which",
        "optimal-multi-draft-without-replacement": "recursive-rejection-without-replacement",
    }.items():
        from samplewise import registry

        verifier = registry.make(name, room="decode")
        for call in (
            lambda verifier=verifier: verifier.draw(flat, 2, rng),
            lambda verifier=verifier: verifier.verify(flat, flat, np.array([1, 2]), rng),
        ):
            with pytest.raises(UsageError, match=f"^{name} plans for every outcome[^$]*{mend}"):
                call()
        assert verifier.acceptance(flat, flat, 2) == pytest.approx(1, abs=1e-9)


def test_a_plan_is_made_for_few_tokens_of_many():
    flat, draft = np.full(50_000, 1 / 50_000), np.zeros(50_000)
    draft[[7, 70, 700]] = 0.5, 0.3, 0.2
    rng = np.random.default_rng(0)
    tokens = SpecTr().draw(draft, 2, rng)
    chances, rest = SpecTr().choose(flat, draft, tokens)
    assert chances.sum() < 1e-3
    assert rest[[7, 70, 700]].max() < 1e-12


def chains(seed, noise=0.5):
    """A target chain over 4 tokens, and a draft that is half of it and half noise."""
    rng = np.random.default_rng(seed)
    # No transition is so rare that a chi-square test would misjudge it.
    target = 0.9 * rng.dirichlet(np.ones(4), 4) + 0.025
    return target, (1 - noise) * target + noise * rng.dirichlet(np.ones(4), 4)


def generate(verifier, target, draft, drafts, length, tokens, seed=0):
    rng = np.random.default_rng(seed)
    text, blocks = (0,), 0
    while len(text) <= tokens:
        block = speculative_block(
            verifier,
            lambda context: target[context[-1]],
            lambda context: draft[context[-1]],
            text[-1:],
            drafts,
            length,
            rng,
        )
        assert 1 <= len(block.tokens) <= length + 1
        assert len(block.accepted) == min(len(block.tokens), length)
        assert all(block.accepted[:-1])
        text += block.tokens
        blocks += 1
    return np.array(text), (len(text) - 1) / blocks


@pytest.mark.parametrize(
    ("verifier", "drafts", "length"),
    [
        (Rejection(), 1, 4),
        (KSequential(), 2, 4),
        (KSequential(factor=8.0), 8, 8),
        (SpecTr(), 2, 3),
        (RecursiveRejection(), 4, 4),
        (OptimalMultiDraft(), 3, 4),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_blocks_of_markov_chains_have_the_targets_transitions(verifier, drafts, length):
    target, draft = chains(1)
    text, _ = generate(verifier, target, draft, drafts, length, 5000)
    seen = np.zeros((4, 4))
    np.add.at(seen, (text[:-1], text[1:]), 1)
    expected = seen.sum(axis=1, keepdims=True) * target
    assert chisquare(seen.ravel(), expected.ravel(), ddof=3).pvalue > 0.001


def test_more_drafts_give_longer_blocks():
    target, draft = chains(2)
    lengths = [generate(KSequential(), target, draft, k, 4, 3000)[1] for k in (1, 2, 4, 8)]
    assert min(np.diff(lengths)) > 0
    assert lengths[-1] <= 5
    assert generate(KSequential(), target, target, 2, 4, 500)[1] == 5


def test_blocks_take_independent_drafts_only():
    def model(context):
        return np.array([0.5, 0.5])

    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="drafts of the scheme greedy"):
        speculative_block(GreedyDraft(), model, model, (), 2, 3, rng)
    with pytest.raises(UsageError, match="length is 0"):
        speculative_block(KSequential(), model, model, (), 2, 0, rng)
    with pytest.raises(UsageError, match="count is 0"):
        speculative_block(KSequential(), model, model, (), 0, 3, rng)
