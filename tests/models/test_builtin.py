"""The real built-in model: unpacked in this process the first time, so up to a minute in all."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from samplewise.models import builtin, load, token_log_probabilities
from samplewise.progress import Silent

TEXT = "The sun rises in the east and sets in the west, and at noon it stands in the south."


@pytest.fixture(scope="module")
def lm():
    return load(device="cpu")


def test_unpacked_files_hold_no_trace_of_the_packing(lm):
    place = builtin.folder(Silent())
    assert {file.name for file in place.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert "quantization_config" not in (place / "config.json").read_text()
    assert (lm.name, lm.id) == ("builtin", f"builtin:{place.name}")
    assert sum(weight.numel() for weight in lm.model.parameters()) == 134_515_008
    assert lm.model.dtype == torch.float32
    assert lm.tokenizer.convert_ids_to_tokens(lm.start) == builtin.START
    assert lm.has_plain_head


def test_the_tokenizer_gives_back_what_it_read_and_knows_chat(lm):
    texts = ["def f(x):\n    return x + 1", "naïve café, 東京", "  spaces  "]
    assert lm.tokenizer.batch_decode(lm.tokens(texts)) == texts
    chat = lm.tokenizer.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False)
    assert "<|im_start|>user\nHi.<|im_end|>" in chat


def test_english_is_likelier_than_its_words_shuffled(lm):
    words = TEXT.split()
    shuffled = [" ".join(np.random.default_rng(seed).permutation(words)) for seed in range(3)]
    plain, *others = (values.mean() for values in token_log_probabilities(lm, [TEXT, *shuffled]))
    assert plain > max(others) + 1


def test_batched_equals_a_plain_forward_pass(lm):
    texts = [TEXT, "Yes.", "2 + 2 = 4"]
    for text, values in zip(texts, token_log_probabilities(lm, texts), strict=True):
        ids = lm.tokens([text])[0]
        with torch.inference_mode():
            logits = lm.model(torch.tensor([[lm.start, *ids]])).logits[0, :-1]
        expected = logits.log_softmax(-1)[range(len(ids)), ids]
        np.testing.assert_allclose(values, expected.numpy(), rtol=2e-5, atol=1e-4)


def test_another_process_loads_the_same_and_is_silent(lm):
    code = f"""
from samplewise.models import load, token_log_probabilities
print(token_log_probabilities(load(device="cpu"), [{TEXT!r}])[0].sum())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(
        float(done.stdout), token_log_probabilities(lm, [TEXT])[0].sum(), rtol=1e-5
    )
    assert done.stderr == ""
