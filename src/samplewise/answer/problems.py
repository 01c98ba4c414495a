"""Problems from files: any rows with a question, and the layouts of GSM8K and HumanEval.

What a row that cannot be used lacks is said in `rejected.jsonl`; it stops nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from samplewise.errors import InputError
from samplewise.pool import Pool
from samplewise.problems import Message, Problem
from samplewise.readers import first_rows, plan

__all__ = ["problem_of", "problems_of", "read_problems"]

_QUESTIONS = ("question", "problem", "prompt", "instruction", "input", "text", "messages")
_ANSWERS = ("answer", "gold", "ground_truth", "target", "solution", "output", "canonical_solution")
_TESTS = ("tests", "test", "test_list")
_CHOICES = ("choices", "options")
_IDS = ("id", "task_id", "question_id")
_PROGRAM = (
    "Complete the Python function below. Answer with the whole program, imports included, in one "
    "code block.\n\n```python\n{question}```"
)


def read_problems(
    path: str | Path,
    *,
    question: str | None = None,
    answer: str | None = None,
    template: str | None = None,
    strict: bool = False,
) -> tuple[list[Problem], Pool]:
    """Read problems from a file or folder of rows.

    Parameters
    ----------
    path : str or Path
        Anything that `Pool.read` reads.
    question, answer : str, optional
        The fields they are in; by default the first known one that the rows have.
    template : str, optional
        What the model is asked, with ``{question}`` where the question goes.
    strict : bool
        Whether a row that cannot be read is an error.

    Returns
    -------
    problems : list of Problem
    pool : Pool
        The rows they came from, and those that were set aside.

    Raises
    ------
    InputError
        If there is no question in the rows.
    """
    known = {field for row in first_rows(plan(path)) for field in row}
    field = question or next((name for name in _QUESTIONS if name in known), None)
    if field is None or (known and field not in known):
        raise InputError(
            "no such field" if field else f"no question in the fields {', '.join(sorted(known))}",
            file=str(path),
            field=field or "",
            mend="name it with --question FIELD (question= in Python)",
        )
    pool = Pool.read(path, text=field, strict=strict)
    rows = pool.rows(range(len(pool)))
    problems = [
        problem_of(row, pool.place(place)[1], question=field, answer=answer, template=template)
        for place, row in enumerate(rows)
    ]
    return _named_apart(problems), pool


def problems_of(rows: Iterable[Problem | Mapping[str, Any] | str], **fields: Any) -> list[Problem]:
    """Make problems of rows, or of plain questions.

    Examples
    --------
    >>> [problem] = problems_of([{"question": "2 + 3?", "answer": "5"}])
    >>> problem.question, problem.answer
    ('2 + 3?', '5')
    """
    found = []
    for line, row in enumerate(rows, start=1):
        if isinstance(row, Problem):
            found.append(row)
        else:
            known = {"question": row} if isinstance(row, str) else row
            found.append(problem_of(known, line, **fields))
    return _named_apart(found)


def problem_of(
    row: Mapping[str, Any],
    line: int,
    *,
    question: str | None = None,
    answer: str | None = None,
    template: str | None = None,
) -> Problem:
    """Make a problem of one row.

    Raises
    ------
    InputError
        If it has no question.
    """
    asked = row.get(question) if question else _first(row, _QUESTIONS)
    tests, entry = _first(row, _TESTS), row.get("entry_point")
    program = isinstance(asked, str) and tests is not None and bool(entry)
    if isinstance(asked, list):
        messages = _turns(asked, line)
    elif isinstance(asked, str) and asked.strip():
        form = template or (_PROGRAM if program else "{question}")
        messages = (Message("user", form.replace("{question}", asked)),)
    else:
        raise InputError("is missing or not text", line=line, field=question or "question")
    gold = row.get(answer) if answer else _first(row, _ANSWERS)
    name = _first(row, _IDS)
    return Problem(
        id=str(line if name is None else name),
        messages=messages,
        answer=None if gold is None else str(gold),
        tests="\n".join(map(str, tests)) if isinstance(tests, list) else tests,
        entry_point=entry,
        preamble=str(asked) if program else "",
        choices=tuple(map(str, _first(row, _CHOICES) or ())),
        row=row,
        line=line,
    )


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _turns(turns: list[Any], line: int) -> tuple[Message, ...]:
    """Read a conversation up to the turn that is to be answered."""
    try:
        messages = [Message(turn["role"], turn["content"]) for turn in turns]
    except (TypeError, KeyError) as error:
        raise InputError("is no conversation", line=line, field="messages") from error
    while messages and messages[-1].role == "assistant":
        messages.pop()
    if not messages:
        raise InputError("asks nothing", line=line, field="messages")
    return tuple(messages)


def _named_apart(problems: list[Problem]) -> list[Problem]:
    """Give problems that share a name the number of their line, so that each has its own."""
    import dataclasses
    from collections import Counter

    counts = Counter(problem.id for problem in problems)
    apart = [
        dataclasses.replace(problem, id=f"{problem.id}@{problem.line or place}")
        if counts[problem.id] > 1
        else problem
        for place, problem in enumerate(problems, start=1)
    ]
    if not apart:
        raise InputError("there is no problem to answer", mend="give a file with a question a row")
    return apart
