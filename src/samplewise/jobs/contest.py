"""The work of a comparison: splits, choices, verdicts of the proxy, and the record of them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np

from samplewise.budget import Budget
from samplewise.engine.local import cores
from samplewise.errors import InputError, SamplewiseError, UsageError
from samplewise.jobs.proxies import Proxy
from samplewise.measure.elimination import Race
from samplewise.pool import Pool
from samplewise.progress import Progress
from samplewise.report import Run
from samplewise.select.base import Selector, check_request, select
from samplewise.select.random_rows import Random

if TYPE_CHECKING:
    from samplewise.engine.base import Engine
    from samplewise.ledger import Ledger

__all__ = ["BASELINE", "Contest"]

T = TypeVar("T")
R = TypeVar("R")
Each: TypeAlias = "Callable[[Callable[[str], Run], Sequence[str]], Iterator[Run]]"

BASELINE = "random"
_SALT = 5_711  # keeps these random streams apart from those of a selection with the same seed


class _Split(NamedTuple):
    """The rows that may be chosen in a seed, and those held out."""

    seed: int
    train: Pool
    held_out: Pool


@dataclass(frozen=True)
class Contest:
    """Several methods on one pool; the parameters are those of `samplewise.compare`."""

    methods: Mapping[str, Selector]
    budget: Budget
    proxy: Proxy
    seeds: int = 5
    rng: int = 0
    held_out: float = 0.2
    alpha: float = 0.05
    indifference: float = 0.0
    eliminate: bool = True
    pooled: bool = True

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise UsageError(
                f"{self.seeds} seeds give no interval", mend="give 2 or more; 5 is a good start"
            )
        if not 0 < self.held_out < 1:
            raise UsageError(
                f"a held-out share of {self.held_out:g}", mend="give more than 0 and less than 1"
            )
        if not 0 < self.alpha < 0.5:
            raise UsageError(f"alpha is {self.alpha:g}", mend="give more than 0, less than 0.5")
        if not 0 <= self.indifference < float("inf"):
            raise UsageError(f"indifference is {self.indifference:g}", mend="give 0 or more")
        if len(self.methods) < 2:
            raise UsageError(
                "there is no method to compare with a random choice", mend="name one or more"
            )
        for name, method in self.methods.items():
            with _named(name):
                if "outcomes" in method.needs:
                    raise UsageError(
                        "learns from outcomes, which no proxy has", mend="leave it out"
                    )
                check_request(method, self.budget, None)

    @property
    def baseline(self) -> str:
        """The name that the random choice has."""
        return next(name for name, method in self.methods.items() if isinstance(method, Random))

    def needs_vectors(self, pool: Pool) -> bool:
        """Whether a method or the proxy needs a vector for every row of the pool."""
        needs = [self.proxy.needs, *(method.needs_of(pool) for method in self.methods.values())]
        return any("embeddings" in one for one in needs)

    def check(self, pool: Pool) -> None:
        """Refuse, before any work, a pool that a method or the proxy cannot work on.

        Raises
        ------
        InputError
            Naming every one that cannot, and the mend of each.
        UsageError
            If the split leaves no rows, or the budget buys all that may be chosen.
        """
        faults: list[SamplewiseError] = []
        for name, method in self.methods.items():
            try:
                method.check(pool)
            except SamplewiseError as error:
                faults.append(InputError(f"{name} cannot run: {error.message}", mend=error.mend))
        if faults:
            mends = dict.fromkeys(fault.mend for fault in faults if fault.mend)
            raise InputError(
                "\n".join(fault.message for fault in faults),
                mend="; ".join([*mends, "or leave the method out"]),
            )
        self.proxy.check(pool)
        held = self.held_rows(pool)
        left = len(pool) - held
        if not 0 < held < len(pool):
            raise UsageError(
                f"a held-out share of {self.held_out:g} of {len(pool)} rows leaves none",
                mend="change --held-out, or give more rows",
            )
        if self.budget.unit != "tokens" and self.budget.rows_of(len(pool)) >= left:
            raise UsageError(
                f"{self.budget} buys all of the {left} rows that are not held out, so that all "
                "methods would choose the same",
                mend="lower the budget",
            )

    def held_rows(self, pool: Pool) -> int:
        """Count the rows that a seed holds out."""
        return round(self.held_out * len(pool))

    def run(
        self, pool: Pool, workers: int | None, ledger: Ledger | None, progress: Progress
    ) -> tuple[Race, list[Run]]:
        """Run the race; the pool has vectors where they are needed."""
        names = list(self.methods)
        race = Race(
            names,
            self.seeds,
            baseline=self.baseline,
            alpha=self.alpha,
            indifference=self.indifference,
            higher_is_better=self.proxy.figures[self.proxy.main].better == "higher",
            pooled=self.pooled,
            eliminate=self.eliminate,
        )
        book = _Book(ledger, names, list(self.proxy.figures))
        runs: list[Run] = []
        count = workers or min(cores(), len(names))
        with (
            progress.stage("compare", race.fixed, "runs") as advance,
            _crew(count) as (each, engine),
        ):
            while asked := race.ask():
                known = {name: book.find(race.seeds, name) for name in asked}
                done = {name: run for name, run in known.items() if run is not None}
                advance(len(done))
                todo = [name for name in asked if name not in done]
                for run in self._seed(pool, race.seeds, todo, runs, book, each, engine):
                    done[run.method] = run
                    advance(1)
                runs += [done[name] for name in asked]
                race.tell({name: done[name].figures[self.proxy.main] for name in asked})
        if ledger and "rows" not in ledger.spent():  # a resumed run pays once
            for name in names:
                ledger.spend("rows", sum(run.rows for run in runs if run.method == name), name)
        return race, runs

    # --- one seed -----------------------------------------------------------------------------

    def _seed(
        self,
        pool: Pool,
        seed: int,
        names: list[str],
        before: list[Run],
        book: _Book,
        each: Each,
        engine: Engine | str,
    ) -> Iterator[Run]:
        """Yield a seed's runs as they are done; each is recorded before it is yielded."""
        if not names:
            return
        split = self._split(pool, seed)
        lock = threading.Lock() if self.proxy.alone else contextlib.nullcontext()
        # The slowest first, so that no core waits long for the last one.
        cost = {run.method: run.select_seconds + run.judge_seconds for run in before}
        names = sorted(names, key=lambda name: -cost.get(name, float("inf")))
        for name in names:
            book.open(seed, name)
        for run in each(lambda name: self._one(split, name, lock, engine), names):
            book.close(run)
            yield run

    def _split(self, pool: Pool, seed: int) -> _Split:
        order = self._stream(seed, 0).permutation(len(pool))
        held = self.held_rows(pool)
        return _Split(seed, pool.subset(order[held:]), pool.subset(order[:held]))

    def _stream(self, seed: int, use: int) -> np.random.Generator:
        """Open the random stream of a seed for one use, the same for every method."""
        return np.random.default_rng([_SALT, self.rng, seed, use])

    def _one(
        self,
        split: _Split,
        name: str,
        lock: contextlib.AbstractContextManager[object],
        engine: Engine | str,
    ) -> Run:
        start = time.perf_counter()
        budget = self.budget
        if budget.unit == "fraction":  # of the whole pool, as the choice it stands for is
            whole = len(split.train) + len(split.held_out)
            budget = Budget(float(budget.rows_of(whole)))
        method = self.methods[name]
        with _named(name):
            selection = select(
                split.train, budget, method, rng=self._stream(split.seed, 1), engine=engine
            )
        rows, place = np.unique(selection.indices, return_inverse=True)
        weights = np.bincount(place, selection.weights).astype(np.float64)
        middle = time.perf_counter()
        with lock, _named(self.proxy.name):
            stream = self._stream(split.seed, 2)
            found = self.proxy.judge(split.train.subset(rows), weights, split.held_out, stream)
        figures = {key: float(found[key]) for key in self.proxy.figures}
        if not np.isfinite(figures[self.proxy.main]):
            raise InputError(f"{self.proxy.name}: {self.proxy.main} of {name} is not finite")
        end = time.perf_counter()
        return Run(split.seed, name, figures, len(selection), middle - start, end - middle)


