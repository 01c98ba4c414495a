"""What a model's thinking shows, against one reading of each prefix, by brute force."""

import numpy as np
import pytest
import torch

from samplewise.decode.stop_temperature import StopTemperature, thinking
from samplewise.decode.thinking_diagnosis import (
    diagnose_thinking,
    read_ends,
    sentences_of_text,
    thinking_places,
)
from samplewise.errors import UsageError

END, BEGIN, STOP = 12, 13, 14
RANDOM = np.random.default_rng(0)


def random_trace(length=25, marks=True):
    return RANDOM.integers(10, 16 if marks else 12, length)


@pytest.fixture(scope="module")
def models(tiny):
    return {kind: tiny(kind).model for kind in ("llama", "gpt2")}


def prefix_law(model, ids):
    """Read a prefix alone; give the law of the token behind it."""
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(ids)[None]).logits[0, -1].double().softmax(dim=0)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("begin", [None, BEGIN])
def test_ranks_equal_one_reading_of_each_prefix(models, kind, begin):
    model, traces, prompts = models[kind], [random_trace() for _ in range(6)], [1, 2, 3, 4, 5, 6]
    ranks, chances, chosen = [], [], []
    for ids, prompt in zip(traces, prompts, strict=True):
        for place in range(prompt, len(ids) - 1):
            prefix = ids[: place + 1]
            if prefix[-1] == STOP and thinking(torch.from_numpy(prefix)[None], END, begin)[0]:
                law = prefix_law(model, prefix)
                ranks.append(law.argsort(descending=True).tolist().index(END) + 1)
                chances.append(law[END].item())
                chosen.append(ids[place + 1] == END)
    assert len(ranks) > 5
    found = diagnose_thinking(
        model, traces, prompts, [1] * 6, end=END, sentences={STOP}, begin=begin
    ).ends
    assert found.ranks.tolist() == ranks
    np.testing.assert_allclose(found.probabilities, chances, rtol=1e-4)
    assert found.chosen.tolist() == chosen
    assert found.among(5) == np.mean(np.array(ranks) <= 5)


@pytest.mark.parametrize("begin", [None, BEGIN])
def test_places_are_those_where_the_stop_temperature_acts(begin):
    for _ in range(30):
        ids, prompt = random_trace(), int(RANDOM.integers(1, 24))
        found = thinking_places(ids, prompt, end=END, begin=begin)
        rows = torch.from_numpy(ids)[None]
        acts = [bool(thinking(rows[:, :stop], END, begin)) for stop in range(1, 26)]
        assert found.tolist() == [act and place >= prompt for place, act in enumerate(acts)]


@pytest.mark.parametrize("begin", [None, BEGIN])
def test_without_marks_of_the_prompt_thinking_begins_with_the_reply(begin):
    for _ in range(30):
        ids, prompt = random_trace(), int(RANDOM.integers(1, 24))
        plain = np.concatenate([np.full(prompt, 10), ids[prompt:]])
        if begin is not None:
            plain[prompt - 1] = begin
        found = thinking_places(ids, prompt, end=END, begin=begin, marks_in_prompt=False)
        np.testing.assert_array_equal(found, thinking_places(plain, prompt, end=END, begin=begin))


def test_a_prompt_that_ends_thinking_leaves_none(models):
    ids = [10, END, 10, STOP, 11, STOP, END, 11]
    first, second = (
        diagnose_thinking(
            models["llama"], [ids], [2], [1], end=END, sentences=[STOP], marks_in_prompt=marks
        )
        for marks in (True, False)
    )
    assert (first.lengths.tokens, len(first.ends.ranks)) == (0, 0)
    assert (first.ends.among(), first.repetition) == (None, None)
    assert (second.lengths.tokens, len(second.ends.ranks)) == (4, 2)


def test_lengths_and_repetition_are_of_thinking_without_its_marks(models):
    traces = [
        [10, BEGIN, 11, 10, 11, 10, END, 11, 10, 11],  # 4 tokens, ab ba ab
        [10, BEGIN, 11, 11, 11],  # cut while it thinks
        [10, 11, 10],  # never begun
    ]
    found = diagnose_thinking(
        models["llama"], traces, [1, 1, 1], [1, 1, 0], end=END, begin=BEGIN, sentences=[STOP], n=2
    )
    assert found.lengths.tokens == pytest.approx((4 + 3 + 0) / 3)
    assert found.lengths.right_tokens == 4
    assert found.lengths.accuracy == found.lengths.unfinished == pytest.approx(1 / 3)
    assert found.repetition == pytest.approx((1 / 3 + 1 / 2) / 2)
    told = diagnose_thinking(
        models["llama"],
        traces,
        [1, 1, 1],
        [1, 1, 0],
        end=END,
        begin=BEGIN,
        sentences=[STOP],
        finished=[1, 1, 0],
    )
    assert told.lengths.accuracy == pytest.approx(2 / 3)


