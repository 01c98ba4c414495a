"""The loop against exact oracles: what it asks and keeps, and the limits in which it is others."""

import asyncio
import math
import re
from collections import Counter

import numpy as np
import pytest

import samplewise as sw
from samplewise import registry
from samplewise.answer import Judge, Meter, Sampling
from samplewise.answer.iterative_refinement import (
    IterativeRefinement,
    Tried,
    amended,
    fitted,
    without_marks,
)
from samplewise.answer.repeated import Repeated
from samplewise.budget import Budget
from samplewise.errors import UsageError
from samplewise.measure.refinement import Slots, revised_share
from samplewise.models.completion import Completion
from samplewise.problems import Message, Problem
from samplewise.testing import ScriptedModel
from samplewise.verify.base import Verdict, Verifier

PROBLEM = Problem.ask("Count.", answer="7")


class Number(Verifier):
    """Scores a text by a function of its first number."""

    name = "number"

    def __init__(self, function=float):
        self.function = function
        self.seen = Counter()

    async def verify(self, problem, texts):
        self.seen.update(texts)
        scores = [float(self.function(float(re.search(r"-?\d+", one)[0]))) for one in texts]
        return [
            Verdict(score >= 7, score, text, "" if score >= 7 else f"{text} is below 7")
            for text, score in zip(texts, scores, strict=True)
        ]


def say(text, tokens=2, **known):
    return Completion(str(text), tokens=tokens, **known)


def shown(request, which="best"):
    """Give what a prompt shows as the best answer, the worst or the last; None if it shows none."""
    found = re.search(rf"<{which}_answer>\n(.*)\n</{which}_answer>", request.messages[-1].content)
    return found and found[1]


def listed(*texts):
    """Script answers in order, whatever is asked."""
    texts = [say(text) if not isinstance(text, Completion) else text for text in texts]
    return lambda request, number: texts[number]


def solve(strategy, script, verifier=None, *, budget=None, limit=None, seed=0, **sampling):
    model = ScriptedModel(script)
    meter = Meter(
        model,
        Sampling(**sampling),
        budget=budget and Budget.parse(budget),
        seed=seed,
    )

    async def inside():
        draws = meter.of(PROBLEM, limit)
        kept = await strategy.solve(draws, Judge(verifier or Number(), PROBLEM))
        return kept, draws

    return (*asyncio.run(inside()), model)


def seeded(request, number):
    """Say a number that the seed and the prompt decide."""
    return say(np.random.default_rng([request.seed, len(request.messages[0].content)]).integers(99))


def best_of(n, **more):
    return solve(Repeated(samples=n, selector="best-of-n"), seeded, **more)


@pytest.mark.parametrize("budget", [None, "3 samples"])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: IterativeRefinement(iterations=1, candidates=n),
        lambda n: IterativeRefinement(iterations=n, candidates=1, feedback="none"),
        lambda n: IterativeRefinement(iterations=n // 2 or 1, candidates=2, feedback="none"),
    ],
)
def test_without_feedback_it_is_best_of_n_call_for_call(make, n, seed, budget):
    strategy = make(n)
    kept, _, model = solve(strategy, seeded, seed=seed, budget=budget)
    calls = strategy.iterations * strategy.candidates
    other, _, rival = best_of(calls, seed=seed, budget=budget)
    assert model.asked == rival.asked
    assert len(model.asked) == min(calls, 3 if budget else calls)
    assert (kept.text, kept.place) == (other.text, other.place)


