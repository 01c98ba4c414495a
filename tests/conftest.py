"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test may fail because a machine is slow.
settings.register_profile("samplewise", deadline=None)
settings.load_profile("samplewise")


@pytest.fixture(autouse=True, scope="session")
def cache():
    """Keep unpacked models in this clone, so that they are unpacked once and no home is touched."""
    with pytest.MonkeyPatch.context() as patch:
        if "SAMPLEWISE_CACHE" not in os.environ:
            patch.setenv("SAMPLEWISE_CACHE", str(Path(__file__).parents[1] / "build" / "cache"))
        yield Path(os.environ["SAMPLEWISE_CACHE"])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Load a tiny random language model of a kind, made once."""
    from samplewise.models import load

    def make(kind="llama", *, device=None, **settings):
        from tiny_models import save_model

        return load(save_model(tmp_path_factory.mktemp(kind), kind, **settings), device=device)

    return make
