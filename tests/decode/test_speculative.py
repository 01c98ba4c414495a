"""Decoding with guesses gives what plain decoding gives."""

import copy

import numpy as np
import pytest
import torch
import transformers
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from samplewise.decode.draft_model import DraftModel
from samplewise.decode.plain import Plain
from samplewise.decode.prompt_lookup import PromptLookup, look_up
from samplewise.decode.speculative import Speculation
from samplewise.decode.token_recycling import TokenRecycling
from samplewise.decode.tree import ROOT, Shape, Tree
from samplewise.errors import UsageError
from samplewise.models import load
from samplewise.models.reader import Reader
from tiny_models import save_model

PROMPT = [0, 50, 60, 70, 50, 60]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    return {
        "llama": save_model(home / "llama"),
        "gpt2": save_model(home / "gpt2", kind="gpt2"),
        "small": save_model(home / "small", seed=0, spread=0.28),  # guesses well, not always
    }


@pytest.fixture(scope="module")
def models(folders):
    """In double precision, so that a tree and single tokens are never rounded differently."""
    return {name: copy.deepcopy(load(folder).model).double() for name, folder in folders.items()}


def free_drafts():
    return [
        TokenRecycling(),
        TokenRecycling(update="accepted"),
        TokenRecycling(candidates=3, tree="0 1 2 0.0 0.1 1.0 0.0.0"),
        PromptLookup(ngram=2, length=5),
    ]


def plainly(model, most=40, **settings):
    return Speculation(model, Plain(), **settings).decode(PROMPT, most, rng=3).tokens


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("draft", free_drafts(), ids=repr)
def test_greedy_text_is_that_of_generate(models, kind, draft, auto):
    model = models[kind]
    ids = torch.tensor([PROMPT])
    wanted = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40
    )[0, len(PROMPT) :].tolist()
    speculation = Speculation(model, draft, greedy=True, ends=[1], auto=auto)
    for _ in range(2):  # the second time with what was learnt in the first
        found = speculation.decode(PROMPT, 40, rng=0)
        assert found.tokens == wanted
    if not auto:
        assert found.tokens_per_step > 1


@pytest.mark.parametrize("branches", [None, "3 2 1"])
@pytest.mark.parametrize("auto", [False, True])
def test_greedy_text_with_a_smaller_model(models, folders, branches, auto):
    draft = DraftModel(model=folders["small"], length=4, sequences=2, branches=branches)
    speculation = Speculation(models["llama"], draft, greedy=True, auto=auto)
    found = [speculation.decode(PROMPT, 40, rng=0) for _ in range(2)]
    assert [one.tokens for one in found] == 2 * [plainly(models["llama"], greedy=True)]


def test_a_model_that_drafts_for_itself_is_always_right(models, folders):
    draft = DraftModel(model=folders["llama"], length=4)
    found = Speculation(models["llama"], draft, greedy=True, auto=False).decode(PROMPT, 40)
    assert [step.given for step in found.steps] == 8 * [5]
    assert found.accepted_by_depth == [1.0] * 4


class Counting(LogitsProcessor):
    """Has a memory, as Mirostat has: what it does depends on how often it was called, and where."""

    def __init__(self):
        self.lengths = []

    def __call__(self, input_ids, scores):
        self.lengths.append(input_ids.shape[1])
        return scores / (1 + 0.2 * (len(self.lengths) % 3)) - 0.1 * (scores > 1) * input_ids[0, -1]


PROCESSORS = {
    "temperature": [TemperatureLogitsWarper(0.7)],
    "top-k": [TopKLogitsWarper(7)],
    "top-p": [TopPLogitsWarper(0.8)],
    "min-p": [MinPLogitsWarper(0.05)],
    "typical": [TypicalLogitsWarper(0.9)],
    "repetition": [RepetitionPenaltyLogitsProcessor(1.3), TemperatureLogitsWarper(0.9)],
}