@pytest.mark.parametrize("feedback", ["none", "reward", "text", "both"])
@pytest.mark.parametrize("candidates", [1, 3])
def test_calls_are_counted(feedback, candidates):
    verifier = Number()
    strategy = IterativeRefinement(iterations=4, candidates=candidates, feedback=feedback)
    kept, draws, _ = solve(strategy, lambda request, number: say(number, 5), verifier)
    critiques = 3 if feedback in ("text", "both") else 0
    kinds = Counter(origin.kind for origin in draws.origins)
    assert kinds == Counter({"answer": 4 * candidates, "critique": critiques})
    assert kept.sequential_tokens == 5 * (4 + critiques)
    assert verifier.seen.total() == 4 * candidates  # critiques are not scored
    assert draws.origins[kept.place].kind == "answer"


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("candidates", [1, 3])
def test_the_best_never_falls_and_is_what_is_shown_and_kept(candidates, seed):
    strategy = IterativeRefinement(iterations=6, candidates=candidates)
    kept, draws, model = solve(strategy, seeded, seed=seed)
    values = [int(one.text) for one in draws.made]
    scores = [origin.remarks["score"] for origin in draws.origins]
    assert scores == values
    for place, (request, origin) in enumerate(zip(model.asked, draws.origins, strict=True)):
        before = values[: place - place % candidates]  # of earlier rounds alone
        assert origin.remarks["iteration"] == place // candidates + 1
        if not before:
            assert (request.messages, origin.parents) == (PROBLEM.messages, ())
            continue
        best, worst = max(before), min(before)
        assert shown(request) == str(best)
        assert shown(request, "worst") == (None if best == worst else str(worst))
        parents = [before.index(best), before.index(worst)][: 1 + (best != worst)]
        assert list(origin.parents) == parents
    assert (kept.text, kept.place) == (str(max(values)), values.index(max(values)))


def test_a_prompt_holds_best_and_worst_and_nothing_else_of_what_was_said():
    texts = ["33 apple", "11 pear", "22 plum", "44 fig", "5 date"]
    _, _, model = solve(IterativeRefinement(iterations=5), listed(*texts))
    last = model.asked[-1].messages
    assert [turn.role for turn in last] == ["user"]
    assert last[0].content.startswith("Count.\n\n")
    held = [text for text in texts if text in last[0].content]
    assert held == ["11 pear", "44 fig"]
    assert "The best answer so far [score 44]:\n<best_answer>\n44 fig\n" in last[0].content
    assert "The worst answer so far [score 11]:\n<worst_answer>\n11 pear\n" in last[0].content


@pytest.mark.parametrize(("first", "cap"), [(3, 100), (3, 5), (9, 9)])
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_an_answer_that_gains_one_a_round(first, cap, iterations):
    def script(request, number):
        return say(first if shown(request) is None else min(int(shown(request)) + 1, cap))

    kept, *_ = solve(IterativeRefinement(iterations=iterations), script)
    assert int(kept.text) == min(first + iterations - 1, cap)


@pytest.mark.parametrize("revise", ["best", "shuffled", "last"])
def test_a_model_that_copies_gains_nothing(revise):
    def script(request, number):
        return say(shown(request) or shown(request, "last") or 3)

    kept, draws, _ = solve(IterativeRefinement(iterations=5, revise=revise), script)
    assert [one.text for one in draws.made] == ["3"] * 5
    assert kept.place == (4 if revise == "last" else 0)


def test_where_all_scores_are_equal_the_tie_rule_decides():
    places = {}
    for ties in ("first", "last", "random"):
        strategy = IterativeRefinement(iterations=5, ties=ties)
        kept, draws, model = solve(
            strategy, lambda request, number: say(number), Number(lambda _: 1)
        )
        places[ties] = kept.place
        assert all(shown(request, "worst") is None for request in model.asked)
        if ties != "random":
            parents = [origin.parents for origin in draws.origins[1:]]
            assert parents == [(0 if ties == "first" else place,) for place in range(4)]
    assert (places["first"], places["last"]) == (0, 4)
    kept = [
        solve(
            IterativeRefinement(iterations=5, ties="random"),
            lambda request, number: say(number),
            Number(lambda _: 1),
            seed=seed,
        )[0].place
        for seed in range(40)
    ]
    assert set(kept) == set(range(5))


def test_with_equal_scores_the_last_of_the_ties_is_blind_revision():
    runs = []
    for knobs in ({"ties": "last"}, {"revise": "last"}):
        strategy = IterativeRefinement(iterations=6, show_scores=False, **knobs)
        kept, draws, _ = solve(strategy, lambda request, number: say(number), Number(lambda _: 1))
        runs.append((kept, [origin.parents for origin in draws.origins]))
    assert runs[0] == runs[1]
    assert runs[0][1] == [(), (0,), (1,), (2,), (3,), (4,)]


