import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from samplewise.errors import UsageError
from samplewise.measure.paired import paired_t
from samplewise.train import train
from samplewise.train.images import ImageArrays
from samplewise.train.pruned_networks import chain, flops, largest, norms_of_filters
from samplewise.train.pruning import (
    LotteryTicket,
    PruneFinetune,
    ScratchB,
    ScratchE,
    decision_table,
    equal_compute,
    rethink,
    stepped_rate,
)

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 44)
PIXELS = RANDOM.normal(size=(44, 1, 4, 4)) + LABELS[:, None, None, None]
TASK = ImageArrays(PIXELS[:26], LABELS[:26], PIXELS[26:], LABELS[26:])
SMALL = {"widths": "4,M,6", "batch_size": 8}


def weights(learner):
    return {name: value.clone() for name, value in learner.network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


LOOPS = {
    "finetune": PruneFinetune(**SMALL, finetune=1.0),
    "finetune, soft": PruneFinetune(**SMALL, criterion="soft-filter", pruned="0.5,0.4"),
    "finetune, slim": PruneFinetune(**SMALL, criterion="network-slimming", finetune=0.8),
    "finetune, weights": PruneFinetune(**SMALL, criterion="magnitude", finetune=1.0),
    "scratch-e": ScratchE(**SMALL),
    "scratch-b, slim": ScratchB(**SMALL, criterion="network-slimming"),
    "scratch-b, weights": ScratchB(**SMALL, criterion="magnitude", cap=1.5),
    "lottery": LotteryTicket(**SMALL, rounds=2),
    "lottery, filters": LotteryTicket(**SMALL, criterion="l1-norm"),
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_it_goes_on_from_any_step_to_the_last_bit(loop, tmp_path):
    whole = loop.begin(TASK, steps=5, rng=0)
    while whole.done < whole.steps:
        whole.save(tmp_path / f"{whole.done}.pt")
        whole.advance()
    for done in range(0, whole.steps, 2):
        resumed = loop.begin(TASK, steps=5, rng=1)
        resumed.load(tmp_path / f"{done}.pt")
        assert resumed.done == done
        while resumed.done < resumed.steps:
            resumed.advance()
        assert resumed.steps == whole.steps
        assert resumed.history == whole.history
        assert same(weights(resumed), weights(whole))
        assert resumed.evaluate() == whole.evaluate()


def test_the_same_seed_trains_the_same_network_and_another_another():
    one, two, other = (train(ScratchE(**SMALL), TASK, steps=3, rng=seed) for seed in (0, 0, 1))
    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(other))


def test_the_random_state_of_torch_is_left_alone():
    before = torch.random.get_rng_state()
    train(PruneFinetune(**SMALL), TASK, steps=2, rng=0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_filters_with_the_largest_sums_are_tuned_from_where_they_are():
    learner = PruneFinetune(**SMALL, finetune_rate=1e-12, weight_decay=0.0).begin(
        TASK, steps=6, rng=0
    )
    for _ in range(6):
        learner.advance()
    large, unpruned = learner.network, learner.evaluate()["accuracy"]
    expected = [
        largest(norms_of_filters(large, group), count)
        for group, count in zip(chain(large), (2, 3), strict=True)
    ]
    figures = learner.advance()
    assert learner.kept == expected
    assert figures["unpruned"] == unpruned
    torch.testing.assert_close(learner.network[0].weight, large[0].weight[expected[0]])
    torch.testing.assert_close(
        learner.network[4].weight, large[4].weight[expected[1]][:, expected[0]]
    )
    assert learner.network[1].num_features == 2
    assert learner.steps == 6 + 2  # a quarter of 6 is 1.5: rounded to even


def test_scratch_does_not_see_the_large_network():
    seen = []
    for pixels in (PIXELS, -PIXELS):
        task = ImageArrays(pixels[:26], LABELS[:26], pixels[26:], LABELS[26:])
        loop = ScratchE(**SMALL, criterion="magnitude", learning_rate=1e-30)
        learner = loop.begin(task, steps=2, rng=0)
        first = weights(learner)["0.weight"]
        learner.advance()
        learner.advance()
        learner.masks = {}
        learner.advance()
        both = learner.masks["0.weight"]
        assert not torch.isclose(learner.network[0].weight, first)[both].any()
        seen.append(learner.network[0].weight)
    torch.testing.assert_close(*seen)


def test_a_share_keeps_as_many_whole_channels_as_fit_and_one_at_least():
    assert ScratchE(pruned=0.9).counts([10, 20, 3]) == [1, 2, 1]
    assert ScratchE(pruned="0.1,0,0.5").counts([16, 7, 5]) == [14, 7, 2]


def test_scratch_trains_no_large_network_where_the_shape_is_known():
    learner = ScratchE(**SMALL).begin(TASK, steps=4, rng=0)
    learner.advance()
    assert (learner.large_steps, learner.phase, learner.steps) == (0, 1, 4)
    assert "unpruned" not in learner.evaluate()


@pytest.mark.parametrize("criterion", ["l1-norm", "network-slimming", "magnitude"])
@pytest.mark.parametrize("pruned", [0.0, 0.5])
def test_scratch_b_spends_as_many_operations_as_the_large_network(criterion, pruned):
    loop = ScratchB(**SMALL, criterion=criterion, pruned=pruned)
    learner = train(loop, TASK, steps=7, rng=0)
    large = flops(learner.large, (1, 4, 4))
    small = flops(learner.network, (1, 4, 4), learner.masks)
    assert learner.evaluate()["flops"] == small
    assert learner.done - learner.large_steps == int(7 * large / small)
    assert (learner.done - learner.large_steps == 7) == (pruned == 0)


def test_equal_compute_rounds_down_and_is_capped():
    assert equal_compute(160, 1.0) == 160
    assert equal_compute(160, 3.9999) == 639
    assert [equal_compute(90, ratio, 2) for ratio in (1.4667, 1.57, 2.0, 9.9)] == [
        132,
        141,
        180,
        180,
    ]


def test_a_ticket_begins_with_the_first_weights_of_those_that_stayed():
    loop = LotteryTicket(**SMALL, rounds=2, learning_rate=1e-30, weight_decay=0.0)
    learner = loop.begin(TASK, steps=2, rng=0)
    first = weights(learner)
    masks = []
    for _ in range(learner.steps):
        learner.advance()
        if learner.phase and learner.done == learner.start + 1:
            masks.append(learner.masks)
            for name, mask in learner.masks.items():
                assert torch.equal(learner.network.get_parameter(name), first[name] * mask)
            assert torch.equal(learner.network[1].weight, first["1.weight"])
    assert len(masks) == 2
    assert sum(int(mask.sum()) for mask in masks[1].values()) < sum(
        int(mask.sum()) for mask in masks[0].values()
    )
    assert all((masks[1][name] <= masks[0][name]).all() for name in masks[0])


def test_a_ticket_of_filters_is_a_slice_of_the_first_network():
    loop = LotteryTicket(**SMALL, criterion="l1-norm", learning_rate=1e-30, weight_decay=0.0)
    learner = loop.begin(TASK, steps=2, rng=0)
    first = weights(learner)
    for _ in range(3):
        learner.advance()
    assert torch.equal(learner.network[0].weight, first["0.weight"][learner.kept[0]])


def test_weights_that_are_pruned_stay_zero_while_the_rest_is_tuned():
    learner = train(LOOPS["finetune, weights"], TASK, steps=8, rng=0)
    for name, mask in learner.masks.items():
        assert (learner.network.get_parameter(name)[~mask] == 0).all()
        assert 0 < mask.sum() < mask.numel()


def test_soft_pruning_zeroes_filters_after_every_epoch_and_lets_them_come_back():
    loop = PruneFinetune(**SMALL, criterion="soft-filter")
    learner = loop.begin(TASK, steps=6, rng=0)  # an epoch is of 3 steps
    zeros = []
    for _ in range(6):
        learner.advance()
        zeros.append(int((learner.network[0].weight.abs().sum(dim=(1, 2, 3)) == 0).sum()))
    assert zeros == [0, 0, 2, 0, 0, 2]
    alive = learner.network[0].weight.abs().sum(dim=(1, 2, 3)).nonzero().flatten().tolist()
    learner.advance()
    assert learner.kept[0] == alive


def test_slimming_adds_the_sign_of_scales_to_their_gradient():
    scales = []
    for sparsity in (0.0, 0.5):
        loop = PruneFinetune(**SMALL, criterion="network-slimming", sparsity=sparsity)
        learner = loop.begin(TASK, steps=2, rng=0)
        learner.advance()
        scales.append(learner.network[1].weight.detach())
    torch.testing.assert_close(scales[0] - scales[1], torch.full((4,), 0.1 * 0.5))


def test_a_network_of_the_users_is_trained_in_place_and_may_be_trained_already():
    model = nn.Sequential(nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    before = model[0].weight.detach().clone()
    learner = PruneFinetune(pretrained=True, batch_size=8).begin(TASK, model=model, steps=4, rng=0)
    figures = learner.advance()
    assert {"unpruned", "untuned"} <= figures.keys()
    assert torch.equal(model[0].weight, before)
    assert learner.network[3].in_features == 18
    train(PruneFinetune(batch_size=8), TASK, model=model, steps=2, rng=0)
    assert not torch.equal(model[0].weight, before)


def test_arms_share_the_large_network_and_come_out_as_if_they_did_not():
    arms = {
        "tuned": PruneFinetune(**SMALL, finetune=1.0),
        "ticket": LotteryTicket(**SMALL),
        "slim": ScratchE(**SMALL, criterion="network-slimming"),
        "fresh": ScratchE(**SMALL),
    }
    found = rethink(arms, TASK, steps=4, seeds=[3, 4])
    for name, loop in arms.items():
        alone = train(loop, TASK, steps=4, rng=4)
        assert found[name][1] == {**alone.evaluate(), "steps": float(alone.steps)}


def test_the_decision_is_that_of_a_paired_t_test():
    tuned, fresh = RANDOM.normal(0.9, 0.01, (2, 5))
    table = decision_table({"tuned": tuned, "fresh": fresh}, against="tuned", confidence=0.9)
    expected = stats.ttest_rel(fresh, tuned).confidence_interval(0.9)
    np.testing.assert_allclose(table["fresh"].difference[1:], expected)
    assert table["fresh"].sd == pytest.approx(np.std(fresh, ddof=1))
    assert table["tuned"].difference == (0.0, 0.0, 0.0)
    with pytest.raises(UsageError, match="no arm 'other'"):
        decision_table({"tuned": tuned}, against="other")
    with pytest.raises(ValueError, match="two pairs or more"):
        paired_t([1.0], [1.0])
    with pytest.raises(ValueError, match="confidence is 1"):
        paired_t(tuned, fresh, confidence=1)


def test_rates_fall_at_half_and_three_quarters_of_any_budget():
    rates = [round(stepped_rate(step, 8, 1.0), 6) for step in range(8)]
    assert rates == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]


def test_it_learns_the_digits():
    learner = train(ScratchE(widths="32,M,32"), steps=280, rng=0)
    assert learner.evaluate()["accuracy"] > 0.8  # 0.1 by chance


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PruneFinetune(pruned=1.0), "pruned is 1.0"),
        (lambda: PruneFinetune(pruned="0.5,x"), "pruned is '0.5,x'"),
        (lambda: PruneFinetune(pruned="0.5,0.5", criterion="magnitude"), "pruned is '0.5,0.5'"),
        (lambda: PruneFinetune(pruned="0.5,0.5").begin(TASK, steps=1), "give one share, or 3"),
        (lambda: PruneFinetune(finetune=0.0), "finetune is 0.0"),
        (lambda: PruneFinetune(finetune_rate=-1.0), "finetune_rate is -1.0"),
        (lambda: ScratchE(momentum=-0.1), "momentum is -0.1"),
        (lambda: ScratchE(batch_size=0), "batch_size is 0"),
        (lambda: ScratchE(widths="x"), "widths is 'x'"),
        (lambda: ScratchB(cap=0.5), "cap is 0.5"),
        (lambda: LotteryTicket(rounds=0), "rounds is 0"),
        (lambda: LotteryTicket(rounds=2, criterion="l1-norm"), "rounds is 2"),
        (lambda: LotteryTicket(pretrained=True), "pretrained is True"),
        (lambda: PruneFinetune(pretrained=True).begin(TASK, steps=1), "no model is given"),
        (lambda: ScratchE().begin(TASK, steps=0), "steps is 0"),
    ],
)
def test_bad_knobs_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_a_checkpoint_of_another_length_is_refused(tmp_path):
    ScratchE(**SMALL).begin(TASK, steps=2, rng=0).save(tmp_path / "x.pt")
    with pytest.raises(UsageError, match="of 2 steps"):
        ScratchE(**SMALL).begin(TASK, steps=3, rng=0).load(tmp_path / "x.pt")
