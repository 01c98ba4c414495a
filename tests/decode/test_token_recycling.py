"""The published tree, its table, and text whose next token depends on the last alone."""

import numpy as np
import pytest
import torch
from scipy import stats
from transformers.modeling_outputs import CausalLMOutput

from samplewise.decode.plain import Plain
from samplewise.decode.speculative import Speculation
from samplewise.decode.token_recycling import TokenRecycling, read_tree
from samplewise.decode.tree import ROOT, Tree
from samplewise.errors import UsageError


class Chain(torch.nn.Module):
    """A language model whose next token depends on the last alone, by a table of logits."""

    def __init__(self, table):
        from transformers import LlamaConfig

        super().__init__()
        self.table = torch.as_tensor(table)
        self.config = LlamaConfig(vocab_size=len(table), num_hidden_layers=1)
        self.dtype, self.device = self.table.dtype, torch.device("cpu")
        self.calls = 0

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, cache=None, use_cache=None
    ):
        self.calls += 1
        past = torch.zeros(1, 1, input_ids.shape[1], 1)
        cache.update(past, past, 0)
        return CausalLMOutput(logits=self.table[input_ids])


def cycle(length):
    """Each token is followed by the next, and the last by the first."""
    table = np.full((length, length), -5.0)
    table[np.arange(length), (np.arange(length) + 1) % length] = 5.0
    return Chain(table)


def test_the_published_tree():
    method = TokenRecycling()
    shape = method.shape
    assert len(shape) == 80
    assert [len(level) for level in shape.levels] == [8, 21, 25, 15, 8, 3]
    assert len(set(method.ranks)) == 80
    assert all(parent == ROOT or parent < node for node, parent in enumerate(shape.parents))


def test_once_its_table_is_full_a_chain_gives_seven_tokens_a_step():
    speculation = Speculation(cycle(20), TokenRecycling(), greedy=True, auto=False)
    speculation.decode([0], 30)
    found = speculation.decode([0], 70)
    assert found.tokens == [(token + 1) % 20 for token in range(70)]
    assert [step.given for step in found.steps] == 10 * [7]


@pytest.mark.parametrize("seed", range(3))
def test_any_table_is_lossless_and_gives_one_to_seven_tokens_a_step(seed):
    rng = np.random.default_rng(seed)
    model = Chain(rng.gumbel(size=(50, 50)))
    speculation = Speculation(model, TokenRecycling(), greedy=True, auto=False)
    speculation.drafting.table[:] = rng.integers(0, 50, (50, 8))
    found = speculation.decode([3], 60)
    assert found.tokens == Speculation(model, Plain(), greedy=True).decode([3], 60).tokens
    assert all(1 <= step.given <= 7 for step in found.steps)


def test_sampled_text_has_the_models_law():
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 1.2, (5, 5))
    law = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    speculation = Speculation(
        Chain(logits), TokenRecycling(candidates=5, tree="0 1 2 0.0 0.1 0.0.0"), auto=False
    )
    tokens = np.array(speculation.decode([0], 20_000, rng=1).tokens)
    counts = np.zeros((5, 5))
    np.add.at(counts, (np.r_[0, tokens[:-1]], tokens), 1)
    wanted = law * counts.sum(1, keepdims=True)
    statistic = ((counts - wanted) ** 2 / wanted).sum()
    assert stats.chi2.sf(statistic, df=20) > 0.001


def test_of_two_nodes_with_one_token_the_last_fills_the_table():
    method = TokenRecycling(candidates=2, tree="0 1")
    recycler = method.begin(10, None, ())
    logits = torch.zeros(3, 10)
    logits[1, [4, 5]] = torch.tensor([2.0, 1.0])
    logits[2, [7, 6]] = torch.tensor([2.0, 1.0])
    recycler.learn(3, Tree(method.shape, np.array([8, 8])), logits, [])
    assert recycler.table[8].tolist() == [7, 6]


def test_learning_from_what_was_right_alone():
    method = TokenRecycling(candidates=2, tree="0 1", update="accepted")
    recycler = method.begin(10, None, ())
    logits = torch.arange(30.0).reshape(3, 10)
    recycler.learn(3, Tree(method.shape, np.array([8, 9])), logits, [1])
    assert recycler.table[[3, 9]].tolist() == [[9, 8]] * 2
    assert recycler.table[8].tolist() == [0, 0]


def test_the_table_of_50_thousand_tokens_is_below_two_megabytes():
    table = TokenRecycling().begin(50_000, None, ()).table
    assert table.nbytes == 50_000 * 8 * 4 < 2 * 2**20


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"candidates": 4}, "rank 7"),
        ({"candidates": 0}, "candidates"),
        ({"tree": "0 0.1.0"}, "comes before its parent"),
        ({"tree": "0 0"}, "twice"),
        ({"tree": "0 x"}, "ranks joined by dots"),
        ({"tree": " "}, "empty"),
        ({"update": "some"}, "update"),
    ],
)
def test_wrong_trees_are_told(knobs, told):
    with pytest.raises(UsageError, match=told):
        TokenRecycling(**knobs)


def test_more_candidates_than_tokens_are_refused():
    with pytest.raises(UsageError, match="8 candidates of 5 tokens"):
        TokenRecycling().begin(5, None, ())


def test_reading_a_tree():
    assert read_tree("0 1 0.0 1.2") == [(0,), (1,), (0, 0), (1, 2)]
