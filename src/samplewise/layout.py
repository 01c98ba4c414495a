"""Which fields of a row hold its text, label, source, score and tags."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samplewise.errors import InputError

__all__ = ["Layout", "Rejection", "Values", "find_layout", "read_tags"]

# Each layout is a tuple of slots; a slot is the names a field may have. A slot that ends in None
# may be missing. The first layout that fits the most rows of the sample wins.
_TEXT_LAYOUTS: tuple[tuple[tuple[str | None, ...], ...], ...] = (
    (("instruction",), ("input", None), ("output", "response", "completion", None)),
    (("prompt",), ("completion", "response", "output", "answer", None)),
    (("question",), ("answer", "response", None)),
    (("text",),),
    (("content",),),
)
_CONVERSATIONS = ("messages", "conversations", "conversation", "dialogs", "dialog", "turns")
_SPOKEN = ("content", "value", "text")
_LABELS = ("label", "labels", "category")
_SOURCES = ("source", "dataset", "subset")
_SCORES = ("score", "quality", "reward")
_TAGS = ("tags",)
_NAMES = (str, bool, numbers.Number)  # what a label, a source or a tag may be
_TAG = (str, type(None))  # what a list holds that is taken for tags unasked
_BETWEEN_TAGS = re.compile("[,;]")
_DEEP = 8  # a turn nested deeper than this is no conversation

Values = tuple[str, str | None, str | None, float, list[str] | None]
"""Text, label, source, score and tags of a row."""


class Rejection(Exception):  # noqa: N818 - not an error: the row is set aside, the run goes on
    """Why one row cannot be used."""

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.reason, self.field = reason, field


@dataclass(frozen=True)
class Layout:
    """The fields that a pool's rows are read from.

    Parameters
    ----------
    text : tuple of str
        Fields joined by a newline to make the row's text; all must be there, not all empty.
        A list of messages counts as text.
    optional : tuple of str
        Those of `text` that may be missing.
    label, source, score : str or None
        Fields of the label, the source and the score, where the pool has them.
    score_required : bool
        Whether a row without a finite score is set aside (so when the user named the field).
    tags : str or None
        Field of the tags, where the pool has them.
    """

    text: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    label: str | None = None
    source: str | None = None
    score: str | None = None
    score_required: bool = False
    tags: str | None = None

    @property
    def fields(self) -> list[str]:
        """All fields that are read."""
        named = (*self.text, self.label, self.source, self.score, self.tags)
        return list(dict.fromkeys(field for field in named if field))

    def read(self, row: Mapping[str, Any]) -> Values:
        r"""Read (text, label, source, score, tags) from one row; a missing score is NaN.

        Raises
        ------
        Rejection
            If a field is missing, empty or of the wrong type.

        Examples
        --------
        >>> layout = Layout(text=("question", "answer"), score="score", tags="tags")
        >>> layout.read({"question": "1 + 1?", "answer": "2", "score": 0.5, "tags": "maths; sum"})
        ('1 + 1?\n2', None, None, 0.5, ['maths', 'sum'])
        """
        parts = []
        for field in self.text:
            value = row.get(field)
            if value is not None:
                parts.append(value if isinstance(value, str) else _spoken(value, field))
            elif field not in self.optional:
                raise Rejection("is missing", field)
        text = "\n".join(part for part in parts if part)
        if self.text and (not text or text.isspace()):
            raise Rejection("is empty", self.text[0])
        return (
            text,
            _category(row.get(self.label), self.label) if self.label else None,
            _category(row.get(self.source), self.source) if self.source else None,
            self._score(row),
            read_tags(row.get(self.tags), self.tags) if self.tags else None,
        )

    def exchange(self, row: Mapping[str, Any]) -> tuple[str, str]:
        r"""Split one row into its prompt and its response.

        The response is the last field of the text, and the prompt all before it; where the text is
        one conversation, the response is its last turn. Either may be empty.

        Raises
        ------
        Rejection
            If the row has one part only, or a field is of the wrong type.

        Examples
        --------
        >>> Layout(text=("question", "answer")).exchange({"question": "1 + 1?", "answer": "2"})
        ('1 + 1?', '2')
        >>> Layout(text=("turns",)).exchange({"turns": ["Hi.", "Hello.", "1 + 1?", "2"]})
        ('Hi.\nHello.\n1 + 1?', '2')
        """
        *before, last = self.text
        value = row.get(last)
        if not before:
            turns = [] if value is None or isinstance(value, str) else _turns(value, last)
            if len(turns) < 2:
                raise Rejection("has one part, not a prompt and a response", last)
            return "\n".join(turn for turn in turns[:-1] if turn), turns[-1]
        if last in self.optional:
            raise Rejection("is part of the prompt, and no field holds the response", last)
        prompt = [_text(row.get(field), field) for field in before]
        return "\n".join(part for part in prompt if part), _text(value, last)

    def _score(self, row: Mapping[str, Any]) -> float:
        if self.score is None:
            return math.nan
        value = row.get(self.score)
        try:
            score = math.nan if value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            score = math.nan
        if self.score_required and not math.isfinite(score):
            if value is None:
                raise Rejection("is missing", self.score)
            raise Rejection(f"is not a finite number: {str(value)[:40]!r}", self.score)
        return score


def find_layout(
    rows: Sequence[Mapping[str, Any]],
    *,
    name: str = "",
    text: str | None = None,
    label: str | None = None,
    source: str | None = None,
    score: str | None = None,
    tags: str | None = None,
) -> Layout:
    """Find the layout of a pool from some of its rows; what the user names is taken as it is.

    Parameters
    ----------
    rows : sequence of mapping
        The first rows of the pool.
    name : str
        What to call them in an error.
    text : str, optional
        Comma-separated fields that make the text.
    label, source, score, tags : str, optional
        Their fields.

    Raises
    ------
    InputError
        If no field can be found to take the text from, or a named field is in none of the rows.

    Examples
    --------
    >>> find_layout([{"instruction": "Add.", "input": "1 2", "output": "3"}]).text
    ('instruction', 'input', 'output')
    """
    named = [part.strip() for part in text.split(",")] if text else []
    present = {field for row in rows for field in row}
    for field in [*named, label, source, score, tags]:
        if field and rows and field not in present:
            raise InputError(
                "no such field in the first rows",
                file=name,
                field=field,
                mend=f"the fields are: {', '.join(sorted(map(str, present)))}",
            )
    layouts = [((field,),) for field in _CONVERSATIONS]
    best: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    hits = 0
    for slots in (*_TEXT_LAYOUTS, *layouts):
        fields, loose = _resolve(slots, present)
        count = sum(all(field in row for field in fields if field not in loose) for row in rows)
        if fields and count > hits:
            best, optional, hits = fields, loose, count
    if named:
        best, optional = tuple(named), ()
    if rows and not best:
        raise InputError(
            f"no text found in the fields {', '.join(sorted(map(str, present)))}",
            file=name,
            mend="name the text fields with --text FIELD[,FIELD] (text= in Python)",
        )
    return Layout(
        best,
        optional,
        label or _first(_LABELS, present - _unnamed(rows)),
        source or _first(_SOURCES, present - _unnamed(rows)),
        score or _first(_SCORES, present),
        score_required=score is not None,
        tags=tags or _first(_TAGS, present - _untagged(rows)),
    )


def _resolve(
    slots: tuple[tuple[str | None, ...], ...], present: set[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the fields that fill the slots, and those of them that a row may lack."""
    fields, optional = [], []
    for slot in slots:
        field = _first([name for name in slot if name], present)
        if field is None and None not in slot:
            return (), ()
        if field is not None:
            fields.append(field)
            if field == "input":
                optional.append(field)
    return tuple(fields), tuple(optional)


