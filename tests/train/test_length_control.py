import numpy as np
import pytest
import torch

from samplewise import registry
from samplewise.errors import UsageError
from samplewise.train.length_control import (
    LEVELS,
    LengthControl,
    level_prompt,
    tldr_reward,
)
from samplewise.train.objectives import group_advantages, grpo_loss, kl_estimate
from samplewise.train.policy import Policy
from samplewise.train.problems import Arithmetic
from samplewise.train.worked_sums import WorkedSums

FORMS = ("target", "linear", "correct-only")
SMALL = {"problems": 2, "samples": 3, "most_tokens": 6}
TASK = WorkedSums(terms=4, problems=30, test=4)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def advantages(rewards, groups=None, scale=True):
    rewards = torch.as_tensor(rewards)
    groups = torch.zeros(len(rewards), dtype=torch.long) if groups is None else groups
    return group_advantages(rewards, groups, scale=scale).numpy()


# --- rewards --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_without_a_weight_every_form_is_plain_grpo(form):
    right, lengths = [1, 0, 1, 0], [3, 50, 90, 100]
    found = tldr_reward(right, lengths, longest=100, weight=0.0, target=20, form=form)
    assert found.tolist() == right


def test_the_forms_by_hand():
    def worth(form):
        return tldr_reward(
            [1, 1, 0], [10, 60, 60], longest=100, weight=[0.5, 0.5, 1], target=20, form=form
        )

    np.testing.assert_allclose(worth("target"), [1, 0.8, -0.4])
    np.testing.assert_allclose(worth("linear"), [0.95, 0.7, -0.6])
    np.testing.assert_allclose(worth("correct-only"), [0.95, 0.7, 0])


@pytest.mark.parametrize("form", FORMS)
def test_giving_up_early_pays_but_in_the_correct_only_form(form):
    worth = tldr_reward([0, 0, 0], [5, 40, 90], longest=100, weight=0.5, target=10, form=form)
    gains = advantages(worth)
    if form == "correct-only":
        assert not gains.any()
    else:
        assert gains[0] > gains[1] > gains[2]


def test_alike_rewards_have_no_advantage():
    assert advantages([0.4] * 5).tolist() == [0] * 5


@pytest.mark.parametrize("weight", [0.01, 0.3, 1.0, 20.0])
def test_where_all_are_right_the_linear_forms_weight_cancels(weight):
    lengths = np.array([8, 14, 20, 33, 9])
    worth = tldr_reward([1] * 5, lengths, longest=40, weight=weight, form="linear")
    expected = -(lengths - lengths.mean()) / lengths.std(ddof=1)
    np.testing.assert_allclose(advantages(worth), expected, rtol=1e-3)


def test_the_target_form_and_no_scaling_tell_levels_apart():
    loop, lengths = LengthControl(), np.array([8, 12, 18])
    levels = np.arange(3).repeat(3)
    groups = torch.from_numpy(levels)
    by = {}
    for form in FORMS:
        made = LengthControl(form=form)
        worth = made.worth(np.ones(9), np.tile(lengths, 3), levels, 40)
        by[form] = (advantages(worth, groups), advantages(worth, groups, scale=False))
    short, medium, long = np.split(by["linear"][0], 3)
    np.testing.assert_allclose(short, medium, atol=1e-4)
    assert not long.any()
    short, medium, long = np.split(by["linear"][1], 3)
    np.testing.assert_allclose(medium, 0.3 * short)
    # One pass is within the short target, and everything within the medium one.
    short, medium, long = np.split(by["target"][0], 3)
    assert short[0] > short[1] > short[2]
    assert not medium.any()
    assert not long.any()
    assert loop.targets.tolist() == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("changed", "word"),
    [({"lengths": [101]}, "lengths"), ({"weight": -1}, "weight"), ({"form": "square"}, "form")],
)
def test_what_cannot_be_rewarded_is_refused(changed, word):
    settings = {"lengths": [100], "weight": 1.0, "form": "linear"} | changed
    with pytest.raises(UsageError, match=word):
        tldr_reward([1], settings.pop("lengths"), longest=100, **settings)


