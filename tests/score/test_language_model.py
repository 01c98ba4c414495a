from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.models import load
from samplewise.score import language_model
from samplewise.score.language_model import difficulty


@pytest.fixture(scope="module")
def lm(tiny):
    return tiny()


@pytest.fixture(scope="module")
def knobs(lm):
    return {"model": lm.name}


def losses(lm, context, text):
    """Negative log-likelihood of each token of a text after a context, by one forward pass."""
    before, ids = lm.tokens([context, text])
    with torch.no_grad():
        inputs = torch.tensor([[lm.start, *before, *ids]], device=lm.device)
        logits = lm.model(inputs).logits[0]
    return [-float(logits[len(before) + i].log_softmax(-1)[token]) for i, token in enumerate(ids)]


def uniform(tiny):
    """Make a model that finds all tokens equally likely."""
    lm = tiny(seed=7)
    lm.model.get_output_embeddings().weight.zero_()
    return lm


def test_perplexity_is_exp_of_the_mean_loss(lm, knobs):
    texts = ["a", "red green", "The cat sat on the mat."]
    pool = sw.Pool.from_rows([{"text": text} for text in texts])
    expected = [np.exp(np.mean(losses(lm, "", text))) for text in texts]
    np.testing.assert_allclose(sw.score(pool, "perplexity", **knobs).score, expected, rtol=1e-4)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(tiny):
    lm = uniform(tiny)
    rows = [{"prompt": "Say.", "response": word} for word in ("a", "bcd", "efghijkl")]
    pool = sw.Pool.from_rows(rows)
    perplexity = sw.score(pool, "perplexity", model=lm.name).score
    np.testing.assert_allclose(perplexity, lm.model.config.vocab_size, rtol=1e-5)
    np.testing.assert_allclose(sw.score(pool, "ifd", model=lm.name).score, 1.0, rtol=1e-6)


