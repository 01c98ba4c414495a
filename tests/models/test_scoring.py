from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.models import response_log_probabilities, scoring, token_log_probabilities
from samplewise.models.scoring import batches, read_pairs

TEXTS = ["a", "", "bc def", "The cat sat on the mat.", "é\n\n x", "zz" * 40, "the end"]


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def lm(request, tiny):
    return tiny(request.param)


@pytest.fixture(scope="module")
def llama(tiny):
    return tiny()


def plain(lm, context, targets):
    """Log-probabilities by one forward pass of one sequence, in float64 after the logits."""
    ids = [lm.start, *context, *targets]
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids], device=lm.device)).logits[0].double().cpu()
    places = np.arange(len(context), len(ids) - 1)
    return logits.log_softmax(-1)[places, targets].numpy() if targets else np.empty(0)


def test_equal_a_plain_forward_pass_of_each_text(lm):
    found = token_log_probabilities(lm, TEXTS)
    assert [len(values) for values in found] == [len(text.encode()) for text in TEXTS]
    for text, values in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(values, plain(lm, [], lm.tokens([text])[0]), atol=1e-4)


def test_a_response_equals_a_plain_forward_pass_after_its_prompt(lm):
    prompts = ["Say a.", "", "x" * 50, "Who?"]
    responses = ["a", "abc", "", "Me, I say."]
    found = response_log_probabilities(lm, prompts, responses)
    for prompt, response, values in zip(prompts, responses, found, strict=True):
        context = lm.tokens([f"{prompt}\n" if prompt else ""])[0]
        expected = plain(lm, context, lm.tokens([response])[0])
        np.testing.assert_allclose(values, expected, atol=1e-4)


def test_the_output_layer_is_used_in_slices_only_where_it_is_all_there_is(tiny):
    assert tiny("llama").has_plain_head
    assert tiny("gpt2").has_plain_head
    assert not tiny("gemma2").has_plain_head  # it caps its logits


@pytest.mark.parametrize("batch_tokens", [1, 7, 64, 100_000])
@pytest.mark.parametrize("places", [1, 5])
def test_batches_slices_and_order_change_nothing(llama, monkeypatch, batch_tokens, places):
    expected = token_log_probabilities(llama, TEXTS)
    monkeypatch.setattr(scoring, "_SLICE", places)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = [TEXTS[place] for place in order]
    found = token_log_probabilities(llama, shuffled, batch_tokens=batch_tokens)
    for place, values in zip(order, found, strict=True):
        np.testing.assert_allclose(values, expected[place], atol=1e-4)


def test_no_more_logits_are_held_than_a_slice(llama, monkeypatch):
    head, seen = llama.model.get_output_embeddings(), []
    handle = head.register_forward_hook(lambda _, args, out: seen.append(out.shape[0]))
    monkeypatch.setattr(scoring, "_SLICE", 16)
    try:
        token_log_probabilities(llama, TEXTS)
        token_log_probabilities(llama, ["b" * 100] * 5)
        assert max(seen) == 16
        seen.clear()
        response_log_probabilities(llama, ["p" * 100], ["abc"])
        assert seen == [3]  # none for the prompt
    finally:
        handle.remove()


def test_a_long_text_is_cut_at_the_end(llama):
    text = "abcdefgh" * 10
    cut = token_log_probabilities(llama, [text], max_tokens=20)[0]
    np.testing.assert_allclose(cut, token_log_probabilities(llama, [text[:20]])[0], atol=1e-6)


def test_no_more_is_read_than_the_model_can(tiny):
    small = tiny("gpt2", positions=16)
    assert len(token_log_probabilities(small, ["x" * 99])[0]) == 16
    assert len(response_log_probabilities(small, ["x" * 99], ["y" * 99])[0]) == 8


@pytest.mark.parametrize(
    ("prompt", "response", "most", "kept_prompt", "kept_response"),
    [
        (4, 3, 10, 5, 3),  # all fits: the prompt and its newline
        (4, 30, 10, 5, 5),  # the prompt leaves half
        (2, 30, 10, 3, 7),  # the prompt leaves more
        (50, 3, 10, 7, 3),  # the response leaves more
        (50, 50, 11, 5, 6),
        (50, 50, 1, 0, 1),
        (0, 50, 10, 0, 10),
        (50, 0, 10, 10, 0),
    ],
)
def test_what_is_kept_of_a_long_pair(llama, prompt, response, most, kept_prompt, kept_response):
    said = "".join(chr(97 + place % 26) for place in range(prompt))
    (reading,) = read_pairs(llama, [said], ["R" * response], most)
    before = llama.tokens([f"{said}\n" if said else ""])[0]
    context = before[len(before) - kept_prompt :]
    answer = llama.tokens(["R" * kept_response])[0]
    assert reading.ids == [llama.start, *context, *answer]
    assert reading.targets == kept_response


@settings(max_examples=50)
@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100))
def test_every_reading_is_in_one_batch_that_fits(lengths, batch_tokens):
    readings = [scoring.Reading([0] * length, 1) for length in lengths]
    parts = list(batches(readings, batch_tokens))
    assert sorted(place for part in parts for place in part) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or len(part) * max(lengths[i] for i in part) <= batch_tokens


def test_tells_of_every_text_once(llama):
    told = []
    token_log_probabilities(llama, TEXTS, batch_tokens=16, advance=told.append)
    assert sum(told) == len(TEXTS)
    assert len(told) > 1


def test_no_text_at_all(llama):
    assert token_log_probabilities(llama, []) == []
    assert response_log_probabilities(llama, [], []) == []
