"""Temperatures that change while a model is trained: hot first, then as the data are.

A high temperature draws small sources often: they are learnt early, and would be learnt by heart
later. ``cooldown`` therefore draws by a high one first and by a low one after a switch;
``temperature-schedule`` goes from one to another in many small steps, in either direction. Use them
where sources are related: what was learnt of a small one is forgotten after the switch where the
large ones teach something else (own finding; see the reproduction). Neither best temperatures nor
the best switch were looked for in the paper.

Cost: O(1) a draw, O(sources) each time that the temperature changes.
Source: arXiv 2410.04579.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.mix.base import Mixer, Setting, Sources, Stream
from samplewise.mix.mixture import MixtureStream
from samplewise.mix.temperature import Sampling, check_tau, temperature_stage

__all__ = ["Cooldown", "TemperatureSchedule", "switch_draw"]


@dataclass(frozen=True)
class Cooldown(Mixer):
    """Draw small sources often at first, and as often as they are after a switch.

    Parameters
    ----------
    tau_hot, tau_cold : float
        Temperatures before and after the switch; 1 or more, or infinity. The other way round they
        make the paper's increasing schedule.
    switch : float
        Share of the draws of the whole training before the switch, from 0 to 1.
    switch_at : int, optional
        The draw of the switch, in place of a share: then no total is needed.
    sampling : str
        ``temperature``, or ``scalarization``: rows as they are, with weights.

    References
    ----------
    Li, Xu, Tan, Murray, Khashabi (2024), arXiv 2410.04579.

    Examples
    --------
    >>> from samplewise.mix import mix
    >>> stream = mix(sizes=[90, 10], method="cooldown:tau_hot=inf", rng=0, total=2000)
    >>> [round(float(stream.draw(1000).sources.mean()), 1) for _ in range(2)]
    [0.5, 0.1]
    """

    name: ClassVar[str] = "cooldown"
    paper: ClassVar[str] = "2410.04579"
    cost: ClassVar[str] = "O(1) a draw"

    tau_hot: float = 5.0
    tau_cold: float = 1.0
    switch: float = 0.5
    switch_at: int | None = None
    sampling: Sampling = "temperature"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_tau(self.tau_hot, "tau_hot")
        check_tau(self.tau_cold, "tau_cold")
        self.require("switch", most=1)
        self.require("switch_at")

    def stream(self, sources: Sources, setting: Setting) -> Stream:
        """Make the stream."""
        switch = switch_draw(setting, self.switch, self.switch_at, self.name)
        stages = [
            temperature_stage(sources.sizes, 0, self.tau_hot, self.sampling),
            temperature_stage(sources.sizes, switch, self.tau_cold, self.sampling),
        ]
        return MixtureStream(sources, setting, stages)


@dataclass(frozen=True)
class TemperatureSchedule(Mixer):
    """Go from one temperature to another in many small steps.

    The paper compares two such curves, which it only draws: these two are our reading, not
    confirmed.

    Parameters
    ----------
    first, last : float
        Temperatures of the first and the last stage; 1 or more, and finite.
    curve : str
        ``linear``: by equal differences; ``exponential``: by equal ratios.
    stages : int
        Stages of equal length; 2 or more.
    sampling : str
        As `Cooldown` takes it.

    References
    ----------
    arXiv 2410.04579

    Examples
    --------
    >>> TemperatureSchedule(stages=5).taus().tolist()
    [5.0, 4.0, 3.0, 2.0, 1.0]
    """

    name: ClassVar[str] = "temperature-schedule"
    paper: ClassVar[str] = "2410.04579"
    cost: ClassVar[str] = "O(1) a draw"

    first: float = 5.0
    last: float = 1.0
    curve: Literal["linear", "exponential"] = "linear"
    stages: int = 32
    sampling: Sampling = "temperature"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, tau in (("first", self.first), ("last", self.last)):
            check_tau(tau, name)
            if math.isinf(tau):
                raise UsageError(f"{name} is {tau}", mend="give a finite number, such as 1000")
        self.require("stages", least=2)

    def taus(self) -> NDArray[np.float64]:
        """Give the temperature of each stage."""
        space = np.linspace if self.curve == "linear" else np.geomspace
        return np.asarray(space(self.first, self.last, self.stages), np.float64)

    def stream(self, sources: Sources, setting: Setting) -> Stream:
        """Make the stream."""
        stages = [
            temperature_stage(
                sources.sizes,
                switch_draw(setting, place / self.stages, None, self.name),
                float(tau),
                self.sampling,
            )
            for place, tau in enumerate(self.taus())
        ]
        return MixtureStream(sources, setting, stages)


def switch_draw(setting: Setting, share: float, draw: int | None, method: str) -> int:
    """Give the draw at which a share of the training is behind, or the one that was named.

    Raises
    ------
    UsageError
        If there is no total where one is needed.
    """
    return round(share * setting.total_for(method)) if draw is None else draw
