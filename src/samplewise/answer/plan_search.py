"""Search over plans in plain words: a pool of programs that rest on different ideas.

Use it for programs with tests, where samples of one prompt keep handing in near copies of one wrong
idea. Short observations are drawn first, then observations that follow from each small set of
them; every such set becomes a plan, every plan a program. `idea-search` is the short form: a
sketch, then a program. One by one the programs of a plan search are often worse than plain samples;
it pays where tests choose among many.

Cost: for n observations a list, in sets of up to S, over L layers, about n^(S L) plans of 7 draws
each; `samples` bounds what is drawn for them. Source: arXiv 2409.03733. Its published code differs
from its text in what a plan is made of: `expand` offers both.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeVar

from samplewise.answer.base import Judge, Kept, Prompted
from samplewise.answer.draws import Draws
from samplewise.answer.levels import Levels, Reply, Talk, asked
from samplewise.answer.repeated import select
from samplewise.errors import InputError, UsageError

__all__ = ["IdeaSearch", "PlanSearch", "listed", "subsets"]

T = TypeVar("T")

_WARMER = 0.2  # each further try to write a list that can be read
_FENCE = re.compile(r"```[^\n]*\n(.*?)```", re.DOTALL)
_LIST = re.compile(r"\[.*\]", re.DOTALL)


@dataclass(frozen=True)
class _Planned(Prompted):
    """What both searches share: the order of draws of a program, and which program is kept."""

    wording: ClassVar[str] = "plan-search"
    paper: ClassVar[str] = "2409.03733"

    selector: Literal["majority", "verifier"] = "majority"
    idea_temperature: float | None = None
    code_temperature: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("idea_temperature", "code_temperature"):
            value = getattr(self, knob)
            if value is not None and not 0 <= value < float("inf"):
                raise UsageError(f"knob {knob!r} is {value}", mend="give 0 or more, or none")

    def asks_verifier(self) -> bool:
        """Only to choose among the programs."""
        return self.selector == "verifier"

    def _talk(self, draws: Draws, name: str, parents: tuple[int, ...], **blanks: object) -> Talk:
        """Begin a conversation about the problem."""
        turns = draws.problem.messages
        text = self.texts.fill(name, question=turns[-1].content, **blanks)
        return Talk(asked(turns, text), parents)

    def _from_sketch(self, draws: Draws, plan: Reply) -> Talk:
        """Begin the conversation that asks for the answer of a plan."""
        return self._talk(draws, "code_from_sketch", (plan.place,), sketch=plan.text)

    async def _keep(self, levels: Levels, talks: Mapping[int, Talk], judge: Judge) -> Kept:
        """Draw the answers of the pool, and keep one; a tie goes to the first of them."""
        pool = [*(await levels.ask(talks, temperature=self.code_temperature)).values()]
        drawn = [reply.completion for reply in pool]
        place = await select(drawn, judge, self.selector)
        if place is None:
            reason = "no answer could be kept" if pool else "no plan led to an answer"
            return Kept(None, sequential_tokens=levels.waited, reason=reason)
        return Kept(pool[place].text, pool[place].place, levels.waited)


@dataclass(frozen=True)
class _Node:
    """A set of observations that a plan, or further observations, are made from."""

    observations: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    """Its own, after those of the layers above."""
    parents: tuple[int, ...] = ()


class _Lines(NamedTuple):
    """Observations that came back, and the draw they came from."""

    lines: tuple[str, ...]
    parents: tuple[int, ...]


class _Slot(NamedTuple):
    """A place in the pool: a node of the tree, and whether its plan is the mended one."""

    node: int
    fixed: bool


@dataclass(frozen=True)
class PlanSearch(_Planned):
    """Draw observations, plans made of small sets of them, and a program for every plan.

    Parameters
    ----------
    observations : int
        Observations asked for at first, 1 or more.
    observations_kept : int
        Of each list that comes back, at most so many are used, from its beginning; a list of six
        makes 22 sets of up to two, and two layers of such lists 484 plans.
    largest_subset : int
        The most observations in one set. With 0, plans are made from the problem alone.
    layers : int
        How often observations are drawn from observations, 1 or more.
    expand : {'all', 'leaves'}
        A plan for the set of every node of the tree, equal sets once, each seen without those above
        it (as the published code does); or one for every leaf, with all observations above it (as
        the paper says).
    use_fix : bool
        Whether every plan is criticised and mended; both stay in the pool, which doubles.
    use_pseudocode : bool
        Whether a plan is turned into pseudocode before it is carried out.
    use_idea : bool
        Whether there is a plan at all, or observations lead straight to an answer. Without it, the
        two above must be false too.
    samples : int, optional
        Answers drawn, from the shuffled pool; a plan whose turn comes again gets another answer. By
        default one for each plan.
    parse_tries : int
        How often a list is asked for until it can be read, each time 0.2 warmer from 0 on.
    selector : {'majority', 'verifier'}
        Keep the most frequent answer, or the first of the pool that the verifier accepts, or none.
        Programs seldom agree word for word: give the public tests as the verifier to be asked.
    idea_temperature, code_temperature : float, optional
        Of observations, plans and criticism; of pseudocode and answers. By default the run's. The
        paper draws both at 0.9, top-p 0.95, with up to 4096 tokens.

    Notes
    -----
    A list that cannot be read holds no observation. Sets that differ only in order are two. An
    equal line within one list is dropped, and `observations_kept` is ours: without it the number of
    plans grows with the fourth power of what a model lists. With `samples`, only what these need is
    drawn; the published code draws all, and hands in the same program where the pool is too small.

    References
    ----------
    arXiv 2409.03733
    """

    observations: int = 10
    observations_kept: int = 6
    largest_subset: int = 2
    layers: int = 2
    expand: Literal["all", "leaves"] = "all"
    use_fix: bool = True
    use_pseudocode: bool = True
    use_idea: bool = True
    samples: int | None = None
    parse_tries: int = 3

    name: ClassVar[str] = "plan-search"
    aliases: ClassVar[tuple[str, ...]] = ("plansearch",)
    cost: ClassVar[str] = "about 7 n^(S L) completions, in 4 L + 5 levels"

    def __post_init__(self) -> None:
        super().__post_init__()
        ones = dict.fromkeys(("observations", "observations_kept", "layers", "parse_tries"), 1)
        for knob, least in (ones | {"largest_subset": 0}).items():
            if getattr(self, knob) < least:
                raise UsageError(
                    f"knob {knob!r} is {getattr(self, knob)}", mend=f"give {least} or more"
                )
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"knob 'samples' is {self.samples}", mend="give 1 or more, or none")
        if not self.use_idea and (self.use_fix or self.use_pseudocode):
            raise UsageError(
                "knob 'use_idea' is false: there is no plan to mend or to write as pseudocode",
                mend="set use_fix and use_pseudocode to false too",
            )

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Draw observations, then plans, then answers."""
        levels = Levels(draws)
        nodes = await self._combine(levels)
        slots = self._pool(len(nodes), draws)
        if self.use_idea:
            plans = await self._plan(levels, nodes, slots)
            talks = await self._carry_out(levels, [plans[slot] for slot in slots if slot in plans])
        else:
            chosen = self._in_turn([nodes[slot.node] for slot in slots])
            talks = {
                place: self._about(draws, "code_from_observations", node)
                for place, node in enumerate(chosen)
            }
        return await self._keep(levels, talks, judge)

    async def _combine(self, levels: Levels) -> list[_Node]:
        """Grow the tree of observations, and give the nodes that become plans."""
        layer = [_Node()]
        nodes = list(layer)
        for number in range(self.layers if self.largest_subset else 0):
            lists = await self._observe(levels, layer, first=number == 0)
            layer = [
                _Node(some, tuple(dict.fromkeys(above.path + some)), lines.parents)
                for above, lines in zip(layer, lists, strict=True)
                for some in subsets(lines.lines, self.largest_subset)
            ]
            nodes += layer
        if self.expand == "leaves":
            return layer
        merged: dict[tuple[str, ...], _Node] = {}
        for node in nodes:
            merged.setdefault(node.observations, node)
        return list(merged.values())

    async def _observe(
        self, levels: Levels, layer: Sequence[_Node], *, first: bool
    ) -> list[_Lines]:
        """Draw observations for every node of a layer; each list, and the draw that wrote it."""
        draws = levels.draws
        if first:
            talks = {0: self._talk(draws, "observe", (), count=self.observations)}
        else:
            talks = {
                place: self._talk(
                    draws, "derive", node.parents, observations=self._bullets(node.observations)
                )
                for place, node in enumerate(layer)
            }
        for then in ("list", "filter", "format"):
            replies = await levels.ask(talks, "observations", self.idea_temperature)
            talks = {
                place: talks[place].after(reply, self.texts.fill(then))
                for place, reply in replies.items()
            }
        found = await self._read_lists(levels, talks)
        return [found.get(place, _Lines((), node.parents)) for place, node in enumerate(layer)]

    async def _read_lists(self, levels: Levels, talks: Mapping[int, Talk]) -> dict[int, _Lines]:
        """Ask for lists until they can be read, or as often as is allowed."""
        found: dict[int, _Lines] = {}
        for number in range(self.parse_tries):
            waiting = {place: talk for place, talk in talks.items() if place not in found}
            replies = await levels.ask(waiting, "observations", round(_WARMER * number, 1))
            for place, reply in replies.items():
                lines = listed(reply.text)
                if lines is None:
                    continue
                kept = lines[: self.observations_kept]
                levels.draws.remark(reply.place, observations="\n".join(kept))
                if len(lines) > len(kept):
                    levels.draws.remark(reply.place, left_out=len(lines) - len(kept))
                found[place] = _Lines(tuple(kept), (reply.place,))
        return found

    def _pool(self, nodes: int, draws: Draws) -> list[_Slot]:
        """Shuffle the places of the pool, and keep those that answers will be drawn for."""
        forms = (False, True) if self.use_fix else (False,)
        slots = [_Slot(node, fixed) for node in range(nodes) for fixed in forms]
        order = draws.random().permutation(len(slots))
        return [slots[place] for place in order][: self.samples]

    async def _plan(
        self, levels: Levels, nodes: Sequence[_Node], slots: Sequence[_Slot]
    ) -> dict[_Slot, Reply]:
        """Draw a plan for every node of the pool, and mend those whose mended form is in it."""
        talks = {
            node: self._about(levels.draws, "sketch", nodes[node])
            for node in sorted({slot.node for slot in slots})
        }
        plans = await levels.ask(talks, "plan", self.idea_temperature)
        for node, reply in plans.items():
            levels.draws.remark(reply.place, observations="\n".join(self._seen(nodes[node])))
        doubted = {slot.node for slot in slots if slot.fixed}
        fixes = await self._mend(levels, {one: plans[one] for one in plans if one in doubted})
        return {_Slot(node, False): reply for node, reply in plans.items()} | {
            _Slot(node, True): reply for node, reply in fixes.items()
        }

    async def _mend(self, levels: Levels, plans: Mapping[int, Reply]) -> dict[int, Reply]:
        """Criticise plans, and draw what each becomes."""
        talks = {
            node: self._talk(levels.draws, "criticise", (plan.place,), sketch=plan.text)
            for node, plan in plans.items()
        }
        critiques = await levels.ask(talks, "critique", self.idea_temperature)
        mended = {
            node: talks[node].after(critique, self.texts.fill("fix"))
            for node, critique in critiques.items()
        }
        return await levels.ask(mended, "plan", self.idea_temperature)

    async def _carry_out(self, levels: Levels, plans: Sequence[Reply]) -> dict[int, Talk]:
        """Give the conversations that ask for answers, by their place in the pool."""
        asking = dict(enumerate(self._in_turn(plans)))
        if not self.use_pseudocode:
            return {place: self._from_sketch(levels.draws, plan) for place, plan in asking.items()}
        talks = {
            place: self._talk(levels.draws, "pseudocode", (plan.place,), sketch=plan.text)
            for place, plan in asking.items()
        }
        written = await levels.ask(talks, "pseudocode", self.code_temperature)
        return {
            place: self._talk(
                levels.draws, "code_from_pseudocode", (reply.place,), pseudocode=reply.text
            )
            for place, reply in written.items()
        }

    def _in_turn(self, pool: Sequence[T]) -> list[T]:
        """Give as many of the pool as answers are wanted, from its beginning again and again."""
        wanted = len(pool) if self.samples is None else self.samples
        return list(itertools.islice(itertools.cycle(pool), wanted))

    def _about(self, draws: Draws, name: str, node: _Node) -> Talk:
        """Begin a conversation about what a plan is made of."""
        shown = self._bullets(self._seen(node))
        return self._talk(draws, name, node.parents, observations=shown)

    def _seen(self, node: _Node) -> tuple[str, ...]:
        return node.path if self.expand == "leaves" else node.observations

    def _bullets(self, observations: Sequence[str]) -> str:
        return "\n".join(f"- {one}" for one in observations or [self.texts.fill("nothing")])


