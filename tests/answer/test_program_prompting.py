"""Programs that a scripted model writes, run in the real sandbox."""

import asyncio
import json

import numpy as np
import pytest

import samplewise as sw
from samplewise.answer import Judge, Meter, Sampling
from samplewise.answer.program_prompting import ProgramPrompting, retrieve, similarities
from samplewise.budget import Budget
from samplewise.errors import InputError, UsageError
from samplewise.models.completion import Completion
from samplewise.problems import Message, Problem
from samplewise.testing import ScriptedModel, ScriptedVerifier, strategy_checks
from samplewise.verify.programs import read_examples

PROBLEM = Problem.ask("How many apples are in seven boxes of one apple?", answer="7")
EXAMPLES = [
    {"question": "How many apples are in two boxes of three apples?", "program": "print(2 * 3)"},
    {"question": "When does the train to Rome arrive?", "program": "print(9 + 2)"},
    {"question": "How many pears are in four boxes of five pears?", "program": "print(4 * 5)"},
    {"question": "How many apples are in nine boxes?", "program": "print(0)", "score": 0},
]


def function(value):
    return f"```python\ndef solution():\n    return {value}\n```"


def solve(strategy, texts, problem=PROBLEM, **options):
    """Give what is kept, the draws, and the model."""
    script = texts if callable(texts) else lambda request, number: texts[number]

    def said(request, number):
        text = script(request, number)
        return text if isinstance(text, Completion) else Completion(text, tokens=3 + number)

    model = ScriptedModel(said)

    async def inside():
        draws = Meter(model, **options).of(problem)
        return await strategy.solve(draws, Judge(ScriptedVerifier(), problem)), draws

    return *asyncio.run(inside()), model


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in EXAMPLES))
    return str(path)


def asked(strategy, problem=PROBLEM):
    """Give the one request that a strategy makes for a problem."""
    _, draws, model = solve(strategy, [function(7)], problem)
    return model.asked[0], draws


# --- retrieval ------------------------------------------------------------------------------------


def test_retrieval_is_brute_force_ranking():
    rng = np.random.default_rng(0)
    pool, query = rng.normal(size=(60, 5)), rng.normal(size=5)
    pool[30:] = 2 * pool[:30]  # every direction twice: ties go to the lower index
    cosines = [
        round(float(row @ query / np.linalg.norm(row) / np.linalg.norm(query)), 5) for row in pool
    ]
    ranked = sorted(range(60), key=lambda i: (-cosines[i], i))
    [near] = similarities([query], pool)
    assert near == pytest.approx(cosines, abs=1e-5)
    assert retrieve(near, count=60).tolist() == ranked
    assert retrieve(near, count=60, order="least-similar").tolist() == ranked[::-1]
    assert retrieve(near, count=9).tolist() == ranked[:9]
    solved = rng.random(60) < 0.4
    wanted = [i for i in ranked if solved[i] and i not in (ranked[0], ranked[3])]
    found = retrieve(near, solved, count=99, exclude=[ranked[0], ranked[3]])
    assert found.tolist() == wanted


def test_vectors_are_compared_by_their_direction():
    query, pool = [1.0, 0.0, 0.0], [[0.6, 0.8, 0.0], [3.0, 4.1, 0.0], [0.0, 0.0, 0.0]]
    assert int(np.argmax(np.array(pool) @ query)) == 1
    [near] = similarities([query], pool)
    assert retrieve(near, count=1).tolist() == [0]
    assert near[2] == 0


def test_random_and_fixed_examples():
    near, solved = np.linspace(0, 1, 20), np.arange(20) % 4 > 0
    draws = [
        retrieve(near, solved, count=5, order="random", rng=seed).tolist() for seed in range(200)
    ]
    assert draws[3] == retrieve(near, solved, count=5, order="random", rng=3).tolist()
    often = np.bincount(np.ravel(draws), minlength=20)
    assert (often[::4] == 0).all()
    assert often[solved] == pytest.approx(np.full(15, 200 * 5 / 15), abs=30)
    assert retrieve(near, solved, count=4, order="fixed").tolist() == [1, 2, 3, 5]
    assert retrieve(near, count=3, most=0.5).tolist() == [9, 8, 7]
    with pytest.raises(ValueError):
        retrieve([0.1, np.nan])
    with pytest.raises(ValueError):
        retrieve([0.1], [True, False])


# --- prompts --------------------------------------------------------------------------------------


def test_without_examples_it_asks_for_a_program():
    request, _ = asked(ProgramPrompting())
    [turn] = request.messages
    assert turn.content.startswith(PROBLEM.question)
    assert "solution()" in turn.content
    assert (request.temperature, request.max_tokens, request.stop) == (0.0, 600, ())


