"""The store of solutions against its rule, and against all programs of a small grammar."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.errors import UsageError
from samplewise.train.programs import all_answers, arithmetic_trace, statement_at
from samplewise.train.solutions import Solutions, SolutionStore, Stored, begins
from samplewise.verify.trace import state_key, trace_programs

CONSTANTS = {"a": 7, "b": 3, "c": 5}
REFERENCE = "t0=a+b t1=t0*c answer=t1-a"
SHAPE = (27, 48, 75)


def traced(text):
    return arithmetic_trace(tuple(text.split()), CONSTANTS)


def begun(reference=REFERENCE, **options):
    store = SolutionStore(**options)
    store.begin(0, traced(reference))
    return store


def offered(store, text, answer=43.0):
    return store.offer(0, traced(text), answer)


def codes(buffer):
    return [" ".join(code) for code in buffer]


def program(places):
    return tuple(statement_at(place, int(index)) for place, index in enumerate(places))


ANSWERS = all_answers([7, 3, 5])
RIGHT = {program(places) for places in np.argwhere(ANSWERS == 43)}


# --- brute force ----------------------------------------------------------------------------------


def test_sixty_three_of_all_programs_are_right():
    assert ANSWERS.shape == SHAPE
    assert ANSWERS.size == 97_200
    assert len(RIGHT) == 63
    assert tuple(REFERENCE.split()) in RIGHT


def test_the_values_are_those_of_the_interpreter_and_of_python():
    rng = np.random.default_rng(0)
    places = [tuple(rng.integers(SHAPE)) for _ in range(300)]
    programs = [program(one) for one in places]
    traces = [arithmetic_trace(one, CONSTANTS) for one in programs]
    wanted = [int(ANSWERS[one]) for one in places]
    assert [int(trace[-1].state["answer"].text) for trace in traces] == wanted
    given = "\n".join(f"{name}={value}" for name, value in CONSTANTS.items())
    some = ["\n".join(one) for one in programs[:60]]
    assert trace_programs(some, [given] * 60) == traces[:60]


def test_uniform_programs_are_right_as_often_as_counted():
    draws = 100_000
    index = np.random.default_rng(1).integers(SHAPE, size=(draws, 3))
    share = (ANSWERS[tuple(index.T)] == 43).mean()
    expected = 63 / 97_200
    assert abs(share - expected) < 3 * np.sqrt(expected * (1 - expected) / draws)


def sampled(seed, draws, how):
    rng, store = np.random.default_rng(seed), begun()
    for _ in range(draws):
        head = store.problems[0].start(rng, how)
        rest = program(rng.integers(SHAPE))[len(head) :]
        store.offer(0, arithmetic_trace(head + rest, CONSTANTS), 43.0)
    return store


@pytest.mark.parametrize("how", ["beginnings", "states"])
def test_nothing_is_kept_that_is_not_right(how):
    right = {
        state_key(one.state) for code in RIGHT for one in arithmetic_trace(code, CONSTANTS)[:-1]
    }
    stores = [sampled(seed, 1000, how).problems[0] for seed in range(3)]
    for known in stores:
        assert set(known.full) <= RIGHT
        assert known.states.keys() <= right
        assert {keys for one in known.partial.values() for keys in one.keys} <= right
    assert sum(len(known.full) for known in stores) > 5
    assert how == "states" or any(len(known.partial) > 1 for known in stores)


def test_beginnings_find_more_right_programs_than_nothing_does():
    found = {
        how: np.mean([len(sampled(seed, 500, how).problems[0].full) for seed in range(20)])
        for how in ("nothing", "beginnings")
    }
    assert 1.0 < found["nothing"] < 2.0  # 1.4 where the experiment was designed
    assert found["beginnings"] > 1.5 * found["nothing"]


# --- the rule -------------------------------------------------------------------------------------


def test_a_beginning_then_a_longer_one_then_the_whole():
    store = begun()
    assert offered(store, "t0=b+a answer=t0-c") == "partial"
    assert codes(store.problems[0].partial) == ["", "t0=b+a"]
    assert offered(store, "t0=b+a t1=c*t0 answer=a+a") == "partial"
    assert codes(store.problems[0].partial) == ["", "t0=b+a t1=c*t0"]
    assert offered(store, "t0=b+a t1=c*t0 answer=t1-a") == "full"
    assert codes(store.problems[0].partial) == [""]
    assert codes(store.problems[0].full) == [REFERENCE, "t0=b+a t1=c*t0 answer=t1-a"]
    before = store.state_dict()["problems"]
    assert offered(store, "t0=b+a t1=c*t0 answer=t1-a") == "known"
    assert offered(store, "t0=b+a answer=a*a") == "known-beginning"
    assert store.state_dict()["problems"] == before
    assert store.counts == {"partial": 2, "full": 1, "known": 1, "known-beginning": 1}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("t0=a*a t1=t0*t0 answer=t1*a", "unknown"),
        ("answer=a+b", "unknown"),
        ("x=a+b", "partial"),  # the name does not matter
        ("t0=a+b t1=t0*c total=t1-a", "known-beginning"),  # right, but not called answer
        ("u=a+b v=u*c total=v-a", "partial"),
        ("t0=a+b t1=t0*c answer=t1-a t2=a*a", "known"),  # what follows is cut off
        ("t0=a-a t1=a+b t2=t1*c answer=t2-a", "too-long"),
        ("a=a+b answer=a+c", "unknown"),  # 3, 5, 10 is another state than 3, 5, 7, 10
    ],
)
def test_what_becomes_of_a_program(text, kind):
    assert offered(begun(), text) == kind


def test_the_furthest_right_state_counts_though_one_before_it_is_unknown():
    store = begun("t0=a+b t1=c*c answer=t0*t1")
    assert offered(store, "x=c*c y=a+b answer=x-y", 250.0) == "partial"
    assert codes(store.problems[0].partial) == ["", "x=c*c y=a+b"]
    state = next(key for key, ways in store.problems[0].states.items() if ("x=c*c",) in ways)
    assert offered(store, "z=c*c answer=z*z", 250.0) == "partial"  # x=c*c is known now
    assert len(store.problems[0].states[state]) == 2


def test_a_reference_is_no_way_to_its_own_end():
    assert sorted(map(len, begun().problems[0].states.values())) == [1, 1]


def test_longer_programs_are_kept_where_they_are_tolerated():
    longer = "t0=a-a t1=a+b t2=t1*c answer=t2-a"
    detour = "t0=a+b t1=t0+a t1=t0*c"
    assert offered(begun(length_tolerance=1), longer) == "full"
    store = begun(length_tolerance=0)
    assert offered(store, detour) == "known-beginning"  # t0=a+b, as the way is one too long
    assert offered(begun(length_tolerance=1), detour) == "partial"


def test_values_may_be_rounded():
    reference, other = trace_programs(
        ["x=72/3.6\nanswer=x*2", "y=72*0.2778\nz=y+1"], ["a=1", "a=1"]
    )
    for tolerance, kind in ((None, "unknown"), (0.01, "partial")):
        store = SolutionStore(state_tolerance=tolerance)
        store.begin(0, reference)
        assert store.offer(0, other, 40.0) == kind


def test_what_cannot_be_run_and_what_is_no_number_is_no_answer():
    store = begun()
    assert store.offer(0, None, 43.0) == "fails"
    traces = trace_programs(["answer=float('nan')", "answer=43j", "answer=[43]", "answer=43.00005"])
    kinds = [store.offer(0, trace, 43.0) for trace in traces]
    assert kinds == ["unknown", "unknown", "unknown", "full"]


def test_with_whole_programs_alone_there_are_no_beginnings():
    store = begun(full_only=True)
    assert offered(store, "t0=b+a answer=t0-c") == "unknown"
    assert offered(store, "t0=b+a t1=t0*c answer=t1-a") == "full"
    assert codes(store.problems[0].partial) == [""]


def test_full_buffers_refuse_newcomers():
    store = begun(most=2)
    assert offered(store, "t0=b+a t1=t0*c answer=t1-a") == "full"
    assert offered(store, "t0=b+a t1=c*t0 answer=t1-a") == "no-room"
    assert [offered(store, f"{name}=a+b") for name in "xyz"] == ["partial", "partial", "no-room"]
    assert offered(store, "x=a+b y=x*c") == "partial"  # it takes the place of its own beginning


def test_training_sets_and_beginnings():
    store = begun()
    for text in ("t0=b+a t1=t0*c answer=t1-a", "x=a+b", "y=a+b"):
        offered(store, text)
    known = store.problems[0]
    assert [whole for _, whole in known.training_set()] == [True, True, False, False]
    assert known.training_set(2) == known.training_set()[:2]
    drawn = [
        code
        for seed in range(100)
        for code, _ in known.training_set(2, np.random.default_rng(seed))
    ]
    assert {drawn.count(code) > 25 for code, _ in known.training_set()} == {True}
    rng = np.random.default_rng(0)
    starts = [known.start(rng) for _ in range(600)]
    assert {code: starts.count(code) > 150 for code in set(starts)} == dict.fromkeys(
        [(), ("x=a+b",), ("y=a+b",)], True
    )
    assert {known.start(rng, "nothing") for _ in range(20)} == {()}
    assert {len(known.start(rng, "states")) for _ in range(50)} == {1, 2}


def statements():
    return st.lists(st.integers(0, 3), min_size=1, max_size=4).map(
        lambda places: tuple(f"s{place}" for place in places)
    )


def put(known, code, full):
    return known.put(Stored(code, tuple((one,) for one in code)), full=full)


def check(known):
    beginnings = [code for code in known.partial if code]
    assert () in known.partial
    for code in beginnings:
        others = [other for other in (*beginnings, *known.full) if other != code]
        assert code not in known.full
        assert not any(begins(code, other) for other in others)


@given(st.lists(st.tuples(statements(), st.booleans()), max_size=25), st.integers(1, 8))
@settings(max_examples=60)
def test_no_beginning_is_one_of_another(sequence, most):
    known = Solutions(most)
    for code, full in sequence:
        put(known, code, full)
        check(known)
        before = (list(known.full), list(known.partial))
        assert put(known, code, full) in ("known", "known-beginning", "no-room")
        assert (list(known.full), list(known.partial)) == before
    assert len(known.full) <= most
    assert len(known.partial) <= most + 1


@given(*[st.lists(st.tuples(statements(), st.booleans()), max_size=12)] * 2)
@settings(max_examples=40)
def test_merged_buffers_hold_what_either_knew(first, second):
    stores = [SolutionStore(), SolutionStore()]
    for store, sequence in zip(stores, (first, second), strict=True):
        store.problems[3] = Solutions()
        for code, full in sequence:
            put(store.problems[3], code, full)
    mine, theirs = (store.problems[3] for store in stores)
    wanted = set(mine.full) | set(theirs.full)
    beginnings = set(mine.partial) | set(theirs.partial)
    stores[0].merge(stores[1])
    check(mine)
    assert set(mine.full) == wanted
    for code in beginnings:
        assert any(begins(code, other) for other in (*mine.partial, *mine.full))
    before = stores[0].state_dict()
    stores[0].merge(stores[1])
    assert stores[0].state_dict() == before


def test_merging_takes_in_problems_that_only_the_other_knew():
    first, second = begun(), SolutionStore()
    second.begin(5, traced(REFERENCE))
    second.offer(5, None, 43.0)
    first.merge(second)
    assert sorted(first.problems) == [0, 5]
    assert first.counts == {"fails": 1}


def test_the_state_is_json_and_all_there_is():
    store = sampled(2, 300, "beginnings")
    other = SolutionStore()
    other.load_state_dict(json.loads(json.dumps(store.state_dict())))
    assert other.state_dict() == store.state_dict()
    mine, theirs = store.problems[0], other.problems[0]
    assert list(mine.partial) == list(theirs.partial)
    assert list(mine.states.items()) == list(theirs.states.items())
    assert offered(other, "t0=a*a answer=t0*a") == offered(store, "t0=a*a answer=t0*a")


def test_wrong_numbers_are_refused():
    for wrong in ({"most": 0}, {"length_tolerance": -1}, {"state_tolerance": 0.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            SolutionStore(**wrong)
