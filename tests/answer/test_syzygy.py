"""Syzygy of thoughts: the form and how it is read, the stages, and what they equal."""

import asyncio
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplewise.answer import Judge, Meter, Sampling
from samplewise.answer.repeated import Repeated
from samplewise.answer.single import Single
from samplewise.answer.syzygy import (
    ChainOfThought,
    Grade,
    Step,
    Syzygy,
    choose,
    is_exact,
    make_form,
    read_check,
    read_final_answer,
    read_slots,
    read_steps,
    tidy,
)
from samplewise.budget import Budget
from samplewise.errors import UsageError
from samplewise.models.completion import Completion
from samplewise.problems import Message, Problem
from samplewise.testing import ScriptedModel, ScriptedVerifier
from samplewise.verify.maths import Maths
from samplewise.verify.patterns import Choice

PROBLEM = Problem.ask('What is a {x} \\ "y"?', answer="7")
TEXTS = Syzygy().texts
STAGES = {
    "module": "Do not solve it yet.",
    "betti": "How many conditions should a layer have",
    "condition": "Write the next condition",
    "answer": "Solve it completely",
    "check": "Judge the solution.",
}
GOOD = "linked: yes\ncomplete: yes\ndefined: yes\nredundant: no\naccuracy: {}\ncomplexity: 5\n"


def done(text, tokens=1, finish="stop", **known):
    return Completion(text, finish, tokens=tokens, **known)


def stage_of(request):
    asked = next(turn.content for turn in request.messages if turn.role == "user")
    return next(stage for stage, words in STAGES.items() if words in asked)


def staged(**said):
    """A model that says, stage by stage, what is listed, and then a number of its own."""
    told = {stage: itertools.count() for stage in STAGES}

    def script(request, number):
        stage = stage_of(request)
        place = next(told[stage])
        listed = said.get(stage, [])
        text = listed[place] if place < len(listed) else f"{stage} {place}"
        return text if isinstance(text, Completion) else done(text)

    return script


def solve(strategy, script, verifier=None, problem=PROBLEM, budget=None, sampling=None):
    """Give what is kept, the draws, and the model."""
    model = ScriptedModel(script)
    limit = None if budget is None else Budget.parse(f"{budget} samples")

    async def inside():
        draws = Meter(model, sampling, budget=limit).of(problem)
        return await strategy.solve(draws, Judge(verifier or ScriptedVerifier(), problem)), draws

    kept, draws = asyncio.run(inside())
    assert kept.sequential_tokens <= draws.tokens
    return kept, draws, model


def kinds(draws):
    return [origin.kind for origin in draws.origins]


# --- the form -------------------------------------------------------------------------------------


@given(st.text().filter(str.strip), st.integers(0, 12), st.integers(1, 6))
def test_the_form_is_json_with_the_slots_asked_for(problem, betti, mappings):
    form = json.loads(make_form(TEXTS, problem, betti, mappings, "number"))
    analysis = form["analysis"]
    assert analysis["module"] == problem
    assert analysis["betti_numbers"] == betti
    for part, slot, count in (
        ("free_conditions", "condition", betti),
        ("mapping", "solution", mappings),
    ):
        slots = [name for name in analysis[part] if name != "task"]
        assert slots == [f"{slot}{number}" for number in range(1, count + 1)]
        assert {analysis[part][name] for name in slots} <= {""}
    assert list(form)[-1] == "final_answer"


@pytest.mark.parametrize("wrong", [{"betti": -1}, {"mappings": 0}, {"problem": " \n"}])
def test_a_form_that_cannot_be_is_refused(wrong):
    given = {"problem": "What?", "betti": 1, "mappings": 1, "kind": "number", **wrong}
    with pytest.raises(ValueError):
        make_form(TEXTS, **given)


