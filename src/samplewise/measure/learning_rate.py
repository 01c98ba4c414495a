"""A learning rate that falls along half a cosine, after a ramp where one is wanted.

Use it wherever a training's length is known beforehand: compare methods only with schedules that
end when their training does.

Cost: O(1) a step.
Source: arXiv 1608.03983, without its restarts, as arXiv 2305.18424 and (with the ramp) 2309.11197
use it.
"""

from __future__ import annotations

import math

from samplewise.errors import UsageError

__all__ = ["cosine_rate"]


def cosine_rate(step: int, steps: int, *, high: float, low: float, warm_up: int = 0) -> float:
    """Give the learning rate of a step.

    Parameters
    ----------
    step : int
        From 0, where the cosine is at `high`, to `steps`, where it is at `low`. A training takes 0
        to ``steps - 1``, or 1 to `steps`, as its paper does.
    steps : int
        Of the whole training.
    high, low : float
    warm_up : int
        Steps of a ramp from 0 to 1, which the cosine is multiplied by; 0 for none.

    Raises
    ------
    UsageError
        If `step` is not from 0 to `steps`.

    References
    ----------
    Loshchilov, Hutter (2017), arXiv 1608.03983.

    Examples
    --------
    >>> [cosine_rate(step, 600, high=0.1, low=1e-4) for step in (0, 600)]
    [0.1, 0.0001]
    >>> ramped = {"high": 6e-4, "low": 6e-6, "warm_up": 200}
    >>> [float(f"{cosine_rate(step, 10_000, **ramped):.3g}") for step in (100, 5000)]
    [0.0003, 0.000303]
    """
    if not 0 <= step <= steps or steps < 1:
        raise UsageError(f"step is {step} of {steps}", mend="give a step from 0 to steps")
    ramp = min(step, warm_up) / warm_up if warm_up else 1.0
    return (low + (high - low) * (1 + math.cos(math.pi * step / steps)) / 2) * ramp
