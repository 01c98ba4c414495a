"""Iterative deepening: interrupt an answer at growing budgets, and have it checked each time.

Use it with models that reason at length and go on with an answer they have begun. Interruptions
pay where they repair more than they spoil, which `samplewise.measure.deepening` puts in numbers.
Compare at equal tokens: interrupted answers are longer.

The baselines are settings of the same knobs: ``gamma=1`` interrupts at even distances,
``schedule="random"`` anywhere; `first_budget` at or above `tokens` never, and with
``on_eos="reflect"`` besides only where the model would end: once with ``reflections=1``, as in
budget forcing with more. Plain sampling is the method `repeated`, budget forcing itself
`budget-forcing`.

Cost: n answers side by side, each in O(log length) stretches in turn; without a cache of the
prefix, each answer is read gamma / (gamma - 1) times over. Source: arXiv 2502.05449.

Reconstructed: the paper's pseudo-code, defaults and sentence could not be read. The geometric
growth, an interruption at every step of it and the selectors are the paper's; the two schedules,
the numbers, where the text is cut, and the forced answer are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from samplewise.answer.base import Judge, Kept, Prompted
from samplewise.answer.draws import Draws
from samplewise.answer.repeated import Selector, select
from samplewise.errors import BudgetError, UsageError
from samplewise.measure.deepening import thresholds
from samplewise.models.completion import Completion, Request
from samplewise.problems import Message

__all__ = ["IterativeDeepening", "cut_back", "cut_forward", "in_a_loop"]

_OPEN, _CLOSE = "<think>", "</think>"
"""What stands around the thoughts of reasoning models."""
_BREAK = re.compile(r"(?<=[.!?])\s+|\n+")
_WHOLE = re.compile(r"(?:[.!?][\"')*]*|\n)\s*$")
"""The end of a sentence or line."""
_NEAR = 200
"""Characters that are given up, at most, so that no sentence is cut."""


@dataclass(frozen=True)
class IterativeDeepening(Prompted):
    """Interrupt answers at growing budgets of tokens, ask for another check, and keep one.

    The model must be able to go on with an answer it has begun: models on this machine and vLLM do.
    A reasoning model is interrupted only while it thinks.

    Reconstructed: see the module.

    Parameters
    ----------
    samples : int
        Answers a problem, 1 or more.
    selector : {'majority', 'verifier', 'best-of-n', 'weighted'}
        As `repeated` takes it. What a score is of, the whole answer or its last step, is up to the
        verifier.
    first_budget : int
        Tokens before the first interruption, 1 or more. Only tokens of the model count, those
        that were cut away among them.
    gamma : float
        How many times the budget grows at each, 1 or more.
    schedule : {'cumulative', 'segment', 'random'}
        Whether `gamma` is the growth of the whole length or of the stretch between interruptions;
        or as many interruptions as the first has below `tokens`, anywhere below them.
    spacing : int
        The fewest tokens between two interruptions.
    tokens : int
        Tokens of one answer, at most, those of a forced answer among them.
    answer_tokens : int
        Of these, for an answer that is asked for where the tokens end and none can be read; 0
        forces none.
    on_eos : {'stop', 'reflect'}
        What to do when the model ends its answer: let it, or ask for another check.
    reflections : int
        With 'reflect', no answer with so many interruptions is asked for another.
    snap : {'back', 'finish', 'none'}
        Where to interrupt: after the last whole sentence or line, where one ends near; after the
        sentence at hand, which takes a further draw; or at the very token.
    allowance : int
        With 'finish', tokens that may be drawn to end a sentence.

    References
    ----------
    arXiv 2502.05449
    """

    samples: int = 4
    selector: Selector = "majority"
    first_budget: int = 1024
    gamma: float = 2.0
    schedule: Literal["cumulative", "segment", "random"] = "cumulative"
    spacing: int = 64
    tokens: int = 16_384
    answer_tokens: int = 256
    on_eos: Literal["stop", "reflect"] = "stop"
    reflections: int = 3
    snap: Literal["back", "finish", "none"] = "back"
    allowance: int = 48

    name: ClassVar[str] = "iterative-deepening"
    aliases: ClassVar[tuple[str, ...]] = ("id-sampling",)
    paper: ClassVar[str] = "2502.05449"
    cost: ClassVar[str] = "n completions side by side, each in O(log tokens) stretches"
    wording: ClassVar[str] = "iterative-deepening"

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("samples", "first_budget", "spacing", "tokens", "allowance"):
            if getattr(self, knob) < 1:
                raise UsageError(f"knob {knob!r} is {getattr(self, knob)}", mend="give 1 or more")
        if not 1 <= self.gamma < float("inf"):
            raise UsageError(f"knob 'gamma' is {self.gamma}", mend="give 1 or more")
        if self.reflections < 0:
            raise UsageError(f"knob 'reflections' is {self.reflections}", mend="give 0 or more")
        if not 0 <= self.answer_tokens < self.tokens:
            raise UsageError(
                f"knob 'answer_tokens' is {self.answer_tokens}, of {self.tokens} tokens",
                mend="give 0 or more, and less than the tokens",
            )
        for text in ("trigger", "header"):
            if not self.texts.fill(text):
                raise UsageError(f"text {text!r} is empty", mend=f"write a sentence in {text}.txt")

    def asks_verifier(self) -> bool:
        """All selectors but the plain vote do."""
        return self.selector != "majority"

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Deepen all answers side by side, and keep one."""
        random = draws.random()
        begun = [_Begun(self._schedule(random)) for _ in range(self.samples)]
        waited, reason = 0, ""
        while going := [one for one in begun if not one.ended]:
            try:
                waited += await self._deepen(draws, going)
            except BudgetError as error:
                reason = error.message
                for one in going:
                    one.ended = "budget"
        waited += await self._force(draws, judge, begun)
        for one in begun:
            one.tell(draws, judge)
        wholes = [whole for one in begun if (whole := one.whole(judge)).text]
        place = await select(wholes, judge, self.selector)
        if place is None:
            failed = (one.error for one in begun if one.error)
            return Kept(None, None, waited, reason or next(failed, ""))
        return Kept(wholes[place].text, None, waited)

    @property
    def _most(self) -> int:
        """Tokens of an answer before one is forced."""
        return self.tokens - self.answer_tokens

    def _schedule(self, random: np.random.Generator) -> list[int]:
        """Give the lengths at which one answer is interrupted."""
        planned = thresholds(
            self.first_budget,
            self.gamma,
            self._most,
            schedule="segment" if self.schedule == "segment" else "cumulative",
            spacing=self.spacing,
        )
        if self.schedule != "random":
            return planned
        return sorted((random.permutation(self._most - 1)[: len(planned)] + 1).tolist())

    async def _deepen(self, draws: Draws, going: Sequence[_Begun]) -> int:
        """Draw the next stretch of each answer; give the tokens waited for."""
        trigger = self.texts.fill("trigger")
        requests = []
        for one in going:
            room = self.allowance if one.finishing else self._most
            room = min(room, one.aim(self._most) - one.made)
            requests += _go_on(draws, one.prompt(trigger), max(1, room))
        pieces = await _pieces(draws, requests, going)
        for one, piece in zip(going, pieces, strict=False):
            self._take(one, piece, trigger)
        for one in going[len(pieces) :]:
            one.ended = "budget"
        return max(piece.tokens for piece in pieces)

    def _take(self, one: _Begun, piece: Completion, trigger: str) -> None:
        """Put a stretch to its answer, and decide how that goes on."""
        if piece.finish == "failed":
            one.ended, one.error = "failed", piece.error
            return
        aim = one.aim(self._most)
        one.add(piece, trigger)
        if in_a_loop(one.pieces):
            one.ended = "loop"
        elif piece.finish == "stop" and self._reflects(one, aim):
            one.reopen()
        elif one.made >= self._most:
            one.ended = "length"
        elif piece.finish != "length":
            one.ended = piece.finish
        elif aim == self._most and not one.finishing:
            one.ended = "length"
        elif one.answering:  # after its thoughts, a reasoning model heeds no interruption
            one.finishing = False
        else:
            self._interrupt(one)

    def _reflects(self, one: _Begun, aim: int) -> bool:
        """Say whether an answer that the model ended is to be checked again."""
        early = one.made < aim and len(one.interrupted) < self.reflections
        return self.on_eos == "reflect" and early

    def _interrupt(self, one: _Begun) -> None:
        """Interrupt an answer that has used up its budget, where its sentence ends."""
        if one.finishing:
            one.cut(cut_forward)
        elif self.snap == "finish" and not _WHOLE.search(one.text):
            one.finishing = True
            return
        elif self.snap == "back":
            one.cut(cut_back)
        one.interrupt()

    async def _force(self, draws: Draws, judge: Judge, begun: Sequence[_Begun]) -> int:
        """Ask for the answer where the tokens ended and none can be read."""
        cut = [one for one in begun if one.ended in ("length", "loop")]
        mute = [one for one in cut if judge.extract(one.whole(judge)) is None]
        if not mute or not self.answer_tokens:
            return 0
        header = self.texts.fill("header")
        asked = [f"{one.closed.rstrip()}\n\n{header}" for one in mute]
        requests = [
            request for text in asked for request in _go_on(draws, text, self.answer_tokens)
        ]
        try:
            pieces = await _pieces(draws, requests, mute)
        except BudgetError:
            return 0
        for one, text, piece in zip(mute, asked, pieces, strict=False):
            if piece.finish == "failed":
                one.error = piece.error
            else:
                one.text = text + piece.text
        return max(piece.tokens for piece in pieces)


