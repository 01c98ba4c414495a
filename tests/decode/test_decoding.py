"""The door, and the way into transformers' `generate`."""

import warnings

import numpy as np
import pytest
import torch
from scipy import stats

import samplewise as sw
from samplewise.decode import Verifier
from samplewise.decode.decoding import PromptDecoder, slowness, total
from samplewise.decode.draft_model import DraftModel
from samplewise.decode.generate import SpeculativeGenerate
from samplewise.decode.speculative import Speculation
from samplewise.errors import UsageError
from samplewise.models import load
from tiny_models import save_model

DRAFTS = ["plain", "token-recycling", "prompt-lookup:ngram=2:length=4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("small"), spread=0.27)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="decoding with")  # tiny models gain nothing
        yield


def text_of(folder, draft, **settings):
    return sw.decode("ab ab ab", model=folder, draft=draft, max_tokens=30, **settings).text


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.8, "top_p": 0.9},
        {"temperature": 1.0, "samplers": ["mirostat-v2:tau=3"]},
    ],
)
@pytest.mark.parametrize("auto", [False, True])
def test_all_drafts_give_the_same_text(folder, settings, auto):
    texts = {text_of(folder, draft, auto=auto, rng=1, **settings) for draft in DRAFTS}
    assert len(texts) == 1


def test_it_tells_what_it_took(folder):
    found = sw.decode("ab ab", model=folder, max_tokens=20, auto=False, rng=0)
    row = found.as_json()
    assert sum(row["given"]) == row["tokens"] == 20
    assert len(row["surprises"]) == len(row["entropies"]) == len(row["pieces"]) == 20
    assert row["tokens_per_step"] == pytest.approx(20 / len(row["read"]))
    sums = total([row, row])
    assert (sums["prompts"], sums["tokens"], sums["steps"]) == (2, 40, 2 * len(row["read"]))
    assert sums["speed_up"] == pytest.approx(row["speed_up"])


def test_slow_guesses_are_told_and_how_to_mend_them():
    assert slowness({"read": 10, "speed_up": 0.5}, "x").startswith("Decoding with x ran at 0.50")
    assert slowness({"read": 0, "speed_up": 0.5}, "x") == ""
    assert slowness({"read": 10, "speed_up": 1.2}, "x") == ""


def test_the_warning_is_given(folder, monkeypatch):
    monkeypatch.setattr("samplewise.decode.decoding.slowness", lambda totals, draft: "too slow")
    with pytest.warns(UserWarning, match="too slow"):
        sw.decode("a", model=folder, max_tokens=2)


def test_a_draft_keeps_what_it_learnt(folder):
    decoder = PromptDecoder(folder, auto=False)
    first, second = (decoder.decode("xyz", 12, rng=0).decoded for _ in range(2))
    assert first.tokens == second.tokens
    assert second.tokens_per_step > first.tokens_per_step


def test_without_chat_a_text_goes_on(folder):
    decoder = PromptDecoder(folder, chat=False)
    lm = load(folder)
    alone = decoder.decode("ab", 5).decoded.tokens
    ids = torch.tensor([[lm.start, *lm.tokens(["ab"])[0]]])
    assert alone == lm.model.generate(ids, do_sample=False, max_new_tokens=5)[0, -5:].tolist()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"draft": "none-such"}, "no decode method"),
        ({"draft": "k-seq"}, "is no draft"),
        ({"verifier": "plain"}, "is no verifier"),
        ({"samplers": ["mirostat"]}, "temperature 0"),
        ({"samplers": ["mirostat"], "temperature": 1.0, "top_p": 0.5}, "both cut the tail"),
        ({"temperature": -1.0}, "temperature"),
        ({"max_tokens": 0}, "0 to come"),
        ({"draft": "prompt-lookup:size=3"}, "no knob"),
    ],
)
def test_wrong_settings_are_told(folder, settings, told):
    with pytest.raises(UsageError, match=told):
        sw.decode("a", model=folder, **settings)


# --- drafts that are drawn ------------------------------------------------------------------------


def law_after(model, prompt, tokens):
    with torch.inference_mode():
        return model(torch.tensor([[*prompt, *tokens]])).logits[0, -1].double().softmax(-1).numpy()


