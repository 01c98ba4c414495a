"""Losses by hand, estimators by enumeration, gradients by autograd, and loops that go on."""

import itertools
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from samplewise import registry
from samplewise.errors import UsageError
from samplewise.train import train
from samplewise.train.accepted_answers import (
    accepted,
    answer_weights,
    parts_of,
    raft_loss,
    raft_plus_plus_loss,
)
from samplewise.train.gradient_norms import gradient_norms
from samplewise.train.objectives import (
    clipped_surrogate,
    group_advantages,
    grpo_loss,
    kl_estimate,
    mean_per_row,
)
from samplewise.train.own_answers import Answers
from samplewise.train.policy import Policy
from samplewise.train.problems import Arithmetic
from samplewise.train.rejection_sampling import Grpo, Raft, RaftPlusPlus

LOOPS = pytest.mark.parametrize(
    "spec",
    ["raft:estimator=drawn", "raft++:allocation=gradient-variance", "grpo:allocation=gvm:group=4"],
)
TASK = Arithmetic(problems=20, test=5)
SMALL = {
    "problems": 4,
    "samples": 4,
    "refresh": 3,
    "pilots": 2,
    "mini_batches": 2,
    "most_tokens": 4,
}


@dataclass(frozen=True)
class Digits(Arithmetic):
    """A reward that untrained models earn: the share of the answer that is no letter."""

    def reward(self, number, text):
        return float(not any(one.isalpha() for one in text[:1]))


def answered(rewards, groups, lengths=None):
    """Give answers of one step, without pilots."""
    some = np.full(len(groups), 5) if lengths is None else np.array(lengths)
    return Answers(rewards, groups, np.bincount(groups)[groups], np.full(len(groups), np.nan), some)


def tensors(seed=0, rows=5, length=6):
    rng = np.random.default_rng(seed)
    new, old, reference = -rng.gamma(1.0, size=(3, rows, length))
    lengths = rng.integers(1, length + 1, rows)
    response = np.arange(length) < lengths[:, None]
    made = [torch.tensor(one) for one in (new, old, reference, response)]
    made[0].requires_grad_()
    return made


def slope(loss, at):
    [found] = torch.autograd.grad(loss, at)
    return found


# --- losses ---------------------------------------------------------------------------------------


def test_raft_is_minus_the_mean_of_means():
    new, _, _, response = tensors()
    rows = [new[r][response[r]].mean() for r in range(5)]
    assert raft_loss(new, response).item() == pytest.approx(-torch.stack(rows).mean().item())
    weights = torch.tensor([0.0, 1.0, 0.5, 0.0, 2.0], dtype=torch.float64)
    expected = -(rows[1] + rows[2] / 2 + 2 * rows[4])
    assert raft_loss(new, response, weights).item() == pytest.approx(expected.item())


def test_raft_plus_plus_where_it_was_drawn_counts_answers_and_has_rafts_gradient():
    new, _, _, response = tensors()
    loss = raft_plus_plus_loss(new, new.detach(), response)
    assert loss.item() == pytest.approx(-1.0)
    torch.testing.assert_close(slope(loss, new), slope(raft_loss(new, response), new))


def test_raft_plus_plus_stops_where_a_token_is_likelier_by_the_clip():
    old = torch.zeros(1, 3, dtype=torch.float64)
    new = torch.log(torch.tensor([[0.5, 1.2, 1.4]], dtype=torch.float64)).requires_grad_()
    loss = raft_plus_plus_loss(new, old, torch.ones(1, 3, dtype=torch.bool))
    assert loss.item() == pytest.approx(-(0.5 + 1.2 + 1.28) / 3)
    torch.testing.assert_close(slope(loss, new), -torch.tensor([[0.5, 1.2, 0.0]]).double() / 3)


