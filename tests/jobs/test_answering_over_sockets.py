"""Whole runs against a server that misbehaves, and runs that are killed, over real sockets."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from samplewise.jobs import AnswerJob, run_answer
from samplewise.ledger import Ledger
from samplewise.models import endpoint
from samplewise.models.endpoint import EndpointModel
from stub_server import Plan, Served

GOOD = Plan(tokens=("The answer", " is", " 5"))
FAULTS = {
    "good": GOOD,
    "drops": Plan(fault="drop"),
    "stalls": Plan(fault="stall"),
    "busy": Plan(status=429, retry_after=0.0, error="slow down"),
    "broken": Plan(fault="json"),
    "half": Plan(fault="half"),
    "empty": Plan(tokens=()),
    "down": Plan(status=503, error="out of order"),
    "refuses": Plan(status=400, error="no such thing"),
}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def no_waits(monkeypatch):
    monkeypatch.setattr(endpoint, "_sleep", lambda seconds: asyncio.sleep(0))


def write_problems(tmp_path, questions):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps({"question": q, "answer": "5"}) + "\n" for q in questions))
    return str(path)


def run(job, out, url, **settings):
    """Run, and close the model: a run leaves one that it was given open."""
    model = EndpointModel("stub", url, **settings)
    try:
        return run_answer(job, out, model=model)
    finally:
        asyncio.run(model.close())


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "strategy", ["single", "repeated", "first-finish", "until-accepted:attempts=2"]
)
def test_every_problem_is_answered_or_listed_with_its_reason(strategy, tmp_path, no_waits):
    def plan(number, body):
        return FAULTS[body["messages"][-1]["content"]]

    name, _, knob = strategy.partition(":")
    knobs = dict([knob.split("=")]) if knob else {}
    job = AnswerJob(write_problems(tmp_path, FAULTS), "", name, knobs, verify="regex:(\\d+)")
    with Served(plan) as server:
        record = run(job, tmp_path / "run", server.url, timeout=0.3, retries=1)
    found = {one["question"]: one for one in lines(tmp_path / "run" / "answers.jsonl")}
    assert list(found) == list(FAULTS)
    assert found["good"]["correct"]
    failed = {question for question, one in found.items() if one["state"] == "failed"}
    assert failed == {"drops", "stalls", "busy", "broken", "half", "down", "refuses"}
    assert all(found[question]["reason"] for question in failed)
    assert "slow down" in found["busy"]["reason"]
    assert found["empty"]["state"] in ("answered", "abstained")
    assert record["states"]["failed"] == len(failed)
    assert (tmp_path / "run" / "report.html").exists()


def test_faults_that_pass_leave_no_trace(tmp_path, no_waits):
    """Every fault once for each problem, then a good answer."""
    faults = [plan for name, plan in FAULTS.items() if name not in ("good", "empty", "refuses")]
    met = dict[str, int]()

    def plan(number, body):
        question = body["messages"][-1]["content"]
        met[question] = met.get(question, -1) + 1
        return faults[met[question]] if met[question] < len(faults) else GOOD

    job = AnswerJob(write_problems(tmp_path, "abcd"), verify="regex:(\\d+)")
    with Served(plan) as server:
        record = run(job, tmp_path / "run", server.url, timeout=0.3, retries=len(faults))
        assert server.requests == 4 * (len(faults) + 1)
    assert record["accuracy"] == 1.0
    assert record["drawn"]["completions"] == 4


def test_first_finish_hangs_up_on_the_losers_and_counts_what_they_drew(tmp_path):
    def plan(number, body):
        if number % 4 == 2:
            return Plan(tokens=("The answer", " is", " 5"), token_delay=0.02)
        return Plan(tokens=tuple(" so" for _ in range(10_000)), token_delay=0.01)

    job = AnswerJob(write_problems(tmp_path, "ab"), strategy="first-finish", verify="regex:(\\d+)")
    with Served(plan) as server:
        record = run(job, tmp_path / "run", server.url)
        seen = list(server.seen)
    assert record["accuracy"] == 1.0
    assert record["drawn"]["cancelled"] == 6
    losers = [one for one in seen if one.hung_up]
    assert len(losers) == 6
    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        written = [json.loads(content) for _, _, content in ledger.completions()]
    cancelled = [one for one in written if one["finish"] == "cancelled"]
    assert len(cancelled) == 6
    for one in cancelled:  # what was on the wire when it hung up may be one token more
        assert 0 < one["tokens"] < 10_000
    drawn = sum(one["tokens"] for one in cancelled)
    sent = sum(one.tokens for one in losers)
    assert sent - 4 * len(losers) <= drawn <= sent


def times_of(folder):
    """How often each draw was asked for, and whether it was answered."""
    if not (folder / "ledger.sqlite").exists():
        return {}
    with sqlite3.connect(folder / "ledger.sqlite") as database:
        rows = database.execute("SELECT key, times, completion IS NOT NULL FROM completions")
        return {key: (times, bool(answered)) for key, times, answered in rows}


def test_killed_twenty_times_it_pays_for_nothing_twice(tmp_path):
    """SIGKILL in the midst of requests: the end is that of a run left alone."""
    problems = write_problems(tmp_path, "abcdefgh")
    alive, until = [], [10**9]

    def plan(number, body):
        until[0] -= 1
        if until[0] == 0:
            alive[-1].send_signal(signal.SIGKILL)
        said = " 5" if body["seed"] % 24 == 0 else " 7"
        return Plan(tokens=("It is", said), delay=0.002)

    def start(folder, url):
        command = [sys.executable, "-m", "samplewise", "answer", problems, "--resume"]
        command += ["--model", f"endpoint:stub@{url}", "--strategy", "until-accepted"]
        command += ["--set", "attempts=40", "--verify", "regex:(\\d+)", "--out", str(folder)]
        alive.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ))
        return alive[-1].wait()

    killed, paid, asked = tmp_path / "killed", {}, 0
    with Served(plan) as server:
        assert start(tmp_path / "alone", server.url) == 0
        whole = server.requests
        for moment in range(20):
            until[0] = 9 + moment % 5  # of the eight problems some have an answer by then
            assert start(killed, server.url) == -signal.SIGKILL
            known = times_of(killed)
            for key, times in paid.items():
                assert known[key] == (times, True), f"{key} was asked for again"
            paid = {key: times for key, (times, answered) in known.items() if answered}
        until[0] = 10**9
        assert start(killed, server.url) == 0
        asked = server.requests - whole
    final = times_of(killed)
    assert all(final[key] == (times, True) for key, times in paid.items())
    assert final.keys() == times_of(tmp_path / "alone").keys()
    assert all(answered for _, answered in final.values())
    assert whole <= asked <= whole + 20 * 8  # lost at a kill: what each problem had in flight
    answers = [(tmp_path / name / "answers.jsonl").read_bytes() for name in ("alone", "killed")]
    assert answers[0] == answers[1]
