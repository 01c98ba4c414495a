"""What each strategy draws and keeps, counted on a scripted model."""

import asyncio
import itertools

import numpy as np
import pytest

from samplewise.answer import Judge, Meter, Sampling
from samplewise.answer.beam import Beam
from samplewise.answer.budget_forcing import BudgetForcing
from samplewise.answer.first_finish import FirstFinish, LastFinish
from samplewise.answer.repeated import Repeated
from samplewise.answer.single import Single
from samplewise.answer.until_accepted import UntilAccepted
from samplewise.errors import UsageError
from samplewise.measure.voting import majority
from samplewise.models.completion import Completion
from samplewise.problems import Problem
from samplewise.testing import ScriptedModel, ScriptedVerifier
from samplewise.verify.base import Verdict

PROBLEM = Problem.ask("What?", answer="7")


def done(text, tokens=1, **known):
    return Completion(text, tokens=tokens, seconds=tokens / 10, **known)


def solve(strategy, script, verifier=None, sampling=None):
    """Give what is kept, what was drawn, and the model."""
    if not callable(script):
        listed = list(script)
        script = lambda request, number: listed[number]  # noqa: E731
    model = ScriptedModel(script)

    async def inside():
        draws = Meter(model, sampling).of(PROBLEM)
        return await strategy.solve(draws, Judge(verifier or ScriptedVerifier(), PROBLEM)), draws

    kept, draws = asyncio.run(inside())
    return kept, draws.made, model


class Scores(ScriptedVerifier):
    """Scores a text by its first word."""

    async def verify(self, problem, texts):
        return [Verdict(False, float(text.split()[0]), self.extract(text)) for text in texts]


def test_single_keeps_the_one():
    kept, made, _ = solve(Single(), [done("is 7", 3)])
    assert (kept.text, kept.place, kept.sequential_tokens, len(made)) == ("is 7", 0, 3, 1)


@pytest.mark.parametrize(
    ("selector", "texts", "place"),
    [
        ("majority", ["0 a", "0 b", "0 b", "0 a", "0 c"], 0),  # a tie goes to the one seen first
        ("majority", ["0 a", "0 b", "0 b"], 1),
        ("best-of-n", ["1 a", "3 b", "2 a", "3 c"], 1),
        ("weighted", ["1.5 a", "3 b", "2 a"], 0),  # 3.5 for a against 3
        ("weighted", ["1 a", "1 b", "1 b"], 1),  # equal scores: a plain vote
        ("weighted", ["1 a", "3 b", "2 c"], 1),  # all answers differ: best of n
    ],
)
def test_selectors_of_repeated(selector, texts, place):
    strategy = Repeated(samples=len(texts), selector=selector)
    kept, *_ = solve(strategy, [done(text) for text in texts], Scores())
    assert (kept.text, kept.place) == (texts[place], place)


def test_repeated_keeps_the_first_that_is_accepted_or_none():
    strategy = Repeated(samples=3, selector="verifier")
    assert solve(strategy, [done("is 5"), done("is 7"), done("so 7")])[0].place == 1
    assert solve(strategy, [done("is 5")] * 3)[0].text is None


@pytest.mark.parametrize("selector", ["majority", "best-of-n", "weighted"])
def test_one_sample_is_a_single_sample(selector):
    kept, *_ = solve(Repeated(samples=1, selector=selector), [done("1 7")], Scores())
    assert kept == solve(Single(), [done("1 7")])[0]


@pytest.mark.parametrize("lengths", [[5, 3, 9, 4], [2, 2, 2], [7], [8, 1, 1, 6, 3]])
def test_first_finish_stops_after_the_shortest(lengths):
    strategy = FirstFinish(samples=len(lengths), first="length")
    kept, made, model = solve(strategy, [done(f"{i} is 7", n) for i, n in enumerate(lengths)])
    cutoff = min(lengths)
    assert kept.place == lengths.index(cutoff)
    assert kept.sequential_tokens == cutoff
    for one, length in zip(made, lengths, strict=True):
        assert one.finish == ("stop" if length == cutoff else "cancelled")
        assert one.tokens == cutoff
    assert model.cancelled == sum(length > cutoff for length in lengths)


def replayed(rng, n):
    lengths = rng.permutation(np.arange(2, 2 + n))
    return [done(f"so {rng.integers(3)}", int(length)) for length in lengths]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("n", [1, 2, 5])
def test_all_of_n_is_a_plain_vote(n, seed):
    records = replayed(np.random.default_rng(seed), n)
    vote = majority([record.text.split()[-1] for record in records])
    for strategy in (FirstFinish(n, n), LastFinish(n, n), Repeated(n)):
        assert solve(strategy, records)[0].text == records[vote].text


@pytest.mark.parametrize("seed", range(20))
def test_the_first_and_the_last_of_five_vote(seed):
    records = replayed(np.random.default_rng(seed), 5)
    for k in range(1, 6):
        for strategy, sign in ((FirstFinish(5, k), 1), (LastFinish(5, k), -1)):
            ahead = sorted(records, key=lambda one: sign * one.tokens)[:k]
            voters = [record for record in records if record in ahead]
            winner = voters[majority([one.text.split()[-1] for one in voters])]
            assert solve(strategy, records)[0].text == winner.text


