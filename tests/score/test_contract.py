"""Every registered scorer keeps the contract; a new one is covered by itself."""

import pytest

from samplewise.registry import methods
from samplewise.testing import scorer_checks


@pytest.mark.parametrize("check", scorer_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("method", methods(room="score"), ids=lambda method: method.name)
def test_contract(method, check):
    check(method())
