"""Strategies inside Inspect's own evaluations, on its mock model and with its own scorers."""

import asyncio
import importlib.util
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import anyio
import inspect_ai
import pytest
from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.model._model_output import Logprob, Logprobs
from inspect_ai.scorer import choice, includes
from inspect_ai.solver import generate, system_message, use_tools
from inspect_ai.tool import tool

import samplewise as sw
from samplewise.answer.base import Kept, Strategy
from samplewise.answer.repeated import Repeated
from samplewise.errors import UsageError
from samplewise.inspect_solver import InspectModel, answer_with
from samplewise.models.completion import Request
from samplewise.verify.base import Verifier


def said(text, stop="stop", tokens=4, **usage):
    output = ModelOutput.from_content("mock", text, stop)
    output.usage = ModelUsage(
        input_tokens=9, output_tokens=tokens, total_tokens=9 + tokens, **usage
    )
    return output


class Mock:
    """A model that says what is listed for a question, one after the other, and keeps the calls."""

    def __init__(self, replies):
        self.replies = {question: iter(texts) for question, texts in replies.items()}
        self.calls = []

    def __call__(self, messages, tools, tool_choice, config):
        question = next(one.text for one in messages if one.role == "user")
        self.calls.append((question, messages, config))
        text = next(self.replies[question])
        if isinstance(text, Exception):
            raise text
        return said(text)

    @property
    def seeds(self):
        return [config.seed for _, _, config in self.calls]


@pytest.fixture
def run(tmp_path):
    def run(task, outputs, **options):
        model = get_model("mockllm/model", custom_outputs=outputs, memoize=False)
        [log] = inspect_ai.eval(task, model=model, log_dir=str(tmp_path), display="none", **options)
        return log

    return run


def accuracy(log):
    return log.results.scores[0].metrics["accuracy"].value


REPLIES = {
    "2 + 3?": ["It is 6.", "It is 5.", "So 5."],  # 5, by two of three
    "1 + 1?": ["It is 2.", "It is 3.", "I say 3.0."],  # 3, by two of three
    "4 + 4?": ["It is 7.", "It is 8.", "It is 9."],  # all differ: the first
    "3 + 3?": ["It is 6.", "It is 6.", "It is 5."],
}
TARGETS = {"2 + 3?": "5", "1 + 1?": "2", "4 + 4?": "8", "3 + 3?": "6"}


def task(*solvers, samples=None, scorer=None):
    samples = samples or [Sample(question, target=TARGETS[question]) for question in REPLIES]
    return Task(samples, solver=list(solvers), scorer=scorer or includes())


def test_a_vote_scores_as_counted_by_hand(run):
    mock = Mock(REPLIES)
    log = run(task(answer_with("repeated", samples=3)), mock)
    assert log.status == "success"
    assert [sample.output.completion for sample in log.samples] == [
        "It is 5.",
        "It is 3.",
        "It is 7.",
        "It is 6.",
    ]
    assert accuracy(log) == 0.5
    facts = log.samples[1].metadata["samplewise"]
    assert [one["answer"] for one in facts["samples"]] == ["2", "3", "3.0"]
    assert (facts["state"], facts["kept"], facts["answer"]) == ("answered", 1, "3")
    assert (facts["tokens"], facts["prompt_tokens"], facts["sequential_tokens"]) == (12, 27, 4)
    assert "correct" not in facts["samples"][0]  # nobody asked
    assert [message.text for message in log.samples[1].messages] == ["1 + 1?", "It is 3."]


