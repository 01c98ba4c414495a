"""Hedged sampling: a small pool with the greedy answer in it, and a choice that suits any language.

Use it where a model answers in many languages, also open-ended prompts that no vote can count. The
pool is the greedy answer and a few warm samples, which bounds what warm sampling may lose. Then
CHOPS has the judge write a checklist and choose in one call, or X-MBR keeps the answer that the
others, and samples in another language, speak for most.

Cost: n answers side by side; then 1 call of the judge (chops; 2 with the checklist apart),
n (n - 1) (mbr), n (n - 1) + n m calls and m samples (x-mbr), or 2 (n - 1) (tournament). Embeddings
from a server are not part of the run's ledger. Source: arXiv 2506.20544.
"""

from __future__ import annotations

import asyncio
import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.answer.base import Judge, Kept, Prompted
from samplewise.answer.draws import Draws
from samplewise.answer.languages import language_name, primary, script_share
from samplewise.answer.repeated import voted
from samplewise.embed import Embedder, make_embedder
from samplewise.errors import BudgetError, InputError, UsageError
from samplewise.extras import load_function
from samplewise.measure.minimum_bayes_risk import first_best, pool_scores, preference_utilities
from samplewise.measure.text_similarity import SIMILARITIES
from samplewise.measure.vectors import directions
from samplewise.models.completion import Completion, Request
from samplewise.problems import Message, Problem

__all__ = ["HedgedSampling", "read_choice", "read_preference"]

Floats: TypeAlias = NDArray[np.float64]
Pair: TypeAlias = tuple[int, int]

_JUDGED = ("checklist", "verdict", "comparison")  # kinds of draw that are calls of the judge


