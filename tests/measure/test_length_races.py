"""Races of completions: the card's quadratures, simulation, and replay against brute force."""

import numpy as np
import pytest

from samplewise.measure.length_races import LengthModel, Trace, first_finish, last_finish, vote
from samplewise.measure.voting import majority

SHORT_IS_RIGHT = LengthModel(0.6, 8000, 2500, 12000, 2500)
SPREAD = LengthModel(0.6, 8000, 1500, 12000, 5000)
PAIRS = {
    1: (0.6000, 9600.0),
    2: (0.7781, 7797.1),
    4: (0.8951, 6354.2),
    8: (0.9521, 5189.1),
    16: (0.9763, 4218.3),
}


@pytest.mark.parametrize(("n", "wanted"), PAIRS.items())
def test_the_quadratures_of_the_card(n, wanted):
    assert SHORT_IS_RIGHT.first_finish_accuracy(n) == pytest.approx(wanted[0], abs=6e-5)
    assert SHORT_IS_RIGHT.expected_shortest(n) == pytest.approx(wanted[1], abs=0.06)


@pytest.mark.parametrize("n", [1, 3, 16])
def test_equal_lengths_tell_nothing(n):
    model = LengthModel(0.6, 9000, 2000, 9000, 2000)
    assert model.first_finish_accuracy(n) == pytest.approx(0.6)
    assert model.posterior([100, 9000, 20_000]) == pytest.approx([0.6] * 3)


def test_wider_wrong_lengths_rise_then_fall():
    found = [SPREAD.first_finish_accuracy(n) for n in (1, 2, 4, 8, 16)]
    assert found == pytest.approx([0.6000, 0.7336, 0.7352, 0.6434, 0.4992], abs=6e-5)


def test_the_logit_is_the_line_of_the_card():
    t = np.array([2000.0, 8000.0, 14_000.0])
    line = np.log(0.6 / 0.4) + (8000 - 12_000) * ((12_000 + 8000) / 2 - t) / 2500**2 * -1
    assert SHORT_IS_RIGHT.logit(t) == pytest.approx(line)
    assert SHORT_IS_RIGHT.turning_length is None
    assert (np.diff(SHORT_IS_RIGHT.posterior(t)) < 0).all()


def test_the_posterior_turns_where_it_should():
    turn = SPREAD.turning_length
    around = SPREAD.posterior([turn - 50, turn, turn + 50])
    assert around[1] > around[0]
    assert around[1] > around[2]


def test_the_shortest_of_one_normal():
    model = LengthModel(0.5, 9000, 2000, 9000, 2000)
    assert model.expected_shortest(1) == pytest.approx(9000)
    assert model.expected_shortest(2) == pytest.approx(9000 - 2000 / np.sqrt(np.pi))
    values = [model.expected_shortest(n) for n in (1, 2, 5, 20, 100)]
    assert values == sorted(values, reverse=True)


def races(model, count, n, seed=0):
    rng = np.random.default_rng(seed)
    right = rng.random((count, n)) < model.accuracy
    length = np.where(
        right,
        rng.normal(model.right_mean, model.right_sd, (count, n)),
        rng.normal(model.wrong_mean, model.wrong_sd, (count, n)),
    )
    return right, length


def test_simulated_races():
    right, length = races(SHORT_IS_RIGHT, 200_000, 4)
    first = length.argmin(axis=1)
    assert right[np.arange(len(first)), first].mean() == pytest.approx(0.895, abs=0.003)
    assert length.min(axis=1).mean() == pytest.approx(6354, abs=15)


def test_the_small_experiment_of_the_card():
    rng = np.random.default_rng(5)
    outcomes = {"first": [], "vote": [], "single": [], "wait": [], "waited": []}
    for swap in (False, True):
        model = LengthModel(0.6, 12_000, 2500, 8000, 2500) if swap else SHORT_IS_RIGHT
        right, length = races(model, 6000, 4, seed=1)
        wins = {"first": [], "vote": []}
        for marks, lengths in zip(right, length, strict=True):
            traces = [
                Trace(max(0, int(t)), "gold" if ok else f"w{rng.integers(5)}")
                for ok, t in zip(marks, lengths, strict=True)
            ]
            first, all_ = first_finish(traces), vote(traces)
            wins["first"].append(first.answer == "gold")
            wins["vote"].append(all_.answer == "gold")
            if not swap:
                outcomes["wait"].append(first.sequential_tokens)
                outcomes["waited"].append(all_.sequential_tokens)
        if swap:
            assert np.mean(wins["first"]) == pytest.approx(0.256, abs=0.02)
            assert np.mean(wins["vote"]) > 0.7
        else:
            assert np.mean(wins["first"]) == pytest.approx(0.895, abs=0.015)
            assert np.mean(wins["vote"]) == pytest.approx(0.81, abs=0.03)
    assert np.mean(outcomes["wait"]) == pytest.approx(6354, abs=60)
    assert np.mean(outcomes["waited"]) == pytest.approx(12_900, abs=120)


def recorded(seed, n):
    rng = np.random.default_rng(seed)
    answers = [None if rng.random() < 0.2 else str(rng.integers(3)) for _ in range(n)]
    return [
        Trace(int(length), answer, bool(rng.random() < 0.9))
        for length, answer in zip(rng.integers(1, 9, n), answers, strict=True)
    ]


@pytest.mark.parametrize("seed", range(40))
def test_replay_against_a_clock(seed):
    traces = recorded(seed, 6)
    valid = [i for i, one in enumerate(traces) if one.finished and one.answer is not None]
    for k in range(1, 7):
        ended, now = [], 0
        while len(ended) < k and now < 20:
            now += 1
            ended += [i for i in valid if traces[i].length == now]
        found = first_finish(traces, k)
        if len(ended) < k:
            assert found.voters == tuple(range(6))
            assert found.sequential_tokens == max(one.length for one in traces)
        else:
            assert set(found.voters) == set(ended[:k])
            assert found.sequential_tokens == now
            assert found.total_tokens == sum(min(one.length, now) for one in traces)
            assert found.voters_tokens <= found.total_tokens


@pytest.mark.parametrize("seed", range(20))
def test_all_of_n_is_a_plain_vote(seed):
    traces = [Trace(one.length, one.answer or "0") for one in recorded(seed, 5)]
    wanted = [one.answer for one in traces]
    assert vote(traces).answer == wanted[majority(wanted)]
    assert first_finish(traces, 5).answer == last_finish(traces, 5).answer == vote(traces).answer
    shortest = min(range(5), key=lambda i: traces[i].length)
    assert first_finish(traces).voters == (shortest,)
    one = traces[:1]
    assert first_finish(one) == last_finish(one) == vote(one)


def test_what_the_published_count_leaves_out():
    found = first_finish([Trace(3, "a"), Trace(9, "b"), Trace(9, "c")])
    assert (found.total_tokens, found.voters_tokens) == (9, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: first_finish([]),
        lambda: first_finish([Trace(1, "a")], 2),
        lambda: last_finish([Trace(1, "a")], 0),
        lambda: first_finish([Trace(-1, "a")]),
        lambda: LengthModel(0.0, 1, 1, 1, 1),
        lambda: LengthModel(0.5, 1, 0, 1, 1),
        lambda: SPREAD.first_finish_accuracy(0),
        lambda: SPREAD.expected_shortest(0),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError):
        call()
