"""Refine in rounds: score every answer, and show the model its best and its worst so far.

Use it where a verifier can tell better answers from worse, and the model can mend an answer it is
shown. If the model cannot, `repeated` with `best-of-n` gets as much out of the same calls, side by
side. With a noisy verifier the kept best is often only the luckiest: it may lose to blind revision
(`revise=last`), and `ratings` helps. `samplewise.measure.refinement` works out both. A verifier
that knows the right answers makes this an oracle: in use, name a check of your own by `accept`.

Cost: iterations x candidates completions, the candidates of a round side by side, and one more a
round for a critique. From the second round on a prompt holds up to two answers more: compare at
equal tokens, too.

Source: arXiv 2504.01931. Reconstructed: the wording, the defaults, the rules to stop, and how the
critic is asked; the paper's prompts were not to be had.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np

from samplewise.answer.base import Judge, Kept, Prompted
from samplewise.answer.draws import Draws
from samplewise.errors import BudgetError, UsageError
from samplewise.models.completion import Completion
from samplewise.problems import Message

__all__ = ["IterativeRefinement", "Tried", "amended", "fitted", "pick", "without_marks"]

Ties: TypeAlias = Literal["first", "last", "random"]


@dataclass(frozen=True)
class IterativeRefinement(Prompted):
    """Refine the best answer in rounds, by what a verifier says of all answers so far.

    The first round asks the problem alone. Every later one shows the answer with the highest score
    and that with the lowest, and asks for a better one. What is kept is the best of all, whatever
    came last. One candidate a round is the paper's loop; one round is best of n.

    Parameters
    ----------
    iterations : int
        Rounds at most.
    candidates : int
        Answers a round, all drawn from one prompt. ``iterations`` times this is the most answers a
        problem is given.
    feedback : {'none', 'reward', 'text', 'both'}
        What a later round is told: nothing, so that it samples anew (best of n); the best and the
        worst answer with their scores; the best and a critique of it; or all of these.
    critic : {'model', 'verifier'}
        Who writes the critique: the model, in a completion of its own, or the verifier, whose
        reason for the verdict it then is (a failed test, say).
    revise : {'best', 'last', 'shuffled'}
        ``last`` and ``shuffled`` are the rivals that the loop is measured by. ``last`` revises the
        last answer whatever its score, and keeps the last (Self-Refine); ``shuffled`` shows
        answers at random in the places of the best and the worst, beside the scores of the real
        ones, and keeps the best: what it gains is owed to sampling alone.
    show_worst : bool
        Whether the worst answer is shown; never if it has the score or the text of the best.
    show_scores : bool
        Whether scores are shown. Marks that an answer copies from the prompt are taken out of it.
    stop_at : float, optional
        The score from which on an answer is good enough to stop.
    patience : int, optional
        Rounds in a row without a higher score after which to stop.
    ties : {'first', 'last', 'random'}
        Which of equally good answers is the best. With scores of 0 and 1 alone, ``first`` refines
        the first answer until one is right; ``last`` moves on.
    ratings : int
        How often the verifier scores an answer; the mean counts. More than 1 is for verifiers that
        waver, or for `noise`.
    noise : float
        Standard deviation of a normal error added to each rating: how good must a verifier be?
    sparse : bool
        Whether the score is only 1 for an accepted answer, and 0 for others.
    most_shown : int
        Characters of earlier answers in a prompt. The best is shown whole all the same, and the
        worst is cut to what is left.
    prompts : str, optional
        A folder with texts that take the place of ours, ``NAME.txt`` each.

    Raises
    ------
    UsageError
        If a knob is out of range.

    Notes
    -----
    An answer whose score is not a number is neither best nor worst; if no answer has a score, the
    first is kept, and the reason says so. At temperature 0 a prompt that was asked before would
    only give the same answers, and ends the loop. Every answer is remarked with its round, its
    score and the critique it was given, the kept one with why the loop stopped: ``iterations``,
    ``stop_at``, ``patience``, ``budget`` or ``repeat``.

    References
    ----------
    arXiv 2504.01931, "Review, Refine, Repeat: Understanding Iterative Decoding of AI Agents with
    Dynamic Evaluation and Selection"
    """

    iterations: int = 4
    candidates: int = 1
    feedback: Literal["none", "reward", "text", "both"] = "reward"
    critic: Literal["model", "verifier"] = "model"
    revise: Literal["best", "last", "shuffled"] = "best"
    show_worst: bool = True
    show_scores: bool = True
    stop_at: float | None = None
    patience: int | None = None
    ties: Literal["first", "last", "random"] = "first"
    ratings: int = 1
    noise: float = 0.0
    sparse: bool = False
    most_shown: int = 16_000

    name: ClassVar[str] = "iterative-refinement"
    aliases: ClassVar[tuple[str, ...]] = ("iad",)
    paper: ClassVar[str] = "2504.01931"
    cost: ClassVar[str] = "iterations x candidates completions, rounds in turn"
    wording: ClassVar[str] = "iterative-refinement"
    verifies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("iterations", "candidates", "ratings", "most_shown"):
            if getattr(self, knob) < 1:
                raise UsageError(f"knob {knob!r} is {getattr(self, knob)}", mend="give 1 or more")
        if self.patience is not None and self.patience < 1:
            raise UsageError(f"knob 'patience' is {self.patience}", mend="give 1 or more, or none")
        if not 0 <= self.noise < math.inf:
            raise UsageError(f"knob 'noise' is {self.noise}", mend="give 0 or more")

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Go round until there is a reason to stop, and keep the best."""
        run = _Run(draws, judge, draws.random())
        stopped = await self._loop(run)
        if not run.tried:
            return Kept(None, sequential_tokens=run.waited, reason="no completion held an answer")
        kept, reason = run.tried[0], "no answer could be scored"
        if self.revise == "last":
            kept, reason = run.tried[-1], ""
        elif run.scored:
            kept, reason = pick(run.scored, self.ties, run.rng), ""
        draws.remark(kept.place, stopped=stopped)
        same = draws.made[kept.place].text == kept.text
        return Kept(kept.text, kept.place if same else None, run.waited, reason)

    async def _loop(self, run: _Run) -> str:
        """Give why it stopped."""
        stale = 0
        for iteration in range(1, self.iterations + 1):
            before = run.top
            try:
                if not await self._round(run, iteration):
                    return "repeat"
            except BudgetError:
                if not run.draws.made:
                    raise
                return "budget"
            if self.stop_at is not None and run.top >= self.stop_at:
                return "stop_at"
            stale = 0 if run.top > before else stale + 1
            if stale == self.patience:
                return "patience"
        return "iterations"

    async def _round(self, run: _Run, iteration: int) -> bool:
        """Draw and score the candidates of one round; False if it would only repeat another."""
        shown = self._shown(run)
        parents = [one.place for one in shown]
        critique, critique_place = await self._criticised(run, shown)
        turns = self._turns(run, shown, critique)
        if run.tried and turns in run.asked and run.draws.sampling.temperature == 0:
            return False
        run.asked.add(turns)
        places = await self._drawn(run, turns, parents + critique_place)
        new = await self._scored(run, places, marked=bool(shown) and self._marks)
        for one in new:
            told = {"score": one.score} if one.score > -math.inf else {"unscored": one.reason}
            run.draws.remark(one.place, iteration=iteration, **told)
            if critique:
                run.draws.remark(one.place, feedback=critique)
        run.tried += new
        return True

    @property
    def _marks(self) -> bool:
        return self.show_scores and self.feedback in ("reward", "both")

    def _shown(self, run: _Run) -> list[Tried]:
        """Choose what the next round is shown: one answer, or the best and the worst."""
        if self.feedback == "none":
            return []
        if self.revise == "last":
            return run.tried[-1:]
        if not run.scored:
            return []
        best = pick(run.scored, self.ties, run.rng)
        worst = pick(run.scored, self.ties, run.rng, lowest=True)
        contrast = self.show_worst and self.feedback != "text" and worst.score < best.score
        shown = [best, worst] if contrast else [best]
        if self.revise == "shuffled":
            order = run.rng.permutation(len(run.scored))
            shown = [
                run.scored[place]._replace(score=one.score)
                for place, one in zip(order, shown, strict=False)
            ]
        return fitted(shown, self.most_shown)

    async def _criticised(self, run: _Run, shown: Sequence[Tried]) -> tuple[str, list[int]]:
        """Give a critique of what is shown first, and the places of completions it is made of."""
        if self.feedback not in ("text", "both") or not shown:
            return "", []
        if self.critic == "verifier":
            return shown[0].reason, []
        asked = self.texts.fill("criticise", answer=shown[0].text, score=self._mark(shown[0]))
        place = len(run.draws.made)
        [critique] = await run.draws.complete(
            run.draws.requests(1, amended(run.draws.problem.messages, asked)),
            kind="critique",
            parents=[[shown[0].place]],
        )
        run.waited += critique.tokens
        text = critique.text.strip()
        return text, [place] if text else []

    def _turns(self, run: _Run, shown: Sequence[Tried], critique: str) -> tuple[Message, ...]:
        """Write what a round asks."""
        messages = run.draws.problem.messages
        if not shown:
            return messages
        names = ["last"] if self.revise == "last" else ["best", "worst"]
        parts = [
            self.texts.fill(name, answer=one.text, score=self._mark(one))
            for name, one in zip(names, shown, strict=False)
        ]
        if critique:
            parts.append(self.texts.fill("review", which=names[0], review=critique))
        parts.append(self.texts.fill("surpass" if len(shown) == 1 else "contrast"))
        return amended(messages, "\n\n".join(parts))

    def _mark(self, one: Tried) -> str:
        return f" [score {one.score:.4g}]" if self._marks and one.score > -math.inf else ""

    async def _drawn(
        self, run: _Run, turns: tuple[Message, ...], parents: Sequence[int]
    ) -> list[int]:
        """Draw the candidates of one round, and give their places."""
        draws, first = run.draws, len(run.draws.made)
        while missing := first + self.candidates - len(draws.made):
            try:
                await draws.complete(draws.requests(missing, turns), parents=[parents] * missing)
            except BudgetError:
                if len(draws.made) == first:
                    raise
                break  # what was drawn before is a round of its own
        run.waited += max(one.tokens for one in draws.made[first:])
        return list(range(first, len(draws.made)))

    async def _scored(self, run: _Run, places: Iterable[int], marked: bool) -> list[Tried]:
        """Score the completions that hold an answer."""
        texts = {}
        for place in places:
            one = run.draws.made[place]
            text = without_marks(one.text) if marked else one.text
            if one.finish != "failed" and text.strip():
                texts[place] = text
        verdicts = await run.judge.verify([Completion(text) for text in texts.values()])
        ratings = [verdicts]
        for _ in range(1, self.ratings):  # asked anew, as the judge would only remember
            again = await run.judge.verifier.verify(run.draws.problem, list(texts.values()))
            ratings.append(again)
        rated = [
            [float(one.correct) if self.sparse else one.score for one in rating]
            for rating in ratings
        ]
        errors = run.rng.normal(0, self.noise, np.shape(rated)) if self.noise else 0.0
        scores = np.mean(np.array(rated) + errors, axis=0)
        return [
            Tried(text, place, -math.inf if math.isnan(score) else float(score), verdict.reason)
            for (place, text), score, verdict in zip(texts.items(), scores, verdicts, strict=True)
        ]