class _Book:
    """What the ledger knows of a contest: a round for every seed and method.

    The draws of a round are the seed and the method's place; its outcomes are the figures, the
    rows chosen and the seconds it took to choose and to judge.
    """

    def __init__(self, ledger: Ledger | None, names: list[str], figures: list[str]) -> None:
        self._ledger, self._names, self._figures = ledger, names, figures
        rounds = ledger.rounds() if ledger else []
        self._known = {(one.draws[0], one.draws[1]): one.outcomes for one in rounds}

    def find(self, seed: int, name: str) -> Run | None:
        """Give a run that was done before."""
        values = self._known.get((seed, self._names.index(name)))
        if values is None:
            return None
        if len(values) != len(self._figures) + 3:
            raise InputError(
                f"round {seed} of the ledger is of another comparison",
                mend="resume with the methods and the proxy of the first run",
            )
        *figures, rows, choosing, judging = values
        named = dict(zip(self._figures, figures, strict=True))
        return Run(seed, name, named, int(rows), choosing, judging)

    def open(self, seed: int, name: str) -> None:
        """Record that a run begins."""
        place = self._names.index(name)
        if self._ledger and (seed, place) not in self._known:
            self._ledger.ask(seed * len(self._names) + place, [seed, place])

    def close(self, run: Run) -> None:
        """Record what it gave."""
        if self._ledger:
            number = run.seed * len(self._names) + self._names.index(run.method)
            values = [*run.figures.values(), run.rows, run.select_seconds, run.judge_seconds]
            self._ledger.tell(number, values)


class _Here:
    """An engine that runs in the thread that calls it, so that a method keeps to one core."""

    name = "local"

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `function(item)` for each item, in order."""
        return map(function, items)


@contextlib.contextmanager
def _crew(workers: int) -> Iterator[tuple[Each, Engine | str]]:
    """Give what runs methods `workers` at a time, and the engine that each of them may use.

    Alone, a method has all cores. Side by side, each has one: what its libraries would start more
    threads for is held back, since two methods with a thread a core each are slower than that.
    """
    if workers == 1:
        yield (lambda function, names: map(function, names)), "local"
        return
    # They must be there to be held back: a library that is loaded later takes all cores.
    import faiss  # noqa: F401
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import threadpool_limits

    def hold_back() -> None:
        threadpool_limits(1, user_api="openmp")  # of this thread alone, while it lives

    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(workers, initializer=hold_back) as threads,
    ):

        def each(function: Callable[[str], Run], names: Sequence[str]) -> Iterator[Run]:
            futures = [threads.submit(function, name) for name in names]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

        yield each, _Here()


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Say whose error it is."""
    try:
        yield
    except SamplewiseError as error:
        if name in error.message:
            raise
        raise type(error)(f"{name}: {error.message}", mend=error.mend) from error
