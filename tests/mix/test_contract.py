"""Every registered method of the room keeps the contract; a new one is covered by itself."""

import pytest

from samplewise.registry import methods
from samplewise.testing import mix_checks

CASES = [(method, check) for method in methods("mix") for check in mix_checks(method.kind)]


@pytest.mark.parametrize(
    ("method", "check"), CASES, ids=[f"{method.name}-{check.__name__}" for method, check in CASES]
)
def test_contract(method, check):
    check(method())
