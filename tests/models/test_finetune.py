from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from samplewise.errors import InputError, UsageError
from samplewise.models import token_log_probabilities
from samplewise.models.finetune import held_out_loss_after_lora

TRAIN = ["abababababab", "babababa", "abababab"]
TEST = ["ababab", "bababababa"]
SHORT = {"steps": 30, "learning_rate": 0.02, "batch": 3, "rank": 4}


@pytest.fixture(scope="module")
def lm(tiny):
    return tiny(device="cpu", spread=0.1)  # where all is exact


def test_held_out_loss_falls_on_an_easy_pattern(lm):
    result = held_out_loss_after_lora(lm, TRAIN, TEST, **SHORT)
    assert result.before > 5  # near that of a guess among 258 tokens, ln 258 = 5.55
    assert result.after < result.before - 1.5
    assert result.tokens == 30 * sum(map(len, TRAIN))  # 30 steps of 3: each text 30 times


def test_texts_of_another_kind_help_less(lm):
    near = held_out_loss_after_lora(lm, TRAIN, TEST, **SHORT)
    far = held_out_loss_after_lora(lm, ["12345", "98765"], TEST, **SHORT)
    assert near.before == far.before
    assert near.after < far.after - 1


def test_the_loss_is_the_mean_over_all_held_out_tokens(lm):
    values = np.concatenate(token_log_probabilities(lm, TEST))
    result = held_out_loss_after_lora(lm, TRAIN, TEST, steps=1, batch=1)
    assert abs(result.before + values.mean()) < 1e-6


def test_same_seed_same_loss_and_nothing_is_left_behind(lm):
    weights = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    first = held_out_loss_after_lora(lm, TRAIN, TEST, **SHORT, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert held_out_loss_after_lora(lm, TRAIN, TEST, **SHORT, seed=5) == first
    assert held_out_loss_after_lora(lm, TRAIN, TEST, **SHORT, seed=6).after != first.after
    after = lm.model.state_dict()
    assert weights.keys() == after.keys()
    assert all(torch.equal(weights[name], after[name]) for name in weights)
    assert not hasattr(lm.model, "peft_config")
    assert not any(weight.requires_grad for weight in lm.model.parameters())


def test_the_model_is_left_as_it_was_when_training_fails(lm):
    class StopError(Exception):
        pass

    class Stopping:
        def stage(self, name, total, unit):
            raise StopError

    names = list(lm.model.state_dict())
    with pytest.raises(StopError):
        held_out_loss_after_lora(lm, TRAIN, TEST, **SHORT, progress=Stopping())
    assert list(lm.model.state_dict()) == names


def test_batch_tokens_bound_the_memory_and_change_nothing_else(lm):
    whole = held_out_loss_after_lora(lm, TRAIN, TEST, **SHORT)
    parts = held_out_loss_after_lora(lm, TRAIN, TEST, **SHORT, batch_tokens=1)
    np.testing.assert_allclose(parts, whole, rtol=1e-3)


def test_of_a_pair_only_the_response_is_learned(lm):
    pairs = [("x", "yyyy"), ("z", "yy")]
    result = held_out_loss_after_lora(lm, pairs, pairs, **SHORT)
    assert result.after < result.before - 1.5
    # What the responses taught says nothing of the prompts.
    prompts = held_out_loss_after_lora(lm, pairs, ["x", "z"], **SHORT)
    assert prompts.after > prompts.before - 1


def test_pairs_and_texts_may_be_mixed(tiny):
    gpt2 = tiny("gpt2")  # its linear layers are of another class
    result = held_out_loss_after_lora(gpt2, [("a", "b"), "cd"], ["ab", ("c", "d")], **SHORT)
    assert result.after != result.before


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("rank", 0),
        ("steps", 0),
        ("batch", -1),
        ("max_tokens", 0),
        ("batch_tokens", 0),
        ("seed", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
    ],
)
def test_wrong_knobs(lm, knob, value):
    with pytest.raises(UsageError, match=f"{'rng' if knob == 'seed' else knob} is"):
        held_out_loss_after_lora(lm, TRAIN, TEST, **{knob: value})


def test_nothing_to_learn_or_to_hold_out(lm):
    with pytest.raises(InputError, match="texts to train on"):
        held_out_loss_after_lora(lm, [("prompt", "")], TEST)
    with pytest.raises(InputError, match="held-out texts"):
        held_out_loss_after_lora(lm, TRAIN, [])


def test_a_missing_package_is_named(lm, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"peft.*\n.*samplewise\[llm\]"):
        held_out_loss_after_lora(lm, TRAIN, TEST)
