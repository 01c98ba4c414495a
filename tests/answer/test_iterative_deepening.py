"""Iterative deepening on scripted models: where it interrupts, what it counts, what it equals."""

import asyncio
import re

import numpy as np
import pytest

from samplewise.answer import Judge, Meter, Sampling
from samplewise.answer.budget_forcing import BudgetForcing
from samplewise.answer.iterative_deepening import (
    IterativeDeepening,
    cut_back,
    cut_forward,
    in_a_loop,
)
from samplewise.answer.repeated import Repeated
from samplewise.answer.single import Single
from samplewise.budget import Budget
from samplewise.errors import UsageError
from samplewise.models.completion import Completion
from samplewise.problems import Problem
from samplewise.testing import ScriptedModel, ScriptedVerifier
from samplewise.verify.base import Verdict
from samplewise.verify.patterns import Regex

PROBLEM = Problem.ask("What?", answer="7")
TRIGGER = IterativeDeepening().texts.fill("trigger")
HEADER = IterativeDeepening().texts.fill("header")


def done(text, tokens=1, finish="stop", **known):
    return Completion(text, finish, tokens=tokens, **known)


def solve(strategy, script, verifier=None, budget=None):
    """Give what is kept, the draws, and the model."""
    if not callable(script):
        listed = list(script)
        script = lambda request, number: listed[number]  # noqa: E731
    model = ScriptedModel(script)
    limit = None if budget is None else Budget.parse(f"{budget} samples")

    async def inside():
        draws = Meter(model, Sampling(), budget=limit).of(PROBLEM)
        return await strategy.solve(draws, Judge(verifier or ScriptedVerifier(), PROBLEM)), draws

    kept, draws = asyncio.run(inside())
    assert kept.sequential_tokens <= draws.tokens
    return kept, draws, model


def said(request):
    """What the assistant has said so far."""
    return request.messages[-1].content if request.messages[-1].role == "assistant" else ""


def counter(length):
    """A model that says w0 w1 w2 ... and ends after `length` of them."""

    def script(request, number):
        first = len(re.findall(r"\bw\d+", said(request)))
        most = request.max_tokens or length
        count = min(length - first, most)
        text = "".join(f" w{place}" for place in range(first, first + count))
        return done(text, count, "stop" if first + count == length else "length")

    return script


def lone(**knobs):
    return IterativeDeepening(samples=1, answer_tokens=0, **knobs)


@pytest.mark.parametrize(
    ("length", "gamma", "schedule", "interruptions"),
    [
        (1024, 2, "cumulative", 0),
        (1025, 2, "cumulative", 1),
        (5000, 1, "cumulative", 4),
        (5000, 1.5, "cumulative", 4),
        (5000, 2, "cumulative", 3),
        (5000, 3, "cumulative", 2),
        (5000, 1.5, "segment", 3),
        (5000, 2, "segment", 2),
        (16_000, 3, "segment", 3),
        (16_000, 1e9, "cumulative", 1),
    ],
)
def test_interruptions_are_where_the_card_says(length, gamma, schedule, interruptions):
    kept, draws, _ = solve(lone(gamma=gamma, schedule=schedule), counter(length))
    assert kept.text.count(TRIGGER) == interruptions
    assert len(draws.made) == interruptions + 1
    words = kept.text.replace(f"\n{TRIGGER}", "")
    assert words.split() == [f"w{place}" for place in range(length)]
    assert kept.sequential_tokens == draws.tokens == length
    told = draws.origins[-1].remarks
    assert told["calls"] == interruptions + 1
    assert told["ended"] == "stop"
    assert [origin.parents for origin in draws.origins] == [
        (place - 1,) if place else () for place in range(interruptions + 1)
    ]
    if interruptions and schedule == "cumulative" and gamma == 2:
        assert told["interrupted_at"] == [1024, 2048, 4096][:interruptions]


def test_stretches_are_as_long_as_what_is_left_to_the_next_budget():
    _, _, model = solve(lone(tokens=10_000), counter(20_000))
    assert [request.max_tokens for request in model.asked] == [1024, 1024, 2048, 4096, 1808]


@pytest.mark.parametrize("selector", ["majority", "verifier", "best-of-n", "weighted"])
def test_answers_shorter_than_the_first_budget_are_plain_sampling(selector):
    def script(request, number):
        return done(f"so {request.seed % 4}", 1 + request.seed % 9)

    verifier = ScriptedVerifier()
    for seed in range(10):
        problem = Problem.ask("What?", id=str(seed), answer="2")
        found = []
        for strategy in (
            IterativeDeepening(samples=5, selector=selector),
            Repeated(samples=5, selector=selector),
        ):
            draws = Meter(ScriptedModel(script)).of(problem)
            kept = asyncio.run(strategy.solve(draws, Judge(verifier, problem)))
            found.append((kept.text, kept.sequential_tokens, draws.made))
        assert found[0] == found[1]
    assert solve(lone(), counter(9))[0].text == solve(Single(), counter(9))[0].text


