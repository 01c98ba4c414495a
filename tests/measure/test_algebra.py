"""Identities and the expressions they stand in have the same value on both sides."""

import numpy as np
import pytest

from samplewise.errors import UsageError
from samplewise.measure.algebra import IDENTITIES, evaluate, instantiate, make_algebra, spell


def points(rng, names):
    return [dict(zip(names, rng.uniform(-3, 3, len(names)), strict=True)) for _ in range(20)]


@pytest.mark.parametrize("rule", IDENTITIES, ids=lambda rule: spell(rule[0]))
def test_identities_hold(rule):
    for values in points(np.random.default_rng(0), "abc"):
        assert evaluate(rule[0], values) == pytest.approx(evaluate(rule[1], values), abs=1e-9)
    assert spell(rule[0]) != spell(rule[1])


def test_examples_keep_their_value():
    rng = np.random.default_rng(1)
    for one in make_algebra(200, 2, depth=3, filling_depth=2):
        assert one.text != one.output
        checked = 0
        for values in points(rng, "xyzw"):
            with np.errstate(all="ignore"):
                try:
                    sides = [evaluate(side, values) for side in (one.text, one.output)]
                except (ZeroDivisionError, OverflowError):
                    continue
            if all(np.isfinite(sides)) and max(map(abs, sides)) < 1e6:
                checked += sides[0] == pytest.approx(sides[1], rel=1e-6, abs=1e-6)
        assert checked >= 10 or "/" in spell(one.text)


def test_identities_take_turns_and_the_seed_decides():
    examples = make_algebra(40, 3, identities=IDENTITIES[:10])
    assert [one.rule_id for one in examples] == [i % 10 for i in range(40)]
    assert make_algebra(40, 3, identities=IDENTITIES[:10]) == examples
    assert make_algebra(40, 4, identities=IDENTITIES[:10]) != examples


def test_depth_is_that_of_the_tree():
    def height(expression):
        if isinstance(expression, tuple):
            return 1 + max(map(height, expression[1:]))
        return 0

    heights = [height(one.text) for one in make_algebra(100, 5, depth=2, filling_depth=1)]
    assert 3 <= max(heights) <= 2 + 3 + 2  # the tree, an identity, what fills it


def test_filling_and_mistakes():
    assert instantiate(("*", "a", ("-", "b", 1)), {"a": "b", "b": "a"}) == ("*", "b", ("-", "a", 1))
    for wrong in ({"depth": -1}, {"filling_depth": -1}, {"identities": ()}):
        with pytest.raises(UsageError, match="make_algebra"):
            make_algebra(1, 0, **wrong)
