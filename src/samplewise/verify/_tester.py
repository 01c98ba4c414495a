"""The side of the tests: runs them against stand-ins for the program's functions.

No word of the program is in this process. What the program returns arrives as plain values, or as
a handle that equals nothing but itself. Only the end of `main` writes that all tests passed.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

from samplewise.verify._plain import MalformedError, decode, encode, read, write

ENDED = "the program ended before the tests did"


class Over(BaseException):
    """The program is gone, or writes what is no message: no test can pass any more."""


class ProgramError(Exception):
    """The program raised something that is no builtin exception."""


# These would end a loop of the tests, or the tests themselves, as if all were done.
_NOT_RAISED = ("StopIteration", "StopAsyncIteration", "GeneratorExit", "KeyboardInterrupt")


class Wire:
    """The line to the program."""

    def __init__(self, requests: int, replies: int) -> None:
        self.requests, self.replies = requests, replies
        self.handles: dict[int, Handle] = {}
        self.functions: list[Any] = []
        self.over = ""

    def lost(self, reason: str) -> Over:
        """Note for good that the program cannot be asked any more."""
        self.over = self.over or reason
        return Over(reason)

    def other(self, value: Any) -> Any:
        """Write what is not plain: a handle, or a function that the program may call."""
        if type(value) is Handle:
            return ["h", object.__getattribute__(value, "_number")]
        if type(value) is Named:
            return self.other(value._value())
        if callable(value):
            self.functions.append(value)
            return ["k", len(self.functions) - 1]
        raise TypeError(f"a {type(value).__name__} of the tests cannot be given to the program")

    def back(self, kind: str, number: Any) -> Any:
        """Read what is not plain: an object of the program."""
        if kind == "k" and type(number) is int and 0 <= number < len(self.functions):
            return self.functions[number]  # a function of ours that was given back
        if kind != "h" or type(number) is not int:
            raise MalformedError
        return self.handles.setdefault(number, Handle(self, number))

    def decode(self, written: Any) -> Any:
        """Make a value of what the program wrote."""
        try:
            return decode(written, self.back)
        except Exception as error:
            raise self.lost("the program wrote what is no value") from error

    def receive(self) -> list[Any]:
        """Read one message of the program."""
        try:
            message = read(self.replies)
        except MalformedError as error:
            raise self.lost("the program wrote what is no message") from error
        except (EOFError, OSError) as error:
            raise self.lost(ENDED) from error
        if type(message) is not list or not message or type(message[0]) is not str:
            raise self.lost("the program wrote what is no message")
        return message

    def ask(self, what: str, target: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Have the program do something, and give what came of it."""
        sent = [list(args), dict(kwargs or {})]
        if self.over:
            raise Over(self.over)
        try:
            write(self.requests, [what, target, encode(sent, self.other)])
        except OSError as error:
            raise self.lost(ENDED) from error
        while (message := self.receive())[0] == "callback":
            self.serve(message)
        try:
            kind, *rest, after = message
            if after is not None:
                _write_back(sent, self.decode(after))
            if kind == "value":
                return self.decode(*rest)
            name, text = rest
            assert type(name) is str
            assert type(text) is str
        except Over:
            raise
        except Exception as error:
            raise self.lost("the program wrote what is no message") from error
        if kind == "end" and what == "next":
            raise StopIteration
        raise _exception(name, text)

    def serve(self, message: list[Any]) -> None:
        """Call a function that the tests gave to the program."""
        try:
            _, number, sent = message
            function = self.functions[number]
            args, kwargs = self.decode(sent)
        except Exception as error:
            raise self.lost("the program wrote what is no message") from error
        try:
            reply = ["value", encode(function(*args, **kwargs), self.other)]
        except Exception as error:
            reply = ["error", f"{type(error).__name__}: {error}"]
        write(self.requests, reply)


def _exception(name: str, text: str) -> BaseException:
    kind = getattr(builtins, name, None)
    if name in _NOT_RAISED or not isinstance(kind, type) or not issubclass(kind, BaseException):
        return RuntimeError(f"{name}: {text}")
    if issubclass(kind, BaseExceptionGroup):
        return ProgramError(text)
    try:
        return kind(text)
    except TypeError:  # those of Unicode want more than a text
        return ProgramError(f"{name}: {text}")


def _write_back(ours: Any, theirs: Any) -> None:
    """Change our containers in place into what the program made of them."""
    if type(ours) is not type(theirs):
        return
    if type(ours) is list or type(ours) is tuple:
        merged = [
            _merged(ours[place], item) if place < len(ours) else item
            for place, item in enumerate(theirs)
        ]
        if type(ours) is list:
            ours[:] = merged
    elif type(ours) is dict:
        merged_pairs = {
            key: _merged(ours[key], item) if key in ours else item for key, item in theirs.items()
        }
        ours.clear()
        ours.update(merged_pairs)
    elif type(ours) is set:
        ours.clear()
        ours.update(theirs)


def _merged(ours: Any, theirs: Any) -> Any:
    if type(ours) is type(theirs) and type(ours) in (list, dict, set):
        _write_back(ours, theirs)
        return ours
    if type(ours) is tuple and type(theirs) is tuple:
        _write_back(ours, theirs)
    return theirs


