"""Hedged sampling: the pool that is drawn, what the judge is asked, and what is kept for it."""

import asyncio
import inspect
import itertools
import re

import numpy as np
import pytest

from samplewise.answer import Judge, Meter, Sampling, answer, multilingual
from samplewise.answer.multilingual import HedgedSampling
from samplewise.budget import Budget
from samplewise.errors import InputError, UsageError
from samplewise.measure.text_similarity import SIMILARITIES
from samplewise.measure.voting import majority
from samplewise.models.completion import Completion
from samplewise.problems import Message, Problem
from samplewise.testing import ScriptedModel, ScriptedVerifier
from samplewise.verify.base import Verdict

WORDING = {  # short texts that a script can tell apart and take to pieces
    "answer": "{number}={text};",
    "checklist": "CHECKLIST {language}",
    "choose": "CHOOSE {count} by {checklist}: {answers}",
    "choose-at-once": "CHOOSE {count}: {answers}",
    "compare": "COMPARE {first} | {second}",
    "evidence": "EVIDENCE {language}: {question}",
    "translate": "TRANSLATE {language}: {question}",
}
POOL = ["a", "b", "c", "d", "e"]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompts")
    for name, text in WORDING.items():
        (folder / f"{name}.txt").write_text(text)
    return str(folder)


def problem(language="de", **known):
    row = {} if language is None else {"language": language}
    return Problem.ask("Was?", answer="7", row=row, **known)


class World:
    """A model that draws from lists, and judges by functions of what it is shown."""

    def __init__(self, pool=POOL, evidence=(), choose=None, prefer=None, tokens=1, **known):
        self.pool, self.evidence, self.tokens = list(pool), list(evidence), tokens
        self.choose = choose or (lambda shown: "1")
        self.prefer = prefer or (lambda first, second: "tie")
        self.known = known
        self.kinds = []
        self.model = ScriptedModel(self.script)

    def script(self, request, number):
        asked = request.messages[-1].content
        kind = asked.split()[0]
        self.kinds.append(kind)
        if kind == "CHECKLIST":
            return Completion("be right", tokens=self.tokens)
        if kind == "TRANSLATE":
            return Completion("What?", tokens=self.tokens)
        if kind == "CHOOSE":
            shown = dict(re.findall(r"(\d+)=([^;]*);", asked))
            said = self.choose({int(one): text for one, text in shown.items()})
            return said if isinstance(said, Completion) else Completion(said, tokens=self.tokens)
        if kind == "COMPARE":
            said = self.prefer(*asked.removeprefix("COMPARE ").split(" | "))
            return Completion(said, tokens=self.tokens)
        draws = self.pool if kind == "Was?" else self.evidence
        said = draws.pop(0)
        return said if isinstance(said, Completion) else Completion(said, tokens=self.tokens)

    def count(self, kind):
        return self.kinds.count(kind)


def solve(strategy, world, asked=None, verifier=None, budget=None):
    """Give what is kept and the draws."""
    asked = asked or problem()

    async def inside():
        budget_ = None if budget is None else Budget.parse(budget)
        draws = Meter(world.model, Sampling(max_tokens=99), budget=budget_).of(asked)
        return await strategy.solve(draws, Judge(verifier or ScriptedVerifier(), asked)), draws

    return asyncio.run(inside())


def naming(text):
    """A judge that names one text wherever it stands."""
    return lambda shown: str(next(number for number, one in shown.items() if one == text))


def preferring(worth):
    """A judge of pairs that knows what each text is worth."""

    def prefer(first, second):
        return "tie" if worth[first] == worth[second] else "AB"[worth[first] < worth[second]]

    return prefer


