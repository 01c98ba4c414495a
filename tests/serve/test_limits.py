"""Who may ask, how much, and in which form."""

from __future__ import annotations

import asyncio
import hmac
import http.client
import json
import threading
from typing import Any

import openai
import pytest
from served import ASK, Served, serving

from samplewise.errors import UsageError
from samplewise.serve.limits import Keys, Limits, read_keys
from samplewise.serve.server import run_server
from stub_server import Plan

KEYS = ("first-key", "second-key")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# Keys


def test_keys() -> None:
    asked = {"model": "stub", "messages": ASK}
    with serving(keys=KEYS) as served:
        for headers in ({}, bearer("wrong"), bearer(""), {"Authorization": "Basic first-key"}):
            status, told, content = served.send(asked, **headers)
            assert status == 401
            assert told["www-authenticate"] == "Bearer"
            assert json.loads(content)["error"]["code"] == "invalid_api_key"
        assert served.stub.seen == []
        for key in KEYS:
            assert served.send(asked, **bearer(key))[0] == 200
        for path in ("/v1/models", "/metrics"):
            assert served.send(method="GET", path=path)[0] == 401
            assert served.send(method="GET", path=path, **bearer(KEYS[1]))[0] == 200
        assert served.send(method="GET", path="/health")[0] == 200
        assert all(KEYS[0] not in str(seen.headers) for seen in served.stub.seen)
        with served.client("wrong") as client, pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_a_key_is_held_against_all(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bool] = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append(first == second)
        return compared[-1]

    with serving(keys=(*KEYS, "third-key")) as served:
        monkeypatch.setattr(hmac, "compare_digest", compare)
        for key in ("first-key", "wrong"):
            served.send({"model": "stub", "messages": ASK}, **bearer(key))
        assert compared == [True, False, False, False, False, False]


def test_without_keys_only_this_machine_by_its_own_name_is_answered() -> None:
    asked = {"model": "stub", "messages": ASK}
    names = {"localhost": 200, "127.0.0.1:80": 200, "[::1]:80": 200, "evil.example": 403}
    with serving() as served:
        for name, status in names.items():
            assert served.send(asked, Host=name)[0] == status
        for odd in ("[", "[evil.example", "localhost.evil.example", "@localhost"):
            assert served.send(asked, Host=odd)[0] == 403
    with serving(anywhere=True) as served:
        assert served.send(asked, Host="evil.example")[0] == 200


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEYS", " one, two ,,")
    assert read_keys("SOME_KEYS") == ["one", "two"]
    assert read_keys(None) == []
    for odd in ("", " , ", "kéy"):
        monkeypatch.setenv("SOME_KEYS", odd)
        with pytest.raises(UsageError, match="SOME_KEYS"):
            read_keys("SOME_KEYS")


def test_what_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_KEYS", raising=False)
    for host in ("0.0.0.0", "::", "example.com", ""):
        with pytest.raises(UsageError, match="without-keys"):
            run_server("endpoint:stub@http://localhost:9/v1", host=host)
    with pytest.raises(UsageError, match="NO_KEYS holds no key"):
        run_server("endpoint:stub@http://localhost:9/v1", keys_env="NO_KEYS")
    with pytest.raises(UsageError, match="max-tokens-per-request"):
        Limits(tokens_per_key=5)
    with pytest.raises(UsageError, match="keys-env"):
        Keys([], Limits(tokens_per_request=5, tokens_per_key=5))
    for name in ("seconds", "at_work", "samples", "body_bytes", "depth", "tokens_per_request"):
        with pytest.raises(UsageError, match=name):
            Limits(**{name: 0})


# The form of a request


def test_long_requests_are_refused_before_they_are_read() -> None:
    asked = {"model": "stub", "messages": ASK}
    size = len(json.dumps(asked))
    with serving(body_bytes=size) as served:
        assert served.send(asked)[0] == 200
        for body in (b" " * (size + 1), b"[" * 100_000):
            status, _, content = served.send(body)
            assert (status, "bytes" in json.loads(content)["error"]["message"]) == (413, True)
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        pieces = iter([b" " * size, b" "])  # sent in chunks, without saying how long it is
        connection.request(
            "POST",
            "/v1/chat/completions",
            pieces,
            {"Content-Type": "application/json"},
            encode_chunked=True,
        )
        assert connection.getresponse().status == 413
        connection.close()


