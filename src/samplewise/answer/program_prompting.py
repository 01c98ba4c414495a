"""Program prompting: the model writes a program, and what the program gives is the answer.

Use it for problems whose answer is a number that must be computed: the model sets the computation
up, and Python does the arithmetic. Where solved problems with programs are at hand, those most
similar to the question are shown first. Programs run in the sandbox of `samplewise.verify.sandbox`,
which needs bubblewrap.

The same strategy makes the examples: with ``selector="accepted"`` it tries again until the verifier
accepts the value, and the `answers.jsonl` of that run is a file of examples for the next.

Cost: n programs, a run of each, and O(examples x d) a question to find the similar ones. Source:
arXiv 2305.18170, after program-aided language models, arXiv 2211.10435.
"""

from __future__ import annotations

import asyncio
import functools
import math
import re
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.answer.base import Judge, Kept, Prompted
from samplewise.answer.draws import Draws
from samplewise.embed import Embedder, make_embedder
from samplewise.engine.local import cores
from samplewise.errors import BudgetError, UsageError
from samplewise.measure.vectors import directions
from samplewise.measure.voting import majority
from samplewise.models.completion import Completion
from samplewise.problems import Message
from samplewise.rng import RandomState, generator
from samplewise.verify.programs import (
    Example,
    Result,
    as_number,
    program_of,
    read_examples,
    run_program,
)
from samplewise.verify.sandbox import Limits, Sandbox

__all__ = ["Order", "ProgramPrompting", "retrieve", "similarities"]

Order: TypeAlias = Literal["most-similar", "least-similar", "random", "fixed"]

_STOP = "\n\n\n"
"""What parts examples in one text, and ends the program that follows them."""


_LEAST = {
    "shown": 0,
    "prompt_characters": 0,
    "samples": 1,
    "temperature": 0,
    "max_tokens": 1,
    "decimals": 0,
}


