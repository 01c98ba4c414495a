"""Distillation of programs: what is learned of a batch, and what the student's programs give."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.train.policy import Policy
from samplewise.train.program_distillation import (
    IGNORED,
    Collator,
    ProgramDistillation,
    decay_groups,
    label_mask,
    target_loss,
)
from samplewise.train.solved_problems import SolvedFile, WordProblems, near, whole_program

TASK = WordProblems(problems=10, test=4, coverage=0.5)
ROWS = [
    {"prompt": "Question: one\n\n", "program": "def solution():\n    return 1"},
    {"prompt": "Question: one hundred\n\n", "program": "return 100"},
]


def small(seed=0):
    return Policy.small(width=16, layers=1, heads=2, rng=seed)


def learner(seed=0, steps=4, task=TASK, model=None, **knobs):
    loop = ProgramDistillation(**{"batch": 3, **knobs})
    return loop.begin(task, model=model or small(seed), steps=steps, rng=seed)


def weights(one):
    return [weight.detach().clone() for weight in one.policy.learned]


# --- what is learned ------------------------------------------------------------------------------


def test_labels_are_the_program_and_its_end():
    policy = small()
    made = Collator(policy)(ROWS)
    for row, labels, ids, read in zip(
        ROWS, made["labels"], made["input_ids"], made["attention_mask"], strict=True
    ):
        kept = labels[labels != IGNORED].tolist()
        assert kept == [*policy.encode(row["program"]), policy.end]
        assert len(kept) == len(policy.encode(row["program"])) + 1
        assert policy.decode(ids[read == 1].tolist()) == row["prompt"] + row["program"]
        assert (labels[read == 0] == IGNORED).all()
    assert made["position_ids"][:, -1].tolist() == [
        len(policy.encode(ROWS[0]["prompt"] + ROWS[0]["program"])),
        len(policy.encode(ROWS[1]["prompt"] + ROWS[1]["program"])),
    ]


def test_prompts_and_padding_have_no_gradient():
    policy = small()
    batch = policy.batch([row["prompt"] for row in ROWS], [row["program"] for row in ROWS])
    logits = policy.logits(batch).detach().requires_grad_()
    taken = logits.log_softmax(2).gather(2, batch.ids[:, 1:, None])[:, :, 0]
    target_loss(taken, batch.scored).backward()
    felt = logits.grad.abs().sum(dim=2) > 0
    assert torch.equal(felt, batch.scored)
    assert felt.sum() == sum(len(row["program"]) + 1 for row in ROWS)


def test_the_loss_is_that_of_transformers():
    policy = small()
    batch = policy.batch([row["prompt"] for row in ROWS], [row["program"] for row in ROWS])
    ours = target_loss(policy.log_probabilities(batch), batch.scored)
    theirs = policy.model(**Collator(policy)(ROWS)).loss
    assert ours.item() == pytest.approx(theirs.item(), 1e-5)
    assert torch.equal(label_mask(batch), Collator(policy)(ROWS)["labels"])


def test_the_trainer_of_transformers_takes_the_collator(tmp_path):
    from transformers import Trainer, TrainingArguments

    policy = small()
    before = [weight.detach().clone() for weight in policy.learned]
    with torch.no_grad():
        first = policy.model(**Collator(policy)(ROWS)).loss.item()
    trainer = Trainer(
        model=policy.model,
        args=TrainingArguments(
            str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=2,
            learning_rate=1e-2,
            logging_steps=1,
            remove_unused_columns=False,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=ROWS,
        data_collator=Collator(policy),
    )
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[0] == pytest.approx(first, abs=1e-3)
    assert losses[1] < losses[0]
    assert not any(map(torch.equal, before, policy.learned))


def test_matrices_alone_decay():
    groups = decay_groups(small().learned, 0.01)
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]
    assert {weight.dim() for weight in groups[0]["params"]} == {2}
    assert {weight.dim() for weight in groups[1]["params"]} == {1}
    assert sum(len(group["params"]) for group in groups) == len(small().learned)


# --- the loop -------------------------------------------------------------------------------------


def test_accepted_programs_alone_are_learned_but_every_answer():
    programs, answers = learner(), learner(target="answer")
    assert len(TASK.accepted) == 5
    assert [target for _, target in programs.pairs] == [TASK.solution(n) for n in TASK.accepted]
    assert programs.pairs[0][0] == (
        f"Question: {TASK.prompt(TASK.accepted[0])}\n\n# The resulting Python solution\n"
    )
    assert answers.pairs == [
        (f"Question: {TASK.prompt(number)}\n\nAnswer: ", f"{TASK.answer(number):.0f}")
        for number in range(10)
    ]


def test_what_is_too_long_is_left_out():
    prompt, target = max(learner().pairs, key=lambda pair: len("".join(pair)))
    exactly = len(prompt) + len(target) + 1
    assert (prompt, target) in learner(longest=exactly).pairs
    assert (prompt, target) not in learner(longest=exactly - 1).pairs
    with pytest.raises(UsageError, match="longest"):
        learner(longest=20)


@pytest.mark.parametrize("target", ["program", "answer"])
def test_it_resumes_to_the_last_bit(tmp_path, target):
    whole, before, after = (learner(target=target) for _ in range(3))
    for _ in range(4):
        whole.advance()
    for _ in range(2):
        before.advance()
    before.save(tmp_path / "half.pt")
    after.load(tmp_path / "half.pt")
    for _ in range(2):
        after.advance()
    assert all(map(torch.equal, weights(whole), weights(after)))
    assert whole.history == after.history
    assert whole.history[0]["tokens"] > whole.history[0]["loss"] > 0


def test_it_learns_by_its_name():
    done = sw.train(
        "program-distillation:batch=2:learning_rate=0.02", TASK, model=small(), steps=25
    )
    assert done.history[-1]["loss"] < 0.6 * done.history[0]["loss"]


class Scripted(Policy):
    """A policy that writes what it is told to."""

    def sample(self, prompts, *, most, random, temperature=1.0):
        assert temperature == 0.0
        return self.batch(prompts, [self.texts_for[prompt] for prompt in prompts])


def scripted(target, texts):
    plain = small()
    policy = Scripted(plain.model, plain.encode, plain.decode)
    loop = ProgramDistillation(target=target)
    prompts = [loop.prompt(TASK, number) for number in range(10, 14)]
    policy.__dict__["texts_for"] = dict(zip(prompts, texts, strict=True))
    return policy


def test_the_students_programs_are_run():
    right = [TASK.solution(number) for number in range(10, 14)]
    texts = [
        right[0],
        right[1] + "\n\nQuestion: and so on",
        "def solution():\n    return 1e6",
        "def solution(:",
    ]
    figures = learner(model=scripted("program", texts)).evaluate()
    assert figures["accuracy"] == 0.5
    assert figures["with_value"] == 0.75
    assert figures["length"] == np.mean([len(text) + 1 for text in texts])


def test_direct_answers_are_read():
    answers = [f"{TASK.answer(number):.0f}" for number in range(10, 14)]
    texts = [answers[0], f" {answers[1]}.0 ", "no idea", ""]
    figures = learner(target="answer", model=scripted("answer", texts)).evaluate()
    assert (figures["accuracy"], figures["with_value"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        *[("batch", 0), ("learning_rate", 0.0), ("longest", 0), ("ramp_share", 1.0)],
        *[("weight_decay", -1.0), ("target", "thought")],
    ],
)
def test_wrong_knobs_are_refused(knob, value):
    with pytest.raises(UsageError, match=knob):
        ProgramDistillation(**{knob: value})


# --- problems -------------------------------------------------------------------------------------


def test_more_coverage_keeps_what_was_accepted():
    accepted = [set(WordProblems(coverage=share).accepted) for share in (0.001, 0.25, 0.8, 1.0)]
    assert [len(one) for one in accepted] == [1, 64, 205, 256]
    assert all(less < more for less, more in pairwise(accepted))


def test_every_program_gives_its_answer():
    task = WordProblems(problems=40, test=20, largest=30)
    numbers = range(60)
    assert task.rewards(numbers, [task.solution(number) for number in numbers]) == [1.0] * 60
    assert task.reward(3, "def solution():\n    return 'many'") == 0.0
    assert len({task.prompt(number) for number in numbers}) == 60


@pytest.mark.parametrize(
    ("value", "answer", "right"),
    [
        (2.995, 3.0, True),
        (3.0, 3.011, False),
        (1000.02, 1000.0, False),
        (0.0, 0.0, True),
        (0.005, 0.0, False),
        (0.0041, 0.004, False),
        (None, 0.0, False),
        (0.0, None, False),
        (float("nan"), 1.0, False),
    ],
)
def test_values_are_compared_within_a_tolerance(value, answer, right):
    assert near(value, answer) == right


def test_a_program_ends_at_a_blank_line_after_its_function():
    text = "import math\n\ndef solution():\n    return 1\n  \ndef other():\n    return 2"
    assert whole_program(text) == "import math\n\ndef solution():\n    return 1"
    assert whole_program("print(1)") == "print(1)"


def test_files_of_solved_problems(tmp_path):
    path, test = tmp_path / "solved.jsonl", tmp_path / "test.jsonl"
    rows = [
        {"question": "Twice 3?", "program": "print(2 * 3)"},
        {"question": "Thrice 3?", "program": "print(0)", "score": 0},
        {  # as program-prompting writes it
            "question": "Half of 8?",
            "answer": "4",
            "correct": True,
            "samples": [
                {"text": "```python\nprint(9)\n```", "remarks": {"value": "9"}},
                {"text": "```python\nprint(8 // 2)\n```", "remarks": {"value": "4"}},
            ],
        },
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    test.write_text(json.dumps({"question": "Twice 4?", "answer": "$8"}) + "\n")
    task = SolvedFile(str(path), str(test))
    assert (task.count, task.held_out, list(task.accepted)) == (3, 1, [0, 2])
    assert (task.prompt(2), task.solution(2)) == ("Half of 8?", "print(8 // 2)")
    assert (task.prompt(3), task.solution(3), task.answer(3)) == ("Twice 4?", "", 8.0)
    assert task.rewards([3, 3], ["print(8)", "print(9)"]) == [1.0, 0.0]
    one = learner(task=task)
    assert [target for _, target in one.pairs] == ["print(2 * 3)", "print(8 // 2)"]
    with pytest.raises(UsageError, match="answer"):
        learner(task=task, target="answer")
    test.write_text(json.dumps({"question": "Twice 4?", "answer": "many"}) + "\n")
    with pytest.raises(InputError, match="field 'answer'"):
        SolvedFile(str(path), str(test)).asked  # noqa: B018
    path.write_text(json.dumps(rows[1]) + "\n")
    with pytest.raises(UsageError, match="no row"):
        SolvedFile(str(path), str(test)).count  # noqa: B018


def test_wrong_settings_are_refused():
    for wrong in ({"problems": 0}, {"test": 4000}, {"coverage": 0.0}, {"largest": 8}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            WordProblems(**wrong)
    for wrong in ({}, {"path": "x.jsonl"}):
        with pytest.raises(UsageError, match="empty"):
            SolvedFile(**wrong)