def test_raft_plus_plus_from_rewards_is_the_papers_sum_over_all_answers():
    """(1/|a|) sum_t min(s_t, clip(s_t)) 1[a has the maximal reward of its group]."""
    new, old, _, response = tensors()
    rewards, groups = np.array([1.0, 0.0, 1.0, 0.0, 1.0]), np.array([0, 0, 0, 1, 2])
    indicator = [1, 0, 1, 0, 1]
    ratio = (new - old).exp()
    surrogate = torch.minimum(ratio, ratio.clamp(0.8, 1.28))
    rows = [surrogate[r][response[r]].mean() * indicator[r] for r in range(5)]
    loop = RaftPlusPlus(problems=3, mini_batches=1, estimator="pooled", kl=0)
    answers = answered(rewards, groups)
    kept, gains = loop.gains(answers)
    assert kept.tolist() == [0, 2, 4]
    loss = loop.loss(new[kept], old[kept], None, response[kept], torch.from_numpy(gains))
    assert loss.item() == pytest.approx(-torch.stack(rows).sum().item() / 3)
    at_old = loop.loss(new[kept], new[kept], None, response[kept], torch.from_numpy(gains))
    assert at_old.item() == pytest.approx(-sum(indicator) / 3)


def test_raft_from_rewards_weighs_log_probabilities_by_the_advantage():
    """-A log pi, where the advantage A is max(reward, 0)."""
    new, old, _, response = tensors()
    rewards, groups = np.array([1.0, -1.0, 1.0, 0.0, 1.0]), np.arange(5)
    loop = Raft(problems=5, mini_batches=1)
    kept, gains = loop.gains(answered(rewards, groups))
    loss = loop.loss(new[kept], old[kept], None, response[kept], torch.from_numpy(gains))
    rows = [-max(rewards[r], 0) * new[r][response[r]].mean().item() for r in range(5)]
    assert loss.item() == pytest.approx(np.mean(rows))


def test_grpo_where_it_was_drawn_is_the_policy_gradient():
    new, _, _, response = tensors()
    advantages = torch.tensor([1.0, -1.0, 0.5, 0.0, -2.0], dtype=torch.float64)
    loss = grpo_loss(new, new.detach(), advantages, response, dual=3.0)
    assert loss.item() == pytest.approx(-advantages.mean().item())
    plain = -(advantages * mean_per_row(new, response)).mean()
    torch.testing.assert_close(slope(loss, new), slope(plain, new))


def test_the_surrogate_is_clipped_on_both_sides_and_doubly_below():
    ratios = torch.tensor([0.5, 0.9, 1.1, 1.5, 9.0], dtype=torch.float64)
    new, old = ratios.log()[None], torch.zeros(1, 5, dtype=torch.float64)
    better, worse = torch.ones(1).double(), -torch.ones(1).double()
    assert clipped_surrogate(new, old, better)[0].tolist() == pytest.approx(
        [0.5, 0.9, 1.1, 1.2, 1.2]
    )
    assert clipped_surrogate(new, old, worse)[0].tolist() == pytest.approx(
        [-0.8, -0.9, -1.1, -1.5, -9.0]
    )
    assert clipped_surrogate(new, old, worse, dual=3.0)[0].tolist() == pytest.approx(
        [-0.8, -0.9, -1.1, -1.5, -3.0]
    )
    assert torch.equal(
        clipped_surrogate(new, old, better, dual=3.0), clipped_surrogate(new, old, better)
    )


def test_the_divergence_is_estimated_without_bias_and_pulls_back():
    p, q = (torch.tensor(one).double().log_softmax(0) for one in ([0.0, 1.0, 3.0], [2.0, 0.0, 0.0]))
    estimate = (p.exp() * kl_estimate(p, q)).sum()
    assert estimate.item() == pytest.approx((p.exp() * (p - q)).sum().item())
    new, old, _, response = tensors()
    advantages = torch.zeros(5, dtype=torch.float64)
    at_home = grpo_loss(new, old, advantages, response, new.detach(), kl=1.0)
    assert not slope(at_home, new).any()
    below = grpo_loss(new, old, advantages, response, new.detach() + 0.1, kl=1.0)
    assert (slope(below, new)[response] < 0).all()


def test_groups_are_compared_within():
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.5])
    groups = torch.tensor([0, 0, 0, 1, 1, 4])
    found = group_advantages(rewards, groups)
    spread = float(np.std([1, 0, 0], ddof=1)) + 1e-6
    assert found.tolist() == pytest.approx(
        [2 / 3 / spread, -1 / 3 / spread, -1 / 3 / spread, 0, 0, 0.5]
    )
    assert parts_of(np.array([0] * 5 + [2] * 4 + [1]), 4).tolist() == [0] * 4 + [1] + [2] * 4 + [3]
    assert parts_of(np.array([], dtype=np.int64), 4).tolist() == []


