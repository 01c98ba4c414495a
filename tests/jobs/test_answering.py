"""Answering in a run folder: what it holds, and how a stopped run goes on."""

import json

import pytest

from samplewise.errors import BudgetError, InputError, UsageError
from samplewise.jobs import AnswerJob, run_answer
from samplewise.jobs.answer_comparison import VOTE, AnswersJob, run_compare_answers
from samplewise.jobs.answering import make_strategy, read_price
from samplewise.ledger import Ledger
from samplewise.models.completion import Completion
from samplewise.testing import ScriptedModel


def guess(request, number):
    """Right for two seeds of three."""
    question = request.messages[-1].content
    n = int(question.split()[2])
    said = 2 * n if request.seed % 3 else 1
    return Completion(f"The answer is {said}", prompt_tokens=5, tokens=4 + request.seed % 5)


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    rows = [{"question": f"What is {n} + {n} ?", "answer": f"#### {2 * n}"} for n in range(1, 13)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    return str(path)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_holds_answers_rejects_and_the_ledger(problems, tmp_path):
    out = tmp_path / "run"
    job = AnswerJob(problems, strategy="repeated", knobs={"samples": "5"}, price="1,10")
    record = run_answer(job, out, model=ScriptedModel(guess))
    answers = lines(out / "answers.jsonl")
    assert len(answers) == 12
    assert record["accuracy"] == sum(one["correct"] for one in answers) / 12 > 0.5
    assert [len(one["samples"]) for one in answers] == [5] * 12
    assert record["drawn"]["completions"] == 60
    tokens = sum(sample["tokens"] for one in answers for sample in one["samples"])
    assert record["drawn"]["tokens"] == tokens
    assert record["drawn"]["dollars"] == pytest.approx((60 * 5 + 10 * tokens) / 1e6)
    assert record["state"] == "done"
    assert record["input"]["rejected"] == len(lines(out / "rejected.jsonl")) == 1
    with Ledger(out / "ledger.sqlite") as ledger:
        assert len(list(ledger.completions())) == 60


def test_a_finished_run_is_left_alone(problems, tmp_path):
    job = AnswerJob(problems)
    first = run_answer(job, tmp_path / "run", model=ScriptedModel(guess))
    model = ScriptedModel(guess)
    assert run_answer(job, tmp_path / "run", resume=True, model=model) == first
    assert not model.asked
    with pytest.raises(UsageError, match="holds a run already"):
        run_answer(job, tmp_path / "run", model=model)


def test_failed_problems_are_listed_and_tried_again(problems, tmp_path):
    def flaky(request, number):
        if " 3 +" in request.messages[-1].content:
            return Completion("", "failed", error="status 503")
        return guess(request, number)

    job = AnswerJob(problems)
    record = run_answer(job, tmp_path / "run", model=ScriptedModel(flaky))
    assert record["states"] == {"answered": 11, "abstained": 0, "failed": 1}
    failed = [one for one in lines(tmp_path / "run" / "answers.jsonl") if one["state"] == "failed"]
    assert [(one["id"], one["reason"]) for one in failed] == [("3", "status 503")]
    model = ScriptedModel(guess)
    again = run_answer(job, tmp_path / "run", resume=True, model=model)
    assert again["states"]["failed"] == 0
    assert again["state"] == "done"
    assert len(model.asked) == 1


def test_a_budget_that_buys_nothing_is_an_error_of_its_own(problems, tmp_path):
    job = AnswerJob(problems, budget="5 tokens", max_tokens=5)
    with pytest.raises(BudgetError, match="no problem was answered") as caught:
        run_answer(job, tmp_path / "run", model=ScriptedModel(guess))
    assert caught.value.exit_code == 3


def test_a_budget_answers_as_many_as_it_buys(problems, tmp_path):
    job = AnswerJob(problems, budget="7 samples")
    record = run_answer(job, tmp_path / "run", model=ScriptedModel(guess))
    assert record["states"] == {"answered": 7, "abstained": 0, "failed": 5}


def test_problems_without_an_answer_are_refused_before_any_draw(tmp_path):
    path = tmp_path / "open.jsonl"
    path.write_text('{"question": "What?"}\n')
    model = ScriptedModel(guess)
    with pytest.raises(InputError, match="line 1, field 'answer'"):
        run_answer(AnswerJob(str(path)), tmp_path / "run", model=model)
    assert not model.asked
    assert not (tmp_path / "run").exists()


def test_strategies_are_compared_at_equal_tokens(problems, tmp_path):
    job = AnswersJob(
        problems, strategies=["first-finish:samples=3"], limit=40, max_tokens=8, verify="math"
    )
    record = run_compare_answers(job, tmp_path / "duel", model=ScriptedModel(guess))
    table = json.loads((tmp_path / "duel" / "report.json").read_text())["strategies"]
    assert {row["strategy"] for row in table} == {"single", VOTE, "first-finish:samples=3"}
    assert all(row["tokens"] <= 40 for row in table)
    vote = next(row for row in table if row["strategy"] == VOTE)
    assert (vote["difference"], vote["low"], vote["high"]) == (0, 0, 0)
    assert vote["tokens"] > 30
    assert "vote at equal tokens" in record["verdict"]
    assert len(lines(tmp_path / "duel" / "answers-single.jsonl")) == 12
    assert record["rejected"] == len(lines(tmp_path / "duel" / "rejected.jsonl")) == 1
    report = json.loads((tmp_path / "duel" / "report.json").read_text())
    for place, row in enumerate(report["strategies"]):
        low, high = row["interval"]
        assert low <= row["accuracy"] <= high
        states = [problem["answers"][place]["state"] for problem in report["problems"]]
        assert states.count("right") == round(12 * row["accuracy"])
    assert record["verdict"] in (tmp_path / "duel" / "report.html").read_text()
    model = ScriptedModel(guess)
    run_compare_answers(job, tmp_path / "duel", resume=True, model=model)
    assert not model.asked


def test_a_comparison_needs_a_number_of_tokens(problems, tmp_path):
    with pytest.raises(UsageError, match="equal tokens"):
        run_compare_answers(AnswersJob(problems, strategies=["single"]), tmp_path / "duel")


def test_strategies_and_prices_as_text():
    assert make_strategy("repeated:samples=3:selector=weighted").settings() == {
        "samples": 3,
        "selector": "weighted",
    }
    assert read_price("0,2.5") == (0.0, 2.5)
    for wrong in ("1", "a,b", "-1,2", "nan,1", "1,inf", "1,2,3"):
        with pytest.raises(UsageError, match="price"):
            read_price(wrong)
