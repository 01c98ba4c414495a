"""Ask a model which answers rest on the same idea: what idea diversity is worked out from.

Each answer is described in plain words, then every pair is judged with both descriptions in view.

Cost: n descriptions and n (n - 1) / 2 judgements, in two levels. Source: arXiv 2409.03733.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from samplewise.answer.draws import Draws
from samplewise.answer.levels import Levels, Talk, asked
from samplewise.answer.prompts import load_prompts
from samplewise.errors import UsageError
from samplewise.measure.idea_diversity import judged_same
from samplewise.rng import RandomState, generator

__all__ = ["JudgedIdeas", "judge_ideas"]


class JudgedIdeas(NamedTuple):
    """Which answers rest on the same idea.

    Attributes
    ----------
    places : tuple of int
        Which of the answers were judged.
    ideas : tuple of str
        What each of them rests on.
    same : ndarray of float64, shape (n, n)
        1 where two rest on the same idea, 0 where not, NaN where the judge did not say; symmetric,
        NaN on the diagonal.
    """

    places: tuple[int, ...]
    ideas: tuple[str, ...]
    same: NDArray[np.float64]


async def judge_ideas(
    draws: Draws,
    answers: Sequence[str | None],
    *,
    most: int = 40,
    prompts: str | None = None,
    rng: RandomState = 0,
) -> JudgedIdeas:
    """Let a model judge, at temperature 0, which answers of one problem rest on the same idea.

    Parameters
    ----------
    draws : Draws
        Of the judging model and the problem, as `Meter.of` gives them; they keep to its budget.
    answers : sequence of str or None
        Such as programs; None and empty ones are left out.
    most : int
        Answers that are judged, drawn at random, 2 or more; the published code takes 25.
    prompts : str, optional
        A folder with own ``describe.txt`` and ``compare.txt``.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    JudgedIdeas

    Raises
    ------
    UsageError
        If `most` is out of range.

    References
    ----------
    arXiv 2409.03733

    Examples
    --------
    >>> import asyncio
    >>> from samplewise.answer import Meter
    >>> from samplewise.measure.idea_diversity import idea_diversity
    >>> from samplewise.models.completion import Completion
    >>> from samplewise.problems import Problem
    >>> from samplewise.testing import ScriptedModel
    >>> model = ScriptedModel(lambda request, number: Completion("Yes" if number == 3 else "No"))
    >>> draws = Meter(model).of(Problem.ask("Sort a list."))
    >>> found = asyncio.run(judge_ideas(draws, ["sorted(a)", "a.sort()", "heap"]))
    >>> round(idea_diversity(found.same), 3)
    0.667
    """
    if most < 2:
        raise UsageError(f"most is {most}", mend="give 2 or more")
    texts = load_prompts("idea-judge", prompts)
    turns = draws.problem.messages
    levels = Levels(draws)

    def ask(name: str, parents: tuple[int, ...], **blanks: str) -> Talk:
        text = texts.fill(name, question=turns[-1].content, **blanks)
        return Talk(asked(turns, text), parents)

    whole = [place for place, text in enumerate(answers) if text and text.strip()]
    some = sorted(int(place) for place in generator(rng).permutation(whole)[:most])
    ideas = await levels.ask(
        {place: ask("describe", (), answer=str(answers[place])) for place in some}, "idea", 0.0
    )
    replies = await levels.ask(
        {
            (one, other): ask(
                "compare",
                (ideas[one].place, ideas[other].place),
                first=str(answers[one]),
                first_idea=ideas[one].text,
                second=str(answers[other]),
                second_idea=ideas[other].text,
            )
            for one, other in itertools.combinations(ideas, 2)
        },
        "comparison",
        0.0,
    )
    places = {place: row for row, place in enumerate(ideas)}
    same = np.full((len(ideas), len(ideas)), np.nan)
    for (one, other), reply in replies.items():
        said = judged_same(reply.text)
        if said is not None:
            same[places[one], places[other]] = same[places[other], places[one]] = said
    return JudgedIdeas(tuple(ideas), tuple(reply.text for reply in ideas.values()), same)