def test_grpo_compares_all_answers_to_a_problem_or_four_by_four():
    rewards = np.array([1.0, 1, 1, 0, 0, 0, 0, 0, 1, 1])
    groups = np.array([0] * 9 + [1])
    answers = answered(rewards, groups)
    rows, gains = Grpo().gains(answers)
    assert rows.tolist() == list(range(10))
    spread = rewards[:9].std(ddof=1) + 1e-6
    np.testing.assert_allclose(gains[:9], (rewards[:9] - 4 / 9) / spread, rtol=1e-12)
    assert gains[9] == 1.0  # alone, it keeps its reward
    rows, gains = Grpo(group=4).gains(answers)
    high, low = 0.25 / (0.5 + 1e-6), -0.75 / (0.5 + 1e-6)
    np.testing.assert_allclose(gains, [high] * 3 + [low] + [0] * 4 + [1, 1], atol=1e-12)


# --- estimators -----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["accepted", "drawn", "pooled"])
def test_the_expected_gradient_is_that_of_the_posterior_only_if_divided_by_draws(estimator):
    """All draws of 3 and 1 answers from 4 rationales each, two and one of them right."""
    logits = torch.tensor([[0.3, -1.0, 0.8, 0.0], [1.0, 0.2, -0.5, 0.1]], dtype=torch.float64)
    right = np.array([[1, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)
    law = logits.softmax(dim=1)
    p = (law.numpy() * right).sum(axis=1)
    # Of ln P of every rationale by its own prompt's logits: one-hot less the law.
    gradients = torch.eye(4, dtype=torch.float64) - law[:, None, :]
    posterior = law * torch.tensor(right / p[:, None])
    exact = (posterior[:, :, None] * gradients).sum(dim=1) / 2
    groups = np.array([0, 0, 0, 1])
    expected = torch.zeros(2, 4, dtype=torch.float64)
    for draws in itertools.product(range(4), repeat=4):
        kept = right[groups, draws]
        weights = answer_weights(kept, groups, 2, p=p[groups], estimator=estimator)
        chance = law[groups, draws].prod()
        terms = chance * torch.tensor(weights)[:, None] * gradients[groups, draws]
        expected.index_add_(0, torch.tensor(groups), terms)
    assert torch.allclose(expected, exact, atol=1e-10, rtol=0) == (estimator == "drawn")


def test_the_average_over_accepted_answers_is_that_of_the_papers_algorithm():
    """(1/m) sum_i (1/|D_i|) sum over D_i: a problem counts alike, however many are right."""
    kept = np.array([True, True, True, False, False, True, False])
    groups = np.array([0, 0, 0, 0, 1, 2, 2])
    weights = answer_weights(kept, groups, 5)
    np.testing.assert_allclose(weights, [1 / 15, 1 / 15, 1 / 15, 0, 0, 1 / 5, 0])


@pytest.mark.parametrize("estimator", ["accepted", "drawn"])
def test_a_problem_whose_draws_two_steps_share_counts_once(estimator):
    """All outcomes of 5 draws from 4 rationales: 3 in one step, 2 in the next."""
    law, right = np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, False, True, False])
    p, total, once = law[right].sum(), np.zeros(4), np.zeros(4)
    for draws in itertools.product(range(4), repeat=5):
        chance = law[list(draws)].prod()
        for here in (draws[:3], draws[3:]):
            kept, groups = right[list(here)], np.zeros(len(here), dtype=np.int64)
            known = {"draws": np.full(len(here), 5), "p": np.full(len(here), p)}
            weights = answer_weights(kept, groups, 1, **known, estimator=estimator)
            np.add.at(total, list(here), chance * weights)
            if estimator == "accepted" and kept.any():
                once += chance * len(here) / 5 * law * right / p
    expected = law * right / p if estimator == "drawn" else once
    np.testing.assert_allclose(total, expected, atol=1e-12)


def test_the_best_are_kept_if_they_are_worth_anything():
    rewards, groups = np.array([0.2, 0.9, 0.9, 0.0, 0.0, 0.1]), np.array([0, 0, 0, 1, 1, 2])
    assert accepted(rewards, groups).tolist() == [False, True, True, False, False, True]
    assert accepted(np.empty(0), np.empty(0, dtype=np.int64)).tolist() == []


