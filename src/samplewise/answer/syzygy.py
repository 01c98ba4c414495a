"""Syzygy of thoughts: auxiliary conditions first, several solutions from them, then the best one.

Use it where a problem gains from having its conditions written down before it is solved. In one
call, a form with a slot for each condition and each solution is filled in. In stages, each of them
is a draw of its own, so that a solution whose steps refer to nothing can be thrown out. It spends
the tokens of several solutions: compare it at equal tokens, and with `chain-of-thought`, whose
`samples` chains are put to the vote. The algebra is an analogy: a "Betti number" is a number of
slots, and nothing is resolved or minimal in the algebraic sense.

Cost: 1 completion; in stages, 1 + b one after the other for b conditions, then 2 s in two levels
for s solutions. Source: arXiv 2504.09566.

Reconstructed: the wording of the stages, how they are scored, and what a layer of conditions is
about could not be read and are ours. The form follows what the published code asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from samplewise.answer.base import Judge, Kept, Prompted
from samplewise.answer.draws import Draws
from samplewise.answer.prompts import Prompts
from samplewise.answer.repeated import voted
from samplewise.errors import BudgetError, UsageError
from samplewise.measure.voting import majority
from samplewise.models.completion import Completion, Request
from samplewise.problems import Message, Problem
from samplewise.verify.maths import clean, find_answer, number

__all__ = [
    "ChainOfThought",
    "Grade",
    "Step",
    "Syzygy",
    "choose",
    "is_exact",
    "make_form",
    "read_check",
    "read_final_answer",
    "read_slots",
    "read_steps",
    "tidy",
]

AnswerType: TypeAlias = Literal["number", "option", "date", "relation"]

_MOST_CONDITIONS, _MOST_LAYERS = 10, 3
"""What a model may ask for."""


@dataclass(frozen=True)
class Syzygy(Prompted):
    """Write down conditions, solve the problem from them in several ways, and keep the best.

    Reconstructed: see the module.

    Parameters
    ----------
    betti : int, optional
        Auxiliary conditions, 0 or more, in each layer; with None, and in stages, the model says how
        many, up to 10.
    mappings : int
        Solutions, 1 or more.
    mode : {'single', 'staged'}
        One call that fills in a form, or a call for each part.
    aggregate : {'model', 'vote'}
        Keep what the model's form gives as the final answer, in stages the exact solution that
        scores highest; or the most frequent answer of the solutions, in stages of the exact ones.
        Where no solution is exact, all have a vote. A reply that is no form, as small models often
        give, is taken for a plain answer.
    scoring : {'model', 'references'}
        In stages, what makes a solution exact, and how it scores: what the model says of it, in a
        further call each; or whether every step refers to conditions and earlier steps that there
        are, and how few of them it needs.
    layers : int, optional
        In stages, layers of conditions, 1 or more: those of a further layer say how the ones before
        hang together. With None the model says how many, up to 3.
    retries : int
        In stages, how often a condition that repeats another is asked for again, before it is
        dropped.
    answer_type : {'number', 'option', 'date', 'relation'}, optional
        What an answer looks like; by default a letter where the problem has choices, else a number.
    temperature : float
        0 takes the likeliest token each time.
    max_tokens : int
        Of each completion; less where the run's own limit is less.

    References
    ----------
    arXiv 2504.09566
    """

    betti: int | None = 10
    mappings: int = 5
    mode: Literal["single", "staged"] = "single"
    aggregate: Literal["model", "vote"] = "model"
    scoring: Literal["model", "references"] = "model"
    layers: int | None = 1
    retries: int = 1
    answer_type: AnswerType | None = None
    temperature: float = 0.0
    max_tokens: int = 2048

    name: ClassVar[str] = "syzygy"
    aliases: ClassVar[tuple[str, ...]] = ("sot", "syzygy-of-thoughts")
    paper: ClassVar[str] = "2504.09566"
    cost: ClassVar[str] = "1 completion of b + s slots, or 1 + b + 2 s completions"
    wording: ClassVar[str] = "syzygy"

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob, least in (("betti", 0), ("layers", 1), ("retries", 0)):
            value = getattr(self, knob)
            if value is not None and value < least:
                raise UsageError(f"knob {knob!r} is {value}", mend=f"give {least} or more")
        if self.mode == "single" and self.betti is None:
            raise UsageError(
                "knob 'betti' is none in a single call", mend="give a number, or mode=staged"
            )
        _check_knobs(self, "mappings")

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Fill in the form, or go through the stages."""
        kind = _kind(draws.problem, self.answer_type)
        if self.mode == "single":
            return await self._fill_in(draws, judge, kind)
        return await _Stages(self, draws, judge, kind).solve()

    async def _fill_in(self, draws: Draws, judge: Judge, kind: AnswerType) -> Kept:
        form = make_form(self.texts, _asked(draws.problem), self.betti or 0, self.mappings, kind)
        requests = _requests(draws, [[Message("user", form)]], self.temperature, self.max_tokens)
        [reply] = await draws.complete(requests, kind="form")
        if reply.finish == "failed":
            return Kept(None, reason=reply.error)
        solutions = read_slots(reply.text, "solution")
        text, read_from = self._read(reply, list(solutions.values()), judge, kind)
        draws.remark(
            len(draws.made) - 1,
            read_from=read_from,
            conditions=len(read_slots(reply.text, "condition")),
            solutions=len(solutions),
        )
        reason = "the form holds no answer" if text is None else ""
        return Kept(text, None, reply.tokens, reason)

    def _read(
        self, reply: Completion, solutions: Sequence[str], judge: Judge, kind: AnswerType
    ) -> tuple[str | None, str]:
        """Find the answer in a form, and say where it was."""
        if self.aggregate == "vote":
            place = voted([Completion(text) for text in solutions], judge)
            if place is not None:
                return solutions[place], "solutions"
        final = read_final_answer(reply.text, kind)
        if final is not None:
            return final, "final_answer"
        # A form that was cut off holds numbers that are no answer; what is no form may be one.
        if not solutions and judge.extract(reply) is not None:
            return reply.text, "reply"
        return None, "nothing"


