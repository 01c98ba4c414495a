"""What the checks of every room share."""

from __future__ import annotations

import dataclasses
import os
import pickle
import random
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

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

    The process has another hash seed. What a library prints while it is loaded does no harm: the
    answer is the last word.
    """
    code = (
        "import pickle, sys\n"
        f"from samplewise.testing import {module} as s\n"
        "method = pickle.load(sys.stdin.buffer)\n"
        f"print({expression})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(method),
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()[-1]


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
