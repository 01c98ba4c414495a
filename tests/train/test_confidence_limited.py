"""The loss for pass@N: its factor, its traps, its forms, the loop and the Trainer."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from samplewise.errors import UsageError
from samplewise.measure.confidence import proof_pass_at_n
from samplewise.train.base import train
from samplewise.train.confidence_limited import (
    ConfidenceLimited,
    TrainerLoss,
    compute_loss_func,
    dco_a_loss,
    dco_factor,
    dco_loss,
    dco_step_loss,
    target_log_probabilities,
)
from samplewise.train.policy import Policy
from samplewise.train.problems import Arithmetic

CHANCES = (1e-12, 1e-6, 1 / 256, 0.5, 1 - 1e-9)
ATTEMPTS = (1, 4, 256, 1e4)


def log(*chances):
    return torch.tensor(chances, dtype=torch.float64).log()


def direct(logp, n):
    """The loss as it is written; only for p in the middle."""
    return -(1 - (1 - logp.exp()) ** n).log()


def slope(loss, at):
    [found] = torch.autograd.grad(loss.sum(), at)
    return found


# --- the loss -------------------------------------------------------------------------------------


def test_one_attempt_is_cross_entropy():
    logp = log(*CHANCES, 1.0).requires_grad_()
    found = dco_loss(logp, 1)
    assert torch.equal(found.loss, -logp)
    assert torch.equal(slope(found.loss, logp), -torch.ones(6, dtype=torch.float64))
    assert torch.equal(found.cross_entropy, -logp.detach())


@pytest.mark.parametrize("n", [1.5, 4, 256, 1e4])
def test_value_and_gradient_are_those_of_the_direct_form(n):
    logp = log(1e-4, 0.3 / n, 1 / n, 1.3 / n, 0.3, 0.5)
    ours, theirs = logp.clone().requires_grad_(), logp.clone().requires_grad_()
    found, plain = dco_loss(ours, n), direct(theirs, n)
    torch.testing.assert_close(found.loss, plain, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(slope(found.loss, ours), slope(plain, theirs), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(-slope(dco_loss(ours, n).loss, ours), found.factor)


@pytest.mark.parametrize("n", ATTEMPTS)
def test_the_gradient_is_a_finite_difference_of_the_value(n):
    logp = log(1e-12, 1e-6, 1e-3, 1 / max(n, 2), 0.5, 0.9)
    at = logp.clone().requires_grad_()
    # Five points, so that the step may be wide enough for the value's last digits not to matter.
    h = 1e-3
    value = [dco_loss(logp + k * h, n).loss for k in (-2, -1, 1, 2)]
    difference = (value[0] - 8 * value[1] + 8 * value[2] - value[3]) / (12 * h)
    torch.testing.assert_close(slope(dco_loss(at, n).loss, at), difference, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n", ATTEMPTS)
@pytest.mark.parametrize("p", CHANCES)
def test_the_factor_is_the_closed_form_worked_out_with_many_digits(n, p):
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 200
        logp = math.log(p)
        chance = Decimal(logp).exp()
        wide, missed = Decimal(n), 1 - chance
        coverage = 1 - missed**wide
        factor = wide * chance * missed ** (wide - 1) / coverage
        value = -coverage.ln()
    found = dco_loss(torch.tensor([logp], dtype=torch.float64), n)
    assert found.factor.item() == pytest.approx(float(factor), rel=1e-9, abs=1e-300)
    assert found.loss.item() == pytest.approx(float(value), rel=1e-9, abs=1e-300)


def test_the_cards_figures():
    for n, p, expected in ((4, 0.25, 0.6171), (16, 1 / 16, 0.5898), (256, 1 / 256, 0.5825)):
        assert dco_factor(log(p), n).item() == pytest.approx(expected, abs=5e-5)
    assert dco_factor(log(5 / 256), 256).item() == pytest.approx(0.0329, abs=5e-5)
    for c, expected in ((1, 0.582), (2, 0.313), (5, 0.0339)):
        limit = dco_factor(log(c / 1e8), 1e8).item()
        assert limit == pytest.approx(c / math.expm1(c), rel=1e-6)
        assert limit == pytest.approx(expected, abs=5e-4)


def test_the_factor_falls_with_the_chance_and_with_the_attempts():
    logp = torch.linspace(-40, 0, 4001, dtype=torch.float64)
    table = torch.stack([dco_factor(logp, n) for n in (1.5, 2, 4, 64, 1024, 1e6)])
    assert (table.diff(dim=1) <= 1e-12).all()
    assert (table.diff(dim=0) <= 1e-12).all()
    assert ((table >= 0) & (table <= 1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_are_neither_nan_nor_lost(dtype):
    logp = torch.tensor([0.0, -1e-9, -50.0, -600.0, -1e4], dtype=dtype, requires_grad=True)
    found = dco_loss(logp, 64)
    assert found.factor.tolist() == [0, pytest.approx(0, abs=1e-30), 1, 1, 1]
    expected = [0, 0, *(-x - math.log(64) for x in (-50.0, -600.0, -1e4))]
    assert found.loss.tolist() == pytest.approx(expected, rel=1e-6)
    assert torch.isfinite(slope(found.loss, logp)).all()


@pytest.mark.parametrize(
    ("logp", "n", "field"),
    [
        (torch.tensor([0.1]), 4, "log-probability"),
        (torch.tensor([math.nan]), 4, "log-probability"),
        (torch.tensor([-math.inf]), 4, "log-probability"),
        (torch.tensor([-1.0], dtype=torch.bfloat16), 4, "bfloat16"),
        (torch.tensor([-1.0]), 0.5, "attempts"),
        (torch.tensor([-1.0]), math.nan, "attempts"),
        (torch.tensor([-1.0]), math.inf, "attempts"),
    ],
)
def test_what_makes_no_sense_is_refused(logp, n, field):
    for function in (dco_loss, dco_factor, dco_step_loss):
        with pytest.raises(UsageError, match=field):
            function(logp, n)


def test_effective_examples_have_a_factor_that_matters():
    found = dco_loss(log(1e-6, 0.9), 64)
    assert found.effective(0.01).tolist() == [True, False]


def test_steps_of_one_are_plain_and_of_one_attempt_cross_entropy():
    logp = log(0.1, 0.7, 0.02)
    torch.testing.assert_close(dco_step_loss(logp[:, None], 8).loss, dco_loss(logp, 8).loss)
    torch.testing.assert_close(dco_step_loss(logp, 1).loss, -logp.sum())
    filled = torch.cat([logp, torch.zeros(2, dtype=torch.float64)]).requires_grad_()
    found = dco_step_loss(filled, 8)
    torch.testing.assert_close(found.loss, dco_step_loss(logp, 8).loss)
    assert slope(found.loss, filled)[3:].abs().tolist() == [0, 0]


def test_the_loss_of_a_whole_proof_is_the_table_of_all_tries():
    steps = (0.3, 0.9, 0.6)
    for n in (1, 2, 7):
        coverage = proof_pass_at_n(steps, n)[-1, 0]
        assert dco_loss(log(*steps).sum(), n).loss.item() == pytest.approx(-math.log(coverage))


def test_a_known_answers_share_weighs_the_cross_entropy():
    ce = torch.tensor([3.0, 3.0, 3.0], requires_grad=True)
    mode = torch.tensor([1.0, 0.25, 1e-9], dtype=torch.float64)
    gradient = slope(dco_a_loss(ce, mode, 4), ce)
    assert gradient.tolist() == pytest.approx([0, 0.6171, 1], abs=5e-5)
    assert torch.equal(dco_a_loss(ce, mode, 1), ce)


# --- for transformers -----------------------------------------------------------------------------


def test_prompt_and_padding_have_no_part_in_a_targets_probability():
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 7, dtype=torch.float64)
    labels = torch.tensor([[-100, -100, 3, 1, -100], [-100, 6, 2, 2, 1]])
    found = target_log_probabilities(logits, labels)
    logs = logits.log_softmax(-1)
    assert found[0].item() == pytest.approx((logs[0, 1, 3] + logs[0, 2, 1]).item())
    by_hand = logs[1, 0, 6] + logs[1, 1, 2] + logs[1, 2, 2] + logs[1, 3, 1]
    assert found[1].item() == pytest.approx(by_hand.item())


def rows(policy, numbers, task):
    """Problems as the Trainer takes them."""
    batch = policy.batch([task.prompt(n) for n in numbers], [task.solution(n) for n in numbers])
    labels = torch.where(batch.response, batch.ids, -100)
    return [
        {"input_ids": ids, "attention_mask": read, "labels": label}
        for ids, read, label in zip(batch.ids, batch.read, labels, strict=True)
    ]


def trained(tmp_path, loss):
    """Take one step of the Trainer by gradient descent, two batches of two accumulated."""
    from transformers import Trainer, TrainingArguments

    policy = Policy.small(width=8, layers=1, heads=2, rng=0)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=0.5,
        lr_scheduler_type="constant",
        max_grad_norm=1e9,
        optim="sgd",
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    data = rows(policy, range(4), Arithmetic())
    Trainer(policy.model, arguments, train_dataset=data, compute_loss_func=loss).train()
    return torch.cat([weight.detach().flatten() for weight in policy.learned])


def test_a_step_of_transformers_trainer(tmp_path):
    policy = Policy.small(width=8, layers=1, heads=2, rng=0)
    before = torch.cat([weight.detach().flatten() for weight in policy.learned])
    data = rows(policy, range(4), Arithmetic())
    ids, read, labels = (torch.stack([row[key] for row in data]) for key in data[0])
    out = policy.model(input_ids=ids, attention_mask=read)
    loss = dco_loss(target_log_probabilities(out.logits, labels), 1e5).loss.sum()
    gradient = torch.autograd.grad(loss / (labels != -100).sum(), policy.learned)
    expected = before - 0.5 * torch.cat([one.flatten() for one in gradient])
    ours = trained(tmp_path, TrainerLoss(1e5))
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-7)

    own = trained(tmp_path, None)
    torch.testing.assert_close(trained(tmp_path, TrainerLoss(1)), own, rtol=0, atol=2e-7)
    assert (ours - own).abs().max() > 1e-4

    torch.testing.assert_close(compute_loss_func(out, labels), TrainerLoss(256)(out, labels))


# --- the loop -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lines(Arithmetic):
    """Problems whose solutions are lines: a digit, and the next one."""

    label: ClassVar[str] = "lines"
    longest: ClassVar[int] = 4
    count: ClassVar[int] = 6
    held_out: ClassVar[int] = 2

    def prompt(self, number):
        return f"{number}:"

    def solution(self, number):
        return f"{number}\n{number + 1}"


def small(rng=0):
    return Policy.small(width=8, layers=1, heads=2, rng=rng)


def weights(learner):
    return torch.cat([weight.detach().flatten() for weight in learner.policy.learned])


@pytest.mark.parametrize("limit", ["solution", "steps", "answer"])
def test_the_loop_goes_on_from_a_checkpoint_bit_for_bit(limit, tmp_path):
    loop = ConfidenceLimited(
        attempts=4, limit=limit, batch=4, samples=3, learning_rate=0.01, warm_up=2
    )
    task = Arithmetic(digits=1, problems=20, test=5)
    whole = loop.begin(task, steps=3, rng=3)
    for _ in range(5):
        if whole.done == 3:
            whole.save(tmp_path / "half")
        whole.advance()
    other = loop.begin(task, steps=3, rng=99)
    other.load(tmp_path / "half")
    while other.done < other.steps:
        other.advance()
    assert torch.equal(weights(whole), weights(other))
    assert whole.history == other.history
    assert math.isfinite(whole.history[-1]["loss"])


def test_one_attempt_trains_as_cross_entropy_does():
    loop = ConfidenceLimited(attempts=1, batch=6, refill=1, learning_rate=0.1)
    model = small()
    learner = loop.begin(Lines(), model=model, steps=1, rng=0)
    figures = learner.advance()
    assert figures["loss"] == figures["cross_entropy"]
    assert figures["factor"] == figures["effective"] == 1

    plain = small()
    optimizer = torch.optim.AdamW(plain.learned, lr=0.1, weight_decay=0.0)
    batch = plain.batch(
        [Lines().prompt(n) for n in range(6)], [Lines().solution(n) for n in range(6)]
    )
    loss = -torch.where(batch.scored, plain.log_probabilities(batch), 0.0).sum(dim=1).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(plain.learned, 1.0)
    optimizer.step()
    expected = torch.cat([weight.detach().flatten() for weight in plain.learned])
    torch.testing.assert_close(weights(learner), expected, rtol=0, atol=1e-5)
    assert loss.item() == pytest.approx(figures["loss"], rel=1e-5)


def test_lines_are_rows_whose_prompts_hold_those_before():
    learner = ConfidenceLimited(limit="steps").begin(Lines(), model=small(), steps=1, rng=0)
    batch, owners = learner.rows(np.array([3, 5]))
    policy = learner.policy
    read = [
        policy.decode(row[mask.bool()].tolist())
        for row, mask in zip(batch.ids, batch.read, strict=True)
    ]
    assert read == ["3:3\n", "3:3\n4", "5:5\n", "5:5\n6"]
    assert policy.texts(batch) == ["3\n", "4", "5\n", "6"]
    assert owners.tolist() == [0, 0, 1, 1]
    ends = [
        policy.end in row[mask].tolist()
        for row, mask in zip(batch.ids, batch.response, strict=True)
    ]
    assert ends == [False, True, False, True]
    # The lines' probabilities multiply to that of the whole.
    whole, _ = ConfidenceLimited().begin(Lines(), model=policy, steps=1).rows(np.array([3, 5]))
    parts = learner.log_probabilities(batch).view(2, 2).sum(dim=1)
    torch.testing.assert_close(parts, learner.log_probabilities(whole), rtol=1e-5, atol=1e-5)


def test_examples_that_are_switched_off_are_replaced(monkeypatch):
    learner = ConfidenceLimited(attempts=8, batch=2, refill=3, epsilon=0.5).begin(
        Lines(), model=small(), steps=1, rng=0
    )
    known = {0, 2, 3, 5}
    monkeypatch.setattr(
        learner, "factors", lambda numbers: np.array([0.1 if n in known else 0.9 for n in numbers])
    )
    numbers, factors, looked = learner.fill()
    assert sorted(numbers) == [1, 4]
    assert factors.tolist() == [0.9, 0.9]
    assert len(looked) in (2, 4, 6)
    monkeypatch.setattr(learner, "factors", lambda numbers: np.full(len(numbers), 0.1))
    before = weights(learner).clone()
    figures = learner.advance()
    assert figures["batch"] == figures["effective"] == figures["loss"] == 0
    assert torch.equal(weights(learner), before)


def test_the_factor_of_answers_is_of_their_most_frequent_one(monkeypatch):
    learner = ConfidenceLimited(limit="answer", attempts=4, samples=4).begin(
        Lines(), model=small(), steps=1, rng=0
    )
    said = ["so\n1", "1", "2", "thus\n1", "1", "2", "3", "4"]
    monkeypatch.setattr(learner.policy.__class__, "texts", lambda self, batch: said)
    assert learner.mode_shares(np.array([0, 1])).tolist() == [0.75, 0.25]
    expected = dco_factor(log(0.75, 0.25), 4).numpy()
    np.testing.assert_allclose(learner.factors(np.array([0, 1])), expected)


def test_training_stops_where_samples_suffice():
    task = Arithmetic(digits=1, problems=20, test=5)
    ends = []
    for attempts in (1, 16):
        loop = ConfidenceLimited(
            attempts=attempts, batch=20, learning_rate=0.02, warm_up=0, refill=1, epsilon=0.0
        )
        ends.append(train(loop, task, model=small(), steps=40, rng=0))
    sure, limited = ends
    assert limited.history[0]["factor"] > 0.99
    assert limited.history[-1]["factor"] < 0.6
    assert limited.history[-1]["cross_entropy"] > sure.history[-1]["cross_entropy"]
    figures = limited.evaluate()
    assert figures["confidence"] < sure.evaluate()["confidence"]
    assert figures["pass@1"] <= figures["pass@4"] <= figures["pass@256"] <= 1


@pytest.mark.parametrize(
    "knobs",
    [
        {"attempts": 0.5},
        {"attempts": math.inf},
        {"epsilon": 1.0},
        {"epsilon": -0.1},
        {"batch": 0},
        {"refill": 0},
        {"samples": 0},
        {"learning_rate": 0.0},
        {"warm_up": -1},
        {"limit": "tokens"},
    ],
)
def test_bad_knobs_are_refused(knobs):
    with pytest.raises(UsageError, match=next(iter(knobs))):
        ConfidenceLimited(**knobs)
