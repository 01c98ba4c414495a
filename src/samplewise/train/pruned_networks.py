"""Networks that get smaller: which channels or weights to keep, the smaller network, its cost.

Channels that are pruned together are a `Group`: the layers that make them, the norms that scale
them, and the layers that read them. `chain` finds the groups of a plain `torch.nn.Sequential`; for
any other network, name them: with residual additions, either prune only channels inside of a block,
or let one group have all the producers that are added. Cost: O(weights), and a pass for `flops`.

Source: arXiv 1810.05270 and its code; L1 norms, arXiv 1608.08710; network slimming, arXiv
1708.06519; soft filter pruning, arXiv 1808.06866; weights by magnitude, arXiv 1506.02626.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from samplewise.errors import UsageError
from samplewise.extras import lazy

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", "torch", "training")

__all__ = [
    "Group",
    "Kept",
    "Masks",
    "apply_masks",
    "chain",
    "convolutional",
    "flops",
    "initialise",
    "largest",
    "magnitude_masks",
    "mask_gradients",
    "norms_of_filters",
    "parameters",
    "rebuild",
    "silence",
    "slimmed",
    "widths_of",
    "zero_smallest",
]

Kept = list[list[int]]
"""The channels that each group keeps, in rising order."""
Masks = dict[str, "torch.Tensor"]
"""Which weights of a layer are there, by the name of its weight."""


class Group(NamedTuple):
    """Layers that share channels, by their names in the network.

    Attributes
    ----------
    producers : tuple of str
        Convolutions whose outputs they are.
    norms : tuple of str
        Batch norms over them.
    consumers : tuple of str
        Convolutions or linear layers that read them; a linear layer reads all places of the first
        channel, then all of the second, ..., as `torch.nn.Flatten` puts them.
    """

    producers: tuple[str, ...]
    norms: tuple[str, ...]
    consumers: tuple[str, ...]


# --- networks -------------------------------------------------------------------------------------


def widths_of(text: str) -> list[int | None]:
    """Read the widths of convolutions; ``M`` halves height and width.

    Raises
    ------
    UsageError
        If they cannot be read.

    Examples
    --------
    >>> widths_of("32,64,M,64")
    [32, 64, None, 64]
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word == "M" or (word.isdecimal() and int(word)) for word in words):
        raise UsageError(f"widths is {text!r}", mend="write whole numbers and M, as in 32,64,M,64")
    widths = [None if word == "M" else int(word) for word in words]
    if not any(widths):
        raise UsageError(f"widths is {text!r}", mend="give one convolution or more")
    return widths


def convolutional(
    widths: Sequence[int | None], channels: int, classes: int, random: torch.Generator
) -> torch.nn.Sequential:
    """Make a plain network: 3 x 3 convolutions with batch norm, mean over places, linear layer.

    Parameters
    ----------
    widths : sequence of int or None
        As `widths_of` gives them.
    channels, classes : int
    random : torch.Generator
        Of the weights, as `initialise` draws them.
    """
    nn = torch.nn
    layers: list[torch.nn.Module] = []
    before = channels
    # Layers draw first weights of torch's own, which are not used.
    with torch.random.fork_rng(devices=[]):
        for width in widths:
            if width is None:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
            layers.append(nn.ReLU(inplace=True))
            before = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    model = nn.Sequential(*layers)
    initialise(model, random)
    return model