@pytest.mark.parametrize("draft", free_drafts(), ids=repr)
@pytest.mark.parametrize("processors", PROCESSORS.values(), ids=PROCESSORS.keys())
def test_sampled_text_is_that_of_plain_decoding_with_the_same_numbers(models, draft, processors):
    model = models["llama"]
    speculation = Speculation(model, draft, processors=processors, auto=False)
    found = speculation.decode(PROMPT, 60, rng=3)
    assert found.tokens == plainly(model, 60, processors=processors)
    assert sum(step.given for step in found.steps) == 60


def test_a_processor_with_a_memory_is_called_as_in_plain_decoding(models):
    called = {}
    for draft in (Plain(), TokenRecycling()):
        processor = Counting()
        speculation = Speculation(models["llama"], draft, processors=[processor], auto=False)
        speculation.decode(PROMPT, 50, rng=1)
        called[draft.name] = (speculation.decode(PROMPT, 50, rng=1).tokens, processor.lengths)
    assert called["plain"] == called["token-recycling"]
    assert called["plain"][1] == 2 * list(range(len(PROMPT), len(PROMPT) + 50))


def test_it_ends_where_plain_decoding_ends(models):
    model = models["llama"]
    whole = plainly(model, greedy=True)
    end = whole[25]
    wanted = whole[: whole.index(end) + 1]
    for draft in free_drafts():
        speculation = Speculation(model, draft, greedy=True, ends=[end], auto=False)
        for _ in range(2):
            found = speculation.decode(PROMPT, 40)
            assert (found.tokens, found.finish) == (wanted, "stop")
        stopping = Speculation(model, draft, greedy=True, auto=False)
        found = stopping.decode(PROMPT, 40, stop=lambda tokens: len(tokens) >= 13)
        assert found.tokens == whole[: 13 - len(PROMPT)]


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_no_more_comes_out_than_was_asked_for(models, most):
    for draft in free_drafts():
        speculation = Speculation(models["llama"], draft, greedy=True, auto=False)
        speculation.decode(PROMPT, 40)
        found = speculation.decode(PROMPT, most)
        assert found.tokens == plainly(models["llama"], greedy=True)[:most]
        assert found.finish == "length"


def test_a_prompt_of_one_token(models):
    found = Speculation(models["llama"], TokenRecycling(), greedy=True).decode([5], 10)
    plain = Speculation(models["llama"], Plain(), greedy=True).decode([5], 10)
    assert found.tokens == plain.tokens


def test_wrong_requests_are_told():
    with pytest.raises(UsageError, match="prompt of 0 tokens"):
        Speculation.decode(None, [], 5)


def tiny(family, **more):
    """Make a small random model of a family, in double precision."""
    shape = {
        "vocab_size": 100,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "pad_token_id": 2,
        "initializer_range": 0.3,
    }
    config = getattr(transformers, f"{family}Config")(**{**shape, **more})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, f"{family}ForCausalLM")(config).double().eval()


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("Qwen3", {"head_dim": 8}),
        ("Mistral", {"sliding_window": None}),
        ("GPTNeoX", {}),
        ("Phi3", {}),
        ("OPT", {"word_embed_proj_dim": 32, "ffn_dim": 64}),
        ("Cohere", {}),
    ],
)
def test_other_families_of_models(family, more):
    model = tiny(family, **more)
    speculation = Speculation(model, TokenRecycling(), greedy=True, auto=False)
    ids = torch.tensor([PROMPT[:3] * 2])
    wanted = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=30,
        eos_token_id=[],
    )[0, 6:].tolist()
    for _ in range(2):
        assert speculation.decode(ids[0].tolist(), 30).tokens == wanted


@pytest.mark.parametrize(
    ("family", "told"),
    [
        ("Gemma2", "sliding_attention"),
        ("Mistral", "sliding_attention"),
        ("Bloom", "takes no positions"),
        ("Mamba", "cannot be cut"),
    ],
)
def test_models_whose_past_cannot_be_cut_are_refused(family, told):
    with pytest.raises(UsageError, match=told):
        Speculation(tiny(family), Plain())


