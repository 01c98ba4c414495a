"""What the checks of every room share."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import os
import pickle
import random
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from samplewise import registry
from samplewise.errors import SamplewiseError
from samplewise.registry import Method

__all__ = [
    "Backwards",
    "check_bad_knobs",
    "check_names",
    "found_elsewhere",
    "leaves_global_state",
    "refused",
]

T = TypeVar("T")
R = TypeVar("R")


def check_names(method: Method) -> None:
    """Check that it has a name, a title, and default knobs."""
    assert isinstance(method.name, str), "name must be text"
    assert method.name, "name is empty"
    assert method.title(), f"{method.name} has no docstring to take a title from"
    assert dataclasses.is_dataclass(method), f"{method.name} is no dataclass"
    assert type(method)() == type(method)(), f"{method.name}() differs from {method.name}()"


def check_bad_knobs(method: Method) -> None:
    """Check that a knob of the wrong type, or that is no number, is refused by its name."""
    for knob, kind in registry.knobs(type(method)).items():
        kinds = typing.get_args(kind) if typing.get_origin(kind) is not typing.Literal else (kind,)
        takes_text = str in (kind, *kinds)
        for wrong in (object(), [1], float("nan"), *([] if takes_text else ["no such value"])):
            with refused(method, knob):
                type(method)(**{knob: wrong})


def found_elsewhere(method: Method, module: str, expression: str) -> str:
    """Evaluate an expression of `s`, a module of checks, and `method` in another process.

    The process has another hash seed, and has served other methods before: it is kept, as it takes
    seconds to import what most methods need.
    """
    found: tuple[bool, str] = _elsewhere().ask((sys.path, pickle.dumps(method), module, expression))
    assert found[0], found[1]
    return found[1]


_ANSWER = """
import os, pickle, sys, traceback
from importlib import import_module

out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # what a library prints must not stand among the answers
while True:
    try:
        sys.path[:], content, module, expression = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        names = {"s": import_module(f"samplewise.testing.{module}")}
        names["method"] = pickle.loads(content)
        found = True, str(eval(expression, names))
    except BaseException:
        found = False, traceback.format_exc()
    pickle.dump(found, out)
    out.flush()
"""


class _Elsewhere:
    """A process that answers until this one ends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ANSWER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        atexit.register(self._close)

    def _close(self) -> None:
        self._process.communicate()  # it ends with its questions

    def ask(self, question: tuple[list[str], bytes, str, str]) -> Any:
        """Put one question."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked
        assert answers
        pickle.dump(question, asked)
        asked.flush()
        return pickle.load(answers)


@functools.cache
def _elsewhere() -> _Elsewhere:
    return _Elsewhere()


def leaves_global_state(method: Method, digest: Callable[[], str]) -> None:
    """Check that work neither uses nor moves the global random states of Python and NumPy."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state under test
    try:
        found = set()
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - the state under test
            states = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
            found.add(digest())
            now = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
            assert states == now, f"{method.name} moved a global random state"
        assert len(found) == 1, f"{method.name} uses a global random state"
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002


class Backwards:
    """An engine that runs the items last to first, on pickled copies."""

    name = "backwards"

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield the results in order all the same."""
        results = [
            pickle.loads(pickle.dumps(function))(pickle.loads(pickle.dumps(item)))
            for item in reversed(list(items))
        ]
        return iter(results[::-1])


@dataclass
class refused:  # noqa: N801 - reads as a word in a with statement
    """Expect an error of ours that names a word."""

    method: Method
    word: str

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        wanted = f"{self.method.name} must refuse this with an error that names '{self.word}'"
        assert isinstance(error, SamplewiseError), f"{wanted}, and gave {error!r}"
        assert self.word in str(error).lower(), f"{wanted}, and said: {error}"
        return True
