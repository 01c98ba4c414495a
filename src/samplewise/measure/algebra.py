"""Abstract rewriting: an algebraic identity is put into a random expression, and to be rewritten.

The second half of the test bed of `rewriting.py`: an instruction is an identity such as a^2 - b^2 =
(a + b)(a - b); its variables are filled with random sub-trees, the left side is put in place of a
leaf of a random tree, and the answer is the same tree with the right side there.

An expression is a number, a name, or a tuple (operator, operands...).

Cost: O(2^depth) an example, as an expression has.
Source: Only-IF, arXiv 2410.04717; its set of identities was not found, so that ours is our own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from samplewise.errors import UsageError
from samplewise.rng import RandomState, generator

__all__ = ["IDENTITIES", "AlgebraExample", "evaluate", "instantiate", "make_algebra", "spell"]

Expression: TypeAlias = Any
"""A number, a name, or a tuple of an operator and its operands."""

_OPERATORS: dict[str, Callable[..., float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": operator.pow,
    "sin": np.sin,
    "cos": np.cos,
    "abs": np.abs,
}
_INSIDE, _FUNCTIONS, _VARIABLES = ("+", "-", "*", "/"), ("sin", "cos", "abs"), ("x", "y", "z", "w")

_A, _B, _C = "a", "b", "c"
IDENTITIES: tuple[tuple[Expression, Expression], ...] = (
    (("-", ("^", _A, 2), ("^", _B, 2)), ("*", ("+", _A, _B), ("-", _A, _B))),
    (("*", _A, ("+", _B, _C)), ("+", ("*", _A, _B), ("*", _A, _C))),
    (("*", _A, ("-", _B, _C)), ("-", ("*", _A, _B), ("*", _A, _C))),
    (("^", ("+", _A, _B), 2), ("+", ("+", ("^", _A, 2), ("*", 2, ("*", _A, _B))), ("^", _B, 2))),
    (("^", ("-", _A, _B), 2), ("+", ("-", ("^", _A, 2), ("*", 2, ("*", _A, _B))), ("^", _B, 2))),
    (("+", _A, ("+", _B, _C)), ("+", ("+", _A, _B), _C)),
    (("*", _A, ("*", _B, _C)), ("*", ("*", _A, _B), _C)),
    (("+", _A, _B), ("+", _B, _A)),
    (("*", _A, _B), ("*", _B, _A)),
    (("-", _A, _B), ("-", 0, ("-", _B, _A))),
    (("-", _A, ("+", _B, _C)), ("-", ("-", _A, _B), _C)),
    (("-", _A, ("-", _B, _C)), ("+", ("-", _A, _B), _C)),
    (("+", ("^", ("sin", _A), 2), ("^", ("cos", _A), 2)), 1),
    (("sin", ("*", 2, _A)), ("*", 2, ("*", ("sin", _A), ("cos", _A)))),
    (("cos", ("*", 2, _A)), ("-", ("^", ("cos", _A), 2), ("^", ("sin", _A), 2))),
    (
        ("*", ("sin", _A), ("sin", _B)),
        ("/", ("-", ("cos", ("-", _A, _B)), ("cos", ("+", _A, _B))), 2),
    ),
    (("*", ("abs", _A), ("abs", _B)), ("abs", ("*", _A, _B))),
    (("^", ("abs", _A), 2), ("^", _A, 2)),
    (("/", ("+", _A, _B), 2), ("+", ("/", _A, 2), ("/", _B, 2))),
    (("-", 0, ("*", _A, _B)), ("*", ("-", 0, _A), _B)),
)
"""Identities that hold for all numbers."""


@dataclass(frozen=True)
class AlgebraExample:
    """An expression, the identity to apply, and what comes of it.

    Parameters
    ----------
    text, output : Expression
        Equal in value; they differ in one place.
    rule_id : int
        Place of the identity in the list that it was drawn from.
    """

    text: Expression
    output: Expression
    rule_id: int


def evaluate(expression: Expression, values: Mapping[str, float]) -> float:
    """Give the value of an expression.

    Examples
    --------
    >>> evaluate(("+", "x", ("*", 2, "y")), {"x": 1.0, "y": 3.0})
    7.0
    """
    if isinstance(expression, tuple):
        operands = [evaluate(one, values) for one in expression[1:]]
        return float(_OPERATORS[expression[0]](*operands))
    return float(values[expression] if isinstance(expression, str) else expression)


def spell(expression: Expression) -> str:
    """Write an expression, with every parenthesis.

    Examples
    --------
    >>> spell(("-", ("^", "a", 2), ("sin", "b")))
    '((a ^ 2) - sin(b))'
    """
    if not isinstance(expression, tuple):
        return str(expression)
    sign, *operands = expression
    if len(operands) == 1:
        return f"{sign}({spell(operands[0])})"
    return f"({spell(operands[0])} {sign} {spell(operands[1])})"


def instantiate(expression: Expression, filling: Mapping[str, Expression]) -> Expression:
    """Put an expression in place of every variable.

    Examples
    --------
    >>> instantiate(("+", "a", "b"), {"a": 1, "b": ("sin", "x")})
    ('+', 1, ('sin', 'x'))
    """
    if isinstance(expression, tuple):
        return (expression[0], *(instantiate(one, filling) for one in expression[1:]))
    return filling.get(expression, expression) if isinstance(expression, str) else expression


def make_algebra(
    count: int,
    rng: RandomState = None,
    *,
    identities: Sequence[tuple[Expression, Expression]] = IDENTITIES,
    depth: int = 3,
    filling_depth: int = 1,
) -> list[AlgebraExample]:
    """Make examples, the identities in turn.

    Parameters
    ----------
    count : int
    rng : int, numpy.random.Generator or None
    identities : sequence of (left, right)
        Over the names a, b and c.
    depth, filling_depth : int
        Of the tree around, and of what fills the variables.

    Raises
    ------
    UsageError
        If there are no identities, or a depth is negative.

    Examples
    --------
    >>> one = make_algebra(1, 0, depth=1, filling_depth=0)[0]
    >>> values = dict(x=0.3, y=1.7, z=-0.4, w=2.2)
    >>> abs(evaluate(one.text, values) - evaluate(one.output, values)) < 1e-12
    True
    """
    if not identities or depth < 0 or filling_depth < 0:
        raise UsageError("make_algebra needs identities, and depths of 0 or more")
    random = generator(rng)
    found = []
    for number in range(count):
        rule_id = number % len(identities)
        left, right = identities[rule_id]
        filling = {name: _tree(filling_depth, random) for name in (_A, _B, _C)}
        around = _tree(depth, random)
        place = int(random.integers(_leaves(around)))
        text, output = (
            _replaced(around, place, instantiate(side, filling)) for side in (left, right)
        )
        found.append(AlgebraExample(text, output, rule_id))
    return found


def _tree(depth: int, rng: np.random.Generator) -> Expression:
    """Draw a full binary tree with variables, small numbers and functions of them at its leaves."""
    if depth > 0:
        sign = _INSIDE[rng.integers(len(_INSIDE))]
        return (sign, _tree(depth - 1, rng), _tree(depth - 1, rng))
    kind = rng.random()
    if kind < 0.2:
        return int(rng.integers(1, 10))
    leaf = _VARIABLES[rng.integers(len(_VARIABLES))]
    return leaf if kind < 0.8 else (_FUNCTIONS[rng.integers(len(_FUNCTIONS))], leaf)


def _leaves(expression: Expression) -> int:
    if isinstance(expression, tuple) and len(expression) == 3:
        return _leaves(expression[1]) + _leaves(expression[2])
    return 1


def _replaced(expression: Expression, place: int, new: Expression) -> Expression:
    """Put an expression in place of one leaf; leaves count from the left."""
    if not (isinstance(expression, tuple) and len(expression) == 3):
        return new
    sign, left, right = expression
    before = _leaves(left)
    if place < before:
        return (sign, _replaced(left, place, new), right)
    return (sign, left, _replaced(right, place - before, new))
