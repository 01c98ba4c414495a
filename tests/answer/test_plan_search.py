"""Plan search and its rivals, counted on a scripted model: nodes, calls, order, and what fails."""

import asyncio
import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest

from samplewise.answer import Judge, Meter, answer
from samplewise.answer.error_feedback import ErrorFeedback
from samplewise.answer.idea_judge import judge_ideas
from samplewise.answer.plan_search import IdeaSearch, PlanSearch, listed, subsets
from samplewise.answer.single import Single
from samplewise.answer.until_accepted import UntilAccepted
from samplewise.budget import Budget
from samplewise.errors import InputError, UsageError
from samplewise.measure.idea_diversity import idea_diversity
from samplewise.models.completion import Completion
from samplewise.problems import Message, Problem
from samplewise.testing import ScriptedModel, ScriptedVerifier

PROBLEM = Problem.ask("What?", answer="7")
FILLED = {
    "observe": "{count}",
    "derive": "{observations}",
    "sketch": "{observations}",
    "criticise": "{sketch}",
    "pseudocode": "{sketch}",
    "code_from_pseudocode": "{pseudocode}",
    "code_from_sketch": "{sketch}",
    "code_from_observations": "{observations}",
    "describe": "{answer}",
}
PLAIN = ("list", "filter", "format", "fix", "idea", "think")


@pytest.fixture(scope="module")
def terse(tmp_path_factory):
    """Wording that names each step, so that a script can tell which one it is asked for."""
    folder = tmp_path_factory.mktemp("terse")
    for name in (*FILLED, *PLAIN):
        (folder / f"{name}.txt").write_text(f"{name} {FILLED.get(name, '')}")
    (folder / "nothing.txt").write_text("-")
    return str(folder)


def step(request):
    return request.messages[-1].content.split()[0]


def lists(first, then):
    """Script lists of so many observations, all of them different; else say what was asked."""

    def script(request, number):
        if step(request) != "format":
            return Completion(request.messages[-1].content, tokens=1)
        begun = request.messages[0].content
        size, stem = (first, "o") if begun.startswith("observe") else (then, begun)
        return Completion(repr([f"{stem}{i}" for i in range(size)]), tokens=1)

    return script


def search(strategy, script, problem=PROBLEM, budget=None, seed=0):
    """Give what is kept, the draws, and the model."""
    model = ScriptedModel(script)
    meter = Meter(model, budget=budget and Budget.parse(budget), seed=seed)

    async def inside():
        draws = meter.of(problem)
        return await strategy.solve(draws, Judge(ScriptedVerifier(), problem)), draws

    kept, draws = asyncio.run(inside())
    return kept, draws, model


def kinds(draws):
    return Counter(origin.kind for origin in draws.origins)


def answers(draws):
    return [
        done.text
        for done, origin in zip(draws.made, draws.origins, strict=True)
        if origin.kind == "answer"
    ]


@pytest.mark.parametrize(
    ("first", "then", "plans"), [(3, 3, 49), (4, 3, 77), (4, 4, 121), (5, 4, 176), (6, 4, 242)]
)
def test_counts_of_two_layers(terse, first, then, plans):
    wide, deep = (1 + n + math.comb(n, 2) for n in (first, then))
    assert plans == 1 + (wide - 1) + wide * (deep - 1) == wide * deep
    for expand in ("all", "leaves"):
        strategy = PlanSearch(prompts=terse, expand=expand)
        _, draws, model = search(strategy, lists(first, then))
        assert kinds(draws) == {
            "observations": 4 * (1 + wide),
            "plan": 2 * plans,
            "critique": plans,
            "pseudocode": 2 * plans,
            "answer": 2 * plans,
        }
        assert len(model.asked) == 4 * (1 + wide) + 7 * plans


@pytest.mark.parametrize(
    ("knobs", "wanted"),
    [
        ({}, {"observations": 4, "plan": 22, "critique": 11, "pseudocode": 22, "answer": 22}),
        ({"use_fix": False}, {"observations": 4, "plan": 11, "pseudocode": 11, "answer": 11}),
        ({"use_pseudocode": False}, {"observations": 4, "plan": 22, "critique": 11, "answer": 22}),
        (
            {"use_fix": False, "use_pseudocode": False, "use_idea": False},
            {"observations": 4, "answer": 11},
        ),
        (
            {"observations_kept": 2, "use_fix": False},
            {"observations": 4, "plan": 4, "pseudocode": 4, "answer": 4},
        ),
        (
            {"largest_subset": 9, "use_fix": False},
            {"observations": 4, "plan": 16, "pseudocode": 16, "answer": 16},
        ),
        ({"largest_subset": 0, "use_fix": False}, {"plan": 1, "pseudocode": 1, "answer": 1}),
    ],
)
def test_counts_of_one_layer_of_four(terse, knobs, wanted):
    _, draws, _ = search(PlanSearch(prompts=terse, layers=1, **knobs), lists(4, 0))
    assert kinds(draws) == wanted