@dataclass
class _Begun:
    """An answer that is drawn stretch by stretch."""

    thresholds: list[int]
    text: str = ""
    """All that was said so far, thoughts and interruptions among it."""
    made: int = 0
    """Tokens of the model."""
    interrupted: list[int] = field(default_factory=list)
    """At how many of them it was interrupted."""
    due: bool = False
    """Whether the sentence that interrupts it is still to be said."""
    finishing: bool = False
    """Whether a sentence is to be ended before that."""
    places: list[int] = field(default_factory=list)
    """Where its stretches stand among all that was drawn."""
    pieces: list[str] = field(default_factory=list)
    """What it said between interruptions."""
    earlier: list[str] = field(default_factory=list)
    """Answers that it gave and then was asked to check."""
    split: bool = False
    """Whether the backend gives thoughts apart from the answer."""
    ended: str = ""
    error: str = ""
    _start: int = 0

    @property
    def answering(self) -> bool:
        """Whether it is past its thoughts."""
        return _CLOSE in self.text

    def aim(self, most: int) -> int:
        """Give the length at which it is interrupted next; `most` if it is not."""
        if self.answering:
            return most
        left = self.thresholds[len(self.interrupted) :]
        return next((place for place in left if place > self.made), most)

    def prompt(self, trigger: str) -> str:
        """Give what the model goes on with."""
        return f"{self.text.rstrip()}\n{trigger}" if self.due else self.text

    def add(self, piece: Completion, trigger: str) -> None:
        """Add a stretch."""
        self.text, self.due = self.prompt(trigger), False
        self._start = len(self.text)
        if piece.thinking and not self.text:
            self.split, self.text = True, f"{_OPEN}\n"
        self.text += piece.thinking
        ends = piece.thinking or piece.finish == "stop"
        if self.split and not self.answering and piece.text and ends and _CLOSE not in piece.text:
            self.text += f"\n{_CLOSE}\n\n"
        self.text += piece.text
        self.made += piece.tokens
        if self.finishing:
            self.pieces[-1] += piece.thinking + piece.text
        else:
            self.pieces.append(piece.thinking + piece.text)

    def cut(self, shorten: Callable[[str], str]) -> None:
        """Shorten the stretch that came last."""
        self.text = self.text[: self._start] + shorten(self.text[self._start :])

    def interrupt(self) -> None:
        """Interrupt it here."""
        self.interrupted.append(self.made)
        self.due, self.finishing = True, False

    def reopen(self) -> None:
        """Take an answer that has ended back to where it was thought about, and interrupt it."""
        self.earlier.append(self.shown)
        self.text = self.text.partition(_CLOSE)[0]
        self.interrupt()

    @property
    def closed(self) -> str:
        """What was said, with thoughts brought to an end."""
        thinks = _OPEN in self.text and not self.answering
        return f"{self.text.rstrip()}\n{_CLOSE}" if thinks else self.text

    @property
    def shown(self) -> str:
        """What was said, without thoughts that the backend gives apart."""
        return self.text.partition(_CLOSE)[2].lstrip() if self.split else self.text

    def whole(self, judge: Judge) -> Completion:
        """Give the answer: the last one that can be read, since a check may overrule the first."""
        said = [Completion(text) for text in (self.shown, *reversed(self.earlier))]
        return next((one for one in said if judge.extract(one) is not None), said[0])

    def tell(self, draws: Draws, judge: Judge) -> None:
        """Say beside its last stretch what became of it."""
        if self.places:
            draws.remark(
                self.places[-1],
                ended=self.ended,
                interrupted_at=self.interrupted,
                calls=len(self.places),
                answer=judge.extract(self.whole(judge)),
            )


