"""What a strategy draws by: completions that are paid for once, written down, and within a budget.

Every completion is in the ledger before a strategy sees it, so that a run which is taken up again
pays for none twice. Writes of many draws go to disk together, off the event loop.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import operator
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samplewise.budget import Budget
from samplewise.errors import BudgetError, InputError, UsageError
from samplewise.ledger import Ledger
from samplewise.models.completion import Completion, Enough, Model, Price, Request
from samplewise.problems import Message, Problem

__all__ = ["Draws", "Meter", "Origin", "Sampling", "check_budget"]


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn, whatever the strategy.

    Parameters
    ----------
    temperature, top_p, max_tokens
        As `Request` takes them.
    system : str, optional
        What the model is told before every problem.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int | None = None
    system: str | None = None


@dataclass
class Origin:
    """Where a completion stands in the tree of what a strategy drew.

    Attributes
    ----------
    kind : str
        ``"answer"`` where the text is an answer of its own, which the verifier then judges; another
        word, such as ``"plan"``, where it only leads to one.
    parents : tuple of int
        The completions that it was drawn from, in the order of asking.
    remarks : dict
        What else is known of it, such as a score or the feedback it was given.
    """

    kind: str = "answer"
    parents: tuple[int, ...] = ()
    remarks: dict[str, Any] = field(default_factory=dict)


_FIELDS = operator.attrgetter(
    *(field.name for field in dataclasses.fields(Request) if field.name != "min_p")
)


class Meter:
    """What all problems of a run share: the model, the budget and the ledger.

    Parameters
    ----------
    model : Model
    sampling : Sampling
    ledger : Ledger, optional
        Where completions are written, and those of an earlier run are found.
    budget : Budget, optional
        In samples, tokens (read and drawn), dollars or seconds.
    price : Price, optional
        Needed where the budget is in dollars.
    seed : int
        Of all draws.
    name : str
        Tells the draws in the ledger from those of another strategy.

    Raises
    ------
    UsageError
        If a draw cannot be priced in the budget's unit.
    """

    def __init__(
        self,
        model: Model,
        sampling: Sampling | None = None,
        *,
        ledger: Ledger | None = None,
        budget: Budget | None = None,
        price: Price | None = None,
        seed: int = 0,
        name: str = "",
    ) -> None:
        self.model = model
        self.name = name
        self.sampling = sampling or Sampling()
        self.budget = budget
        self.price = price
        self.seed = seed
        self.spent = 0.0
        self._held = 0.0
        self._begun = time.monotonic()
        self._writer = _Writer(ledger) if ledger else None
        self._paid: dict[str, tuple[str, Completion]] = {}
        self._failed: set[str] = set()
        check_budget(budget, price, self.sampling.max_tokens)
        for key, request, content in ledger.completions() if ledger else ():
            if content is None or (name and not key.startswith(f"{name}/")):
                continue
            completion = _read(content)
            if completion.finish == "failed":
                self._failed.add(key)  # and is asked for again
            else:
                self._paid[key] = request, completion
            self.spent += self._cost(completion)

    def of(self, problem: Problem, limit: int | None = None) -> Draws:
        """Give what a strategy draws by for one problem, of at most `limit` tokens."""
        return Draws(self, problem, limit)

    async def close(self) -> None:
        """Write what is left to write."""
        if self._writer:
            await asyncio.to_thread(self._writer.close)

    def _cost(self, completion: Completion) -> float:
        """Give what a completion cost in the budget's unit."""
        unit = self.budget.unit if self.budget else "rows"
        if unit == "tokens":
            return completion.prompt_tokens + completion.tokens
        if unit == "dollars" and self.price:
            return self.price.of(completion)
        return 1.0 if unit == "rows" else 0.0

    def _hold(self, request: Request) -> float | None:
        """Set aside the most that a request can cost; None where the budget has not that much."""
        if self.budget is None:
            return 0.0
        if self.budget.unit == "seconds":
            return 0.0 if time.monotonic() - self._begun < self.budget.amount else None
        # A token is a byte at least, so that this is never too little.
        prompt = sum(len(turn.content.encode()) + 8 for turn in request.messages)
        most = Completion("", prompt_tokens=prompt, tokens=request.max_tokens or 0)
        cost = self._cost(most)
        if self.spent + self._held + cost > self.budget.amount:
            return None
        self._held += cost
        return cost


