"""Whether an answer is right: maths, tests in the sandbox, patterns, a judge, a reward model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from samplewise.errors import UsageError
from samplewise.verify.base import Verdict, Verifier

if TYPE_CHECKING:
    from samplewise.models.completion import Model

__all__ = ["VERIFIERS", "Verdict", "Verifier", "check_verifier", "make_verifier"]

VERIFIERS = {
    "math": "the answer equals the right one as mathematics",
    "exact": "the text is the answer",
    "regex:PATTERN": "the last match of a pattern is the answer",
    "choice": "the letter of a multiple choice",
    "json:SCHEMA.json": "JSON of a schema",
    "python": "a program passes its tests, in a sandbox",
    "call:FILE.py:FUNCTION": "a function of your own",
    "judge[:MODEL]": "a language model says yes",
    "reward:FOLDER": "the score of a reward model",
}
"""How a verifier is named, and what it accepts."""


def make_verifier(spec: str, *, model: Model | None = None) -> Verifier:
    r"""Make a verifier by its name.

    Parameters
    ----------
    spec : str
        One of `VERIFIERS`, such as ``"math"`` or ``"regex:total: (\\\d+)"``.
    model : Model, optional
        The model that ``"judge"`` asks; ``"judge:MODEL"`` asks another, named as `make_model` takes
        it.

    Returns
    -------
    Verifier

    Raises
    ------
    UsageError
        If there is no such verifier, what it needs is missing, or it takes no argument.

    Examples
    --------
    >>> make_verifier("math").name
    'math'
    >>> make_verifier("maths")
    Traceback (most recent call last):
    samplewise.errors.UsageError: no verifier 'maths'
      mend: choose one of math, exact, regex:PATTERN, ...
    """
    name, argument = check_verifier(spec)
    if name == "judge":
        return _judge(argument, model)
    return _MAKERS[name](argument)


def check_verifier(spec: str) -> tuple[str, str]:
    """Read the name of a verifier, and what follows it.

    Raises
    ------
    UsageError
        If there is no such verifier, what it needs is missing, or it takes no argument.
    """
    name, colon, argument = spec.partition(":")
    written = {re.split(r"\W", one)[0]: one for one in VERIFIERS}
    if name not in written:
        raise UsageError(f"no verifier {spec!r}", mend=f"choose one of {', '.join(VERIFIERS)}")
    optional = "[" in written[name]
    if (colon and not argument) or (not optional and bool(argument) != (":" in written[name])):
        raise UsageError(f"no verifier {spec!r}", mend=f"write {written[name]}")
    return name, argument


def _judge(named: str, model: Model | None) -> Verifier:
    from samplewise.models.completion import make_model
    from samplewise.verify.calls import Judge

    if named:
        return Judge(make_model(named), owned=True)
    if model is None:
        raise UsageError("verifier judge needs a model that judges", mend="give model=")
    return Judge(model)


def _math(_: str) -> Verifier:
    from samplewise.verify.maths import Maths

    return Maths()


def _python(_: str) -> Verifier:
    from samplewise.verify.python_tests import PythonTests

    return PythonTests()


def _exact(_: str) -> Verifier:
    from samplewise.verify.patterns import Exact

    return Exact()


def _regex(pattern: str) -> Verifier:
    from samplewise.verify.patterns import Regex

    return Regex(pattern)


def _choice(_: str) -> Verifier:
    from samplewise.verify.patterns import Choice

    return Choice()


def _json(schema: str) -> Verifier:
    from samplewise.verify.patterns import JsonSchema

    return JsonSchema(schema)


def _call(function: str) -> Verifier:
    from samplewise.verify.calls import Call

    return Call(function)


def _reward(folder: str) -> Verifier:
    from samplewise.verify.calls import Reward

    return Reward(folder)


_MAKERS: dict[str, Callable[[str], Verifier]] = {
    "math": _math,
    "exact": _exact,
    "regex": _regex,
    "choice": _choice,
    "json": _json,
    "python": _python,
    "call": _call,
    "reward": _reward,
}
