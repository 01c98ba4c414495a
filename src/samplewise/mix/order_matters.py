"""Large sources first, small ones added at the end.

The model learns from the sources with many rows alone, and then from a mixture of all: small
sources are seen late, and are not repeated while there is still much to learn from the others.

Cost: O(1) a draw.
Source: arXiv 2312.06134, as arXiv 2410.04579 compares with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from samplewise.mix.base import Mixer, Setting, Sources, Stream
from samplewise.mix.cooldown import switch_draw
from samplewise.mix.mixture import MixtureStream, Stage
from samplewise.mix.temperature import check_tau, temperature_stage

__all__ = ["OrderMatters"]


@dataclass(frozen=True)
class OrderMatters(Mixer):
    """Draw large sources alone at first, and all of them after a switch.

    The papers do not say when, or by which law, for the comparison that we follow: the defaults of
    `tau`, `switch` and `small` are ours, chosen as those of ``cooldown``.

    Parameters
    ----------
    tau : float
        Temperature of the mixture after the switch; 1 or more, or infinity. Before it, large
        sources are drawn by their size.
    small : float
        A source is small where it has less than this share of the largest one's rows; 0 to 1.
    switch, switch_at
        As `Cooldown` takes them.

    References
    ----------
    Choi et al. (2023), "Order Matters in the Presence of Dataset Imbalance for Multilingual
    Learning", arXiv 2312.06134. arXiv 2410.04579.

    Examples
    --------
    >>> from samplewise.mix import mix
    >>> stream = mix(sizes=[60, 30, 10], method="order-matters:tau=inf", rng=0, total=100)
    >>> stream.law().round(3).tolist(), stream.stages[1].law.round(3).tolist()
    ([0.667, 0.333, 0.0], [0.333, 0.333, 0.333])
    """

    name: ClassVar[str] = "order-matters"
    paper: ClassVar[str] = "2312.06134"
    cost: ClassVar[str] = "O(1) a draw"

    tau: float = 5.0
    small: float = 0.5
    switch: float = 0.5
    switch_at: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_tau(self.tau, "tau")
        self.require("switch", "small", most=1)
        self.require("switch_at")

    def stream(self, sources: Sources, setting: Setting) -> Stream:
        """Make the stream."""
        large = np.where(sources.sizes >= self.small * sources.sizes.max(), sources.sizes, 0)
        switch = switch_draw(setting, self.switch, self.switch_at, self.name)
        stages = [
            Stage(0, large / large.sum(), np.ones(len(large))),
            temperature_stage(sources.sizes, switch, self.tau, "temperature"),
        ]
        return MixtureStream(sources, setting, stages)