def test_the_shortest_right_answer_of_each_problem_by_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(200):
        rewards, lengths = rng.integers(2, size=12).astype(float), rng.integers(1, 4, size=12)
        groups = np.repeat(np.arange(4), 3)
        rows, gains = Raft(problems=4, mini_batches=1, keep="shortest").gains(
            answered(rewards, groups, lengths)
        )
        expected = [
            min(right, key=lambda row: (lengths[row], row))
            for group in range(4)
            if (right := [row for row in range(12) if groups[row] == group and rewards[row]])
        ]
        assert rows.tolist() == expected
        np.testing.assert_allclose(gains, 1 / 4)  # each problem's answers count as one


def test_the_shortest_are_not_told_from_all_by_a_share():
    with pytest.raises(UsageError, match="shortest"):
        Raft(keep="shortest", estimator="drawn")


def test_the_rival_of_each_loop_is_one_step_plainer():
    chain = [Grpo(allocation="gvm", clip_high=0.3, kl=0.0)]
    while (rival := chain[-1].rival(TASK)) is not None:
        chain.append(rival)
    assert [loop.name for loop in chain] == ["grpo", "grpo", "raft++", "raft", "imitation"]
    assert chain[1].allocation == "uniform"
    assert (chain[2].clip_high, chain[2].kl) == (0.3, 0.0)
    assert Raft(keep="shortest").rival(TASK) == Raft()


def test_shares_of_zero_cannot_be_divided_by():
    kept, groups = np.array([True]), np.array([0])
    for p in (None, np.zeros(1), np.full(1, np.nan)):
        with pytest.raises(UsageError, match="drawn"):
            answer_weights(kept, groups, 1, p=p, estimator="drawn")


def test_parts_of_a_step_add_up_to_its_loss():
    answers = answered(np.array([1.0, 1.0, 0.0, 1.0]), np.array([0, 0, 1, 1]))
    rows, gains = Raft(problems=2, mini_batches=3).gains(answers)
    assert rows.tolist() == [0, 1, 3]
    assert (gains / 3).tolist() == [0.25, 0.25, 0.5]


# --- gradients of one layer -----------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("layer", ["embedding", "head"])
def test_norms_are_those_of_each_rows_own_gradient(layer, tied):
    policy = Policy.small(width=16, heads=2, rng=0)
    if tied:
        policy.model.lm_head.weight = policy.model.model.embed_tokens.weight
    policy.model.double()
    module = {"embedding": policy.model.model.embed_tokens, "head": policy.model.lm_head}[layer]
    batch = policy.batch(["3+4=", "1+2+2=", "9+9+1+1="], ["7", "3,5", "18,19,20"])
    rows = [batch.rows(slice(row, row + 1)) for row in range(3)]
    expected = [
        slope((policy.log_probabilities(one, 0.7) * one.scored).sum(), module.weight).norm()
        for one in rows
    ]
    found = gradient_norms(policy, batch, layer, 0.7)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-10, atol=0)
    assert all(weight.grad is None for weight in policy.learned)


@pytest.mark.parametrize("per_token", [False, True])
def test_pilots_are_measured_by_their_own_gradients(per_token):
    task = Digits(problems=20, test=5)
    learner = begin("raft:allocation=gvm", task=task, warm_up=0, norm_per_token=per_token)
    random = learner.random.get_state()
    numbers = np.arange(6)
    correct, norms = learner.pilot(numbers)
    learner.random.set_state(random)
    for start in (0, 4):  # a step's problems at a time
        drawn = np.repeat(numbers[start : start + 4], 2)
        batch, rewards = learner.draw(drawn)
        right = correct[start : start + 4].ravel()
        assert right.tolist() == (rewards > 0).tolist()
        for row, found in enumerate(norms[start : start + 4].ravel()):
            one = batch.rows(slice(row, row + 1))
            loss = (learner.policy.log_probabilities(one) * one.scored).sum()
            norm = slope(loss, learner.policy.model.model.embed_tokens.weight).norm().item()
            norm /= one.lengths.item() if per_token else 1
            assert found == pytest.approx(norm * right[row], rel=1e-4)
    assert 0 < correct.sum() < correct.size
    assert not learner.pilot(numbers, measured=False)[1].any()