def test_deep_requests_are_refused() -> None:
    def nested(depth: int) -> dict[str, Any]:
        inner: Any = []
        for _ in range(depth - 2):
            inner = [inner]
        return {"model": "stub", "messages": ASK, "more": inner}

    with serving(depth=5) as served:
        assert served.send(nested(5))[0] == 200
        status, _, content = served.send(nested(6))
        assert (status, "5 deep" in json.loads(content)["error"]["message"]) == (400, True)
        assert served.send(b"[" * 50_000 + b"]" * 50_000)[0] == 400


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"NaN", b'{"model": "\\ud800"}', b"1", b"[]", b"null", b'"text"']
)
def test_what_is_no_request(body: bytes) -> None:
    with serving() as served:
        status, _, content = served.send(body)
        assert status == 400
        assert json.loads(content)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", None),
        ("model", ""),
        ("model", 5),
        ("messages", []),
        ("messages", "hello"),
        ("messages", [{"role": "tool", "content": "x"}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
        ("n", 0),
        ("n", 129),
        ("temperature", 2.1),
        ("temperature", "0.5"),
        ("temperature", True),
        ("top_p", 0),
        ("max_tokens", 0),
        ("max_completion_tokens", 1.5),
        ("stop", ["a"] * 5),
        ("stop", ""),
        ("seed", 2**70),
        ("stream", "yes"),
        ("tools", [{"type": "function"}]),
        ("functions", [{"name": "f"}]),
        ("response_format", {"type": "json_object"}),
        ("response_format", "json"),
        ("top_logprobs", 5),
    ],
)
def test_odd_fields_are_named(field: str, value: Any) -> None:
    with serving() as served:
        status, reply = served.ask(**{"model": "stub", "messages": ASK, field: value})
        assert status == 400
        assert reply["error"]["param"].partition(".")[0] == field
        assert served.stub.seen == []


def test_only_json_is_read() -> None:
    asked = {"model": "stub", "messages": ASK}
    with serving() as served:
        assert served.send(asked, Content_Type="text/plain")[0] == 415
        assert served.send(asked, Content_Type="application/json; charset=utf-8")[0] == 200
        for method, path, status in [
            ("GET", "/v1/chat/completions", 405),
            ("GET", "/nowhere", 404),
            ("GET", "/docs", 404),
        ]:
            found, _, content = served.send(method=method, path=path)
            assert (found, "message" in json.loads(content)["error"]) == (status, True)


# Names


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("nothing-4/stub", 404, "model_not_found"),
        ("nothing/stub", 404, "model_not_found"),
        ("single-4/stub", 404, "model_not_found"),
        ("first-finish-0/stub", 400, None),
        ("repeated-999999999/stub", 400, None),
        ("until-accepted-3/stub", 400, "verifier_needs_gold"),
        ("best-of-8/stub", 400, "verifier_needs_gold"),
    ],
)
def test_names_that_cannot_be_answered(name: str, status: int, code: str | None) -> None:
    with serving() as served:
        found, reply = served.ask(name)
        assert (found, reply["error"]["code"], reply["error"]["param"]) == (status, code, "model")
        assert served.stub.seen == []


def test_strategies_that_need_a_right_answer_are_not_listed() -> None:
    with serving() as served:
        content = served.send(method="GET", path="/v1/models")[2]
        names = {model["id"] for model in json.loads(content)["data"]}
        assert {"stub", "repeated/stub", "first-finish/stub"} < names
        assert not {"until-accepted/stub", "best-of/stub"} & names


def test_a_strategy_gives_no_log_probabilities() -> None:
    with serving() as served:
        status, reply = served.ask("repeated-2/stub", logprobs=True)
        assert (status, reply["error"]["param"]) == (400, "logprobs")


# Amounts


def test_samples_of_a_request_are_bounded() -> None:
    with serving(samples=6) as served:
        assert served.ask("repeated-3/stub", n=2)[0] == 200
        assert served.ask("repeated-3/stub", n=3)[0] == 400
        assert served.ask("repeated-7/stub")[0] == 400
        assert served.ask("stub", n=7)[0] == 400