def test_single_is_what_generate_does(run):
    options = {"temperature": 0.3, "max_tokens": 50}
    mocks, logs = [Mock(REPLIES), Mock(REPLIES)], []
    for mock, solver in zip(mocks, (generate(), answer_with("single")), strict=True):
        logs.append(run(task(system_message("Be brief."), solver), mock, **options))
    assert accuracy(logs[0]) == accuracy(logs[1]) == 0.5
    for one, other in zip(*(log.samples for log in logs), strict=True):
        assert one.scores["includes"].value == other.scores["includes"].value
        assert one.output.completion == other.output.completion
        assert one.output.usage == other.output.usage
        assert [(m.role, m.text) for m in one.messages] == [
            (m.role, m.text) for m in other.messages
        ]
    plain, ours = (sorted(mock.calls, key=lambda call: call[0]) for mock in mocks)
    for (_, messages, config), (_, other_messages, other_config) in zip(plain, ours, strict=True):
        assert [m.text for m in messages] == [m.text for m in other_messages]
        assert other_config.seed is not None
        assert other_config.model_copy(update={"seed": None}) == config


def test_every_draw_has_its_seed_and_the_same_ones_next_time(run):
    seeds = []
    for rng in (0, 0, 1):
        mock = Mock({question: texts * 2 for question, texts in REPLIES.items()})
        log = run(task(answer_with("repeated", samples=3, rng=rng)), mock, epochs=2)
        assert log.status == "success"
        seeds.append(mock.seeds)
    assert len(set(seeds[0])) == 24
    assert sorted(seeds[0]) == sorted(seeds[1])
    assert not set(seeds[0]) & set(seeds[2])


@dataclass(frozen=True)
class Nosy(Strategy):
    """Answers with what it can see of the target."""

    asks: bool = False

    name: ClassVar[str] = "nosy"

    def asks_verifier(self):
        return self.asks

    async def solve(self, draws, judge):
        await draws.complete(draws.requests(1, temperature=1.0))
        return Kept(f"{draws.problem.answer} {judge.problem.answer}")


@pytest.mark.parametrize(("asks", "seen"), [(False, "None None"), (True, "None 5")])
def test_the_target_is_seen_by_the_verifier_of_a_strategy_that_asks_alone(run, asks, seen):
    mock = Mock(REPLIES)
    samples = [Sample("2 + 3?", target="5")]
    log = run(task(answer_with(Nosy(), asks=asks), samples=samples), mock, temperature=0.3)
    assert log.samples[0].output.completion == seen
    assert log.samples[0].metadata["samplewise"]["asked_verifier"] is asks
    assert mock.calls[0][2].temperature == 1.0  # a strategy's own wins over the evaluation's


def test_a_strategy_that_abstains_leaves_an_empty_output_and_says_why(run):
    mock = Mock(REPLIES)
    log = run(task(answer_with("until-accepted", attempts=2)), mock)
    assert [sample.output.completion for sample in log.samples] == [
        "It is 5.",
        "It is 2.",
        "It is 8.",
        "It is 6.",
    ]
    assert len(mock.calls) == 2 + 1 + 2 + 1
    log = run(task(answer_with("until-accepted", attempts=1)), Mock(REPLIES))
    abstained = log.samples[0]
    facts = abstained.metadata["samplewise"]
    assert abstained.output.completion == ""
    assert (facts["state"], facts["reason"]) == ("abstained", "1 attempts were rejected")
    assert [one["correct"] for one in facts["samples"]] == [False]
    assert accuracy(log) == 0.5


def test_a_draw_that_fails_is_told_and_all_of_them_are_an_error(run):
    samples = [Sample("2 + 3?", target="5")]
    broken = ValueError("status 500")
    mock = Mock({"2 + 3?": [broken, "It is 5.", "It is 5."]})
    log = run(task(answer_with("repeated", samples=3), samples=samples), mock)
    told = log.samples[0].metadata["samplewise"]["samples"][0]
    assert accuracy(log) == 1.0
    assert told["finish"] == "failed"
    assert "status 500" in told["error"]
    mock = Mock({"2 + 3?": [broken] * 3})
    log = run(task(answer_with("repeated", samples=3), samples=samples), mock)
    assert log.status == "error"
    assert "status 500" in log.samples[0].error.message