# --- loops ----------------------------------------------------------------------------------------


def begin(spec, steps=6, rng=3, task=TASK, **knobs):
    name, settings = registry.parse_spec(spec)
    made = registry.make(name, {**SMALL, "warm_up": 2, **settings, **knobs}, room="train")
    return made.begin(task, steps=steps, rng=rng)


@LOOPS
def test_a_loop_that_is_stopped_goes_on_as_if_it_had_not_been(spec, tmp_path):
    task = Digits(problems=20, test=5)
    whole = begin(spec, task=task)
    while whole.done < whole.steps:
        whole.advance()
        whole.save(tmp_path / str(whole.done))
    assert any(figures["loss"] != 0 for figures in whole.history[2:])
    for stop in (1, 4):  # within the warm-up, and between two allocations
        again = begin(spec, task=task, rng=8)
        again.load(tmp_path / str(stop))
        while again.done < again.steps:
            again.advance()
        assert again.history == whole.history
        for one, other in zip(again.policy.learned, whole.policy.learned, strict=True):
            assert torch.equal(one, other)
        assert again.evaluate() == whole.evaluate()


@LOOPS
def test_every_step_draws_what_it_may_and_pilots_come_every_so_many_steps(spec):
    learner = begin(spec, steps=5, warm_up=0)
    drawn = []
    while learner.done < learner.steps:
        figures = learner.advance()
        drawn.append(len(learner.rollouts))
        assert figures["tokens"] == sum(rollout.tokens for rollout in learner.rollouts)
        assert figures["pilots"] == (24 if learner.done in (1, 4) else 0)
    assert drawn == [40, 16, 16, 40, 16]


def test_an_even_allocation_draws_no_pilots_and_goes_through_all_problems():
    learner = begin("raft++", steps=5, warm_up=0)
    prompts = []
    for _ in range(5):
        assert learner.advance()["pilots"] == 0
        prompts += [rollout.prompt for rollout in learner.rollouts]
    assert len(prompts) == 5 * 16
    assert len(set(prompts[:48])) >= len({TASK.prompt(n) for n in range(20)}) - 8


def test_an_allocation_is_made_once_and_not_with_the_knobs():
    loop = Raft(allocation="gvm:alpha=0.5")
    assert loop.allocator is loop.allocator
    assert loop.allocator.alpha == 0.5
    assert loop == Raft(allocation="gvm:alpha=0.5")
    assert "allocator" not in loop.settings()
    assert replace(loop, allocation="uniform").allocator.name == "uniform"
    assert pickle.loads(pickle.dumps(loop)).allocator == loop.allocator


def test_an_allocation_moves_draws_away_from_what_is_always_wrong():
    @dataclass(frozen=True)
    class Half(Digits):
        def reward(self, number, text):
            return float(number % 2 == 0)

    task = Half(problems=20, test=5)
    learner = begin("raft:allocation=gvm", task=task, warm_up=0, steps=1)
    learner.advance()
    left = learner.plan.left.problems
    assert len(left) == 2 * 16
    plan = learner.plan.left
    assert (
        plan.draws[plan.places == plan.places[-1]] == (plan.places == plan.places[-1]).sum()
    ).all()
    assert not (left % 2).any()
    known = learner.allocation.known
    assert set(known.p.tolist()) == {0.0, 1.0}
    assert ((known.G > 0) == (known.p > 0)).all()


def test_several_steps_a_draw_use_ratios():
    task = Digits(problems=20, test=5)
    plain, clipped = (
        begin("raft++", steps=3, warm_up=0, task=task, learning_rate=0.05, clip_high=high)
        for high in (9.0, 0.0)
    )
    for learner in (plain, clipped):
        for _ in range(3):
            learner.advance()
    assert plain.history != clipped.history
    assert plain.history[0]["reward"] == clipped.history[0]["reward"]


def test_a_penalty_holds_the_policy_near_where_it_was():
    away = []
    for kl in (0.001, 100.0):
        learner = begin("grpo", steps=6, warm_up=0, kl=kl, task=Digits(problems=20, test=5))
        while learner.done < learner.steps:
            learner.advance()
        batch = learner.policy.batch(["1+1="] * 2, ["2", "3"])
        old = learner.policy.log_probabilities(batch, weights=learner.reference.weights)
        new = learner.policy.log_probabilities(batch)
        away.append(mean_per_row(kl_estimate(new, old), batch.scored).mean().item())
    assert 0 < away[1] < away[0]
    assert not begin("grpo", kl=0).reference.weights