class Handle:
    """An object of the program; it equals itself alone."""

    __slots__ = ("_number", "_wire")

    def __init__(self, wire: Wire, number: int) -> None:
        object.__setattr__(self, "_wire", wire)
        object.__setattr__(self, "_number", number)

    def _ask(self, what: str, args: Any = (), kwargs: Any = None) -> Any:
        return self._wire.ask(what, self._number, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("attribute", (name,))

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", (name, value))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("call", args, kwargs)

    def __iter__(self) -> Iterator[Any]:
        return self._ask("iter")  # type: ignore[no-any-return]

    def __next__(self) -> Any:
        return self._ask("next")

    def __len__(self) -> int:
        return self._ask("length")  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", (key,))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("put", (key, value))

    def __str__(self) -> str:
        text = self._ask("text")
        return text if type(text) is str else "an object of the program"

    def __repr__(self) -> str:
        return "<an object of the program>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class Named:
    """Something that the program defines, by its name."""

    def __init__(self, wire: Wire, name: str) -> None:
        self.__dict__.update(_wire=wire, _name=name, __name__=name)

    def _value(self) -> Any:
        return self._wire.ask("get", self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wire.ask("name", self._name, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._value(), name)


def _missing(tests: ast.Module, scope: dict[str, Any]) -> set[str]:
    """Name what the tests use and nobody has defined."""
    return {
        node.id
        for node in ast.walk(tests)
        if isinstance(node, ast.Name) and node.id not in scope and not hasattr(builtins, node.id)
    }


def _bind(name: str, wire: Wire) -> Any:
    """Stand in for a name of the program; what the standard library has is taken from there."""
    if name in sys.stdlib_module_names:
        return importlib.import_module(name)
    value = wire.ask("get", name)
    return Named(wire, name) if type(value) is Handle else value


def _scope(asked: dict[str, Any], tests: ast.Module, wire: Wire, defined: list[str]) -> Any:
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    scope = module.__dict__
    for source in (asked["preamble"], asked["preamble"] + "\n    pass\n"):
        try:
            code = compile(source, "<preamble>", "exec")
        except SyntaxError:
            continue
        exec(code, scope)
        break
    entry = asked["entry_point"]
    missing = _missing(tests, scope)
    for name in missing & (set(defined) | sys.stdlib_module_names):
        scope[name] = _bind(name, wire)
    if entry:
        scope[entry] = Named(wire, entry)
    if "candidate" in missing and "candidate" not in defined and entry:
        scope["candidate"] = scope[entry]
    return scope


def _run(tests: ast.Module, scope: dict[str, Any], entry: str | None) -> int:
    """Run the tests; give how many there are."""
    ran = sum(isinstance(node, ast.Assert) for node in ast.walk(tests))
    exec(compile(tests, "<tests>", "exec"), scope)
    own = {node.name for node in tests.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    if "check" in own and entry:
        scope["check"](scope[entry])
        return max(1, ran)
    functions = [name for name in sorted(own) if name.startswith("test")]
    for name in functions:
        if isinstance(scope[name], types.FunctionType):
            scope[name]()
            ran += 1
    for name in sorted(own):
        kind = scope.get(name)
        if isinstance(kind, type) and hasattr(kind, "assertEqual"):
            ran += _cases(kind)
        elif isinstance(kind, type) and name.startswith("Test"):
            ran += _methods(kind)
    return ran


def _cases(kind: Any) -> int:
    import unittest

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(kind).run(result)
    for _, trace in [*result.failures, *result.errors]:
        raise AssertionError(trace.strip().splitlines()[-1])
    if result.unexpectedSuccesses:
        raise AssertionError("a test passes that is expected to fail")
    return result.testsRun - len(result.skipped)


def _methods(kind: type) -> int:
    names = [name for name in sorted(vars(kind)) if name.startswith("test")]
    for name in names:
        case = kind()
        getattr(case, "setup_method", lambda: None)()
        getattr(case, name)()
    return len(names)


def _judge(asked: dict[str, Any], wire: Wire) -> str:
    """Run all tests; say why they fail, or nothing."""
    try:
        message = wire.receive()
        if message[0] != "ready":
            return str(message[-1])[:300]
        names = [name for name in message[-1] if type(name) is str]
        tests = ast.parse(asked["tests"])
        scope = _scope(asked, tests, wire, names)
        if not _run(tests, scope, asked["entry_point"]):
            return "the tests test nothing"
    except BaseException as error:
        return wire.over or f"{type(error).__name__}: {error}".strip(": ")[:300]
    return wire.over  # the tests may have swallowed it


def main() -> None:
    """Judge, and say so on the descriptor that this process alone holds."""
    requests, replies, verdict = (int(one) for one in sys.argv[1:4])
    asked = json.loads(sys.stdin.buffer.read())
    sys.path += asked["path"]
    reason = _judge(asked, Wire(requests, replies))
    os.write(verdict, json.dumps({"passed": not reason, "reason": reason}).encode())
    os._exit(0)