@pytest.mark.parametrize(
    ("reply", "kind", "answer"),
    [
        ('{"final_answer": "[42]"}', "number", "42"),
        ('{"final_answer": "2.0"}', "number", "2"),
        ('{"final_answer": "1,234"}', "number", "1234"),
        ('{"final_answer": "-3.50"}', "number", "-3.5"),
        ('{"final_answer": "3/4"}', "number", "3/4"),
        ('{"final_answer": "[0]"}', "number", "0"),
        ('{"final_answer": "50%"}', "number", "50%"),
        ('{"final_answer": "$18.00 a day"}', "number", "18"),
        ('{"final_answer": "It is 12 apples"}', "number", "12"),
        (r'{"final_answer": "[\frac{3}{4}]"}', "number", "3/4"),
        (r'{"final_answer": "[\\frac{3}{4}]"}', "number", "3/4"),
        (r'{"final_answer": "\\boxed{7}"}', "number", "7"),
        (r'{"final_answer": "[2\\sqrt{2}]"}', "number", r"2\sqrt{2}"),
        ('{"final_answer": 42}', "number", "42"),
        ('{"final_answer": [42]}', "number", "42"),
        ("{'final_answer': '[42]'}", "number", "42"),
        ('{"final_answer": {"why": "x", "value": "[42]"}}', "number", "42"),
        ('```json\n{"final_answer": {"value": "[42]"}}\n```', "number", "42"),
        ('```json\n{ "final_answer" :\n "[42]" }\n```', "number", "42"),
        (
            '{"solution1": "so \\"final\\"", "final_answer": "[4]"} "final_answer": "[5]"',
            "number",
            "5",
        ),
        ('{"a": "broken, "final_answer": "[42]"', "number", "42"),
        ('{"final_answer": "[05/31/2021]"}', "date", "05/31/2021"),
        ('{"final_answer": "2021-05-31"}', "date", "05/31/2021"),
        ('{"final_answer": "[May 31, 2021]"}', "date", "05/31/2021"),
        ('{"final_answer": "[31/31/2021]"}', "date", None),
        ('{"final_answer": "[B]"}', "option", "B"),
        ('{"final_answer": "(b) 3/4"}', "option", "B"),
        ('{"final_answer": "Option C."}', "option", "C"),
        ('{"final_answer": "either B or C"}', "option", None),
        ('{"final_answer": "[Mother-in-law]"}', "relation", "mother-in-law"),
        ('{"final_answer": "one of his many uncles"}', "relation", None),
        ('{"answer": "42"}', "number", None),
        ('{"final_answer": ""}', "number", None),
        ('{"final_answer": null}', "number", None),
        ('{"final_answer": "[]"}', "number", None),
        ('{"final_answer": "[42', "number", None),
        ('{"final_answer": "no number"}', "number", None),
        (json.dumps({"final_answer": TEXTS.fill("final_answer", format="x")}), "number", None),
        ("", "number", None),
    ],
)
def test_final_answers_are_read(reply, kind, answer):
    assert read_final_answer(reply, kind) == answer


@given(st.text())
def test_no_text_breaks_a_reader(text):
    for kind in ("number", "option", "date", "relation"):
        read_final_answer(text, kind)
        read_final_answer(f'{{"final_answer": "[{text}]"}}', kind)
    read_slots(text, "solution")
    read_steps(text)
    read_check(text)


def test_slots_are_read_with_their_latex():
    text = r'{"condition1": "\frac{1}{2} < x", "condition2": " ", "solution1": "a\\b\nA: \"c\""}'
    assert read_slots(text, "condition") == {1: r"\frac{1}{2} < x"}
    assert read_slots(text, "solution") == {1: 'a\\b\nA: "c"'}


def form(answer, *solutions):
    slots = {f"solution{n}": text for n, text in enumerate(solutions, start=1)}
    return json.dumps({"condition1": "c", **slots, "final_answer": answer})


def test_one_call_fills_in_the_form():
    strategy = Syzygy(betti=3, mappings=2)
    system = Problem("1", (Message("system", "Be brief."), *PROBLEM.messages))
    kept, draws, model = solve(strategy, lambda *_: done(form("[7]", "x"), 40), problem=system)
    assert (kept.text, kept.place, kept.sequential_tokens) == ("7", None, 40)
    assert draws.origins[0].remarks == {
        "read_from": "final_answer",
        "conditions": 1,
        "solutions": 1,
    }
    [asked] = model.asked
    assert (asked.temperature, asked.max_tokens) == (0.0, 2048)
    assert [turn.role for turn in asked.messages] == ["system", "user"]
    assert asked.messages[1].content == make_form(TEXTS, PROBLEM.question, 3, 2, "number")


