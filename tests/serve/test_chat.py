"""Chat requests over real sockets: what is asked of the upstream, what comes back, what it cost."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from typing import Any

import openai
import pytest
from served import ASK, TEXT, serving

from samplewise.models.completion import Completion, Request
from samplewise.models.endpoint import EndpointModel
from samplewise.serve import chat
from samplewise.testing.strategies import ScriptedModel
from samplewise.verify.calls import Call, Judge
from stub_server import Plan, StubServer

KEY = "sk-of-the-upstream"  # as conftest.py sets it


def saying(*texts: str) -> Any:
    """Answer the requests in turn, a token a word."""
    return lambda number, body: Plan(tokens=tuple(f"{word} " for word in texts[number].split()))


def events(content: bytes) -> list[Any]:
    lines = [line[6:] for line in content.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def spent(usage: Any) -> tuple[int, ...]:
    """Give tokens read and drawn, samples, kept and sequential tokens, and cancelled samples."""
    more = usage["samplewise"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    counts = (more[name] for name in ("samples", "kept_tokens", "sequential_tokens", "cancelled"))
    return (usage["prompt_tokens"], usage["completion_tokens"], *counts)


# One completion, passed on


def test_the_official_client() -> None:
    with serving() as served, served.client() as client:
        reply = client.chat.completions.create(model="stub", messages=ASK)  # type: ignore[arg-type]
        [choice] = reply.choices
        assert (choice.message.content, choice.finish_reason) == (TEXT, "stop")
        assert (reply.object, reply.model) == ("chat.completion", "stub")
        assert reply.usage
        assert spent(reply.usage.model_dump()) == (11, 5, 1, 5, 5, 0)
        [seen] = served.stub.seen
        assert seen.headers["authorization"] == f"Bearer {KEY}"
        assert seen.body == {"model": "stub", "messages": ASK, "temperature": 1.0, "top_p": 1.0}


def test_settings_are_sent_upstream() -> None:
    turns = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "2 +"}, {"type": "text", "text": "3"}],
        },
    ]
    with serving() as served:
        status, reply = served.ask(
            messages=turns,
            temperature=0.5,
            top_p=0.25,
            max_tokens=9,
            max_completion_tokens=2,
            stop="\n",
            seed=7,
            user="someone",
            never_heard_of=[1],
        )
        assert status == 200
        assert reply["choices"][0]["finish_reason"] == "length"
        assert served.stub.seen[0].body == {
            "model": "stub",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "2 +3"},
            ],
            "temperature": 0.5,
            "top_p": 0.25,
            "max_tokens": 2,
            "stop": ["\n"],
            "seed": 7,
        }


@pytest.mark.parametrize("streamed", [False, True])
def test_several_answers(streamed: bool) -> None:
    more = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    with serving(lambda number, body: Plan(tokens=("x", "y", "z")[: body["seed"] - 6])) as served:
        asked = {"model": "stub", "messages": ASK, "n": 3, "seed": 7, **more}
        content = served.send(asked)[2]
        if streamed:
            *pieces, last = events(content)
            texts = ["", "", ""]
            for piece in pieces:
                [choice] = piece["choices"]
                texts[choice["index"]] += choice["delta"].get("content", "")
            usage = last["usage"]
        else:
            reply = json.loads(content)
            texts = [choice["message"]["content"] for choice in reply["choices"]]
            usage = reply["usage"]
        assert texts == ["x", "xy", "xyz"]
        assert spent(usage) == (33, 6, 3, 6, 3, 0)
        assert sorted(seen.body["seed"] for seen in served.stub.seen) == [7, 8, 9]


@pytest.mark.parametrize("streamed", [False, True])
def test_log_probabilities(streamed: bool) -> None:
    with serving() as served, served.client() as client:
        asked: Any = {"model": "stub", "messages": ASK, "logprobs": True}
        if streamed:
            pieces = list(client.chat.completions.create(stream=True, **asked))
            found = [one for piece in pieces if (one := piece.choices[0].logprobs)]
        else:
            found = [client.chat.completions.create(**asked).choices[0].logprobs]
        tokens = [token for one in found for token in one.content]
        assert "".join(token.token for token in tokens) == TEXT
        assert [token.logprob for token in tokens] == [-0.25] * 5
        assert bytes(tokens[0].bytes) == b"The"


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_is_passed_on(streamed: bool) -> None:
    with serving(Plan(thinking=("Hm", "."))) as served:
        content = served.send({"model": "stub", "messages": ASK, "stream": streamed})[2]
        parts = events(content) if streamed else [json.loads(content)]
        choices = [part["choices"][0] for part in parts]
        said = [choice.get("delta") or choice.get("message") or {} for choice in choices]
        assert "".join(one.get("reasoning_content", "") for one in said) == "Hm."
        assert "".join(one.get("content") or "" for one in said) == TEXT


def test_a_stream_passes_tokens_on_as_they_come() -> None:
    gate = asyncio.Event()
    with serving(Plan(gate=gate, gate_after=2)) as served, served.client() as client:
        options: Any = {"include_usage": True}
        stream = client.chat.completions.create(
            model="stub",
            messages=ASK,  # type: ignore[arg-type]
            stream=True,
            stream_options=options,
        )
        pieces = iter(stream)
        begun = [next(pieces).choices[0].delta for _ in range(2)]  # the upstream waits meanwhile
        assert [one.content for one in begun] == ["The", " answer"]
        assert begun[0].role == "assistant"
        assert served.stub.busy == 1
        served.open_gate(gate)
        rest = list(pieces)
        assert "".join(piece.choices[0].delta.content or "" for piece in rest[:-1]) == " is 5."
        assert rest[-2].choices[0].finish_reason == "stop"
        assert rest[-1].choices == []
        assert spent(rest[-1].usage.model_dump()) == (11, 5, 1, 5, 5, 0)


def test_usage_of_a_stream_is_told_where_asked_for() -> None:
    with serving() as served:
        content = served.send({"model": "stub", "messages": ASK, "stream": True})[2]
        assert content.endswith(b"data: [DONE]\n\n")
        assert all("usage" not in piece for piece in events(content))


# Strategies


def test_the_majority_is_kept_and_all_samples_count() -> None:
    with serving(saying("it is 5", "7", "the answer is 7 ok", "no")) as served:
        status, reply = served.ask("repeated-4/stub", seed=1, max_tokens=50)
        assert status == 200
        assert reply["choices"][0]["message"]["content"] == "7 "
        assert spent(reply["usage"]) == (44, 3 + 1 + 5 + 1, 4, 1, 5, 0)
        assert len({seen.body["seed"] for seen in served.stub.seen}) == 4
        assert {seen.body["max_tokens"] for seen in served.stub.seen} == {50}


def test_the_same_seed_draws_the_same() -> None:
    with serving() as served:
        for seed in (1, 1, 2):
            served.ask("repeated-2/stub", seed=seed)
        drawn = [seen.body["seed"] for seen in served.stub.seen]
        assert drawn[:2] == drawn[2:4] != drawn[4:]


def test_several_answers_of_a_strategy_are_drawn_apart() -> None:
    with serving() as served:
        reply = served.ask("repeated-3/stub", seed=1, n=2)[1]
        assert [choice["index"] for choice in reply["choices"]] == [0, 1]
        assert spent(reply["usage"]) == (66, 30, 6, 10, 5, 0)
        assert len({seen.body["seed"] for seen in served.stub.seen}) == 6


def test_who_loses_a_race_is_cancelled_and_counts() -> None:
    winner, losers = asyncio.Event(), asyncio.Event()

    def plan(number: int, body: dict[str, Any]) -> Plan:
        return Plan(gate=losers if number else winner, gate_after=2 if number else 1)

    with serving(plan) as served:
        gone: list[Any] = []

        async def open_the_gate() -> None:
            await served.stub.until(lambda stub: sum(seen.tokens for seen in stub.seen) == 5)
            winner.set()
            await served.stub.until(lambda stub: sum(bool(one.hung_up) for one in stub.seen) == 2)
            gone.append(True)

        opening = asyncio.run_coroutine_threadsafe(open_the_gate(), served.loop)
        status, reply = served.ask("first-finish-3/stub")
        opening.result(60)
        assert status == 200
        assert gone
        assert spent(reply["usage"]) == (33, 5 + 2 + 2, 3, 5, 5, 2)


def test_every_strategy_answers_by_name_and_its_usage_is_what_the_upstream_drew() -> None:
    verifier = Call(lambda problem, text: "5" in text)
    with serving(verifier=verifier) as served, served.client() as client:
        names = [model.id for model in client.models.list().data]
        assert {"stub", "single/stub", "repeated/stub", "until-accepted/stub"} < set(names)
        assert "best-of/stub" in names
        for name in names:
            before = list(served.stub.seen)
            status, reply = served.ask(name, max_tokens=64)
            assert status == 200, (name, reply)
            read, drawn, samples, kept, waited, cancelled = spent(reply["usage"])
            seen = served.stub.seen[len(before) :]
            assert samples == len(seen) > 0, name
            assert read == 11 * samples, name
            told = sum(one.tokens for one in seen)
            assert drawn <= told if cancelled else drawn == told, name
            assert 0 <= kept <= drawn, name
            assert 1 <= waited <= drawn, name


@pytest.mark.parametrize(
    ("name", "strategy", "samples"),
    [
        ("single/stub", "single", 1),
        ("monkeys-2/stub", "repeated", 2),
        ("best-of-2/stub", "repeated", 2),
        ("until-accepted-3/stub", "until-accepted", 3),
        ("last-finish-3/stub", "last-finish", 3),
    ],
)
def test_a_count_in_the_name_sets_the_samples(name: str, strategy: str, samples: int) -> None:
    with serving(verifier=Call(lambda problem, text: False)) as served:
        assert served.ask(name)[0] == 200
        assert len(served.stub.seen) == samples
        line = f'samplewise_requests_total{{status="200",strategy="{strategy}"}}'
        assert served.metric(line) == 1


def test_the_verifier_scores_and_the_best_is_kept() -> None:
    verifier = Call(lambda problem, text: len(text) / 100)
    with serving(saying("a", "the longest one", "the second"), verifier=verifier) as served:
        reply = served.ask("best-of-3/stub")[1]
        assert reply["choices"][0]["message"]["content"] == "the longest one "


def test_what_a_judge_draws_counts() -> None:
    judge = Judge(EndpointModel("unused", "http://127.0.0.1:9/v1"))
    with serving(verifier=judge) as served:
        reply = served.ask("best-of-2/stub")[1]
        assert [seen.body["model"] for seen in served.stub.seen] == ["stub"] * 3  # one text, once
        assert spent(reply["usage"])[:3] == (33, 15, 3)


def test_names_of_other_models_are_passed_on() -> None:
    with serving(samples=9) as served:
        for name in ("other", "Qwen/Qwen2.5-7B", "repeated-1/Qwen/Qwen2.5-7B"):
            status, reply = served.ask(name)
            assert (status, reply["model"]) == (200, name)
        models = [seen.body["model"] for seen in served.stub.seen]
        assert models == ["other", "Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B"]
        assert served.stub.connections == 2  # one for each event loop, whatever the name


@pytest.mark.parametrize("streamed", [False, True])
def test_a_strategy_without_an_answer_says_why(streamed: bool) -> None:
    with serving(saying("I do not know", "no idea")) as served:
        content = served.send({"model": "repeated-2/stub", "messages": ASK, "stream": streamed})[2]
        parts = events(content) if streamed else [json.loads(content)]
        choice = parts[0]["choices"][0]
        said = choice["delta"] if streamed else choice["message"]
        assert not said["content"]
        assert said["refusal"] == "no answer could be kept"


def test_stop_texts_cut_the_kept_answer() -> None:
    with serving() as served:
        reply = served.ask("repeated-2/stub", stop=[" is", "5"])[1]
        assert reply["choices"][0]["message"]["content"] == "The answer"


def test_a_strategy_streams_its_answer_after_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "KEEP_ALIVE", 0.02)
    gate = asyncio.Event()
    with serving(Plan(gate=gate)) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        asked = {"model": "repeated-2/stub", "messages": ASK, "stream": True}
        asked["stream_options"] = {"include_usage": True}
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(asked), headers)
        response = connection.getresponse()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert [response.readline() for _ in range(4)] == [b": at work\n", b"\n"] * 2
        served.open_gate(gate)
        *pieces, last = events(response.read())
        connection.close()
        assert pieces[0]["choices"][0]["delta"] == {"role": "assistant", "content": TEXT}
        assert pieces[1]["choices"][0]["finish_reason"] == "stop"
        assert spent(last["usage"]) == (22, 10, 2, 5, 5, 0)
        with served.client() as client:
            stream = client.chat.completions.create(
                model="repeated-2/stub",
                messages=ASK,  # type: ignore[arg-type]
                stream=True,
            )
            text = "".join(piece.choices[0].delta.content or "" for piece in stream)
        assert text == TEXT


# Hanging up


@pytest.mark.parametrize(
    ("asked", "draws"),
    [
        ({"model": "stub"}, 1),
        ({"model": "stub", "n": 2}, 2),
        ({"model": "stub", "stream": True}, 1),
        ({"model": "stub", "stream": True, "n": 2}, 2),
        ({"model": "repeated-3/stub"}, 3),
        ({"model": "repeated-3/stub", "stream": True}, 3),
        ({"model": "first-finish-3/stub"}, 3),
    ],
    ids=str,
)
def test_who_hangs_up_ends_the_upstreams_work(asked: dict[str, Any], draws: int) -> None:
    with serving(Plan(gate=asyncio.Event(), gate_after=2)) as served:
        tokens = 2 * draws if asked.get("stream") and "/" not in asked["model"] else 0
        served.hang_up(asked, when=lambda stub: stub.busy == draws and _sent(stub) >= tokens)
        served.until(lambda stub: all(seen.hung_up for seen in stub.seen))
        assert len(served.stub.seen) == draws
        served.stub.plan = Plan()
        assert served.ask("stub")[0] == 200
        strategy = asked["model"].rpartition("/")[0].rpartition("-")[0] or "single"
        line = f'samplewise_requests_total{{status="499",strategy="{strategy}"}}'
        assert served.metric(line) == 1
        assert served.metric("samplewise_requests_at_work") == 0


def test_who_hangs_up_while_sending_is_let_go() -> None:
    with serving() as served:
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            )
        while not served.metric('samplewise_requests_total{status="499",strategy="none"}'):
            pass
        assert served.metric("samplewise_requests_at_work") == 0
        assert served.stub.seen == []


def _sent(stub: StubServer) -> int:
    return sum(seen.tokens for seen in stub.seen)


# Errors of the upstream

SECRET = f"Traceback: /srv/models/secret.py {KEY}"


@pytest.mark.parametrize("asked", [{}, {"stream": True}, {"model": "repeated-2/stub"}], ids=str)
@pytest.mark.parametrize(
    ("plan", "status", "code"),
    [
        (Plan(status=429, retry_after=6.5, error=SECRET), 429, "rate_limit_exceeded"),
        (Plan(status=429), 429, "rate_limit_exceeded"),
        (Plan(status=500, error=SECRET), 502, "upstream_failed"),
        (Plan(status=503), 502, "upstream_failed"),
        (Plan(status=401, error=SECRET), 401, "upstream_refused_key"),
        (Plan(status=404, error=SECRET), 404, "model_not_found"),
        (Plan(status=307), 502, "upstream_failed"),
        (Plan(status=400, error=f"too long, {KEY}"), 400, "upstream_refused"),
        (Plan(status=422, error="odd"), 422, "upstream_refused"),
        (Plan(fault="drop"), 502, "upstream_failed"),
    ],
    ids=lambda one: str(one.fault or one.status) if isinstance(one, Plan) else str(one),
)
def test_errors_of_the_upstream(plan: Plan, status: int, code: str, asked: Any) -> None:
    with serving(plan) as served:
        asked = {"model": "stub", "messages": ASK, **asked}
        found, headers, content = served.send(asked)
        error = json.loads(content)["error"]
        assert (found, error["code"]) == (status, code)
        assert set(error) == {"message", "type", "param", "code"}
        for leak in (KEY, "Traceback", "/srv", served.stub.url):
            assert leak not in content.decode()
        if status == 429:
            assert headers["retry-after"] == ("7" if plan.retry_after else "1")
        if status == 400:
            assert "too long" in error["message"]
        strategy = "repeated" if "repeated" in asked["model"] else "single"
        line = f'samplewise_requests_total{{status="{status}",strategy="{strategy}"}}'
        assert served.metric(line) == 1


@pytest.mark.parametrize("fault", ["json", "half", "no choices"])
def test_broken_replies_of_the_upstream(fault: Any) -> None:
    with serving(Plan(fault=fault)) as served:
        assert served.ask()[1]["error"]["code"] == "upstream_failed"


def test_an_upstream_that_is_gone() -> None:
    with serving(samples=9) as served:
        served.wait(served.stub.__aexit__())
        assert served.ask()[0] == 502


def test_the_official_client_knows_the_errors() -> None:
    with serving(Plan(status=429, retry_after=2)) as served, served.client() as client:
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model="stub", messages=ASK)  # type: ignore[arg-type]
        assert raised.value.code == "rate_limit_exceeded"
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="no-2/stub", messages=ASK)  # type: ignore[arg-type]
        assert missing.value.code == "model_not_found"


def test_an_error_in_the_middle_of_a_stream_is_an_event() -> None:
    with serving(Plan(fault="half")) as served, served.client() as client:
        asked = {"model": "stub", "messages": ASK, "stream": True}
        status, _, content = served.send(asked)
        assert status == 200
        *pieces, last = events(content)
        assert pieces
        assert last["error"]["code"] == "upstream_failed"
        assert b"[DONE]" not in content
        with pytest.raises(openai.APIError, match="upstream failed"):
            list(client.chat.completions.create(**asked))
        assert served.metric('samplewise_requests_total{status="502",strategy="single"}') == 2


def test_one_sample_that_fails_costs_only_its_vote() -> None:
    def plan(number: int, body: dict[str, Any]) -> Plan:
        return Plan(status=500) if number == 1 else Plan()

    with serving(plan) as served:
        status, reply = served.ask("repeated-3/stub")
        assert status == 200
        assert spent(reply["usage"]) == (22, 10, 3, 5, 5, 0)


@pytest.mark.parametrize("asked", [{}, {"stream": True}, {"model": "repeated-2/stub"}], ids=str)
def test_a_request_has_its_time(asked: Any) -> None:
    with serving(Plan(fault="stall"), seconds=0.2) as served:
        status, reply = served.ask(**asked)
        assert (status, reply["error"]["code"]) == (504, "timeout")
        served.until(lambda stub: all(seen.hung_up for seen in stub.seen))


def test_a_stream_has_its_time() -> None:
    with serving(Plan(gate=asyncio.Event(), gate_after=2), seconds=0.3) as served:
        asked = {"model": "stub", "messages": ASK, "stream": True}
        *pieces, last = events(served.send(asked)[2])
        assert len(pieces) == 2
        assert last["error"]["code"] == "timeout"
        served.until(lambda stub: all(seen.hung_up for seen in stub.seen))


@pytest.mark.parametrize("streamed", [False, True])
def test_what_nobody_foresaw_says_nothing(streamed: bool) -> None:
    def broken(problem: Any, text: str) -> float:
        raise RuntimeError(f"/srv/secret {KEY}")

    with serving(verifier=Call(broken)) as served:
        asked = {"model": "best-of-2/stub", "messages": ASK, "stream": streamed}
        status, _, content = served.send(asked)
        assert status == 500
        assert json.loads(content)["error"]["type"] == "server_error"
        assert KEY.encode() not in content
        assert b"/srv" not in content
        assert served.metric('samplewise_requests_total{status="500",strategy="repeated"}') == 1


def test_a_strategy_that_the_model_cannot_serve_says_so() -> None:
    with serving(lambda number, body: Plan(tokens=())) as served:  # without log-probabilities
        status, reply = served.ask("beam/stub")
        assert (status, reply["error"]["code"]) == (400, "strategy_failed")


# A model that is no endpoint


def test_another_kind_of_model() -> None:
    def script(request: Request, number: int) -> Completion:
        if len(request.messages[0].content) > 100:
            return Completion("", "failed", error="too long to read", status=400)
        return Completion(f"It is {request.seed}.", prompt_tokens=4, tokens=6)

    model = ScriptedModel(script)
    model.name = "/srv/secret/tiny"
    with serving(made=model) as served:
        models = json.loads(served.send(method="GET", path="/v1/models")[2])["data"]
        assert models[0]["id"] == "tiny"
        assert "/srv" not in str(models)
        status, reply = served.ask("tiny", seed=-1, n=2)
        texts = [choice["message"]["content"] for choice in reply["choices"]]
        assert (status, texts) == (200, [f"It is {2**63 - 1}.", "It is 0."])
        content = served.send({"model": "tiny", "messages": ASK, "seed": 5, "stream": True})[2]
        first = events(content)[0]["choices"][0]["delta"]
        assert first == {"role": "assistant", "content": "It is 5."}
        assert spent(served.ask("ffs-3/tiny")[1]["usage"]) == (12, 18, 3, 6, 6, 0)
        for name in ("other", "repeated-2/other", "other/tiny", "repeated-2/", "/tiny"):
            status, reply = served.ask(name)
            assert (status, reply["error"]["code"]) == (404, "model_not_found"), name
        long = [{"role": "user", "content": "word " * 30}]
        status, reply = served.ask("tiny", messages=long)
        assert (status, reply["error"]["message"]) == (400, "too long to read")
