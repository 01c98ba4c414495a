"""Ends of thinking against their closed forms, exactly and on chains."""

import math
import warnings

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from samplewise.decode.samplers import PLAIN, make_processors
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
    for p in (0.01, 0.3, 0.9):
        scores = torch.tensor([[math.log(1 - p), -math.inf, math.log(p)]], dtype=torch.float64)
        hot, cold = (law(StopTemperature(tau=tau), PROMPT, scores)[0, 2] for tau in (1e9, 1e-4))
        assert hot.item() == pytest.approx(1 / (2 - p))
        assert cold.item() == pytest.approx(0.0)
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


@pytest.mark.parametrize("tau", [0.3, 1.25, 4.0])
def test_the_logit_form_divides_one_score_and_keeps_the_others_proportions(tau):
    scores = random_scores()
    scores[:, 2] = scores[:, 2].abs()
    found = StopTemperature(tau=tau, form="logit").processor()(PROMPT.expand(4, 2), scores)
    np.testing.assert_allclose(found[:, 2], scores[:, 2] / tau)
    others = [0, 1, *range(3, 9)]
    assert torch.equal(found[:, others], scores[:, others])


def test_the_logit_form_warns_once_where_it_works_both_ways():
    processor = StopTemperature(tau=2.0, form="logit").processor()
    over = torch.tensor([[2, 6]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for score, ids in ((1.0, PROMPT), (3.0, PROMPT), (-1.0, over)):
            processor(ids, torch.tensor([[0.0, 0.0, score]]))
    with pytest.warns(UserWarning, match="backwards"):
        processor(PROMPT, torch.tensor([[0.0, 0.0, -1.0]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processor(PROMPT, torch.tensor([[0.0, 0.0, 1.0]]))
        StopTemperature(tau=2.0).processor()(PROMPT.expand(2, 2), torch.eye(3)[1:] - 0.5)


def test_greedy_decoding_changes_only_where_the_end_becomes_the_likeliest():
    scores = random_scores(rows=400, vocabulary=4)
    ids, before = PROMPT.expand(400, 2), scores.softmax(dim=1)
    others = before[:, [0, 1, 3]].amax(dim=1)
    changed = 0
    for tau in (0.5, 2.0):
        after = law(StopTemperature(tau=tau), ids, scores).argmax(dim=1)
        ends = before[:, 2] ** (1 / tau) > others
        assert torch.equal(after == 2, ends)
        changed += (after != before.argmax(dim=1)).sum().item()
        kept = ~ends & (before.argmax(dim=1) != 2)
        assert torch.equal(after[kept], before.argmax(dim=1)[kept])
    assert changed > 20


@pytest.mark.parametrize("tau", [0.8, 1.0, 1.25, 2.0])
def test_chains_have_the_mean_length_of_the_formula(tau):
    p, longest, count = 0.1, 40, 20_000
    scores = torch.tensor([[math.log(1 - p), -math.inf, math.log(p)]]).expand(count, 3)
    processor, random = StopTemperature(tau=tau).processor(), torch.Generator().manual_seed(0)
    ids = torch.zeros(count, 1, dtype=torch.long)  # a prompt
    for _ in range(longest):
        chances = processor(ids, scores).softmax(dim=1)
        ids = torch.cat([ids, torch.multinomial(chances, 1, generator=random)], dim=1)
    ends = ids == 2
    lengths = torch.where(ends.any(dim=1), ends.int().argmax(dim=1), longest).double()
    away = abs(lengths.mean() - geometric_length(stop_probability(p, tau), longest))
    assert away < 3 * lengths.std() / math.sqrt(count)


def draw(scores, seed, *methods, most=12):
    processors = make_processors(extra=methods)
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
        text = draw(scores, seed, BudgetForcing(shortest=3, longest=6, wait=3, waits=1))
        assert 3 <= text.index(2) <= 6
    plain = [draw(scores, seed) for seed in range(30)]
    for method in (BudgetForcing(longest=12), StopTemperature(tau=1.0)):
        free = [draw(scores, seed, method) for seed in range(30)]
        assert free == plain, "without limits it is the plain sampler"


@pytest.fixture
def transformer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=12,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            initializer_range=0.3,
        )
        yield LlamaForCausalLM(config).eval()


def generated(model, *methods, seed=0, rows=24, most=20):
    prompts = torch.arange(2 * rows).reshape(rows, 2) % 5 + 3  # without the end
    torch.manual_seed(seed)
    found = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        logits_processor=make_processors(extra=methods),
        max_new_tokens=most,
        eos_token_id=11,
        pad_token_id=0,
        **PLAIN,
    )
    return found[:, 2:]


def thought(ids, most=20):
    """Count tokens of thinking of each row: those before its first end."""
    return [row.index(2) if 2 in row else most for row in ids.tolist()]


def test_a_transformer_without_limits_draws_as_ever(transformer):
    plain = generated(transformer)
    assert len(set(thought(plain))) > 3
    for method in (BudgetForcing(longest=20), StopTemperature(tau=1.0)):
        assert torch.equal(generated(transformer, method), plain)
    assert not torch.equal(generated(transformer, seed=1), plain)


def test_a_transformer_keeps_to_its_limits(transformer):
    free = thought(generated(transformer))
    assert min(free) < 3
    assert max(free) > 6
    for waits in ({}, {"wait": 7, "waits": 2}):
        held = generated(transformer, BudgetForcing(shortest=3, longest=6, **waits))
        for row, length in zip(held.tolist(), thought(held), strict=True):
            # The text itself may end first: it is another token that ends that.
            assert 3 <= length <= 6 or (11 in row and row.index(11) < 6)


def test_a_transformer_thinks_less_the_higher_tau(transformer):
    lengths = [
        np.mean(thought(generated(transformer, StopTemperature(tau=tau), rows=200)))
        for tau in (0.5, 1.0, 2.0, 50.0)
    ]
    assert all(np.diff(lengths) < 0)


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


def test_a_budget_is_of_what_comes_after_the_last_begin():
    scores = torch.zeros(4, 10)
    ids = torch.tensor([[5, 7, 5, 5], [7, 2, 7, 5], [7, 5, 2, 5], [5, 5, 5, 5]])
    found = BudgetForcing(begin=7, shortest=2, longest=2).processor()(ids, scores)
    forced, early, over, never = found
    assert torch.isfinite(forced).nonzero().flatten().tolist() == [2]
    assert torch.isinf(early).nonzero().flatten().tolist() == [2]
    assert torch.equal(over, scores[0])
    assert torch.equal(never, scores[0])


def test_a_word_to_wait_comes_as_often_as_it_may():
    scores = torch.tensor([[-9.0, -math.inf, 0.0, -math.inf]])  # it ends, if it may
    text = draw(scores, 0, BudgetForcing(shortest=5, longest=9, wait=3, waits=2))
    assert text == [3, 3, 0, 0, 0, 2]


def test_the_order_of_processors_is_that_of_generate():
    made = make_processors(
        repetition_penalty=1.3, temperature=0.7, top_k=5, top_p=0.9, extra=[StopTemperature()]
    )
    assert [type(one).__name__ for one in made] == [
        "RepetitionPenaltyLogitsProcessor",
        "TemperatureLogitsWarper",
        "StopProcessor",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
    ]


def test_it_comes_before_what_cuts_tokens_off():
    scores = torch.tensor([[3.0, 2.9, 2.0, 1.0]])
    kept = make_processors(top_k=2, extra=[StopTemperature(tau=50.0)])(PROMPT, scores)
    assert torch.isfinite(kept).tolist() == [[True, False, True, False]]


def test_marks(tiny):
    tokenizer = tiny().tokenizer
    assert mark_token(tokenizer, "a") == tokenizer.encode("a")[0]
    with pytest.raises(UsageError, match="tokens"):
        mark_token(tokenizer, "</think>")
    with pytest.raises(UsageError, match="0 tokens"):
        mark_token(tokenizer, "")


def test_a_mark_that_the_model_does_not_know_is_refused():
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<think>": 1}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    assert mark_token(tokenizer, "<think>") == 1
    with pytest.raises(UsageError, match="</think>"):
        mark_token(tokenizer, "</think>")


@pytest.mark.parametrize(
    "knobs",
    [
        {"tau": 0.0},
        {"tau": -1.0},
        {"tau": math.nan},
        {"tau": math.inf},
        {"end": -1},
        {"end": 3, "begin": 3},
        {"form": "x"},
    ],
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
    with pytest.raises(UsageError, match="NaN"):
        BudgetForcing().processor()(PROMPT, torch.full((1, 4), math.nan))
    with pytest.raises(UsageError, match="no token 7"):
        BudgetForcing(wait=7).processor()(PROMPT, torch.zeros(1, 4))


@pytest.mark.parametrize(("p", "tau"), [(0.5, 0.0), (0.5, -1.0), (-0.1, 1.0), (1.1, 1.0)])
def test_what_is_no_probability_or_temperature_is_refused(p, tau):
    with pytest.raises(UsageError, match="tau"):
        stop_probability(p, tau)


def test_the_mean_length_is_a_sum_over_the_tokens():
    for p, longest in ((0.3, 1), (0.3, 7), (1.0, 4), (0.01, 500)):
        alive = sum((1 - p) ** before for before in range(longest))  # that it gets as far
        assert geometric_length(p, longest) == pytest.approx(alive)
    assert geometric_length(0.01) == 100
    with pytest.raises(UsageError, match="p is 0"):
        geometric_length(0.0)