@dataclass(frozen=True)
class ChainOfThought(Prompted):
    """Have each answer thought out step by step, and vote: the rival of `syzygy`.

    Parameters
    ----------
    samples : int
        Chains, 1 or more; several are known as self-consistency.
    form : {'steps', 'template'}
        What asks for it: to think step by step, or advice of your own (text ``advice``), then the
        problem, then what an answer looks like.
    answer_type : {'number', 'option', 'date', 'relation'}, optional
        As `syzygy` takes it.
    temperature : float, optional
        By default that of the run.
    max_tokens : int
        Of each chain; less where the run's own limit is less.

    References
    ----------
    arXiv 2504.09566, arXiv 2203.11171
    """

    samples: int = 1
    form: Literal["steps", "template"] = "steps"
    answer_type: AnswerType | None = None
    temperature: float | None = None
    max_tokens: int = 2048

    name: ClassVar[str] = "chain-of-thought"
    aliases: ClassVar[tuple[str, ...]] = ("cot",)
    paper: ClassVar[str] = "2203.11171"
    cost: ClassVar[str] = "n completions side by side"
    wording: ClassVar[str] = "syzygy"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_knobs(self, "samples")

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Draw all chains at once, and keep the first with the most frequent answer."""
        problem = draws.problem
        blanks = {
            "problem": _asked(problem),
            "format": self.texts.fill(_kind(problem, self.answer_type)),
            "advice": self.texts.fill("advice"),
        }
        turns = [Message("user", self.texts.fill(self.form, **blanks))]
        usual = draws.sampling.temperature
        temperature = usual if self.temperature is None else self.temperature
        drawn = await draws.complete(
            _requests(draws, [turns] * self.samples, temperature, self.max_tokens)
        )
        place = voted(drawn, judge)
        waited = max(completion.tokens for completion in drawn)
        return Kept(None if place is None else drawn[place].text, place, waited)


@dataclass
class _Stages:
    """One problem on its way through the stages."""

    knobs: Syzygy
    draws: Draws
    judge: Judge
    kind: AnswerType
    waited: int = 0
    module: str = ""
    conditions: list[str] = field(default_factory=list)
    ground: list[int] = field(default_factory=list)
    """Where the module and the conditions stand among all that was drawn."""

    async def solve(self) -> Kept:
        """Go through the stages, as far as the budget lasts."""
        try:
            solutions = await self._map_out()
        except BudgetError as error:
            return Kept(None, None, self.waited, error.message)
        first = len(self.draws.made) - len(solutions)
        answers = [self.judge.extract(one) for one in solutions]
        if self.knobs.scoring == "references":
            graded = self._refer(solutions, answers)
        else:
            graded = await self._check(solutions, answers, first)
        for place, (answer, grade) in enumerate(zip(answers, graded, strict=True), first):
            self.draws.remark(place, answer=answer, exact=grade.exact, score=grade.score)
        chosen, exact = choose(
            answers, graded, vote=self.knobs.aggregate == "vote", same=self.judge.same
        )
        if chosen is None:
            failed = next((one.error for one in solutions if one.error), "")
            return Kept(None, None, self.waited, failed or "no solution has an answer")
        by = "exact solutions" if exact else "vote of all: no solution is exact"
        self.draws.remark(first + chosen, kept_by=by)
        return Kept(solutions[chosen].text, first + chosen, self.waited)

    async def _map_out(self) -> list[Completion]:
        """Draw all up to the solutions."""
        [module] = await self._draw("module", [self._ask("module")])
        self.module = module.text.strip()
        self.ground.append(len(self.draws.made) - 1)
        count, layers = await self._betti()
        for layer in range(layers):
            for _ in range(count):
                await self._condition("next_layer" if layer else "first_layer")
        total = self.knobs.mappings
        asked = [self._ask("strategy", number=n, total=total) for n in range(1, total + 1)]
        return await self._draw("answer", asked)

    async def _betti(self) -> tuple[int, int]:
        """Give how many conditions a layer has, and how many layers there are."""
        betti, layers = self.knobs.betti, self.knobs.layers
        if betti is not None and layers is not None:
            return betti, layers
        most = {"most": _MOST_CONDITIONS, "deepest": _MOST_LAYERS}
        [reply] = await self._draw("betti", [self._ask("betti", **most)])
        said = _fields(reply.text)
        asked = min(_whole(said.get("conditions"), _MOST_CONDITIONS), _MOST_CONDITIONS)
        deep = min(max(_whole(said.get("layers"), 1), 1), _MOST_LAYERS)
        betti = asked if betti is None else betti
        layers = deep if layers is None else layers
        self.draws.remark(len(self.draws.made) - 1, conditions=betti, layers=layers)
        return betti, layers

    async def _condition(self, scope: str) -> None:
        """Draw the next condition; one that repeats another is asked for again, then dropped."""
        name = f"C{len(self.conditions) + 1}"
        turns = self._ask("condition", name=name, scope=self.knobs.texts.fill(scope))
        for _ in range(self.knobs.retries + 1):
            [reply] = await self._draw("condition", [turns])
            place = len(self.draws.made) - 1
            text = " ".join(_NAME.sub("", reply.text).split())
            if text and tidy(text) not in map(tidy, self.conditions):
                self.conditions.append(text)
                self.ground.append(place)
                self.draws.remark(place, name=name)
                return
            why = "it repeats another" if text else reply.error or "it is empty"
            self.draws.remark(place, dropped=why)
            if text:
                again = self.knobs.texts.fill("again")
                turns = [*turns, Message("assistant", reply.text), Message("user", again)]

    def _refer(self, solutions: Sequence[Completion], answers: Sequence[str | None]) -> list[Grade]:
        """Grade solutions by what their steps refer to."""
        names = {f"C{place}" for place in range(1, len(self.conditions) + 1)}
        graded = []
        for one, answer in zip(solutions, answers, strict=True):
            steps = read_steps(one.text)
            used = {name for step in steps for name in step.uses if name.startswith("C")}
            exact = answer is not None and is_exact(steps, names)
            graded.append(Grade(exact, -float(len(used) + len(steps))))
        return graded

    async def _check(
        self, solutions: Sequence[Completion], answers: Sequence[str | None], first: int
    ) -> list[Grade]:
        """Have the model grade the solutions that have an answer; the others are not exact."""
        graded = [Grade(False, 0.0)] * len(solutions)
        asked = [place for place, answer in enumerate(answers) if answer is not None]
        turns = [self._ask("check", solution=solutions[place].text) for place in asked]
        try:
            replies = await self._draw("check", turns, [[first + place] for place in asked])
        except BudgetError:
            return graded
        for place, reply in zip(asked, replies, strict=False):
            graded[place] = read_check(reply.text)
        return graded

    def _ask(self, stage: str, **more: object) -> list[Message]:
        named = enumerate(self.conditions, start=1)
        text = self.knobs.texts.fill(
            stage,
            problem=_asked(self.draws.problem),
            format=self.knobs.texts.fill(self.kind),
            module=self.module or "(nothing)",
            conditions="\n".join(f"C{n}: {text}" for n, text in named) or "(none)",
            **more,
        )
        return [Message("user", text)]

    async def _draw(
        self,
        kind: str,
        asked: Sequence[Sequence[Message]],
        parents: Sequence[Sequence[int]] | None = None,
    ) -> list[Completion]:
        """Draw one level."""
        if not asked:
            return []
        requests = _requests(self.draws, asked, self.knobs.temperature, self.knobs.max_tokens)
        known = parents or [tuple(self.ground)] * len(asked)
        drawn = await self.draws.complete(requests, kind=kind, parents=known)
        self.waited += max(one.tokens for one in drawn)
        return drawn


def _check_knobs(knobs: Syzygy | ChainOfThought, count: str) -> None:
    for knob in (count, "max_tokens"):
        if getattr(knobs, knob) < 1:
            raise UsageError(f"knob {knob!r} is {getattr(knobs, knob)}", mend="give 1 or more")
    if knobs.temperature is not None and not 0 <= knobs.temperature < float("inf"):
        raise UsageError(f"knob 'temperature' is {knobs.temperature}", mend="give 0 or more")


def _requests(
    draws: Draws, asked: Sequence[Sequence[Message]], temperature: float, max_tokens: int
) -> list[Request]:
    """Ask in words of our own; what the system tells the model stays."""
    system = [turn for turn in draws.problem.messages if turn.role == "system"]
    most = min(max_tokens, draws.sampling.max_tokens or max_tokens)
    return [
        request
        for turns in asked
        for request in draws.requests(
            1, [*system, *turns], temperature=temperature, max_tokens=most
        )
    ]


def _kind(problem: Problem, wanted: AnswerType | None) -> AnswerType:
    return wanted or ("option" if problem.choices else "number")


def _asked(problem: Problem) -> str:
    """Give what is asked, with the choices where the question does not name them."""
    question = problem.question
    if not question.strip():
        raise UsageError(f"problem {problem.id!r} asks nothing", mend="give it a question")
    if all(choice in question for choice in problem.choices):
        return question
    letters = enumerate(problem.choices)
    return "\n".join([question, *(f"({chr(65 + n)}) {choice}" for n, choice in letters)])


# --- the form -------------------------------------------------------------------------------------


def make_form(texts: Prompts, problem: str, betti: int, mappings: int, kind: AnswerType) -> str:
    """Write the form of the single call: JSON with a slot for each condition and each solution.

    Parameters
    ----------
    texts : Prompts
    problem : str
        Not empty.
    betti : int
        Slots for conditions, 0 or more.
    mappings : int
        Slots for solutions, 1 or more.
    kind : {'number', 'option', 'date', 'relation'}
        What an answer looks like.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a number is out of range, or the problem is empty.

    References
    ----------
    arXiv 2504.09566
    """
    if betti < 0 or mappings < 1:
        raise ValueError(f"{betti} conditions and {mappings} solutions")
    if not problem.strip():
        raise ValueError("the problem is empty")
    analysis = {
        "module": problem,
        "betti_numbers": betti,
        "free_conditions": {
            "task": texts.fill("conditions"),
            **{f"condition{n}": "" for n in range(1, betti + 1)},
        },
        "mapping": {
            "task": texts.fill("mapping"),
            **{f"solution{n}": "" for n in range(1, mappings + 1)},
        },
        "minimality": {"task": texts.fill("minimality"), "comparison": "", "best": ""},
    }
    answer = texts.fill("final_answer", format=texts.fill(kind))
    form = {"tip": texts.fill("tip"), "analysis": analysis, "final_answer": answer}
    return json.dumps(form, indent=1, ensure_ascii=False)


_TEXT = r'"((?:[^"\\]|\\.)*)"'
_FINAL = re.compile(
    rf"""["']?final_answer["']?\s*:\s*(?:{_TEXT}|'((?:[^'\\]|\\.)*)'"""
    r"""|(\[[^\[\]{}]*\]|[^\s,{}\[\]"']+))""",
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\(u[0-9a-fA-F]{4}|n(?![a-z])|[\\"/])')
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)


def _unescape(text: str) -> str:
    """Undo the escapes of JSON, and leave LaTeX that should have been escaped as it is."""

    def plain(found: re.Match[str]) -> str:
        sign = found[1]
        return chr(int(sign[1:], 16)) if sign[0] == "u" else "\n" if sign == "n" else sign

    return _ESCAPE.sub(plain, text)


def read_slots(text: str, name: str) -> dict[int, str]:
    """Read the slots of a form that are filled in, by their number.

    Examples
    --------
    >>> read_slots('{"condition1": "x > 0", "condition2": ""', "condition")
    {1: 'x > 0'}
    """
    found = re.finditer(rf'"{name}(\d+)"\s*:\s*{_TEXT}', text, re.DOTALL)
    slots = {int(slot[1]): _unescape(slot[2]).strip() for slot in found}
    return {number: content for number, content in slots.items() if content}


def read_final_answer(text: str, kind: AnswerType) -> str | None:
    r"""Read the final answer of a form, even where its JSON is broken.

    Parameters
    ----------
    text : str
    kind : {'number', 'option', 'date', 'relation'}

    Returns
    -------
    str or None
        A number without separators and needless zeros, a capital letter, a date as MM/DD/YYYY, or
        a word in small letters; None where there is none.

    References
    ----------
    arXiv 2504.09566

    Examples
    --------
    >>> read_final_answer('{"final_answer": "[1,234.50]"}', "number")
    '1234.5'
    >>> read_final_answer('```json\n{"final_answer": "[b) 12 apples]"}\n```', "option")
    'B'
    """
    found = None
    for found in _FINAL.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    if found is None:
        value = _in_json(text)
    else:
        value = _unescape(next(group for group in found.groups() if group is not None))
    if value is None or tidy(value).strip("[]") in ("", "null", "none"):
        return None
    bracketed = re.search(r"\[([^\[\]]*)\]", value)
    inner = (bracketed[1] if bracketed else value).strip(" \"'")
    return _READERS[kind](inner)


def _in_json(text: str) -> str | None:
    """Find the last plain value under ``final_answer`` where that is an object of its own."""
    fenced = _FENCE.search(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
        value = value["final_answer"]
        while isinstance(value, (dict, list)):
            value = list(value.values() if isinstance(value, dict) else value)[-1]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    return None if value is None else str(value)


def _number(text: str) -> str | None:
    answer = clean(find_answer(text) or "" if "\\boxed" in text else text)
    if answer is None:
        return None
    value = number(answer)
    if value is None:
        if not _WORD.search(answer):  # an expression
            return answer
        first = _DIGITS.search(answer)
        answer = first[0] if first else ""
        value = number(answer)
    if value is None:
        return None
    sign = "%" if answer.rstrip().endswith("%") else ""
    if value.denominator > 1 and ("/" in answer or "frac" in answer):
        return f"{value}{sign}"
    return f"{Decimal(value.numerator) / Decimal(value.denominator):f}{sign}"


def _option(text: str) -> str | None:
    first = re.match(r"\W*([A-Za-z])(?:\W|$)", text)
    if first:
        return first[1].upper()
    letters = set(re.findall(r"\b[A-Z]\b", text))
    return letters.pop() if len(letters) == 1 else None


def _date(text: str) -> str | None:
    found = re.search(r"\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d{2}-\d{2}", text)
    for form in ("%m/%d/%Y", "%Y-%m-%d", "%B %d, %Y", "%d %B %Y"):
        try:
            day = datetime.strptime(found[0] if found else text.strip(" ."), form)
        except ValueError:
            continue
        return day.strftime("%m/%d/%Y")
    return None


def _relation(text: str) -> str | None:
    words = re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", text)
    return words[0].lower() if 1 <= len(words) <= 3 else None  # a sentence is no relation


_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_DIGITS = re.compile(r"(?<![\w.])-?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?")
_READERS: dict[str, Callable[[str], str | None]] = {
    "number": _number,
    "option": _option,
    "date": _date,
    "relation": _relation,
}


# --- conditions, solutions and what they are worth ------------------------------------------------


class Step(NamedTuple):
    """One step of a solution."""

    name: str
    """``S1``, ``S2``, ..."""
    uses: tuple[str, ...]
    """Conditions ``C1``, ... and steps that it refers to."""


class Grade(NamedTuple):
    """What a solution is worth."""

    exact: bool
    """Whether nothing is missing in it."""
    score: float
    """Higher is better."""


_NAME = re.compile(r"^\W*C\d+\W*[:.)]\s*", re.IGNORECASE)
_STEP = re.compile(
    r"^[^\w\n]*step\s*(\d+)(?:[^\w\n]*?[\[(]([^\])\n]*)[\])][^\w\n]*:|[^\w\n]*:(.*))",
    re.IGNORECASE | re.MULTILINE,
)
_REFERENCE = re.compile(r"\b([CS])(?:tep)?\s*(\d+)\b", re.IGNORECASE)


def tidy(text: str) -> str:
    """Give a text without what does not tell conditions apart: case, spaces and a final dot.

    Examples
    --------
    >>> tidy("X is  even.") == tidy("x is even"), tidy("x < 3") == tidy("x > 3")
    (True, False)
    """
    return "".join(text.casefold().split()).rstrip(".!")


def read_steps(text: str) -> list[Step]:
    r"""Read the steps of a solution, and what each refers to.

    Examples
    --------
    >>> read_steps("Step 1 [C1, C3]: add -> 5\nStep 2 [S1]: double -> 10\nAnswer: 10")
    [Step(name='S1', uses=('C1', 'C3')), Step(name='S2', uses=('S1',))]
    """
    return [
        Step(
            f"S{int(found[1])}",
            tuple(
                f"{one[1].upper()}{int(one[2])}"
                for one in _REFERENCE.finditer(found[2] or found[3] or "")
            ),
        )
        for found in _STEP.finditer(text)
    ]


def is_exact(steps: Sequence[Step], conditions: Collection[str]) -> bool:
    """Say whether every step refers only to conditions and earlier steps that there are.

    A solution without steps is not exact.

    Examples
    --------
    >>> is_exact([Step("S1", ("C1",)), Step("S2", ("S1",))], {"C1"})
    True
    >>> is_exact([Step("S1", ("S2",)), Step("S2", ())], {"C1"})
    False
    """
    known = set(conditions)
    for step in steps:
        if not known.issuperset(step.uses):
            return False
        known.add(step.name)
    return bool(steps)


def read_check(text: str) -> Grade:
    r"""Read what a model says of a solution; what it leaves out counts against the solution.

    The score is the mean of accuracy, simplicity and what complexity lacks of 10, from 0 to 1; one
    that is redundant comes after all that are not.

    Reconstructed: the paper scores these, and how it weighs them could not be read.

    Examples
    --------
    >>> read_check("linked: yes\ncomplete: yes\ndefined: yes\nredundant: no\n"
    ...            "accuracy: 9\ncomplexity: 4\nsimplicity: 6")
    Grade(exact=True, score=0.7)
    """
    said = _fields(text)
    exact = all(said.get(name) == "yes" for name in ("linked", "complete", "defined"))
    accuracy, simplicity = (_whole(said.get(one), 0) for one in ("accuracy", "simplicity"))
    parts = (accuracy, simplicity, 10 - min(_whole(said.get("complexity"), 10), 10))
    score = sum(min(part, 10) for part in parts) / 30
    return Grade(exact, round(score - (said.get("redundant") != "no"), 6))


def choose(
    answers: Sequence[str | None],
    graded: Sequence[Grade],
    *,
    vote: bool,
    same: Callable[[str, str], bool] | None = None,
) -> tuple[int | None, bool]:
    """Choose among solutions: those that are exact, or all where none is.

    Parameters
    ----------
    answers : sequence of str or None
        None for a solution without one, which is never chosen.
    graded : sequence of Grade
    vote : bool
        Whether the most frequent answer of the exact ones is kept, from its best solution, ties
        going to the better score; or the best score decides. Equal scores go to the first. Where
        none is exact, it is always the first with the most frequent answer.
    same : callable, optional
        Says whether two different answers are one.

    Returns
    -------
    place : int or None
        None if there is no answer.
    exact : bool
        Whether it is exact.

    Examples
    --------
    >>> graded = [Grade(True, -5.0), Grade(True, -3.0), Grade(False, -1.0)]
    >>> choose(["4", "4", "5"], graded, vote=True)
    (1, True)
    """
    exact = [
        place
        for place, (answer, grade) in enumerate(zip(answers, graded, strict=True))
        if grade.exact and answer is not None
    ]
    if not exact:
        return majority(answers, same), False
    best = sorted(exact, key=lambda place: -graded[place].score)
    winner = majority([answers[place] for place in best], same) if vote else 0
    return best[winner or 0], True


def _fields(text: str) -> dict[str, str]:
    """Read lines of a name, a colon and a word."""
    found = re.findall(r"^[^\w\n]*(\w+)[^\w\n]*:[^\w\n]*(\w+)", text, re.MULTILINE)
    return {name.lower(): value.lower() for name, value in found}


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text and re.fullmatch(r"\d{1,9}", text) else otherwise