def test_the_runs_own_limit_holds():
    _, _, model = solve(Syzygy(), lambda *_: done("7"), sampling=Sampling(max_tokens=99))
    assert model.asked[0].max_tokens == 99


@pytest.mark.parametrize(("text", "kept"), [("It is 7", "It is 7"), (form("[7]"), "7"), ("", None)])
def test_without_conditions_it_is_plain_prompting(text, kept):
    """One solution, no condition, and a model that says the same whatever the form."""
    ours, draws, _ = solve(Syzygy(betti=0, mappings=1), lambda *_: done(text))
    assert ours.text == kept
    if kept == text:
        assert ours.text == solve(Single(), lambda *_: done(text))[0].text
    assert draws.origins[0].remarks["read_from"] in ("reply", "final_answer", "nothing")


def test_solutions_of_a_form_may_vote():
    strategy = Syzygy(aggregate="vote")
    kept, draws, _ = solve(strategy, lambda *_: done(form("[5]", "so 5", "so 7", "so 7")))
    assert kept.text == "so 7"
    assert draws.origins[0].remarks["read_from"] == "solutions"
    assert solve(strategy, lambda *_: done(form("[5]")))[0].text == "5"


def test_a_form_cut_before_its_end_has_no_answer():
    cut = form("[7]", "so 5").partition('"final')[0]
    kept, draws, _ = solve(Syzygy(), lambda *_: done(cut, finish="length"), Maths())
    assert (kept.text, kept.reason) == (None, "the form holds no answer")
    assert draws.origins[0].remarks["read_from"] == "nothing"


def test_choices_are_shown_and_a_letter_is_asked_for():
    problem = Problem.ask("2 + 2?", answer="B", choices=("3", "4"))
    kept, _, model = solve(Syzygy(), lambda *_: done(form("[b]")), Choice(), problem)
    assert kept.text == "B"
    asked = json.loads(model.asked[0].messages[0].content)
    assert asked["analysis"]["module"] == "2 + 2?\n(A) 3\n(B) 4"
    assert "letter" in asked["final_answer"]
    known = Problem.ask("3 or 4?", answer="B", choices=("3", "4"))
    assert (
        solve(ChainOfThought(), lambda *_: done("4"), problem=known)[2]
        .asked[0]
        .messages[0]
        .content.startswith("3 or 4?\n\nThink")
    )


# --- the stages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("betti", [0, 1, 4])
@pytest.mark.parametrize("mappings", [1, 3])
@pytest.mark.parametrize("scoring", ["model", "references"])
def test_a_staged_run_draws_what_it_must(betti, mappings, scoring):
    strategy = Syzygy(betti=betti, mappings=mappings, mode="staged", scoring=scoring)
    kept, draws, model = solve(strategy, staged())
    checks = mappings if scoring == "model" else 0
    wanted = ["module"] + ["condition"] * betti + ["answer"] * mappings + ["check"] * checks
    assert kinds(draws) == wanted
    assert kept.sequential_tokens == 1 + betti + 1 + (checks > 0)  # a level is waited for once
    ground = tuple(range(betti + 1))
    assert [one.parents for one in draws.origins] == [
        *[ground[:place] for place in range(betti + 1)],
        *[ground] * mappings,
        *[(betti + 1 + place,) for place in range(checks)],
    ]
    for number, request in enumerate(model.asked[1 : betti + 1]):
        shown = [f"C{n + 1}: condition {n}\n" in request.messages[0].content for n in range(betti)]
        assert shown == [n < number for n in range(betti)]
    assert all(PROBLEM.question in request.messages[0].content for request in model.asked)


def test_the_model_may_say_how_many_conditions():
    free = Syzygy(betti=None, layers=None, mappings=2, mode="staged")
    for said, count, layers in (
        ("conditions: 2\nlayers: 3", 2, 3),
        ("- **Conditions**: 0\n- **Layers**: 2", 0, 2),
        ("conditions: 99\nlayers: 99", 10, 3),
        ("I cannot say.", 10, 1),
        ("", 10, 1),
    ):
        _, draws, _ = solve(free, staged(betti=[said]))
        conditions = kinds(draws).count("condition")
        assert conditions == count * layers
        assert len(draws.made) == 2 + conditions + 2 * 2
        assert draws.origins[1].remarks == {"conditions": count, "layers": layers}
    _, draws, model = solve(Syzygy(betti=2, layers=2, mode="staged"), staged())
    scopes = [TEXTS.fill("first_layer"), TEXTS.fill("next_layer")]
    asked = [request.messages[0].content for request in model.asked[1:5]]
    assert [[scope in text for scope in scopes] for text in asked] == (
        [[True, False]] * 2 + [[False, True]] * 2
    )


