"""Answering from a file of problems to a report, in a run folder that can be resumed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samplewise import registry
from samplewise.answer.base import Answers, Prompted, Strategy, solve_all
from samplewise.answer.draws import Meter, Sampling, check_budget
from samplewise.answer.problems import read_problems
from samplewise.budget import Budget
from samplewise.errors import BudgetError, UsageError
from samplewise.files import file_hash
from samplewise.jobs.reading import write_rejected
from samplewise.ledger import Ledger
from samplewise.models.completion import Model, Price, make_model
from samplewise.progress import Progress, Silent
from samplewise.report import render, summarise_answers
from samplewise.rng import generator
from samplewise.runs import RunFolder
from samplewise.verify import Verifier, check_verifier, make_verifier

__all__ = ["AnswerJob", "Bench", "make_strategy", "read_price", "run_answer"]


@dataclass(frozen=True)
class AnswerJob:
    """All that decides what answering gives.

    Parameters
    ----------
    problems : str
        File or folder of problems.
    model : str
        As `make_model` takes it.
    strategy : str
        Name of the strategy.
    knobs : mapping of str to str
        Its knobs.
    verify, accept : str
        What says whether an answer is right, and what the strategy may ask while it answers; the
        same by default.
    budget, price : str, optional
        As `Budget.parse` reads it, and ``"PROMPT,COMPLETION"`` in dollars a million tokens.
    value : float, optional
        Dollars that a solved problem is worth: the report then says how many samples pay.
    temperature, top_p, max_tokens, system
        As `Sampling` takes them.
    question, answer, template
        As `read_problems` takes them.
    limit : int, optional
        Tokens that may be drawn for each problem.
    rng : int
        The seed.
    strict : bool
        Whether a row that cannot be read stops the run.
    """

    problems: str
    model: str = "builtin"
    strategy: str = "single"
    knobs: Mapping[str, str] = field(default_factory=dict)
    verify: str = "math"
    accept: str | None = None
    budget: str | None = None
    price: str | None = None
    value: float | None = None
    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int | None = None
    system: str | None = None
    question: str | None = None
    answer: str | None = None
    template: str | None = None
    limit: int | None = None
    rng: int = 0
    strict: bool = False

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn."""
        return Sampling(self.temperature, self.top_p, self.max_tokens, self.system)