@pytest.mark.parametrize(
    "transform", [lambda x: x**3, lambda x: -math.exp(-x), lambda x: 2 * x - 9]
)
@pytest.mark.parametrize("revise", ["best", "shuffled"])
def test_a_monotone_transform_changes_nothing_where_scores_are_hidden(transform, revise):
    strategy = IterativeRefinement(iterations=6, candidates=2, show_scores=False, revise=revise)

    def small(request, number):
        return say(np.random.default_rng(request.seed).integers(20))

    runs = [solve(strategy, small, Number(one)) for one in (float, transform)]
    assert runs[0][2].asked == runs[1][2].asked
    assert runs[0][0] == runs[1][0]
    assert all("[score" not in turn.content for r in runs[0][2].asked for turn in r.messages)


@pytest.mark.parametrize(
    ("knobs", "calls", "stopped"),
    [
        ({"stop_at": 3.0}, 1, "stop_at"),
        ({"stop_at": 4.0}, 4, "stop_at"),
        ({"stop_at": 9.5}, 8, "iterations"),
        ({"patience": 1}, 2, "patience"),
        ({"patience": 2}, 3, "patience"),
        ({"patience": 3}, 7, "patience"),
        ({"patience": 8}, 8, "iterations"),
    ],
)
def test_reasons_to_stop(knobs, calls, stopped):
    strategy = IterativeRefinement(iterations=8, **knobs)
    kept, draws, _ = solve(strategy, listed(3, 2, 1, 4, 4, 0, 4, 9))
    assert len(draws.made) == calls
    assert draws.origins[kept.place].remarks["stopped"] == stopped
    assert int(kept.text) == max(int(one.text) for one in draws.made)


def test_at_temperature_0_a_prompt_is_not_asked_twice():
    def script(request, number):
        return say(shown(request) or 3)

    for temperature, calls in ((0.0, 2), (0.6, 5)):
        strategy = IterativeRefinement(iterations=5)
        kept, draws, _ = solve(strategy, script, temperature=temperature)
        assert len(draws.made) == calls
        wanted = "repeat" if temperature == 0 else "iterations"
        assert draws.origins[kept.place].remarks["stopped"] == wanted
    _, draws, _ = solve(IterativeRefinement(feedback="none"), script, temperature=0.0)
    assert len(draws.made) == 1


@pytest.mark.parametrize("samples", range(1, 7))
def test_a_budget_that_ends_between_rounds_keeps_the_best_so_far(samples):
    strategy = IterativeRefinement(iterations=4, candidates=2)
    kept, draws, _ = solve(strategy, seeded, budget=f"{samples} samples")
    assert len(draws.made) == samples
    assert int(kept.text) == max(int(one.text) for one in draws.made)
    assert draws.origins[kept.place].remarks["stopped"] == "budget"
    assert kept.sequential_tokens == 2 * math.ceil(samples / 2)


def test_a_budget_that_ends_after_a_critique_counts_it():
    strategy = IterativeRefinement(iterations=4, feedback="text")
    kept, draws, _ = solve(strategy, lambda request, number: say(5), budget="2 samples")
    assert [origin.kind for origin in draws.origins] == ["answer", "critique"]
    assert (kept.text, kept.place, kept.sequential_tokens) == ("5", 0, 4)


def test_tokens_of_a_problem_are_a_limit():
    kept, draws, _ = solve(
        IterativeRefinement(), lambda request, number: say(5, 4), limit=10, max_tokens=4
    )
    assert (kept.text, len(draws.made)) == ("5", 2)


def test_failed_and_empty_completions_are_neither_best_nor_worst():
    failed = Completion("", "failed", error="status 500")
    texts = [failed, say(" "), say(4), failed, say(6), say(2, finish="length"), say(5)]
    kept, draws, model = solve(IterativeRefinement(iterations=7), listed(*texts))
    assert (kept.text, kept.place) == ("6", 4)
    asked = [(shown(one), shown(one, "worst")) for one in model.asked]
    nothing = (None, None)
    assert asked == [nothing, nothing, nothing, ("4", None), ("4", None), ("6", "4"), ("6", "2")]
    assert [bool(origin.remarks.get("iteration")) for origin in draws.origins] == [
        False, False, True, False, True, True, True
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "state"),
    [
        (lambda request, number: Completion("", "failed", error="status 500"), "failed"),
        (lambda request, number: Completion("", tokens=1), "abstained"),
    ],
)
def test_without_any_answer_there_is_none(script, state):
    [one] = sw.answer(
        [PROBLEM], ScriptedModel(script), "iad", verifier=AnyNumber(), feedback="both", rng=0
    ).answers
    assert (one.state, one.text) == (state, None)
    assert one.reason == ("status 500" if state == "failed" else "no completion held an answer")
    assert len(one.completions) == 4


