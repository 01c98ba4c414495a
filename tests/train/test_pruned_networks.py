import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from samplewise.errors import UsageError
from samplewise.train.pruned_networks import (
    Group,
    apply_masks,
    chain,
    convolutional,
    flops,
    initialise,
    largest,
    magnitude_masks,
    mask_gradients,
    norms_of_filters,
    parameters,
    rebuild,
    silence,
    slimmed,
    widths_of,
    zero_smallest,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def lively(model, seed=0):
    """Give all weights and running statistics values of their own."""
    random = seeded(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.dtype.is_floating_point:
                value.copy_(torch.rand(value.shape, generator=random) + 0.1)
    return model


def flattened():
    """A chain whose linear layer reads 9 places of each channel."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU()),
        nn.Sequential(nn.Conv2d(6, 5, 2), nn.BatchNorm2d(5), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(45, 4),
    )


class Residual(nn.Module):
    """Two blocks on one stream of 6 channels, whose inner width is 5."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.inner, self.inner_norm = nn.Conv2d(6, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.outer, self.outer_norm = nn.Conv2d(5, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        stream = self.stem_norm(self.stem(x)).relu()
        inner = self.inner_norm(self.inner(stream)).relu()
        stream = (stream + self.outer_norm(self.outer(inner))).relu()
        return self.last(stream.mean(dim=(2, 3)))


COUPLED = [
    Group(("stem", "outer"), ("stem_norm", "outer_norm"), ("inner", "last")),
    Group(("inner",), ("inner_norm",), ("outer",)),
]


@pytest.mark.parametrize(
    ("model", "groups", "shape", "kept"),
    [
        (flattened(), None, (3, 2, 6, 6), [[0, 3, 5], [1, 2]]),
        (
            convolutional([4, None, 8], 1, 3, seeded()),
            None,
            (2, 1, 8, 8),
            [[1], [0, 2, 3, 7]],
        ),
        (Residual(), COUPLED, (2, 1, 5, 5), [[0, 2, 4, 5], [1, 3]]),
    ],
    ids=["flattened", "plain", "residual"],
)
def test_a_rebuilt_network_says_what_the_silenced_one_says(model, groups, shape, kept):
    large = lively(model).double().eval()
    groups = groups or chain(large)
    x = torch.randn(shape, generator=seeded(1), dtype=torch.float64)
    whole = large(x)
    small = rebuild(large, groups, kept)
    torch.testing.assert_close(large(x), whole, rtol=0, atol=0)  # it was left as it was
    silence(large, groups, kept)
    torch.testing.assert_close(small(x), large(x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(small(x), whole)
    assert parameters(small) < parameters(large)


def test_nothing_pruned_changes_nothing():
    model = lively(convolutional([4, None, 6], 1, 3, seeded())).eval()
    groups = chain(model)
    everything = [[0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]
    assert slimmed(model, groups, 0.0) == everything
    assert all(mask.all() for mask in magnitude_masks(model, 0.0).values())
    x = torch.randn(2, 1, 4, 4, generator=seeded(1))
    same = rebuild(model, groups, everything)
    assert torch.equal(same(x), model(x))
    assert same.state_dict().keys() == model.state_dict().keys()
    assert next(same.parameters()) is not next(model.parameters())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.data())
@settings(max_examples=50)
def test_the_largest_are_those_of_brute_force_and_ties_go_to_the_first(scores, data):
    count = data.draw(st.integers(1, len(scores)))
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    assert largest(torch.tensor(scores, dtype=torch.float32), count) == sorted(order[:count])


def test_norms_of_filters_are_sums_over_their_weights():
    model = convolutional([3, 4], 2, 3, seeded())
    [_, group] = chain(model)
    weight = model.get_submodule(group.producers[0]).weight.detach().numpy().astype(np.float64)
    for order, expected in ((1, np.abs(weight)), (2, weight**2)):
        sums = expected.sum(axis=(1, 2, 3)) ** (1 / order)
        np.testing.assert_allclose(norms_of_filters(model, group, order), sums, rtol=1e-5)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9])
def test_the_threshold_goes_too_so_that_one_more_is_pruned(share):
    model = convolutional([8, 12], 3, 5, seeded())
    masks = magnitude_masks(model, share)
    total = 9 * (3 * 8 + 8 * 12)
    first = sum(int(mask.sum()) for mask in masks.values())
    assert first == total - math.floor(share * total) - 1
    again = magnitude_masks(model, share, masks)
    assert all((again[name] <= masks[name]).all() for name in masks)
    assert sum(int(mask.sum()) for mask in again.values()) == first - math.floor(share * first) - 1
    sizes = {name: model.get_parameter(name).detach().abs() for name in masks}
    least = min(size[masks[name]].min() for name, size in sizes.items())
    most = max(size[~masks[name]].max() for name, size in sizes.items() if not masks[name].all())
    assert most < least


def test_scales_have_one_threshold_for_the_whole_network():
    model = convolutional([3, 4], 1, 2, seeded())
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.1, -0.9, 0.3]))
        model[4].weight.copy_(torch.tensor([0.2, 0.4, -0.5, 0.6]))
    assert slimmed(model, chain(model), 0.5) == [[1], [2, 3]]  # floor(3.5) = 3: 0.4 goes, too


