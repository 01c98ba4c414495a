"""Short programs as problems: what they are worth, and who may run them."""

import json

import pytest

from samplewise.errors import InputError, UsageError
from samplewise.train.programs import ProgramFile, ShortPrograms, arithmetic_trace, same_answer
from samplewise.verify.trace import trace_programs


def test_every_reference_is_right_and_no_formula_is_there_twice():
    task = ShortPrograms(problems=60, test=20)
    numbers = range(80)
    assert (task.count, task.held_out) == (60, 20)
    assert task.rewards(numbers, [task.solution(number) for number in numbers]) == [1.0] * 80
    assert len({task.prompt(number).split(":")[1] for number in numbers}) == 80
    assert max(len(task.solution(number)) for number in numbers) < task.longest
    for number in numbers:  # Python's own arithmetic, of a text made here
        given, formula = task.prompt(number).split(":")
        names = dict(one.split("=") for one in given.split(","))
        value = eval(formula, {}, {name: int(text) for name, text in names.items()})
        assert value == task.answer(number)


def test_the_sandbox_gives_the_same_traces():
    task = ShortPrograms(problems=20, test=1)
    numbers = range(20)
    programs = [task.solution(number) for number in numbers]
    assert task.trace(numbers, programs) == trace_programs(
        programs, [task.given(n) for n in numbers]
    )


@pytest.mark.parametrize(
    "program",
    [
        "answer=print(a)",
        "answer=a**b",
        "answer=a",
        "answer=d+a",
        "answer=a+-b",
        "in=a+b",
        "x=a+b+c",
    ],
)
def test_what_is_outside_the_grammar_is_not_worked_out(program):
    assert arithmetic_trace((program,), {"a": 7, "b": 3, "c": 5}) is None


def test_numbers_that_grow_are_given_up():
    square = ("x=a*a", *["x=x*x"] * 40)
    assert arithmetic_trace(square, {"a": 7}) is None
    assert arithmetic_trace(square[:2], {"a": 7})[-1].state["x"].text == "2401"
    assert arithmetic_trace(("x=007+a",), {"a": 7}) is None


def test_python_runs_where_it_is_asked_for():
    programs = ["answer=abs(a)", "t0=a+b", "import os; os._exit(1)", "answer=a+"]
    closed, opened = (
        ShortPrograms(problems=1, test=1),
        ShortPrograms(problems=1, test=1, python=True),
    )
    assert [one is None for one in closed.trace([0] * 4, programs)] == [True, False, True, True]
    traces = opened.trace([0] * 4, programs)
    assert [one is None for one in traces] == [False, False, True, True]
    assert traces[0][-1].state["answer"] == traces[0][-1].state["a"]


def test_answers_are_compared_within_a_tolerance():
    assert same_answer(1e12 + 500, 1e12)
    assert not same_answer(1e12 + 5000, 1e12)
    assert not same_answer(0.0, 0.00011)


def test_a_file_of_problems(tmp_path):
    rows = [
        {"text": "Half of 3?", "code": "answer=n/2", "answer": 1.5, "given": "n=3"},
        {"text": "Wrong", "code": "answer=2", "answer": 3},
        {"text": "Root of 16?", "code": "import math\nanswer=math.sqrt(16)", "answer": "4"},
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = ProgramFile(str(path), str(path))
    assert (task.count, task.held_out) == (2, 2)
    assert (task.prompt(0), task.solution(2), task.given(2)) == (
        "Half of 3?\n",
        "answer=n/2",
        "n=3",
    )
    assert task.rewards([0, 0, 1], ["answer=n-1.5", "answer=n", "answer=2**2"]) == [1.0, 0.0, 1.0]
    for row, field in (
        ({"code": 3, "answer": 3}, "code"),
        ({"code": "x", "answer": "y"}, "answer"),
    ):
        path.write_text(json.dumps({"text": "What?", **row}) + "\n")
        with pytest.raises(InputError, match=f"field '{field}'"):
            ProgramFile(str(path), str(path)).count  # noqa: B018
    path.write_text(json.dumps(rows[1]) + "\n")
    with pytest.raises(UsageError, match="no code"):
        ProgramFile(str(path), str(path)).count  # noqa: B018


def test_wrong_settings_are_refused():
    for wrong in ({"problems": 0}, {"test": 4000}, {"largest": 3}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            ShortPrograms(**wrong)
    with pytest.raises(UsageError, match="path"):
        ProgramFile()
