"""Methods by name: what there is, what it costs, and how to make one.

A method is found in one of two places: in a module of its room inside this package, or behind an
entry point of the group ``samplewise.methods`` of any installed package. Neither needs a line
anywhere else.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import pkgutil
import types
import typing
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, ClassVar, TypeVar

from samplewise.errors import UsageError

__all__ = [
    "ENTRY_POINTS",
    "ROOMS",
    "Method",
    "configure",
    "find",
    "knobs",
    "make",
    "methods",
    "named",
    "parse_spec",
]

ROOMS = ("select", "score", "mix", "train", "answer", "decode")
ENTRY_POINTS = "samplewise.methods"

M = TypeVar("M", bound="Method")


@dataclasses.dataclass(frozen=True)
class Method:
    """Base of every method: a frozen dataclass whose fields are its knobs.

    A subclass of a room's base that sets `name` is a method; one that does not is a shared base.
    """

    name: ClassVar[str]
    """Its name: what `--method` takes."""
    room: ClassVar[str]
    """The room it belongs to; set by the room's base class."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other names it answers to, such as the paper's acronym."""
    paper: ClassVar[str] = ""
    """The arXiv id of its paper, or another short reference."""
    cost: ClassVar[str] = ""
    """Its cost in O() for n rows of d dimensions and b picks."""

    def __post_init__(self) -> None:
        """Read every knob as the type it was declared with; text will do, as "64" for 64.

        Raises
        ------
        UsageError
            If a knob's value cannot be read as its type.
        """
        for knob, kind in knobs(type(self)).items():
            value = _read(getattr(self, knob), kind, f"{self.name}: knob {knob!r}")
            object.__setattr__(self, knob, value)  # the dataclass is frozen

    @classmethod
    def title(cls) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0].rstrip(".")

    def require(
        self, *names: str, least: float = 0.0, most: float = math.inf, above: bool = False
    ) -> None:
        """Refuse knobs that are out of a range, or at its least where they have to be above.

        A knob that is None passes, and infinity does not.

        Raises
        ------
        UsageError
            With the first of these knobs.
        """
        for knob in names:
            value = getattr(self, knob)
            if value is None:
                continue
            if not least <= value <= most or value == math.inf or (above and value == least):
                mend = f"give {'a number above' if above else 'at least'} {least:g}"
                end = f", and {most:g} at most" if most < math.inf else ""
                raise UsageError(f"{self.name}: {knob} is {value}", mend=mend + end)

    def settings(self) -> dict[str, Any]:
        """Every knob and its value."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def label(self, usual: Method | None = None) -> str:
        """Name it with the knobs that differ: from their defaults, or from another's of its kind.

        Examples
        --------
        >>> make("kmeans-quality", {"clusters": 64}).label()
        'kmeans-quality:clusters=64'
        """
        if usual is None:
            known = {field.name: field.default for field in dataclasses.fields(self)}
        else:
            known = usual.settings()
        changed = {knob: one for knob, one in self.settings().items() if one != known.get(knob)}
        return ":".join([self.name, *(f"{knob}={one}" for knob, one in changed.items())])

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Every knob and its value, under the name that scikit-learn's `clone` asks for."""
        return self.settings()


def methods(room: str | None = None) -> list[type[Method]]:
    """List the registered methods.

    Parameters
    ----------
    room : str, optional
        Only those of one room.

    Returns
    -------
    list of type
        Method classes, ordered by room and name.

    Raises
    ------
    UsageError
        If there is no such room, or two methods claim one name.

    Examples
    --------
    >>> "kmeans-quality" in [method.name for method in methods(room="select")]
    True
    """
    if room is not None and room not in ROOMS:
        raise UsageError(f"there is no room {room!r}", mend=f"one of {', '.join(ROOMS)}")
    found = {id(cls): cls for cls in _registered().values()}
    return sorted(
        (cls for cls in found.values() if room in (None, cls.room)),
        key=lambda cls: (cls.room, cls.name),
    )


def find(name: str, room: str = "select") -> type[Method]:
    """Find a method by its name or an alias.

    Raises
    ------
    UsageError
        If no method of the room answers to `name`; the message lists those that are near.
    """
    found = _registered().get((room, name))
    if found is None:
        import difflib

        names = [known for owner, known in _registered() if owner == room]
        near = difflib.get_close_matches(name, names, n=3) or sorted(names)
        raise UsageError(f"there is no {room} method {name!r}", mend=f"one of {', '.join(near)}")
    return found