def test_conditions_are_distinct():
    said = ["C1: X is  even.", "x is even", "x IS even!", "y < 3", "", "y > 3"]
    _, draws, model = solve(Syzygy(betti=4, mode="staged"), staged(condition=said))
    told = [one.remarks for one in draws.origins if one.kind == "condition"]
    assert told == [
        {"name": "C1"},
        {"dropped": "it repeats another"},
        {"dropped": "it repeats another"},
        {"name": "C2"},
        {"dropped": "it is empty"},
        {"name": "C3"},
    ]
    again = model.asked[3].messages
    assert [turn.role for turn in again] == ["user", "assistant", "user"]
    assert again[2].content == TEXTS.fill("again")
    shown = model.asked[-1].messages[0].content
    assert "C1: X is even.\nC2: y < 3\nC3: y > 3\n" in shown
    assert tidy("x < 3") != tidy("x > 3")


@pytest.mark.parametrize("aggregate", ["model", "vote"])
@pytest.mark.parametrize("answers", list(itertools.product("ab", "abc", "ac", "b", "a")))
def test_without_exact_solutions_it_is_self_consistency(answers, aggregate):
    texts = [f"so {answer}" for answer in answers]
    strategy = Syzygy(betti=0, mappings=5, mode="staged", scoring="references", aggregate=aggregate)
    kept, draws, _ = solve(strategy, staged(answer=texts))
    listed = [done(text) for text in texts]
    for rival in (Repeated(5), ChainOfThought(5)):
        assert solve(rival, lambda request, number: listed[number])[0].text == kept.text
    assert draws.origins[kept.place].remarks["kept_by"].startswith("vote of all")


@pytest.mark.parametrize("answers", list(itertools.product("ab", "abc", "ac", "b", "a")))
def test_a_vote_of_exact_solutions_is_self_consistency(answers):
    texts = [f"Step 1 [C1]: a -> b\nAnswer: {answer}" for answer in answers]
    knobs = {"betti": 1, "mappings": 5, "mode": "staged", "aggregate": "vote"}
    kept, draws, _ = solve(Syzygy(scoring="references", **knobs), staged(answer=texts))
    same = [GOOD.format(9)] * 5
    other, *_ = solve(Syzygy(scoring="model", **knobs), staged(answer=texts, check=same))
    vote, *_ = solve(Repeated(5), lambda request, number: done(texts[number]))
    assert kept.text == other.text == vote.text
    assert draws.origins[kept.place].remarks["kept_by"] == "exact solutions"


FINE = "Step 1 [C1]: a -> 2\nStep 2 [S1, C2]: b -> 7\nAnswer: 7"
STRATEGIES = {
    FINE: True,
    "**Step 1** [C1]: a -> 7\nAnswer: 7": True,
    "Step 1: a, by C2 -> 7\nAnswer: 7": True,
    "Step 1 (C3): a -> 7\nAnswer: 7": False,  # no such condition
    "Step 1: a, by C3 -> 7\nAnswer: 7": False,
    "Step 1 [S2]: a -> 2\nStep 2 [C1]: b -> 7\nAnswer: 7": False,  # it comes later
    "Step 1 [S1]: a -> 7\nAnswer: 7": False,
    "It is clear.\nAnswer: 7": False,  # no step
}


@pytest.mark.parametrize(("text", "exact"), STRATEGIES.items())
def test_exactness_by_references(text, exact):
    assert is_exact(read_steps(text), {"C1", "C2"}) == exact
    strategy = Syzygy(betti=2, mappings=1, mode="staged", scoring="references")
    kept, draws, _ = solve(strategy, staged(answer=[text]))
    assert draws.origins[kept.place].remarks["exact"] == exact


def test_a_solution_without_an_answer_is_not_exact():
    unanswered = "Step 1 [C1]: a -> b"
    strategy = Syzygy(betti=1, mappings=2, mode="staged", scoring="references")
    kept, draws, _ = solve(
        strategy, staged(answer=[unanswered, "Step 1 [C1]: a\nThe answer is (B)"]), Choice()
    )
    assert [one.remarks.get("exact") for one in draws.origins[2:]] == [False, True]
    assert kept.place == 3