@dataclass(frozen=True)
class HedgedSampling(Prompted):
    """Draw the greedy answer and a few warm ones, and keep one by checklist or by agreement.

    Parameters
    ----------
    samples : int
        Answers in the pool, 1 or more; the greedy one is among them.
    temperature : float
        Of the warm ones; 0.7 to 0.9 is advised.
    temperatures : str
        Several, parted by commas, which the warm ones take in turn; in place of `temperature`.
    hedge : bool
        Whether the first of the pool is greedy.
    min_p : float, optional
        Warm answers draw only tokens with this share of the likeliest one's probability, or more;
        0.1 is a start, as the paper's value is not known to us. Not every server takes it.
    selector : str
        ``"chops"``: the judge writes a checklist, sees all answers, and names one.
        ``"mbr"``: the answer of the highest mean utility by the others.
        ``"x-mbr"``: the same, with samples in another language as further evidence, never as
        answers. ``"tournament"``: the judge's favourite goes on, round by round. ``"best-of-n"``:
        what the verifier scores highest. ``"majority"``: the most frequent final answer.
        ``"likeliest"``: the highest mean log-probability. ``"longest"``, ``"greedy"``,
        ``"random"``. Ties go to the one drawn first, which is the greedy one.
    utility : str
        What mbr and x-mbr compare by: ``"judge"``, ``"embedding"``, ``"exact"``, ``"token-f1"``,
        ``"chrf"``, ``"rouge-l"``, or ``"FILE.py:FUNCTION"`` of a text and the evidence. Only the
        judge and a multilingual embedder compare across languages.
    both_orders : bool
        Whether the judge sees each pair in both orders, which cancels its taste for a place, at
        twice the calls; else in one, chosen by chance.
    embedder, embedder_url : str
        As `samplewise.embed.make_embedder` takes them. The built-in one knows English best.
    evidence : int
        Samples in another language, for x-mbr. 0 makes it mbr.
    evidence_by : str
        How they come about: ``"instruction"`` asks the problem and for an answer in that language,
        ``"translation"`` has the model translate the problem first, ``"FILE.py:FUNCTION"`` gives
        the question of a problem in a language.
    evidence_language : str, optional
        By default English, and Chinese for English problems.
    language_field : str
        Field of a problem's row that says its language, such as ``"de"``.
    language : str, optional
        That of problems whose row does not say.
    script_share : float
        Least share of an answer's letters that are of a script its language is written in; an
        answer below it cannot win, unless all are. 0 lets all through, as answers with code need.
    checklist : {'at-once', 'apart'}
        Whether the checklist is written in the call that chooses, or in one of its own.
    shuffle : bool
        Whether the judge sees the answers in an order of chance, as it favours places.
    judge_tokens : int, optional
        Most tokens of a reply of the judge; by default as many as an answer.
    prompts : str, optional
        A folder with texts that take the place of ours.

    Notes
    -----
    Reconstructed: the paper's wording of the judge's prompts, how it makes the other-language
    samples, the form of its tournament and what it does with a reply that names no answer are not
    known to us. Here a knock-out is played, with byes; such a reply is asked for once more, warm,
    and then the greedy answer is kept. A pair that was not judged, or to no avail, is a tie. The
    judge is the model that answers: measure what is gained with another one.

    References
    ----------
    arXiv 2506.20544
    """

    samples: int = 5
    temperature: float = 0.7
    temperatures: str = ""
    hedge: bool = True
    min_p: float | None = None
    selector: Literal[
        "chops",
        "x-mbr",
        "mbr",
        "tournament",
        "best-of-n",
        "majority",
        "likeliest",
        "longest",
        "greedy",
        "random",
    ] = "chops"
    utility: str = "judge"
    both_orders: bool = True
    embedder: str = "builtin"
    embedder_url: str | None = None
    evidence: int = 3
    evidence_by: str = "instruction"
    evidence_language: str | None = None
    language_field: str = "language"
    language: str | None = None
    script_share: float = 0.0
    checklist: Literal["at-once", "apart"] = "at-once"
    shuffle: bool = True
    judge_tokens: int | None = None

    name: ClassVar[str] = "hedged-sampling"
    aliases: ClassVar[tuple[str, ...]] = ("llmonade",)
    paper: ClassVar[str] = "2506.20544"
    cost: ClassVar[str] = "n completions side by side, and 1 to O(n²) calls of the judge"
    wording: ClassVar[str] = "hedged-sampling"

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob, least in (("samples", 1), ("evidence", 0), ("judge_tokens", 1)):
            value = getattr(self, knob)
            if value is not None and value < least:
                raise UsageError(f"knob {knob!r} is {value}", mend=f"give {least} or more")
        for heat in self.heats:
            if not 0 <= heat < math.inf:
                raise UsageError(f"knob 'temperature' is {heat}", mend="give 0 or more")
        for knob in ("script_share", "min_p"):
            if not 0 <= (getattr(self, knob) or 0) <= 1:
                raise UsageError(f"knob {knob!r} is {getattr(self, knob)}", mend="give 0 to 1")
        if self.selector == "greedy" and not self.hedge:
            raise UsageError("knob 'selector' is greedy, and 'hedge' is false", mend="hedge")
        self._similarity  # noqa: B018 - a utility that is none is told before any draw
        if self.evidence_by not in ("instruction", "translation"):
            _function(self.evidence_by, "evidence_by")

    def asks_verifier(self) -> bool:
        """Only best of n does."""
        return self.selector == "best-of-n"

    @property
    def heats(self) -> tuple[float, ...]:
        """The temperatures of the warm answers.

        Examples
        --------
        >>> HedgedSampling(temperatures="0.3, 1").heats
        (0.3, 1.0)
        """
        if not self.temperatures.strip():
            return (self.temperature,)
        try:
            return tuple(float(one) for one in self.temperatures.split(","))
        except ValueError:
            raise UsageError(
                f"knob 'temperatures' is {self.temperatures!r}", mend="give 0.3,0.7,1"
            ) from None

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Draw the pool, and keep one of it."""
        language = self._language(draws.problem)
        asking = _Asking(self, draws, language)
        pool = await self._draw_pool(asking)
        failures = [one.error for one in pool if one.finish == "failed"]
        if len(failures) == len(pool):
            reason = failures[0] if failures else "the budget is spent"
            return Kept(None, sequential_tokens=asking.waited, reason=reason)
        candidates = self._candidates(pool, language)
        choice = _Choice(0)
        if len(candidates) > 1:
            choice = await self._select(asking, candidates, pool, judge)
        kept = candidates[choice.winner]
        self._remark(asking, candidates, choice)
        return Kept(kept.text, kept.places[0], asking.waited)

    async def _draw_pool(self, asking: _Asking) -> list[Completion]:
        """Draw the pool; what the first draws left of the budget buys what is lacking."""
        heats = [self.heats[place % len(self.heats)] for place in range(self.samples)]
        if self.hedge:
            heats = [0.0, *heats[: self.samples - 1]]
        pool: list[Completion] = []
        while len(pool) < len(heats):
            requests: list[Request] = []
            for heat in heats[len(pool) :]:
                requests += self._answers(asking.draws, heat)
            drawn = await asking.ask(requests, "answer")
            if not drawn:
                break
            pool += drawn
        for place in range(len(pool)):
            asking.draws.remark(place, temperature=heats[place])
        return pool

    def _answers(
        self, draws: Draws, heat: float, messages: Sequence[Message] | None = None
    ) -> list[Request]:
        """Ask for one answer of a temperature."""
        settings: dict[str, Any] = {"temperature": heat}
        if heat and self.min_p:
            settings["min_p"] = self.min_p
        if self.selector == "likeliest":
            settings["log_probabilities"] = True
        return draws.requests(1, messages, **settings)

    def _language(self, problem: Problem) -> str | None:
        """Tell the language of a problem by its row, or by the knob."""
        told = problem.row.get(self.language_field) or self.language
        if not told and self._crosses and not self.evidence_language:
            raise InputError(
                f"x-mbr needs the language of problem {problem.id!r}, and its row has none",
                line=problem.line,
                field=self.language_field,
                mend="name the field with 'language_field', or give 'language'",
            )
        return str(told) if told else None

    @property
    def _crosses(self) -> bool:
        """Whether there is to be evidence in another language."""
        return self.selector == "x-mbr" and self.evidence > 0

    def _candidates(self, pool: Sequence[Completion], language: str | None) -> list[_Candidate]:
        """Put together equal answers; empty ones, and then those of a wrong script, cannot win.

        If all are of that kind, they can.
        """
        able = [place for place, one in enumerate(pool) if one.finish != "failed"]
        able = [place for place in able if pool[place].text.strip()] or able
        if language is not None and self.script_share:
            least = self.script_share
            written = [p for p in able if script_share(pool[p].text, language) >= least]
            able = written or able
        places: dict[str, list[int]] = {}
        for place in able:
            places.setdefault(pool[place].text, []).append(place)
        return [_Candidate(text, tuple(where)) for text, where in places.items()]

    def _remark(self, asking: _Asking, candidates: list[_Candidate], choice: _Choice) -> None:
        """Say beside the answers what each scored, and beside the kept one how it was chosen."""
        if choice.scores is not None:
            for candidate, score in zip(candidates, choice.scores, strict=True):
                for place in candidate.places:
                    asking.draws.remark(place, score=float(score))
        told: dict[str, Any] = {"selector": self.selector, "calls": asking.calls}
        if choice.fallback:
            told["fallback"] = True
        if choice.checklist:
            told["checklist"] = choice.checklist
        asking.draws.remark(candidates[choice.winner].places[0], **told)

    # --- selectors --------------------------------------------------------------------------------

    async def _select(
        self,
        asking: _Asking,
        candidates: list[_Candidate],
        pool: Sequence[Completion],
        judge: Judge,
    ) -> _Choice:
        if self.selector == "chops":
            return await self._chops(asking, candidates)
        if self.selector in ("mbr", "x-mbr"):
            return await self._bayes(asking, candidates)
        if self.selector == "tournament":
            return await self._tournament(asking, candidates)
        firsts = [pool[candidate.places[0]] for candidate in candidates]
        if self.selector == "best-of-n":
            asking.calls += len(firsts)
            return _best([verdict.score for verdict in await judge.verify(firsts)])
        if self.selector == "likeliest":
            return _best([_mean_log_probability(one) for one in firsts])
        if self.selector == "longest":
            return _best([len(candidate.text) for candidate in candidates])
        if self.selector == "greedy":
            return _Choice(0, fallback=candidates[0].places[0] != 0)
        drawn = [(i, place) for i, one in enumerate(candidates) for place in one.places]
        drawn.sort(key=lambda one: one[1])
        if self.selector == "random":
            return _Choice(drawn[asking.random.integers(len(drawn))][0])
        place = voted([pool[place] for _, place in drawn], judge)
        return _Choice(0, fallback=True) if place is None else _Choice(drawn[place][0])

    async def _chops(self, asking: _Asking, candidates: list[_Candidate]) -> _Choice:
        """Have the judge name one of all; if it names none twice, keep the first."""
        checklist, parents = "", [candidate.places[0] for candidate in candidates]
        if self.checklist == "apart":
            checklist, _ = await asking.say("checklist", "checklist")
            parents += asking.last
        order = self._order(asking, len(candidates))
        shown = "\n\n".join(
            self.texts.fill("answer", number=number, text=candidates[one].text)
            for number, one in enumerate(order, start=1)
        )
        blanks = {"count": len(candidates), "answers": shown, "checklist": checklist}
        text = "choose" if checklist else "choose-at-once"
        for heat in (0.0, self.temperature or 1.0):  # a greedy judge would say the same again
            reply, ended = await asking.say(text, "verdict", parents, heat, **blanks)
            # The last line of a reply that was cut may be one of the checklist's.
            number = read_choice(reply, len(candidates)) if ended else None
            named = None if number is None else order[number - 1]
            for place in asking.last:
                asking.draws.remark(
                    place,
                    order=[candidates[one].places[0] for one in order],
                    choice=None if named is None else candidates[named].places[0],
                )
            if named is not None:
                return _Choice(named, checklist=checklist or _before_last_line(reply))
        return _Choice(0, fallback=True, checklist=checklist)

    async def _bayes(self, asking: _Asking, candidates: list[_Candidate]) -> _Choice:
        """Keep the answer of the highest mean utility by the pool and by what else there is."""
        evidence = await self._evidence(asking) if self._crosses else []
        texts = [candidate.text for candidate in candidates]
        further = [one.text for one in evidence]
        if self.utility == "judge":
            within, across = await self._judged(asking, candidates, evidence)
        elif self.utility == "embedding":
            embedder = _embedder(self.embedder, self.embedder_url)
            vectors = await asyncio.to_thread(embedder.embed, texts + further)
            unit = directions(np.asarray(vectors, np.float32)).astype(np.float64)
            cosines = unit[: len(texts)] @ unit.T
            within, across = cosines[:, : len(texts)], cosines[:, len(texts) :]
        else:
            within = await asyncio.to_thread(self._alike, texts, texts)
            across = await asyncio.to_thread(self._alike, texts, further)
        counts = [len(candidate.places) for candidate in candidates]
        scores = pool_scores(within, across, counts=counts)
        return _Choice(first_best(scores), scores.tolist())

    async def _judged(
        self, asking: _Asking, candidates: list[_Candidate], evidence: list[_Candidate]
    ) -> tuple[Floats, Floats]:
        """Ask the judge for all utilities at once.

        An answer is shown before the evidence, each in the same place as every other answer: the
        judge's taste for a place helps none of them.
        """
        n = len(candidates)
        pairs = self._pairs(asking, [(a, b) for a in range(n) for b in range(a + 1, n)])
        pairs += [(a, n + m) for m in range(len(evidence)) for a in range(n)]
        told = await asking.compare(pairs, [*candidates, *evidence])
        judged = np.full((n, n + len(evidence)), np.nan)
        for (first, second), preference in told.items():
            judged[first, second] = preference
        across = judged[:, n:]
        return preference_utilities(judged[:, :n]), np.where(np.isnan(across), 0.5, across)

    def _alike(self, texts: Sequence[str], others: Sequence[str]) -> Floats:
        alike = self._similarity
        assert alike is not None
        table = [[float(alike(one, other)) for other in others] for one in texts]
        return np.array(table).reshape(len(texts), len(others))

    async def _evidence(self, asking: _Asking) -> list[_Candidate]:
        """Draw answers in the other language; those that are empty are none."""
        language = self.evidence_language or _other_language(asking.language or "")
        problem, parents = asking.draws.problem, []
        if self.evidence_by == "instruction":
            turns = [i for i, turn in enumerate(problem.messages) if turn.role == "user"]
            place = turns[-1] if turns else -1
            asked = self.texts.fill(
                "evidence",
                question=problem.messages[place].content,
                language=language_name(language),
            )
            messages = list(problem.messages)
            messages[place] = Message("user", asked)
        elif self.evidence_by == "translation":
            asked, _ = await asking.say("translate", "translation", language=language)
            parents = asking.last
            messages = [Message("user", asked)]
        else:
            function = _function(self.evidence_by, "evidence_by")
            asked = str(await asyncio.to_thread(function, problem, language))
            messages = [Message("user", asked)]
        if not asked.strip():
            return []
        requests: list[Request] = []
        for number in range(self.evidence):
            heat = self.heats[number % len(self.heats)]
            requests += self._answers(asking.draws, heat, messages)
        drawn = await asking.ask(requests, "evidence", [parents] * len(requests))
        for place in asking.last:
            asking.draws.remark(place, language=language)
        return [
            _Candidate(one.text, (place,))
            for place, one in zip(asking.last, drawn, strict=True)
            if one.finish != "failed" and one.text.strip()
        ]

    async def _tournament(self, asking: _Asking, candidates: list[_Candidate]) -> _Choice:
        """Play a knock-out, a call of the draws a round; one without an opponent goes on."""
        left, wins = self._order(asking, len(candidates)), [0] * len(candidates)
        while len(left) > 1:
            matches = [(min(pair), max(pair)) for pair in zip(left[::2], left[1::2], strict=False)]
            told = await asking.compare(self._pairs(asking, matches), candidates)
            winners = []
            for a, b in matches:
                views = [told[a, b]] if (a, b) in told else []
                views += [1 - told[b, a]] if (b, a) in told else []
                winners.append(b if views and np.mean(views) < 0.5 else a)
                wins[winners[-1]] += 1
            left = winners + left[2 * len(matches) :]
        return _Choice(left[0], wins)

    def _order(self, asking: _Asking, count: int) -> list[int]:
        order = asking.random.permutation(count) if self.shuffle else np.arange(count)
        return [int(one) for one in order]

    def _pairs(self, asking: _Asking, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Give the orders in which the judge sees each pair."""
        if self.both_orders:
            return [order for a, b in pairs for order in ((a, b), (b, a))]
        turned = asking.random.random(len(pairs)) < 0.5
        return [(b, a) if turn else (a, b) for (a, b), turn in zip(pairs, turned, strict=True)]

    @property
    def _similarity(self) -> Callable[[str, str], float] | None:
        """The utility where it is a function of two texts."""
        if self.utility in ("judge", "embedding"):
            return None
        return SIMILARITIES.get(self.utility) or _function(self.utility, "utility")


