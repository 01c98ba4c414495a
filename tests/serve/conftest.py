"""What the tests of the server share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from served import close_kept

KEY = "sk-of-the-upstream"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True, scope="session")
def kept_server() -> Iterator[None]:
    yield
    close_kept()