def test_what_is_left_out_is_written_down(terse):
    strategy = PlanSearch(prompts=terse, layers=1, observations_kept=2)
    _, draws, _ = search(strategy, lists(5, 0))
    remarks = [origin.remarks for origin in draws.origins if "left_out" in origin.remarks]
    assert remarks == [{"observations": "o0\no1", "left_out": 3}]


def test_each_level_is_asked_at_once(terse):
    kept, *_ = search(PlanSearch(prompts=terse), lists(3, 3))
    assert kept.sequential_tokens == 4 * 2 + 5  # a token a draw


def plans_of(draws):
    """Give the observations that each first plan was made from."""
    return [
        tuple(origin.remarks["observations"].split("\n"))
        for origin in draws.origins
        if origin.kind == "plan" and "observations" in origin.remarks
    ]


def test_a_plan_sees_its_own_set_or_all_above_it(terse):
    def script(request, number):
        if step(request) != "format":
            return Completion(step(request))
        first = request.messages[0].content.startswith("observe")
        return Completion('["a", "b"]' if first else '["c"]')

    def sets(expand):
        strategy = PlanSearch(prompts=terse, expand=expand, use_fix=False)
        return sorted(plans_of(search(strategy, script)[1]))

    above = [("",), ("a",), ("b",), ("a", "b")]
    assert sets("all") == sorted([*above, ("c",)])
    leaves = [tuple(filter(None, one)) + more for one in above for more in ((), ("c",))]
    assert sets("leaves") == sorted(one or ("",) for one in leaves)


@pytest.mark.parametrize(("again", "plans"), [('["a", "b"]', 4), ('["b", "a"]', 5)])
def test_equal_sets_are_one_unless_in_another_order(terse, again, plans):
    def script(request, number):
        first = request.messages[0].content.startswith("observe")
        return Completion(
            ('["a", "b"]' if first else again) if step(request) == "format" else step(request)
        )

    sets = plans_of(search(PlanSearch(prompts=terse, use_fix=False), script)[1])
    assert len(sets) == len(set(sets)) == plans
    leaves = PlanSearch(prompts=terse, use_fix=False, expand="leaves")
    assert len(plans_of(search(leaves, script)[1])) == 16


def test_every_answer_goes_back_to_the_first_observations(terse):
    _, draws, model = search(PlanSearch(prompts=terse), lists(2, 2))
    for place, origin in enumerate(draws.origins):
        assert all(parent < place for parent in origin.parents)
        assert origin.parents or step(model.asked[place]) in ("observe", "sketch")
        if origin.kind == "answer":
            [pseudocode] = origin.parents
            [plan] = draws.origins[pseudocode].parents
            assert draws.origins[pseudocode].kind == "pseudocode"
            assert draws.origins[plan].kind == "plan"
            assert model.asked[pseudocode].messages[0].content.endswith(draws.made[plan].text)
    mended = [origin for origin in draws.origins if origin.kind == "plan" and not origin.remarks]
    assert {draws.origins[origin.parents[0]].kind for origin in mended} == {"critique"}


def unreadable(request, number):
    return Completion("1. Look twice.", tokens=1)


@pytest.mark.parametrize("expand", ["all", "leaves"])
def test_lists_that_cannot_be_read_leave_the_bare_problem(terse, expand):
    _, draws, model = search(PlanSearch(prompts=terse, expand=expand), unreadable)
    assert kinds(draws)["answer"] == 2
    tries = [one.temperature for one in model.asked if step(one) == "format"]
    assert tries == [0.0, 0.2, 0.4] * 2  # of the root and of its one child


