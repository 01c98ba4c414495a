"""A model on this machine: the same tokens as transformers' own generation, in any batch."""

import asyncio
import dataclasses

import numpy as np
import pytest
import torch

from samplewise.errors import UsageError
from samplewise.models import load
from samplewise.models.completion import Request
from samplewise.models.local import LocalModel, draw_tokens
from tiny_models import save_model

QUESTIONS = ["a", "What is it?", "Say a few words, and then some more of them.", "a", "zzz"]


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def lm(request, tmp_path_factory):
    return load(save_model(tmp_path_factory.mktemp(request.param), request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return load(save_model(tmp_path_factory.mktemp("one"), "llama"))


def run(lm, use, **options):
    async def inside():
        async with LocalModel(lm, **options) as model:
            return await use(model)

    return asyncio.run(inside())


def generated(lm, question, most):
    """Give what transformers draws by itself."""
    prompt = torch.tensor([[lm.start, *lm.tokens([question])[0]]])
    found = lm.model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=most
    )
    return found[0, prompt.shape[1] :].tolist()


@pytest.mark.parametrize("batch", [1, 2, 3, 64])
def test_the_likeliest_tokens_are_those_of_transformers(lm, batch):
    most = [30, 7, 19, 1, 40]
    requests = [
        Request.ask(question, temperature=0.0, max_tokens=count)
        for question, count in zip(QUESTIONS, most, strict=True)
    ]
    found = run(lm, lambda model: model.complete(requests), batch=batch)
    for completion, question, count in zip(found, QUESTIONS, most, strict=True):
        tokens = generated(lm, question, count)
        assert completion.tokens == len(tokens)
        assert completion.text == lm.tokenizer.decode(tokens, skip_special_tokens=True)
        assert completion.finish == ("stop" if tokens[-1] in lm.ends else "length")


def test_a_seed_draws_the_same_alone_and_in_a_crowd(llama):
    requests = [Request.ask(q, seed=i, max_tokens=25) for i, q in enumerate(QUESTIONS * 4)]
    alone = [run(llama, lambda model, r=r: model.complete([r]))[0].text for r in requests]
    crowd = run(llama, lambda model: model.complete(requests), batch=7)
    assert [completion.text for completion in crowd] == alone
    others = [dataclasses.replace(request, seed=99 + i) for i, request in enumerate(requests)]
    assert [c.text for c in run(llama, lambda model: model.complete(others))] != alone


def test_log_probabilities_are_those_of_the_text(llama):
    request = Request.ask("What is it?", temperature=0.0, max_tokens=12, log_probabilities=True)
    [found] = run(llama, lambda model: model.complete([request]))
    prompt = [llama.start, *llama.tokens(["What is it?"])[0]]
    drawn = generated(llama, "What is it?", 12)
    with torch.inference_mode():
        logits = llama.model(torch.tensor([prompt + drawn])).logits[0].log_softmax(-1)
    wanted = [logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(drawn)]
    assert found.log_probabilities == pytest.approx(wanted, abs=1e-4)
    assert found.token_texts == tuple(llama.tokenizer.decode([token]) for token in drawn)


def test_a_prompt_that_is_too_long_is_the_askers_fault(llama):
    request = Request.ask("word " * llama.positions)
    [found] = run(llama, lambda model: model.complete([request]))
    assert (found.finish, found.status) == ("failed", 400)


def test_a_race_stops_within_the_step(llama):
    requests = [Request.ask("What is it?", seed=seed, temperature=2.0) for seed in range(12)]
    whole = run(llama, lambda model: model.complete(requests))
    shortest = sorted(completion.tokens for completion in whole if completion.finished)
    for wanted in (1, 3):
        raced = run(llama, lambda m, k=wanted: m.race(requests, lambda ended: len(ended) >= k))
        cutoff = shortest[wanted - 1]
        assert [one.tokens for one in raced] == [min(cutoff, one.tokens) for one in whole]
        for one, full in zip(raced, whole, strict=True):
            assert one.finish == (full.finish if full.tokens <= cutoff else "cancelled")
            assert full.text.startswith(one.text.rstrip("\ufffd"))


def test_a_stream_is_the_completion_in_pieces(llama):
    request = Request.ask("What is it?", seed=5, max_tokens=40, temperature=1.0)
    request = dataclasses.replace(request, stop=("e",))

    async def pieces(model):
        return [piece async for piece in model.stream(request)]

    [whole] = run(llama, lambda model: model.complete([request]))
    found = run(llama, pieces)
    assert "".join(piece.text for piece in found) == whole.text
    assert "e" not in whole.text
    assert dataclasses.replace(found[-1].completion, seconds=0) == dataclasses.replace(
        whole, seconds=0
    )
    assert sum(piece.tokens for piece in found) == whole.tokens


def test_a_closed_stream_leaves_the_batch(llama):
    endless = Request.ask("What is it?", seed=5, temperature=0.0)

    async def use(model):
        stream = model.stream(endless)
        await anext(stream)
        await stream.aclose()
        [after] = await model.complete([dataclasses.replace(endless, max_tokens=5)])
        assert after.finish == "length"
        return model._batch.live

    assert run(llama, use) == 0


def test_answers_begin_where_the_assistant_was(llama):
    asked = Request.ask("ab", temperature=0.0, max_tokens=3)
    [found] = run(llama, lambda model: model.complete([asked]))
    assert found.prompt_tokens == 3  # <s>, a, b


def test_what_cannot_be_drawn_fails_by_itself(llama):
    requests = [Request.ask("a" * 300), Request.ask("a", max_tokens=4)]
    long, fine = run(llama, lambda model: model.complete(requests))
    assert long.finish == "failed"
    assert "301 tokens" in long.error
    assert fine.tokens == 4
    [whole] = run(llama, lambda m: m.complete([Request.ask("a" * 250, temperature=0.0)]))
    assert whole.tokens <= 5


def test_a_broken_model_says_so(llama, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no memory")

    async def use(model):
        with monkeypatch.context() as patch:
            patch.setattr(model._batch, "_logits", broken)
            [first] = await model.complete([Request.ask("a", max_tokens=4)])
        [second] = await model.complete([Request.ask("a", max_tokens=4)])
        return first, second

    first, second = run(llama, use)
    assert (first.finish, first.error) == ("failed", "RuntimeError: no memory")
    assert second.tokens == 4


def test_a_closed_model_takes_nothing(llama):
    model = LocalModel(llama)
    asyncio.run(model.close())
    with pytest.raises(UsageError, match="closed"):
        asyncio.run(model.complete([Request.ask("a")]))
    with pytest.raises(UsageError, match="batch is 0"):
        LocalModel(llama, batch=0)


@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("words", [5, 2000])
def test_tokens_are_drawn_as_often_as_they_should(words, temperature, top_p):
    logits = torch.from_numpy(np.random.default_rng(words).normal(size=words)).float()
    chances = (logits / temperature).softmax(-1)
    order = chances.argsort(descending=True)
    count = int((chances[order].cumsum(-1) < top_p - 1e-7).sum()) + 1
    wanted = torch.zeros(words)
    wanted[order[:count]] = chances[order[:count]] / chances[order[:count]].sum()
    grid = 20_000
    points = [(i + 0.5) / grid for i in range(grid)]
    tokens = []
    for start in range(0, grid, 1000):
        rows = points[start : start + 1000]
        n = len(rows)
        tokens += draw_tokens(logits.expand(n, -1), [temperature] * n, [top_p] * n, rows)[0]
    found = torch.bincount(torch.tensor(tokens), minlength=words) / grid
    assert (found - wanted).abs().max() < 2 / grid + 1e-4


@pytest.mark.parametrize("min_p", [0.0, 0.2, 0.4, 1.0])
def test_min_p_leaves_tokens_that_are_near_the_likeliest(min_p):
    logits, n = torch.tensor([[0.0, 1.0, 0.4, -2.0]]), 2000
    chances = (logits[0] / 0.7).softmax(-1)
    wanted = torch.where(chances >= min_p * chances.max(), chances, 0.0)
    points = [(i + 0.5) / n for i in range(n)]
    tokens, _ = draw_tokens(logits.expand(n, -1), [0.7] * n, [1.0] * n, points, [min_p] * n)
    found = torch.bincount(torch.tensor(tokens), minlength=4) / n
    assert (found - wanted / wanted.sum()).abs().max() < 2 / n
    plain, _ = draw_tokens(logits.expand(n, -1), [0.7] * n, [1.0] * n, points)
    assert (tokens == plain) == (min_p == 0)
    assert (set(tokens) == {1}) == (min_p == 1)


def test_no_heat_takes_the_likeliest():
    logits = torch.tensor([[0.0, 3.0, 2.9999]])
    tokens, chances = draw_tokens(logits, [0.0], [1.0], [0.999999])
    assert tokens == [1]
    assert chances == pytest.approx([logits.log_softmax(-1)[0, 1].item()])