class AnyNumber(Number):
    """Takes what has no number, too."""

    async def verify(self, problem, texts):
        return [Verdict(False, 0.0)] * len(texts)


def test_what_has_no_score_is_kept_only_if_nothing_has_one():
    odd = Number(lambda value: value if value % 2 else math.nan)
    kept, draws, model = solve(IterativeRefinement(iterations=4), listed(8, 3, 6, 1), odd)
    assert (kept.text, kept.reason) == ("3", "")
    assert [(shown(one), shown(one, "worst")) for one in model.asked[2:]] == [("3", None)] * 2
    assert [origin.remarks.get("score") for origin in draws.origins] == [None, 3.0, None, 1.0]
    assert draws.origins[0].remarks["unscored"]
    _, draws, _ = solve(IterativeRefinement(stop_at=3.0), listed(8, 3, 5, 7), odd)
    assert len(draws.made) == 2
    kept, draws, model = solve(IterativeRefinement(iterations=3), listed(8, 2, 6), odd)
    assert (kept.text, kept.place, kept.reason) == ("8", 0, "no answer could be scored")
    assert [one.messages for one in model.asked] == [PROBLEM.messages] * 3


# --- feedback -------------------------------------------------------------------------------------


def criticised(request, number):
    is_critic = "reviewer, so do not solve" in request.messages[-1].content
    return say(f"Fault {number}." if is_critic else number)


@pytest.mark.parametrize(
    ("knobs", "best", "worst", "scores", "review"),
    [
        ({"feedback": "none"}, None, None, False, None),
        ({"feedback": "reward"}, "2", "0", True, None),
        ({"feedback": "reward", "show_worst": False}, "2", None, True, None),
        ({"feedback": "reward", "show_scores": False}, "2", "0", False, None),
        ({"feedback": "text"}, "4", None, False, "Fault 5."),
        ({"feedback": "both"}, "4", "0", True, "Fault 5."),
        ({"feedback": "both", "show_worst": False}, "4", None, True, "Fault 5."),
        ({"feedback": "text", "critic": "verifier"}, "2", None, False, "2 is below 7"),
        ({"feedback": "both", "critic": "verifier"}, "2", "0", True, "2 is below 7"),
    ],
)
def test_what_each_form_of_feedback_shows(knobs, best, worst, scores, review):
    strategy = IterativeRefinement(iterations=4, **knobs)
    kept, draws, model = solve(strategy, criticised)
    last = model.asked[-1]
    text = last.messages[-1].content
    assert (shown(last), shown(last, "worst")) == (best, worst)
    assert ("[score" in text) == scores
    found = re.search(r"<review>\n(.*)\n</review>", text)
    assert (found and found[1]) == review
    assert draws.origins[-1].remarks.get("feedback") == review
    assert kept.place == len(draws.made) - 1
    places = [int(one) for one in (best, worst) if one]
    assert draws.origins[-1].parents == (*places, *([5] if review == "Fault 5." else []))


def test_the_critic_is_asked_about_the_best_alone():
    _, draws, model = solve(IterativeRefinement(iterations=4, feedback="both"), criticised)
    asked = model.asked[5].messages[-1].content
    assert asked.startswith("Count.\n\nHere is an answer to the task above [score 4]:")
    assert "<answer>\n4\n</answer>" in asked
    assert draws.origins[5].parents == (4,)


def test_a_critic_that_fails_leaves_the_rest_of_the_feedback():
    def script(request, number):
        failed = Completion("", "failed", error="status 500")
        return say(number) if number % 2 == 0 else failed

    kept, draws, model = solve(IterativeRefinement(iterations=3, feedback="both"), script)
    assert (kept.text, shown(model.asked[4]), shown(model.asked[4], "worst")) == ("4", "2", "0")
    assert "<review>" not in model.asked[4].messages[-1].content
    assert draws.origins[4].parents == (2, 0)


def test_blind_revision_shows_and_keeps_the_last():
    strategy = IterativeRefinement(iterations=4, revise="last", feedback="both")
    kept, _, model = solve(strategy, criticised)
    assert [shown(one, "last") for one in model.asked[2::2]] == ["0", "2", "4"]
    assert kept.text == "6"
    falling = listed(9, 8, 7, Completion("", "failed", error="no"))
    kept, *_ = solve(IterativeRefinement(iterations=4, revise="last"), falling)
    assert kept.text == "7"


