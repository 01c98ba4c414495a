"""How values cross between the tests and the program: plain values, spelled out.

This text runs inside both sandboxes too, so it imports the standard library alone. Whatever comes
out of `decode` is a builtin of exactly that type: a subclass with a lying ``==`` cannot be written
down, so it cannot cross.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

LARGEST = 8 << 20
"""Bytes of one message."""

DEEPEST = 150
"""How deep a value may be nested."""


class MalformedError(Exception):
    """What the other side wrote is no message."""


def encode(value: Any, other: Callable[[Any], Any], depth: int = 0) -> Any:
    """Spell a value out; `other` writes what is not plain."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -(2**53) < value < 2**53 else ["i", hex(value)]
    if kind is float:
        return ["f", value.hex()]
    if kind is complex:
        return ["c", value.real.hex(), value.imag.hex()]
    if kind is bytes:
        return ["b", value.hex()]
    if _is(kind, "decimal", "Decimal"):
        return ["D", str(value)]
    if _is(kind, "fractions", "Fraction"):
        return ["F", hex(value.numerator), hex(value.denominator)]
    if depth >= DEEPEST:
        return other(value)
    for name, one in (("l", list), ("t", tuple), ("s", set), ("z", frozenset)):
        if kind is one:
            return [name, *[encode(item, other, depth + 1) for item in value]]
    if kind is dict:
        flat = [part for pair in value.items() for part in pair]
        return ["d", *[encode(part, other, depth + 1) for part in flat]]
    return other(value)


def decode(written: Any, other: Callable[[str, Any], Any]) -> Any:
    """Make the value that was spelled out; `other` reads what is not plain."""
    if written is None or type(written) in (bool, str, int):
        return written
    if type(written) is not list or not written or type(written[0]) is not str:
        raise MalformedError
    kind, rest = written[0], written[1:]
    if kind in ("l", "t", "s", "z"):
        items = [decode(item, other) for item in rest]
        return {"l": list, "t": tuple, "s": set, "z": frozenset}[kind](items)
    if kind == "d":
        items = [decode(item, other) for item in rest]
        return dict(zip(items[::2], items[1::2], strict=True))
    if kind == "c":
        return complex(*map(float.fromhex, rest))
    if kind == "F":
        from fractions import Fraction

        return Fraction(*(int(one, 16) for one in rest))
    (text,) = rest
    if kind == "i":
        return int(text, 16)
    if kind == "f":
        return float.fromhex(text)
    if kind == "b":
        return bytes.fromhex(text)
    if kind == "D":
        from decimal import Decimal

        return Decimal(text)
    return other(kind, text)


def _is(kind: type, module: str, name: str) -> bool:
    """Compare with a type whose import would take longer than most tests."""
    return kind.__name__ == name and kind is getattr(sys.modules.get(module), name, None)


def write(fd: int, message: Any) -> None:
    """Write one message: its length, then its JSON."""
    data = json.dumps(message).encode()
    if len(data) > LARGEST:
        raise ValueError("more than 8 MiB cannot cross between the tests and the program")
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(fd, data) :]


def read(fd: int) -> Any:
    """Read one message; EOFError where there is none."""
    size = int.from_bytes(_exactly(fd, 4), "big")
    if size > LARGEST:
        raise MalformedError
    try:
        return json.loads(_exactly(fd, size))
    except (ValueError, RecursionError) as error:
        raise MalformedError from error


def _exactly(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(fd, min(size - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