@pytest.mark.parametrize(
    ("verifier", "shape"),
    [
        ("rejection", {"length": 3}),
        ("k-seq", {"length": 3, "sequences": 3}),
        ("recursive-rejection", {"length": 3, "branches": "3 2 1"}),
        ("recursive-rejection-without-replacement", {"length": 3, "branches": "3 2 1"}),
        ("greedy-draft", {"length": 2, "branches": "3 2"}),
    ],
)
def test_drawn_drafts_leave_the_law_as_it_is(folder, small, verifier, shape):
    """Of two tokens in a row; the likeliest have cells of their own, the others share one."""
    from transformers import TopKLogitsWarper

    model, prompt = load(folder).model, [0, 50, 60]
    speculation = Speculation(
        model,
        DraftModel(model=small, **shape),
        verifier=Verifier.named(verifier),
        processors=[TopKLogitsWarper(4)],
        auto=False,
    )
    count = 300
    rng = np.random.default_rng(3)
    drawn = [tuple(speculation.decode(prompt, 2, rng=rng).tokens) for _ in range(count)]

    def cut(law):
        kept = np.where(law >= np.sort(law)[-4], law, 0.0)
        return kept / kept.sum()

    first = cut(law_after(model, prompt, []))
    wanted = {
        (one, two): first[one] * second[two]
        for one in np.flatnonzero(first)
        for second in [cut(law_after(model, prompt, [one]))]
        for two in np.flatnonzero(second)
    }
    assert set(drawn) <= set(wanted)
    counts = np.array([drawn.count(pair) for pair in wanted])
    expected = count * np.array(list(wanted.values()))
    big = expected >= 5
    seen = np.r_[counts[big], counts[~big].sum()]
    hoped = np.r_[expected[big], expected[~big].sum()]
    kept = hoped > 0
    assert stats.chisquare(seen[kept], hoped[kept] * seen.sum() / hoped.sum()).pvalue > 0.001


# --- generate -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(folder):
    return load(folder).model


def batch():
    rows = torch.tensor([[0, 0, 7, 8, 9, 7, 8], [40, 50, 40, 50, 40, 50, 40]])
    return rows, torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])


def test_generate_gives_what_it_gives_by_itself(model):
    rows, mask = batch()
    settings = {"attention_mask": mask, "do_sample": False, "max_new_tokens": 20, "pad_token_id": 0}
    fast = SpeculativeGenerate("token-recycling", auto=False)
    assert model.generate(rows, **settings, custom_generate=fast).equal(
        model.generate(rows, **settings)
    )
    assert len(fast.decoded) == 2


@pytest.mark.parametrize("more", [{"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}])
def test_generate_uses_the_processors_it_makes(model, more):
    row = torch.tensor([[40, 50, 40, 50, 40]])
    settings = {"do_sample": False, "max_new_tokens": 20, **more}
    fast = SpeculativeGenerate("token-recycling", auto=False)
    wanted = model.generate(row, **settings)
    assert model.generate(row, **settings, custom_generate=fast).equal(wanted)
    assert not model.generate(row, do_sample=False, max_new_tokens=20).equal(wanted)
    rows, mask = batch()
    with pytest.raises(UsageError, match="several rows"):
        model.generate(rows, attention_mask=mask, **settings, custom_generate=fast)


def test_generate_ends_rows_by_their_own_ends(model):
    rows, mask = batch()
    plain = model.generate(rows, attention_mask=mask, do_sample=False, max_new_tokens=20)
    end = int(plain[1, 12])
    settings = {
        "attention_mask": mask,
        "do_sample": False,
        "max_new_tokens": 20,
        "eos_token_id": end,
        "pad_token_id": 3,
    }
    wanted = model.generate(rows, **settings)
    found = model.generate(rows, **settings, custom_generate=SpeculativeGenerate("prompt-lookup"))
    assert found.equal(wanted[:, : found.shape[1]])
    assert (wanted[:, found.shape[1] :] == 3).all()


def test_generate_samples_by_torchs_seed(model):
    rows, mask = batch()
    fast = SpeculativeGenerate("token-recycling", auto=False)

    def draw(seed):
        torch.manual_seed(seed)
        return model.generate(
            rows,
            attention_mask=mask,
            do_sample=True,
            top_p=0.9,
            max_new_tokens=12,
            pad_token_id=0,
            custom_generate=fast,
        )

    assert draw(5).equal(draw(5))
    assert not draw(5).equal(draw(6))


@pytest.mark.parametrize("more", [{"num_beams": 2}, {"return_dict_in_generate": True}])
def test_generate_is_refused_what_guesses_cannot_give(model, more):
    with pytest.raises(UsageError, match="beams|return_dict"):
        model.generate(
            torch.tensor([[5, 6]]), max_new_tokens=4, custom_generate=SpeculativeGenerate(), **more
        )