def test_a_limit_of_the_evaluation_ends_the_sample_not_a_draw(run):
    samples = [Sample("2 + 3?", target="5")]
    log = run(
        task(answer_with("until-accepted", attempts=3), samples=samples),
        Mock({"2 + 3?": ["It is 6."] * 3}),
        token_limit=20,
    )
    assert log.samples[0].limit.type == "token"


def test_losers_of_a_race_are_cancelled(run):
    cancelled, started = [], []

    async def outputs(messages, tools, tool_choice, config):
        started.append(config.seed)
        if len(started) < 3:  # the first two wait for ever
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.append(config.seed)
        return said("It is 5.")

    samples = [Sample("2 + 3?", target="5")]
    log = run(task(answer_with("first-finish", samples=3), samples=samples), outputs)
    assert accuracy(log) == 1.0
    assert sorted(cancelled) == sorted(started[:2])
    finishes = [one["finish"] for one in log.samples[0].metadata["samplewise"]["samples"]]
    assert finishes == ["cancelled", "cancelled", "stop"]


def test_choices_are_asked_and_marked_for_the_scorer(run):
    def outputs(messages, tools, tool_choice, config):
        asked.append(messages[-1].text)
        return said(f"Answer: {next(letters)}")

    asked, letters = [], iter("BCBA" + "AAB" + "CCC")
    samples = [
        Sample("Capital of France?", choices=["Rome", "Paris", "Oslo"], target="B"),
    ]
    solver = answer_with("repeated", "choice", samples=4)
    log = run(task(solver, samples=samples, scorer=choice()), outputs)
    assert accuracy(log) == 1.0
    assert "A) Rome\nB) Paris\nC) Oslo" in asked[0]
    solver = answer_with("repeated", "choice", samples=3)
    assert accuracy(run(task(solver, samples=samples, scorer=choice()), outputs)) == 0.0
    solver = answer_with("repeated", "choice", samples=3, selector="verifier")
    log = run(task(solver, samples=samples, scorer=choice()), outputs)
    assert log.samples[0].metadata["samplewise"]["state"] == "abstained"
    assert accuracy(log) == 0.0


@tool
def clock():
    async def execute():
        """Tell the time."""
        return "noon"

    return execute


IMAGE = ChatMessageUser(
    content=[ContentText(text="What?"), ContentImage(image="data:image/png;base64,AAAA")]
)


