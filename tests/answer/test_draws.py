"""Completions are paid for once, written down before they are used, and within the budget."""

import asyncio
import dataclasses
import sqlite3

import pytest

from samplewise.answer import Kept, Meter, Sampling, Strategy, answer
from samplewise.budget import Budget
from samplewise.errors import BudgetError, InputError, UsageError
from samplewise.ledger import Ledger
from samplewise.models.completion import Completion, Price
from samplewise.problems import Message, Problem
from samplewise.testing import ScriptedModel, ScriptedVerifier

PROBLEM = Problem.ask("What?", id="p")


def said(request, number):
    return Completion(f"{request.seed}", prompt_tokens=4, tokens=6)


def drawn(*counts, model=None, problem=PROBLEM, **options):
    """Draw so many completions after each other; what each call gave."""

    async def inside():
        meter = Meter(model or ScriptedModel(said), **options)
        draws = meter.of(problem)
        try:
            return [await draws.complete(draws.requests(count)) for count in counts]
        finally:
            await meter.close()

    return asyncio.run(inside())


def test_every_draw_of_every_problem_has_a_seed_of_its_own():
    seeds = []
    for seed in (0, 1):
        for name in "ab":
            model = ScriptedModel(said)
            drawn(5, model=model, problem=Problem.ask("?", id=name), seed=seed)
            seeds += [request.seed for request in model.asked]
    assert len(set(seeds)) == 20
    assert all(0 <= seed < 2**31 for seed in seeds)  # what servers take


@pytest.mark.parametrize("counts", [(3, 2), (5,), (1, 1, 3)])
def test_what_is_written_down_is_not_drawn_again(tmp_path, counts):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        first = [one for some in drawn(3, 2, ledger=ledger) for one in some]
    model = ScriptedModel(said)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        again = [one for some in drawn(*counts, model=model, ledger=ledger) for one in some]
        assert not model.asked
        assert again == first
        more = drawn(7, model=model, ledger=ledger)[0]
    assert len(model.asked) == 2
    assert more[:5] == first


def test_each_is_written_when_it_comes_not_when_all_have(tmp_path):
    class Dies(ScriptedModel):
        async def complete(self, requests, seen=None):
            for place, request in enumerate(requests[:3]):
                seen(place, said(request, place))
            raise ConnectionError("gone")

    with Ledger(tmp_path / "l.sqlite") as ledger:
        with pytest.raises(ConnectionError):
            drawn(5, model=Dies(said), ledger=ledger)
        known = list(ledger.completions())
    assert [key for key, *_ in known] == [f"p/{place}" for place in range(5)]
    assert [content is not None for *_, content in known] == [True] * 3 + [False] * 2


