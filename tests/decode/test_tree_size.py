import numpy as np

from samplewise.decode.tree_size import Pace


def run(pace, seconds, chances, steps=300, seed=0):
    """Let it choose, with steps that take `seconds(size)` and units that are right by chance."""
    rng = np.random.default_rng(seed)
    sizes, given, spent = [], 0, 0.0
    for _ in range(steps):
        units = pace.choose()
        right = np.flatnonzero(rng.random(len(chances)) < chances).tolist()
        pace.timed(len(units), seconds(len(units)))
        pace.counted(list(range(pace.units)), right)
        sizes.append(len(units))
        given += 1 + sum(unit in units for unit in right)
        spent += seconds(len(units))
    return sizes, given / spent


def test_it_finds_the_size_that_gives_the_most_tokens_a_second():
    chances = 0.8 * 0.7 ** np.arange(32)
    cost = 0.15
    best = max(
        (1 + chances[:size].sum()) / (1 + cost * size) for size in (0, 1, 2, 3, 4, 6, 8, 12, 16)
    )
    sizes, rate = run(Pace(32), lambda size: 1 + cost * size, chances)
    assert rate > 0.93 * best
    assert 2 <= np.median(sizes[50:]) <= 6


def test_units_that_are_right_more_often_come_first():
    chances = np.array([0.05, 0.9, 0.05, 0.8, 0.05, 0.05])
    pace = Pace(6)
    run(pace, lambda size: 1 + 0.1 * size, chances)
    assert pace.choose()[:2] in ([1, 3], [1])


def test_where_nothing_pays_nothing_is_guessed():
    sizes, rate = run(Pace(16), lambda size: 1.0 if size == 0 else 3.0, np.full(16, 0.1), 1000)
    assert np.mean(sizes) < 0.1
    assert rate > 0.97


def test_where_a_guess_is_blind_it_is_tried_again_ever_more_rarely():
    pace = Pace(4, 0.6, blind=True)
    pace.timed(0, 1.0)
    tried = []
    for step in range(2000):
        levels = len(pace.choose())
        pace.timed(levels, 1.0 + 2 * levels)
        if levels:
            tried.append(step)
            pace.counted(list(range(levels)), [])
    assert len(tried) < 20
    assert tried[-1] > 500


def test_a_guess_that_begins_to_pay_is_taken_up():
    pace = Pace(4)
    run(pace, lambda size: 1 + 0.05 * size, np.zeros(4))
    assert pace.choose() == []
    sizes, _ = run(pace, lambda size: 1 + 0.05 * size, np.full(4, 0.9))
    assert sizes[-1] == 4
