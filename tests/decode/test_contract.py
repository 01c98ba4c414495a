"""Every registered method that decodes keeps the contract; a new one is covered by itself."""

import pytest

from samplewise.registry import methods
from samplewise.testing import decoder_checks
from tiny_models import save_model

METHODS = methods(room="decode")
CASES = [(method, check) for method in METHODS for check in decoder_checks(method.kind)]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize(
    ("method", "check"), CASES, ids=[f"{method.name}-{check.__name__}" for method, check in CASES]
)
def test_contract(method, check, small):
    check(method(model=small) if method.name == "draft-model" else method())


def test_every_kind_is_checked():
    assert {method.kind for method in METHODS} >= {"sampler", "draft", "verifier", "masked sampler"}
