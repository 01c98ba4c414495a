"""What was spent, on what, and what came back: a durable record in SQLite."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

__all__ = ["Ledger", "Round"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spend (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, what TEXT NOT NULL,
    unit TEXT NOT NULL, amount REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS rounds (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, draws TEXT NOT NULL, outcomes TEXT
);
CREATE TABLE IF NOT EXISTS completions (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, asked REAL NOT NULL,
    times INTEGER NOT NULL, answered REAL, completion TEXT
);
"""


class Round(NamedTuple):
    """One round of draws, and what came back of it (None while it is in flight)."""

    draws: list[int]
    outcomes: list[float] | None


class Ledger:
    """The record of one run; every write is on disk when the call returns.

    Parameters
    ----------
    path : str or Path
        The SQLite file, made if it is not there; ``":memory:"`` for none.

    Examples
    --------
    >>> with Ledger(":memory:") as ledger:
    ...     ledger.spend("rows", 40, "random")
    ...     ledger.spend("rows", 2, "random")
    ...     ledger.ask(0, [7, 3])
    ...     ledger.tell(0, [0.5, 1.0])
    ...     print(ledger.spent(), ledger.rounds())
    {'rows': 42.0} [Round(draws=[7, 3], outcomes=[0.5, 1.0])]
    """

    def __init__(self, path: str | Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)

    def spend(self, unit: str, amount: float, what: str) -> None:
        """Record that `amount` of `unit` went to `what`."""
        self._database.execute(
            "INSERT INTO spend (at, what, unit, amount) VALUES (?, ?, ?, ?)",
            (time.time(), what, unit, amount),
        )

    def spent(self) -> dict[str, float]:
        """Sum the spending by unit."""
        query = "SELECT unit, SUM(amount) FROM spend GROUP BY unit ORDER BY unit"
        return dict(self._database.execute(query).fetchall())

    def ask(self, number: int, draws: Sequence[int]) -> None:
        """Record the draws of a round before they are paid for."""
        self._database.execute(
            "INSERT INTO rounds (number, at, draws) VALUES (?, ?, ?)",
            (number, time.time(), json.dumps([int(draw) for draw in draws])),
        )

    def tell(self, number: int, outcomes: Sequence[float]) -> None:
        """Record what came back of a round."""
        self._database.execute(
            "UPDATE rounds SET outcomes = ? WHERE number = ?",
            (json.dumps([float(outcome) for outcome in outcomes]), number),
        )

    def rounds(self) -> list[Round]:
        """Give every round asked for, in order."""
        rows = self._database.execute("SELECT draws, outcomes FROM rounds ORDER BY number")
        return [
            Round(json.loads(draws), None if outcomes is None else json.loads(outcomes))
            for draws, outcomes in rows
        ]

    def write_completions(
        self,
        asked: Iterable[tuple[str, str]] = (),
        answered: Iterable[tuple[str, str, str]] = (),
    ) -> None:
        """Record completions that are asked for, and those that came back, in one transaction.

        Parameters
        ----------
        asked : iterable of (key, request)
            `key` names the draw, `request` says what was asked. A key asked for again, as its
            completion was lost in flight, is counted. One asked for with another request, as what
            led to it came out otherwise, takes the key; what stood there is kept as ``KEY#NUMBER``.
        answered : iterable of (key, request, completion)
            What came back, as JSON.
        """
        now, asked = time.time(), list(asked)
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany(
                "UPDATE completions SET key = key || '#' || rowid WHERE key = ? AND request <> ?",
                asked,
            )
            self._database.executemany(
                "INSERT INTO completions (key, request, asked, times) VALUES (?, ?, ?, 1) "
                "ON CONFLICT (key) DO UPDATE SET times = times + 1",
                [(key, request, now) for key, request in asked],
            )
            self._database.executemany(
                "INSERT INTO completions VALUES (?, ?, ?, 1, ?, ?) ON CONFLICT (key) "
                "DO UPDATE SET answered = excluded.answered, completion = excluded.completion",
                [(key, request, now, now, content) for key, request, content in answered],
            )
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def completions(self) -> Iterator[tuple[str, str, str | None]]:
        """Give each completion asked for: its key, its request and, once there, what came back."""
        yield from self._database.execute("SELECT key, request, completion FROM completions")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
