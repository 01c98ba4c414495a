"""Every registered selector keeps the contract; a new one is covered by itself."""

import pytest

from samplewise.registry import methods
from samplewise.testing import selector_checks


@pytest.mark.parametrize("check", selector_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("method", methods(room="select"), ids=lambda method: method.name)
def test_contract(method, check):
    check(method())
