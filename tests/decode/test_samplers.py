"""The usual samplers are transformers' own, in its order, and do not stack with Mirostat."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    InfNanRemoveLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from samplewise.decode.base import Sampler
from samplewise.decode.mirostat import MirostatV2
from samplewise.decode.samplers import PLAIN, make_processors
from samplewise.errors import UsageError
from tiny_models import save_model

ALL = {
    "repetition_penalty": 1.3,
    "temperature": 0.8,
    "top_k": 20,
    "top_p": 0.9,
    "min_p": 0.01,
    "typical_p": 0.8,
}


def test_they_come_in_the_order_of_generate():
    made = make_processors(**ALL, extra=[InfNanRemoveLogitsProcessor()])
    assert [type(one) for one in made] == [
        RepetitionPenaltyLogitsProcessor,
        InfNanRemoveLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
        MinPLogitsWarper,
        TypicalLogitsWarper,
    ]


@pytest.mark.parametrize("settings", [ALL, {"top_p": 0.5}, {"top_k": 3, "temperature": 2.0}, {}])
def test_generate_draws_the_same_with_them_as_with_its_own(settings, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(save_model(tmp_path, spread=0.6)).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 1
    ids = torch.tensor([[5, 6, 7], [5, 9, 7]])

    def draw(**more):
        torch.manual_seed(0)
        return model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, **{**PLAIN, **more}
        )

    ours = draw(logits_processor=make_processors(**settings))
    assert torch.equal(ours, draw(**settings))


def test_what_changes_nothing_is_left_out():
    assert list(make_processors()) == []
    assert list(make_processors(top_k=0, top_p=1.0, min_p=0.0, temperature=1)) == []


def test_samplers_come_last_by_name_or_as_they_are():
    made = make_processors(temperature=2.0, extra=["mirostat:tau=2:rounding=floor"])
    assert type(made[0]) is TemperatureLogitsWarper
    assert made[1].method.settings()["tau"] == 2.0
    assert made[1].method.rounding == "floor"
    method = MirostatV2(tau=1.0)
    assert make_processors(extra=[method])[0].method is method
    assert make_processors(extra=[method])[0] is not make_processors(extra=[method])[0]


@pytest.mark.parametrize("cut", [{"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"typical_p": 0.9}])
@pytest.mark.parametrize("name", ["mirostat", "mirostat-v2"])
def test_mirostat_does_not_stack(cut, name):
    with pytest.raises(UsageError, match=f"{name} with {next(iter(cut))}"):
        make_processors(**cut, extra=[name])


def test_two_controls_do_not_stack():
    with pytest.raises(UsageError, match="mirostat-v2 with mirostat"):
        make_processors(extra=["mirostat-v2", "mirostat"])


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"top_k": "5"}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": 2.0}, "min_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"typical_p": -1.0}, "typical_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"extra": "mirostat"}, "extra"),
        ({"extra": [3]}, "extra"),
        ({"extra": ["mirostatt"]}, "mirostatt"),
        ({"extra": ["mirostat-v2:tau=-1"]}, "tau"),
        ({"extra": ["mirostat-v2:target=1"]}, "target"),
    ],
)
def test_bad_settings_are_named(settings, word):
    with pytest.raises(UsageError, match=word):
        make_processors(**settings)


def test_a_name_with_knobs_makes_a_sampler():
    assert Sampler.named("mirostat-v2:tau=2:eta=0.1") == MirostatV2(tau=2.0, eta=0.1)
