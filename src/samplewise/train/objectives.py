"""What the losses of the room share, on plain tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samplewise.extras import lazy

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["clipped_surrogate", "group_advantages", "kl_estimate", "mean_per_row"]


def mean_per_row(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average what a mask selects of every row; a row without any gives 0.

    Parameters
    ----------
    values, mask : torch.Tensor, shape (rows, length)

    Returns
    -------
    torch.Tensor, shape (rows,)
    """
    kept = torch.where(mask.bool(), values, 0.0)
    return kept.sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def clipped_surrogate(
    new: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    low: float = 0.2,
    high: float = 0.2,
) -> torch.Tensor:
    """Weigh every token by the smaller of its ratio and its clipped ratio times the advantage.

    Parameters
    ----------
    new, old : torch.Tensor, shape (rows, length)
        Log-probabilities under the policy that learns, and under the one that drew.
    advantages : torch.Tensor, shape (rows,) or (rows, length)
    low, high : float
        The ratio is clipped to [1 - low, 1 + high].

    Returns
    -------
    torch.Tensor, shape (rows, length)
        To be made large.
    """
    ratio = (new - old).exp()
    gains = advantages if advantages.dim() == 2 else advantages[:, None]
    return torch.minimum(ratio * gains, ratio.clamp(1 - low, 1 + high) * gains)


def group_advantages(
    rewards: torch.Tensor, groups: torch.Tensor, *, scale: bool = True
) -> torch.Tensor:
    """Compare each reward with the others of its group.

    Parameters
    ----------
    rewards : torch.Tensor, shape (rows,)
    groups : torch.Tensor of int64, shape (rows,)
        0 or more.
    scale : bool
        Whether they are divided by the group's standard deviation (with n - 1) plus 1e-6.

    Returns
    -------
    torch.Tensor, shape (rows,)
        A group of one keeps its reward.
    """
    count = int(groups.max()) + 1
    sizes = torch.bincount(groups, minlength=count).to(rewards)
    means = rewards.new_zeros(count).index_add(0, groups, rewards) / sizes.clamp(min=1)
    centred = rewards - means[groups]
    if scale:
        squares = rewards.new_zeros(count).index_add(0, groups, centred**2)
        deviations = (squares / (sizes - 1).clamp(min=1)).sqrt()
        centred = centred / (deviations[groups] + 1e-6)
    return torch.where(sizes[groups] > 1, centred, rewards)


def kl_estimate(new: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Estimate, from the tokens drawn, how far a policy is from another: exp(d) - d - 1.

    d is the reference's log-probability less the policy's. The estimate is never negative, and its
    mean over tokens that the policy draws is the divergence of the policy from the reference.

    Parameters
    ----------
    new, reference : torch.Tensor, of one shape
        Log-probabilities of the drawn tokens; natural logarithms.

    Returns
    -------
    torch.Tensor, of that shape

    References
    ----------
    arXiv 2402.03300
    """
    difference = reference - new
    return difference.exp() - difference - 1