def test_shuffled_feedback_has_the_form_and_the_scores_of_the_real_one():
    """Random answers in the two places, each pair as often; scores of the best and the worst."""
    texts, pairs = (5, 1, 3, 2), Counter()
    real = IterativeRefinement(iterations=4)
    for seed in range(120):
        strategy = IterativeRefinement(iterations=4, revise="shuffled")
        kept, draws, model = solve(strategy, listed(*texts), seed=seed)
        last = model.asked[3]
        pairs[shown(last), shown(last, "worst")] += 1
        assert re.findall(r"\[score \d\]", last.messages[-1].content) == ["[score 5]", "[score 1]"]
        assert draws.origins[3].parents == tuple(
            texts.index(int(shown(last, which))) for which in ("best", "worst")
        )
        assert kept.text == "5"
    assert len(pairs) == 6
    assert min(pairs.values()) > 5
    *_, model = solve(real, listed(*texts))
    assert len(model.asked[3].messages[-1].content) == len(last.messages[-1].content)


def test_sparse_scores_are_verdicts():
    _, draws, _ = solve(IterativeRefinement(iterations=3, sparse=True), listed(3, 9, 6))
    assert [origin.remarks["score"] for origin in draws.origins] == [0.0, 1.0, 0.0]


def test_noise_is_normal_of_its_size_and_shrinks_with_ratings():
    for ratings in (1, 16):
        errors = []
        for seed in range(20):
            verifier = Number()
            strategy = IterativeRefinement(
                iterations=1, candidates=50, noise=2.0, ratings=ratings, feedback="none"
            )
            _, draws, _ = solve(strategy, lambda request, number: say(number), verifier, seed=seed)
            errors += [origin.remarks["score"] - i for i, origin in enumerate(draws.origins)]
            assert set(verifier.seen.values()) == {ratings}
        assert np.std(errors) == pytest.approx(2.0 / np.sqrt(ratings), rel=0.1)
        assert abs(np.mean(errors)) < 4 * 2.0 / np.sqrt(ratings * len(errors))


def test_ratings_of_a_verifier_that_wavers_are_averaged():
    said = iter([4.0, 10.0, 1.0])
    _, draws, _ = solve(
        IterativeRefinement(iterations=1, ratings=3), listed(1), Number(lambda _: next(said))
    )
    assert draws.origins[0].remarks["score"] == 5.0


# --- prompts --------------------------------------------------------------------------------------


def test_marks_that_an_answer_copies_are_taken_out_of_it():
    verifier = Number()
    texts = ["1", "8 [score 99]", "[score 99]", "5 [score 3]"]
    kept, _, model = solve(IterativeRefinement(iterations=4), listed(*texts), verifier)
    assert (kept.text, kept.place) == ("8", None)  # as it is no longer what was drawn
    assert set(verifier.seen) == {"1", "8", "5"}
    assert shown(model.asked[3]) == "8"
    kept, *_ = solve(IterativeRefinement(iterations=1), listed("8 [score 99]"))
    assert kept.text == "8 [score 99]"  # it was shown none, so it is the answer's own
    kept, *_ = solve(IterativeRefinement(iterations=2, show_scores=False), listed(1, "8 [score 9]"))
    assert kept.text == "8 [score 9]"
    assert without_marks("a [score 1e+03]\nb [score inf].") == "a\nb."


@pytest.mark.parametrize(
    ("most", "texts"),
    [(99, ["good", "long bad"]), (8, ["good", "long [...]"]), (4, ["good"]), (1, ["good"])],
)
def test_the_worst_is_cut_first_and_the_best_is_whole(most, texts):
    pair = [Tried("good", 0, 1.0), Tried("long bad", 1, 0.0)]
    assert [one.text for one in fitted(pair, most)] == texts
    assert len(fitted([pair[0], pair[0]], 99)) == 1


