"""Losses against their gradients and limits, and the loop against itself."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import samplewise as sw
from samplewise.errors import UsageError
from samplewise.train.policy import Policy
from samplewise.train.programs import ShortPrograms
from samplewise.train.self_sampled import (
    SelfSampled,
    count_right,
    mixture_loss,
    mle_aug_loss,
    mle_loss,
    mml_loss,
    scale_by_length,
)
from samplewise.verify.trace import statements_of

TASK = ShortPrograms(problems=6, test=4)
SETS = torch.tensor([0, 1, 0, 0, 1])
SCORES = torch.tensor([-3.0, -0.5, -1.0, -6.0, -4.0], dtype=torch.float64)


def slopes(loss, scores=SCORES):
    """Give minus the gradient of the sum over sets by finite differences."""
    step, found = 1e-6, []
    for place in range(len(scores)):
        moved = torch.zeros_like(scores)
        moved[place] = step
        found.append(float((loss(scores - moved) - loss(scores + moved)).sum()) / (2 * step))
    return found


def softmax(values):
    weights = np.exp(values - np.max(values))
    return weights / weights.sum()


# --- losses ---------------------------------------------------------------------------------------


def test_all_losses_are_one_where_sets_hold_one_program():
    sets = torch.arange(5)
    for loss in (mle_loss, mle_aug_loss, mml_loss, lambda *args: mml_loss(*args, 0.25)):
        assert torch.allclose(loss(SCORES, sets), -SCORES)
    assert torch.equal(mle_aug_loss(SCORES, sets, mean=True), -SCORES)


def test_equally_likely_programs():
    scores, sets = torch.full((3,), -2.0, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    assert float(mml_loss(scores, sets)) == pytest.approx(2.0 - np.log(3))
    assert float(mle_aug_loss(scores, sets)) == 6.0
    assert float(mle_aug_loss(scores, sets, mean=True)) == 2.0


def test_values_by_hand():
    assert mle_loss(SCORES, SETS).tolist() == [3.0, 0.5]
    assert mle_aug_loss(SCORES, SETS).tolist() == [10.0, 4.5]
    first, second = [-3.0, -1.0, -6.0], [-0.5, -4.0]
    for beta in (1.0, 0.3):
        wanted = [-np.log(np.exp(beta * np.array(one)).sum()) / beta for one in (first, second)]
        assert mml_loss(SCORES, SETS, beta).tolist() == pytest.approx(wanted)
    far = torch.tensor([-5000.0, -5001.0], dtype=torch.float64)
    assert float(mml_loss(far, SETS[[0, 0]])) == pytest.approx(5000 - np.log1p(np.exp(-1)))


@pytest.mark.parametrize("beta", [1.0, 0.25, 0.01])
def test_gradients_weigh_programs_by_a_softmax(beta):
    scores, sets = SCORES.numpy(), SETS.numpy()
    wanted = np.empty(5)
    for one in (0, 1):
        wanted[sets == one] = softmax(beta * scores[sets == one])
    assert slopes(lambda s: mml_loss(s, SETS, beta)) == pytest.approx(wanted, abs=1e-7)
    learned = SCORES.clone().requires_grad_()
    mml_loss(learned, SETS, beta).sum().backward()
    assert (-learned.grad).tolist() == pytest.approx(wanted)
    assert slopes(lambda s: mle_aug_loss(s, SETS)) == pytest.approx([1.0] * 5)
    assert slopes(lambda s: mle_loss(s, SETS)) == pytest.approx([1, 1, 0, 0, 0])


def test_smoothing_orders_the_losses_and_has_a_limit():
    losses = [mml_loss(SCORES, SETS, beta) for beta in (1.0, 0.5, 0.1, 1e-3)]
    assert all((after <= before + 1e-12).all() for before, after in pairwise(losses))
    beta = 1e-7
    sizes = torch.tensor([3.0, 2.0], dtype=torch.float64)
    limit = mml_loss(SCORES, SETS, beta) + sizes.log() / beta
    mean = mle_aug_loss(SCORES, SETS, mean=True)
    assert limit.tolist() == pytest.approx(mean.tolist(), abs=1e-5)


def test_a_mixture_is_the_sum_of_its_parts():
    mixed = mixture_loss(SCORES, SETS, mle_lambda=0.5, mml_lambda=2.0, beta=0.3, mean=True)
    parts = 0.5 * mle_aug_loss(SCORES, SETS, mean=True) + 2 * mml_loss(SCORES, SETS, 0.3)
    assert torch.equal(mixed, parts)
    assert torch.equal(mixture_loss(SCORES, SETS, beta=0.3), mle_aug_loss(SCORES, SETS))


def test_short_programs_are_scaled_to_long_ones():
    lengths = torch.tensor([10, 4, 5, 20, 8])
    scaled = scale_by_length(SCORES, lengths, SETS)
    assert scaled.tolist() == [-6.0, -1.0, -4.0, -6.0, -4.0]


def test_mle_aug_keeps_several_solutions_and_mml_the_likeliest():
    start = torch.tensor([0.0, -3.5, -4.0, 1.0], dtype=torch.float64)  # the last one is wrong
    right, sets = [0, 1, 2], torch.zeros(3, dtype=torch.int64)
    shares = {}
    for loss in (mle_aug_loss, mml_loss):
        logits = start.clone().requires_grad_()
        for _ in range(400):
            found = loss(logits.log_softmax(0)[right], sets).sum()
            (slope,) = torch.autograd.grad(found, logits)
            logits = (logits - 0.1 * slope).detach().requires_grad_()
        shares[loss] = logits.softmax(0)[right].tolist()
    assert shares[mle_aug_loss] == pytest.approx([1 / 3] * 3, abs=0.03)
    assert max(shares[mml_loss]) > 0.9


# --- the loop -------------------------------------------------------------------------------------


def learner(seed=0, steps=6, task=TASK, model=None, **knobs):
    knobs = {"problems": 3, "warm_up": 2, "test_samples": 2} | knobs
    return SelfSampled(**knobs).begin(task, model=model, steps=steps, rng=seed)


def advanced(one, steps):
    for _ in range(steps):
        one.advance()
    return one


def weights(one):
    return [weight.detach().clone() for weight in one.policy.learned]


def small(seed=0):
    return Policy.small(width=16, layers=1, heads=2, rng=seed)


class Scripted(Policy):
    """A policy that samples what it is told to."""

    def sample(self, prompts, *, most, random, temperature=1.0):
        self.__dict__.setdefault("asked", []).extend(prompts)
        return self.batch(prompts, [self.script(prompt) for prompt in prompts])


def scripted(script, seed=0):
    plain = small(seed)
    policy = Scripted(plain.model, plain.encode, plain.decode)
    policy.__dict__["script"] = script
    return policy


def swapped(prompt, task=TASK):
    """Write the reference otherwise, as far as it is a sum or a product."""
    number = next(n for n in range(task.count) if prompt.startswith(task.prompt(n)))
    lines = []
    for line in task.solution(number).split("\n"):
        name, value = line.split("=")
        for sign in "+*":
            if sign in value:
                value = sign.join(value.split(sign)[::-1])
        lines.append(f"{name}={value}")
    begun = prompt.removeprefix(task.prompt(number)).count("\n")
    return "\n".join(lines[begun:])


def test_it_resumes_to_the_last_bit(tmp_path):
    whole = advanced(learner(temperature=1.5, steps=3), 5)
    before = advanced(learner(temperature=1.5, steps=3), 3)
    before.save(tmp_path / "half.pt")
    after = learner(seed=9, temperature=1.5, steps=3)
    after.load(tmp_path / "half.pt")
    advanced(after, 2)
    assert all(map(torch.equal, weights(whole), weights(after)))
    assert after.store.state_dict() == whole.store.state_dict()
    assert after.history == whole.history


def test_evaluation_disturbs_nothing():
    one, other = (learner(model=small()) for _ in range(2))
    figures = advanced(one, 1).evaluate()
    assert sorted(figures) == ["accuracy", "coverage", "length"]
    assert one.evaluate() == figures
    assert all(map(torch.equal, weights(advanced(one, 2)), weights(advanced(other, 3))))


def test_what_is_sampled_right_is_kept_and_learned():
    policy = scripted(swapped)
    one = learner(model=policy, problems=6)
    assert one.steps == 6  # a given model has no warm-up
    first = one.advance()
    kept = one.store.counts["full"]
    assert kept == sum(swapped(TASK.prompt(n)) != TASK.solution(n) for n in range(6))
    assert kept > 2
    assert first["reward"] == 1.0
    assert first["right"] == pytest.approx(1 + kept / 6)
    batch, sets = one.training_batch(range(6))
    assert len(sets) == 6 + kept
    for place, text in zip(sets.tolist(), policy.texts(batch), strict=True):
        assert TASK.reward(place, text) == 1.0
    assert (batch.ids == policy.end).sum() == len(sets)


def test_beginnings_are_continued_and_end_without_an_end():
    def script(prompt):
        *lines, _ = swapped(prompt).split("\n")
        return "\n".join([*lines, "answer=a-a"])

    policy = scripted(script)
    one = advanced(learner(model=policy, problems=6, beginnings=2, samples=2), 4)
    known = [known for known in one.store.problems.values() if len(known.partial) > 1]
    assert known
    assert any(prompt.count("\n") > 1 for prompt in policy.asked)
    batch, _ = one.training_batch(range(6))
    beginnings = sum(len(known.partial) - 1 for known in one.store.problems.values())
    assert (batch.ids == policy.end).sum() == len(batch.ids) - beginnings
    assert len(policy.asked) == 4 * 6 * 2 * 2
    for knobs in ({"fully_correct_only": True}, {"begin_with": "nothing"}):
        plain = scripted(script)
        other = advanced(learner(model=plain, problems=6, **knobs), 3)
        assert all(prompt.count("\n") == 1 for prompt in plain.asked)
        assert ("partial" in other.store.counts) == ("begin_with" in knobs)


def test_mle_samples_nothing_and_learns_the_references():
    policy = scripted(None)
    one = advanced(learner(model=policy, problems=6, loss="mle"), 1)
    batch, sets = one.training_batch(range(6))
    assert policy.texts(batch) == [TASK.solution(number) for number in range(6)]
    assert sets.tolist() == list(range(6))
    assert one.history[0]["tokens"] == 0


@pytest.mark.parametrize("exclude", [True, False])
def test_the_loss_is_of_summed_log_probabilities(exclude):
    one = learner(model=scripted(swapped), problems=6, loss="mml", exclude_context_loss=exclude)
    one.explore(range(6))
    batch, sets = one.training_batch([0, 3])
    found = one.loss(batch, sets).item()
    each = {}
    with torch.no_grad():
        for place, number in enumerate((0, 3)):
            for code in one.store.problems[number].full:
                text = TASK.prompt(number) + "\n".join(code)
                ids = torch.tensor([[*one.policy.encode(text), one.policy.end]])
                logs = one.policy.model(ids).logits[0, :-1].log_softmax(1)
                taken = logs[range(ids.shape[1] - 1), ids[0, 1:]]
                first = len(TASK.prompt(number)) - 1 if exclude else 0
                each.setdefault(place, []).append(float(taken[first:].sum()))
    assert found == pytest.approx(
        np.mean([-np.log(np.exp(one).sum()) for one in each.values()]), 1e-4
    )
    assert max(map(len, each.values())) > 1


@pytest.mark.parametrize("loss", ["mle-aug", "mml", "beta-mml", "mixture"])
@pytest.mark.parametrize("knob", ["mle_aug_norm", "norm_marg_by_len"])
def test_every_loss_is_learned(loss, knob):
    knobs = {"loss": loss, "mml_lambda": 0.5, knob: True, "prioritize_fully_correct": False}
    one = learner(model=scripted(swapped), problems=6, marginal_set_size=2, **knobs)
    before = weights(one)
    figures = [one.advance() for _ in range(3)]
    assert all(np.isfinite(list(step.values())).all() for step in figures)
    assert not any(map(torch.equal, before, weights(one)))


def test_counts_of_right_programs():
    policy = scripted(lambda prompt: swapped(prompt) if TASK.prompt(1) == prompt else "answer=a")
    counts = count_right(policy, TASK, [0, 1], samples=3, most=9, random=torch.Generator())
    assert counts.tolist() == [[3, 0], [3, 3]]


def test_it_learns_by_its_name():
    task = ShortPrograms(problems=2, test=2)
    spec = "self-sampled:problems=2:ramp=0:learning_rate=0.01:fully_correct_only=true"
    done = sw.train(spec, task, model=small(), steps=30)
    assert done.history[-1]["loss"] < 0.7 * done.history[0]["loss"]


def test_programs_of_real_python_run_in_the_sandbox():
    task = ShortPrograms(problems=2, test=2, python=True)
    one = learner(task=task, model=scripted(lambda prompt: "answer=abs(a)"), problems=2)
    one.advance()
    assert one.store.counts["fails"] == 0
    assert statements_of("answer=abs(a)") == ("answer=abs(a)",)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        *[("problems", 0), ("samples", 0), ("beginnings", 0), ("marginal_set_size", 0)],
        *[("max_buffer_size", 0), ("temperature", 0.0), ("learning_rate", 0.0), ("beta", 0.0)],
        *[("beta", 1.5), ("length_tolerance", -1), ("state_tolerance", 0.0), ("ramp", -1)],
        *[("loss", "none"), ("begin_with", "all"), ("test_samples", 0), ("weight_decay", -1.0)],
    ],
)
def test_wrong_knobs_are_refused(knob, value):
    with pytest.raises(UsageError, match=knob):
        SelfSampled(**{knob: value})


def test_a_mixture_of_nothing_is_refused():
    with pytest.raises(UsageError, match="mml_lambda"):
        SelfSampled(loss="mixture", mle_lambda=0.0)