@pytest.mark.parametrize("seed", range(20))
def test_reflecting_alone_is_budget_forcing(seed, tmp_path):
    """No budget below the tokens, and "Wait" at every end."""
    (tmp_path / "trigger.txt").write_text("Wait")
    rng = np.random.default_rng(seed)
    rounds = int(rng.integers(1, 8))
    pieces = [int(n) for n in rng.integers(1, 20, 40)]

    def script(request, number):
        if said(request).endswith("Final answer:"):
            return done(" 7", 2)
        wanted = pieces[number]
        cut = wanted > request.max_tokens
        return done(f"Piece {number}. ", min(wanted, request.max_tokens), ["stop", "length"][cut])

    tokens = int(rng.integers(20, 60))  # fewer than the pieces: both are cut, and asked to answer
    verifier = Regex(r"Final answer: (\d+)")
    forcing = BudgetForcing(tokens=tokens, answer_tokens=10, rounds=100)
    ours = IterativeDeepening(
        samples=1,
        first_budget=tokens,
        tokens=tokens,
        answer_tokens=10,
        on_eos="reflect",
        reflections=100,
        prompts=str(tmp_path),
    )
    first, theirs, their_model = solve(forcing, script, verifier)
    second, mine, our_model = solve(ours, script, verifier)
    assert first == second
    assert first.text.endswith("Final answer: 7")
    assert theirs.made == mine.made
    shown = [[(r.messages, r.max_tokens) for r in m.asked] for m in (their_model, our_model)]
    assert shown[0] == shown[1]
    # With few rounds the model may end by itself: then it said "Wait" so often, at most.
    few = IterativeDeepening(**{**ours.settings(), "reflections": rounds})
    assert solve(few, script, verifier)[1].origins[-1].remarks["calls"] <= rounds + 2


def test_one_interruption_at_the_end_only():
    strategy = lone(first_budget=16_384, on_eos="reflect", reflections=1)
    kept, draws, _ = solve(strategy, [done("It is 5", 9), done("No, 7", 4), done("never")])
    assert kept.text == f"It is 5\n{TRIGGER}No, 7"
    assert draws.origins[-1].remarks["interrupted_at"] == [9]


def test_both_kinds_of_interruption_count_towards_the_reflections():
    pieces = [done("a", 1024, "length"), done("b", 10), done("c", 10), done("d", 10)]
    kept, draws, model = solve(lone(on_eos="reflect", reflections=2), pieces)
    assert [request.max_tokens for request in model.asked] == [1024, 1024, 4096 - 1034]
    assert draws.origins[-1].remarks["interrupted_at"] == [1024, 1034]
    assert kept.text.endswith("c")


def test_random_interruptions_are_as_many():
    strategy = IterativeDeepening(samples=3, schedule="random", answer_tokens=0, tokens=9000)
    places = []
    for _ in range(2):
        _, draws, _ = solve(strategy, counter(9000))
        each = [origin.remarks for origin in draws.origins if "calls" in origin.remarks]
        places.append([one["interrupted_at"] for one in each])
    assert places[0] == places[1]
    assert len({tuple(one) for one in places[0]}) == 3
    assert all(len(one) == 4 and one == sorted(set(one)) and one[-1] < 9000 for one in places[0])


def test_answers_are_deepened_side_by_side():
    """Three answers of 1, 3 and 2 stretches: a round is one level, and waits for its longest."""
    levels = [
        [done("x 1", 5), done("y", 20, "length"), done("z", 20, "length")],
        [done("y", 15, "length"), done("so 7", 4)],
        [done("so 7", 9)],
    ]
    levels[1][0] = done("y on", 20, "length")
    strategy = IterativeDeepening(samples=3, first_budget=20, spacing=1, tokens=1000)
    kept, draws, _ = solve(strategy, [one for level in levels for one in level])
    assert kept.text == f"y\n{TRIGGER}y on\n{TRIGGER}so 7"
    assert [origin.parents for origin in draws.origins] == [(), (), (), (1,), (2,), (3,)]
    assert kept.sequential_tokens == 20 + 20 + 9
    assert {origin.kind for origin in draws.origins} == {"piece"}


