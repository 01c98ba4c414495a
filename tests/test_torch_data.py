"""Streams within PyTorch's loaders: one order, whatever loads it and wherever it was stopped."""

import json

import pytest
import torch
from torch.utils.data import DataLoader

import samplewise as sw
from samplewise.errors import UsageError
from samplewise.torch_data import MixDataset, MixSampler

ROWS = [{"number": number} for number in range(60)]
SIZES = {"a": 40, "b": 15, "c": 5}


def stream(**more):
    return sw.mix(sizes=SIZES, method="temperature:tau=3", rng=7, **more)


def numbers(batches):
    return [number for batch in batches for number in batch["number"].tolist()]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sampler_gives_the_order_of_the_stream(workers):
    sampler = MixSampler(stream(), length=24)
    loader = DataLoader(ROWS, batch_size=4, sampler=sampler, num_workers=workers)
    found = numbers(loader) + numbers(loader)
    assert found == stream().draw(48).indices.tolist()
    assert len(loader) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_stopped_in_mid_epoch_it_goes_on_with_the_same_order(workers):
    def loader(sampler):
        return DataLoader(ROWS, batch_size=4, sampler=sampler, num_workers=workers)

    whole = MixSampler(stream(), length=24)
    expected = numbers(loader(whole)) + numbers(loader(whole))
    sampler = MixSampler(stream(), length=24)
    batches = iter(loader(sampler))
    first = numbers([next(batches) for _ in range(2)])
    state = json.loads(json.dumps(sampler.state_dict(used=8)))
    del batches
    again = MixSampler(stream(), length=24)
    again.load_state_dict(state)
    rest = numbers(loader(again))
    assert first + rest == expected[:24]
    assert numbers(loader(again)) == expected[24:]


def test_without_workers_the_state_needs_no_count():
    sampler = MixSampler(stream(), length=24)
    batches = iter(DataLoader(ROWS, batch_size=4, sampler=sampler))
    first = numbers([next(batches) for _ in range(3)])
    again = MixSampler(stream(), length=24)
    again.load_state_dict(sampler.state_dict())
    assert first + numbers(DataLoader(ROWS, batch_size=4, sampler=again)) == numbers(
        DataLoader(ROWS, batch_size=4, sampler=MixSampler(stream(), length=24))
    )


def test_processes_share_one_order_and_their_number_may_change():
    expected = stream().draw(36).indices.tolist()
    samplers = [MixSampler(stream(rank=rank, world_size=3), length=8) for rank in range(3)]
    parts = [list(sampler) for sampler in samplers]
    assert [row for rows in zip(*parts, strict=True) for row in rows] == expected[:24]
    alone = MixSampler(stream(), length=12)
    state = samplers[0].stream.state_dict()
    alone.load_state_dict(state | {"epoch": state["position"]})
    assert list(alone) == expected[24:]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_gives_rows_with_their_weights(workers):
    data = MixDataset(stream(), ROWS, length=20)
    batches = list(DataLoader(data, batch_size=None, num_workers=workers))
    expected = stream().draw(20).indices.tolist()
    assert [row["number"] for row in batches] == expected
    assert all(row["sample_weight"] == 1.0 for row in batches)
    assert data.stream.position == (0 if workers else 20)
    if workers:
        data.skip(20)
    following = [row["number"] for row in data]
    assert following == stream().draw(40).indices.tolist()[20:]


def test_rows_that_are_no_mappings_come_in_pairs():
    data = MixDataset(stream(), torch.arange(60), length=3)
    assert [int(row) for row, weight in data] == stream().draw(3).indices.tolist()
    assert {weight for row, weight in data} == {1.0}


def test_what_cannot_be_is_refused():
    weighted = stream()
    weighted.change([1, 1, 1], [1.0, 2.0, 3.0])
    with pytest.raises(UsageError, match="weights"):
        MixSampler(weighted, 4)
    with pytest.raises(UsageError, match="length"):
        MixSampler(stream(), 0)
    with pytest.raises(UsageError, match="rows"):
        MixDataset(stream(), ROWS[:-1], 4)


def test_weights_reach_the_rows():
    weighted = stream()
    weighted.change([1, 1, 1], [1.0, 2.0, 3.0])
    found = {row["number"]: row["sample_weight"] for row in MixDataset(weighted, ROWS, 200)}
    assert {weight for number, weight in found.items() if number < 40} == {1.0}
    assert {weight for number, weight in found.items() if 40 <= number < 55} == {2.0}
    assert {weight for number, weight in found.items() if number >= 55} == {3.0}