# --- the pool -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "heats"),
    [
        ({}, [0.0, 0.7, 0.7, 0.7, 0.7]),
        ({"hedge": False}, [0.7] * 5),
        ({"samples": 1}, [0.0]),
        ({"samples": 3, "temperature": 0.9}, [0.0, 0.9, 0.9]),
        ({"temperatures": "0.3, 1"}, [0.0, 0.3, 1.0, 0.3, 1.0]),
        ({"temperatures": "0.3, 1", "hedge": False}, [0.3, 1.0, 0.3, 1.0, 0.3]),
    ],
)
def test_the_pool_holds_one_greedy_answer_within_its_size(knobs, heats):
    world = World()
    _, draws = solve(HedgedSampling(selector="random", **knobs), world)
    assert [request.temperature for request in world.model.asked] == heats
    assert [origin.remarks["temperature"] for origin in draws.origins] == heats
    assert {origin.kind for origin in draws.origins} == {"answer"}


def test_min_p_is_for_the_warm_answers_alone(prompts):
    world = World(evidence="xyz")
    solve(HedgedSampling(selector="x-mbr", min_p=0.1, prompts=prompts), world)
    assert [request.min_p for request in world.model.asked[:8]] == [0, *[0.1] * 7]
    assert {request.min_p for request in world.model.asked[8:]} == {0}


@pytest.mark.parametrize("selector", ["chops", "mbr", "x-mbr", "tournament", "random", "longest"])
def test_one_sample_or_equal_ones_are_kept_without_a_judge(selector):
    for pool in (["a"], ["a"] * 5):
        world = World(pool)
        strategy = HedgedSampling(samples=len(pool), selector=selector)
        kept, draws = solve(strategy, world)
        assert (kept.text, kept.place, len(draws.made)) == ("a", 0, len(pool))


# --- CHOPS ----------------------------------------------------------------------------------------


def test_chops_is_one_call_of_the_judge_whatever_the_pool(prompts):
    for size in (2, 5):
        world = World(POOL[:size], choose=naming("b"))
        kept, draws = solve(HedgedSampling(size, prompts=prompts), world)
        assert (kept.text, kept.place, world.count("CHOOSE")) == ("b", 1, 1)
        assert len(draws.made) == size + 1
        assert draws.origins[-1].kind == "verdict"
        assert draws.origins[-1].parents == tuple(range(size))
        assert draws.origins[-1].remarks["choice"] == 1
        assert world.model.asked[-1].temperature == 0
        assert draws.origins[1].remarks["calls"] == 1


def test_a_checklist_of_its_own_is_one_call_more_and_is_shown(prompts):
    world = World(choose=naming("d"))
    kept, draws = solve(HedgedSampling(checklist="apart", prompts=prompts), world)
    assert world.kinds[5:] == ["CHECKLIST", "CHOOSE"]
    assert world.model.asked[5].messages[-1].content == "CHECKLIST German"
    assert "CHOOSE 5 by be right: " in world.model.asked[6].messages[-1].content
    assert draws.origins[6].parents == (0, 1, 2, 3, 4, 5)
    assert draws.origins[kept.place].remarks["checklist"] == "be right"
    assert draws.origins[kept.place].remarks["calls"] == 2


def test_chops_keeps_the_same_text_of_a_permuted_pool(prompts):
    for pool in itertools.permutations("abcd"):
        kept, _ = solve(HedgedSampling(4, prompts=prompts), World(pool, choose=naming("c")))
        assert (kept.text, kept.place) == ("c", pool.index("c"))


def test_a_judge_that_always_takes_the_first_is_told_by_the_shuffle(prompts):
    problems = [problem(id=str(number)) for number in range(300)]

    def kept(shuffle):
        world = World(POOL * 300)
        strategy = HedgedSampling(shuffle=shuffle, prompts=prompts)
        answers = answer(problems, world.model, strategy, verifier=ScriptedVerifier(), rng=0)
        return np.bincount([one.place for one in answers.answers], minlength=5)

    assert kept(False).tolist() == [300, 0, 0, 0, 0]
    assert (np.abs(kept(True) - 60) < 4 * np.sqrt(300 * 0.2 * 0.8)).all()