def check_budget(budget: Budget | None, price: Price | None, max_tokens: int | None) -> None:
    """Refuse a budget in which a completion cannot be priced.

    Raises
    ------
    UsageError
        If its unit is none of completions, or the price or the most tokens are missing.
    """
    if budget is None:
        return
    unit = budget.unit
    if unit not in ("rows", "tokens", "dollars", "seconds"):
        raise UsageError(
            f"a completion cannot be priced in {unit}",
            mend="give the budget in samples, tokens, dollars or seconds",
        )
    if unit == "dollars" and price is None:
        raise UsageError(
            "a budget in dollars needs the price of a token",
            mend="give --price PROMPT,COMPLETION in dollars a million tokens",
        )
    if unit in ("tokens", "dollars") and max_tokens is None:
        raise UsageError(
            f"a budget in {unit} needs to know what one completion can cost",
            mend="give --max-tokens",
        )


class Draws:
    """The draws of one problem.

    Attributes
    ----------
    problem : Problem
    made : list of Completion
        All that was drawn, in the order it was asked for.
    origins : list of Origin
        Where each of them stands.
    """

    def __init__(self, meter: Meter, problem: Problem, limit: int | None = None) -> None:
        self.problem = problem
        self.made: list[Completion] = []
        self.origins: list[Origin] = []
        self._meter = meter
        self._limit = limit
        self._asked = 0
        self._renewed = False

    @property
    def tokens(self) -> int:
        """Tokens drawn so far."""
        return sum(completion.tokens for completion in self.made)

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn."""
        return self._meter.sampling

    def requests(
        self, count: int, messages: Sequence[Message] | None = None, **settings: Any
    ) -> list[Request]:
        """Make equal requests; by default they ask the problem. A draw gives each its own seed."""
        sampling = self._meter.sampling
        turns = tuple(messages or self.problem.messages)
        if sampling.system and turns[0].role != "system":
            turns = (Message("system", sampling.system), *turns)
        usual = Request(turns, sampling.temperature, sampling.top_p, sampling.max_tokens)
        return [dataclasses.replace(usual, **settings) if settings else usual] * count

    async def complete(
        self,
        requests: Sequence[Request],
        *,
        kind: str = "answer",
        parents: Sequence[Sequence[int]] | None = None,
    ) -> list[Completion]:
        """Draw completions; fewer than asked where the budget does not last.

        Seeds follow the order of asking: a strategy that draws level by level, one call a level,
        draws the same on every run.

        Parameters
        ----------
        requests : sequence of Request
        kind : str
            What they are: only answers are judged and counted as samples.
        parents : sequence of sequence of int, optional
            For each request, the places in `made` of the completions it was made from.

        Raises
        ------
        BudgetError
            If the budget has not enough for even one.
        """
        drawn = await self._draw(requests, None)
        for place in range(len(drawn)):
            self.origins.append(Origin(kind, tuple(parents[place]) if parents else ()))
        return drawn

    async def race(self, requests: Sequence[Request], enough: Enough) -> list[Completion]:
        """Draw completions side by side until those that have ended are enough."""
        drawn = await self._draw(requests, enough)
        self.origins += [Origin() for _ in drawn]
        return drawn

    def remark(self, place: int, **remarks: Any) -> None:
        """Say something of a completion; it stands beside it in the run folder and the report."""
        self.origins[place].remarks |= remarks

    async def _draw(self, requests: Sequence[Request], enough: Enough | None) -> list[Completion]:
        if self._limit is not None:  # no draw can be longer than all that the problem has
            most = self._limit
            requests = [
                dataclasses.replace(request, max_tokens=min(request.max_tokens or most, most))
                for request in requests
            ]
        requests = [
            request.with_seed(self._seed(self._asked + place))
            for place, request in enumerate(requests)
        ]
        name = f"{self._meter.name}/" if self._meter.name else ""
        keys = [f"{name}{self.problem.id}/{self._asked + place}" for place in range(len(requests))]
        shown = [_digest(request) for request in requests]
        self._renewed |= not self._meter._failed.isdisjoint(keys)
        found = self._paid(keys, shown)
        first, self._asked = self._asked, self._asked + len(keys)
        if enough is None:
            new = [place for place, completion in enumerate(found) if completion is None]
        else:  # a race is written down as a whole
            new = [] if any(found) else list(range(len(requests)))
        if new:
            await self._pay(new, requests, keys, shown, found, enough)
        drawn = list(_until_missing(found))
        if not drawn and requests:
            raise BudgetError("the budget is spent", mend="raise it, or resume with a larger one")
        if self._asked == first + len(keys):  # what was not drawn can be asked for again
            self._asked = first + len(drawn)
        self.made += drawn
        return drawn

    def _paid(self, keys: list[str], shown: list[str]) -> list[Completion | None]:
        """Find the completions that an earlier run has paid for.

        Once one that failed is drawn anew, what follows may be asked otherwise than before.
        """
        found: list[Completion | None] = []
        for key, request in zip(keys, shown, strict=True):
            known = self._meter._paid.get(key)
            if known is not None and known[0] != request and self._renewed:
                known = None
            elif known is not None and known[0] != request:
                raise InputError(
                    f"the ledger holds another request for draw {key}",
                    mend="resume with the problems, model, strategy and seed of the first run",
                )
            found.append(None if known is None else known[1])
        return found

    async def _pay(
        self,
        new: list[int],
        requests: Sequence[Request],
        keys: list[str],
        shown: list[str],
        found: list[Completion | None],
        enough: Enough | None,
    ) -> None:
        meter = self._meter
        holds: list[float] = []
        most = 0
        for place in new:
            fits = self._fits(requests[place], most)
            held = meter._hold(requests[place]) if fits else None
            if held is None:
                break
            holds.append(held)
            most += requests[place].max_tokens or self._limit or 0
        if not holds:
            return
        new = new[: len(holds)]
        writer = meter._writer
        try:
            if writer:
                writer.ask([(keys[place], shown[place]) for place in new])
            some = [requests[place] for place in new]

            def seen(place: int, completion: Completion) -> None:
                if writer:
                    writer.answer([(keys[new[place]], shown[new[place]], completion)])

            if enough is None:
                drawn = await meter.model.complete(some, seen)
            else:
                drawn = await meter.model.race(some, enough)
                if writer:
                    names = [(keys[place], shown[place]) for place in new]
                    writer.answer([(*n, c) for n, c in zip(names, drawn, strict=True)])
            if writer:
                await writer.written()
        finally:
            meter._held -= sum(holds)
        for place, completion in zip(new, drawn, strict=True):
            found[place] = completion
            meter.spent += meter._cost(completion)

    def _fits(self, request: Request, held: int) -> bool:
        """Say whether the problem's tokens allow one more draw; they always allow the first."""
        if self._limit is None or not (self.made or held):
            return True
        return self.tokens + held + (request.max_tokens or self._limit) <= self._limit

    def _seed(self, number: int) -> int:
        name = f"{self._meter.seed}/{self.problem.id}/{number}".encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "big") >> 1

    def random(self) -> np.random.Generator:
        """Give random numbers of this problem, such as to break ties by."""
        return np.random.default_rng([self._meter.seed, self._seed(-1)])


