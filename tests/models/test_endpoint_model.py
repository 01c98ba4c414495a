"""Completions from a server, over real sockets: a stub that answers, streams and misbehaves."""

import asyncio
import gc
import pickle
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from samplewise.errors import UsageError
from samplewise.models import endpoint
from samplewise.models.completion import Chunk, Completion, Request, make_model
from samplewise.models.endpoint import EndpointError, EndpointModel
from samplewise.problems import Message
from stub_server import Plan, StubServer

KEY = "sk-very-secret"
ASK = Request.ask("What is 2 + 3?")
TEXT = "The answer is 5."

Planned = Plan | Callable[[int, dict[str, Any]], Plan]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited for between tries, without the waiting."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(endpoint, "_sleep", sleep)
    return waited


def run(
    plan: Planned,
    test: Callable[[StubServer, EndpointModel], Coroutine[Any, Any, Any]],
    **settings: Any,
) -> Any:
    async def inside() -> Any:
        async with (
            asyncio.timeout(60),
            StubServer(plan) as server,
            EndpointModel("stub", server.url, **settings) as model,
        ):
            return await test(server, model)

    return asyncio.run(inside())


def complete(
    plan: Planned, *requests: Request, **settings: Any
) -> tuple[list[Completion], StubServer]:
    async def test(server: StubServer, model: EndpointModel) -> Any:
        return await model.complete(requests or [ASK]), server

    return run(plan, test, **settings)


def streamed(plan: Planned, request: Request = ASK, **settings: Any) -> tuple[list[Chunk], Any]:
    async def test(server: StubServer, model: EndpointModel) -> Any:
        return [piece async for piece in model.stream(request)], server

    return run(plan, test, **settings)


def first(plan: Plan, others: Plan | None = None) -> Callable[[int, Any], Plan]:
    return lambda number, body: plan if number == 0 else others or Plan()


# What is sent, and what is read


def test_a_completion_and_its_counts() -> None:
    [completion], server = complete(Plan())
    assert (completion.text, completion.finish) == (TEXT, "stop")
    assert (completion.prompt_tokens, completion.tokens, completion.counted) == (11, 5, True)
    assert completion.seconds > 0
    [seen] = server.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body == {
        "model": "stub",
        "messages": [{"role": "user", "content": "What is 2 + 3?"}],
        "temperature": 0.6,
        "top_p": 0.95,
    }  # and no max_tokens: the server has a rule of its own


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    _, server = complete(Plan())
    assert "authorization" not in server.seen[0].headers


def test_settings_of_a_request_are_sent() -> None:
    request = Request.ask("?", temperature=0.0, top_p=0.5, max_tokens=2, stop=("\n",), seed=7)
    [completion], server = complete(Plan(), request)
    assert (completion.text, completion.finish) == ("The answer", "length")
    body = server.seen[0].body
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.0, 0.5, 2)
    assert (body["stop"], body["seed"]) == (["\n"], 7)


def test_log_probabilities() -> None:
    request = Request.ask("?", log_probabilities=True)
    [completion], server = complete(Plan(), request)
    assert completion.log_probabilities == (-0.25,) * 5
    assert completion.token_texts == Plan().tokens
    assert server.seen[0].body["logprobs"] is True
    assert complete(Plan())[0][0].log_probabilities is None
    pieces, _ = streamed(Plan(usage=False), request)
    assert pieces[-1].completion
    assert pieces[-1].completion.log_probabilities == (-0.25,) * 5
    assert pieces[-1].completion.tokens == 5
    assert pieces[-1].completion.token_texts == Plan().tokens


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking(name: str) -> None:
    plan = Plan(thinking=("Hm", ", ", "5"), thinking_field=name, reasoning_tokens=True)
    [completion], _ = complete(plan)
    assert (completion.thinking, completion.thinking_tokens) == ("Hm, 5", 3)
    assert (completion.text, completion.tokens) == (TEXT, 8)
    pieces, _ = streamed(plan)
    assert "".join(piece.thinking for piece in pieces) == "Hm, 5"
    last = pieces[-1].completion
    assert last
    assert (last.thinking, last.thinking_tokens, last.tokens) == ("Hm, 5", 3, 8)


def test_without_usage_tokens_are_estimated() -> None:
    [completion], _ = complete(Plan(usage=False))
    assert not completion.counted
    assert completion.tokens > 0
    assert completion.prompt_tokens > 0


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("length", "length"), ("content_filter", "filtered"), ("abort", "failed"), (None, "stop")],
)
def test_why_it_ended(reason: str | None, finish: str) -> None:
    [completion], _ = complete(Plan(finish=reason))
    assert completion.finish == finish
    assert bool(completion.error) == (finish == "failed")


