"""The side of the program: runs it, and answers the calls of the tests.

Nothing it says is believed beyond the values it returns; it runs beside the program, which may
change all of it.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import types
from typing import Any

from samplewise.verify._plain import decode, encode, read, write

_ITEMS = (list, tuple, set, frozenset)


def _subclass(value: Any) -> Any:
    """Give the plain value of a subclass, such as a Counter; TypeError where there is none."""
    if type(value).__module__ == "numpy" and not hasattr(value, "__len__"):
        return value.item()
    for kind in (bool, int, float, complex, str, bytes, dict, *_ITEMS):
        if isinstance(value, kind):
            return _base(kind, value)
    raise TypeError


def _base(kind: Any, value: Any) -> Any:
    if kind in _ITEMS:
        return kind(kind.__iter__(value))
    if kind is dict:
        return dict(dict.items(value))
    if kind in (str, bytes):
        return kind.__getitem__(value, slice(None))
    return kind.__pos__(value)


class Program:
    """The program's objects, as the tests know them by number."""

    def __init__(self, requests: int, replies: int) -> None:
        self.requests, self.replies = requests, replies
        self.scope: dict[str, Any] = {}
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}

    def other(self, value: Any) -> Any:
        """Write what is not plain: a plain base, or the number of the object."""
        try:
            plain = _subclass(value)
            if type(plain) is not type(value):
                return encode(plain, self.other)
        except (TypeError, ValueError, AttributeError):
            pass
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return ["h", self.numbers[id(value)]]

    def back(self, kind: str, number: Any) -> Any:
        """Read what is not plain: an object of ours, or a function of the tests."""
        if kind == "h":
            return self.objects[number]
        return lambda *args, **kwargs: self.call_back(number, args, kwargs)

    def call_back(self, number: int, args: Any, kwargs: Any) -> Any:
        """Call a function of the tests."""
        sent = encode([list(args), kwargs], self.other)
        write(self.replies, ["callback", number, sent])
        kind, value = read(self.requests)
        if kind == "error":
            raise RuntimeError(value)
        return decode(value, self.back)

    def answer(self, what: str, target: Any, sent: Any) -> list[Any]:
        """Do what the tests ask for."""
        args, kwargs = decode(sent, self.back)
        try:
            result = getattr(self, "do_" + what)(target, args, kwargs)
            reply = ["value", encode(result, self.other)]
        except StopIteration:
            reply = ["end" if what == "next" else "error", "StopIteration", ""]
        except BaseException as error:  # also what is meant to end the program
            reply = ["error", *_name(error)]
        after = encode([args, kwargs], self.other)
        return [*reply, None if after == sent else after]

    def do_name(self, target: str, args: Any, kwargs: Any) -> Any:
        """Call something by its name."""
        return self.scope[target](*args, **kwargs)

    def do_get(self, target: str, args: Any, kwargs: Any) -> Any:
        """Give a name's value."""
        return self.scope[target]

    def do_call(self, target: int, args: Any, kwargs: Any) -> Any:
        """Call an object."""
        return self.objects[target](*args, **kwargs)

    def do_attribute(self, target: int, args: Any, kwargs: Any) -> Any:
        """Give an attribute."""
        return getattr(self.objects[target], args[0])

    def do_set(self, target: int, args: Any, kwargs: Any) -> Any:
        """Set an attribute."""
        setattr(self.objects[target], args[0], args[1])

    def do_iter(self, target: int, args: Any, kwargs: Any) -> Any:
        """Give an iterator."""
        return iter(self.objects[target])

    def do_next(self, target: int, args: Any, kwargs: Any) -> Any:
        """Give an iterator's next item."""
        return next(self.objects[target])

    def do_length(self, target: int, args: Any, kwargs: Any) -> Any:
        """Give a length."""
        return len(self.objects[target])

    def do_item(self, target: int, args: Any, kwargs: Any) -> Any:
        """Give an item."""
        return self.objects[target][args[0]]

    def do_put(self, target: int, args: Any, kwargs: Any) -> Any:
        """Put an item."""
        self.objects[target][args[0]] = args[1]

    def do_text(self, target: int, args: Any, kwargs: Any) -> Any:
        """Give what an object is as text."""
        return str(self.objects[target])

    def load(self, source: list[str]) -> None:
        """Run the program's own statements."""
        module = types.ModuleType("program")
        sys.modules["program"] = module
        self.scope = module.__dict__
        for part in source:
            exec(compile(part, "<program>", "exec"), self.scope)


def _name(error: BaseException) -> tuple[str, str]:
    """Give the nearest builtin exception, and its text."""
    for kind in type(error).__mro__:
        if kind.__module__ == "builtins":
            break
    try:
        return kind.__name__, str(error)[:1000]
    except Exception:
        return kind.__name__, ""


def _compiles(source: str) -> ast.Module | None:
    try:
        tree = compile(source, "<program>", "exec", ast.PyCF_ONLY_AST)
        compile(source, "<program>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    return tree  # type: ignore[return-value]


def _defines(tree: ast.Module) -> set[str]:
    """Name what a program defines at its top level, without what it imports."""
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        inner = (ast.Assign, ast.AnnAssign, ast.If, ast.Try)
        for one in ast.walk(node) if isinstance(node, inner) else ():
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                names.add(one.id)
            elif isinstance(one, (ast.FunctionDef, ast.ClassDef)):
                names.add(one.name)
    return names


def _parts(asked: dict[str, Any]) -> tuple[list[str], set[str]] | None:
    """Find how the text is meant: a whole program, or what follows the beginning."""
    entry, preamble = asked["entry_point"], asked["preamble"]
    before = next((one for one in (preamble, preamble + "\n    pass\n") if _compiles(one)), None)
    for text in asked["texts"]:
        tree = _compiles(text)
        if tree is not None and tree.body and (not entry or entry in _defines(tree)):
            return ([before] if before else []) + [text], _defines(tree)
        if preamble:
            joined = preamble + ("" if preamble.endswith("\n") else "\n") + text
            tree = _compiles(joined)
            if tree is not None and tree.body and (not entry or entry in _defines(tree)):
                return [joined], _defines(tree)
    return None


def main() -> None:
    """Load the program, then answer until the tests are over."""
    requests, replies = int(sys.argv[1]), int(sys.argv[2])
    asked = json.loads(sys.stdin.buffer.read())
    sys.path += asked["path"]
    program = Program(requests, replies)
    parts = _parts(asked)
    if parts is None:
        write(replies, ["unusable", "there is no program in the text"])
        return
    try:
        program.load(parts[0])
    except BaseException as error:
        write(replies, ["unusable", "the program fails: " + ": ".join(_name(error))])
        return
    write(replies, ["ready", sorted(parts[1])])
    while True:
        try:
            what, target, sent = read(requests)
        except EOFError:
            break
        write(replies, program.answer(what, target, sent))
    sys.stdout.flush()
    os._exit(0)
