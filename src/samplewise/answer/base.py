"""The one protocol of the room: a `Strategy` draws completions of a problem and keeps an answer."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise import registry
from samplewise.answer.draws import Draws, Meter, Origin, Sampling
from samplewise.answer.problems import problems_of, read_problems
from samplewise.answer.prompts import Prompts, load_prompts
from samplewise.budget import Budget, BudgetLike
from samplewise.errors import BudgetError, UsageError
from samplewise.files import atomic_write
from samplewise.measure.pass_at_k import CoverageCurve, coverage_curve
from samplewise.models.completion import Completion, Model, Price, make_model
from samplewise.problems import Problem
from samplewise.progress import Progress, Silent
from samplewise.rng import RandomState, generator, seed_of
from samplewise.verify import make_verifier
from samplewise.verify.base import Verdict, Verifier

if TYPE_CHECKING:
    from samplewise.ledger import Ledger

__all__ = [
    "Answer",
    "Answers",
    "Judge",
    "Kept",
    "Prompted",
    "Strategy",
    "answer",
    "answer_async",
    "export_samples",
    "find_strategy",
    "run_strategy",
    "solve_all",
]

Problems = str | Path | Iterable[Problem | Mapping[str, Any] | str]

AT_ONCE = 256  # problems at work: enough to keep a server busy, few enough to hold in memory


class Kept(NamedTuple):
    """What a strategy keeps of what it drew."""

    text: str | None
    """The answer; None where it abstains or found none."""
    place: int | None = None
    """Which completion that is, in the order of asking."""
    sequential_tokens: int = 0
    """Tokens that had to be waited for, one after the other."""
    reason: str = ""
    """Why there is no answer."""


class Judge:
    """A verifier that knows the problem and judges no text twice."""

    def __init__(self, verifier: Verifier, problem: Problem) -> None:
        self.verifier = verifier
        self.problem = problem
        self._known: dict[str, Verdict] = {}

    def extract(self, completion: Completion) -> str | None:
        """Find the answer in a completion."""
        return self.verifier.extract(completion.text) if completion.text else None

    def same(self, first: str, second: str) -> bool:
        """Say whether two answers are one."""
        return self.verifier.same(first, second)

    async def verify(self, completions: Sequence[Completion]) -> list[Verdict]:
        """Judge completions."""
        texts = [completion.text for completion in completions]
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            found = await self.verifier.verify(self.problem, new)
            self._known |= dict(zip(new, found, strict=True))
        return [self._known[text] for text in texts]


@dataclass(frozen=True)
class Strategy(registry.Method, ABC):
    """Base of the methods that answer.

    A method derives from it, sets `name`, and writes `solve`.
    """

    room: ClassVar[str] = "answer"
    verifies: ClassVar[bool] = False
    """Whether it asks the verifier while it answers."""

    @abstractmethod
    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Draw completions of one problem, and keep an answer."""

    def asks_verifier(self) -> bool:
        """Say whether, with these knobs, it asks the verifier while it answers."""
        return self.verifies