def test_ifd_by_hand(lm, knobs):
    rows = [
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        {"instruction": "Say a word.", "input": "", "output": "blue green"},
        {"instruction": "Say nothing.", "output": ""},
        {"instruction": "", "output": "No prompt."},
    ]
    found = sw.score(sw.Pool.from_rows(rows), "ifd", **knobs).score
    expected = [
        np.mean(losses(lm, "Add.\n1 2\n", "3")) / np.mean(losses(lm, "", "3")),
        np.mean(losses(lm, "Say a word.\n", "blue green")) / np.mean(losses(lm, "", "blue green")),
        0.0,
        1.0,
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_ifd_of_a_conversation_is_that_of_its_last_turn(lm, knobs):
    turns = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
    ]
    talk = sw.Pool.from_rows([{"messages": turns}])
    flat = sw.Pool.from_rows([{"prompt": "Hi.\nHello.\n1 + 1?", "response": "2"}])
    scores = [sw.score(pool, "ifd", **knobs).score[0] for pool in (talk, flat)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_ifd_compares_the_same_tokens_of_a_response_that_is_cut(lm, knobs):
    prompt, response = "p" * 30, "r" * 10 + "s" * 30
    pool = sw.Pool.from_rows([{"prompt": prompt, "response": response}])
    kept = response[:10]  # half of 20 tokens
    context = f"{prompt}\n"[-10:]
    expected = np.mean(losses(lm, context, kept)) / np.mean(losses(lm, "", kept))
    found = sw.score(pool, "ifd", max_tokens=20, **knobs).score[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
def test_every_kind_of_file_is_read_alike(kind, knobs, tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"question": ["Who?", "1 + 1?"], "answer": ["Me.", "2"]})
    path = tmp_path / f"pool{kind}"
    if kind == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif kind == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    expected = sw.score(sw.Pool.from_pandas(frame), "ifd", **knobs).score
    np.testing.assert_array_equal(sw.score(sw.Pool.read(path), "ifd", **knobs).score, expected)


def test_scores_do_not_depend_on_blocks_batches_or_seed(knobs, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": "p" * int(rng.integers(0, 30)), "response": "answer" * int(rng.integers(1, 9))}
        for _ in range(30)
    ]
    pool = sw.Pool.from_rows(rows)
    for method in ("perplexity", "ifd"):
        expected = sw.score(pool, method, rng=0, **knobs).score
        monkeypatch.setattr(language_model, "_BLOCK_ROWS", 7)
        found = sw.score(pool, method, rng=1, batch_tokens=50, **knobs).score
        monkeypatch.undo()
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert len(np.unique(expected.round(3))) > 5


@pytest.mark.parametrize("method", ["perplexity", "ifd"])
def test_progress_reaches_all_rows(method, knobs):
    class Watch:
        done: float = 0.0
        stages: tuple = ()

        @contextlib.contextmanager
        def stage(self, name, total, unit):
            self.stages += ((name, total, unit),)
            yield self.add

        def add(self, amount):
            self.done += amount

    watch = Watch()
    pool = sw.Pool.from_rows([{"prompt": f"{i}", "response": "yes"} for i in range(9)])
    sw.score(pool, method, progress=watch, **knobs)
    assert watch.stages == (("score", 9, "rows"),)
    assert watch.done == 9


def test_a_selector_chooses_by_the_score(knobs):
    pool = sw.Pool.from_arrays(np.eye(3, dtype=np.float32), text=["a", "b c d", "zq"])
    scored = sw.score(pool, "perplexity", **knobs)
    assert len(sw.select(scored, 1, "kmeans-quality", rng=0)) == 1


@pytest.mark.parametrize(
    ("rows", "field", "line"),
    [
        ([{"text": "row 3 of blob 2"}], "text", 1),
        ([{"instruction": "a", "input": "b"}], "input", 1),
        ([{"messages": ["Hi.", "Hello."]}, {"messages": ["Hi."]}], "messages", 2),
    ],
)
def test_ifd_refuses_rows_of_one_part_before_any_work(rows, field, line):
    with pytest.raises(InputError, match=f"line {line}, field '{field}'.*\n.*PROMPT,RESPONSE"):
        sw.score(sw.Pool.from_rows(rows), "ifd", model="never/loaded")


@pytest.mark.parametrize("method", ["perplexity", "ifd"])
def test_a_pool_without_texts_is_refused(method):
    with pytest.raises(InputError, match=f"{method} needs a text"):
        sw.score(sw.Pool.from_arrays(np.eye(2)), method)


@pytest.mark.parametrize("method", ["perplexity", "ifd"])
@pytest.mark.parametrize("knob", ["max_tokens", "batch_tokens"])
def test_wrong_knobs(method, knob):
    pool = sw.Pool.from_rows([{"prompt": "a", "response": "b"}])
    with pytest.raises(UsageError, match=f"{method}: knob '{knob}' is 0"):
        sw.score(pool, method, **{knob: 0})
    with pytest.raises(UsageError, match="no folder 'gpt-9'"):
        sw.score(pool, method, model="gpt-9")


def test_a_model_that_breaks_is_an_error_of_its_row(tiny):
    lm = tiny(seed=8)
    lm.model.get_output_embeddings().weight.fill_(float("nan"))
    assert load(lm.name) is lm
    pool = sw.Pool.from_rows([{"text": "a"}])
    with pytest.raises(InputError, match="perplexity.*is nan"):
        sw.score(pool, "perplexity", model=lm.name)


def test_difficulty_of_nothing_and_of_what_is_certain():
    some = np.log([0.5, 0.25])
    assert difficulty(np.empty(0), some) == 0.0
    assert difficulty(some, np.zeros(2)) == 1.0
    assert difficulty(some, some) == 1.0
    assert difficulty(some, np.log([0.25, 0.0625, 1e-9])) == 0.5  # the third was not read