def _first(names: Sequence[str], present: set[str]) -> str | None:
    return next((name for name in names if name in present), None)


def _unnamed(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Find the fields that hold more than names in some row, such as lists."""
    return {
        field
        for row in rows
        for field, value in row.items()
        if value is not None and not isinstance(value, _NAMES)
    }


def _untagged(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Find the fields that hold something other than tags in some row."""
    return {
        field
        for row in rows
        for field in _TAGS
        if (value := row.get(field)) is not None
        and not isinstance(value, str)
        and not (isinstance(value, (list, tuple)) and all(isinstance(tag, _TAG) for tag in value))
    }


def read_tags(value: Any, field: str) -> list[str] | None:
    """Read a list of names, or one text with commas or semicolons; None for no tag at all.

    Raises
    ------
    Rejection
        If it is neither.

    Examples
    --------
    >>> read_tags("maths, sums; maths", "tags"), read_tags(["a, b"], "tags"), read_tags([], "tags")
    (['maths', 'sums'], ['a, b'], None)
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = _BETWEEN_TAGS.split(value)
    if not isinstance(value, (list, tuple)):
        raise Rejection(f"is a {type(value).__name__}, not a list of tags", field)
    given = [tag for tag in value if tag is not None]
    for tag in given:
        if not isinstance(tag, _NAMES):
            raise Rejection(f"holds a {type(tag).__name__} where a tag should be", field)
    names = dict.fromkeys(str(tag).strip() for tag in given)
    return [name for name in names if name] or None


def _category(value: Any, field: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, _NAMES):
        return str(value)
    raise Rejection(f"is a {type(value).__name__}, not a name", field)


def _text(value: Any, field: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return _spoken(value, field)


def _spoken(value: Any, field: str, depth: int = 0) -> str:
    """Join the turns of a conversation."""
    return "\n".join(turn for turn in _turns(value, field, depth) if turn)


def _turns(value: Any, field: str, depth: int = 0) -> list[str]:
    """Give the turns of a conversation: strings, or mappings that hold what was said."""
    if not isinstance(value, (list, tuple)):
        raise Rejection(f"is a {type(value).__name__}, not text", field)
    if depth > _DEEP:
        raise Rejection("is nested too deeply", field)
    turns = []
    for turn in value:
        said = turn
        if isinstance(turn, Mapping):
            said = next((turn[name] for name in _SPOKEN if turn.get(name) is not None), None)
        if isinstance(said, list):
            said = _spoken(said, field, depth + 1)
        if said is not None and not isinstance(said, str):
            raise Rejection(f"holds a {type(said).__name__} where a turn's text should be", field)
        turns.append(said or "")
    return turns
