"""`samplewise serve` as a person meets it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from samplewise.cli.main import app
from samplewise.serve import server
from samplewise.serve.limits import Limits
from stub_server import StubServer

COMMAND = [sys.executable, "-m", "samplewise", "serve"]


def test_it_serves_until_it_is_told_to_stop() -> None:
    async def main() -> None:
        async with StubServer() as stub:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                *("--model", f"endpoint:some/model@{stub.url}", "--port", "0"),
                *("--keys-env", "SERVE_KEYS", "--host", "0.0.0.0"),
                env=os.environ | {"SERVE_KEYS": "one,two"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout
            async with asyncio.timeout(60):
                line = (await process.stdout.readline()).decode()
            assert line.startswith(f"serving endpoint:some/model@{stub.url} on http://0.0.0.0:")
            port = int(line.rpartition(":")[2].partition("/")[0])
            reply = await asyncio.to_thread(ask, port)
            assert reply["choices"][0]["message"]["content"] == "The answer is 5."
            assert len(stub.seen) == 2
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(60):
                told = await process.communicate()
            assert told == (b"", b"")

    def ask(port: int) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        body = {"model": "repeated-2/some/model", "messages": [{"role": "user", "content": "?"}]}
        headers = {"Content-Type": "application/json", "Authorization": "Bearer two"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        assert response.headers["server"] is None
        content = json.loads(response.read())
        connection.close()
        return content

    asyncio.run(main())


def test_every_option_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(server, "run_server", lambda *some, **named: given.append((some, named)))
    options = {
        "--model": "endpoint:m@http://localhost:9/v1",
        "--verify": "choice",
        "--host": "::1",
        "--port": "81",
        "--keys-env": "SERVE_KEYS",
        "--max-tokens-per-request": "11",
        "--tokens-per-key": "12",
        "--max-samples": "13",
        "--max-requests": "14",
        "--max-body": "15",
        "--max-depth": "16",
        "--timeout": "17.5",
        "--retries": "18",
        "--in-flight": "19",
    }
    words = [word for pair in options.items() for word in pair]
    done = CliRunner().invoke(app, ["serve", *words, "--without-keys"])
    assert done.exit_code == 0, done.output
    [((model,), named)] = given
    assert model == options["--model"]
    assert named["limits"] == Limits(11, 12, 17.5, 14, 13, 15, 16)
    rest = ("verify", "host", "port", "keys_env", "without_keys", "retries", "in_flight")
    assert [named[name] for name in rest] == ["choice", "::1", 81, "SERVE_KEYS", True, 18, 19]
