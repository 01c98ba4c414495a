"""Every registered strategy keeps the contract; a new one is covered by itself."""

import pytest

from samplewise.registry import methods
from samplewise.testing import strategy_checks


@pytest.mark.parametrize("check", strategy_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("method", methods(room="answer"), ids=lambda method: method.name)
def test_contract(method, check):
    check(method())
