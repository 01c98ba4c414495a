"""Ends of thinking against their closed forms, exactly and on chains."""

import math

import numpy as np
import pytest
import torch

from samplewise.decode.samplers import make_processors
from samplewise.decode.stop_temperature import (
    BudgetForcing,
    StopTemperature,
    geometric_length,
    mark_token,
    stop_probability,
)
from samplewise.errors import UsageError

PROMPT = torch.tensor([[5, 6]])


def law(method, ids, scores):
    return method.processor()(ids, scores).double().softmax(dim=1)


def random_scores(rows=4, vocabulary=9, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (rows, vocabulary)))


@pytest.mark.parametrize("form", ["logprob", "logit"])
def test_one_changes_nothing(form):
    scores = random_scores()
    found = StopTemperature(tau=1.0, form=form).processor()(PROMPT.expand(4, 2), scores)
    assert torch.equal(found, scores)


@pytest.mark.parametrize("tau", [0.1, 0.8, 1.25, 2.0, 50.0])
def test_the_end_has_the_closed_form_and_the_others_keep_their_proportions(tau):
    scores = random_scores()
    before, after = (
        scores.softmax(dim=1),
        law(StopTemperature(tau=tau), PROMPT.expand(4, 2), scores),
    )
    expected = [stop_probability(p, tau) for p in before[:, 2].tolist()]
    np.testing.assert_allclose(after[:, 2], expected, atol=1e-12)
    np.testing.assert_allclose(after.sum(dim=1), 1, atol=1e-12)
    others = [0, 1, *range(3, 9)]
    np.testing.assert_allclose(
        after[:, others] / after[:, [0]], before[:, others] / before[:, [0]], rtol=1e-10
    )
    shifted = law(StopTemperature(tau=tau), PROMPT.expand(4, 2), scores + 7.0)
    np.testing.assert_allclose(shifted, after, atol=1e-12)


def test_the_logit_form_is_not_blind_to_a_shift_and_goes_backwards_below_zero():
    scores = torch.tensor([[0.0, 0.0, -1.0]], dtype=torch.float64)
    method = StopTemperature(tau=2.0, form="logit")
    assert law(method, PROMPT, scores)[0, 2] > scores.softmax(dim=1)[0, 2]
    assert law(method, PROMPT, scores + 5.0)[0, 2] < scores.softmax(dim=1)[0, 2]


def test_limits():
    assert [stop_probability(p, 3.0) for p in (0.0, 1.0)] == [0.0, 1.0]
    assert stop_probability(0.3, 1e9) == pytest.approx(1 / (2 - 0.3))
    assert stop_probability(0.3, 1e-3) == pytest.approx(0.0)
    assert all(np.diff([stop_probability(0.3, tau) for tau in (0.2, 0.5, 1, 2, 9)]) > 0)
    certain = torch.tensor([[-math.inf, -math.inf, 0.0]])
    never = torch.tensor([[0.0, 0.0, -math.inf]])
    assert law(StopTemperature(tau=4.0), PROMPT, certain)[0, 2] == 1
    assert law(StopTemperature(tau=4.0), PROMPT, never)[0, 2] == 0


def test_after_the_end_nothing_changes():
    scores = random_scores(rows=3)
    ids = torch.tensor([[5, 6, 2], [2, 6, 5], [5, 6, 7]])
    found = StopTemperature(tau=3.0).processor()(ids, scores)
    assert torch.equal(found[:2], scores[:2])
    assert not torch.equal(found[2], scores[2])
    marked = StopTemperature(tau=3.0, begin=7).processor()(
        torch.tensor([[5, 6, 5], [7, 2, 5], [2, 7, 5]]), scores
    )
    assert torch.equal(marked[:2], scores[:2]), "not begun, and over"
    assert not torch.equal(marked[2], scores[2]), "begun again"