class Tried(NamedTuple):
    """An answer, and what the verifier says of it."""

    text: str
    place: int
    """In the order of asking."""
    score: float
    """Minus infinity where there is none."""
    reason: str = ""
    """Of the verdict."""


@dataclass
class _Run:
    """How far the loop of one problem has come."""

    draws: Draws
    judge: Judge
    rng: np.random.Generator
    tried: list[Tried] = field(default_factory=list)
    asked: set[tuple[Message, ...]] = field(default_factory=set)
    waited: int = 0

    @property
    def scored(self) -> list[Tried]:
        """Those that have a score."""
        return [one for one in self.tried if one.score > -math.inf]

    @property
    def top(self) -> float:
        """The highest score so far."""
        return max((one.score for one in self.tried), default=-math.inf)


def pick(
    tried: Sequence[Tried], ties: Ties, rng: np.random.Generator, *, lowest: bool = False
) -> Tried:
    """Pick the answer with the highest score, or the lowest.

    Examples
    --------
    >>> tried = [Tried("a", 0, 1.0), Tried("b", 1, 2.0), Tried("c", 2, 2.0)]
    >>> [pick(tried, ties, np.random.default_rng(0)).text for ties in ("first", "last")]
    ['b', 'c']
    """
    wanted = (min if lowest else max)(one.score for one in tried)
    level = [one for one in tried if one.score == wanted]
    if ties == "random":
        return level[int(rng.integers(len(level)))]
    return level[0 if ties == "first" else -1]


