"""Prior case retrieval: given the facts of a case, find the earlier ones that it will cite.

Records are read from mappings as ECtHR-PCR has them. What makes the task honest is time: the
candidates of a query are the documents dated strictly before it, and queries are split by date.

Source: ECtHR-PCR, arXiv 2404.00596. The data set declares no licence: bring your own copy.
"""

from __future__ import annotations

import ast
import datetime
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import InputError, UsageError

__all__ = ["Case", "Precedents", "Splits"]

_DATES = ("%Y-%m-%d", "%d/%m/%Y", "%d.%m.%Y", "%d %B %Y", "%Y/%m/%d")


@dataclass(frozen=True)
class Case:
    """One decided case.

    Parameters
    ----------
    number : str
        Its application number, such as ``"332/57"``; with a letter where a case has several
        judgments.
    date : datetime.date
    facts, law : tuple of str
        Paragraphs of its two parts.
    citations : tuple of str
        Application numbers that it cites.
    """

    number: str
    date: datetime.date
    facts: tuple[str, ...]
    law: tuple[str, ...]
    citations: tuple[str, ...]

    def view(self, part: str) -> str:
        """Give the text of ``"facts"``, ``"law"`` or ``"facts+law"``.

        Raises
        ------
        UsageError
            If `part` is none of these.
        """
        parts = {"facts": self.facts, "law": self.law, "facts+law": self.facts + self.law}
        if part not in parts:
            raise UsageError(f"view {part!r}", mend="give 'facts', 'law' or 'facts+law'")
        return "\n".join(parts[part])


@dataclass(frozen=True)
class Splits:
    """Queries by date: indices into the cases; every case stays a candidate for later ones.

    Parameters
    ----------
    train_end, development_end : datetime.date
        The last days of the first two parts.
    train, development, test : ndarray of int64
    """

    train_end: datetime.date
    development_end: datetime.date
    train: NDArray[np.int64]
    development: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True)
class Precedents:
    """Cases in order of date, and which earlier ones each of them cites.

    Parameters
    ----------
    cases : list of Case
        By date, then number.
    cited : list of ndarray of int64
        Indices of the earlier cases that each case cites.
    dropped : dict of str to int
        Citations left out: ``unknown`` (no such case), ``not_earlier`` (dated on the same day or
        later), ``repeated``.

    Examples
    --------
    >>> first = {"appno": "1/60", "date": "1960-01-01", "facts": "['a']", "law": "['b']"}
    >>> second = {"appno": "2/70", "date": "1970-01-01", "facts": ["c"], "law": []}
    >>> cites = [{"citations": "[]"}, {"citations": ["1/60"]}]
    >>> cases = Precedents.from_records([first | cites[0], second | cites[1]])
    >>> cases.relevant(1).tolist(), cases.candidates(1).tolist()
    ([0], [True, False])
    """

    cases: list[Case]
    cited: list[NDArray[np.int64]]
    dropped: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_records(cls, records: Iterable[Mapping[str, Any]]) -> Precedents:
        """Read the cases from mappings with `appno`, `facts`, `law`, `date` and `citations`.

        Lists may come as the text of a Python list. A citation without the letter of one of
        several judgments means the latest that is earlier than the citing case.

        Raises
        ------
        InputError
            If a field is missing or cannot be read, or a number comes twice.
        """
        cases = [_case(record, row) for row, record in enumerate(records, 1)]
        cases.sort(key=lambda case: (case.date, case.number))
        place = {case.number: index for index, case in enumerate(cases)}
        if len(place) < len(cases):
            twice = next(c.number for i, c in enumerate(cases) if place[c.number] != i)
            raise InputError(f"{twice!r} comes twice", field="appno")
        versions: dict[str, list[int]] = {}
        for index, case in enumerate(cases):
            versions.setdefault(case.number.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), []).append(index)
        dropped = {"unknown": 0, "not_earlier": 0, "repeated": 0}
        cited = [_cited(case, cases, place, versions, dropped) for case in cases]
        return cls(cases, cited, dropped)

    def __len__(self) -> int:
        return len(self.cases)

    def candidates(self, query: int) -> NDArray[np.bool_]:
        """Mark the cases dated strictly before the query's, shape (n,)."""
        earlier: NDArray[np.bool_] = self._days < self._days[query]
        return earlier

    @functools.cached_property
    def _days(self) -> NDArray[np.int64]:
        return np.array([case.date.toordinal() for case in self.cases])

    def relevant(self, query: int) -> NDArray[np.int64]:
        """Give the earlier cases that the query cites."""
        return self.cited[query]

    def split(self, train_end: str, development_end: str) -> Splits:
        """Split the queries by date; those that cite nothing are no queries.

        Parameters
        ----------
        train_end, development_end : str
            Last days of the first two parts, as YYYY-MM-DD.

        Raises
        ------
        UsageError
            If the dates are not in order.
        """
        first, second = (datetime.date.fromisoformat(day) for day in (train_end, development_end))
        if first >= second:
            raise UsageError(
                f"train ends {first}, development {second}", mend="give the earlier day first"
            )
        queries = np.array([i for i in range(len(self)) if len(self.cited[i])], np.int64)
        part = np.array(
            [(self.cases[i].date > first) + (self.cases[i].date > second) for i in queries]
        )
        train, development, test = (queries[part == number] for number in range(3))
        return Splits(first, second, train, development, test)


def _case(record: Mapping[str, Any], row: int) -> Case:
    missing = [
        name for name in ("appno", "date", "facts", "law", "citations") if name not in record
    ]
    if missing:
        raise InputError("is missing", file="records", line=row, field=missing[0])
    return Case(
        str(record["appno"]).strip().upper(),
        _date(record["date"], row),
        _strings(record["facts"], row, "facts"),
        _strings(record["law"], row, "law"),
        _strings(record["citations"], row, "citations"),
    )


def _date(value: Any, row: int) -> datetime.date:
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    for form in _DATES:
        try:
            return datetime.datetime.strptime(str(value).strip()[:30], form).date()
        except ValueError:
            continue
    try:
        return datetime.datetime.fromisoformat(str(value)).date()
    except ValueError:
        raise InputError(
            f"is {str(value)[:40]!r}", file="records", line=row, field="date", mend="YYYY-MM-DD"
        ) from None


def _strings(value: Any, row: int, name: str) -> tuple[str, ...]:
    """Read a list of strings, or the text of one."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value) if value.strip() else []
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
    if value is None or isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        raise InputError("is no list of texts", file="records", line=row, field=name)
    if not all(isinstance(one, str) for one in value):
        raise InputError("holds something that is no text", file="records", line=row, field=name)
    return tuple(value)


def _cited(
    case: Case,
    cases: Sequence[Case],
    place: Mapping[str, int],
    versions: Mapping[str, Sequence[int]],
    dropped: dict[str, int],
) -> NDArray[np.int64]:
    """Find the cases that one case cites, and count what had to be left out."""
    found: list[int] = []
    for number in dict.fromkeys(one.strip().upper() for one in case.citations):
        known = [place[number]] if number in place else versions.get(number, ())
        earlier = [index for index in known if cases[index].date < case.date]
        if not known:
            dropped["unknown"] += 1
        elif not earlier:
            dropped["not_earlier"] += 1
        elif earlier[-1] in found:
            dropped["repeated"] += 1
        else:
            found.append(earlier[-1])
    dropped["repeated"] += len(case.citations) - len({c.strip().upper() for c in case.citations})
    return np.array(sorted(found), np.int64)
