"""Answers are found and compared, and no answer holds up the caller."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from samplewise.errors import InputError
from samplewise.problems import Problem
from samplewise.verify.maths import Maths, find_answer, number, right_answer


@pytest.fixture(scope="module")
def maths():
    verifier = Maths(workers=2)
    yield verifier
    asyncio.run(verifier.close())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"Thus \boxed{\frac{3}{4}}.", r"\frac{3}{4}"),
        (r"\boxed{1} then \boxed{\sqrt{2}} #### 9", r"\sqrt{2}"),
        ("9 * 2 = <<9*2=18>>18\n#### 1,018", "1018"),
        ("#### 5\n#### -7", "-7"),
        ("9 * 2 = 18\nA: 18", "18"),
        ("A: $1,018.50.", "1018.50"),
        ("A: 12 apples in 3 bags", "12"),
        ("The answer is 5 apples, out of 9.", "5"),
        ("**Answer:** 42", "42"),
        ("Final answer: **42**", "42"),
        ("The answer is: -3/4", "-3/4"),
        ("The answer is $x^2 + 1$.", "x^2 + 1"),
        ("First 3, then 4, so 7 in all", "7"),
        ("So it rose by 15%.", "15%"),
        ("It is 1,234,567.", "1234567"),
        ("no number here", None),
        ("", None),
        ("\\boxed{unclosed 5", "5"),
        ("\\boxed{}", None),
        ("A: ", None),
    ],
)
def test_answers_are_found(text, answer):
    assert find_answer(text) == answer


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("18", "18.0", True),
        ("18", "18 dollars", True),
        ("18", "19", False),
        ("1/2", "0.5", True),
        ("1/3", "0.333333", True),
        ("1/3", "0.33", False),
        (r"\frac{1}{2}", "0.5", True),
        ("50%", "50", True),
        ("50%", "0.5", True),
        ("50%", "5", False),
        ("5 km", "5", True),
        (r"5\text{ cm}", "5", True),
        ("12345678901234567890123", "12345678901234567890124", False),
        ("2 pi", "2", False),
        ("5 x", "5", False),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        ("x^2+2x+1", "(x+1)^2", True),
        ("x^2", "x^3", False),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", True),
        ("(1, 2)", "(1,2)", True),
        ("(1, 2)", "(2, 1)", False),
        (r"\{1, 2\}", r"\{2, 1\}", True),
    ],
)
def test_answers_are_compared(maths, first, second, same):
    assert maths.same(first, second) is same
    assert maths.same(second, first) is same


ATTACKS = {
    "tower": "9**9**9**9",
    "tower of latex": "9^{9^{9^{9^9}}}",
    "factorials": "((((99999!)!)!)!)!",
    "parentheses": "(" * 5000 + "1" + ")" * 5000,
    "open parentheses": "(" * 100_000,
    "digits": "1" * 1_000_000,
    "digits with commas": "1," * 500_000,
    "nested fractions": "\\frac{1}{1+" * 2000 + "1" + "}" * 2000,
    "nested boxes": "\\boxed{" * 100_000,
    "boxes": "\\boxed{1" * 10_000 + "}" * 10_000,
    "code": "__import__('os').system('touch /tmp/samplewise-attack')",
    "code in a box": "\\boxed{__import__('os').system('touch /tmp/samplewise-attack')}",
    "code without underscores": "\\boxed{exec(open('/tmp/x').read())}",
    "classes": "\\boxed{().__class__.__bases__[0].__subclasses__()}",
    "large sum": "\\sum_{i=1}^{10^{99}} i!",
    "large binomial": "\\binom{10^{30}}{10^{29}}",
    "large power": "\\boxed{1000000007^{1000000007}}",
    "names": "answer is " * 100_000,
    "spaces": "A:" + " " * 1_000_000,
    "signs": "\\boxed{" + "-" * 5000 + "1}",
    "null": "\\boxed{\0}",
    "half a character": "\\boxed{\ud800}",
    "lines": "answer:\n" * 50_000,
}


def test_attacks_are_rejected():
    verifier = Maths(workers=2, seconds=1.0)
    problem = Problem.ask("?", answer="x^2")
    for text in ATTACKS.values():
        for verdict in asyncio.run(verifier.verify(problem, [text, f"\\boxed{{{text}}}"])):
            assert not verdict.correct
            assert len(verdict.answer or "") <= 1000
    assert verifier.same("x+x", "2x")  # it still works
    asyncio.run(verifier.close())
    assert not Path("/tmp/samplewise-attack").exists()


def test_a_process_that_died_is_replaced(maths):
    pool = maths._pool
    assert pool.same("x+x", "2x")
    worker = pool._idle.get()
    worker.kill()
    pool._idle.put(worker)
    pool.same("x+x", "3x")  # it may still be sent to the dead one
    assert pool.same("x+x", "2x")


def test_right_answers_are_read():
    assert right_answer("It is 9 * 2.\n#### 1,018") == "1018"
    assert right_answer("She makes <<9*2=18>>18.\nA: 18") == "18"
    assert right_answer("x^2 + 1") == "x^2 + 1"
    assert right_answer("$\\frac{1}{2}$") == "\\frac{1}{2}"


def test_verdicts(maths):
    problem = Problem.ask("?", answer="#### 18")
    verdicts = asyncio.run(maths.verify(problem, ["#### 18", "#### 81", "none"]))
    assert [verdict.correct for verdict in verdicts] == [True, False, False]
    assert [verdict.reason for verdict in verdicts] == ["", "another answer", "no answer"]
    with pytest.raises(InputError, match="answer"):
        asyncio.run(maths.verify(Problem.ask("?"), ["1"]))


def test_numbers():
    assert number("1,23") is None
    assert number("1/0") is None
    assert number("--1") is None