@dataclass(frozen=True)
class IdeaSearch(_Planned):
    """Draw sketches of a solution in plain words, and programs for each of them.

    Parameters
    ----------
    samples : int
        Answers in all, 1 or more.
    answers_per_idea : int
        Of each sketch. How much the success of an answer hangs on its sketch is what
        `samplewise.measure.idea_diversity.idea_conditioning` says of them.
    together : bool
        Whether sketch and answer come in one reply (chain of thought) and not in two calls.
    words : int, optional
        Makes the sketch from the problem's right answer, in so many words: what a right idea would
        be worth. That is an experiment (backtranslation), and no way to answer.
    selector, idea_temperature, code_temperature
        As in plan-search.

    References
    ----------
    arXiv 2409.03733
    """

    samples: int = 16
    answers_per_idea: int = 1
    together: bool = False
    words: int | None = None

    name: ClassVar[str] = "idea-search"
    aliases: ClassVar[tuple[str, ...]] = ("ideasearch",)
    cost: ClassVar[str] = "2 n completions, in 2 levels"

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("samples", "answers_per_idea", "words"):
            value = getattr(self, knob)
            if value is not None and value < 1:
                raise UsageError(f"knob {knob!r} is {value}", mend="give 1 or more")
        if self.together and (self.answers_per_idea > 1 or self.words is not None):
            raise UsageError(
                "knob 'together' is true: a sketch has one answer, and comes from the problem",
                mend="leave out answers_per_idea and words",
            )

    async def solve(self, draws: Draws, judge: Judge) -> Kept:
        """Draw sketches, then answers."""
        levels = Levels(draws)
        if self.together:
            talk = self._talk(draws, "think", ())
            return await self._keep(levels, dict.fromkeys(range(self.samples), talk), judge)
        ideas = math.ceil(self.samples / self.answers_per_idea)
        talks = dict.fromkeys(range(ideas), self._idea(draws))
        sketches = await levels.ask(talks, "plan", self.idea_temperature)
        asking = {
            place: self._from_sketch(draws, sketches[place // self.answers_per_idea])
            for place in range(self.samples)
            if place // self.answers_per_idea in sketches
        }
        return await self._keep(levels, asking, judge)

    def _idea(self, draws: Draws) -> Talk:
        """Begin the conversation that asks for a sketch."""
        if self.words is None:
            return self._talk(draws, "idea", ())
        problem = draws.problem
        if not problem.answer:
            raise InputError(
                f"idea-search with words needs it, and problem {problem.id!r} has none",
                line=problem.line,
                field="answer",
            )
        return self._talk(draws, "describe", (), answer=problem.answer, words=self.words)


def subsets(lines: Sequence[str], largest: int) -> list[tuple[str, ...]]:
    """List the subsets of up to `largest` lines, the empty one first, each in the lines' order.

    Examples
    --------
    >>> subsets(["a", "b", "c"], 2)
    [(), ('a',), ('b',), ('c',), ('a', 'b'), ('a', 'c'), ('b', 'c')]
    """
    sizes = range(min(largest, len(lines)) + 1)
    return [some for size in sizes for some in itertools.combinations(lines, size)]


def listed(text: str) -> list[str] | None:
    """Read a list of strings as Python writes it, in a fenced block or bare; nothing is run.

    Returns
    -------
    list of str or None
        Without equal and empty ones; None where the text holds no such list.

    Examples
    --------
    >>> listed('Here it is: ["Sort first.", "Sort first.", "It is a path."]')
    ['Sort first.', 'It is a path.']
    >>> listed("1. Sort first.") is None
    True
    """
    block = _FENCE.search(text)
    shown = _LIST.search(block[1] if block else text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes such as those of formulas
            found = ast.literal_eval(shown[0]) if shown else None
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return None
    return [*dict.fromkeys(one.strip() for one in found if one.strip())]