def test_of_equal_answers_the_one_with_fewer_conditions_is_kept():
    more = "Step 1 [C1, C2]: a -> 7\nAnswer: 7"
    fewer = "Step 1 [C1, c1]: a -> 7\nAnswer: 7"
    knobs = {"betti": 2, "mappings": 3, "mode": "staged", "scoring": "references"}
    for aggregate in ("model", "vote"):
        kept, draws, _ = solve(
            Syzygy(aggregate=aggregate, **knobs), staged(answer=[more, fewer, fewer])
        )
        assert kept.place == 4
        assert [one.remarks["score"] for one in draws.origins[3:]] == [-3.0, -2.0, -2.0]
    assert read_steps(FINE) == [Step("S1", ("C1",)), Step("S2", ("S1", "C2"))]


def test_checks_of_the_model_decide():
    texts = ["so 5", "so 6", "so 7", "so 8"]
    checks = [
        GOOD.format(9) + "simplicity: 1",
        GOOD.format(9) + "simplicity: 9",
        GOOD.format(9).replace("redundant: no", "redundant: yes") + "simplicity: 10",
        GOOD.format(10).replace("complete: yes", "complete: no") + "simplicity: 10",
    ]
    kept, draws, model = solve(
        Syzygy(betti=0, mappings=4, mode="staged"), staged(answer=texts, check=checks)
    )
    assert kept.text == "so 6"
    scores = [(9 + 1 + 5) / 30, (9 + 9 + 5) / 30, (9 + 10 + 5) / 30 - 1, 25 / 30]
    assert [one.remarks["score"] for one in draws.origins[1:5]] == pytest.approx(scores, abs=1e-6)
    assert [one.remarks["exact"] for one in draws.origins[1:5]] == [True, True, True, False]
    assert all(
        text in r.messages[0].content for text, r in zip(texts, model.asked[5:], strict=True)
    )


def test_what_a_check_leaves_out_counts_against_the_solution():
    assert read_check("") == Grade(False, -1.0)
    assert read_check(GOOD.format(30) + "simplicity: 99") == Grade(True, round(25 / 30, 6))
    assert read_check("linked: yes\ncomplete: yes") == Grade(False, -1.0)
    assert read_check("- **Linked**: Yes.\n- complete: YES\n- defined: yes").exact


def brute_choice(answers, graded, vote):
    """The card's rule, word by word."""
    exact = [i for i, g in enumerate(graded) if g.exact and answers[i] is not None]
    if not exact:
        seen = [answer for answer in answers if answer is not None]
        return (answers.index(max(seen, key=seen.count)) if seen else None), False
    count = {i: sum(answers[j] == answers[i] for j in exact) if vote else 0 for i in exact}
    best = {i: max(graded[j].score for j in exact if answers[j] == answers[i]) for i in exact}
    first = {
        i: min(j for j in exact if graded[j].score == best[i] and answers[j] == answers[i])
        for i in exact
    }
    winner = min(exact, key=lambda i: (-count[i], -best[i], first[i]))
    return first[winner], True


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", None]), st.booleans(), st.integers(-4, 0)),
        min_size=1,
        max_size=7,
    ),
    st.booleans(),
)
def test_the_choice_is_that_of_brute_force(listed, vote):
    answers = [answer for answer, _, _ in listed]
    graded = [Grade(exact, float(score)) for _, exact, score in listed]
    assert choose(answers, graded, vote=vote) == brute_choice(answers, graded, vote)


def test_equal_answers_written_apart_vote_together():
    texts = [f"Step 1 [C1]: a\nAnswer: {answer}" for answer in ("5", "7.0", "7")]
    strategy = Syzygy(betti=1, mappings=3, mode="staged", scoring="references", aggregate="vote")
    kept, *_ = solve(strategy, staged(answer=texts), Maths())
    assert kept.place == 3