def test_an_empty_or_unfinished_trace_wins_no_race():
    records = [done("", 1), done("cut", 2, finish="length"), done("is 7", 5), done("is 8", 9)]
    kept, made, _ = solve(FirstFinish(samples=4), records)
    assert kept.place == 2
    assert [one.finish for one in made] == ["stop", "length", "stop", "cancelled"]
    assert solve(FirstFinish(samples=4, require_valid=False), records)[0].place == 0


def test_if_no_trace_ends_what_can_be_read_has_a_vote():
    records = [done("so 1", 3, finish="length"), *[done("so 2", 3, finish="length")] * 2]
    assert solve(FirstFinish(samples=3), records)[0].place == 1
    assert solve(FirstFinish(samples=2), [done("", 2, finish="length")] * 2)[0].text is None


def test_equal_lengths_go_to_the_first_asked():
    assert (
        solve(FirstFinish(3, first="length"), [done(f"{i} is", 4) for i in range(3)])[0].place == 0
    )


@pytest.mark.parametrize("right", range(5))
def test_until_accepted_stops_at_the_first_that_is(right):
    records = [done("is 7" if place == right else "is 5", 2) for place in range(5)]
    kept, made, _ = solve(UntilAccepted(attempts=4), records)
    if right < 4:
        assert (kept.text, kept.place, len(made)) == ("is 7", right, right + 1)
        assert kept.sequential_tokens == 2 * (right + 1)
    else:
        assert (kept.text, len(made)) == (None, 4)
        assert "4 attempts were rejected" in kept.reason


def test_budget_forcing_says_wait_until_its_tokens_are_used():
    strategy = BudgetForcing(tokens=50, answer_tokens=10, rounds=5, header="Answer:")
    pieces = [done("First. ", 15), done("Second.", 15), done("Third.", 10), done(" 7", 2)]
    kept, made, model = solve(strategy, pieces)
    assert kept.text == "First.\nWaitSecond.\nWaitThird.\n\nAnswer: 7"
    assert [request.max_tokens for request in model.asked] == [40, 25, 10, 10]
    assert [request.stop for request in model.asked] == [("Answer:",)] * 3 + [()]
    assert [request.messages[-1].role for request in model.asked] == ["user"] + ["assistant"] * 3
    assert kept.sequential_tokens == sum(one.tokens for one in made) == 42


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_budget_forcing_waits_at_most_so_often(rounds):
    strategy = BudgetForcing(tokens=1000, answer_tokens=10, rounds=rounds)
    kept, made, _ = solve(strategy, lambda request, number: done("Hm.", 1))
    assert len(made) == rounds + 2
    assert kept.text.count("Wait") == rounds


def test_budget_forcing_answers_at_once_when_it_was_cut():
    strategy = BudgetForcing(tokens=20, answer_tokens=5)
    _, made, _ = solve(strategy, [done("on and on", 15, finish="length"), done("7", 1)])
    assert len(made) == 2


def test_beam_keeps_the_likeliest_paths_of_a_tree():
    """Two branches a stretch, the first two of them different: exhaustive search says which win."""
    chance = {"a": -0.1, "b": -0.4, "aa": -2.0, "ab": -3.0, "ba": -0.2, "bb": -1.0}

    def script(request, number):
        begun = request.messages[-1].content if request.messages[-1].role == "assistant" else ""
        text = "ab"[number % 2]
        ended = "length" if not begun else "stop"
        return done(text, 1, finish=ended, log_probabilities=(chance[begun + text],))

    kept, made, _ = solve(Beam(beams=2, branches=2, stretch=1, rounds=2), script)
    means = {x + y: (chance[x] + chance[x + y]) / 2 for x, y in itertools.product("ab", "ab")}
    assert kept.text == max(means, key=means.get) == "ba"
    assert len(made) == 8  # the first stretch is drawn for two beams at once
    assert kept.sequential_tokens == 2


def test_beam_asks_with_different_seeds():
    _, _, model = solve(
        Beam(beams=2, branches=3, rounds=3),
        lambda request, number: done(str(number), finish="length", log_probabilities=(-1.0,)),
    )
    assert len({request.seed for request in model.asked}) == len(model.asked) == 18


def test_beam_needs_log_probabilities():
    with pytest.raises(UsageError, match="log-probabilities"):
        solve(Beam(), lambda request, number: done("x"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Repeated(samples=0),
        lambda: FirstFinish(samples=0),
        lambda: FirstFinish(samples=2, finish=3),
        lambda: LastFinish(samples=2, last=0),
        lambda: UntilAccepted(attempts=0),
        lambda: BudgetForcing(tokens=10, answer_tokens=10),
        lambda: BudgetForcing(rounds=-1),
        lambda: BudgetForcing(header=""),
        lambda: Beam(beams=0),
    ],
)
def test_knobs_out_of_range_are_refused(make):
    with pytest.raises(UsageError, match="knob"):
        make()


def test_the_usual_sampling_and_the_system_turn_are_asked_for():
    sampling = Sampling(temperature=0.2, top_p=0.5, max_tokens=9, system="Be brief.")
    _, _, model = solve(Single(), [done("is 7")], sampling=sampling)
    [asked] = model.asked
    assert (asked.temperature, asked.top_p, asked.max_tokens) == (0.2, 0.5, 9)
    assert [turn.role for turn in asked.messages] == ["system", "user"]
