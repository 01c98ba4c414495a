import copy
import math

import numpy as np
import pytest
import torch

from samplewise.errors import UsageError
from samplewise.measure.compute_class import normalised_metrics
from samplewise.models.gpt import GPT
from samplewise.models.quasi_lstm import QuasiLSTM
from samplewise.models.sizes import Size
from samplewise.train.document_streams import DocumentStreams
from samplewise.train.stream_training import (
    adam,
    score_on_streams,
    stream_step,
    train_on_streams,
)

RANDOM = np.random.default_rng(0)
DOCUMENTS = [RANDOM.integers(3, 9, n) for n in (21, 9, 17, 30, 5, 14)]
SIZE = Size(layers=1, width=8, heads=2, head_width=4, block=4)


def quasi(seed=0):
    return QuasiLSTM(SIZE, 9, rng=seed).double()


def test_the_score_is_that_of_whole_streams_however_they_are_cut():
    model = quasi()
    streams = DocumentStreams(DOCUMENTS, 1, 7)
    whole = np.concatenate([np.append(one, 2) for one in DOCUMENTS])
    tokens = torch.from_numpy(whole)[None]
    with torch.no_grad():
        laws = model(tokens[:, :-1])[0][0].log_softmax(1)
    total = -float(laws[torch.arange(len(whole) - 1), tokens[0, 1:]].sum())
    order = laws.argsort(dim=1, descending=True)
    ranks = (order == tokens[0, 1:, None]).nonzero()[:, 1]
    score = score_on_streams(model, streams)
    assert score.total == pytest.approx(total, rel=1e-12)
    assert score.tokens == len(whole) - 1
    assert score.top_1 == pytest.approx(float((ranks == 0).double().mean()))
    assert score.top_10 == 1.0  # of nine tokens
    assert model.training


def test_more_context_for_each_token_is_what_sliding_windows_give():
    model = GPT(SIZE, 9, length=6).double()
    tokens = torch.from_numpy(np.append(DOCUMENTS[0], 2))
    total = 0.0
    with torch.no_grad():
        for place in range(1, len(tokens)):
            # The first window is whole; each later one scores its last two targets.
            last = max(6, 6 + 2 * -(-(place - 6) // 2))
            inputs = tokens[last - 6 : place][None]
            law = model(inputs)[0][0, -1].log_softmax(0)
            total -= float(law[tokens[place]])
    score = score_on_streams(model, DocumentStreams([DOCUMENTS[0]], 1, 6, shift=2))
    assert score.total == pytest.approx(total, rel=1e-12)
    assert score.tokens == len(tokens) - 1


def test_micro_batches_give_one_gradient():
    updates = []
    for parts in (1, 2, 4):
        model = quasi()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        streams = DocumentStreams(DOCUMENTS, 4, 6, micro_batches=parts)
        losses, states = [], None
        for window in streams:
            loss, states = stream_step(model, optimizer, window, states)
            losses.append(loss)
        updates.append((losses, torch.cat([w.detach().flatten() for w in model.parameters()])))
    for losses, weights in updates[1:]:
        np.testing.assert_allclose(losses, updates[0][0], rtol=1e-12)
        torch.testing.assert_close(weights, updates[0][1], rtol=0, atol=1e-12)


def test_training_carries_the_state_and_ends_at_the_lowest_rate():
    streams = DocumentStreams(DOCUMENTS, 2, 6, repeat=True)
    model, other = quasi(), quasi()
    losses = train_on_streams(model, streams, 3, high=0.01, low=0.001, warm_up=2)
    optimizer = adam(other)
    states = None
    for number, rate in enumerate([0.5 * 0.00775, 0.00325, 0.001]):
        optimizer.param_groups[0]["lr"] = rate
        loss, states = stream_step(other, optimizer, streams.window(number), states)
        assert loss == pytest.approx(losses[number], rel=1e-12)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)
    fresh, _ = stream_step(copy.deepcopy(other), optimizer, streams.window(3))
    carried, _ = stream_step(copy.deepcopy(other), optimizer, streams.window(3), states)
    assert fresh != carried


@pytest.mark.parametrize("make", [lambda: GPT(SIZE, 9, 6), lambda: QuasiLSTM(SIZE, 9)])
def test_a_rule_is_learned(make):
    text = np.tile([3, 4, 5, 6, 7, 8], 40)
    model = make()
    train_on_streams(
        model, DocumentStreams([text] * 2, 2, 6, repeat=True), 80, high=0.03, warm_up=10
    )
    score = score_on_streams(model, DocumentStreams([text], 1, 6))
    assert normalised_metrics(score.total, score.tokens, score.tokens).perplexity < 1.5
    assert score.top_1 > 0.95


def test_a_uniform_model_scores_the_vocabulary():
    model = GPT(SIZE, 9, 6)
    torch.nn.init.zeros_(model.output.weight)
    score = score_on_streams(model, DocumentStreams(DOCUMENTS, 2, 6))
    assert score.total == pytest.approx(score.tokens * math.log(9))


def test_streams_that_end_too_early_or_never_are_refused():
    with pytest.raises(UsageError, match="the documents end after 3 of 9 steps"):
        train_on_streams(quasi(), DocumentStreams([np.arange(3, 9)] * 2, 1, 5), 9)
    with pytest.raises(UsageError, match="repeat for ever"):
        score_on_streams(quasi(), DocumentStreams(DOCUMENTS, 1, 4, repeat=True))
    with pytest.raises(UsageError, match="have no target"):
        score_on_streams(quasi(), Empty(DOCUMENTS, 1, 4))


class Empty(DocumentStreams):
    """Streams of one token each."""

    def window(self, number):
        window = super().window(number)
        return window._replace(scored=np.zeros_like(window.scored))