def fitted(shown: Sequence[Tried], most: int) -> list[Tried]:
    """Cut the second answer to what the first leaves of `most` characters, or leave it out.

    It is left out, too, if its text is that of the first: there is nothing to contrast.

    Examples
    --------
    >>> [one.text for one in fitted([Tried("good", 0, 1.0), Tried("not so good", 1, 0.0)], 10)]
    ['good', 'not so [...]']
    """
    first, *others = shown
    left = most - len(first.text)
    kept = [first]
    for one in others:
        if one.text != first.text and left > 0:
            text = one.text if len(one.text) <= left else f"{one.text[:left].rstrip()} [...]"
            kept.append(one._replace(text=text))
    return kept


def amended(messages: Sequence[Message], added: str) -> tuple[Message, ...]:
    r"""Add a text to the user's last turn: roles still take turns, and the task stays whole.

    Examples
    --------
    >>> amended([Message("user", "2 + 3?"), Message("assistant", "It is")], "Think.")[0].content
    '2 + 3?\n\nThink.'
    """
    place = max((i for i, turn in enumerate(messages) if turn.role == "user"), default=None)
    if place is None:
        return (*messages, Message("user", added))
    asked = Message("user", f"{messages[place].content}\n\n{added}")
    return (*messages[:place], asked, *messages[place + 1 :])


_MARK = re.compile(r"[ \t]*\[score [^\]\s]+\]")


def without_marks(text: str) -> str:
    """Take out the marks of scores that an answer has copied from its prompt.

    Examples
    --------
    >>> without_marks("It is 5. [score 0.7]")
    'It is 5.'
    """
    return _MARK.sub("", text)
