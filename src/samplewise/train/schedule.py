"""How the learning rate rises and falls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samplewise.extras import lazy

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["linear_schedule", "linear_share"]


def linear_schedule(
    optimizer: torch.optim.Optimizer, steps: int, ramp: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Let the learning rate rise along a line for some steps, then fall to 0 along another."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: linear_share(step, steps, ramp)
    )


def linear_share(step: int, steps: int, ramp: int) -> float:
    """Give the share of the highest learning rate that a step has.

    Parameters
    ----------
    step : int
        From 0.
    steps : int
        Of the whole training.
    ramp : int
        Steps of the rise; of a shorter training, at most half.

    Returns
    -------
    float
        In (0, 1] up to the last step.

    Examples
    --------
    >>> [linear_share(step, 6, 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    rise = min(ramp, steps // 2)
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (steps - step) / (steps - rise))