@dataclass(frozen=True)
class Prompted(Strategy):
    """Base of the strategies that have wording of their own.

    Parameters
    ----------
    prompts : str, optional
        A folder with texts that take the place of ours, ``NAME.txt`` each.
    """

    prompts: str | None = field(default=None, kw_only=True)

    wording: ClassVar[str]
    """The folder of its texts in `samplewise/answer/prompts`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.texts  # noqa: B018 - a text that cannot be used is told before any draw

    @functools.cached_property
    def texts(self) -> Prompts:
        """Its wording."""
        return load_prompts(self.wording, self.prompts)


@dataclass(frozen=True)
class Answer:
    """What became of one problem.

    Attributes
    ----------
    problem : Problem
    text : str or None
        The answer that was kept.
    place : int or None
        Which completion it is.
    completions : sequence of Completion
        All that was drawn.
    verdicts : sequence of Verdict
        What the verifier says of each; only answers are judged.
    origins : sequence of Origin
        Where each stands in the tree of what was drawn.
    correct : bool
        Whether the kept answer is right.
    state : str
        ``"answered"``, ``"abstained"`` or ``"failed"``.
    reason : str
        Why there is no answer.
    sequential_tokens : int
        Tokens that had to be waited for.
    """

    problem: Problem
    text: str | None
    place: int | None
    completions: Sequence[Completion]
    verdicts: Sequence[Verdict]
    origins: Sequence[Origin]
    correct: bool
    state: str
    reason: str = ""
    sequential_tokens: int = 0

    @property
    def candidates(self) -> list[tuple[Completion, Verdict]]:
        """The completions that are answers of their own, with what the verifier says of each."""
        each = zip(self.completions, self.verdicts, self.origins, strict=True)
        return [(done, verdict) for done, verdict, origin in each if origin.kind == "answer"]

    @property
    def tokens(self) -> int:
        """Tokens drawn."""
        return sum(completion.tokens for completion in self.completions)

    @property
    def prompt_tokens(self) -> int:
        """Tokens read."""
        return sum(completion.prompt_tokens for completion in self.completions)

    def as_json(self) -> dict[str, Any]:
        """Give the line that `answers.jsonl` holds."""
        samples = [
            {
                "text": completion.text,
                "finish": completion.finish,
                "tokens": completion.tokens,
                "prompt_tokens": completion.prompt_tokens,
                "correct": verdict.correct,
                "score": verdict.score,
                "answer": verdict.answer,
                **({"thinking": completion.thinking} if completion.thinking else {}),
                **({"error": completion.error} if completion.error else {}),
                **({"kind": origin.kind} if origin.kind != "answer" else {}),
                **({"parents": origin.parents} if origin.parents else {}),
                **({"remarks": origin.remarks} if origin.remarks else {}),
            }
            for completion, verdict, origin in zip(
                self.completions, self.verdicts, self.origins, strict=True
            )
        ]
        return {
            "id": self.problem.id,
            "question": self.problem.question,
            "gold": self.problem.answer,
            "state": self.state,
            "reason": self.reason,
            "answer": self.text,
            "kept": self.place,
            "correct": self.correct,
            "tokens": self.tokens,
            "sequential_tokens": self.sequential_tokens,
            "samples": samples,
        }


@dataclass(frozen=True)
class Answers:
    """What became of all problems.

    Attributes
    ----------
    answers : sequence of Answer
        In the order of the problems.
    strategy : Strategy
    model : str
    verifier : str
    """

    answers: Sequence[Answer]
    strategy: Strategy
    model: str
    verifier: str
    seconds: float = field(default=0.0, compare=False)

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def accuracy(self) -> float:
        """Share of the problems whose kept answer is right."""
        return float(np.mean([answer.correct for answer in self.answers]))

    @property
    def counts(self) -> NDArray[np.int64]:
        """Answers drawn to their end and right ones, a problem each; shape (problems, 2)."""
        return np.array(
            [
                (
                    sum(done.finish not in ("cancelled", "failed") for done, _ in one.candidates),
                    sum(verdict.correct for _, verdict in one.candidates),
                )
                for one in self.answers
            ],
            np.int64,
        ).reshape(-1, 2)

    def coverage(self, ks: Sequence[int] | None = None, **options: Any) -> CoverageCurve:
        """Estimate coverage (pass@k), the share of problems that one of k samples solves.

        Parameters
        ----------
        ks : sequence of int, optional
            By default 1 to the fewest samples of a problem.
        **options
            As `samplewise.measure.pass_at_k.coverage_curve` takes them.

        Raises
        ------
        UsageError
            If the samples are no fair ones: the strategy stopped at a right one, or cancelled some.
        """
        fair = not self.strategy.verifies and not any(
            done.finish == "cancelled" for one in self.answers for done in one.completions
        )
        if not fair:
            raise UsageError(
                f"{self.strategy.name} stops early, so that its samples are no fair ones",
                mend="draw with the strategy repeated",
            )
        return coverage_curve(self.counts, ks, **options)

    def write(self, folder: str | Path, name: str = "answers.jsonl") -> Path:
        """Write a line a problem, with all of its completions."""
        import orjson

        path = Path(folder) / name
        lines = [
            orjson.dumps(one.as_json(), option=orjson.OPT_APPEND_NEWLINE) for one in self.answers
        ]
        atomic_write(path, b"".join(lines))
        return path

    def export(self, path: str | Path) -> Path:
        """Write the samples in another form; see `export_samples`."""
        return export_samples((one.as_json() for one in self.answers), path)


def export_samples(rows: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    """Write samples in the form of the data set monkey_business: a line a problem.

    Parameters
    ----------
    rows : iterable of mapping
        The lines of `answers.jsonl`.
    path : str or Path
        Of the new file, whose lines have the fields ``orig_dset_idx``, ``question``, ``gt_answer``,
        ``samples`` and ``is_corrects``.
    """
    import orjson

    lines = []
    for place, row in enumerate(rows):
        samples = [one for one in row["samples"] if one.get("kind", "answer") == "answer"]
        line = {
            "orig_dset_idx": place,
            "question": row["question"],
            "gt_answer": row["gold"],
            "samples": [one["text"] for one in samples],
            "is_corrects": [one["correct"] for one in samples],
        }
        lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    atomic_write(Path(path), b"".join(lines))
    return Path(path)


async def solve_all(
    problems: Sequence[Problem],
    strategy: Strategy,
    meter: Meter,
    verifier: Verifier,
    *,
    accept: Verifier | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> list[Answer]:
    """Answer problems side by side.

    Parameters
    ----------
    problems : sequence of Problem
    strategy : Strategy
    meter : Meter
        What the strategy draws by.
    verifier : Verifier
        What says whether answers are right.
    accept : Verifier, optional
        What the strategy may ask while it answers; by default `verifier`.
    limit : int, optional
        Tokens that may be drawn for each problem.
    progress : Progress, optional

    Returns
    -------
    list of Answer
        In the order of the problems.
    """
    found: list[Answer | None] = [None] * len(problems)
    order = iter(range(len(problems)))

    async def work() -> None:
        for place in order:
            found[place] = await _solve(
                problems[place], strategy, meter, verifier, accept or verifier, limit
            )
            advance(1)

    with (progress or Silent()).stage("answer", len(problems), "problems") as advance:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(problems))):
                group.create_task(work())
    return [answer for answer in found if answer is not None]


_UNJUDGED = Verdict(False, 0.0, reason="it is no answer of its own")


async def run_strategy(strategy: Strategy, draws: Draws, judge: Judge) -> tuple[Kept, str]:
    """Run a strategy on one problem.

    Parameters
    ----------
    strategy : Strategy
    draws : Draws
        What it draws by.
    judge : Judge
        What it may ask.

    Returns
    -------
    kept : Kept
        With the reason, where there is no answer.
    state : str
        ``"answered"``, ``"abstained"`` or, where nothing was drawn, ``"failed"``.
    """
    try:
        kept = await strategy.solve(draws, judge)
    except BudgetError as error:
        kept = Kept(None, reason=error.message)
    if kept.text is not None:
        return kept, "answered"
    failures = [one.error for one in draws.made if one.finish == "failed"]
    broken = len(failures) == len(draws.made)
    usual = kept.reason or "no answer could be kept"
    reason = failures[0] if broken and failures else usual
    return kept._replace(reason=reason), "failed" if broken else "abstained"


async def _solve(
    problem: Problem,
    strategy: Strategy,
    meter: Meter,
    verifier: Verifier,
    accept: Verifier,
    limit: int | None,
) -> Answer:
    draws = meter.of(problem, limit)
    judge = Judge(accept, problem)
    kept, state = await run_strategy(strategy, draws, judge)
    truth = judge if accept is verifier else Judge(verifier, problem)
    whole = [place for place, origin in enumerate(draws.origins) if origin.kind == "answer"]
    judged = await truth.verify([draws.made[place] for place in whole])
    verdicts = [_UNJUDGED] * len(draws.made)
    for place, verdict in zip(whole, judged, strict=True):
        verdicts[place] = verdict
    correct = False
    if kept.text is not None:
        if kept.place is not None and draws.made[kept.place].text == kept.text:
            correct = verdicts[kept.place].correct
        else:
            [verdict] = await truth.verify([Completion(kept.text)])
            correct = verdict.correct
    return Answer(
        problem,
        kept.text,
        kept.place,
        draws.made,
        verdicts,
        draws.origins,
        correct,
        state,
        kept.reason,
        kept.sequential_tokens,
    )


async def answer_async(
    problems: Problems,
    model: str | Model = "builtin",
    strategy: str | Strategy = "single",
    *,
    verifier: str | Verifier = "math",
    accept: str | Verifier | None = None,
    budget: BudgetLike | None = None,
    price: Price | None = None,
    sampling: Sampling | None = None,
    rng: RandomState = None,
    limit: int | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
    **knobs: Any,
) -> Answers:
    """Answer problems; see `answer`, which waits for this."""
    chosen = find_strategy(strategy, knobs)
    asked = (
        read_problems(problems)[0] if isinstance(problems, (str, Path)) else problems_of(problems)
    )
    seed = rng if isinstance(rng, int) else seed_of(generator(rng))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with contextlib.AsyncExitStack() as stack:
        made = model if isinstance(model, Model) else make_model(model, progress=progress)
        if made is not model:
            stack.push_async_callback(made.close)
        truth = verifier if isinstance(verifier, Verifier) else make_verifier(verifier, model=made)
        if truth is not verifier:
            stack.push_async_callback(truth.close)
        weak = make_verifier(accept, model=made) if isinstance(accept, str) else accept
        if weak and weak is not accept:
            stack.push_async_callback(weak.close)
        for problem in asked:
            truth.check(problem)
            if weak and chosen.asks_verifier():
                weak.check(problem)
        meter = Meter(
            made,
            sampling,
            ledger=ledger,
            budget=None if budget is None else Budget.parse(budget),
            price=price,
            seed=seed,
        )
        stack.push_async_callback(meter.close)
        answers = await solve_all(
            asked, chosen, meter, truth, accept=weak, limit=limit, progress=progress
        )
    return Answers(answers, chosen, made.name, truth.name, loop.time() - begun)


def answer(
    problems: Problems,
    model: str | Model = "builtin",
    strategy: str | Strategy = "single",
    **options: Any,
) -> Answers:
    """Answer problems with a model, and say how many of the answers are right.

    Parameters
    ----------
    problems : str, Path, or iterable of Problem, mapping or str
        A file of problems, or problems, rows or plain questions.
    model : str or Model
        ``"builtin"``, a folder of weights, ``"endpoint:NAME@URL"``, or a model.
    strategy : str or Strategy
        The strategy, or its name.
    verifier : str or Verifier
        What says whether an answer is right: ``"math"``, ``"exact"``, ``"choice"``,
        ``"python"``, ...
    accept : str or Verifier, optional
        What the strategy may ask while it answers; by default the same.
    budget : str, int, float or Budget, optional
        Of the whole run: ``"200 samples"``, ``"1M tokens"``, ``"$5"``, ``"10 min"``.
    price : Price, optional
        Dollars a million tokens read and drawn.
    sampling : Sampling, optional
        How tokens are drawn.
    rng : int, numpy.random.Generator or None
        The same seed asks with the same seeds.
    limit : int, optional
        Tokens that may be drawn for each problem.
    ledger : Ledger, optional
        Where completions are recorded; those it already holds are not paid for again.
    progress : Progress, optional
    **knobs
        Knobs of the strategy.

    Returns
    -------
    Answers

    Raises
    ------
    UsageError
        If the model, the strategy, a knob or the budget makes no sense.
    InputError
        If a problem lacks what the verifier needs.
    """
    return asyncio.run(answer_async(problems, model, strategy, **options))


def find_strategy(strategy: str | Strategy, knobs: Mapping[str, Any]) -> Strategy:
    """Find a strategy by its name, or take it as it is, and set its knobs.

    Raises
    ------
    UsageError
        If there is no such strategy or knob.
    """
    if isinstance(strategy, Strategy):
        return registry.configure(type(strategy), strategy.settings() | dict(knobs))
    made = registry.make(strategy, knobs, "answer")
    if not isinstance(made, Strategy):
        raise UsageError(f"{strategy} is no strategy", mend="derive it from Strategy")
    return made