def test_another_request_under_the_same_name_is_refused(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        drawn(1, ledger=ledger)
        with pytest.raises(InputError, match="another request for draw p/0"):
            drawn(1, ledger=ledger, sampling=Sampling(temperature=1.0))


def test_a_write_that_fails_stops_the_draw(tmp_path):
    class Full(Ledger):
        def write_completions(self, asked=(), answered=()):
            if list(answered):
                raise OSError("no space left")

    with Full(tmp_path / "l.sqlite") as ledger, pytest.raises(OSError, match="no space"):
        drawn(1, ledger=ledger)


@pytest.mark.parametrize(
    ("budget", "counts", "got"),
    [
        ("5 samples", (3, 4), [3, 2]),
        ("7 samples", (3, 4), [3, 4]),
        ("40 tokens", (9,), [2]),  # 14 + 6 held each, 10 paid each
        ("50 tokens", (2, 2), [2, 1]),
        ("$0.0002", (9,), [2]),  # 14 x 1 + 6 x 10 held
        ("1 h", (3, 4), [3, 4]),
    ],
)
def test_a_draw_is_made_only_if_it_fits_the_budget(budget, counts, got):
    found = drawn(
        *counts,
        budget=Budget.parse(budget),
        price=Price(1.0, 10.0),
        sampling=Sampling(max_tokens=6),
    )
    assert [len(some) for some in found] == got


def test_a_spent_budget_is_an_error_and_stays_spent(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger, pytest.raises(BudgetError, match="spent"):
        drawn(2, 1, ledger=ledger, budget=Budget.parse("2 samples"))
    model = ScriptedModel(said)
    with Ledger(tmp_path / "l.sqlite") as ledger, pytest.raises(BudgetError, match="spent"):
        drawn(2, 1, model=model, ledger=ledger, budget=Budget.parse("2 samples"))
    assert not model.asked


@pytest.mark.parametrize(
    ("budget", "options", "words"),
    [
        ("$1", {"sampling": Sampling(max_tokens=4)}, "price"),
        ("$1", {"price": Price(1, 1)}, "max-tokens"),
        ("100 tokens", {}, "max-tokens"),
        ("5%", {}, "fraction"),
        ("1 epsilon", {}, "epsilon"),
    ],
)
def test_what_cannot_be_priced_is_refused_before_the_first_draw(budget, options, words):
    model = ScriptedModel(said)
    with pytest.raises(UsageError, match=words):
        drawn(1, model=model, budget=Budget.parse(budget), **options)
    assert not model.asked


def test_no_request_hides_a_limit_of_tokens():
    model = ScriptedModel(said)
    drawn(1, model=model)
    assert model.asked[0].max_tokens is None


@pytest.mark.parametrize(("limit", "made"), [(1, 1), (6, 1), (11, 1), (12, 2), (30, 5)])
def test_a_problem_keeps_to_its_tokens(limit, made):
    def cut(request, number):
        return Completion("7", prompt_tokens=4, tokens=min(6, request.max_tokens))

    found = answer(
        [PROBLEM],
        ScriptedModel(cut),
        "repeated",
        samples=9,
        limit=limit,
        sampling=Sampling(max_tokens=6),
        verifier=ScriptedVerifier(),
    )
    assert len(found.answers[0].completions) == made
    assert found.answers[0].tokens <= limit


def test_what_failed_is_asked_for_again(tmp_path):
    def half(request, number):
        return said(request, number) if number % 2 else Completion("", "failed", error="down")

    with Ledger(tmp_path / "l.sqlite") as ledger:
        [first] = drawn(4, model=ScriptedModel(half), ledger=ledger)
    model = ScriptedModel(said)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        [again] = drawn(4, model=model, ledger=ledger)
    assert len(model.asked) == 2
    assert [one.finish for one in again] == ["stop"] * 4
    assert again[1::2] == first[1::2]


def test_steps_on_the_way_are_neither_judged_nor_counted():
    @dataclasses.dataclass(frozen=True)
    class Planned(Strategy):
        name = "planned"

        async def solve(self, draws, judge):
            await draws.complete(draws.requests(2), kind="plan")
            drawn = await draws.complete(draws.requests(2), parents=[(0,), (0, 1)])
            draws.remark(1, score=0.5)
            return Kept(drawn[1].text, 3, 12)

    problem = Problem.ask("What?", id="p", answer="7")
    model = ScriptedModel(lambda request, number: Completion("It is 7", tokens=6))
    found = answer([problem], model, Planned(), verifier=ScriptedVerifier(), rng=0)
    [one] = found.answers
    assert [verdict.correct for verdict in one.verdicts] == [False, False, True, True]
    assert found.counts.tolist() == [[2, 2]]
    assert one.correct
    assert one.tokens == 24
    samples = one.as_json()["samples"]
    assert [sample.get("kind") for sample in samples] == ["plan", "plan", None, None]
    assert samples[3]["parents"] == (0, 1)
    assert samples[1]["remarks"] == {"score": 0.5}


def test_coverage_is_of_fair_samples_alone():
    model = ScriptedModel(lambda request, number: Completion(f"It is {7 + number % 4}", tokens=2))
    problem = Problem.ask("What?", id="p", answer="7")
    options = {"verifier": ScriptedVerifier(), "rng": 0}
    found = answer([problem], model, "repeated", samples=4, **options)
    assert found.coverage().mean == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found.coverage([2]).mean == pytest.approx([0.5])
    stopped = answer([problem], model, "until-accepted", **options)
    with pytest.raises(UsageError, match="no fair ones"):
        stopped.coverage()


@dataclasses.dataclass(frozen=True)
class TwoLevels(Strategy):
    """Two thoughts, then a question about each: what it says depends on the thoughts."""

    name = "two-levels"

    async def solve(self, draws, judge):
        thoughts = await draws.complete(draws.requests(2), kind="thought")
        requests = [
            draws.requests(1, [Message("user", f"About {thought.text}")])[0]
            for thought in thoughts
            if thought.finish != "failed"
        ]
        drawn = await draws.complete(requests, parents=[(0,)] * len(requests))
        return Kept(drawn[-1].text, len(draws.made) - 1, 2)


def test_what_follows_a_failed_draw_may_be_asked_otherwise(tmp_path):
    def script(request, number):
        return Completion(f"<{request.messages[-1].content} {request.seed}>", tokens=1)

    def flaky(request, number):
        return Completion("", "failed", error="down") if number == 0 else script(request, number)

    def run(model, ledger=None):
        options = {"rng": 0, "verifier": ScriptedVerifier(), "ledger": ledger}
        return answer([PROBLEM], model, TwoLevels(), **options).answers[0]

    with Ledger(tmp_path / "l.sqlite") as ledger:
        run(ScriptedModel(flaky), ledger)
    for asked in (3, 0):  # the failed thought and both that follow, and then nothing
        model = ScriptedModel(script)
        with Ledger(tmp_path / "l.sqlite") as ledger:
            again = run(model, ledger)
            rows = list(ledger.completions())
        assert len(model.asked) == asked
        assert again.completions == run(ScriptedModel(script)).completions
        assert len(rows) == 5  # what was paid for and is of no use any more is kept too
    assert sum("#" in key for key, *_ in rows) == 1


def test_a_level_cut_by_the_budget_is_a_beginning_of_it(tmp_path):
    """Of five draws the third was lost in flight: without money for it, only two can be used."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        [first] = drawn(5, ledger=ledger)
    with sqlite3.connect(tmp_path / "l.sqlite") as database:
        database.execute("UPDATE completions SET completion = NULL WHERE key = 'p/2'")
    with Ledger(tmp_path / "l.sqlite") as ledger:
        [again] = drawn(5, ledger=ledger, budget=Budget.parse("4 samples"))
    assert again == first[:2]
    with Ledger(tmp_path / "l.sqlite") as ledger:
        [whole] = drawn(5, ledger=ledger, budget=Budget.parse("5 samples"))
    assert whole == first