class _Writer:
    """Writes completions to the ledger from a thread: all that wait go in one transaction."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._error: BaseException | None = None  # once a write failed, no later one is trusted
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def ask(self, draws: list[tuple[str, str]]) -> None:
        """Write that draws are asked for; nobody waits for it."""
        self._waiting.put((draws, [], None))

    def answer(self, draws: list[tuple[str, str, Completion]]) -> None:
        """Write what came back, in one transaction."""
        told = [(key, request, _write(completion)) for key, request, completion in draws]
        self._waiting.put(([], told, None))

    async def written(self) -> None:
        """Wait until all that was given before is on disk."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.put(([], [], (loop, done)))
        await done

    def close(self) -> None:
        """Write all that waits, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        open_ = True
        while open_:
            items = [self._waiting.get()]
            while not self._waiting.empty():
                items.append(self._waiting.get())
            open_ = None not in items
            self._write([item for item in items if item is not None])

    def _write(self, items: list[Any]) -> None:
        try:
            if items and self._error is None:
                self._ledger.write_completions(
                    [draw for asked, _, _ in items for draw in asked],
                    [draw for _, answered, _ in items for draw in answered],
                )
        except Exception as error:  # whoever waits must hear of it
            self._error = error
        loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for _, _, waiter in items:
            if waiter:
                loops.setdefault(waiter[0], []).append(waiter[1])
        for loop, futures in loops.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, futures, self._error)


def _settle(futures: list[asyncio.Future[None]], error: BaseException | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _until_missing(found: Sequence[Completion | None]) -> Iterator[Completion]:
    """Give the first completions, up to one that is not there: places must be those asked for."""
    for completion in found:
        if completion is None:
            return
        yield completion


def _digest(request: Request) -> str:
    # what astuple gives, which would copy it piece by piece
    shown = repr(_FIELDS(request)).encode()
    if request.min_p:  # ledgers from before there was a min_p stay good
        shown += repr(request.min_p).encode()
    return hashlib.blake2b(shown, digest_size=16).hexdigest()


def _write(completion: Completion) -> str:
    import orjson

    return orjson.dumps(completion).decode()


def _read(content: str) -> Completion:
    import orjson

    known = orjson.loads(content)
    for name in ("log_probabilities", "token_texts"):
        if known.get(name) is not None:
            known[name] = tuple(known[name])
    return Completion(**known)