def test_only_what_could_not_be_read_is_asked_for_again(terse):
    def script(request, number):
        if step(request) != "format":
            return Completion(request.messages[-1].content)
        begun = request.messages[0].content
        if begun.startswith("observe"):
            return Completion('["a", "b"]')
        return Completion("no list" if "- b" in begun and request.temperature < 0.3 else '["c"]')

    _, draws, model = search(PlanSearch(prompts=terse, use_fix=False), script)
    tries = Counter(one.temperature for one in model.asked if step(one) == "format")
    assert tries == {0.0: 1 + 4, 0.2: 2, 0.4: 2}
    assert len(plans_of(draws)) == 5


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('["a", "b"]', ["a", "b"]),
        ("```python\n['a',\n 'b',]\n```\nDone [1].", ["a", "b"]),
        ('```\nfound = ["a"]\n```', ["a"]),
        ('[" a ", "a", "", " "]', ["a"]),
        ('["it\'s \\( x \\)"]', ["it's \\( x \\)"]),
        ('["a]", "[b"]', ["a]", "[b"]),
        ("[]", []),
        ("", None),
        ("a, b", None),
        ('["a", 1]', None),
        ('["a", "b"', None),
        ('("a", "b")', None),
        ('{"a": "b"}', None),
        ('["a" for _ in (1,)]', None),
        ("[__import__('os').getcwd()]", None),
        ("[" * 5000 + "]" * 5000, None),
        ('["\0"]', None),
    ],
)
def test_lists_are_read_and_never_run(text, lines):
    assert listed(text) == lines


@pytest.mark.parametrize("n", range(6))
@pytest.mark.parametrize("largest", range(4))
def test_subsets_are_all_there_are(n, largest):
    lines = [str(i) for i in range(n)]
    masks = itertools.product([False, True], repeat=n)
    wanted = {tuple(itertools.compress(lines, mask)) for mask in masks if sum(mask) <= largest}
    found = subsets(lines, largest)
    assert set(found) == wanted
    assert len(found) == len(wanted) == sum(math.comb(n, j) for j in range(largest + 1))


def answered(terse, seed=0, **knobs):
    strategy = PlanSearch(prompts=terse, layers=1, **knobs)
    return search(strategy, lists(3, 0), seed=seed)


def test_the_pool_is_shuffled_by_the_seed(terse):
    pool = answers(answered(terse)[1])
    assert answers(answered(terse)[1]) == pool
    other = answers(answered(terse, seed=1)[1])
    assert other != pool
    assert sorted(other) == sorted(pool)


@pytest.mark.parametrize("samples", [1, 3, 14, 20])
def test_fewer_or_more_answers_than_plans(terse, samples):
    pool = answers(answered(terse)[1])
    assert len(pool) == 14
    _, draws, _ = answered(terse, samples=samples)
    assert answers(draws) == [pool[place % 14] for place in range(samples)]
    if samples < 14:  # only what these need is drawn
        assert kinds(draws)["plan"] <= 2 * samples
        assert kinds(draws)["critique"] <= samples


@pytest.mark.parametrize("allowed", range(1, 19))
def test_a_budget_may_end_in_any_level(terse, allowed):
    strategy = PlanSearch(prompts=terse, layers=1)
    _, whole, _ = search(strategy, lists(1, 0))
    assert len(whole.made) == 18  # 4 and 7 for each of 2 plans; 4 of them answers
    kept, draws, _ = search(strategy, lists(1, 0), budget=f"{allowed} samples")
    assert draws.made == whole.made[:allowed]
    drawn = answers(draws)
    assert (kept.text in drawn) if drawn else kept.text is None
    assert kept.text is not None or kept.reason == "no plan led to an answer"


def broken_at(name, how):
    """Let every draw of one step fail, or come back empty."""
    usual = lists(2, 2)

    def script(request, number):
        if step(request) == name:
            return Completion("", "failed", error="status 500") if how == "failed" else how
        return usual(request, number)

    return script


@pytest.mark.parametrize("how", ["failed", Completion(" \n", tokens=1)])
@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("observe", 2 * 4),  # the second layer draws observations from none
        ("list", 2),
        ("filter", 2),
        ("format", 2),
        ("derive", 2 * 4),
        ("sketch", 0),
        ("criticise", 4 * 4),
        ("fix", 4 * 4),
        ("pseudocode", 0),
    ],
)
def test_a_step_that_fails_costs_only_what_hangs_on_it(terse, name, drawn, how):
    kept, draws, _ = search(PlanSearch(prompts=terse), broken_at(name, how))
    assert kinds(draws)["answer"] == drawn
    assert (kept.text is None) == (drawn == 0)


@pytest.mark.parametrize("every", [3, 4, 5])
def test_draws_that_fail_now_and_then_stop_nothing(terse, every):
    usual = lists(2, 2)

    def script(request, number):
        bad = Completion("", "failed", error="status 500")
        return bad if number % every == every - 1 else usual(request, number)

    for strategy in (PlanSearch(prompts=terse), IdeaSearch(prompts=terse)):
        kept, draws, _ = search(strategy, script)
        assert draws.made[kept.place].text == kept.text
        assert draws.origins[kept.place].kind == "answer"


