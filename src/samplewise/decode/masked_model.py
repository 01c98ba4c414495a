"""A small masked model of characters: a bidirectional transformer that learns a text in minutes.

Made to try samplers on, and to be read: the network, its training and its file are all here. It
takes no time, which a masked diffusion model does not need: the best network is the law of the
hidden characters given those that can be seen. A convolution over near characters comes before the
attention, which would take many more steps to find them.

Cost: O(layers x width x (width + length)) a character and step. Source: arXiv 2409.02908, section
3, for the loss; PyTorch's transformer layers for the network.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.decode.masked_likelihood import mask_counts, mask_places
from samplewise.decode.masked_network import torch_model
from samplewise.errors import InputError, UsageError
from samplewise.extras import need
from samplewise.files import atomic_path
from samplewise.progress import Progress, Silent
from samplewise.rng import RandomState, generator, seed_of

if TYPE_CHECKING:
    import torch

__all__ = ["MASK", "CharacterModel", "Shape", "train_character_model"]

MASK = "\u2588"
"""The character that stands for a mask, a full block."""

Ints: TypeAlias = NDArray[np.int64]

_NEAR = 7  # characters that the convolution sees at once
_WARMING = 0.05  # share of the steps in which the learning rate rises


@dataclass(frozen=True)
class Shape:
    """The size of the network.

    Parameters
    ----------
    length : int
        The longest text, in characters.
    width : int
        Numbers a character; a multiple of `heads`.
    layers, heads : int
    """

    length: int = 64
    width: int = 128
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        for field, value in asdict(self).items():
            if value < 1:
                raise UsageError(f"{field} is {value}", mend="give 1 or more")
        if self.width % self.heads:
            raise UsageError(
                f"width is {self.width}, with {self.heads} heads", mend="give a multiple of heads"
            )


class CharacterModel:
    """A trained network, its alphabet and its shape; it can be called as any masked model.

    Parameters
    ----------
    alphabet : str
        Character number i is token i; token ``len(alphabet)`` is the mask.
    shape : Shape
    network : torch.nn.ModuleDict
    """

    def __init__(self, alphabet: str, shape: Shape, network: torch.nn.ModuleDict) -> None:
        self.alphabet, self.shape, self.network = alphabet, shape, network.eval()
        self._model = torch_model(lambda tokens, _: _logits(network, tokens), len(alphabet))

    @property
    def vocabulary(self) -> int:
        """Number of characters."""
        return len(self.alphabet)

    def __call__(self, tokens: Ints, time: NDArray[np.float64] | None = None) -> NDArray[Any]:
        """Give logits, shape (rows, length, vocabulary); the time changes nothing.

        Raises
        ------
        UsageError
            If the tokens are longer than the network's length.
        """
        if tokens.shape[1] > self.shape.length:
            raise UsageError(
                f"tokens are {tokens.shape[1]} long",
                mend=f"give at most {self.shape.length}, the model's length",
            )
        return self._model(tokens, time)

    def encode(self, text: str) -> Ints:
        """Turn a text into tokens; `MASK` becomes the mask.

        Raises
        ------
        UsageError
            If a character is not in the alphabet.
        """
        return _encode(text, self.alphabet + MASK)

    def decode(self, tokens: Ints) -> str:
        """Turn tokens into a text; the mask becomes `MASK`."""
        return "".join((self.alphabet + MASK)[token] for token in tokens)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, which is whole or absent."""
        save_file = need("safetensors.torch", "llm", "a model's file").save_file
        about = json.dumps({"alphabet": self.alphabet, "shape": asdict(self.shape)})
        tensors = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"character_model": about})

    @classmethod
    def load(cls, path: str | Path) -> CharacterModel:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If the file is none of a character model.
        """
        safetensors = need("safetensors", "llm", "a model's file")
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["character_model"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            shape = Shape(**about["shape"])
            network = _network(len(about["alphabet"]), shape)
            network.load_state_dict(tensors)
        except (OSError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            raise InputError(
                f"is no file of a character model: {error}",
                file=str(path),
                mend="give one that CharacterModel.save wrote",
            ) from error
        return cls(about["alphabet"], shape, network)


def train_character_model(
    text: str,
    shape: Shape | None = None,
    *,
    steps: int = 1000,
    batch: int = 64,
    learning_rate: float = 2e-3,
    rng: RandomState = 0,
    progress: Progress | None = None,
) -> CharacterModel:
    """Train a masked model on all windows of a text.

    The loss of a window is the mean cross-entropy over its masks, whose number is drawn evenly from
    1 to the length: an estimate of the evidence lower bound a character. The same `rng` gives the
    same model on one machine and number of threads.

    Parameters
    ----------
    text : str
        Longer than `shape.length`, and without `MASK`.
    shape : Shape, optional
    steps : int
        Steps of AdamW.
    batch : int
        Windows a step.
    learning_rate : float
        The largest; it rises first, and falls to 0 along a line.
    rng : int, numpy.random.Generator or None
    progress : Progress, optional

    Returns
    -------
    CharacterModel

    Raises
    ------
    UsageError
        If the text is too short or holds the mask, or a number makes no sense.

    References
    ----------
    arXiv 2409.02908, section 3

    Examples
    --------
    >>> model = train_character_model(
    ...     "abc " * 20, Shape(8, 16, 1, 2), steps=150, batch=16, learning_rate=0.01
    ... )
    >>> hidden = model.encode("abc" + MASK)[None]
    >>> model.alphabet[model(hidden)[0, 3].argmax()]
    ' '
    """
    torch = need("torch", "torch", "a masked model")
    size = shape or Shape()
    for name, number in {"steps": steps, "batch": batch}.items():
        if number < 1:
            raise UsageError(f"{name} is {number}", mend="give 1 or more")
    if not learning_rate > 0:
        raise UsageError(f"learning_rate is {learning_rate}", mend="give a number above 0")
    if len(text) <= size.length or MASK in text:
        raise UsageError(
            f"text has {len(text)} characters, or holds {MASK!r}",
            mend=f"give more than {size.length} characters, none of them the mask",
        )
    random = generator(rng)
    alphabet = "".join(sorted(set(text)))
    corpus = _encode(text, alphabet)
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays
        torch.manual_seed(seed_of(random))
        network = _network(len(alphabet), size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_up(steps))
    with (progress or Silent()).stage("train", steps, "steps") as advance:
        for _ in range(steps):
            starts = random.integers(len(corpus) - size.length, size=batch)
            windows = corpus[starts[:, None] + np.arange(size.length)]
            counts = mask_counts(batch, size.length, random)
            hidden = mask_places(counts, size.length, random)
            loss = _loss(network, windows, hidden, counts)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            rate.step()
            advance(1)
    return CharacterModel(alphabet, size, network)


def _network(vocabulary: int, shape: Shape) -> torch.nn.ModuleDict:
    from torch import nn

    def layer() -> nn.Module:
        return nn.TransformerEncoderLayer(
            shape.width,
            shape.heads,
            4 * shape.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )

    def table(count: int) -> nn.Embedding:
        found = nn.Embedding(count, shape.width)
        nn.init.normal_(found.weight, std=0.1)
        return found

    return nn.ModuleDict(
        {
            "character": table(vocabulary + 1),
            "place": table(shape.length),
            "near": nn.Conv1d(shape.width, shape.width, _NEAR, padding=_NEAR // 2),
            "layers": nn.ModuleList(layer() for _ in range(shape.layers)),
            "norm": nn.LayerNorm(shape.width),
            "head": nn.Linear(shape.width, vocabulary),
        }
    )


def _logits(network: Any, tokens: torch.Tensor) -> torch.Tensor:
    state = network["character"](tokens) + network["place"].weight[: tokens.shape[1]]
    state = state + network["near"](state.transpose(1, 2)).transpose(1, 2)
    for layer in network["layers"]:
        state = layer(state)
    logits: torch.Tensor = network["head"](network["norm"](state))
    return logits


def _loss(network: Any, windows: Ints, hidden: NDArray[np.bool_], counts: Ints) -> torch.Tensor:
    """Average the cross-entropy over the masks of each window, and then over windows."""
    import torch

    mask = network["head"].out_features
    shown = torch.from_numpy(np.where(hidden, mask, windows))
    where = torch.from_numpy(hidden)
    weights = torch.from_numpy(1 / counts).float().repeat_interleave(torch.from_numpy(counts))
    losses = torch.nn.functional.cross_entropy(
        _logits(network, shown)[where], torch.from_numpy(windows)[where], reduction="none"
    )
    return (losses * weights).sum() / len(windows)


def _warm_up(steps: int) -> Callable[[int], float]:
    warming = max(1, round(_WARMING * steps))
    return lambda step: min((step + 1) / warming, (steps - step) / max(1, steps - warming))


def _encode(text: str, alphabet: str) -> Ints:
    numbers = {character: number for number, character in enumerate(alphabet)}
    unknown = sorted(set(text) - set(numbers))
    if unknown:
        raise UsageError(
            f"text holds {unknown[0]!r}, which the model has not seen",
            mend="leave it out, or train on a text that holds it",
        )
    return np.array([numbers[character] for character in text], np.int64)
