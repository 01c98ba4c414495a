"""Answering as a job: the report that it leaves."""

import json

import pytest

from samplewise.errors import UsageError
from samplewise.jobs import answering
from samplewise.jobs.answering import AnswerJob, run_answer
from samplewise.models.completion import Completion
from samplewise.testing import ScriptedModel, ScriptedVerifier


class Closing(ScriptedVerifier):
    """Compares answers only while it is open."""

    closed = False

    def same(self, first, second):
        assert not self.closed
        return super().same(first, second)

    async def close(self):
        self.closed = True


@pytest.fixture
def problems(tmp_path, monkeypatch):
    monkeypatch.setattr(answering, "make_verifier", lambda spec, model=None: Closing())
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(f'{{"question": "What {i}?", "answer": "7"}}\n' for i in range(4)))
    return path


def script(request, number):
    return Completion("is 7" if number % 2 else "is 8", prompt_tokens=10, tokens=5)


def test_a_run_leaves_its_report(problems, tmp_path):
    job = AnswerJob(
        str(problems), strategy="repeated", knobs={"samples": "4"}, price="1,2", value=0.5
    )
    record = run_answer(job, tmp_path / "run", model=ScriptedModel(script))
    report = json.loads((tmp_path / "run" / "report.json").read_bytes())
    assert report["kind"] == "answers"
    assert report["totals"]["accuracy"] == record["accuracy"]
    assert report["totals"]["dollars"] == pytest.approx(record["drawn"]["dollars"])
    assert report["curve"]["samples"] == 4
    assert report["pays"]["value"] == 0.5
    assert "report" in record["seconds"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "4 problems" in page
    assert "What 3?" in page


@pytest.mark.parametrize(("value", "price"), [(1.0, None), (-1.0, "1,2"), (float("nan"), "1,2")])
def test_a_value_without_sense_is_refused(problems, tmp_path, value, price):
    with pytest.raises(UsageError, match="value|price"):
        run_answer(AnswerJob(str(problems), price=price, value=value), tmp_path / "run")
    assert not (tmp_path / "run").exists()