@pytest.mark.parametrize("bad", ["none of them", "0", "6", "2 or 3", "", "3. It is clear"])
def test_a_reply_that_names_no_answer_is_asked_for_once_more(prompts, bad):
    replies = iter([bad, "4"])
    world = World(choose=lambda shown: next(replies))
    kept, draws = solve(HedgedSampling(shuffle=False, prompts=prompts), world)
    assert (kept.place, world.count("CHOOSE")) == (3, 2)
    assert [request.temperature for request in world.model.asked[5:]] == [0, 0.7]
    assert [origin.remarks["choice"] for origin in draws.origins[5:]] == [None, 3]
    assert "fallback" not in draws.origins[3].remarks
    kept, draws = solve(
        HedgedSampling(shuffle=False, prompts=prompts), World(choose=lambda shown: bad)
    )
    assert (kept.place, len(draws.made)) == (0, 7)
    assert draws.origins[0].remarks["fallback"] is True


def test_a_verdict_that_was_cut_or_failed_is_none(prompts):
    for finish in ("length", "failed"):
        world = World(choose=lambda shown, finish=finish: Completion("2", finish, tokens=1))
        kept, draws = solve(HedgedSampling(prompts=prompts), world)
        assert (kept.place, draws.origins[0].remarks["fallback"]) == (0, True)


