"""Made tasks whose skills build on each other: chains of assignments, and digits of sums.

``lego`` asks for one variable of a chain of assignments that are told in random order; skill s is
to follow the chain for s steps. ``addition`` asks for one digit of a sum; skill s is the digit that
counts 10^s. Use them to see whether a way to draw skills finds their order.

Cost: O(1) for each variable or digit of an example.
Source: arXiv 2307.14430, section 2 and appendix C.1; LEGO is arXiv 2206.04301.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from samplewise.errors import UsageError
from samplewise.rng import RandomState, generator

__all__ = ["CHAIN", "Example", "addition", "lego"]

CHAIN: tuple[int | None, ...] = (None, 0, 1, 2, 3)
"""Each variable but the first is assigned from the one before it."""


class Example(NamedTuple):
    """A question and its answer.

    Attributes
    ----------
    question : str
        It ends where the answer begins.
    answer : str
        One digit.
    skill : int
    """

    question: str
    answer: str
    skill: int


def lego(
    count: int, skill: int, *, parents: Sequence[int | None] = CHAIN, rng: RandomState = None
) -> list[Example]:
    """Make questions for the value of a variable that others lead to; no two are alike.

    Parameters
    ----------
    count : int
    skill : int
        The variable that is asked for, from 0.
    parents : sequence of int or None
        The variable that each is assigned from; None for one that is told outright. By default a
        chain of five; ``(None, 0, 0, 1, 1)`` is a tree, ``(None, 0, 1, None, 3)`` two chains.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    list of Example

    Raises
    ------
    UsageError
        If there is no such variable, a parent comes after its child, there are more variables
        than letters, or fewer different questions than asked for.

    References
    ----------
    arXiv 2307.14430, arXiv 2206.04301

    Examples
    --------
    >>> lego(1, skill=1, parents=(None, 0), rng=0)[0]
    Example(question='Input: t = val 1 , e = val t . Output: e = val ', answer='1', skill=1)
    """
    size = len(parents)
    if not 0 <= skill < size <= len(string.ascii_lowercase):
        raise UsageError(
            f"skill is {skill}, with {size} variables", mend="give one of them, of 26 at most"
        )
    late = [i for i, parent in enumerate(parents) if parent is not None and not 0 <= parent < i]
    if late:
        raise UsageError(f"parents are {tuple(parents)}", mend="name earlier variables, or None")
    orders = range(26 - size + 1, 27)  # letters, in order, for the variables
    if not 0 <= count <= np.prod([float(n) for n in orders]):
        raise UsageError(f"count is {count}", mend="give 0 or more, and fewer than there can be")
    random = generator(rng)
    found: dict[str, Example] = {}
    while len(found) < count:
        bits = random.integers(0, 2, size)
        letters = random.permutation(list(string.ascii_lowercase))[:size]
        clauses = []
        for i, parent in enumerate(parents):
            if parent is None:
                clauses.append(f"{letters[i]} = val {bits[i]}")
            else:
                word = "val" if bits[i] == bits[parent] else "not"
                clauses.append(f"{letters[i]} = {word} {letters[parent]}")
        told = " , ".join(clauses[i] for i in random.permutation(size))
        question = f"Input: {told} . Output: {letters[skill]} = val "
        found[question] = Example(question, str(bits[skill]), skill)
    return list(found.values())


def addition(count: int, skill: int, *, digits: int = 3, rng: RandomState = None) -> list[Example]:
    """Make questions for one digit of the sum of two numbers, whose digits are spelt one by one.

    Numbers are drawn from 0 to 10^digits - 2, as in the published code.

    Parameters
    ----------
    count : int
    skill : int
        The digit: 0 for ones, 1 for tens, ...
    digits : int
        Of a number, with zeros in front.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    list of Example

    Raises
    ------
    UsageError
        If there is no such digit, or `count` is negative.

    References
    ----------
    arXiv 2307.14430

    Examples
    --------
    >>> addition(1, skill=0, rng=0)[0]
    Example(question='Input: A = 8 4 9 + 6 3 6 , A 0 = ? Output: ', answer='5', skill=0)
    """
    if not 0 <= skill < digits or count < 0:
        raise UsageError(
            f"skill is {skill}, digits {digits} and count {count}",
            mend="give one of the digits, from 0, and 0 examples or more",
        )
    random = generator(rng)
    found = []
    for a, b in random.integers(0, 10**digits - 1, size=(count, 2)).tolist():
        told = " + ".join(" ".join(f"{number:0{digits}}") for number in (a, b))
        answer = str((a + b) // 10**skill % 10)
        found.append(Example(f"Input: A = {told} , A {skill} = ? Output: ", answer, skill))
    return found