@LOOPS
def test_adapters_of_a_language_model_take_a_step(spec, tiny):
    lm = tiny(device="cpu", spread=0.1)
    policy = Policy.of(lm, rank=2)
    name, settings = registry.parse_spec(spec)
    loop = registry.make(name, {**SMALL, **settings}, room="train")
    before = [one.detach().clone() for one in policy.learned]
    frozen = {n: w.clone() for n, w in policy.model.named_parameters() if not w.requires_grad}

    learner = train(loop, Digits(problems=20, test=5), model=policy, steps=1, rng=0)
    assert learner.warm_up == 0
    assert learner.history[0]["kept"] > 0
    assert learner.history[0]["loss"] != 0
    assert any(not torch.equal(a, b) for a, b in zip(before, policy.learned, strict=True))
    now = dict(policy.model.named_parameters())
    assert all(torch.equal(now[name], weight) for name, weight in frozen.items())


@LOOPS
def test_a_loop_learns_what_is_rewarded(spec):
    task = Digits(problems=20, test=5)
    learner = begin(spec, steps=15, warm_up=0, task=task, samples=8, learning_rate=0.003)
    before = learner.evaluate()["accuracy"]
    while learner.done < learner.steps:
        learner.advance()
    rewards = [figures["reward"] for figures in learner.history]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.2
    assert learner.evaluate()["accuracy"] >= before


def test_imitation_gives_a_start():
    task = Arithmetic(terms=2, problems=40, test=10)
    learner = Raft(problems=16, warm_up=25).begin(task, steps=1, rng=0)
    while learner.done < learner.steps:
        learner.advance()
    losses = [figures["loss"] for figures in learner.history]
    assert losses[24] < losses[0] / 2
    assert learner.history[-1]["reward"] > 0.1


def test_problems_are_apart_and_checked_by_their_last_total():
    task = Arithmetic(digits=2, terms=3, problems=300, test=50, seed=4)
    asked = [task.prompt(number) for number in range(350)]
    assert len(set(asked[300:])) == 50
    assert not set(asked[:300]) & set(asked[300:])
    for number in range(350):
        worked = task.solution(number)
        terms = [int(one) for one in asked[number][:-1].split("+")]
        assert [int(one) for one in worked.split(",")] == np.cumsum(terms)[1:].tolist()
        assert len(worked) + 1 <= task.longest
        assert task.reward(number, worked) == 1
        assert task.reward(number, str(sum(terms))) == 1
        assert task.reward(number, f"{sum(terms) + 1}") == 0


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", [Raft, RaftPlusPlus, Grpo])
@pytest.mark.parametrize(
    "knob",
    ["problems", "samples", "learning_rate", "temperature", "mini_batches", "refresh", "pilots"],
)
def test_knobs_that_must_be_above_zero(loop, knob):
    with pytest.raises(UsageError, match=knob):
        loop(**{knob: 0})


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Raft(warm_up=-1), "warm_up"),
        (lambda: Raft(most_tokens=0), "most_tokens"),
        (lambda: Raft(estimator="best"), "estimator"),
        (lambda: Raft(layer="all"), "layer"),
        (lambda: Raft(allocation="temperature"), "allocation"),
        (lambda: Raft(allocation="gvm:alpha=-1"), "alpha"),
        (lambda: Raft(allocation="none of these"), "mix"),
        (lambda: Raft(allocation="gvm:cap=7"), "8 for 1 prompts of 7"),
        (lambda: RaftPlusPlus(clip_high=-0.1), "clip_high"),
        (lambda: RaftPlusPlus(kl=-1), "kl"),
        (lambda: RaftPlusPlus(learning_rate=float("inf")), "learning_rate"),
        (lambda: Grpo(dual_clip=1.0), "dual_clip"),
        (lambda: Grpo(group=1), "group"),
        (lambda: Arithmetic(terms=1), "terms"),
        (lambda: Arithmetic(terms=2), "problems"),
    ],
)
def test_what_makes_no_sense_is_refused(make, named):
    with pytest.raises(UsageError, match=named):
        make()
