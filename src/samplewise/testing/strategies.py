"""The contract of every strategy that answers, and a scripted model to hold it to."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import pickle
import re
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from samplewise.answer import Answers, Sampling, Strategy, answer
from samplewise.budget import Budget
from samplewise.ledger import Ledger
from samplewise.models.completion import (
    Chunk,
    Completion,
    Enough,
    Model,
    Price,
    Request,
    Seen,
)
from samplewise.problems import Problem
from samplewise.testing.common import check_bad_knobs, check_names, found_elsewhere
from samplewise.verify.base import Verdict, Verifier

__all__ = ["ScriptedModel", "ScriptedVerifier", "check_strategy", "strategy_checks"]

Script: TypeAlias = Callable[[Request, int], Completion]
"""Gives the completion of a request; the number counts requests from 0."""


class ScriptedModel(Model):
    """A model that says what it is told to: what a strategy does can be counted.

    Parameters
    ----------
    script : callable
        ``script(request, number)`` gives the completion. In a race all draw a token a step.

    Attributes
    ----------
    asked : list of Request
        Every request that came.
    cancelled : int
        Draws of a race that were cancelled.

    Examples
    --------
    >>> import asyncio
    >>> model = ScriptedModel(lambda request, number: Completion(f"It is {number}.", tokens=4))
    >>> asyncio.run(model.complete([Request.ask("What?")] * 2))[1].text
    'It is 1.'
    """

    name = "scripted"

    def __init__(self, script: Script) -> None:
        self._script = script
        self.asked: list[Request] = []
        self.cancelled = 0

    async def complete(
        self, requests: Sequence[Request], seen: Seen | None = None
    ) -> list[Completion]:
        """Give what the script says."""
        found = [self._next(request) for request in requests]
        for place, completion in enumerate(found):
            await asyncio.sleep(0)
            if seen:
                seen(place, completion)
        return found

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Give what the script says, after its tokens."""
        completion = self._next(request)
        for _ in range(completion.tokens):
            await asyncio.sleep(0)
            yield Chunk(tokens=1)
        yield Chunk(completion.text, completion=completion)

    async def race(self, requests: Sequence[Request], enough: Enough) -> list[Completion]:
        """Step through all side by side, and stop in the step where those that ended are enough."""
        whole = [self._next(request) for request in requests]
        ended: list[Completion] = []
        for step in sorted({completion.tokens for completion in whole}):
            ended += [completion for completion in whole if completion.tokens == step]
            if enough(ended):
                break
        self.cancelled += sum(completion.tokens > step for completion in whole)
        return [
            completion
            if completion.tokens <= step
            else dataclasses.replace(completion, text="", finish="cancelled", tokens=step)
            for completion in whole
        ]

    def _next(self, request: Request) -> Completion:
        self.asked.append(request)
        return self._script(request, len(self.asked) - 1)