# --- pairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "calls", "samples"),
    [
        ({"selector": "mbr"}, 20, 0),
        ({"selector": "mbr", "both_orders": False}, 10, 0),
        ({"selector": "x-mbr"}, 20 + 15, 3),
        ({"selector": "x-mbr", "evidence": 1, "both_orders": False}, 10 + 5, 1),
        ({"selector": "x-mbr", "evidence": 0}, 20, 0),
        ({"selector": "tournament"}, 8, 0),
        ({"selector": "tournament", "both_orders": False}, 4, 0),
        ({"selector": "mbr", "utility": "exact"}, 0, 0),
        *[({"selector": one}, 0, 0) for one in ("random", "greedy", "longest", "majority")],
    ],
)
def test_the_judge_is_called_as_often_as_it_must_be(prompts, knobs, calls, samples):
    world = World(evidence="xyz")
    kept, draws = solve(HedgedSampling(prompts=prompts, **knobs), world)
    assert (world.count("COMPARE"), world.count("EVIDENCE")) == (calls, samples)
    assert len(draws.made) == 5 + samples + calls
    assert draws.origins[kept.place].remarks["calls"] == calls
    assert draws.origins[kept.place].remarks["selector"] == knobs["selector"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("evidence", ["", "xyz"])
def test_scores_are_the_mean_preferences_over_pool_and_evidence(prompts, evidence, seed):
    rng = np.random.default_rng(seed)
    said = {pair: rng.choice(["A", "B", "tie"]) for pair in itertools.product("abcdexyz", repeat=2)}
    value = {"A": 1.0, "B": 0.0, "tie": 0.5}

    def fair(one, other):
        return (value[said[one, other]] + 1 - value[said[other, one]]) / 2

    wanted = [
        np.mean(
            [fair(one, other) for other in POOL if other != one]
            + [value[said[one, other]] for other in evidence]
        )
        for one in POOL
    ]
    world = World(evidence=evidence, prefer=lambda first, second: said[first, second])
    strategy = HedgedSampling(selector="x-mbr", evidence=len(evidence), prompts=prompts)
    kept, draws = solve(strategy, world)
    assert [draws.origins[place].remarks["score"] for place in range(5)] == pytest.approx(wanted)
    assert kept.place == int(np.argmax(np.round(wanted, 9)))


def test_without_evidence_x_mbr_is_mbr(prompts):
    worth = dict(zip("abcde", [1, 3, 5, 2, 4], strict=True))
    failed = Completion("", "failed", error="status 500")
    found = []
    for knobs, evidence in (
        ({"selector": "mbr"}, []),
        ({"selector": "x-mbr", "evidence": 0}, []),
        ({"selector": "x-mbr", "evidence": 3}, [failed, " ", failed]),
    ):
        world = World(evidence=evidence, prefer=preferring(worth))
        kept, draws = solve(HedgedSampling(prompts=prompts, **knobs), world)
        scores = [draws.origins[place].remarks["score"] for place in range(5)]
        asked = [one.messages for one in world.model.asked if "COMPARE" in one.messages[-1].content]
        found.append((kept.text, scores, asked))
    assert found[0] == found[1] == found[2]
    assert found[0][:2] == ("c", [0, 0.5, 1, 0.25, 0.75])


def test_evidence_decides_and_is_never_kept(prompts):
    # The pool cannot tell its members apart; the evidence is better than all, and like b alone.
    def prefer(first, second):
        return "B" if second == "x" and first != "b" else "tie"

    world = World(evidence="xxx", prefer=prefer)
    kept, draws = solve(HedgedSampling(selector="x-mbr", prompts=prompts), world)
    assert (kept.text, kept.place) == ("b", 1)
    assert [origin.kind for origin in draws.origins[5:8]] == ["evidence"] * 3


@pytest.mark.parametrize("selector", ["mbr", "x-mbr", "tournament"])
@pytest.mark.parametrize("reply", ["tie", "A", "B", "both are good", ""])
def test_ties_and_replies_that_prefer_none_keep_the_greedy_answer(prompts, selector, reply):
    world = World(evidence="xyz", prefer=lambda first, second: reply)
    kept, draws = solve(HedgedSampling(selector=selector, prompts=prompts), world)
    assert (kept.text, kept.place) == ("a", 0)
    preference = draws.origins[-1].remarks["preference"]
    assert preference == {"tie": 0.5, "A": 1.0, "B": 0.0}.get(reply)
    if selector != "tournament" and preference in (None, 0.5):
        assert {origin.remarks["score"] for origin in draws.origins[:5]} == {0.5}


@pytest.mark.parametrize("both_orders", [True, False])
@pytest.mark.parametrize("selector", ["mbr", "tournament"])
def test_a_judge_that_knows_the_best_finds_it_in_every_pool(prompts, selector, both_orders):
    strategy = HedgedSampling(4, selector=selector, both_orders=both_orders, prompts=prompts)
    prefer = preferring({text: -place for place, text in enumerate("dbca")})
    for pool in itertools.permutations("abcd"):
        kept, _ = solve(strategy, World(pool, prefer=prefer))
        assert (kept.text, kept.place) == ("d", pool.index("d"))


def test_equal_answers_are_judged_once_and_count_as_often_as_they_were_drawn(prompts):
    world = World(["a", "b", "b", "c", "b"], prefer=preferring({"a": 2, "b": 1, "c": 0}))
    _, draws = solve(HedgedSampling(selector="mbr", prompts=prompts), world)
    assert world.count("COMPARE") == 6
    scores = [origin.remarks["score"] for origin in draws.origins[:5]]
    # b ties with its two other draws, loses to a and beats c
    assert scores == pytest.approx([1, 0.5, 0.5, 0, 0.5])


# --- other selectors and utilities ----------------------------------------------------------------


class Scores(ScriptedVerifier):
    async def verify(self, problem, texts):
        self.judged = len(texts)
        return [Verdict(False, float(text.split()[0]), self.extract(text)) for text in texts]


def test_best_of_n_scores_each_once_and_takes_the_first_of_the_highest():
    verifier, strategy = Scores(), HedgedSampling(selector="best-of-n")
    kept, draws = solve(strategy, World(["1 a", "3 b", "2 c", "3 d", "0 e"]), verifier=verifier)
    assert (kept.place, verifier.judged) == (1, 5)
    assert draws.origins[1].remarks["calls"] == 5
    assert [origin.remarks["score"] for origin in draws.origins] == [1, 3, 2, 3, 0]
    assert strategy.asks_verifier()
    assert not HedgedSampling().asks_verifier()


@pytest.mark.parametrize("seed", range(5))
def test_exact_match_is_the_plurality_of_texts_and_the_vote_that_of_answers(seed):
    pool = [f"so {one}" for one in np.random.default_rng(seed).integers(3, size=5)]
    wanted = pool[majority(pool)]
    for knobs in ({"selector": "mbr", "utility": "exact"}, {"selector": "majority"}):
        assert solve(HedgedSampling(**knobs), World(pool))[0].text == wanted


def test_the_vote_counts_final_answers():
    kept, _ = solve(HedgedSampling(selector="majority"), World(["is 1", "a 2", "b 2", "c", "d"]))
    assert (kept.text, kept.place) == ("a 2", 1)


class Table:
    """An embedder that knows the vectors of a few texts, of any length."""

    vectors = {"a": (2, 0), "b": (3, 3), "c": (0, -1), "x": (0, 5), "y": (1, 1)}  # noqa: RUF012

    def embed(self, texts):
        return np.array([self.vectors[text] for text in texts], np.float32)


def cosine(one, other):
    one, other = np.array(Table.vectors[one]), np.array(Table.vectors[other])
    return one @ other / np.sqrt((one @ one) * (other @ other))


def shorter(one, other):
    return len(one) / (len(one) + 2 * len(other))


@pytest.mark.parametrize("selector", ["mbr", "x-mbr"])
@pytest.mark.parametrize("utility", ["token-f1", "chrf", "exact", "embedding", "own"])
def test_utilities_are_averaged_over_pool_and_evidence(
    prompts, utility, selector, tmp_path, monkeypatch
):
    monkeypatch.setattr(multilingual, "_embedder", lambda spec, url: Table())
    (tmp_path / "own.py").write_text(inspect.getsource(shorter))
    pool, evidence = ["the cat sat", "a cat sat on a mat", "taxes"], ["the cat", "cats sat"]
    if utility == "embedding":
        pool, evidence = ["a", "b", "c"], ["x", "y"]
    by = {**SIMILARITIES, "embedding": cosine, "own": shorter}[utility]
    further = evidence if selector == "x-mbr" else []
    wanted = [
        np.mean([by(one, other) for j, other in enumerate([*pool, *further]) if j != place])
        for place, one in enumerate(pool)
    ]
    named = f"{tmp_path / 'own.py'}:shorter" if utility == "own" else utility
    strategy = HedgedSampling(3, selector=selector, utility=named, evidence=2, prompts=prompts)
    kept, draws = solve(strategy, World(pool, evidence))
    scores = [draws.origins[place].remarks["score"] for place in range(3)]
    assert scores == pytest.approx(wanted, abs=1e-6)
    assert (kept.place, len(draws.made)) == (int(np.argmax(wanted)), 3 + len(further))


def test_likeliest_takes_the_mean_log_probability():
    chances = {"a": (-1.0, -1.0), "b": (-0.5, -0.9, -0.1), "c": (-0.4, -1.2)}
    pool = [Completion(text, tokens=2, log_probabilities=one) for text, one in chances.items()]
    world = World(pool)
    assert solve(HedgedSampling(3, selector="likeliest"), world)[0].text == "b"
    assert all(request.log_probabilities for request in world.model.asked)
    with pytest.raises(UsageError, match="log-probabilities"):
        solve(HedgedSampling(3, selector="likeliest"), World())


def test_longest_greedy_and_random():
    pool = ["ab", "abcd", "abcd!", "abc", "a"]
    assert solve(HedgedSampling(selector="longest"), World(pool))[0].place == 2
    assert solve(HedgedSampling(selector="greedy"), World(pool))[0].place == 0
    answers = answer(
        [problem(id=str(number)) for number in range(200)],
        ScriptedModel(lambda request, number: Completion(str(number % 5), tokens=1)),
        HedgedSampling(selector="random"),
        verifier=ScriptedVerifier(),
        rng=0,
    ).answers
    counts = np.bincount([one.place for one in answers], minlength=5)
    assert (np.abs(counts - 40) < 4 * np.sqrt(200 * 0.2 * 0.8)).all()


# --- languages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "knobs", "wanted"),
    [
        ("de", {}, "English"),
        ("en-GB", {}, "Chinese"),
        ("English", {}, "Chinese"),
        ("en", {"evidence_language": "fr"}, "French"),
        ("en", {"language": "de"}, "Chinese"),  # the row goes before the knob
        (None, {"language": "de"}, "English"),
        (None, {"evidence_language": "eo"}, "eo"),
    ],
)
def test_evidence_is_in_english_or_else_in_chinese(prompts, told, knobs, wanted):
    world = World(evidence="xyz")
    strategy = HedgedSampling(selector="x-mbr", prompts=prompts, **knobs)
    solve(strategy, world, problem(told))
    asked = [one for one in world.model.asked if "EVIDENCE" in one.messages[-1].content]
    assert {one.messages[-1].content for one in asked} == {f"EVIDENCE {wanted}: Was?"}
    assert [one.temperature for one in asked] == [0.7] * 3


