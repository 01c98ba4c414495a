"""The one protocol of the room: a `Selector` chooses rows; what it chose is a `Selection`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise import registry
from samplewise.budget import Budget, BudgetLike
from samplewise.errors import BudgetError, InputError, UsageError
from samplewise.files import atomic_path
from samplewise.pool import Pool
from samplewise.rng import RandomState, generator

if TYPE_CHECKING:
    import pyarrow as pa

    from samplewise.embed.base import Embedder
    from samplewise.engine.base import Engine
    from samplewise.ledger import Ledger

__all__ = [
    "Choice",
    "Outcome",
    "Selection",
    "Selector",
    "Session",
    "check_request",
    "default_method",
    "select",
]

Indices: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Outcome: TypeAlias = Callable[[Pool, Indices], Sequence[float] | NDArray[Any]]
"""What a draw was worth: called with the pool and the rows drawn in a round, gives one number a row
(higher: the model still learns more from such rows)."""


@dataclass(frozen=True)
class Choice:
    """What a selector found, before it is checked.

    Parameters
    ----------
    indices : ndarray of int64, shape (b,)
        Rows in order of selection.
    weights : ndarray of float64, shape (b,), optional
        Their weights, where the method weights.
    columns : mapping of str to array of shape (n,)
        What the method knew of every row of the pool: its score, cluster, distance, ...
    """

    indices: Indices
    weights: Floats | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """Rows chosen from a pool.

    Attributes
    ----------
    pool : Pool
        The pool, with the embeddings that were used.
    method : Selector
        The method, with its knobs.
    budget : Budget
        What was asked.
    indices : ndarray of int64, shape (b,)
        Rows in order of selection.
    weights : ndarray of float64, shape (b,)
        1.0 where the method does not weight.
    columns : mapping of str to ndarray of shape (n,)
        What the method knew of every row.
    """

    pool: Pool
    method: Selector
    budget: Budget
    indices: Indices
    weights: Floats
    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def scores(self) -> pa.Table:
        """Arrow table with one row a pool row: what the method knew, and whether it was kept.

        `order` is the place in the order of selection, -1 where the row was not chosen.
        """
        import pyarrow as pa

        order = np.full(len(self.pool), -1, np.int64)
        weight = np.zeros(len(self.pool))
        order[self.indices[::-1]] = np.arange(len(self))[::-1]
        np.add.at(weight, self.indices, self.weights)
        return pa.table(
            {
                "row": np.arange(len(self.pool)),
                "line": self.pool.line,
                "selected": order >= 0,
                "order": order,
                "weight": weight,
                **self.columns,
            }
        )

    def write(self, folder: str | Path) -> Path:
        """Write the chosen rows as they were read, in input order, and `scores.parquet`.

        Returns
        -------
        Path
            The file of chosen rows, ``selected`` with the pool's suffix.
        """
        import pyarrow.parquet as pq

        folder = Path(folder)
        with atomic_path(folder / "scores.parquet") as temporary:
            pq.write_table(self.scores, temporary, compression="zstd")
        return self.pool.write(self.indices, folder / "selected")


@dataclass(frozen=True)
class Selector(registry.Method):
    """Base of the methods that choose rows.

    A method derives from it, sets `name`, and writes `choose`. What the rows must have for it is
    named in `needs`; the base checks that, and the budget, before any work is done.
    """

    room: ClassVar[str] = "select"
    needs: ClassVar[tuple[str, ...]] = ()
    """Of ``embeddings``, ``score``, ``groups`` (a source or a label), ``target``, ``outcomes``."""
    needs_note: ClassVar[str] = ""
    """What to say of its needs where they depend on the pool."""
    repeats: ClassVar[bool] = False
    """Whether a row may be chosen twice."""

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows of the pool, 1 <= n <= len(pool)."""
        raise UsageError(f"{self.name} chooses in rounds", mend="use start(), ask() and tell()")

    def start(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Session:
        """Open a session of ask and tell, for a method that needs outcomes."""
        raise UsageError(f"{self.name} chooses in one call", mend="use samplewise.select(...)")

    def needs_of(self, pool: Pool) -> tuple[str, ...]:
        """Say what the method needs of this pool, where that depends on what it has."""
        return self.needs

    def check(self, pool: Pool) -> None:
        """Refuse a pool that lacks what the method needs.

        Raises
        ------
        InputError
            If the score, a group or the target is missing, or a score is not a number.
        """
        if "score" in self.needs:
            if pool.score is None:
                raise InputError(
                    f"{self.name} needs a score for every row, and the rows have none",
                    file=pool.name,
                    mend="name the field with --score FIELD (score= in Python)",
                )
            if not np.isfinite(pool.score).all():
                row = int(np.flatnonzero(~np.isfinite(pool.score))[0])
                file, line = pool.place(row)
                raise InputError(
                    "is missing or not a finite number",
                    file=file,
                    line=line,
                    field=pool.layout.score or "score",
                    mend="name the field with --score: rows without one are then set aside",
                )
        if "groups" in self.needs and pool.source is None and pool.label is None:
            raise InputError(
                f"{self.name} needs a source or a label",
                file=pool.name,
                mend="name the field with --source FIELD or --label FIELD",
            )
        if "target" in self.needs and pool.target is None:
            raise InputError(
                f"{self.name} needs a target: rows like those that the chosen ones are for",
                file=pool.name,
                mend="name their file with --target FILE (target= in Python)",
            )


class Session(Protocol):
    """A selection in rounds: ask for rows, pay for their outcomes, tell them."""

    def ask(self) -> Indices:
        """Give the rows of the next round; empty when the budget is drawn."""
        ...

    def tell(self, draws: Indices, outcomes: Floats) -> None:
        """Take what came back of the last round."""
        ...

    def choice(self) -> Choice:
        """Give all that was drawn."""
        ...


def select(
    pool: Pool,
    budget: BudgetLike,
    method: str | Selector | None = None,
    *,
    rng: RandomState = None,
    embedder: str | Embedder | None = None,
    engine: str | Engine = "local",
    target: Pool | None = None,
    outcome: Outcome | None = None,
    ledger: Ledger | None = None,
    **knobs: Any,
) -> Selection:
    """Choose rows of a pool to train on.

    Parameters
    ----------
    pool : Pool
        The rows.
    budget : str, int, float or Budget
        How many: ``"5%"``, ``2000``, ``"2000 rows"`` or ``"1M tokens"``.
    method : str or Selector, optional
        The method, or its name; by default `kmeans-quality` where every row has a score, else
        `kmeans-random`.
    rng : int, numpy.random.Generator or None
        The same seed gives the same rows.
    embedder : str or Embedder, optional
        What makes vectors of texts where the pool has none and the method needs them; by default
        the built-in one.
    engine : {'local', 'ray'} or Engine
        Where the work runs; the answer is the same.
    target : Pool, optional
        For methods that choose for a purpose: rows like those that the chosen ones are for.
    outcome : callable, optional
        For methods that learn from outcomes: called with the pool and the rows of a round, gives
        one number a row.
    ledger : Ledger, optional
        Where rounds and spending are recorded; rounds it already holds are not paid for again.
    **knobs
        Knobs of the method, where `method` is a name.

    Returns
    -------
    Selection

    Raises
    ------
    UsageError
        If the budget, the method or a knob makes no sense.
    InputError
        If the pool lacks what the method needs.
    BudgetError
        If the budget is in tokens and no row is cheap enough.

    Examples
    --------
    >>> pool = Pool.from_rows([{"text": f"row {i}"} for i in range(40)])
    >>> selection = select(pool, "10%", "random", rng=0)
    >>> len(selection), selection.indices.dtype
    (4, dtype('int64'))
    """
    from samplewise.engine.base import make_engine

    budget = Budget.parse(budget)
    chooser = _selector(pool, method, knobs)
    check_request(chooser, budget, outcome)
    random = generator(rng)
    if target is not None:
        pool = pool.with_target(target)
    chooser.check(pool)
    runner = make_engine(engine) if isinstance(engine, str) else engine
    if "embeddings" in chooser.needs_of(pool) and not _embedded(pool):
        from samplewise.embed import embed_pool

        pool = embed_pool(pool, embedder or "builtin", engine=runner)
    if budget.unit == "tokens":
        choice = _choose_tokens(chooser, pool, int(budget.amount), random, runner)
    else:
        n = budget.rows_of(len(pool))
        choice = _choose(chooser, pool, n, random, runner, outcome, ledger)
        if len(choice.indices) != n:
            raise AssertionError(f"{chooser.name} chose {len(choice.indices)} rows, not {n}")
    indices = np.asarray(choice.indices, dtype=np.int64)
    weights = np.ones(len(indices)) if choice.weights is None else choice.weights
    if ledger and "rows" not in ledger.spent():  # a resumed run pays once
        ledger.spend("rows", len(indices), chooser.name)
    return Selection(pool, chooser, budget, indices, weights, choice.columns)


def check_request(chooser: Selector, budget: Budget, outcome: Outcome | None) -> None:
    """Refuse, before any work, what the method cannot price or cannot do without.

    Raises
    ------
    UsageError
        If the budget's unit has no price in rows, or a method that learns from outcomes has none.
    """
    learns = "outcomes" in chooser.needs
    units = ("rows", "fraction") if learns else ("rows", "fraction", "tokens")
    if budget.unit not in units:
        raise UsageError(
            f"{chooser.name} cannot price a row in {budget.unit}",
            mend="give the budget in rows or %" + ("" if learns else ", or in tokens"),
        )
    if learns and outcome is None:
        raise UsageError(
            f"{chooser.name} learns from outcomes, so it cannot choose in one call",
            mend="give outcome= (--outcome FILE.py:FUNCTION), or use start(), ask() and tell()",
        )


def default_method(pool: Pool) -> str:
    """Name the method for a pool when the user names none."""
    scored = pool.score is not None and bool(np.isfinite(pool.score).all())
    return "kmeans-quality" if scored else "kmeans-random"


def _embedded(pool: Pool) -> bool:
    aimed = pool.target is None or pool.target.embeddings is not None
    return pool.embeddings is not None and aimed


def _selector(pool: Pool, method: str | Selector | None, knobs: Mapping[str, Any]) -> Selector:
    if not isinstance(method, Selector):
        made = registry.make(method or default_method(pool), knobs, "select")
        assert isinstance(made, Selector)
        return made
    return registry.configure(type(method), method.settings() | dict(knobs)) if knobs else method


def _choose(
    chooser: Selector,
    pool: Pool,
    n: int,
    rng: np.random.Generator,
    engine: Engine,
    outcome: Outcome | None,
    ledger: Ledger | None,
) -> Choice:
    if outcome is None or "outcomes" not in chooser.needs:
        return chooser.choose(pool, n, rng, engine)
    session = chooser.start(pool, n, rng, engine)
    for number, (draws, known) in enumerate(_rounds(session, ledger)):
        if known is None:
            known = _told(outcome(pool, draws), draws, chooser.name)
            if ledger:
                ledger.tell(number, known.tolist())
        session.tell(draws, known)
    return session.choice()


def _rounds(session: Session, ledger: Ledger | None) -> Iterator[tuple[Indices, Floats | None]]:
    """Ask round by round, with the outcomes that an earlier, interrupted run has paid for.

    A round is in the ledger before its draws are paid for, and there once.
    """
    paid = ledger.rounds() if ledger else []
    number = 0
    while len(draws := session.ask()):
        known = paid[number] if number < len(paid) else None
        if known is not None and known.draws != draws.tolist():
            raise InputError(
                f"round {number} of the ledger drew other rows than this run does",
                mend="resume with the pool, method, knobs and seed of the first run",
            )
        if known is None and ledger:
            ledger.ask(number, draws.tolist())
        done = known is not None and known.outcomes is not None
        yield draws, np.asarray(known.outcomes) if known and done else None
        number += 1


def _told(outcomes: Any, draws: Indices, name: str) -> Floats:
    values = np.asarray(outcomes, dtype=np.float64)
    if values.shape != draws.shape or not np.isfinite(values).all():
        raise InputError(
            f"the outcome function gave {values.shape} for {len(draws)} rows"
            if values.shape != draws.shape
            else "the outcome function gave a value that is not finite",
            mend=f"{name} needs one finite number a row drawn",
        )
    return values


def _choose_tokens(
    chooser: Selector,
    pool: Pool,
    tokens: int,
    rng: np.random.Generator,
    engine: Engine,
) -> Choice:
    """Choose as many rows as the tokens buy, and keep those that fit, in order of selection."""
    from samplewise.embed import count_tokens

    costs = count_tokens(pool, engine)
    if costs.min() > tokens:
        raise BudgetError(
            f"no row costs {tokens} tokens or less; the cheapest costs {costs.min()}",
            mend="raise the budget",
        )
    n = int(np.clip(tokens / costs.mean(), 1, len(pool)))
    choice = chooser.choose(pool, n, rng, engine)
    fits = _affordable(costs[choice.indices], tokens)
    if not fits.any():
        raise BudgetError(
            f"none of the {n} rows chosen costs {tokens} tokens or less", mend="raise the budget"
        )
    weights = None if choice.weights is None else choice.weights[fits]
    return Choice(choice.indices[fits], weights, choice.columns)


def _affordable(costs: NDArray[np.int64], budget: int) -> NDArray[np.bool_]:
    """Mark what can be paid for, in order, passing over what no longer fits."""
    fits = np.zeros(len(costs), dtype=bool)
    left = budget
    for place, cost in enumerate(costs.tolist()):
        if cost <= left:
            fits[place] = True
            left -= cost
    return fits