def test_an_empty_completion_is_one() -> None:
    [completion], server = complete(Plan(tokens=()))
    assert (completion.text, completion.finish) == ("", "stop")
    assert len(server.seen) == 1


def test_the_assistants_turn_is_gone_on_with() -> None:
    turns = (Message("user", "2 + 3?"), Message("assistant", "It is"))
    _, server = complete(Plan(), Request(turns))
    body = server.seen[0].body
    assert (body["add_generation_prompt"], body["continue_final_message"]) == (False, True)
    assert body["messages"][-1] == {"role": "assistant", "content": "It is"}


def test_half_a_surrogate_pair_is_sent() -> None:
    [completion], server = complete(Plan(), Request.ask("\ud800"))
    assert completion.text == TEXT
    assert server.seen[0].body["messages"][0]["content"] == "\ud800"


def test_a_server_may_call_max_tokens_something_else(waits: list[float]) -> None:
    def plan(number: int, body: dict[str, Any]) -> Plan:
        error = "Unsupported: 'max_tokens'. Use 'max_completion_tokens' instead."
        return Plan(status=400, error=error) if "max_tokens" in body else Plan()

    requests = [Request.ask("?", max_tokens=2, seed=seed) for seed in range(3)]
    completions, server = complete(plan, *requests, concurrency=1)
    assert [one.text for one in completions] == ["The answer"] * 3
    assert len(server.seen) == 4  # it is asked in the wrong way once
    assert waits == []


# Faults


@pytest.mark.parametrize(
    "fault",
    [
        *(Plan(status=status) for status in (408, 409, 425, 429, 500, 503)),
        Plan(fault="drop"),
        Plan(fault="json"),
        Plan(fault="half"),
        Plan(fault="no choices"),
        Plan(error="overloaded"),
    ],
    ids=lambda plan: str(plan.fault or plan.error or plan.status),
)
def test_what_may_pass_is_tried_again(fault: Plan, waits: list[float]) -> None:
    [completion], server = complete(first(fault))
    assert completion.text == TEXT
    assert len(server.seen) == 2
    assert len(waits) == 1
    assert 0 <= waits[0] <= 0.5


def test_a_stalled_server_is_given_up_and_asked_again(waits: list[float]) -> None:
    [completion], server = complete(first(Plan(fault="stall")), timeout=0.2)
    assert completion.text == TEXT
    assert server.seen[0].hung_up


def test_waits_grow_and_have_an_end(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "jitter", lambda low, high: high)
    [completion], server = complete(Plan(status=500, error="no luck"), retries=9)
    assert completion.finish == "failed"
    assert "failed 10 times" in completion.error
    assert "no luck" in completion.error
    assert len(server.seen) == 10
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_retry_after_is_honoured(waits: list[float]) -> None:
    complete(first(Plan(status=429, retry_after=7)))
    complete(first(Plan(status=429, retry_after=20, as_date=True)))
    complete(first(Plan(status=429, retry_after=9000)))
    assert 7 <= waits[0] <= 7.5
    assert 17 < waits[1] <= 20.5
    assert waits[2] == 60


def test_a_refused_request_fails_alone(waits: list[float]) -> None:
    def plan(number: int, body: dict[str, Any]) -> Plan:
        bad = body["messages"][0]["content"] == "bad"
        return Plan(status=400, error=f"too long, {KEY}") if bad else Plan()

    completions, server = complete(plan, ASK, Request.ask("bad"), ASK)
    assert [one.finish for one in completions] == ["stop", "failed", "stop"]
    assert "too long" in completions[1].error
    assert KEY not in completions[1].error
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 307])
def test_what_no_request_can_mend_is_raised(status: int) -> None:
    with pytest.raises(UsageError) as raised:
        complete(Plan(status=status, error=f"bad key {KEY}"), ASK, ASK, ASK)
    assert KEY not in str(raised.value)
    with pytest.raises(UsageError):
        streamed(Plan(status=status))


def test_a_server_that_is_not_there(waits: list[float]) -> None:
    async def inside() -> list[Completion]:
        async with StubServer() as server:
            url = server.url
        async with EndpointModel("stub", url, retries=1) as model:
            return await model.complete([ASK])

    [completion] = asyncio.run(inside())
    assert completion.finish == "failed"
    assert "no connection" in completion.error
    assert len(waits) == 1