class ScriptedVerifier(Verifier):
    """Accepts texts whose last word is the problem's answer; that word is what votes count."""

    name = "last-word"

    async def verify(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """Compare last words."""
        words = [self.extract(text) for text in texts]
        return [
            Verdict(word == problem.answer, float(word == problem.answer), word) for word in words
        ]

    def extract(self, text: str) -> str | None:
        """Give the last word."""
        return text.split()[-1] if text.split() else None


PROBLEMS = [Problem.ask(f"What is {n} + {n}?", id=f"p{n}", answer=str(2 * n)) for n in range(5)]


def strategy_checks() -> list[Callable[[Strategy], None]]:
    """List the checks that every strategy must pass, each a function of a strategy."""
    return [
        _names,
        _bad_knobs,
        _answers_every_problem,
        _same_seed_same_answers,
        _other_seed_other_seeds,
        _same_answers_in_another_process,
        _pickles,
        _pays_nothing_twice,
        _keeps_within_samples,
        _keeps_within_tokens,
        _keeps_within_dollars,
        _keeps_within_a_problem,
        _failed_completions_are_listed,
        _empty_completions_stop_nothing,
        _unfinished_completions_stop_nothing,
        _kept_text_is_what_was_drawn,
        _counts_every_token,
    ]


def check_strategy(strategy: Strategy) -> None:
    """Run every check on one strategy.

    Raises
    ------
    AssertionError
        If it breaks the contract.
    """
    for check in strategy_checks():
        check(strategy)


def guesses(request: Request, number: int) -> Completion:
    """Guess: right for about half of the seeds, of a length that the seed says."""
    draw = hashlib.blake2b(repr((request.messages, request.seed)).encode()).digest()
    question = next(turn.content for turn in request.messages if turn.role == "user")
    n = int(re.findall(r"What is (\d+)", question)[0])  # a strategy may put words around it
    said = 2 * n if draw[0] % 2 else draw[1] % 7
    tokens = 3 + draw[2] % 20
    finish = "stop"
    if request.max_tokens is not None and tokens > request.max_tokens:
        tokens, finish = request.max_tokens, "length"
    wanted = request.log_probabilities
    return Completion(
        f"I say {said}",
        "stop" if finish == "stop" else "length",
        prompt_tokens=9,
        tokens=tokens,
        log_probabilities=tuple(-0.01 * draw[3] for _ in range(tokens)) if wanted else None,
        seconds=tokens / 10,
    )


def run(strategy: Strategy, model: Model | None = None, **options: Any) -> Answers:
    """Answer the five sums of the checks."""
    options = {"rng": 0, "verifier": ScriptedVerifier(), **options}
    return answer(PROBLEMS, model or ScriptedModel(guesses), strategy, **options)


def digest(strategy: Strategy, seed: int = 0) -> str:
    """Hash all that a strategy drew and kept."""
    lines = [
        (one.problem.id, one.text, one.place, [done.text for done in one.completions])
        for one in run(strategy, rng=seed).answers
    ]
    return hashlib.blake2b(repr(lines).encode()).hexdigest()


def _names(strategy: Strategy) -> None:
    check_names(strategy)


def _bad_knobs(strategy: Strategy) -> None:
    check_bad_knobs(strategy)


def _answers_every_problem(strategy: Strategy) -> None:
    answers = run(strategy).answers
    assert [one.problem.id for one in answers] == [problem.id for problem in PROBLEMS]
    assert all(one.state in ("answered", "abstained") for one in answers)
    assert any(one.text for one in answers), f"{strategy.name} kept no answer of five"


def _same_seed_same_answers(strategy: Strategy) -> None:
    assert digest(strategy) == digest(strategy), f"{strategy.name} is not decided by the seed"


def _other_seed_other_seeds(strategy: Strategy) -> None:
    seeds = []
    for seed in (0, 1):
        model = ScriptedModel(guesses)
        run(strategy, model, rng=seed)
        seeds.append({request.seed for request in model.asked})
    assert not seeds[0] & seeds[1], f"{strategy.name} asks with the same seeds for another rng"


def _same_answers_in_another_process(strategy: Strategy) -> None:
    assert found_elsewhere(strategy, "strategies", "s.digest(method)") == digest(strategy)


def _pickles(strategy: Strategy) -> None:
    assert pickle.loads(pickle.dumps(strategy)) == strategy


def _pays_nothing_twice(strategy: Strategy) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        with Ledger(path) as ledger:
            first = run(strategy, ledger=ledger)
        again = ScriptedModel(guesses)
        with Ledger(path) as ledger:
            second = run(strategy, again, ledger=ledger)
    assert not again.asked, f"{strategy.name} paid {len(again.asked)} completions twice"
    for one, other in zip(first.answers, second.answers, strict=True):
        assert (one.text, one.place) == (other.text, other.place)
        assert list(one.completions) == list(other.completions)


def _keeps_within(strategy: Strategy, budget: str, **options: Any) -> tuple[ScriptedModel, Answers]:
    model = ScriptedModel(guesses)
    return model, run(strategy, model, budget=Budget.parse(budget), **options)


def _keeps_within_samples(strategy: Strategy) -> None:
    model, answers = _keeps_within(strategy, "3 samples")
    assert len(model.asked) <= 3, f"{strategy.name} drew {len(model.asked)} of 3 completions"
    assert len(answers) == len(PROBLEMS)


def _keeps_within_tokens(strategy: Strategy) -> None:
    _, answers = _keeps_within(strategy, "300 tokens", sampling=Sampling(max_tokens=30))
    spent = sum(one.tokens + one.prompt_tokens for one in answers.answers)
    assert spent <= 300, f"{strategy.name} spent {spent} of 300 tokens"


def _keeps_within_dollars(strategy: Strategy) -> None:
    price = Price(1.0, 10.0)
    _, answers = _keeps_within(strategy, "$0.002", sampling=Sampling(max_tokens=30), price=price)
    spent = sum(price.of(done) for one in answers.answers for done in one.completions)
    assert spent <= 0.002, f"{strategy.name} spent ${spent}"


def _keeps_within_a_problem(strategy: Strategy) -> None:
    answers = run(strategy, limit=1).answers
    assert all(len(one.completions) <= 1 for one in answers), (
        f"{strategy.name} drew on when the problem's tokens were spent"
    )


def _failed_completions_are_listed(strategy: Strategy) -> None:
    broken = ScriptedModel(lambda request, number: Completion("", "failed", error="status 500"))
    for one in run(strategy, broken).answers:
        assert (one.state, one.text) == ("failed", None)
        assert "status 500" in one.reason


def _empty_completions_stop_nothing(strategy: Strategy) -> None:
    silent = ScriptedModel(
        lambda request, number: Completion("", tokens=1, log_probabilities=(-1.0,))
    )
    assert len(run(strategy, silent)) == len(PROBLEMS)


def _unfinished_completions_stop_nothing(strategy: Strategy) -> None:
    endless = ScriptedModel(
        lambda request, number: Completion("and so", "length", tokens=9, log_probabilities=(-1.0,))
    )
    assert len(run(strategy, endless)) == len(PROBLEMS)


def _kept_text_is_what_was_drawn(strategy: Strategy) -> None:
    for one in run(strategy).answers:
        if one.place is not None:
            assert one.completions[one.place].text == one.text
            assert one.correct == one.verdicts[one.place].correct


def _counts_every_token(strategy: Strategy) -> None:
    for one in run(strategy).answers:
        assert one.tokens == sum(done.tokens for done in one.completions)
        assert 0 < one.sequential_tokens <= one.tokens