def test_the_field_of_the_language_can_have_another_name(prompts):
    world = World(choose=naming("a"))
    asked = Problem.ask("Was?", row={"lang": "hi"})
    strategy = HedgedSampling(language_field="lang", checklist="apart", prompts=prompts)
    solve(strategy, world, asked)
    assert world.model.asked[5].messages[-1].content == "CHECKLIST Hindi"


def test_x_mbr_refuses_a_problem_without_a_language_before_any_draw():
    world = World()
    with pytest.raises(InputError, match=r"(?s)language.*language_field"):
        solve(HedgedSampling(selector="x-mbr"), world, problem(None))
    assert not world.model.asked


def test_evidence_of_a_translated_problem(prompts):
    world = World(evidence="xyz")
    strategy = HedgedSampling(selector="x-mbr", evidence_by="translation", prompts=prompts)
    _, draws = solve(strategy, world)
    assert world.model.asked[5].messages[-1].content == "TRANSLATE English: Was?"
    assert [one.messages for one in world.model.asked[6:9]] == [(Message("user", "What?"),)] * 3
    assert [origin.kind for origin in draws.origins[5:9]] == ["translation", *["evidence"] * 3]
    assert [origin.parents for origin in draws.origins[6:9]] == [(5,)] * 3


def test_evidence_of_a_users_own_function(prompts, tmp_path):
    (tmp_path / "own.py").write_text(
        "def ask(problem, language):\n    return f'{problem.question} in {language}'.upper()\n"
    )
    world = World(evidence="xyz")
    strategy = HedgedSampling(
        selector="x-mbr", evidence_by=f"{tmp_path / 'own.py'}:ask", prompts=prompts
    )
    solve(strategy, world)
    assert world.model.asked[5].messages[-1].content == "WAS? IN EN"