def test_no_answer_can_be_kept_if_all_failed(terse):
    script = broken_at("code_from_pseudocode", "failed")
    kept, draws, _ = search(PlanSearch(prompts=terse), script)
    assert kinds(draws)["answer"] == 2 * 16
    assert kept.text is None


def numbered(request, number):
    return Completion("[]" if step(request) == "format" else f"{step(request)} {number % 3}")


def test_the_verifier_keeps_the_first_of_the_pool(terse):
    problem = Problem.ask("What?", answer="1")
    strategy = IdeaSearch(prompts=terse, samples=4, selector="verifier")
    kept, draws, _ = search(strategy, numbered, problem)
    texts = [done.text for done in draws.made]
    assert kept.place == next(i for i in range(4, 8) if texts[i].endswith("1"))
    assert search(strategy, numbered, Problem.ask("What?", answer="9"))[0].text is None
    assert strategy.asks_verifier()
    assert not IdeaSearch().asks_verifier()


def test_the_vote_keeps_the_most_frequent(terse):
    kept, draws, _ = search(IdeaSearch(prompts=terse, samples=5), numbered)
    votes = [done.text.split()[-1] for done in draws.made[5:]]  # 2 0 1 2 0: a tie
    assert votes == ["2", "0", "1", "2", "0"]
    assert kept.place == 5