@pytest.mark.parametrize("budget", range(1, 9))
def test_the_budget_may_end_in_every_stage(budget):
    """1 module, 2 conditions, 3 solutions and their 3 checks."""
    texts = ["Step 1: a\nso 5", "Step 1: a\nso 7", "Step 1: a\nso 7"]
    strategy = Syzygy(betti=2, mappings=3, mode="staged")
    checks = [GOOD.format(n) + "simplicity: 5" for n in (9, 5, 5)]
    kept, draws, model = solve(strategy, staged(answer=texts, check=checks), budget=budget)
    assert len(model.asked) == len(draws.made) == budget
    if budget < 4:
        assert (kept.text, kept.sequential_tokens) == (None, budget)
        assert "budget is spent" in kept.reason
    else:  # unchecked solutions are not exact: all vote; with the first check, the first is kept
        assert kept.text == texts[0 if budget in (4, 5) or budget > 6 else 1]
        assert kept.sequential_tokens == 4 + (budget > 6)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_may_fail(stage):
    failed = Completion("", "failed", error="status 500")
    strategy = Syzygy(betti=None, mappings=2, mode="staged", retries=0)
    kept, draws, _ = solve(strategy, staged(**{stage: [failed] * 20}))
    if stage == "answer":
        assert (kept.text, kept.reason) == (None, "status 500")
        assert "check" not in kinds(draws)  # there is nothing to check
    else:
        assert kept.text == "answer 0"
    if stage == "condition":
        assert [one.remarks["dropped"] for one in draws.origins[2:12]] == ["status 500"] * 10


def test_empty_solutions_have_no_vote():
    kept, *_ = solve(Syzygy(betti=0, mode="staged"), staged(answer=["", "so 7", "", "", ""]))
    assert kept.text == "so 7"
    kept, *_ = solve(Syzygy(betti=0, mode="staged"), staged(answer=[""] * 5))
    assert (kept.text, kept.reason) == (None, "no solution has an answer")


# --- chain of thought -----------------------------------------------------------------------------


def test_chains_are_a_vote_of_equal_prompts():
    texts = ["so 5", "so 7", "so 7"]
    chains = ChainOfThought(3, temperature=0.9)
    kept, draws, model = solve(chains, lambda request, number: done(texts[number], 1 + number))
    assert (kept.text, kept.place, kept.sequential_tokens) == ("so 7", 1, 3)
    assert kinds(draws) == ["answer"] * 3
    assert len({request.messages for request in model.asked}) == 1
    assert len({request.seed for request in model.asked}) == 3
    assert {request.temperature for request in model.asked} == {0.9}
    assert solve(ChainOfThought(), lambda *_: done("7"))[2].asked[0].temperature == 0.6


def test_a_template_of_ones_own(tmp_path):
    (tmp_path / "advice.txt").write_text("Mind the {units}.")
    with pytest.raises(Exception, match="units"):
        ChainOfThought(prompts=str(tmp_path))
    (tmp_path / "advice.txt").write_text("Mind the units.")
    own = ChainOfThought(form="template", answer_type="date", prompts=str(tmp_path))
    asked = solve(own, lambda *_: done("7"))[2].asked[0].messages[0].content
    assert asked.startswith(f"Mind the units.\n\n{PROBLEM.question}\n\n")
    assert TEXTS.fill("date") in asked


def test_chains_end_with_the_budget():
    kept, draws, _ = solve(ChainOfThought(5), lambda *_: done("so 7"), budget=2)
    assert (kept.text, len(draws.made)) == ("so 7", 2)


@pytest.mark.parametrize(
    ("method", "knobs"),
    [
        (Syzygy, {"betti": -1}),
        (Syzygy, {"betti": None}),
        (Syzygy, {"mappings": 0}),
        (Syzygy, {"layers": 0}),
        (Syzygy, {"retries": -1}),
        (Syzygy, {"temperature": -0.1}),
        (Syzygy, {"max_tokens": 0}),
        (ChainOfThought, {"samples": 0}),
        (ChainOfThought, {"temperature": float("inf")}),
    ],
)
def test_knobs_out_of_range_are_refused(method, knobs):
    with pytest.raises(UsageError, match="knob"):
        method(**knobs)


@pytest.mark.parametrize("method", [Syzygy(), Syzygy(mode="staged"), ChainOfThought()])
def test_an_empty_problem_is_refused(method):
    with pytest.raises(UsageError, match="asks nothing"):
        solve(method, lambda *_: done("7"), problem=Problem.ask(" "))
