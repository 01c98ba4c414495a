"""What is known of the solutions of problems: right programs, right beginnings, and right states.

Cost: O(programs kept x statements) for a program to be judged and kept.
Source: arXiv 2205.14318.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from samplewise.errors import UsageError
from samplewise.train.programs import right_value
from samplewise.verify.trace import Code, Trace, state_key

__all__ = ["Kind", "SolutionStore", "Solutions", "Start", "Stored"]

Key: TypeAlias = tuple[str, ...]

Kind: TypeAlias = Literal[
    "full", "partial", "fails", "too-long", "unknown", "known", "known-beginning", "no-room"
]
"""What became of a program: kept as a right one, or as a right beginning; or why it was not."""

Start: TypeAlias = Literal["beginnings", "states", "nothing"]
"""What a new program begins with: a right beginning, one of a right state, or nothing."""


class Stored(NamedTuple):
    """A program that is kept.

    Attributes
    ----------
    code : tuple of str
        Its statements.
    keys : tuple of tuple of str
        The state after each.
    """

    code: Code
    keys: tuple[Key, ...]


class Solutions:
    """The three buffers of one problem.

    Parameters
    ----------
    most : int
        Of right programs, and of beginnings each; when there are as many, no more are kept.

    Attributes
    ----------
    full : dict of tuple of str to Stored
        Fully correct programs; the reference comes first.
    partial : dict of tuple of str to Stored
        Partially correct ones: beginnings, the empty one among them.
    states : dict of tuple of str to dict of tuple of str to None
        The beginnings that lead to every state known to be right.
    """

    def __init__(self, most: int = 100) -> None:
        self.most = most
        self.full: dict[Code, Stored] = {}
        self.partial: dict[Code, Stored] = {(): Stored((), ())}
        self.states: dict[Key, dict[Code, None]] = {}

    def put(self, stored: Stored, *, full: bool) -> Kind:
        """Keep a program by the rule; say what became of it."""
        return self._put_full(stored) if full else self._put_partial(stored)

    def _put_full(self, stored: Stored) -> Kind:
        if stored.code in self.full:
            return "known"
        if len(self.full) >= self.most:
            return "no-room"
        self._forget_beginnings_of(stored.code)
        self.full[stored.code] = stored
        self._learn_states(stored, len(stored.code) - 1)
        return "full"

    def _put_partial(self, stored: Stored) -> Kind:
        if any(begins(stored.code, other) for other in (*self.partial, *self.full)):
            return "known-beginning"
        longer = any(one and begins(one, stored.code) for one in self.partial)
        if len(self.partial) > self.most and not longer:  # the empty one is no beginning
            return "no-room"
        self._forget_beginnings_of(stored.code)
        self.partial[stored.code] = stored
        self._learn_states(stored, len(stored.code))
        return "partial"

    def _forget_beginnings_of(self, code: Code) -> None:
        for one in [one for one in self.partial if one and begins(one, code)]:
            del self.partial[one]

    def _learn_states(self, stored: Stored, length: int) -> None:
        for end in range(1, length + 1):
            if stored.keys[end - 1]:
                self.states.setdefault(stored.keys[end - 1], {})[stored.code[:end]] = None

    def shortest(self, key: Key | None = None) -> int | None:
        """Give the statements of the shortest right program, or of the shortest way to a state."""
        known = self.full if key is None else self.states.get(key)
        return min(map(len, known)) if known else None

    def training_set(
        self, most: int = 100, rng: np.random.Generator | None = None
    ) -> list[tuple[Code, bool]]:
        """Give right programs, then beginnings, each with whether it is whole.

        Parameters
        ----------
        most : int
        rng : numpy.random.Generator, optional
            Draws which are left where there are more; by default the first.
        """
        known = [(code, True) for code in self.full]
        known += [(code, False) for code in self.partial if code]
        if rng is None or len(known) <= most:
            return known[:most]
        return [known[place] for place in rng.choice(len(known), size=most, replace=False)]

    def start(self, rng: np.random.Generator, how: Start = "beginnings") -> Code:
        """Draw what a new program begins with."""
        if how == "states" and self.states:
            ways = list(self.states.values())
            known = list(ways[rng.integers(len(ways))])
        else:
            known = [()] if how == "nothing" else list(self.partial)
        return known[rng.integers(len(known))]


class SolutionStore:
    """The buffers of many problems, and the rule by which sampled programs enter them.

    Parameters
    ----------
    most : int
        Right programs, and right beginnings, of one problem.
    length_tolerance : int
        Statements that a program may have more than the shortest that does as much.
    state_tolerance : float, optional
        Numbers count as multiples of it; by default they are compared as text, as published.
    full_only : bool
        Whether right programs alone are kept.

    Attributes
    ----------
    problems : dict of int to Solutions
    counts : collections.Counter
        What became of all programs that were offered.

    Notes
    -----
    A full buffer refuses newcomers: the published trainer with beginnings has no bound, and what
    the one without does at its bound of 100 is not known to us.

    References
    ----------
    Ni et al. (2023), "Learning Math Reasoning from Self-Sampled Correct and Partially-Correct
    Solutions", arXiv 2205.14318.

    Examples
    --------
    >>> from samplewise.train.programs import arithmetic_trace
    >>> def traced(text):
    ...     return arithmetic_trace(tuple(text.split()), {"a": 7, "b": 3, "c": 5})
    >>> store = SolutionStore()
    >>> store.begin(0, traced("t0=a+b t1=t0*c answer=t1-a"))
    >>> store.offer(0, traced("t0=b+a answer=t0-c"), 43.0)
    'partial'
    >>> store.offer(0, traced("t0=b+a t1=t0*c answer=t1-a"), 43.0)
    'full'
    >>> store.problems[0].training_set()[-1]
    (('t0=b+a', 't1=t0*c', 'answer=t1-a'), True)
    """

    def __init__(
        self,
        *,
        most: int = 100,
        length_tolerance: int = 0,
        state_tolerance: float | None = None,
        full_only: bool = False,
    ) -> None:
        if most < 1 or length_tolerance < 0:
            raise UsageError(
                f"most is {most}, length_tolerance {length_tolerance}",
                mend="give 1 or more, and 0 or more",
            )
        if state_tolerance is not None and not state_tolerance > 0:
            raise UsageError(f"state_tolerance is {state_tolerance}", mend="give more than 0")
        self.most, self.length_tolerance = most, length_tolerance
        self.state_tolerance, self.full_only = state_tolerance, full_only
        self.problems: dict[int, Solutions] = {}
        self.counts: Counter[Kind] = Counter()

    def begin(self, number: int, reference: Trace) -> None:
        """Make the buffers of a problem, with its reference."""
        self.problems[number] = Solutions(self.most)
        self.problems[number].put(self._stored(reference), full=True)

    def offer(self, number: int, trace: Trace | None, answer: float) -> Kind:
        """Judge a sampled program, keep what of it is right, and say what became of it.

        Parameters
        ----------
        number : int
            Of the problem.
        trace : tuple of Statement or None
            None if it could not be run.
        answer : float
            The right one.

        Returns
        -------
        Kind
        """
        kind = self._offer(self.problems[number], trace, answer)
        self.counts[kind] += 1
        return kind

    def _offer(self, known: Solutions, trace: Trace | None, answer: float) -> Kind:
        if trace is None:
            return "fails"
        furthest = 0
        for length, statement in enumerate(trace, 1):
            if right_value(statement.state, answer):
                shortest = known.shortest()
                if shortest is not None and length - shortest > self.length_tolerance:
                    return "too-long"
                return known.put(self._stored(trace[:length]), full=True)
            if "answer" in statement.state:
                break
            nearest = known.shortest(state_key(statement.state, self.state_tolerance))
            if nearest is not None and length - nearest <= self.length_tolerance:
                furthest = length
        if self.full_only or not furthest:
            return "unknown"
        return known.put(self._stored(trace[:furthest]), full=False)

    def _stored(self, trace: Trace) -> Stored:
        keys = tuple(state_key(one.state, self.state_tolerance) for one in trace)
        return Stored(tuple(one.code for one in trace), keys)

    def merge(self, other: SolutionStore) -> None:
        """Take in what another worker found, by the same rule."""
        for number, theirs in other.problems.items():
            mine = self.problems.setdefault(number, Solutions(self.most))
            for stored in theirs.full.values():
                mine.put(stored, full=True)
            for stored in theirs.partial.values():
                if stored.code:
                    mine.put(stored, full=False)
        self.counts += other.counts

    def state_dict(self) -> dict[str, Any]:
        """Give all that is kept, as JSON can hold it."""
        return {
            "counts": dict(self.counts),
            "problems": {
                str(number): {
                    "full": [_plain(one) for one in known.full.values()],
                    "partial": [_plain(one) for one in known.partial.values() if one.code],
                    "states": [
                        [list(key), [list(code) for code in ways]]
                        for key, ways in known.states.items()
                    ],
                }
                for number, known in self.problems.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what was kept."""
        self.counts = Counter(state["counts"])
        self.problems = {int(n): self._read(kept) for n, kept in state["problems"].items()}

    def _read(self, kept: Mapping[str, Sequence[Any]]) -> Solutions:
        known = Solutions(self.most)
        for buffer, name in ((known.full, "full"), (known.partial, "partial")):
            for code, keys in kept[name]:
                buffer[tuple(code)] = Stored(tuple(code), tuple(tuple(key) for key in keys))
        known.states = {
            tuple(key): {tuple(code): None for code in ways} for key, ways in kept["states"]
        }
        return known


def begins(code: Code, other: Code) -> bool:
    """Say whether a program is the beginning of another, or all of it."""
    return len(code) <= len(other) and other[: len(code)] == code


def _plain(stored: Stored) -> list[Any]:
    return [list(stored.code), [list(key) for key in stored.keys]]
