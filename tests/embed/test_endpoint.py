import json
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from samplewise.embed.endpoint import EndpointEmbedder
from samplewise.errors import InputError, SamplewiseError, UsageError
from samplewise.models.http import asked_wait

KEY = "sk-very-secret"
Reply = tuple[int, dict[str, str], bytes]


def vector(text: str) -> list[float]:
    return [float(len(text)), float(sum(text.encode()) % 97), 1.0]


def good(body: dict[str, Any]) -> Reply:
    data = [{"index": i, "embedding": vector(text)} for i, text in enumerate(body["input"])]
    return 200, {}, json.dumps({"data": data[::-1]}).encode()  # in another order than asked


class Server(ThreadingHTTPServer):
    """A real server on a real socket; `answer` is called with the number of the request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Callable[[int, dict[str, Any]], Reply] = lambda number, body: good(body)
        self.lock = threading.Lock()
        self.seen: list[tuple[str, str, dict[str, Any]]] = []
        self.at: list[float] = []
        self.busy = self.most_busy = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.seen)
            self.server.seen.append((self.path, self.headers.get("Authorization", ""), body))
            self.server.at.append(time.monotonic())
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
        try:
            status, headers, content = self.server.answer(number, body)
            with self.server.lock:
                self.server.busy -= 1
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up, as the time-out test wants

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


TEXTS = [f"text {'x' * i}" for i in range(10)]
EXPECTED = np.array([vector(text) for text in TEXTS], np.float32)


def test_vectors_come_in_the_order_of_the_texts(server: Server) -> None:
    found = EndpointEmbedder("tiny", server.url, batch_size=3).embed(TEXTS)
    np.testing.assert_array_equal(found, EXPECTED)
    assert found.dtype == np.float32
    paths, keys, bodies = zip(*server.seen, strict=True)
    assert set(paths) == {"/v1/embeddings"}
    assert set(keys) == {f"Bearer {KEY}"}
    assert {body["model"] for body in bodies} == {"tiny"}
    assert sorted(len(body["input"]) for body in bodies) == [1, 3, 3, 3]


def test_without_a_key_none_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    EndpointEmbedder("tiny", server.url).embed(TEXTS)
    assert server.seen[0][1] == ""


def test_no_texts_make_no_request(server: Server) -> None:
    assert EndpointEmbedder("tiny", server.url).embed([]).shape[0] == 0
    assert not server.seen


def test_concurrency_is_used_and_bounded(server: Server) -> None:
    def slow(number: int, body: dict[str, Any]) -> Reply:
        time.sleep(0.05)
        return good(body)

    server.answer = slow
    found = EndpointEmbedder("tiny", server.url, batch_size=1, concurrency=3).embed(TEXTS)
    np.testing.assert_array_equal(found, EXPECTED)
    assert server.most_busy == 3


def test_two_429_then_an_answer_after_the_wait_that_was_asked(server: Server) -> None:
    server.answer = lambda number, body: (
        (429, {"Retry-After": "1.2"}, b"")
        if number == 0
        else (429, {}, b"")
        if number == 1
        else good(body)
    )
    found = EndpointEmbedder("tiny", server.url).embed(TEXTS)
    np.testing.assert_array_equal(found, EXPECTED)
    assert len(server.seen) == 3
    assert server.at[1] - server.at[0] >= 1.2


def test_a_broken_server_is_tried_again_then_named(server: Server) -> None:
    server.answer = lambda number, body: (500, {}, KEY.encode())
    with pytest.raises(InputError, match=r"/v1/embeddings: failed 2 times.*status 500"):
        EndpointEmbedder("tiny", server.url, retries=1).embed(TEXTS)
    assert len(server.seen) == 2


def test_a_hang_is_cut_off_and_tried_again(server: Server) -> None:
    release = threading.Event()

    def hang(number: int, body: dict[str, Any]) -> Reply:
        if number == 0:
            release.wait(10)
        return good(body)

    server.answer = hang
    begin = time.monotonic()
    found = EndpointEmbedder("tiny", server.url, timeout=0.3).embed(TEXTS)
    release.set()
    np.testing.assert_array_equal(found, EXPECTED)
    assert time.monotonic() - begin < 5


def test_hanging_for_ever_says_so(server: Server) -> None:
    release = threading.Event()
    server.answer = lambda number, body: (release.wait(10), good(body))[1]
    with pytest.raises(InputError, match=r"no answer in 0.2 s"):
        EndpointEmbedder("tiny", server.url, timeout=0.2, retries=0).embed(TEXTS)
    release.set()


def test_nobody_listening_is_named() -> None:
    with Server() as closed:
        url = closed.url
    with pytest.raises(InputError, match="no connection"):
        EndpointEmbedder("tiny", url, retries=0).embed(TEXTS)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "'tiny'")]
)
def test_a_refusal_is_not_tried_again(server: Server, status: int, words: str) -> None:
    server.answer = lambda number, body: (status, {}, f"wrong key {KEY}".encode())
    with pytest.raises(UsageError, match=words) as caught:
        EndpointEmbedder("tiny", server.url).embed(TEXTS)
    assert len(server.seen) == 1
    assert KEY not in str(caught.value)


def changed(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[..., Reply]:
    def answer(number: int, body: dict[str, Any]) -> Reply:
        content = json.loads(good(body)[2])
        content["data"] = change(content["data"])
        return 200, {}, json.dumps(content).encode()

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (changed(lambda data: data[1:]), "sent 9 vectors for 10 texts"),
        (changed(lambda data: data + data[:1]), "sent 11 vectors for 10 texts"),
        (changed(lambda data: data[:-1] + data[:1]), "not one each"),
        (changed(lambda data: [{**data[0], "embedding": [1.0]}, *data[1:]]), "unequal length"),
        (changed(lambda data: [{**data[0], "embedding": ["a"] * 3}, *data[1:]]), "no numbers"),
        (changed(lambda data: [{**row, "embedding": []} for row in data]), "no vectors"),
        (changed(lambda data: [{**data[0], "embedding": [1, np.nan, 1]}, *data[1:]]), "finite"),
        (changed(lambda data: [{**data[0], "embedding": [1, 1e300, 1]}, *data[1:]]), "finite"),
        (changed(lambda data: None), "no list of embeddings"),
        (changed(lambda data: ["a"]), "no list of embeddings"),
        (lambda number, body: (200, {}, b"<html>hello"), "sent no JSON: '<html>hello'"),
        (lambda number, body: (200, {}, b"[1]"), "no list of embeddings"),
    ],
)
def test_what_is_no_answer_is_named(
    server: Server, answer: Callable[..., Reply], words: str
) -> None:
    server.answer = answer
    with pytest.raises(InputError, match=words) as caught:
        EndpointEmbedder("tiny", server.url).embed(TEXTS)
    assert "/v1/embeddings" in str(caught.value)


def test_batches_of_unequal_length_are_named(server: Server) -> None:
    def answer(number: int, body: dict[str, Any]) -> Reply:
        data = [{"index": i, "embedding": [1.0] * (1 + number)} for i in range(len(body["input"]))]
        return 200, {}, json.dumps({"data": data}).encode()

    server.answer = answer
    with pytest.raises(InputError, match="unequal length"):
        EndpointEmbedder("tiny", server.url, batch_size=5).embed(TEXTS)


def test_the_key_is_in_no_attribute_id_or_pickle(server: Server) -> None:
    embedder = EndpointEmbedder("tiny", server.url)
    embedder.embed(TEXTS)
    content = pickle.dumps(embedder)
    assert KEY.encode() not in content
    assert KEY not in repr(embedder) + embedder.id
    np.testing.assert_array_equal(pickle.loads(content).embed(TEXTS), EXPECTED)


def test_an_odd_key_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-se\ncret")
    with pytest.raises(UsageError, match="odd characters") as caught:
        EndpointEmbedder("tiny", "http://127.0.0.1:9/v1").embed(["a"])
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "localhost:80"},
        {"url": "http://user:key@host/v1"},
        {"batch_size": 0},
        {"concurrency": 0},
        {"timeout": -1.0},
        {"retries": -1},
    ],
)
def test_settings_are_checked_before_any_work(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        EndpointEmbedder(**{"model": "m", "url": "http://host/v1", **settings})


def test_an_address_that_cannot_be_read_is_named() -> None:
    with pytest.raises(SamplewiseError, match=r"no address|no connection"):
        EndpointEmbedder("m", "http://[::/v1", retries=0).embed(["a"])


def test_a_missing_package_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(UsageError, match=r"pip install 'samplewise\[endpoint\]'"):
        EndpointEmbedder("m", "http://host/v1").embed(["a"])


def test_retry_after_may_be_seconds_a_date_or_nonsense() -> None:
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert asked_wait("7") == 7
    assert 95 < asked_wait(later) <= 100
    assert [asked_wait(text) for text in ("", "soon", "-3", "nan")] == [0, 0, 0, 0]