def test_the_most_similar_are_shown_first_and_wrong_ones_never(file):
    request, draws = asked(ProgramPrompting(examples=file))
    questions = [turn.content.split("\n")[0] for turn in request.messages if turn.role == "user"]
    wanted = [EXAMPLES[place]["question"] for place in (0, 2, 1)]
    assert questions == [*wanted, PROBLEM.question]
    assert [t.content for t in request.messages if t.role == "assistant"] == [
        f"```python\n{EXAMPLES[place]['program']}\n```" for place in (0, 2, 1)
    ]
    remarks = draws.origins[0].remarks
    assert (draws.origins[0].kind, remarks["value"]) == ("program", "7")
    assert (remarks["examples"], remarks["similarity"] > 0.5) == ("1, 3, 2", True)
    reverse, _ = asked(ProgramPrompting(examples=file, order="least-similar"))
    assert reverse.messages[0].content.startswith(EXAMPLES[1]["question"])
    fixed, _ = asked(ProgramPrompting(examples=file, order="fixed", shown=2))
    assert len(fixed.messages) == 5
    none, _ = asked(ProgramPrompting(examples=file, shown=0))
    assert none == asked(ProgramPrompting())[0]


def test_one_text_ends_where_the_program_begins(file):
    request, _ = asked(ProgramPrompting(examples=file, layout="text"))
    [turn] = request.messages
    *shown, last = turn.content.split("\n\n\n")[1:]
    for place, text in zip((0, 2, 1), shown, strict=True):
        assert EXAMPLES[place]["question"] in text
        assert text.endswith(EXAMPLES[place]["program"])
    assert PROBLEM.question in last
    assert "print" not in last
    assert request.stop == ("\n\n\n",)


def test_what_may_be_the_problem_itself_is_left_out(file):
    itself = Problem.ask(EXAMPLES[0]["question"], answer="6")
    request, _ = asked(ProgramPrompting(examples=file, shown=1), itself)
    assert request.messages[0].content.startswith(EXAMPLES[2]["question"])
    capped, draws = asked(ProgramPrompting(examples=file, most_similarity=0.3))
    assert EXAMPLES[0]["question"] not in str(capped.messages)
    assert draws.origins[0].remarks["similarity"] <= 0.3


@pytest.mark.parametrize("order", ["most-similar", "least-similar"])
def test_the_least_similar_are_dropped_from_a_long_prompt(file, order):
    length = len(EXAMPLES[0]["question"] + EXAMPLES[0]["program"])
    strategy = ProgramPrompting(examples=file, order=order, prompt_characters=length)
    request, draws = asked(strategy)
    assert len(request.messages) == 3
    assert request.messages[0].content.startswith(EXAMPLES[0]["question"])
    assert draws.origins[0].remarks["dropped"] == 2
    nothing, _ = asked(ProgramPrompting(examples=file, prompt_characters=1))
    assert len(nothing.messages) == 1


def test_a_conversation_keeps_its_turns(file):
    turns = (
        Message("system", "Be brief."),
        Message("user", "Hello"),
        Message("assistant", "Hello."),
        Message("user", "How many apples?"),
    )
    request, _ = asked(ProgramPrompting(examples=file, shown=1), Problem("1", turns, answer="7"))
    assert [turn.role for turn in request.messages] == [
        *("system", "user", "assistant", "user", "assistant", "user")
    ]
    assert request.messages[0] == turns[0]
    assert request.messages[3:5] == turns[1:3]
    assert request.messages[5].content.startswith("How many apples?")


# --- running --------------------------------------------------------------------------------------


def test_programs_run_apart_from_each_other():
    programs = [function(7), "```python\nx = 1\n```", function("1 / 0")]
    _, draws, _ = solve(ProgramPrompting(samples=3), programs)
    assert ["value" in origin.remarks for origin in draws.origins] == [True, False, False]


@pytest.mark.parametrize("value", ["'many'", "float('nan')", "float('inf')", "[7]", "True", "7j"])
def test_what_is_no_finite_number_is_no_value(value):
    strategy = ProgramPrompting(words=False)
    kept, draws, _ = solve(strategy, [function(value)])
    assert kept.text is None
    assert "finite number" in draws.origins[0].remarks["error"]
    anything = ProgramPrompting(numeric=False)
    assert solve(anything, [function("'many'")])[0].text == "many"


def test_without_bubblewrap_it_refuses(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="bubblewrap"):
        ProgramPrompting()


# --- what is kept ---------------------------------------------------------------------------------


def test_the_value_of_most_programs_is_kept():
    texts = [function(3), function("2.0"), function("1/0"), function(2), "It is 3"]
    kept, draws, model = solve(ProgramPrompting(samples=5), texts)
    assert kept == ("2", None, 7, "")  # the longest of them has 7 tokens
    assert {request.temperature for request in model.asked} == {0.5}
    assert [origin.remarks.get("value") for origin in draws.origins] == ["3", "2", None, "2", None]


