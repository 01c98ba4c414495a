"""Every registered loop keeps the contract; a new one is covered by itself."""

import pytest

from samplewise.registry import methods
from samplewise.testing import loop_checks

SHORT = {"warm_up": 2, "problems": 4, "samples": 4}
"""Knobs that keep steps short, where a loop has them."""
CASES = [(loop, check) for loop in methods("train") for check in loop_checks()]


def short(loop):
    known = loop().settings()
    return loop(**{knob: value for knob, value in SHORT.items() if knob in known})


@pytest.mark.parametrize(
    ("loop", "check"), CASES, ids=[f"{loop.name}-{check.__name__}" for loop, check in CASES]
)
def test_contract(loop, check):
    check(short(loop))
