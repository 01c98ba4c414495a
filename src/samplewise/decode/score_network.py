"""A small network that learns the score of points in few dimensions: from data to a sampler.

Noise is added to data points, and a perceptron learns to tell it from them: denoising score
matching. Use it to try a sampler where the score is learned, and so not quite right, before a large
model is at hand; a model of your own goes through `torch_score`. For points of more than about
twenty dimensions, or of structure, a perceptron is too weak.

Cost: O(s b h^2 l) for s steps of b points, l layers of h units; under a minute on one core.
Sources: P. Vincent (2011); the scaling of inputs and outputs is that of arXiv 2206.00364.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.decode.noising import Noising, Score, VarianceExploding, VariancePreserving
from samplewise.errors import InputError, UsageError
from samplewise.extras import need
from samplewise.files import atomic_path
from samplewise.rng import RandomState, generator, seed_of

if TYPE_CHECKING:
    import torch

__all__ = ["ScoreNetwork", "torch_score"]

Floats: TypeAlias = NDArray[np.float64]

_TIMES = 1000  # times of the noising that are learned, all but the last: there is no noise then
_WAVES = 4  # pairs of sine and cosine that tell the network how much noise there is
_NOISINGS = {"variance-exploding": VarianceExploding, "variance-preserving": VariancePreserving}


def torch_score(
    function: Callable[[torch.Tensor, float], torch.Tensor], device: str = "cpu"
) -> Score:
    """Make a score for the samplers here of one in PyTorch.

    Parameters
    ----------
    function : callable
        ``function(x, t)``: x is a float32 tensor of shape (n, d) on the device, and t a float from
        0 (noise) to 1 (data); gives the scores, of the same shape. A model that counts time the
        other way is wrapped as ``lambda x, t: model(x, 1 - t)``; one that predicts the noise, as
        ``lambda x, t: -model(x, 1 - t) / noising.spread(t)``.
    device : str

    Returns
    -------
    callable
        Maps arrays of shape (n, d) and t to arrays of the same shape. No gradient is kept.

    Raises
    ------
    UsageError
        If PyTorch is not installed.

    Examples
    --------
    >>> torch_score(lambda x, t: -x / (2 - t))(np.array([[1.0, 2.0]]), 0.0).tolist()
    [[-0.5, -1.0]]
    """
    torch = need("torch", "torch", "a score in PyTorch")

    def score(x: Floats, t: float) -> Floats:
        with torch.no_grad():
            found = function(torch.as_tensor(x, dtype=torch.float32, device=device), t)
        values: Floats = found.cpu().numpy().astype(np.float64)
        return values

    return score


@dataclass(frozen=True, eq=False)
class ScoreNetwork:
    """A perceptron that has learned a score; call it with points (n, d) and a time.

    Its score is that of a Gaussian with the data's mean and spread, and what the network adds.

    Parameters
    ----------
    noising : VarianceExploding or VariancePreserving
    centre : ndarray of float64, shape (d,)
        The data's mean.
    scale : float
        Their standard deviation, over all coordinates.
    layers : sequence of (weight, bias)
        Tensors of float32, of shapes (inputs, outputs) and (outputs,).

    References
    ----------
    P. Vincent, "A Connection Between Score Matching and Denoising Autoencoders", Neural Computation
    23 (2011).
    T. Karras et al., arXiv 2206.00364, section 5 (scaling of inputs and outputs).

    Examples
    --------
    >>> data = np.random.default_rng(0).normal(1.0, 2.0, (1000, 2))
    >>> network = ScoreNetwork.fit(data, VarianceExploding(), steps=200, hidden=16, rng=0)
    >>> network(np.array([[3.0, 1.0]]), 0.9).round(0).tolist()  # near -(x - 1) / 4
    [[-1.0, 0.0]]
    """

    noising: Noising
    centre: Floats
    scale: float
    layers: Sequence[tuple[torch.Tensor, torch.Tensor]]

    @classmethod
    def fit(
        cls,
        data: ArrayLike,
        noising: Noising,
        *,
        steps: int = 4000,
        batch_size: int = 512,
        hidden: int = 128,
        depth: int = 3,
        learning_rate: float = 2e-3,
        rng: RandomState = None,
    ) -> ScoreNetwork:
        """Learn the score of data under every noise.

        Parameters
        ----------
        data : array_like, shape (n, d)
        noising : VarianceExploding or VariancePreserving
        steps, batch_size : int
            Steps of Adam, and points a step, each with noise of its own strength.
        hidden, depth : int
            Units a hidden layer, and hidden layers.
        learning_rate : float
            At the start; it falls to 0 as half a cosine wave.
        rng : int, numpy.random.Generator or None

        Raises
        ------
        UsageError
            If the data are not finite, of two different points at least; a number is too small; or
            PyTorch is not installed.
        """
        torch = need("torch", "torch", "training a score network")
        points = np.asarray(data, np.float64)
        if points.ndim != 2 or not np.isfinite(points).all() or not (points != points[:1]).any():
            raise UsageError(
                f"data has the shape {points.shape}",
                mend="give finite points of shape (n, d), two different ones at least",
            )
        if min(steps, batch_size, hidden, depth) < 1 or not 0 < learning_rate < math.inf:
            raise UsageError(
                f"steps is {steps}, batch_size {batch_size}, hidden {hidden}, depth {depth} and "
                f"learning_rate {learning_rate}",
                mend="give 1 or more, and a learning_rate above 0",
            )
        centre = points.mean(axis=0)
        scale = float(np.sqrt(((points - centre) ** 2).mean()))
        random = torch.Generator().manual_seed(seed_of(generator(rng)))
        clean = torch.from_numpy((points - centre).astype(np.float32))
        d = points.shape[1]
        layers = _draw_layers([d + 1 + 2 * _WAVES, *([hidden] * depth), d], random)
        network = cls(noising, centre, scale, layers)
        table = torch.tensor([network._factors(place / _TIMES) for place in range(_TIMES)])
        optimizer = torch.optim.Adam([part for layer in layers for part in layer], learning_rate)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(clean), (batch_size,), generator=random)
            times = torch.randint(_TIMES, (batch_size,), generator=random)
            noise = torch.randn((batch_size, d), generator=random)
            signal, spread, size, clue = table[times, :, None].unbind(1)
            noised = signal * clean[rows] + spread * noise
            # What the Gaussian's score leaves of -noise / spread, scaled to a variance of 1.
            rest = (noised * spread / size - noise * size) / (signal * scale)
            loss = ((_perceive(noised / size, clue, layers) - rest) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
        return dataclasses.replace(network, layers=[(w.detach(), b.detach()) for w, b in layers])

    def __call__(self, x: Floats, t: float) -> Floats:
        """Give the scores at points of shape (n, d), at time t; after 0.999, those of 0.999."""
        return torch_score(self._score)(x - self._shift(t), t)

    def save(self, path: str | Path) -> None:
        """Write the network to one file, which is whole or absent."""
        names = {kind: name for name, kind in _NOISINGS.items()}
        if type(self.noising) not in names:
            raise UsageError(f"a noising of the type {type(self.noising).__name__} has no name")
        noising = {"kind": names[type(self.noising)], **dataclasses.asdict(self.noising)}
        arrays: dict[str, NDArray[Any]] = {
            f"{kind}_{place}": part.numpy()
            for place, layer in enumerate(self.layers)
            for kind, part in zip(("weight", "bias"), layer, strict=True)
        }
        arrays["centre"], arrays["scale"] = self.centre, np.array(self.scale)
        arrays["noising"] = np.array(json.dumps(noising))
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type] # none is named allow_pickle

    @classmethod
    def load(cls, path: str | Path) -> ScoreNetwork:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If the file holds no such network.
        UsageError
            If PyTorch is not installed.
        """
        torch = need("torch", "torch", "a score network")
        try:
            with np.load(path, allow_pickle=False) as held:
                noising = json.loads(str(held["noising"]))
                count = sum(name.startswith("weight_") for name in held.files)
                layers = [
                    (torch.from_numpy(held[f"weight_{i}"]), torch.from_numpy(held[f"bias_{i}"]))
                    for i in range(count)
                ]
                kind = _NOISINGS[noising.pop("kind")]
                return cls(kind(**noising), held["centre"], float(held["scale"]), layers)
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"holds no score network: {error}", file=str(path)) from error

    def _score(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Give the scores at points whose mean was taken off."""
        import torch

        signal, spread, size, clue = self._factors(t)
        rest = _perceive(x / size, torch.full((len(x), 1), clue), self.layers)
        return rest * (signal * self.scale / (spread * size)) - x / size**2

    def _shift(self, t: float) -> Floats:
        return self.noising.signal(_known(t)) * self.centre

    def _factors(self, t: float) -> tuple[float, float, float, float]:
        """Give signal, spread, the size of noised points, and how much of it is noise, as a log."""
        signal, spread = self.noising.signal(_known(t)), self.noising.spread(_known(t))
        size = math.hypot(signal * self.scale, spread)
        return signal, spread, size, math.log(spread / (signal * self.scale))


def _known(t: float) -> float:
    return min(t, 1 - 1 / _TIMES)


def _draw_layers(
    widths: Sequence[int], random: torch.Generator
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Draw weights as He et al. (2015) scale them; the last layer is 0."""
    import torch

    layers = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        gain = 0.0 if place == len(widths) - 2 else math.sqrt(2 / inputs)
        weight = gain * torch.randn((inputs, outputs), generator=random)
        layers.append((weight.requires_grad_(), torch.zeros(outputs).requires_grad_()))
    return layers


def _perceive(
    x: torch.Tensor, clue: torch.Tensor, layers: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """Run the perceptron on points (n, d) and the log of noise over signal, (n, 1)."""
    import torch

    waves = clue * 0.25 * 2.0 ** torch.arange(_WAVES)
    values = torch.cat([x, clue / 4, waves.sin(), waves.cos()], dim=1)
    for weight, bias in layers[:-1]:
        values = torch.nn.functional.silu(values @ weight + bias)
    weight, bias = layers[-1]
    return values @ weight + bias