class _Shown(NamedTuple):
    """What is asked, and the examples it holds."""

    messages: list[Message]
    remarks: dict[str, Any]
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProgramPrompting(Prompted):
    """Let the model write programs, run them, and keep the value that most of them give.

    Where there are no examples, the model is asked without any. A single program is the likeliest
    one, at temperature 0. A program that draws random numbers may give another value in another
    run.

    Parameters
    ----------
    examples : str, optional
        File of rows with ``question`` and ``program``, and optionally ``score`` (0 for a program
        that is wrong) and ``id``; or the ``answers.jsonl`` of an earlier run of this strategy. An
        example with the very question that is asked is left out.
    shown : int
        Examples that are shown, at most.
    order : {'most-similar', 'least-similar', 'random', 'fixed'}
        Which, and in what order: by similarity to the question; drawn anew for every problem; or
        always the first of the file.
    layout : {'turns', 'text'}
        Examples as earlier turns of the conversation; or all in one text, which ends where the
        program is to begin, as published. Three newlines in a row then end the program.
    embed : str
        What makes vectors of questions: ``builtin``, ``sentence-transformers:MODEL`` or
        ``endpoint:MODEL``.
    embed_url : str, optional
        Where that endpoint is.
    most_similarity : float
        Examples more similar to the question than this are left out, as they may be the problem
        itself in other words; 1 leaves out none.
    prompt_characters : int, optional
        The most characters of all examples together: the least similar are dropped until they fit.
    samples : int
        Programs a problem, 1 or more.
    selector : {'majority', 'accepted'}
        Draw all, and vote among their values (self-consistency); or draw one after the other until
        the verifier accepts a value, which is how solved examples are made.
    temperature : float
        Of programs that are put to the vote, and of all attempts after the first.
    max_tokens : int
        Of a program, where the run sets no number.
    seconds : float
        For one program to run.
    numeric : bool
        Whether only a finite number counts as a value.
    decimals : int, optional
        How many decimals are kept of numbers; by default 12 digits, which hides what floats add.
    words : bool
        Whether, where no program gave a value, completions without any program are read as plain
        answers.

    Notes
    -----
    The paper accepts a value that is within 0.01 of the right one. Here the verifier decides;
    `decimals` makes it as lenient.

    References
    ----------
    arXiv 2305.18170, arXiv 2211.10435
    """

    examples: str | None = None
    shown: int = 8
    order: Order = "most-similar"
    layout: Literal["turns", "text"] = "turns"
    embed: str = "builtin"
    embed_url: str | None = None
    most_similarity: float = 1.0
    prompt_characters: int | None = None
    samples: int = 1
    selector: Literal["majority", "accepted"] = "majority"
    temperature: float = 0.5
    max_tokens: int = 600
    seconds: float = 10.0
    numeric: bool = True
    decimals: int | None = None
    words: bool = True

    name: ClassVar[str] = "program-prompting"
    aliases: ClassVar[tuple[str, ...]] = ("dynamic-pal",)
    paper: ClassVar[str] = "2305.18170"
    cost: ClassVar[str] = "n programs, and a run of each in the sandbox"
    wording: ClassVar[str] = "program-prompting"

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob, least in _LEAST.items():
            value = getattr(self, knob)
            if value is not None and value < least:
                raise UsageError(f"knob {knob!r} is {value}", mend=f"give {least} or more")
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"knob 'seconds' is {self.seconds}", mend="give more than 0")
        self._embedder  # noqa: B018 - that there is none such is told before any draw
        self._sandbox  # noqa: B018 - that there is none is told before any draw
        self._examples  # noqa: B018 - and so is what is wrong with the file

    def asks_verifier(self) -> bool:
        """Say so where it draws until a value is accepted."""
        return self.selector == "accepted"

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Draw programs, run them, and keep a value."""
        shown = await self._prompt(draws)
        if self.selector == "accepted":
            return await self._until_accepted(draws, judge, shown)
        temperature = 0.0 if self.samples == 1 else self.temperature
        drawn, results = await self._draw(draws, shown, self.samples, temperature)
        waited = max(completion.tokens for completion in drawn)
        for texts in ([one.value for one in results], self._worded(drawn)):
            answers = [None if one is None else judge.extract(Completion(one)) for one in texts]
            place = majority(answers, same=judge.same)
            if place is not None:
                return Kept(texts[place], None, waited)
        return Kept(None, None, waited, "no program gave a value")

    async def _until_accepted(self, draws: Draws, judge: Judge, shown: _Shown) -> Kept:
        waited = 0
        for attempt in range(self.samples):
            temperature = self.temperature if attempt else 0.0
            try:
                drawn, [result] = await self._draw(draws, shown, 1, temperature)
            except BudgetError:
                if not attempt:
                    raise
                break
            waited += drawn[0].tokens
            [text] = self._worded(drawn) if result.value is None else [result.value]
            if text is not None and (await judge.verify([Completion(text)]))[0].correct:
                return Kept(text, None, waited)
        return Kept(None, None, waited, "no value was accepted")

    async def _draw(
        self, draws: Draws, shown: _Shown, count: int, temperature: float
    ) -> tuple[list[Completion], list[Result]]:
        """Draw programs, run them, and write down what they gave."""
        requests = draws.requests(
            count,
            shown.messages,
            temperature=temperature,
            max_tokens=draws.sampling.max_tokens or self.max_tokens,
            stop=shown.stop,
        )
        first = len(draws.made)
        drawn = await draws.complete(requests, kind="program")
        results = await self._run([program_of(completion.text) for completion in drawn])
        for place, result in enumerate(results, first):
            known = {"value": result.value, "error": result.error}
            said = {name: text for name, text in known.items() if text}
            draws.remark(place, **said, **shown.remarks)
        return drawn, results

    async def _run(self, programs: Sequence[str | None]) -> list[Result]:
        """Run programs beside the event loop; cancelling kills those under way."""
        loop, stop = asyncio.get_running_loop(), threading.Event()

        def run(program: str | None) -> Result:
            if program is None:
                return Result(None, "there is no program")
            result = run_program(program, self._sandbox, stop)
            if result.value is None or not self.numeric:
                return result
            value = as_number(result.value, self.decimals)
            return Result(value, "" if value else f"{result.value[:100]!r} is no finite number")

        try:
            return await asyncio.gather(
                *(loop.run_in_executor(_threads(), run, program) for program in programs)
            )
        finally:
            stop.set()

    def _worded(self, drawn: Iterable[Completion]) -> list[str | None]:
        """Give the texts that hold no program, where they count."""
        return [
            one.text if self.words and one.text and program_of(one.text) is None else None
            for one in drawn
        ]

    # --- the prompt -------------------------------------------------------------------------------

    @functools.cached_property
    def _sandbox(self) -> Sandbox:
        return Sandbox(Limits(seconds=self.seconds, cpu_seconds=math.ceil(self.seconds)))

    @functools.cached_property
    def _embedder(self) -> Embedder:
        return make_embedder(self.embed, self.embed_url)

    @functools.cached_property
    def _examples(self) -> list[Example]:
        found = read_examples(self.examples) if self.examples is not None else []
        if self.examples is not None and not any(one.solved for one in found):
            raise UsageError(
                f"knob 'examples': no row of {self.examples} has a program that is right",
                mend="give rows with question and program, or the answers.jsonl of a run of "
                "program-prompting",
            )
        return found

    @functools.cached_property
    def _vectors(self) -> NDArray[np.float32]:
        return self._embedder.embed([example.question for example in self._examples])

    async def _prompt(self, draws: Draws) -> _Shown:
        """Word the problem, with the examples for it."""
        *before, last = draws.problem.messages
        chosen, remarks = await self._choose(draws)
        if self.layout == "text" and chosen:
            examples = [
                self.texts.fill(
                    "example",
                    question=one.question.strip(),
                    program=re.sub(r"\n{3,}", "\n\n", one.program),
                )
                for one in chosen
            ]
            asked = self.texts.fill(
                "text", examples=_STOP.join(examples), question=last.content.strip()
            )
            return _Shown([*before, Message("user", asked)], remarks, (_STOP,))
        turns = [
            turn
            for one in chosen
            for turn in (
                Message("user", self.texts.fill("ask", question=one.question)),
                Message("assistant", self.texts.fill("program", program=one.program)),
            )
        ]
        systems = [turn for turn in before if turn.role == "system"]
        spoken = [turn for turn in before if turn.role != "system"]
        asked = self.texts.fill("ask", question=last.content)
        return _Shown([*systems, *turns, *spoken, Message("user", asked)], remarks)

    async def _choose(self, draws: Draws) -> tuple[list[Example], dict[str, Any]]:
        """Find the examples for a problem, and what is to be said of them."""
        if not self._examples or not self.shown:
            return [], {}
        question = draws.problem.question
        pool = self._vectors  # once, and not in a thread for each problem
        query = await asyncio.to_thread(self._embedder.embed, [question])
        [similarity] = similarities(query, pool)
        picked = retrieve(
            similarity,
            [one.solved for one in self._examples],
            count=self.shown,
            order=self.order,
            exclude=[
                place
                for place, one in enumerate(self._examples)
                if one.question.strip() == question.strip()
            ],
            most=self.most_similarity,
            rng=draws.random(),
        ).tolist()
        kept = self._fit(picked)
        remarks: dict[str, Any] = {
            "examples": ", ".join(self._examples[place].id for place in kept),
            "similarity": round(float(similarity[kept].max()), 4) if kept else None,
            "dropped": len(picked) - len(kept),
        }
        said = {name: value for name, value in remarks.items() if value}
        return [self._examples[place] for place in kept], said

    def _fit(self, picked: Sequence[int]) -> list[int]:
        """Drop the least similar until the examples are short enough."""
        kept = list(picked)
        if self.prompt_characters is None:
            return kept
        lengths = {p: len(self._examples[p].question + self._examples[p].program) for p in kept}
        while sum(lengths[place] for place in kept) > self.prompt_characters:
            kept.pop(0 if self.order == "least-similar" else -1)
        return kept


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), "program-prompting")


# --- examples -------------------------------------------------------------------------------------


def similarities(queries: ArrayLike, pool: ArrayLike) -> NDArray[np.float64]:
    """Give the cosine similarity of vectors to each of a pool.

    Parameters
    ----------
    queries : array_like of float, shape (m, d)
    pool : array_like of float, shape (n, d)
        Of any length; a vector of zeros is like no other.

    Returns
    -------
    ndarray of float64, shape (m, n)
        Rounded to 6 digits, so that equal vectors are equally similar on every machine.

    Examples
    --------
    >>> similarities([[1.0, 0.0]], [[0.5, 0.0], [3.0, 4.0]]).tolist()
    [[1.0, 0.6]]
    """
    ours, theirs = (directions(np.asarray(one, np.float32)) for one in (queries, pool))
    return np.asarray((ours @ theirs.T).astype(np.float64).round(6), np.float64)


def retrieve(
    similarity: ArrayLike,
    solved: ArrayLike | None = None,
    *,
    count: int = 8,
    order: Order = "most-similar",
    exclude: Sequence[int] = (),
    most: float = 1.0,
    rng: RandomState = 0,
) -> NDArray[np.int64]:
    """Choose the examples for a question.

    Parameters
    ----------
    similarity : array_like of float, shape (n,)
        Of each example to the question; equal ones come in their order.
    solved : array_like of bool, shape (n,), optional
        Which may be chosen.
    count : int
        How many; fewer where there are no more.
    order : {'most-similar', 'least-similar', 'random', 'fixed'}
        ``least-similar`` is the reverse of ``most-similar``.
    exclude : sequence of int
        Examples that are left out.
    most : float
        Those more similar than this are left out; 1 leaves out none.
    rng : int, numpy.random.Generator or None
        Draws the random ones.

    Returns
    -------
    ndarray of int64
        Indices, in the order in which they are shown.

    Raises
    ------
    ValueError
        If shapes differ, or a similarity is NaN.

    References
    ----------
    arXiv 2305.18170

    Examples
    --------
    >>> retrieve([0.2, 0.9, 0.5], [True, False, True], count=2).tolist()
    [2, 0]
    """
    near = np.asarray(similarity, np.float64)
    allowed = np.ones(len(near), bool) if solved is None else np.array(solved, bool)
    if near.ndim != 1 or allowed.shape != near.shape or np.isnan(near).any():
        raise ValueError(f"{near.shape} similarities for {allowed.shape} examples, or NaN")
    allowed[list(exclude)] = False
    if most < 1:
        allowed &= near <= most
    ranks: NDArray[np.int64] = np.arange(len(near))
    if order == "random":
        ranks = generator(rng).permutation(len(near))
    elif order != "fixed":
        ranks = np.argsort(-near, kind="stable")
        ranks = ranks[::-1] if order == "least-similar" else ranks
    return np.asarray(ranks[allowed[ranks]][:count], np.int64)