def run_answer(
    job: AnswerJob,
    out: str | Path,
    *,
    resume: bool = False,
    model: Model | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Answer problems in a run folder.

    Parameters
    ----------
    job : AnswerJob
        What to answer, and how.
    out : str or Path
        The run folder.
    resume : bool
        Whether to take up a run that was stopped: no completion is paid for again.
    model : Model, optional
        Used in place of the one that the job names, and left open.
    progress : Progress, optional

    Returns
    -------
    dict
        What `run.json` holds.

    Raises
    ------
    SamplewiseError
        If the request or the input is wrong.
    BudgetError
        If the budget was spent before any problem was answered.
    """
    progress = progress or Silent()
    _check_value(job)
    strategy = make_strategy(job.strategy, job.knobs)
    bench = Bench(job, [strategy], model, progress)
    with RunFolder(out, "answer", dataclasses.asdict(job), resume=resume) as folder:
        if folder.finished:
            return folder.record
        write_rejected(folder, bench.pool)
        answers, summary = asyncio.run(_answer(job, strategy, bench, folder))
        if all(one.state == "failed" for one in answers.answers):
            folder.note()
            reasons = {one.reason for one in answers.answers}
            raise BudgetError(
                f"no problem was answered: {'; '.join(sorted(reasons))[:500]}",
                mend="raise the budget, or mend the server, and add --resume",
            )
        folder.write_json("report.json", summary)
        folder.note(**_facts(job, answers, len(bench.pool.rejected)))
        render(folder.path)
        if all(one.state != "failed" for one in answers.answers):
            folder.finish()  # a run with failures can be taken up again
        return folder.record


def make_strategy(name: str, knobs: Mapping[str, Any] | None = None) -> Strategy:
    """Make a strategy from its name and knobs, which may stand in the name: ``NAME:KNOB=VALUE``.

    Raises
    ------
    UsageError
        If there is no such strategy or knob.
    """
    name, given = registry.parse_spec(name)
    made = registry.make(name, {**given, **(knobs or {})}, "answer")
    assert isinstance(made, Strategy)
    return made


def read_price(text: str | None) -> Price | None:
    """Read ``PROMPT,COMPLETION``, in dollars a million tokens.

    Raises
    ------
    UsageError
        If these are not two numbers of 0 or more.

    Examples
    --------
    >>> read_price("0.15,0.6")
    Price(prompt=0.15, completion=0.6)
    """
    if text is None:
        return None
    try:
        prompt, completion = (float(part) for part in text.split(","))
    except ValueError:
        prompt = completion = -1.0
    if not (0 <= prompt < float("inf") and 0 <= completion < float("inf")):
        raise UsageError(f"price {text!r}", mend="write PROMPT,COMPLETION, such as 0.15,0.60")
    return Price(prompt, completion)


def _check_value(job: AnswerJob) -> None:
    if job.value is None:
        return
    if not 0 <= job.value < float("inf"):
        raise UsageError(f"value {job.value}", mend="give dollars, 0 or more")
    if read_price(job.price) is None:
        raise UsageError(
            "whether samples pay needs the price of a token",
            mend="give --price PROMPT,COMPLETION in dollars a million tokens",
        )


class Bench:
    """The problems of a job, and what answers and judges them.

    Parameters
    ----------
    job : AnswerJob
    strategies : sequence of Strategy
        All that will answer.
    model : Model, optional
        Used in place of the one that the job names, and left open.
    progress : Progress

    Attributes
    ----------
    problems : list of Problem
    pool : Pool
        The rows they came from, and those that were set aside.
    verifier : Verifier

    Raises
    ------
    SamplewiseError
        If the request makes no sense, which is told before a model is loaded, or a problem lacks
        what a verifier needs.
    """

    def __init__(
        self,
        job: AnswerJob,
        strategies: Sequence[Strategy],
        model: Model | None,
        progress: Progress,
    ) -> None:
        generator(job.rng)
        self._job, self._progress, self._owned = job, progress, model is None
        self._budget = None if job.budget is None else Budget.parse(job.budget)
        self._price = read_price(job.price)
        check_budget(self._budget, self._price, job.max_tokens)
        for spec in filter(None, (job.verify, job.accept)):
            check_verifier(spec)
        self.problems, self.pool = read_problems(
            job.problems,
            question=job.question,
            answer=job.answer,
            template=job.template,
            strict=job.strict,
        )
        self._model = model or make_model(job.model, progress=progress)
        self.verifier = make_verifier(job.verify, model=self._model)
        self._accept = None if job.accept is None else make_verifier(job.accept, model=self._model)
        asks = any(strategy.asks_verifier() for strategy in strategies)
        for problem in self.problems:
            self.verifier.check(problem, job.problems)
            if self._accept and asks:
                self._accept.check(problem, job.problems)

    async def answer(self, strategy: Strategy, ledger: Ledger, name: str = "") -> Answers:
        """Answer all problems by a strategy; `name` tells its draws from another's."""
        job = self._job
        meter = Meter(
            self._model,
            job.sampling,
            ledger=ledger,
            budget=self._budget,
            price=self._price,
            seed=job.rng,
            name=name,
        )
        try:
            found = await solve_all(
                self.problems,
                strategy,
                meter,
                self.verifier,
                accept=self._accept,
                limit=job.limit,
                progress=self._progress,
            )
        finally:
            await meter.close()
        return Answers(found, strategy, job.model, self.verifier.name)

    async def __aenter__(self) -> Bench:
        return self

    async def __aexit__(self, *error: object) -> None:
        for verifier in filter(None, (self.verifier, self._accept)):
            await verifier.close()
        if self._owned:
            await self._model.close()


async def _answer(
    job: AnswerJob, strategy: Strategy, bench: Bench, folder: RunFolder
) -> tuple[Answers, dict[str, Any]]:
    """Answer, and summarise while the verifier can still compare answers."""
    async with bench:
        with folder.stage("answer"):
            answers = await bench.answer(strategy, folder.ledger)
        if any(one.state != "failed" for one in answers.answers):
            answers.write(folder.path)  # what was paid for comes before what is said of it
        with folder.stage("report"):
            summary = _summary(job, answers, bench.verifier)
    return answers, summary


def _summary(job: AnswerJob, answers: Answers, verifier: Verifier) -> dict[str, Any]:
    strategy = answers.strategy
    return summarise_answers(
        [one.as_json() for one in answers.answers],
        strategy=strategy.name,
        knobs=strategy.settings(),
        model=answers.model,
        verifier=answers.verifier,
        adaptive=strategy.asks_verifier(),
        price=read_price(job.price),
        value=job.value,
        same=verifier.same,
        rng=job.rng,
    )


def _facts(job: AnswerJob, answers: Answers, rejected: int) -> dict[str, Any]:
    states = [one.state for one in answers.answers]
    price = read_price(job.price)
    drawn = [completion for one in answers.answers for completion in one.completions]
    tokens: dict[str, Any] = {
        "completions": len(drawn),
        "prompt_tokens": sum(completion.prompt_tokens for completion in drawn),
        "tokens": sum(completion.tokens for completion in drawn),
        "cancelled": sum(completion.finish == "cancelled" for completion in drawn),
        "counted": all(completion.counted for completion in drawn),
    }
    if price:
        tokens["dollars"] = sum(price.of(completion) for completion in drawn)
    path, made = Path(job.problems), answers.strategy
    return {
        "seed": job.rng,
        "input": {
            "path": job.problems,
            "problems": len(answers),
            "rejected": rejected,
            "hash": file_hash(path) if path.is_file() else None,
        },
        "model": job.model,
        "strategy": made.name,
        "knobs": made.settings(),
        **({"prompts": made.texts.versions} if isinstance(made, Prompted) else {}),
        "verifier": answers.verifier,
        "accuracy": answers.accuracy,
        "states": {state: states.count(state) for state in ("answered", "abstained", "failed")},
        "drawn": tokens,
    }