@pytest.mark.parametrize("tau", [0.8, 1.0, 1.25, 2.0])
def test_chains_have_the_mean_length_of_the_formula(tau):
    p, longest, count = 0.1, 60, 20_000
    scores = torch.tensor([[math.log(1 - p), -math.inf, math.log(p)]], dtype=torch.float64)
    ended = law(StopTemperature(tau=tau), PROMPT, scores)[0, 2].item()
    random = np.random.default_rng(0)
    lengths = np.minimum(random.geometric(ended, count), longest)
    away = abs(lengths.mean() - geometric_length(stop_probability(p, tau), longest))
    assert away < 3 * lengths.std() / math.sqrt(count)


def draw(method, scores, seed, most=12):
    processors = make_processors(extra=[method])
    ids, random = PROMPT.clone(), torch.Generator().manual_seed(seed)
    for _ in range(most):
        chances = processors(ids, scores).softmax(dim=1)
        ids = torch.cat([ids, torch.multinomial(chances, 1, generator=random)], dim=1)
        if ids[0, -1] == 2:
            break
    return ids[0, 2:].tolist()


def test_forced_thinking_keeps_to_its_limits():
    scores = torch.tensor([[0.5, 0.2, 0.4, 0.1]])
    for seed in range(60):
        text = draw(BudgetForcing(shortest=3, longest=6, wait=3, waits=1), scores, seed)
        assert 3 <= text.index(2) <= 6
    plain = [draw(StopTemperature(tau=1.0), scores, seed) for seed in range(30)]
    free = [draw(BudgetForcing(longest=12), scores, seed) for seed in range(30)]
    assert free == plain, "without limits it is the plain sampler"


def test_the_end_becomes_a_wait_with_all_of_its_probability():
    scores = random_scores(rows=1, vocabulary=6)
    before = scores.softmax(dim=1)[0]
    after = law(BudgetForcing(shortest=9, longest=20, wait=3, waits=1), PROMPT, scores)[0]
    assert after[2] == 0
    assert after[3].item() == pytest.approx((before[2] + before[3]).item(), abs=1e-12)
    np.testing.assert_allclose(after[[0, 1, 4, 5]], before[[0, 1, 4, 5]], atol=1e-12)
    processor = BudgetForcing(shortest=9, longest=20, wait=3, waits=1).processor()
    processor(PROMPT, scores)
    said = torch.tensor([[5, 6, 3]])
    spent = processor(said, scores).softmax(dim=1)[0]
    assert spent[2] == 0, "no wait is left, and it is too early"
    assert spent[3].item() == pytest.approx((before[3] / (1 - before[2])).item(), abs=1e-9)


def test_it_comes_before_what_cuts_tokens_off():
    scores = torch.tensor([[3.0, 2.9, 2.0, 1.0]])
    kept = make_processors(top_k=2, extra=[StopTemperature(tau=50.0)])(PROMPT, scores)
    assert torch.isfinite(kept).tolist() == [[True, False, True, False]]


def test_marks(tiny):
    tokenizer = tiny().tokenizer
    assert mark_token(tokenizer, "a") == tokenizer.encode("a")[0]
    with pytest.raises(UsageError, match="tokens"):
        mark_token(tokenizer, "</think>")


@pytest.mark.parametrize(
    "knobs",
    [{"tau": 0.0}, {"tau": math.inf}, {"end": -1}, {"end": 3, "begin": 3}, {"form": "x"}],
)
def test_bad_knobs_are_refused(knobs):
    with pytest.raises(UsageError, match=next(iter(knobs))):
        StopTemperature(**knobs)


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"shortest": 5, "longest": 4}, "shortest"),
        ({"waits": -1}, "waits"),
        ({"wait": 2}, "wait"),
    ],
)
def test_bad_budgets_are_refused(knobs, word):
    with pytest.raises(UsageError, match=word):
        BudgetForcing(**knobs)


def test_scores_that_are_none_are_refused():
    with pytest.raises(UsageError, match="no token 9"):
        StopTemperature(end=9).processor()(PROMPT, torch.zeros(1, 4))
    with pytest.raises(UsageError, match="NaN"):
        StopTemperature().processor()(PROMPT, torch.full((1, 4), math.nan))