def test_no_layer_loses_everything():
    model = convolutional([3, 4], 1, 2, seeded())
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.01, 0.03, 0.02]))
        model[4].weight.fill_(0.5)  # all are the threshold
        model[0].weight.mul_(1e-3)
    assert slimmed(model, chain(model), 0.6) == [[1], [0]]
    masks = magnitude_masks(model, 0.9)
    assert int(masks["0.weight"].sum()) == 1
    assert masks["0.weight"].flatten()[model[0].weight.abs().argmax()]


@pytest.mark.parametrize("bias", [True, False])
def test_operations_of_a_network_counted_by_hand(bias):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=bias),  # 5 x 5 places
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),  # 2 x 2
        nn.Conv2d(8, 4, 1, groups=2, bias=bias),
        nn.Flatten(),
        nn.Linear(16, 10, bias=bias),
    )
    convolutions = (2 * 27 + bias) * 8 * 25 + (2 * 4 + bias) * 4 * 4
    expected = convolutions + 2 * 200 + 200 + 2 * 160 + 10 * bias
    assert flops(model, (3, 5, 5)) == expected
    mask = torch.zeros(8, 3, 3, 3, dtype=torch.bool)
    mask.view(-1)[:10] = True
    assert flops(model, (3, 5, 5), {"0.weight": mask}) == expected - 2 * 25 * (216 - 10)
    assert parameters(model, {"0.weight": mask}) == parameters(model) - 206
    assert model.training


def test_masked_weights_stay_zero_under_momentum_and_weight_decay():
    model = convolutional([4, 6], 1, 3, seeded())
    masks = magnitude_masks(model, 0.7)
    apply_masks(model, masks)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    random = seeded(1)
    before = copy.deepcopy(model)
    for _ in range(100):
        x, y = torch.randn(8, 1, 4, 4, generator=random), torch.randint(3, (8,), generator=random)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        mask_gradients(model, masks)
        optimizer.step()
    for name, mask in masks.items():
        weight = model.get_parameter(name)
        assert (weight[~mask] == 0).all()
        assert (weight[mask] != before.get_parameter(name)[mask]).all()


def test_weights_from_scratch_have_the_spread_that_their_number_asks_for():
    model = convolutional([64, 128], 16, 10, seeded())
    masks = magnitude_masks(model, 0.6)
    initialise(model, seeded(1), masks)
    for name, mask in masks.items():
        weight = model.get_parameter(name).detach()
        expected = math.sqrt(2 * weight.shape[1] / int(mask.sum()))
        assert weight[mask].std() == pytest.approx(expected, rel=0.03)
        assert (weight[~mask] == 0).all()
    initialise(model, seeded(1))
    assert model[3].weight.detach().std() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.03)
    assert model[-1].weight.detach().std() == pytest.approx(0.01, rel=0.1)
    assert set(model[1].weight.tolist()) == {0.5}
    assert not model[-1].bias.any()


def test_running_statistics_are_drawn_anew_too():
    model = lively(convolutional([4], 1, 3, seeded()))
    initialise(model, seeded(1))
    fresh = convolutional([4], 1, 3, seeded(1))
    for name, value in fresh.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_the_smallest_filters_are_zeroed():
    model = convolutional([6], 2, 3, seeded())
    [group] = chain(model)
    kept = largest(norms_of_filters(model, group, 2), 2)
    zero_smallest(model, [group], [2])
    assert model[0].weight.abs().sum(dim=(1, 2, 3)).nonzero().flatten().tolist() == kept


def test_a_chain_is_read_through_nested_parts():
    groups = chain(flattened())
    assert groups == [Group(("0.0",), ("0.1",), ("1.0",)), Group(("1.0",), ("1.1",), ("3",))]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Residual(), "is no torch.nn.Sequential"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "has no nn.Conv2d"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), "ends with a convolution"),
    ],
)
def test_what_is_no_chain_is_refused(model, message):
    with pytest.raises(UsageError, match=message):
        chain(model)


def test_what_cannot_be_cut_is_refused():
    grouped = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(UsageError, match="cannot be cut"):
        rebuild(grouped, chain(grouped), [[0, 1]])
    plain = flattened()
    with pytest.raises(UsageError, match="would lose all channels"):
        rebuild(plain, chain(plain), [[], [0]])
    bare = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(2, 2))
    with pytest.raises(UsageError, match="has no batch norm"):
        slimmed(bare, chain(bare), 0.5)


@pytest.mark.parametrize("text", ["", "8,,8", "8,x", "0", "M"])
def test_widths_that_cannot_be_are_refused(text):
    with pytest.raises(UsageError, match="widths is"):
        widths_of(text)