class _Candidate(NamedTuple):
    """An answer that can be kept, and where in the pool it was drawn."""

    text: str
    places: tuple[int, ...]


class _Choice(NamedTuple):
    """Which candidate is kept, and what is known of it."""

    winner: int
    scores: Sequence[float] | None = None
    fallback: bool = False
    checklist: str = ""


class _Asking:
    """What is asked for one problem, level by level; the budget's end is an empty answer.

    Attributes
    ----------
    waited : int
        Tokens that had to be waited for.
    calls : int
        Calls of the judge or of the verifier.
    last : list of int
        Places of what came of the last level.
    """

    def __init__(self, strategy: HedgedSampling, draws: Draws, language: str | None) -> None:
        self.draws, self.language = draws, language
        self.random = draws.random()
        self.waited = self.calls = 0
        self.last: list[int] = []
        self._strategy = strategy

    async def ask(
        self, requests: Sequence[Request], kind: str, parents: Sequence[Sequence[int]] | None = None
    ) -> list[Completion]:
        """Draw one level."""
        first = len(self.draws.made)
        try:
            drawn = await self.draws.complete(requests, kind=kind, parents=parents)
        except BudgetError:
            drawn = []
        self.last = list(range(first, first + len(drawn)))
        self.waited += max((one.tokens for one in drawn), default=0)
        self.calls += len(drawn) if kind in _JUDGED else 0
        return drawn

    async def say(
        self, text: str, kind: str, parents: Sequence[int] = (), heat: float = 0.0, **blanks: object
    ) -> tuple[str, bool]:
        """Ask for one text, and give it, and whether it came to its end."""
        drawn = await self.ask([self._request(text, kind, heat, **blanks)], kind, [parents])
        return (drawn[0].text.strip(), drawn[0].finished) if drawn else ("", False)

    async def compare(
        self, pairs: Sequence[Pair], shown: Sequence[_Candidate]
    ) -> dict[Pair, float]:
        """Have the judge compare pairs; what it says nothing of is left out."""
        requests = [
            self._request("compare", "comparison", first=shown[a].text, second=shown[b].text)
            for a, b in pairs
        ]
        parents = [(shown[a].places[0], shown[b].places[0]) for a, b in pairs]
        drawn = await self.ask(requests, "comparison", parents)
        told = {}
        for pair, place, reply in zip(pairs, self.last, drawn, strict=False):
            preference = read_preference(reply.text)
            self.draws.remark(place, preference=preference)
            if preference is not None:
                told[pair] = preference
        return told

    def _request(self, text: str, kind: str, heat: float = 0.0, **blanks: Any) -> Request:
        language = blanks.pop("language", self.language)
        asked = self._strategy.texts.fill(
            text,
            question=self.draws.problem.question,
            language=language_name(language) if language else "the language you see",
            **blanks,
        )
        settings: dict[str, Any] = {"temperature": heat}
        if self._strategy.judge_tokens and kind in _JUDGED:
            settings["max_tokens"] = self._strategy.judge_tokens
        return self.draws.requests(1, [Message("user", asked)], **settings)[0]