def test_an_error_with_status_200_that_names_a_refusal() -> None:
    completion = complete(Plan(error="x"), retries=0)[0][0]
    assert (completion.finish, "500" in completion.error) == ("failed", True)


@pytest.mark.parametrize("asked", [complete, streamed])
def test_what_the_server_said_of_a_failure(asked: Any, waits: list[float]) -> None:
    def failed(plan: Plan) -> Completion:
        found = asked(plan, retries=1)[0][-1]
        return found if isinstance(found, Completion) else found.completion

    busy = failed(Plan(status=429, retry_after=7))
    assert (busy.finish, busy.status, busy.retry_after) == ("failed", 429, 7)
    assert failed(Plan(status=422)).status == 422
    assert failed(Plan(fault="drop")).status == 0
    with pytest.raises(EndpointError) as raised:
        failed(Plan(status=403))
    assert raised.value.status == 403


def test_models_of_one_server_share_its_connections() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        other = model.sibling("other")
        assert (other.name, model.name) == (
            f"endpoint:other@{server.url}",
            "endpoint:stub@" + server.url,
        )
        for one in (model, other, pickle.loads(pickle.dumps(other))):
            await one.complete([ASK])
        assert [seen.body["model"] for seen in server.seen] == ["stub", "other", "other"]
        assert [seen.connection for seen in server.seen] == [0, 0, 1]

    run(Plan(), test)


# Several draws at once


def seeded(count: int) -> list[Request]:
    return [ASK.with_seed(seed) for seed in range(count)]


def test_requests_that_differ_in_seed_go_as_one() -> None:
    other = Request.ask("else")
    completions, server = complete(Plan(), *seeded(5), other, draws_at_once=4)
    assert [one.text for one in completions] == [TEXT] * 6
    assert sorted(seen.body.get("n", 1) for seen in server.seen) == [1, 1, 4]
    four = next(seen for seen in server.seen if seen.body.get("n") == 4)
    assert four.body["seed"] == 0
    assert sum(one.tokens for one in completions) == 6 * 5
    assert sum(one.prompt_tokens for one in completions) == 3 * 11
    assert [one.counted for one in completions] == [False] * 4 + [True] * 2


def test_by_default_each_goes_alone() -> None:
    _, server = complete(Plan(), *seeded(3))
    assert sorted(seen.body["seed"] for seen in server.seen) == [0, 1, 2]
    assert all("n" not in seen.body for seen in server.seen)


def test_a_server_that_ignores_n_is_asked_one_at_a_time_for_good() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        places: list[int] = []
        drawn = await model.complete(seeded(4), lambda place, completion: places.append(place))
        assert [one.text for one in drawn] == [TEXT] * 4
        assert sorted(places) == [0, 1, 2, 3]
        assert len(server.seen) == 4  # the one that came is kept
        assert sorted(seen.body["seed"] for seen in server.seen) == [0, 1, 2, 3]
        await model.complete(seeded(4))
        assert sum("n" in seen.body for seen in server.seen) == 1

    run(Plan(honours_n=False), test, draws_at_once=4)


def test_a_server_that_refuses_n_is_asked_one_at_a_time_for_good() -> None:
    def plan(number: int, body: dict[str, Any]) -> Plan:
        return Plan(status=400, error="only one") if "n" in body else Plan()

    async def test(server: StubServer, model: EndpointModel) -> None:
        drawn = await model.complete(seeded(4))
        assert [one.text for one in drawn] == [TEXT] * 4
        await model.complete(seeded(4))
        assert sum("n" in seen.body for seen in server.seen) == 1
        assert len(server.seen) == 1 + 4 + 4

    run(plan, test, draws_at_once=4)


def test_a_bad_request_is_not_taken_for_a_server_without_n() -> None:
    def plan(number: int, body: dict[str, Any]) -> Plan:
        return Plan(status=400) if body["messages"][0]["content"] == "bad" else Plan()

    async def test(server: StubServer, model: EndpointModel) -> None:
        bad = Request.ask("bad")
        drawn = await model.complete([bad.with_seed(1), bad.with_seed(2)])
        assert [one.finish for one in drawn] == ["failed"] * 2
        await model.complete(seeded(2))
        assert server.seen[-1].body["n"] == 2

    run(plan, test, draws_at_once=2)


# Many at a time