def test_as_a_reward_function_of_trl():
    def right(prompts, completions, answer, **kwargs):
        return [float(text.endswith(one)) for text, one in zip(completions, answer, strict=True)]

    function = LengthControl(form="linear").reward_function(right, longest=4, ends=[8, 9])
    columns = {
        "completion_ids": [[1, 9], [1, 2, 3, 9], [1, 2, 3, 4], [1, 9]],
        "level": ["short", "medium", "long", "long"],
        "answer": ["7", "7", "7", "8"],
    }
    found = function(prompts=["p"] * 4, completions=["= 7"] * 4, **columns)
    np.testing.assert_allclose(found, [0.5, 0.7, 0.0, 0.0])  # the third was cut
    assert all(type(one) is float for one in found)
    with pytest.raises(UsageError, match="level"):
        function(prompts=["p"], completions=["7"], completion_ids=[[1]], answer=["7"])
    with pytest.raises(UsageError, match="tiny"):
        function(prompts=["p"] * 4, completions=["7"] * 4, **(columns | {"level": ["tiny"] * 4}))


# --- the loss -------------------------------------------------------------------------------------


def tensors(rows=3, length=5):
    random = torch.Generator().manual_seed(0)
    new = torch.randn(rows, length, generator=random, dtype=torch.float64) - 2
    response = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]).bool()
    return new.requires_grad_(), torch.tensor([1.0, -0.5, 2.0]).double(), response


def test_at_the_policy_that_drew_the_gradient_is_that_of_reinforce():
    new, gains, response = tensors()
    same = new.detach()
    grpo_loss(new, same, gains, response, same, kl=3.0).backward()
    expected = -gains[:, None] * response / response.sum(1, keepdim=True) / 3
    torch.testing.assert_close(new.grad, expected)
    assert not kl_estimate(same, same).any()


def test_a_policys_gradient_is_that_of_reinforce():
    policy = Policy.small(width=16, layers=1, heads=2)
    policy.model.double()
    batch = policy.batch(["short: 12=", "long: 4="], ["3", "4;4=4"])
    gains = torch.tensor([1.5, -0.5], dtype=torch.float64)
    new = policy.log_probabilities(batch)
    same = new.detach()
    loss = grpo_loss(new, same, gains, batch.scored, same, kl=2.0)
    found = torch.autograd.grad(loss, policy.learned)
    chances = policy.log_probabilities(batch)
    rows = zip(chances, batch.scored, strict=True)
    means = torch.stack([row[mask].mean() for row, mask in rows])
    expected = torch.autograd.grad(-(gains * means).mean(), policy.learned)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_gradient_is_that_of_differences():
    new, gains, response = tensors()
    old, reference = new.detach() + 0.05, new.detach() - 0.3
    torch.autograd.gradcheck(
        lambda one: grpo_loss(one, old, gains, response, reference, kl=0.1), new
    )


def test_a_ratio_beyond_the_clip_gains_nothing_more():
    new, gains, response = tensors()
    grpo_loss(new, new.detach() - 0.3, gains, response).backward()
    assert not new.grad[0].any()  # made likelier enough
    assert new.grad[1, 0] != 0  # its advantage is negative


def test_the_estimates_mean_is_the_divergence():
    logs = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.2, 0.3, 0.5]).log()
    exact = (logs[0].exp() * (logs[0] - logs[1])).sum()
    estimated = (logs[0].exp() * kl_estimate(*logs)).sum()
    torch.testing.assert_close(estimated, exact)
    assert (kl_estimate(*logs) >= 0).all()


# --- the loop -------------------------------------------------------------------------------------


def weights(learner):
    return torch.cat([weight.detach().flatten() for weight in learner.policy.learned])


def run(steps=2, rng=0, **knobs):
    learner = LengthControl(**SMALL, **knobs).begin(TASK, steps=steps, rng=rng)
    while learner.done < learner.steps:
        learner.advance()
    return learner


def test_resumed_it_ends_as_undisturbed(tmp_path):
    knobs = {"warm_up": 2, "updates": 2, "kl": 1.0}
    whole = run(steps=3, **knobs)
    for stop in (1, 2, 4):  # in the warm-up, before the reference is made, after it
        first = LengthControl(**SMALL, **knobs).begin(TASK, steps=3, rng=0)
        for _ in range(stop):
            first.advance()
        first.save(tmp_path / "checkpoint")
        again = LengthControl(**SMALL, **knobs).begin(TASK, steps=3, rng=5)
        again.load(tmp_path / "checkpoint")
        while again.done < again.steps:
            again.advance()
        assert torch.equal(weights(again), weights(whole))
        assert again.history == whole.history