def read_choice(reply: str, count: int) -> int | None:
    r"""Read the number that a judge ends with.

    Parameters
    ----------
    reply : str
    count : int
        Of the answers it could choose from, numbered from 1.

    Returns
    -------
    int or None
        None unless the last line ends with the one number in it, and that is from 1 to `count`.

    Examples
    --------
    >>> read_choice("Clear\nCorrect\n**2**", 5), read_choice("Best: ٣", 5)
    (2, 3)
    >>> [read_choice(reply, 5) for reply in ("6", "2 or 3", "1.5", "3. Clear", "none", "")]
    [None, None, None, None, None, None]
    """
    found = re.fullmatch(r"\D*(?<!-)(\d{1,9})[\W_]*", _last_line(reply))
    number = int(found[1]) if found else 0
    return number if 1 <= number <= count else None


def read_preference(reply: str) -> float | None:
    """Read which of two answers a judge prefers: 1 for A, 0 for B, one half for a tie.

    Returns
    -------
    float or None
        None unless the last line says one of these alone.

    Examples
    --------
    >>> [read_preference(reply) for reply in ("A", "So: **B**.", "It is a tie", "A tie")]
    [1.0, 0.0, 0.5, 0.5]
    >>> [read_preference(reply) for reply in ("A beats B", "Neither", "")]
    [None, None, None]
    """
    said = {word.lower()[-3:] for word in _PREFERENCE.findall(_last_line(reply))}
    return {"a": 1.0, "b": 0.0, "tie": 0.5}[said.pop()] if len(said) == 1 else None


_PREFERENCE = re.compile(r"(?<![A-Za-z])((?:A )?(?:tie|Tie|TIE)|A|B)(?![A-Za-z])")


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _before_last_line(text: str) -> str:
    return text.strip().rpartition("\n")[0].strip()


def _best(scores: Sequence[float]) -> _Choice:
    return _Choice(first_best(scores), scores)


def _mean_log_probability(completion: Completion) -> float:
    if completion.log_probabilities is None:
        raise UsageError(
            "selector 'likeliest' needs log-probabilities, and the model gives none",
            mend="use a model of this machine, or a server that gives logprobs",
        )
    return float(np.mean(completion.log_probabilities or [-math.inf]))


def _other_language(language: str) -> str:
    return "zh" if primary(language) == "en" else "en"


@functools.cache
def _function(spec: str, what: str) -> Callable[..., Any]:
    return load_function(spec, what)


@functools.cache
def _embedder(spec: str, url: str | None) -> Embedder:
    return make_embedder(spec, url)