@pytest.mark.parametrize(
    ("solvers", "sample", "message"),
    [
        ([use_tools(clock()), answer_with()], Sample("2 + 3?"), "has tools, and a strategy calls"),
        ([answer_with()], Sample([IMAGE]), "has a message of image"),
        ([answer_with("until-accepted")], Sample("2 + 3?"), "verifier math needs it"),
        ([answer_with("until-accepted")], Sample("2 + 3?", target=["5", "five"]), "needs it"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_draw(run, solvers, sample, message):
    mock = Mock(REPLIES)
    log = run(task(*solvers, samples=[sample]), mock)
    assert log.status == "error"
    assert message in log.samples[0].error.message
    assert not mock.calls


def test_wrong_options_are_told_when_the_solver_is_made():
    with pytest.raises(UsageError, match="no knob 'sample'"):
        answer_with("repeated", sample=3)
    with pytest.raises(UsageError, match="no verifier 'maths'"):
        answer_with("repeated", "maths")


def test_the_judge_is_the_model_of_the_role_grader(run):
    grader = get_model("mockllm/model", custom_outputs=[said("no"), said("yes")], memoize=False)
    solver = answer_with("until-accepted", "judge", attempts=2)
    samples = [Sample("2 + 3?", target="5")]
    log = run(task(solver, samples=samples), Mock(REPLIES), model_roles={"grader": grader})
    assert log.samples[0].output.completion == "It is 5."


class Closing(Verifier):
    name = "closing"
    closed = 0

    async def verify(self, problem, texts):
        raise AssertionError

    async def close(self):
        Closing.closed += 1


def test_a_verifier_made_by_name_is_closed_and_made_anew(run, monkeypatch):
    made = []
    monkeypatch.setattr(
        "samplewise.inspect_solver.make_verifier",
        lambda name, model: made.append(Closing()) or made[-1],
    )
    solver = answer_with("single", "some")
    for times in (1, 2):
        run(task(solver), Mock(REPLIES), max_samples=4)
        assert Closing.closed >= times
        assert len(made) == Closing.closed + 1
    given = Closing()
    before = Closing.closed
    run(task(answer_with(Repeated(samples=1), given)), Mock(REPLIES))
    assert Closing.closed == before


def test_a_model_of_inspects_is_a_model_here():
    told = ChatMessageAssistant(
        content=[ContentReasoning(reasoning="2 and 3"), ContentText(text="It is 5.")]
    )
    known = Logprobs(content=[Logprob(token="It", logprob=-0.5), Logprob(token="5", logprob=-1.0)])
    usage = ModelUsage(
        input_tokens=2,
        input_tokens_cache_read=7,
        output_tokens=6,
        reasoning_tokens=4,
        total_tokens=15,
    )
    outputs = [
        ModelOutput(
            model="mock",
            choices=[ChatCompletionChoice(message=told, stop_reason="stop", logprobs=known)],
            usage=usage,
        ),
        said("It is", "max_tokens"),
        said("", "content_filter"),
        ModelOutput(model="mock", error="nothing", usage=usage),
    ]
    calls = []

    def script(messages, tools, tool_choice, config):
        calls.append(config)
        return outputs[len(calls) - 1]

    model = InspectModel(get_model("mockllm/model", custom_outputs=script, memoize=False))
    wanted = Request.ask(
        "2 + 3?", max_tokens=8, stop=("\n",), seed=3, log_probabilities=True, top_p=0.5
    )
    seen = {}
    drawn = asyncio.run(model.complete([wanted] * 4, seen.__setitem__))
    assert [seen[place] for place in range(4)] == drawn
    first = drawn[0]
    assert (first.text, first.thinking, first.thinking_tokens) == ("It is 5.", "2 and 3", 4)
    assert (first.prompt_tokens, first.tokens, first.counted) == (9, 6, True)
    assert first.log_probabilities == (-0.5, -1.0)
    assert [one.finish for one in drawn] == ["stop", "length", "filtered", "failed"]
    assert drawn[3].error == "nothing"
    assert calls[0] == GenerateConfig(
        temperature=0.6, top_p=0.5, max_tokens=8, stop_seqs=["\n"], seed=3, logprobs=True
    ).merge(GenerateConfig(max_connections=calls[0].max_connections))


def test_answer_runs_on_a_model_of_inspects():
    mock = Mock({"2 + 3?": ["It is 5.", "It is 5.", "It is 6."]})
    model = InspectModel(get_model("mockllm/model", custom_outputs=mock, memoize=False))
    answers = sw.answer([{"question": "2 + 3?", "answer": "5"}], model, "repeated", samples=3)
    assert answers.accuracy == 1.0
    assert mock.calls[0][2].temperature == 0.6


def test_a_stream_is_one_piece():
    model = InspectModel(get_model("mockllm/model", custom_outputs=[said("5")], memoize=False))

    async def pieces():
        return [piece async for piece in model.stream(Request.ask("2 + 3?"))]

    [piece] = asyncio.run(pieces())
    assert (piece.text, piece.tokens, piece.completion.text) == ("5", 4, "5")


def test_without_inspect_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.setitem(sys.modules, "inspect_ai.model", None)
    spec = importlib.util.find_spec("samplewise.inspect_solver")
    with pytest.raises(UsageError, match=r"samplewise\[inspect\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_inspect_finds_the_solver_by_the_packages_name():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module = project["entry-points"]["inspect_ai"][project["name"]]
    assert importlib.import_module(module).answer_with is answer_with