def test_as_many_in_flight_as_allowed_and_no_more() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        plan = server.plan
        assert isinstance(plan, Plan)
        plan.gate = asyncio.Event()
        calls = [asyncio.create_task(model.complete([ASK] * 5)) for _ in range(3)]
        await server.until(lambda server: server.busy == 4)
        for _ in range(20):  # what wanted to break the bound would do so now
            await asyncio.sleep(0)
        plan.gate.set()
        await asyncio.gather(*calls)
        assert server.most_busy == 4
        assert len(server.seen) == 15
        assert server.connections == 4  # connections are used again

    run(Plan(), test, concurrency=4)


def test_each_is_told_as_soon_as_it_comes() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        gate = asyncio.Event()
        server.plan = lambda number, body: Plan(gate=gate if body["seed"] == 0 else None)
        told: list[int] = []
        both = asyncio.Event()

        def seen(place: int, completion: Completion) -> None:
            assert completion.text == TEXT
            told.append(place)
            if len(told) == 2:
                both.set()

        call = asyncio.create_task(model.complete(seeded(3), seen))
        await both.wait()
        assert not call.done()
        gate.set()
        await call
        assert sorted(told[:2]) == [1, 2]
        assert told[2] == 0

    run(Plan(), test)


def test_cancelling_hangs_up() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        call = asyncio.create_task(model.complete([ASK] * 3))
        await server.until(lambda server: server.busy == 3)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.until(lambda server: all(seen.hung_up for seen in server.seen))
        server.plan = Plan()
        assert (await model.complete([ASK]))[0].text == TEXT  # its places are free again

    run(Plan(fault="stall"), test, concurrency=3)


def test_requests_and_tokens_a_minute(waits: list[float]) -> None:
    complete(Plan(), *seeded(3), requests_per_minute=6, concurrency=1)
    assert len(waits) == 2
    assert all(9 < wait <= 10 * (place + 1) for place, wait in enumerate(waits))
    waits.clear()
    complete(Plan(), *seeded(2), tokens_per_minute=16, concurrency=1)  # 16 are used each
    assert len(waits) == 1
    assert 55 < waits[0] <= 60


# Streams


def test_a_stream() -> None:
    pieces, server = streamed(Plan())
    assert [piece.text for piece in pieces[:-1]] == list(Plan().tokens)
    assert sum(piece.tokens for piece in pieces) == 5
    last = pieces[-1].completion
    assert last
    assert (last.text, last.finish, last.counted) == (TEXT, "stop", True)
    assert (last.prompt_tokens, last.tokens) == (11, 5)
    assert server.seen[0].body["stream_options"] == {"include_usage": True}


def test_streams_use_connections_again() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        for _ in range(3):
            async for _piece in model.stream(ASK):
                pass
        assert server.connections == 1

    run(Plan(), test)


def test_a_stream_without_usage_is_estimated() -> None:
    last = streamed(Plan(usage=False))[0][-1].completion
    assert last
    assert (last.tokens, last.counted) == (5, False)


def test_a_server_that_knows_no_stream_options() -> None:
    def plan(number: int, body: dict[str, Any]) -> Plan:
        known = "stream_options" not in body
        return Plan() if known else Plan(status=400, error="unknown: stream_options")

    pieces, server = streamed(plan)
    assert pieces[-1].completion
    assert pieces[-1].completion.text == TEXT
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan(fault="half"), "broke off"),
        (Plan(error=f"out of memory {KEY}"), "out of memory"),
        (Plan(finish="error"), "error"),
    ],
)
def test_half_a_stream_fails_with_what_came(plan: Plan, reason: str) -> None:
    pieces, _ = streamed(plan)
    last = pieces[-1].completion
    assert last
    assert last.finish == "failed"
    assert last.text == "".join(piece.text for piece in pieces)
    assert last.text
    assert last.tokens >= 3
    assert reason in last.error
    assert KEY not in last.error


def test_a_stream_that_stalls_fails() -> None:
    plan = Plan(gate=asyncio.Event(), gate_after=2)
    last = streamed(plan, timeout=0.3)[0][-1].completion
    assert last
    assert (last.text, last.finish) == ("The answer", "failed")
    assert "0.3 s" in last.error


def test_a_stream_is_begun_again(waits: list[float]) -> None:
    pieces, _ = streamed(first(Plan(status=503)))
    assert pieces[-1].completion
    assert pieces[-1].completion.text == TEXT
    pieces, _ = streamed(Plan(status=503), retries=1)
    assert [piece.completion.finish for piece in pieces if piece.completion] == ["failed"]
    assert len(waits) == 2


