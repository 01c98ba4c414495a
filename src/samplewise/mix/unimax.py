"""Every source alike, but none more often than a number of passes over it.

A budget of draws is shared out evenly; what a small source cannot take without being seen too often
goes to the others. Use it where a temperature repeats small sources too much.

Cost: O(1) a draw, O(sources log sources) once.
Source: arXiv 2304.09151; how arXiv 2410.04579 tells it is here as a pace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.mix.base import Mixer, Setting, Sources, Stream
from samplewise.mix.mixture import MixtureStream, Stage

__all__ = ["UniMax", "unimax_draws"]


@dataclass(frozen=True)
class UniMax(Mixer):
    """Draw sources alike, up to a number of passes over each.

    Parameters
    ----------
    epochs : float
        Passes over a source, at most, on average; above 0. (Where the training takes more draws
        than so many passes over all sources, all are passed over as often, above it.)
    pace : str
        ``even``: each source by its share of the whole budget, all the way, as the first paper
        does. ``drop``: all alike, and a source is dropped when it has had its passes, as the second
        paper tells it.

    References
    ----------
    Chung et al. (2023), "UniMax: Fairer and more Effective Language Sampling for Large-Scale
    Multilingual Pretraining", arXiv 2304.09151. arXiv 2410.04579.

    Examples
    --------
    >>> from samplewise.mix import mix
    >>> mix(sizes=[900, 90, 10], method="unimax:epochs=2", rng=0, total=600).law()
    array([0.66666667, 0.3       , 0.03333333])
    """

    name: ClassVar[str] = "unimax"
    paper: ClassVar[str] = "2304.09151"
    cost: ClassVar[str] = "O(1) a draw"

    epochs: float = 1.0
    pace: Literal["even", "drop"] = "even"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("epochs", above=True)

    def stream(self, sources: Sources, setting: Setting) -> Stream:
        """Make the stream."""
        if self.pace == "drop":
            stages = _dropping(sources, self.epochs)
            return MixtureStream(sources, setting, stages)
        draws = unimax_draws(sources.sizes, setting.total_for(self.name), self.epochs)
        stages = [Stage(0, draws / draws.sum(), np.ones(len(draws)))]
        return MixtureStream(sources, setting, stages)


def unimax_draws(sizes: ArrayLike, total: float, epochs: float) -> NDArray[np.float64]:
    """Share out a budget evenly, but to no source more than a number of passes over it.

    Parameters
    ----------
    sizes : array_like, shape (sources,)
        Above 0.
    total : float
        The budget, in the unit of the sizes.
    epochs : float
        Passes over a source, at most.

    Returns
    -------
    ndarray of float64, shape (sources,)
        They sum to `total`, or to less where all sources have all their passes.

    References
    ----------
    arXiv 2304.09151, algorithm 1

    Examples
    --------
    >>> unimax_draws([900, 90, 10], 600, 2)
    array([400., 180.,  20.])
    """
    caps = epochs * np.asarray(sizes, dtype=np.float64)
    draws = np.empty(len(caps))
    left = float(total)
    for place, source in enumerate(np.argsort(caps, kind="stable")):
        draws[source] = min(caps[source], left / (len(caps) - place))
        left -= draws[source]
    return draws


def _dropping(sources: Sources, epochs: float) -> list[Stage]:
    """Make the stages in which a source is dropped when it has had its passes on average.

    After the last of them all are drawn by size, so that all are passed over as often.
    """
    sizes, count = sources.sizes, len(sources.sizes)
    stages: list[Stage] = []
    start, behind = 0.0, 0.0
    for cap in np.unique(sizes):
        stays = sizes >= cap
        stages.append(Stage(round(start), stays / stays.sum(), np.ones(count)))
        start += (epochs * cap - behind) * stays.sum()
        behind = epochs * cap
    return [*stages, Stage(round(start), sources.shares, np.ones(count))]