def test_a_smaller_model_must_have_the_same_tokens(models, folders):
    with pytest.raises(UsageError, match="tokens, and the target"):
        DraftModel(model=folders["small"]).begin(77, None, ())
    with pytest.raises(UsageError, match="no model is named"):
        DraftModel().begin(77, None, ())
    with pytest.raises(UsageError, match="no verifier"):
        Speculation(models["llama"], DraftModel(model=folders["small"]))


def test_surprise_and_entropy_are_of_the_model_itself(models):
    model = models["llama"]
    speculation = Speculation(
        model, TokenRecycling(), processors=[TemperatureLogitsWarper(0.5)], auto=False, trace=True
    )
    found = speculation.decode(PROMPT, 20, rng=0)
    text = torch.tensor([PROMPT + found.tokens])
    with torch.inference_mode():
        logs = model(text).logits[0, len(PROMPT) - 1 : -1].log_softmax(-1).numpy() / np.log(2)
    own = -logs[np.arange(20), found.tokens]
    np.testing.assert_allclose(found.surprises, own, rtol=1e-4)
    np.testing.assert_allclose(found.entropies, -(np.exp2(logs) * logs).sum(1), rtol=1e-4)


# --- the tree -------------------------------------------------------------------------------------


def test_a_tree_is_read_as_each_of_its_ways_is(models):
    model = models["llama"]
    rng = np.random.default_rng(0)
    shape = TokenRecycling().shape
    tokens = rng.integers(2, 250, len(shape))
    reader = Reader(model)
    reader.read(PROMPT[:-1])
    seen = np.ones((81, 81), dtype=bool)
    seen[0, 1:] = False
    seen[1:, 1:] = shape.ancestors
    logits = reader.guess([PROMPT[-1], *tokens], [0, *shape.depths], seen)
    for node in range(len(shape)):
        way = [tokens[one] for one in range(node + 1) if shape.ancestors[node, one]]
        with torch.inference_mode():
            alone = model(torch.tensor([[*PROMPT, *way]])).logits[0, -1]
        torch.testing.assert_close(logits[node + 1], alone, rtol=1e-9, atol=1e-9)


def test_the_branch_that_is_kept_reads_on_as_if_it_had_been_read_alone(models):
    reader = Reader(models["llama"])
    reader.read(PROMPT)
    shape = Shape((ROOT, ROOT, 1, 0, 2))
    reader.guess([11, 12, 13, 14, 15], shape.depths - 1, shape.ancestors)
    reader.keep([1, 2, 4])
    assert reader.length == len(PROMPT) + 3
    with torch.inference_mode():
        alone = models["llama"](torch.tensor([[*PROMPT, 12, 13, 15, 16]])).logits[0, -1]
    torch.testing.assert_close(reader.read([16]), alone, rtol=1e-9, atol=1e-9)


def test_alike_siblings_are_all_followed():
    tree = Tree(Shape((ROOT, ROOT, 1)), np.array([4, 4, 9]))
    assert tree.follow([4, 9]) == [1, 2]


def test_look_up_takes_the_longest_and_latest():
    text = np.array([1, 2, 3, 9, 2, 3, 8, 1, 2, 3])
    assert look_up(text, 3, 2).tolist() == [9, 2]  # all three, though two stand later too
    assert look_up(text, 2, 2).tolist() == [8, 1]
    assert look_up(np.array([1, 2, 3]), 3, 2).tolist() == []
    assert look_up(np.array([1]), 3, 2).tolist() == []


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: PromptLookup(ngram=0), "ngram"),
        (lambda: PromptLookup(length=0), "length"),
        (lambda: DraftModel(length=0), "length"),
        (lambda: DraftModel(branches="2 x"), "branches"),
    ],
)
def test_bad_knobs_are_named(make, named):
    with pytest.raises(UsageError, match=named):
        make()
