"""What the OpenAPI document promises is kept, whatever is sent."""

from __future__ import annotations

import hypothesis
import schemathesis
import schemathesis.specs.openapi.schemas  # now: read late, after much else, CPython 3.11 chokes
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import serving

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_nothing_sent_breaks_the_server() -> None:
    with serving() as served:
        document = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
        tried: dict[str, set[int]] = {}
        for found in document.get_all_operations():
            operation = found.ok()
            for mode in schemathesis.GenerationMode:
                if mode.is_negative and operation.method == "get":
                    continue

                @hypothesis.settings(
                    max_examples=10 if operation.method == "post" else 2,
                    deadline=None,
                    database=None,
                    derandomize=True,
                    suppress_health_check=list(hypothesis.HealthCheck),
                )
                @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
                def check(case: schemathesis.Case) -> None:
                    response = case.call_and_validate(checks=CHECKS)
                    tried.setdefault(case.path, set()).add(response.status_code)

                check()
        assert set(tried) == {"/v1/chat/completions", "/v1/models", "/health", "/metrics"}
        assert {200, 400} <= tried["/v1/chat/completions"]