def test_an_answer_in_a_wrong_script_cannot_win_unless_all_are():
    pool = ["I say nothing of it", "Он говорит", "42", "Ответ (answer)", "no"]
    strategy = HedgedSampling(selector="longest", script_share=0.5)
    assert solve(strategy, World(pool), problem("ru"))[0].text == pool[1]
    assert solve(strategy, World(pool), problem("de"))[0].text == pool[0]
    assert solve(strategy, World(pool), problem("eo"))[0].text == pool[0]
    assert solve(strategy, World(["no", "never"] + ["no"] * 3), problem("ru"))[0].text == "never"


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", ["chops", "mbr", "x-mbr", "tournament"])
@pytest.mark.parametrize("budget", [1, 3, 5, 6, 7, 9])
def test_a_budget_that_does_not_last_keeps_the_best_so_far(prompts, selector, budget):
    worth = {text: place for place, text in enumerate("abcdexyz")}
    world = World(evidence="xyz", prefer=preferring(worth))
    strategy = HedgedSampling(selector=selector, shuffle=False, prompts=prompts)
    kept, draws = solve(strategy, world, budget=f"{budget} samples")
    wanted = min(budget, 6) if selector == "chops" else budget
    assert len(draws.made) == len(world.model.asked) == wanted
    assert kept.text in POOL
    if budget <= 5:  # nothing is left to judge with: the greedy answer
        assert kept.place == 0