def test_closing_a_stream_hangs_up_at_once() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        stream = model.stream(ASK)
        await anext(stream)
        await stream.aclose()
        await server.until(lambda server: bool(server.seen[0].hung_up))
        assert server.seen[0].tokens == 2
        server.plan = Plan()
        assert (await model.complete([ASK]))[0].text == TEXT

    run(Plan(gate=asyncio.Event(), gate_after=2), test, concurrency=1)


def test_a_race_hangs_up_on_the_losers() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        never, go = asyncio.Event(), asyncio.Event()

        def plan(number: int, body: dict[str, Any]) -> Plan:
            wins = body["seed"] == 1
            return Plan(gate=go if wins else never, gate_after=3)

        server.plan = plan
        race = asyncio.create_task(model.race(seeded(3), lambda ended: len(ended) == 1))
        await server.until(
            lambda server: len(server.seen) == 3 and all(seen.tokens == 3 for seen in server.seen)
        )
        go.set()
        drawn = await race
        assert [one.finish for one in drawn] == ["cancelled", "stop", "cancelled"]
        assert drawn[1].text == TEXT
        losers = [seen for seen in server.seen if seen.body["seed"] != 1]
        await server.until(lambda server: all(seen.hung_up for seen in losers))
        assert [seen.tokens for seen in losers] == [3, 3]
        for loser in (drawn[0], drawn[2]):
            # what the server sent last may still have been on its way
            assert loser.tokens == len(Plan().tokens[: loser.tokens])
            assert loser.text == "".join(Plan().tokens[: loser.tokens])
            assert not loser.counted

    run(Plan(), test)


# Keys, names, event loops


def test_the_key_is_kept_nowhere() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        await model.complete([ASK])
        kept = [repr(model), model.name, repr(vars(model)), repr(pickle.dumps(model))]
        wire = next(iter(model._wires.values()))
        kept += [repr(vars(wire)), repr(vars(wire.session))]
        assert not any(KEY in text for text in kept)

    run(Plan(), test)


def test_a_copy_through_pickle_works() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        await model.complete([ASK])
        async with pickle.loads(pickle.dumps(model)) as copy:
            assert (copy.name, copy.concurrency) == (model.name, 3)
            assert (await copy.complete([ASK]))[0].text == TEXT

    run(Plan(), test, concurrency=3)


def test_an_odd_key_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-se\ncret")
    with pytest.raises(UsageError, match="odd characters") as raised:
        complete(Plan())
    assert "cret" not in str(raised.value).replace("secret", "")


@pytest.mark.filterwarnings("error")
def test_each_event_loop_has_connections_of_its_own() -> None:
    model = EndpointModel("stub", "http://127.0.0.1:1/v1")

    async def ask(*, close: bool) -> None:
        async with StubServer() as server:
            model.url = server.url
            assert (await model.complete([ASK]))[0].text == TEXT
            if close:
                await model.close()

    asyncio.run(ask(close=True))
    assert not model._wires
    asyncio.run(ask(close=True))


def test_connections_of_a_loop_that_ended_are_let_go(recwarn: pytest.WarningsRecorder) -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        await model.complete([ASK])
        [old] = model._wires.values()
        ended = asyncio.new_event_loop()
        ended.close()
        model._wires = {ended: old}
        await model.complete([ASK])
        assert len(model._wires) == 1
        assert old.session.closed

    run(Plan(), test)
    gc.collect()


def test_closing_twice_and_before_any_use() -> None:
    async def inside() -> None:
        model = EndpointModel("stub", "http://localhost:1/v1")
        await model.close()
        await model.close()

    asyncio.run(inside())


def test_no_requests_no_traffic() -> None:
    async def test(server: StubServer, model: EndpointModel) -> None:
        assert await model.complete([]) == []
        assert not server.seen

    run(Plan(), test)


def test_made_by_name() -> None:
    model = make_model("endpoint:org/name@http://localhost:1/v1/")
    assert model.name == "endpoint:org/name@http://localhost:1/v1"


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "localhost:8000"},
        {"url": f"http://{KEY}@localhost/v1"},
        {"url": f"http://localhost/v1?key={KEY}"},
        {"concurrency": 0},
        {"timeout": 0},
        {"retries": -1},
        {"draws_at_once": 0},
        {"requests_per_minute": 0},
        {"tokens_per_minute": -1},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        EndpointModel(**{"model": "stub", "url": "http://localhost/v1", **settings})
    assert KEY not in str(raised.value)


def test_a_missing_package_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(UsageError, match=r"pip install 'samplewise\[endpoint\]'"):
        complete(Plan())