def test_requests_at_work_are_bounded() -> None:
    gate = asyncio.Event()
    with serving(Plan(gate=gate), at_work=1) as served:
        first: list[Any] = []
        thread = threading.Thread(target=lambda: first.append(served.ask()))
        thread.start()
        served.until(lambda stub: stub.busy == 1)
        status, headers, content = served.send({"model": "stub", "messages": ASK})
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(content)["error"]["code"] == "overloaded"
        assert served.metric("samplewise_requests_at_work") == 1
        served.open_gate(gate)
        thread.join()
        assert first[0][0] == 200
        assert served.ask()[0] == 200
        served.ask("nothing/stub")  # a refused request gives its place back
        content = served.send({"model": "stub", "messages": ASK, "stream": True})[2]
        assert content.endswith(b"[DONE]\n\n")
        assert served.ask()[0] == 200


def most(served: Served) -> list[int | None]:
    return [seen.body.get("max_tokens") for seen in served.stub.seen]


def test_tokens_of_a_request_are_bounded() -> None:
    with serving(tokens_per_request=12) as served:
        for name, more, wanted in [
            ("stub", {}, [12]),
            ("stub", {"max_tokens": 3}, [3]),
            ("stub", {"max_tokens": 50}, [12]),
            ("stub", {"n": 4}, [3] * 4),
            ("repeated-4/stub", {}, [3] * 4),  # a share each
            ("repeated-4/stub", {"n": 2}, [1] * 8),
            ("repeated-4/stub", {"max_tokens": 5}, [5, 5]),  # a third could exceed it
        ]:
            served.stub.seen.clear()
            status, reply = served.ask(name, **more)
            assert status == 200
            assert most(served) == wanted, (name, more)
            drawn = reply["usage"]["completion_tokens"]
            assert drawn == sum(min(5, one or 5) for one in wanted) <= 12
        assert served.ask("stub", n=13)[0] == 400


def test_tokens_of_a_key_are_bounded() -> None:
    limits = {"tokens_per_request": 20, "tokens_per_key": 40}
    asked = {"model": "stub", "messages": ASK}
    with serving(keys=KEYS, **limits) as served:
        for wanted in (20, 20, 8):  # each reads 11 tokens, and draws 5
            assert served.send(asked, **bearer(KEYS[0]))[0] == 200
            assert most(served)[-1] == wanted
        status, _, content = served.send(asked, **bearer(KEYS[0]))
        assert (status, json.loads(content)["error"]["code"]) == (429, "insufficient_quota")
        assert served.send({**asked, "stream": True}, **bearer(KEYS[0]))[0] == 429
        assert len(served.stub.seen) == 3
        assert served.send(asked, **bearer(KEYS[1]))[0] == 200


def test_requests_at_work_hold_the_tokens_of_their_key() -> None:
    gate = asyncio.Event()
    limits = {"tokens_per_request": 30, "tokens_per_key": 30}
    asked = {"model": "stub", "messages": ASK}
    with serving(Plan(gate=gate), keys=KEYS, **limits) as served:
        thread = threading.Thread(target=lambda: served.send(asked, **bearer(KEYS[0])))
        thread.start()
        served.until(lambda stub: stub.busy == 1)
        status, headers, content = served.send(asked, **bearer(KEYS[0]))
        assert (status, headers["retry-after"]) == (429, "1")
        assert json.loads(content)["error"]["code"] == "rate_limit_exceeded"
        served.open_gate(gate)
        thread.join()
        assert served.send(asked, **bearer(KEYS[0]))[0] == 200  # it held 30, and used 16


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({"model": "stub", "stream": True}, True),  # what came is counted
        ({"model": "stub"}, False),  # nobody can say what was drawn
        ({"model": "repeated-2/stub"}, False),
        ({"model": "repeated-2/stub", "stream": True}, False),
    ],
    ids=str,
)
def test_who_hangs_up_pays(asked: dict[str, Any], left: bool) -> None:
    limits = {"tokens_per_request": 40, "tokens_per_key": 40}
    with serving(Plan(gate=asyncio.Event(), gate_after=2), keys=("none",), **limits) as served:
        draws = 2 if "/" in asked["model"] else 1
        tokens = 2 if left else 0
        served.hang_up(
            asked,
            "none",
            when=lambda stub: (
                stub.busy == draws and sum(seen.tokens for seen in stub.seen) >= tokens
            ),
        )
        served.until(lambda stub: all(seen.hung_up for seen in stub.seen))
        served.stub.plan = Plan()
        again = {"model": "stub", "messages": ASK}
        status, _, content = served.send(again, **bearer("none"))
        if left:
            assert status == 200
        else:
            assert (status, json.loads(content)["error"]["code"]) == (429, "insufficient_quota")