def test_ideas_and_their_answers(terse):
    strategy = IdeaSearch(prompts=terse, samples=9, answers_per_idea=4)
    _, draws, model = search(
        strategy, lambda request, number: Completion(f"{step(request)} {number}", tokens=1)
    )
    assert [step(one) for one in model.asked] == ["idea"] * 3 + ["code_from_sketch"] * 9
    assert [origin.parents for origin in draws.origins[3:]] == [(i // 4,) for i in range(9)]
    assert model.asked[-1].messages[0].content.endswith("idea 2")


def test_the_answers_of_a_failed_idea_are_not_drawn(terse):
    def script(request, number):
        return Completion("" if number == 1 else "x 7")

    _, draws, _ = search(IdeaSearch(prompts=terse, samples=6, answers_per_idea=2), script)
    assert [origin.parents for origin in draws.origins[3:]] == [(0,)] * 2 + [(2,)] * 2


def test_chain_of_thought_is_one_reply(terse):
    strategy = IdeaSearch(prompts=terse, samples=3, together=True)
    _, draws, model = search(strategy, numbered)
    assert [step(one) for one in model.asked] == ["think"] * 3
    assert kinds(draws) == {"answer": 3}


def test_backtranslation_starts_from_the_right_answer(terse):
    strategy = IdeaSearch(prompts=terse, samples=1, words=10)
    _, _, model = search(strategy, numbered, Problem.ask("What?", answer="sorted(a)"))
    assert model.asked[0].messages[-1].content == "describe sorted(a)"
    with pytest.raises(InputError, match="answer"):
        search(strategy, numbered, Problem.ask("What?"))


def test_temperatures_of_ideas_and_of_code(terse):
    strategy = PlanSearch(prompts=terse, idea_temperature=0.9, code_temperature=0.1)
    _, _, model = search(strategy, lists(1, 1))
    asked = {step(one): one.temperature for one in model.asked}
    assert asked == {
        **dict.fromkeys(("observe", "derive", "list", "filter", "sketch", "criticise", "fix"), 0.9),
        **dict.fromkeys(("pseudocode", "code_from_pseudocode"), 0.1),
        "format": 0.0,
    }


@pytest.mark.parametrize(
    "strategy",
    [
        PlanSearch(),
        PlanSearch(use_fix=False, use_pseudocode=False),
        PlanSearch(use_fix=False, use_pseudocode=False, use_idea=False),
        IdeaSearch(),
        IdeaSearch(together=True),
        IdeaSearch(words=10),
        ErrorFeedback(turns=2),
    ],
)
def test_our_wording_keeps_the_other_turns_and_leaves_no_blank(strategy):
    shots = [Message("user", "An example?"), Message("assistant", "So.")]
    turns = (Message("system", "Be brief."), *shots, Message("user", "What is it?"))
    problem = Problem("1", turns, answer="seven")
    _, _, model = search(strategy, lambda request, number: Completion('["a", "b"]'), problem)
    for request in model.asked:
        assert request.messages[:3] == turns[:3]
        assert "What is it?" in request.messages[3].content
        roles = [turn.role for turn in request.messages[1:]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        assert not re.search(r"\{[a-z_]+\}", "".join(turn.content for turn in request.messages))


def test_a_step_is_no_sample():
    found = answer(
        [PROBLEM],
        ScriptedModel(lambda request, number: Completion("so 7", tokens=2)),
        "plansearch",
        verifier=ScriptedVerifier(),
        rng=0,
    )
    assert found.counts.tolist() == [[2, 2]]
    assert found.answers[0].correct


@pytest.mark.parametrize(
    "make",
    [
        lambda: PlanSearch(observations=0),
        lambda: PlanSearch(observations_kept=0),
        lambda: PlanSearch(largest_subset=-1),
        lambda: PlanSearch(layers=0),
        lambda: PlanSearch(parse_tries=0),
        lambda: PlanSearch(samples=0),
        lambda: PlanSearch(use_idea=False),
        lambda: PlanSearch(use_idea=False, use_fix=False),
        lambda: PlanSearch(idea_temperature=-0.1),
        lambda: IdeaSearch(samples=0),
        lambda: IdeaSearch(answers_per_idea=0),
        lambda: IdeaSearch(words=0),
        lambda: IdeaSearch(together=True, words=10),
        lambda: IdeaSearch(code_temperature=float("inf")),
        lambda: ErrorFeedback(turns=0),
    ],
)
def test_knobs_out_of_range_are_refused(make):
    with pytest.raises(UsageError, match="knob"):
        make()


# --- the rival that hears of its errors -----------------------------------------------------------


def until(right):
    return lambda request, number: Completion("so 7" if number == right else "so 5", tokens=2)


@pytest.mark.parametrize("right", range(5))
def test_errors_are_fed_back_until_it_is_accepted(right):
    kept, draws, model = search(ErrorFeedback(turns=4), until(right))
    made = min(right + 1, 4)
    assert (len(draws.made), kept.place, kept.sequential_tokens) == (made, made - 1, 2 * made)
    assert [len(one.messages) for one in model.asked] == [1 + 2 * turn for turn in range(made)]
    if right < 4:  # the same draws as resampling, with more to read
        assert kept == search(UntilAccepted(attempts=4), until(right))[0]


def test_one_turn_is_a_single_sample_and_failures_end_it():
    assert search(ErrorFeedback(turns=1), until(3))[0] == search(Single(), until(3))[0]
    script = lambda request, number: Completion("so 5" if number < 2 else "", "stop")  # noqa: E731
    kept, draws, _ = search(ErrorFeedback(), script)
    assert (kept.place, len(draws.made)) == (1, 3)


# --- the judge of ideas ---------------------------------------------------------------------------

POOL = ["a1", "", "b1", None, "a2", "a3", "b2"]


def same_letter(request, number):
    """Describe an answer by its letter; say whether the letters of two are the same."""
    found = re.findall(r"<(?:answer|first|second)>\n(\w)", request.messages[-1].content)
    return Completion(found[0] if len(found) == 1 else ("Yes." if len(set(found)) == 1 else "No."))


def judged(script, budget=None, **options):
    model = ScriptedModel(script)
    draws = Meter(model, budget=budget and Budget.parse(budget)).of(PROBLEM)
    return asyncio.run(judge_ideas(draws, POOL, **options)), model


def test_every_pair_is_judged_with_both_ideas():
    found, model = judged(same_letter)
    assert found.places == (0, 2, 4, 5, 6)
    assert found.ideas == ("a", "b", "a", "a", "b")
    assert len(model.asked) == 5 + 10
    assert {one.temperature for one in model.asked} == {0.0}
    wanted = [[float(one == other) for other in found.ideas] for one in found.ideas]
    off = ~np.eye(5, dtype=bool)
    assert (found.same[off] == np.array(wanted)[off]).all()
    assert np.isnan(np.diag(found.same)).all()
    assert idea_diversity(found.same) == pytest.approx(6 / 10)


def test_a_judge_sees_at_most_so_many():
    found, model = judged(same_letter, most=3, rng=1)
    assert len(found.places) == 3
    assert len(model.asked) == 3 + 3
    assert found.places == judged(same_letter, most=3, rng=1)[0].places
    with pytest.raises(UsageError, match="most"):
        judged(same_letter, most=1)


def test_what_the_judge_does_not_say_is_not_known():
    def script(request, number):
        return Completion("Perhaps.") if number == 5 else same_letter(request, number)

    found, _ = judged(script)
    assert np.isnan(found.same[0, 1])
    assert idea_diversity(found.same) == pytest.approx(5 / 9)
    cut, _ = judged(same_letter, budget="9 samples")
    assert np.isfinite(cut.same).sum() / 2 == 4
    failed, _ = judged(lambda request, number: Completion("", "failed", error="x"))
    assert failed.places == ()
    assert np.isnan(idea_diversity(failed.same))