def _go_on(draws: Draws, begun: str, most: int) -> list[Request]:
    """Ask for the next stretch of an answer."""
    turns = list(draws.problem.messages)
    if begun:
        turns.append(Message("assistant", begun))
    return draws.requests(1, turns, max_tokens=most)


async def _pieces(
    draws: Draws, requests: Sequence[Request], begun: Sequence[_Begun]
) -> list[Completion]:
    """Draw a stretch of each answer, and note where it stands."""
    first = len(draws.made)
    parents = [one.places[-1:] for one in begun]
    pieces = await draws.complete(requests, kind="piece", parents=parents)
    for place, one in enumerate(begun[: len(pieces)], first):
        one.places.append(place)
    return pieces


def cut_back(text: str) -> str:
    """Cut a text back to its last whole sentence or line, where one ends near.

    Examples
    --------
    >>> cut_back("It is 3.5 m. So we ha"), cut_back("x = 12")
    ('It is 3.5 m.', 'x = 12')
    """
    if _WHOLE.search(text):
        return text
    ends = [found.start() for found in _BREAK.finditer(text)]
    near = ends and ends[-1] and len(text) - ends[-1] <= _NEAR
    return text[: ends[-1]] if near else text


def cut_forward(text: str) -> str:
    """Cut off what follows the first sentence or line.

    Examples
    --------
    >>> cut_forward("2.5 m long. It wei")
    '2.5 m long.'
    """
    found = _BREAK.search(text)
    return text[: found.start()] if found else text


def in_a_loop(pieces: Sequence[str], times: int = 4) -> bool:
    """Say whether the last piece says an earlier one again, or ends in sentences that repeat.

    Parameters
    ----------
    pieces : sequence of str
    times : int
        How often up to eight sentences must follow on themselves.

    Returns
    -------
    bool

    Examples
    --------
    >>> in_a_loop(["So 7.", "No, 8."]), in_a_loop(["Yes. No. " * 4]), in_a_loop(["a b", "a  b"])
    (False, True, True)
    """
    *before, last = (" ".join(piece.split()) for piece in pieces)
    if last in before:
        return True
    said = _BREAK.split(last)
    return any(
        len(said) >= times * period
        and said[-(times - 1) * period :] == said[-times * period : -period]
        for period in range(1, 9)
    )