def test_a_cut_sentence_is_given_up_or_ended():
    pieces = [
        done("It is 3.5 m. So the ot", 30, "length"),
        done("her is 4 m. And", 8, "length"),
        done(" Right. 7", 5),
    ]
    knobs = {"samples": 1, "first_budget": 30, "spacing": 1, "tokens": 500}
    kept, _, model = solve(IterativeDeepening(snap="back", **knobs), [pieces[0], pieces[2]])
    assert kept.text == f"It is 3.5 m.\n{TRIGGER} Right. 7"
    kept, draws, model = solve(IterativeDeepening(snap="finish", allowance=8, **knobs), pieces)
    assert kept.text == f"It is 3.5 m. So the other is 4 m.\n{TRIGGER} Right. 7"
    assert [request.max_tokens for request in model.asked] == [30, 8, 60 - 38]
    assert said(model.asked[1]) == pieces[0].text
    assert draws.origins[-1].remarks["interrupted_at"] == [38]
    kept, *_ = solve(IterativeDeepening(snap="none", **knobs), [pieces[0], pieces[2]])
    assert kept.text == f"It is 3.5 m. So the ot\n{TRIGGER} Right. 7"
    whole = [done("It is 3.5 m.", 30, "length"), pieces[2]]
    assert len(solve(IterativeDeepening(snap="finish", **knobs), whole)[2].asked) == 2


def test_a_sentence_may_end_past_the_last_budget():
    strategy = lone(first_budget=30, tokens=60, spacing=1, snap="finish", allowance=5)
    pieces = [done("on and", 30, "length"), done(" on. A", 5, "length"), done("7", 2)]
    kept, *_ = solve(strategy, pieces)
    assert kept.text == f"on and on.\n{TRIGGER}7"


def test_where_sentences_are_cut():
    assert cut_back("One.\nTwo") == "One."
    assert cut_back("no break at all") == "no break at all"
    assert cut_back("A." + " word" * 200) == "A." + " word" * 200  # too much to give up
    assert cut_back("\nTwo") == "\nTwo"  # nothing would be left
    assert cut_back('He said "Yes."') == 'He said "Yes."'
    assert cut_forward("\nNext") == ""
    assert cut_forward("no break") == "no break"


def test_loops_are_noticed():
    assert in_a_loop(["a", ""]) is False
    assert in_a_loop(["", ""])
    assert in_a_loop(["Start. " + "Hm. Let me see. " * 4])
    assert not in_a_loop(["Start. " + "Hm. Let me see. " * 3 + "So."])


def test_a_loop_ends_an_answer_and_an_answer_is_forced():
    verifier = Regex(r"answer: (\d+)")
    pieces = [done("Hm. ", 1024, "length"), done("Hm.", 1024, "length"), done(" 7", 3)]
    kept, draws, model = solve(IterativeDeepening(samples=1), pieces, verifier)
    assert kept.text == f"Hm.\n{TRIGGER}Hm.\n\n{HEADER} 7"
    assert draws.origins[-1].remarks == {
        "ended": "loop",
        "interrupted_at": [1024],
        "calls": 3,
        "answer": "7",
    }
    assert model.asked[-1].max_tokens == 256
    # One that is read already, or that the model ended, is not asked for.
    known = [done("answer: 5 ", 1024, "length"), done("answer: 5", 1024, "length")]
    assert solve(IterativeDeepening(samples=1), known, verifier)[0].text.endswith("answer: 5")
    assert solve(IterativeDeepening(samples=1), [done("Hm.", 9)], verifier)[0].text is None


def test_the_last_answer_that_can_be_read_counts():
    verifier = Regex(r"answer: (\d+)")
    strategy = lone(on_eos="reflect", reflections=2)
    three = [done("answer: 5", 5), done("No, answer: 7", 5), done("Yes.", 5)]
    assert verifier.extract(solve(strategy, three, verifier)[0].text) == "7"
    # A reasoning model's answer is taken back when it is to think on; it stands if no other comes.
    split = [
        done("answer: 5", 5, thinking="Hm."),
        done("", 16_379, "length", thinking="Hm, no, and"),
    ]
    assert solve(strategy, split, verifier)[0].text == "answer: 5"


def test_reasoning_models_are_interrupted_in_their_thoughts_and_nowhere_else():
    pieces = [
        done("", 1024, "length", thinking="One. Two"),
        done("So", 1024, "length", thinking="Three."),
        done(" 7", 3),
    ]
    kept, _, model = solve(lone(), pieces)
    assert said(model.asked[1]) == f"<think>\nOne.\n{TRIGGER}"
    assert said(model.asked[2]) == f"<think>\nOne.\n{TRIGGER}Three.\n</think>\n\nSo"
    assert model.asked[2].max_tokens == 16_384 - 2048  # no interruption is left
    assert kept.text == "So 7"


def test_thoughts_may_end_while_a_sentence_is_finished():
    pieces = [
        done("", 1024, "length", thinking="One. Two"),
        done("So", 48, "length", thinking=" is it."),
        done(" 7", 3),
    ]
    kept, _, model = solve(lone(snap="finish"), pieces)
    assert [request.max_tokens for request in model.asked] == [1024, 48, 16_384 - 1072]
    assert kept.text == "So 7"