def test_long_answers_are_cut_in_the_prompt():
    texts = ["1 " + "x" * 50, "2 " + "y" * 30, "3"]
    *_, model = solve(IterativeRefinement(iterations=3, most_shown=40), listed(*texts))
    assert shown(model.asked[2]) == texts[1]
    assert shown(model.asked[2], "worst") == texts[0][:8] + " [...]"
    *_, model = solve(IterativeRefinement(iterations=3, most_shown=10), listed(*texts))
    assert (shown(model.asked[2]), shown(model.asked[2], "worst")) == (texts[1], None)
    assert "the best one" not in model.asked[2].messages[-1].content


def test_feedback_goes_to_the_users_last_turn():
    turns = (Message("system", "S"), Message("user", "Q"), Message("assistant", "It is"))
    assert amended(turns, "F") == (turns[0], Message("user", "Q\n\nF"), turns[2])
    several = (Message("user", "A"), Message("assistant", "B"), Message("user", "C"))
    assert amended(several, "F") == (*several[:2], Message("user", "C\n\nF"))
    assert amended(turns[:1], "F") == (turns[0], Message("user", "F"))


def test_a_users_wording_takes_the_place_of_ours(tmp_path):
    (tmp_path / "surpass.txt").write_text("Better, please.")
    *_, model = solve(IterativeRefinement(iterations=2, prompts=str(tmp_path)), listed(1, 2))
    assert model.asked[1].messages[0].content.endswith("\n\nBetter, please.")


# --- the model of slots ---------------------------------------------------------------------------

SLOTS = Slots(20, 0.35, 0.15, 0.05)
PROBLEMS = [Problem.ask("Fill 20 slots.", id=str(n)) for n in range(150)]


class Share(Verifier):
    """Scores the share of slots that are right."""

    name = "share"

    async def verify(self, problem, texts):
        return [Verdict("0" not in text, text.count("1") / len(text)) for text in texts]


def refiner(request, number):
    """Fill slots: anew, or by mending and spoiling those that are shown."""
    rng = np.random.default_rng(request.seed)
    before = shown(request) or shown(request, "last")
    chance = np.full(SLOTS.slots, SLOTS.right)
    if before:
        chance = np.where([one == "1" for one in before], 1 - SLOTS.spoil, SLOTS.mend)
    return say("".join("01"[int(one)] for one in rng.random(SLOTS.slots) < chance))


@pytest.mark.parametrize(
    ("knobs", "wanted"),
    [
        ({"iterations": 8}, SLOTS.refined(8)[-1]),
        ({"iterations": 3, "candidates": 3}, SLOTS.refined(3, 3)[-1]),
        ({"iterations": 8, "feedback": "none"}, SLOTS.best_of(8)),
        ({"iterations": 8, "revise": "last"}, revised_share(0.35, 0.15, 0.05, 8)[-1]),
        (
            {"iterations": 8, "revise": "shuffled"},
            SLOTS.simulated(8, revise="shuffled", runs=40_000, rng=0).mean(),
        ),
        ({"iterations": 8, "noise": 0.1}, SLOTS.simulated(8, noise=0.1, runs=40_000, rng=0).mean()),
        ({"iterations": 4, "sparse": True}, 0.35),
    ],
)
def test_on_slots_it_comes_to_the_exact_share(knobs, wanted):
    answers = sw.answer(
        PROBLEMS, ScriptedModel(refiner), IterativeRefinement(**knobs), verifier=Share(), rng=0
    )
    shares = np.array([one.text.count("1") / SLOTS.slots for one in answers.answers])
    assert abs(shares.mean() - wanted) < 4 * shares.std() / np.sqrt(len(shares))


# --- names and knobs ------------------------------------------------------------------------------


def test_two_rooms_may_use_one_name():
    for name in ("iterative-refinement", "iad"):
        assert registry.find(name, "answer") is IterativeRefinement
    assert registry.find("iterative-refinement", "select").room == "select"
    assert [one.room for one in registry.methods() if one.name == "iterative-refinement"] == [
        "answer",
        "select",
    ]


@pytest.mark.parametrize(
    "knobs",
    [
        {"iterations": 0},
        {"candidates": 0},
        {"ratings": 0},
        {"most_shown": 0},
        {"patience": 0},
        {"noise": -0.1},
        {"noise": math.inf},
        {"feedback": "praise"},
        {"revise": "worst"},
    ],
)
def test_knobs_out_of_range_are_refused(knobs):
    with pytest.raises(UsageError, match=f"knob '{next(iter(knobs))}'"):
        IterativeRefinement(**knobs)
