"""A causal language model with its tokenizer, loaded from this machine and never from a network."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from samplewise.errors import UsageError
from samplewise.extras import need
from samplewise.models import builtin
from samplewise.progress import Progress, Silent

__all__ = ["LanguageModel", "load"]

Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model that is ready to use; make one with `load`.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        In evaluation mode, its weights frozen.
    tokenizer : transformers.PreTrainedTokenizerBase
    name : str
        What it was loaded by: ``"builtin"``, or a folder.
    id : str
        Names its weights: that of a folder changes when its files are written again.
    device : str
        Where it is: ``"cpu"``, ``"cuda"``, ...
    start : int
        The token that stands before the first one of every text, so that the first one too has a
        probability.
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    name: str
    id: str
    device: str
    start: int

    @property
    def positions(self) -> int | None:
        """The most tokens it was made to read at once, where it says so."""
        return getattr(self.model.config, "max_position_embeddings", None)

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """Give the token ids of each text, with no token added."""
        if not texts:
            return []
        # Its warning that a text is longer than the model reads says nothing: callers cut.
        found = self.tokenizer(texts, add_special_tokens=False, verbose=False)
        ids: list[list[int]] = found["input_ids"]
        return ids

    def turns(self, turns: Sequence[Mapping[str, str]]) -> list[int]:
        """Give the tokens of a conversation, in the model's own form where it has one.

        A last turn of the assistant's is gone on with.
        """
        if not self.tokenizer.chat_template:
            text = "\n\n".join(turn["content"] for turn in turns)
            return [self.start, *self.tokens([text])[0]]
        goes_on = turns[-1]["role"] == "assistant"
        text = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on
        )
        return self.tokens([text])[0]

    @functools.cached_property
    def ends(self) -> frozenset[int]:
        """The tokens that end an answer."""
        config = getattr(self.model, "generation_config", None)
        named = getattr(config, "eos_token_id", None)
        listed = named if isinstance(named, list) else [named]
        known = {*listed, self.tokenizer.eos_token_id}
        return frozenset(int(token) for token in known if token is not None)

    @functools.cached_property
    def has_plain_head(self) -> bool:
        """Whether its logits are its output layer on its last hidden states, and nothing more.

        Some models scale or cap their logits afterwards. It is found out by trying.
        """
        import torch

        body, head = self.model.base_model, self.model.get_output_embeddings()
        if head is None or body is self.model:
            return False
        # All over the vocabulary: the hidden state of some, such as padding, may be nothing at all.
        ids = torch.linspace(0, self.model.config.vocab_size - 1, 8).long()[None].to(self.device)
        with torch.inference_mode():
            hidden = body(input_ids=ids, use_cache=False)[0]
            logits = self.model(input_ids=ids, use_cache=False).logits
            return bool(torch.equal(head(hidden).float(), logits.float()))


def load(
    spec: str = "builtin",
    *,
    dtype: Precision = "float32",
    device: str | None = None,
    progress: Progress | None = None,
) -> LanguageModel:
    """Load a language model, once a process.

    Parameters
    ----------
    spec : str
        ``"builtin"`` (SmolLM2-135M-Instruct), or a folder that transformers' `save_pretrained`
        wrote a causal language model and its tokenizer to.
    dtype : {'float32', 'bfloat16'}
        What it computes in. A processor without bfloat16 arithmetic is several times slower in it.
    device : str, optional
        Such as ``"cpu"`` or ``"cuda"``; by default ``"cuda"`` where there is one.
    progress : Progress, optional
        Told of the unpacking of the built-in model, which takes about half a minute the first time.

    Returns
    -------
    LanguageModel

    Raises
    ------
    UsageError
        If a package is missing, there is no such model, or no such device.
    """
    if dtype not in get_args(Precision):
        raise UsageError(f"dtype is {dtype!r}", mend=f"one of {', '.join(get_args(Precision))}")
    if spec != "builtin" and not Path(spec).is_dir():
        raise UsageError(
            f"there is no folder {spec!r} to load a language model from",
            mend="give builtin, or a folder with config.json, the weights and the tokenizer",
        )
    torch, *_ = (need(name, "llm", "a language model") for name in _PACKAGES)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with _LOADING:
        if spec == "builtin":
            folder = builtin.folder(progress or Silent())
            return _load(spec, str(folder), folder.name, dtype, device)
        return _load(spec, spec, _stamp(Path(spec)), dtype, device)


_PACKAGES = ("torch", "transformers", "safetensors", "gguf", "accelerate")
_LOADING = threading.Lock()  # threads that begin together load once


@functools.lru_cache(maxsize=2)
def _load(name: str, folder: str, key: str, dtype: str, device: str) -> LanguageModel:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Whatever is wrong with a folder or a device; torch asserts that it was built for a device.
    wrong = (OSError, ValueError, RuntimeError, AssertionError, SafetensorError)
    try:
        with builtin.quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=getattr(torch, dtype), local_files_only=True
            )
        model = model.to(device).eval().requires_grad_(False)
    except wrong as error:
        raise UsageError(
            f"cannot load the language model {name!r} on {device!r}: {error}",
            mend="give a folder with config.json, the weights and the tokenizer, "
            "and a device that this machine has",
        ) from error
    return LanguageModel(model, tokenizer, name, f"{name}:{key}", device, _start(name, tokenizer))


def _stamp(folder: Path) -> str:
    """Hash the names, sizes and times of a folder's files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    known = [(str(file.relative_to(folder)), file.stat()) for file in files]
    shown = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in known])
    return hashlib.sha256(shown.encode()).hexdigest()[:20]


def _start(name: str, tokenizer: Any) -> int:
    if name == "builtin":
        return int(tokenizer.convert_tokens_to_ids(builtin.START))
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise UsageError(
        f"the tokenizer of {name!r} has no token to begin or end a text with",
        mend="set its bos_token, and save it again",
    )