def test_a_thought_cut_at_the_limit_is_closed_before_the_answer_is_forced():
    strategy = IterativeDeepening(samples=1, tokens=1000)
    pieces = [done("", 744, "length", thinking="One."), done(" 7", 3)]
    kept, _, model = solve(strategy, pieces)
    assert said(model.asked[1]) == f"<think>\nOne.\n</think>\n\n{HEADER}"
    assert kept.text == f"{HEADER} 7"


def test_thoughts_within_the_text_are_left_as_they_are():
    text = "<think>\nOne.\n</think>\n\nIt is 7"
    assert solve(lone(), [done(text, 9)])[0].text == text


@pytest.mark.parametrize("budget", range(1, 9))
def test_the_budget_may_end_at_every_draw(budget):
    """Two answers of three stretches, and a forced one each."""
    knobs = {"samples": 2, "first_budget": 10, "spacing": 1, "tokens": 35, "answer_tokens": 5}

    def script(request, number):
        if said(request).endswith(HEADER):
            return done(" 7", 1)
        return done(f"P{number}", request.max_tokens, "length")

    verifier = Regex(r"answer: (\d+)")
    kept, _, model = solve(IterativeDeepening(**knobs), script, verifier, budget)
    assert len(model.asked) == budget
    assert kept.text == (None if budget < 7 else f"P0\n{TRIGGER}P2\n{TRIGGER}P4\n\n{HEADER} 7")
    assert kept.sequential_tokens == sum([10, 10, 10, 1][: (budget + 1) // 2])
    # What was drawn of the first is an answer all the same, where it can be read.
    kept, *_ = solve(IterativeDeepening(**knobs), script, budget=budget)
    assert kept.text == f"\n{TRIGGER}".join(["P0", "P2", "P4"][: (budget + 1) // 2])


def test_failed_stretches_end_their_answer_only():
    failed = Completion("", "failed", error="status 500")
    pieces = [failed, done("so 5", 1024, "length"), failed]
    kept, draws, _ = solve(IterativeDeepening(samples=2), pieces)
    assert kept.text == "so 5"
    assert [draws.origins[place].remarks["ended"] for place in (0, 2)] == ["failed", "failed"]
    kept, *_ = solve(IterativeDeepening(samples=2), [failed] * 2)
    assert (kept.text, kept.reason) == (None, "status 500")
    forced = [done("Hm. ", 1024, "length"), done("Hm. ", 1024, "length"), failed]
    kept, *_ = solve(IterativeDeepening(samples=1), forced, Regex("never"))
    assert (kept.text, kept.reason) == (None, "status 500")


def test_empty_answers_have_no_vote():
    kept, *_ = solve(IterativeDeepening(samples=3), [done(""), done("so 7"), done("")])
    assert kept.text == "so 7"
    assert solve(IterativeDeepening(samples=2), [done("")] * 2)[0].text is None


def test_scores_are_those_of_whole_answers():
    class Longest(ScriptedVerifier):
        async def verify(self, problem, texts):
            return [Verdict(False, float(len(text)), text) for text in texts]

    pieces = [done("a", 1024, "length"), done("bb", 3), done("c", 5)]
    strategy = IterativeDeepening(samples=2, selector="best-of-n")
    assert strategy.asks_verifier()
    kept, *_ = solve(strategy, pieces, Longest())
    assert kept.text == f"a\n{TRIGGER}c"


def test_nothing_runs_for_ever_where_tokens_are_not_counted():
    strategy = lone(gamma=1, first_budget=100, spacing=1, tokens=1000)
    _, draws, _ = solve(strategy, lambda request, number: done(f"P{number}", 0, "length"))
    assert len(draws.made) == 10


@pytest.mark.parametrize(
    "knobs",
    [
        {"samples": 0},
        {"first_budget": 0},
        {"gamma": 0.99},
        {"gamma": float("inf")},
        {"spacing": 0},
        {"tokens": 0},
        {"answer_tokens": -1},
        {"tokens": 10, "answer_tokens": 10},
        {"reflections": -1},
        {"allowance": 0},
    ],
)
def test_knobs_out_of_range_are_refused(knobs):
    with pytest.raises(UsageError, match="knob"):
        IterativeDeepening(**knobs)


@pytest.mark.parametrize("text", ["trigger", "header"])
def test_empty_wording_is_refused(text, tmp_path):
    (tmp_path / f"{text}.txt").write_text("\n")
    with pytest.raises(UsageError, match=f"{text}.*is empty"):
        IterativeDeepening(prompts=str(tmp_path))