def test_without_weights_all_forms_learn_the_same():
    ended = [
        run(form=form, warm_up=1, weight_short=0, weight_medium=0, weight_long=0) for form in FORMS
    ]
    assert len({tuple(weights(learner).tolist()) for learner in ended}) == 1


@pytest.mark.parametrize("value", [0.7, 0.9, -1 / 3])
def test_alike_rewards_teach_nothing(monkeypatch, value):
    learner = LengthControl(problems=2, samples=7, most_tokens=6, warm_up=0, kl=0.0).begin(
        TASK, steps=1, rng=0
    )
    seen = []

    def update(batch, gains):
        seen.append(gains)
        return 0.0, 0.0

    worth = np.repeat([value, value / 3], 7)
    monkeypatch.setattr(learner, "judge", lambda *_: (np.full(14, 3), worth))
    monkeypatch.setattr(learner, "_update", update)
    learner.advance()
    assert seen[0].dtype == torch.float32
    assert seen[0].abs().max() < 1e-8


def test_an_answer_is_as_long_as_the_task_says():
    tasks = TASK, Arithmetic(terms=9, problems=30, test=4)
    found = [LengthControl().begin(task, rng=0).most for task in tasks]
    assert found == [task.longest for task in tasks]
    assert len(set(found)) == 2
    assert LengthControl(most_tokens=6).begin(TASK, rng=0).most == 6


def test_a_cut_answer_is_wrong_and_the_longest():
    learner = LengthControl(form="linear", weight_long=1.0, most_tokens=6).begin(TASK, rng=0)
    batch = learner.policy.batch(["1="] * 3, ["1=1", "1=1", "12345"], ended=[True, False, False])
    lengths, worth = learner.judge(np.full(3, 2), batch, np.ones(3))
    assert lengths.tolist() == [4, 6, 6]
    np.testing.assert_allclose(worth, [1 - 4 / 6, -1, -1])


def test_every_prompt_says_its_level():
    learner = run(steps=1, warm_up=0)
    prompts = {rollout.prompt for rollout in learner.rollouts}
    assert len(prompts) == 2
    assert all(prompt.startswith(tuple(map(level_prompt, LEVELS))) for prompt in prompts)
    assert len(learner.rollouts) == 6


def test_the_reference_stays_and_holds_the_model():
    free, held = (run(steps=4, warm_up=1, kl=kl, learning_rate=0.01) for kl in (0.0, 1e4))
    assert not free.reference.weights
    assert free.history[-1]["kl"] == 0
    start = torch.cat([weight.flatten() for weight in held.reference.weights.values()])
    assert not torch.equal(start, weights(held))
    assert held.history[1]["kl"] == pytest.approx(0, abs=1e-6)
    assert held.history[-1]["kl"] > 0


def test_with_adapters_the_reference_holds_them_alone():
    import peft

    policy = Policy.small(width=16, layers=1, heads=2)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    plain, adapted = policy.model, peft.get_peft_model(policy.model, config)
    learner = LengthControl(problems=3, samples=4, form="linear", weight_long=1.0).begin(
        TASK, model=Policy(adapted, policy.encode, policy.decode), steps=2, rng=0
    )
    assert learner.advance()["kl"] == pytest.approx(0, abs=1e-6)
    assert learner.advance()["kl"] > 0
    frozen = {name for name, weight in adapted.named_parameters() if not weight.requires_grad}
    assert frozen
    assert not frozen & learner.reference.weights.keys()
    assert plain is adapted.get_base_model()


def test_figures_of_a_test_are_told_by_level():
    learner = run(steps=1, warm_up=0)
    found = learner.evaluate()
    mean = np.mean([found[f"length_{level}"] for level in LEVELS])
    assert found["length"] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("samples", 1),
        ("problems", 0),
        ("clip", 0.0),
        ("kl", -1.0),
        ("weight_short", -0.1),
        ("target_long", float("inf")),
        ("most_tokens", 0),
        ("updates", 0),
    ],
)
def test_bad_knobs_are_named(knob, value):
    with pytest.raises(UsageError, match=knob):
        LengthControl(**{knob: value})


def test_found_by_both_names():
    assert registry.find("tldr", "train") is registry.find("length-control", "train")
    with pytest.raises(UsageError, match="level"):
        level_prompt("tiny")