def make(name: str, settings: Mapping[str, Any] | None = None, room: str = "select") -> Method:
    """Make a method from its name and its knobs, which may be text as a command line has it.

    Raises
    ------
    UsageError
        If a knob does not exist, or its value cannot be read as the knob's type.

    Examples
    --------
    >>> make("kmeans-quality", {"clusters": "64"}).clusters
    64
    """
    return configure(find(name, room), settings or {})


def configure(cls: type[M], settings: Mapping[str, Any]) -> M:
    """Make a method from its class and its knobs.

    Raises
    ------
    UsageError
        As `make` does.
    """
    known = knobs(cls)
    for knob in settings:
        if knob not in known:
            raise UsageError(
                f"{cls.name} has no knob {knob!r}",
                mend=f"one of {', '.join(known)}" if known else "it has none",
            )
    return cls(**settings)


def named(base: type[M], spec: str | Method) -> M:
    """Make a method of some kind from ``NAME`` or ``NAME:KNOB=VALUE:...``; a made one passes.

    Parameters
    ----------
    base : type
        A room's base, or that of a kind of its methods.
    spec : str or Method

    Raises
    ------
    UsageError
        If there is no such method of this kind, or no such knob.
    """
    made: object = spec
    if isinstance(spec, str):
        name, settings = parse_spec(spec)
        made = make(name, settings, room=base.room)
    if not isinstance(made, base):
        kind = getattr(base, "kind", base.__name__.lower())
        known = [one.name for one in methods(base.room) if issubclass(one, base)]
        raise UsageError(f"{spec!r} is no {kind}", mend=f"one of {', '.join(known)}")
    return made


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """Read ``NAME:KNOB=VALUE:KNOB=VALUE``.

    Raises
    ------
    UsageError
        If a part is no setting.

    Examples
    --------
    >>> parse_spec("kmeans-random:clusters=64")
    ('kmeans-random', {'clusters': '64'})
    """
    name, *parts = (part.strip() for part in spec.split(":"))
    settings = {}
    for part in parts:
        knob, equals, value = part.partition("=")
        if not (equals and knob):
            raise UsageError(f"{spec!r} cannot be read", mend="write NAME:KNOB=VALUE")
        settings[knob.strip()] = value.strip()
    return name, settings


def knobs(cls: type[Method]) -> dict[str, Any]:
    """Map each knob of a method to its type."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _read(value: Any, kind: Any, what: str) -> Any:
    """Read `value` (perhaps text) as one of the plain types a knob can have."""
    is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    kinds = typing.get_args(kind) if is_union else (kind,)
    for one in kinds:
        if typing.get_origin(one) is typing.Literal and value in typing.get_args(one):
            return value
        if one is type(None) and value in (None, "none", "None"):
            return None
        if one is bool and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        if one in (int, float) and not isinstance(value, bool):
            try:
                number = one(value)
            except (TypeError, ValueError, OverflowError):
                continue
            if number != number:  # NaN
                continue
            if not isinstance(value, float) or number == value:
                return number
        if one is str and isinstance(value, str):
            return value
    raise UsageError(f"{what} is {value!r}", mend=f"give {' or '.join(map(_spell, kinds))}")


def _spell(kind: Any) -> str:
    """Name a knob's type as a user would."""
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(str, typing.get_args(kind)))
    return "none" if kind is type(None) else names.get(kind, str(kind))


@functools.cache
def _registered() -> dict[tuple[str, str], type[Method]]:
    """Map (room, name or alias) to its class."""
    table: dict[tuple[str, str], type[Method]] = {}
    for cls in [*_built_in(), *_plugged_in()]:
        for name in (cls.name, *cls.aliases):
            other = table.setdefault((cls.room, name), cls)
            if other is not cls:
                raise UsageError(
                    f"{cls.__module__}.{cls.__qualname__} and "
                    f"{other.__module__}.{other.__qualname__} both claim the name {name!r}",
                    mend="rename one, or uninstall the package it comes from",
                )
    return table


def _built_in() -> list[type[Method]]:
    found = []
    for room in ROOMS:
        package = importlib.import_module(f"samplewise.{room}")
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            found += [
                cls
                for cls in vars(module).values()
                if isinstance(cls, type)
                and issubclass(cls, Method)
                and cls.__module__ == module.__name__
                and "name" in vars(cls)
            ]
    return found


def _plugged_in() -> list[type[Method]]:
    found = []
    for point in entry_points(group=ENTRY_POINTS):
        cls = point.load()
        if not (isinstance(cls, type) and issubclass(cls, Method) and hasattr(cls, "room")):
            raise UsageError(
                f"entry point {point.name!r} of {ENTRY_POINTS} is {point.value!r}, not a method",
                mend="point it at a class that derives from a room's base, such as Selector",
            )
        found.append(cls)
    return found