def initialise(
    model: torch.nn.Module,
    random: torch.Generator,
    masks: Masks | None = None,
    norm_scale: float = 0.5,
) -> None:
    """Draw all weights anew, as the code of the paper does.

    A convolution is normal with the variance 2 / n, where n is kernel size times outputs, or, with
    a mask, its weights over its inputs; a linear layer has the deviation 0.01; biases are 0.

    Parameters
    ----------
    model : torch.nn.Module
    random : torch.Generator
        On the CPU.
    masks : dict of str to torch.Tensor, optional
    norm_scale : float
        Scale of batch norms: 0.5 for plain networks, 1 for residual ones.
    """
    masks = masks or {}
    with torch.no_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, torch.nn.Conv2d):
                mask = masks.get(f"{name}.weight")
                count = layer.weight.numel() if mask is None else int(mask.sum())
                deviation = math.sqrt(2 * layer.weight.shape[1] / count)
                _draw(layer.weight, deviation, random)
            elif isinstance(layer, torch.nn.Linear):
                _draw(layer.weight, 0.01, random)
            elif isinstance(layer, torch.nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.weight.fill_(norm_scale)
            if isinstance(getattr(layer, "bias", None), torch.nn.Parameter):
                layer.bias.zero_()
    apply_masks(model, masks)


def _draw(weight: torch.Tensor, deviation: float, random: torch.Generator) -> None:
    weight.copy_(torch.randn(weight.shape, generator=random) * deviation)


def chain(model: torch.nn.Module) -> list[Group]:
    """Find the groups of a plain chain: every convolution with what follows it.

    Raises
    ------
    UsageError
        If it is no `torch.nn.Sequential` of layers, or ends with a convolution.
    """
    if not isinstance(model, torch.nn.Sequential):
        raise UsageError(
            f"{type(model).__name__} is no torch.nn.Sequential",
            mend="give a plain chain of layers, or write a loop with rebuild and your own groups",
        )
    nn = torch.nn
    layers = [(n, m) for n, m in model.named_modules() if not any(m.children())]
    weighted = (nn.Conv2d, nn.Linear)
    made = [place for place, (_, layer) in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    groups = []
    for start in made:
        following = layers[start + 1 :]
        stop = next((i for i, (_, m) in enumerate(following) if isinstance(m, weighted)), None)
        if stop is None:
            raise UsageError("the network ends with a convolution", mend="end it with nn.Linear")
        norms = [n for n, m in following[:stop] if isinstance(m, nn.BatchNorm2d)]
        groups.append(Group((layers[start][0],), tuple(norms), (following[stop][0],)))
    if not groups:
        raise UsageError("the network has no nn.Conv2d", mend="give one with filters to prune")
    return groups


# --- what to keep ---------------------------------------------------------------------------------


def norms_of_filters(model: torch.nn.Module, group: Group, order: int = 1) -> torch.Tensor:
    """Give a norm of each filter of a group: 1 sums absolute weights, 2 is Euclid's.

    Returns
    -------
    torch.Tensor, shape (channels,)
        Summed over producers.
    """
    weights = [_layer(model, name).weight.detach().flatten(1) for name in group.producers]
    return torch.stack([weight.norm(p=order, dim=1) for weight in weights]).sum(dim=0)


def largest(scores: torch.Tensor, count: int) -> list[int]:
    """Find the largest scores, in rising order of their places; of equals the first ones.

    Examples
    --------
    >>> import torch
    >>> largest(torch.tensor([1.0, 3.0, 2.0, 2.0]), 2)
    [1, 2]
    """
    return sorted(scores.sort(descending=True, stable=True).indices[:count].tolist())


def slimmed(model: torch.nn.Module, groups: Sequence[Group], share: float) -> Kept:
    """Keep channels whose scale in a batch norm is above one threshold for the whole network.

    Parameters
    ----------
    model : torch.nn.Module
    groups : sequence of Group
        With a batch norm each.
    share : float
        The threshold is the scale at the place floor(share x count) from the smallest, and goes
        too; 0 prunes nothing.

    Returns
    -------
    list of list of int
        Of every group: one channel at least.

    Raises
    ------
    UsageError
        If a group has no batch norm.
    """
    if not all(group.norms for group in groups):
        raise UsageError(
            "a convolution has no batch norm", mend="add nn.BatchNorm2d, or use l1-norm"
        )
    scales = [
        sum(_layer(model, name).weight.detach().abs() for name in group.norms) for group in groups
    ]
    return [largest(one, max(1, int(kept.sum()))) for one, kept in _above(scales, share)]


def magnitude_masks(model: torch.nn.Module, share: float, within: Masks | None = None) -> Masks:
    """Keep weights of convolutions that are above one threshold for the whole network.

    Parameters
    ----------
    model : torch.nn.Module
    share : float
        As `slimmed` takes it; of distinct values, n - floor(share x n) - 1 stay.
    within : dict of str to torch.Tensor, optional
        Masks of an earlier round: the share is of what they left.

    Returns
    -------
    dict of str to torch.Tensor of bool
        A layer keeps one weight at least.
    """
    weights = {
        f"{name}.weight": layer.weight.detach()
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
    }
    there = within or {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    sizes = [weights[name].abs()[there[name]] for name in weights]
    masks = {}
    for name, (size, kept) in zip(weights, _above(sizes, share), strict=True):
        if not kept.any():
            kept[size.argmax()] = True
        masks[name] = there[name].clone()
        masks[name][there[name]] = kept
    return masks


def _above(values: list[Any], share: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Say which values of each tensor are above the threshold of them all."""
    ordered = torch.cat(values).sort().values
    threshold = ordered[int(share * len(ordered))] if share > 0 else -math.inf
    return [(value, value > threshold) for value in values]


# --- the smaller network --------------------------------------------------------------------------


def rebuild(model: torch.nn.Module, groups: Sequence[Group], kept: Kept) -> torch.nn.Module:
    """Make a network of the channels that are kept, with their weights and running statistics.

    Parameters
    ----------
    model : torch.nn.Module
        It is left as it is.
    groups : sequence of Group
    kept : list of list of int
        Of every group.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    UsageError
        If a group keeps nothing, or a layer is of a kind that cannot be cut.

    Examples
    --------
    >>> import torch
    >>> random = torch.Generator().manual_seed(0)
    >>> large = convolutional([8, 8], channels=1, classes=3, random=random)
    >>> small = rebuild(large, chain(large), [[0, 1], [2, 5, 7]])
    >>> parameters(large), parameters(small)
    (707, 94)
    """
    small = copy.deepcopy(model)
    for group, chosen in zip(groups, kept, strict=True):
        if not chosen:
            raise UsageError(f"{group.producers} would lose all channels", mend="prune less")
        index = torch.tensor(chosen, device=_layer(small, group.producers[0]).weight.device)
        for name in (*group.producers, *group.norms):
            _cut(_layer(small, name), index, 0)
        for name in group.consumers:
            _cut(_layer(small, name), index, 1, _layer(model, group.producers[0]).out_channels)
    return small


def _cut(layer: Any, index: torch.Tensor, axis: int, channels: int = 0) -> None:
    """Keep some outputs (axis 0) or some inputs (axis 1) of a layer."""
    nn = torch.nn
    count = len(index)
    if isinstance(layer, nn.Linear) and axis:
        places = layer.in_features // channels
        index = (index[:, None] * places + torch.arange(places, device=index.device)).flatten()
        layer.in_features = len(index)
    elif isinstance(layer, nn.Conv2d) and layer.groups == 1:
        setattr(layer, "in_channels" if axis else "out_channels", count)
    elif isinstance(layer, nn.BatchNorm2d) and not axis:
        layer.num_features = count
    else:
        raise UsageError(
            f"{layer} cannot be cut",
            mend="name nn.Conv2d of one group, nn.BatchNorm2d, and nn.Linear that read",
        )
    names = ["weight"] if axis else ["weight", "bias", "running_mean", "running_var"]
    for name in names:
        value = getattr(layer, name, None)
        if isinstance(value, nn.Parameter):
            setattr(layer, name, nn.Parameter(value.detach().index_select(axis, index)))
        elif value is not None:
            setattr(layer, name, value.index_select(axis, index))


def silence(model: torch.nn.Module, groups: Sequence[Group], kept: Kept) -> None:
    """Set scale and shift of the norms of pruned channels to 0, in place."""
    with torch.no_grad():
        for group, chosen in zip(groups, kept, strict=True):
            for name in group.norms:
                norm = _layer(model, name)
                gone = torch.ones(norm.num_features, dtype=torch.bool)
                gone[chosen] = False
                norm.weight[gone] = 0.0
                norm.bias[gone] = 0.0


def zero_smallest(model: torch.nn.Module, groups: Sequence[Group], counts: Sequence[int]) -> None:
    """Set filters to 0, in place, save those with the largest norms of Euclid.

    Parameters
    ----------
    model : torch.nn.Module
    groups : sequence of Group
    counts : sequence of int
        Filters that stay, of every group.
    """
    with torch.no_grad():
        for group, count in zip(groups, counts, strict=True):
            scores = norms_of_filters(model, group, order=2)
            gone = torch.ones(len(scores), dtype=torch.bool)
            gone[largest(scores, count)] = False
            for name in group.producers:
                _layer(model, name).weight[gone] = 0.0


def apply_masks(model: torch.nn.Module, masks: Masks) -> None:
    """Set weights that are not there to 0, in place."""
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)


def mask_gradients(model: torch.nn.Module, masks: Masks) -> None:
    """Set gradients of weights that are not there to 0, in place, so that they stay 0.

    Momentum and weight decay leave them at 0 too, where the optimizer was made after pruning.
    """
    for name, mask in masks.items():
        gradient = model.get_parameter(name).grad
        if gradient is not None:
            gradient.mul_(mask)


def _layer(model: torch.nn.Module, name: str) -> Any:
    return model.get_submodule(name)


# --- its cost -------------------------------------------------------------------------------------


def parameters(model: torch.nn.Module, masks: Masks | None = None) -> int:
    """Count the weights that are there."""
    masks = masks or {}
    return sum(
        int(masks[name].sum()) if name in masks else weight.numel()
        for name, weight in model.named_parameters()
    )


def flops(model: torch.nn.Module, shape: Sequence[int], masks: Masks | None = None) -> int:
    """Count the floating-point operations of a pass over one image.

    A multiplication and an addition are two. Convolutions and linear layers count their weights
    (with a mask, those that are there) and biases, batch norms 2 an element, ReLU 1, all else 0.

    Parameters
    ----------
    model : torch.nn.Module
    shape : sequence of int
        Channels, height and width.
    masks : dict of str to torch.Tensor, optional

    Examples
    --------
    >>> import torch
    >>> nn = torch.nn
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    >>> flops(model, (1, 4, 4))  # (2 * 18 + 2) * 4 + 8 + 2 * 24 + 3
    211
    """
    masks = masks or {}
    nn = torch.nn
    total = 0

    def weights(name: str, layer: Any) -> int:
        mask = masks.get(f"{name}.weight")
        return layer.weight.numel() if mask is None else int(mask.sum())

    def count(name: str, layer: Any, out: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            biases = 0 if layer.bias is None else layer.bias.numel()
            total += (2 * weights(name, layer) + biases) * out.shape[2] * out.shape[3]
        elif isinstance(layer, nn.Linear):
            total += 2 * weights(name, layer) + (0 if layer.bias is None else layer.bias.numel())
        elif isinstance(layer, nn.BatchNorm2d):
            total += 2 * out.numel()
        elif isinstance(layer, nn.ReLU):
            total += out.numel()

    handles = [
        layer.register_forward_hook(lambda layer, _, out, name=name: count(name, layer, out))
        for name, layer in model.named_modules()
    ]
    training = model.training
    weight = next(model.parameters())
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *shape, device=weight.device, dtype=weight.dtype))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return total
