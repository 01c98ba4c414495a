"""Problems from rows: GSM8K, HumanEval, and what users have."""

import json

import pytest

from samplewise.answer.problems import problem_of, problems_of, read_problems
from samplewise.errors import InputError
from samplewise.problems import Message, Problem


def written(folder, rows):
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_gsm8k(tmp_path):
    rows = [{"question": "How many?", "answer": "It is 2 + 2.\n#### 4"}, {"question": "And?"}]
    problems, _ = read_problems(written(tmp_path, rows))
    assert [(one.id, one.question, one.answer) for one in problems] == [
        ("1", "How many?", "It is 2 + 2.\n#### 4"),
        ("2", "And?", None),
    ]
    assert problems[1].line == 2


def test_humaneval(tmp_path):
    row = {
        "task_id": "HumanEval/0",
        "prompt": 'def one():\n    """Give 1."""\n',
        "entry_point": "one",
        "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    [problem], _ = read_problems(written(tmp_path, [row]))
    assert (problem.id, problem.entry_point) == ("HumanEval/0", "one")
    assert problem.preamble == row["prompt"]
    assert problem.tests == row["test"]
    assert row["prompt"] in problem.question
    assert "code block" in problem.question


def test_conversations_end_where_the_answer_begins():
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "That."},
    ]
    problem = problem_of({"messages": turns}, 1)
    assert problem.messages == (Message("system", "Be brief."), Message("user", "What?"))
    assert problem.question == "What?"


def test_a_template_stands_around_the_question():
    [problem] = problems_of(["2 {x} 3?"], template="Q: {question}\nA:")
    assert problem.question == "Q: 2 {x} 3?\nA:"


def test_choices_and_test_lists():
    [problem] = problems_of([{"question": "?", "choices": ["a", 2], "test_list": ["x", "y"]}])
    assert problem.choices == ("a", "2")
    assert problem.tests == "x\ny"


def test_names_are_made_different():
    problems = problems_of([{"id": 7, "question": "a"}, {"id": 7, "question": "b"}, "c"])
    assert [problem.id for problem in problems] == ["7@1", "7@2", "3"]
    given = [Problem.ask("a"), Problem.ask("b")]
    assert [problem.id for problem in problems_of(given)] == ["1@1", "1@2"]


def test_the_field_of_the_question_can_be_named(tmp_path):
    path = written(tmp_path, [{"frage": "Was?", "question": "no", "antwort": "7"}])
    [problem], _ = read_problems(path, question="frage", answer="antwort")
    assert (problem.question, problem.answer) == ("Was?", "7")


def test_rows_that_cannot_be_read_are_set_aside(tmp_path):
    path = written(tmp_path, [{"question": "a"}, {"question": 3}, {"question": "b"}])
    path.write_text(path.read_text() + "{broken\n")
    problems, pool = read_problems(path)
    assert [problem.question for problem in problems] == ["a", "b"]
    assert [(row.line, row.field) for row in pool.rejected] == [(2, "question"), (4, "")]


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([{"x": "a"}], {}, "no question in the fields x"),
        ([{"question": "a"}], {"question": "q"}, "no such field"),
    ],
)
def test_files_without_a_question_are_refused(tmp_path, rows, options, words):
    with pytest.raises(InputError, match=words):
        read_problems(written(tmp_path, rows), **options)


@pytest.mark.parametrize("row", [{"question": ""}, {"messages": []}, {"messages": [3]}, {}])
def test_rows_that_ask_nothing_are_refused(row):
    with pytest.raises(InputError, match="line 4"):
        problem_of(row, 4)


def test_no_problem_is_refused():
    with pytest.raises(InputError, match="no problem"):
        problems_of([])