def test_ends_of_sentences_may_be_a_function(models):
    ids = np.array([10, 11, STOP, 11, 10, 11, END, 10])
    given = {"end": END, "right": [1], "prompts": [1], "model": models["llama"], "traces": [ids]}
    by_token = diagnose_thinking(**given, sentences=[STOP]).ends
    by_function = diagnose_thinking(**given, sentences=lambda one: one == STOP).ends
    assert by_function.ranks.tolist() == by_token.ranks.tolist()
    before_end = diagnose_thinking(**given, sentences=lambda one: np.roll(one, -1) == END).ends
    assert before_end.chosen.tolist() == [True]
    with pytest.raises(UsageError, match="sentences"):
        diagnose_thinking(**given, sentences=lambda one: [2])


def test_ends_of_sentences_in_the_text_of_a_language_model(tiny):
    lm = tiny()  # reads bytes
    end = lm.tokens(["#"])[0][0]
    ids = lm.tokens(['Q. It is 2.5 (so). Is it? "No!"#Yes. Done.'])[0]
    find = sentences_of_text(lambda token: lm.tokenizer.decode([token]), [end])
    text = lm.tokenizer.decode(ids)
    expected = [text.index(one) for one in (". It", ". Is", "? ")] + [text.index('"#')]
    assert np.flatnonzero(find(np.array(ids)))[:4].tolist() == expected
    found = diagnose_thinking(lm.model, [ids], [2], [1], end=end, sentences=find).ends
    # That of the prompt and those behind the end of thinking do not count.
    assert found.chosen.tolist() == [False, False, True]
    laws = [prefix_law(lm.model, np.array(ids[: place + 1])) for place in expected[1:]]
    assert found.ranks.tolist() == [int((law > law[end]).sum()) + 1 for law in laws]


@pytest.mark.parametrize("tau", [0.3, 3.0, 30.0])
def test_where_greedy_decoding_turns(models, tau):
    ids = RANDOM.integers(13, 258, 80)  # without the end
    with torch.no_grad():
        scores = models["llama"](input_ids=torch.from_numpy(ids)[None]).logits[0, :-1].double()
    end = int(scores.argmax(dim=1).mode().values)  # now and then the likeliest
    thinks = torch.full((79, 1), (end + 1) % 258)
    changed = StopTemperature(tau=tau, end=end).processor()(thinks, scores)
    turned = scores.argmax(dim=1) != changed.argmax(dim=1)
    found = read_ends(models["llama"], [ids], [np.arange(79)], end=end)
    assert found.turned(tau).tolist() == turned.tolist()
    assert turned.any()


def test_after_the_last_token_nothing_was_chosen(models):
    ids = [10, 11, STOP, 11, STOP]
    found = diagnose_thinking(models["llama"], [ids], [1], [0], end=END, sentences=[STOP])
    assert len(found.ends.ranks) == 1
    assert read_ends(models["llama"], [ids], [[0, 4]], end=END).ranks.shape == (1,)


def test_a_model_in_training_is_read_without_dropout_and_left_in_it(models):
    model, ids = models["gpt2"], random_trace(marks=False)
    places = [list(range(20))]
    expected = read_ends(model, [ids], places, end=END).probabilities
    model.train()
    try:
        found = read_ends(model, [ids], places, end=END).probabilities
        assert model.training
    finally:
        model.eval()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"traces": [], "prompts": [], "right": []}, "0 traces"),
        ({"prompts": [1, 1]}, "2 prompts"),
        ({"right": [1, 0]}, "2 verdicts"),
        ({"prompts": [0]}, "prompt 0"),
        ({"prompts": [3]}, "prompt 3"),
        ({"traces": [[0.5, 1.0, 2.0]]}, "float64"),
        ({"end": -1}, "end"),
    ],
)
def test_what_cannot_be_read_is_refused(models, changed, word):
    given = {"traces": [[10, 11, 12]], "prompts": [1], "right": [1], "end": END} | changed
    with pytest.raises(UsageError, match=word):
        diagnose_thinking(models["llama"], sentences=[STOP], **given)


def test_a_token_that_is_none_is_refused(models):
    with pytest.raises(ValueError, match="end is"):
        read_ends(models["llama"], [[10, 11]], [[0]], end=1_000_000)