def test_pairs_that_the_budget_does_not_reach_are_ties(prompts):
    world = World(prefer=preferring(dict(zip("abcde", range(5), strict=True))))
    strategy = HedgedSampling(selector="mbr", prompts=prompts)
    kept, draws = solve(strategy, world, budget="7 samples")  # a and b in both orders
    scores = [draws.origins[place].remarks["score"] for place in range(5)]
    assert scores == pytest.approx([0.375, 0.625, 0.5, 0.5, 0.5])
    assert kept.text == "b"


def test_failed_and_empty_answers_cannot_win_unless_all_are(prompts):
    failed = Completion("", "failed", error="status 500")
    world = World([failed, " ", "c", "d", ""], choose=naming("d"))
    kept, draws = solve(HedgedSampling(prompts=prompts), world)
    assert (kept.text, kept.place) == ("d", 3)
    assert "CHOOSE 2" in world.model.asked[-1].messages[-1].content
    assert draws.origins[-1].parents == (2, 3)
    kept, _ = solve(HedgedSampling(), World([failed, "", "", failed, ""]))
    assert (kept.text, kept.place) == ("", 1)
    kept, _ = solve(HedgedSampling(), World([failed] * 5))
    assert (kept.text, kept.reason) == (None, "status 500")
    kept, draws = solve(HedgedSampling(selector="greedy"), World([failed, "b", "c", "d", "e"]))
    assert (kept.place, draws.origins[1].remarks["fallback"]) == (1, True)


def test_tokens_are_waited_for_level_by_level(prompts):
    world = World([Completion(text, tokens=n) for n, text in enumerate("abcde", 2)], tokens=10)
    kept, draws = solve(HedgedSampling(checklist="apart", prompts=prompts), world)
    assert kept.sequential_tokens == 6 + 10 + 10
    world = World([Completion(text, tokens=n) for n, text in enumerate("abcde", 2)], tokens=10)
    kept, draws = solve(HedgedSampling(selector="tournament", prompts=prompts), world)
    assert kept.sequential_tokens == 6 + 3 * 10  # rounds of five: 2, 1 and 1 matches
    assert sum(one.tokens for one in draws.made) == 20 + 80


def test_replies_of_the_judge_can_be_kept_short(prompts):
    world = World(choose=naming("a"))
    solve(HedgedSampling(judge_tokens=7, prompts=prompts), world)
    assert [request.max_tokens for request in world.model.asked] == [99] * 5 + [7]


@pytest.mark.parametrize(
    "knobs",
    [
        {"samples": 0},
        {"temperature": -1.0},
        {"temperature": float("inf")},
        {"temperatures": "warm"},
        {"temperatures": "0.5,-1"},
        {"evidence": -1},
        {"judge_tokens": 0},
        {"script_share": 1.5},
        {"min_p": 1.5},
        {"selector": "greedy", "hedge": False},
        {"selector": "best"},
        {"utility": "bleu"},
        {"evidence_by": "nobody"},
    ],
)
def test_knobs_out_of_range_are_refused(knobs):
    with pytest.raises(UsageError, match=r"knob|utility|evidence_by"):
        HedgedSampling(**knobs)


def test_our_own_wording_shows_all_that_a_judge_needs():
    strategy = HedgedSampling(checklist="apart")
    for name in ("checklist", "choose", "choose-at-once", "compare", "translate", "evidence"):
        assert {"question", "language"} <= strategy.texts.wordings[name].blanks
    assert {"answers", "count", "checklist"} <= strategy.texts.wordings["choose"].blanks
    assert {"first", "second"} <= strategy.texts.wordings["compare"].blanks