def test_plain_answers_count_where_no_program_gave_a_value():
    texts = [function("1/0"), "It is 3", "So 7", "Thus 7"]
    assert solve(ProgramPrompting(samples=4), texts)[0].text == "So 7"
    kept, *_ = solve(ProgramPrompting(samples=4, words=False), texts)
    assert (kept.text, kept.reason) == (None, "no program gave a value")
    assert solve(ProgramPrompting(), [function("1/0")])[0].text is None


def test_the_run_says_how_many_tokens():
    options = {"sampling": Sampling(max_tokens=50)}
    _, _, model = solve(ProgramPrompting(), [function(7)], **options)
    assert model.asked[0].max_tokens == 50


@pytest.mark.parametrize("right", [1, 2, 4, 5])
def test_it_tries_until_the_verifier_accepts(right):
    limit = 4
    strategy = ProgramPrompting(selector="accepted", samples=limit)
    texts = [function(7 if attempt == right else 1) for attempt in range(1, limit + 1)]
    kept, _, model = solve(strategy, texts)
    calls = min(right, limit)
    assert kept.text == ("7" if right <= limit else None)
    assert [request.temperature for request in model.asked] == [0.0, 0.5, 0.5, 0.5][:calls]
    assert kept.sequential_tokens == sum(3 + number for number in range(calls))
    assert strategy.asks_verifier()
    assert not ProgramPrompting().asks_verifier()


def test_attempts_end_with_the_budget():
    strategy = ProgramPrompting(selector="accepted", samples=9)
    kept, draws, _ = solve(strategy, [function(1)] * 9, budget=Budget.parse("2 samples"))
    assert (kept.text, kept.reason, len(draws.made)) == (None, "no value was accepted", 2)


def test_attempts_cover_as_their_law_says():
    q, attempts, count = 0.4, 5, 1000
    rng = np.random.default_rng(0)
    model = ScriptedModel(lambda request, number: Completion(f"so {7 if rng.random() < q else 1}"))
    problems = [Problem.ask("What?", id=str(place), answer="7") for place in range(count)]
    strategy = ProgramPrompting(selector="accepted", samples=attempts)
    found = sw.answer(problems, model, strategy, verifier=ScriptedVerifier(), rng=0)
    law = 1 - (1 - q) ** attempts
    assert found.accuracy == pytest.approx(law, abs=3 * np.sqrt(law * (1 - law) / count))


def test_the_answers_of_one_run_are_the_examples_of_the_next(tmp_path):
    problems = [
        Problem.ask(f"What is {n} times 2?", id=f"p{n}", answer=str(2 * n)) for n in range(4)
    ]

    def script(request, number):
        n = int(request.messages[-1].content.split()[2])
        wrong = n == 3 or (n == 1 and request.temperature == 0)
        return Completion(function(0 if wrong else f"{n} * 2"), tokens=1)

    first = sw.answer(
        problems,
        ScriptedModel(script),
        "program-prompting",
        verifier=ScriptedVerifier(),
        selector="accepted",
        samples=2,
    )
    path = first.write(tmp_path)
    assert [(one.id, one.solved) for one in read_examples(path)] == [
        *[(f"p{n}", True) for n in range(3)],
        ("p3", False),
    ]
    request, _ = asked(ProgramPrompting(examples=str(path)), problems[3])
    programs = {turn.content for turn in request.messages if turn.role == "assistant"}
    assert programs == {function(f"{n} * 2") for n in range(3)}


def test_what_cannot_work_is_told_before_any_draw(tmp_path, file):
    for knobs in ({"samples": 0}, {"shown": -1}, {"seconds": 0.0}, {"decimals": -1}):
        with pytest.raises(UsageError, match=f"'{next(iter(knobs))}'"):
            ProgramPrompting(**knobs)
    with pytest.raises(UsageError, match="embedder"):
        ProgramPrompting(embed="none such")
    unsolved = tmp_path / "unsolved.jsonl"
    unsolved.write_text(json.dumps({"question": "What?", "answer": 3}) + "\n")
    with pytest.raises(UsageError, match="'examples'"):
        ProgramPrompting(examples=str(unsolved))
    unsolved.write_text(json.dumps(EXAMPLES[0] | {"score": "good"}) + "\n")
    with pytest.raises(InputError, match="line 1, field 'score'"):
        ProgramPrompting(examples=str(unsolved))


@pytest.mark.parametrize("check", strategy_checks(), ids=lambda check: check.__name__)
def test_the_contract_where_it_tries_until_accepted(check):
    if "another_process" not in check.__name__:  # slow, and passed with the default knobs
        check(ProgramPrompting(selector="accepted", samples=3))
