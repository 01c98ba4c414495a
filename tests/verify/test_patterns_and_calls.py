"""Verifiers of form, and those that ask a function or a model."""

from __future__ import annotations

import asyncio
import json
import math

import pytest

from samplewise.errors import InputError, UsageError
from samplewise.models.completion import Completion
from samplewise.problems import Problem
from samplewise.testing import ScriptedModel
from samplewise.verify import VERIFIERS, Verdict, make_verifier
from samplewise.verify.calls import Judge


def verdicts(verifier, problem, *texts):
    return asyncio.run(verifier.verify(problem, texts))


def correct(verifier, problem, *texts):
    return [verdict.correct for verdict in verdicts(verifier, problem, *texts)]


def test_exact():
    problem = Problem.ask("?", answer="Paris")
    assert correct(make_verifier("exact"), problem, "Paris", " Paris\n", "paris", "") == [
        True,
        True,
        False,
        False,
    ]


def test_regex():
    verifier = make_verifier(r"regex:total: (\d+)")
    problem = Problem.ask("?", answer="2")
    texts = ["total: 1, no, total: 2", "total: 1", "two"]
    assert correct(verifier, problem, *texts) == [True, False, False]
    assert correct(verifier, Problem.ask("?"), *texts) == [True, True, False]
    with pytest.raises(UsageError, match="regular expression"):
        make_verifier("regex:(")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(b) is not it. The answer is (C).", "C"),
        ("**Answer:** C", "C"),
        ("Answer: B) because A is wrong", "B"),
        ("I first took A. The correct option is B", "B"),
        (r"so \boxed{C}", "C"),
        (r"so \boxed{\text{C}}", "C"),
        ("B. four", "B"),
        ("It must be (A)", "A"),
        ("It is four.", "B"),
        ("three or four", None),
        ("The answer is Z", None),
        ("nothing", None),
        ("", None),
    ],
)
def test_choice(text, letter):
    problem = Problem.ask("2 + 2?", answer="four", choices=("three", "four", "five"))
    (verdict,) = verdicts(make_verifier("choice"), problem, text)
    assert verdict.answer == letter
    assert verdict.correct is (letter == "B")


def test_choice_needs_choices():
    with pytest.raises(InputError, match="choices"):
        verdicts(make_verifier("choice"), Problem.ask("?", answer="A"), "A")


def test_json(tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(
        json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    )
    verifier = make_verifier(f"json:{schema}")
    texts = ['{"a": 1}', 'So:\n```json\n{"a": 2}\n```', '{"a": "1"}', "{}", "a", "[" * 100_000]
    assert correct(verifier, Problem.ask("?"), *texts) == [True, True, False, False, False, False]
    assert correct(verifier, Problem.ask("?", answer='{"a":1}'), *texts[:2]) == [True, False]
    assert "$.a" in verdicts(verifier, Problem.ask("?"), '{"a": "1"}')[0].reason
    with pytest.raises(UsageError, match="schema"):
        make_verifier("json:nowhere.json")
    schema.write_text('{"type": "nothing"}')
    with pytest.raises(UsageError, match="schema"):
        make_verifier(f"json:{schema}")
    schema.write_text('{"$ref": "http://127.0.0.1:9/schema.json"}')
    assert correct(make_verifier(f"json:{schema}"), Problem.ask("?"), "{}") == [False]


def test_call(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from samplewise.verify import Verdict\n"
        "def long(problem, text): return len(text) / 10\n"
        "def full(problem, text): return Verdict(True, 7.0, 'x')\n"
        "async def later(problem, text): return text == problem.answer\n"
        "def wrong(problem, text): return 'yes, very'\n"
        "def nan(problem, text): return float('nan')\n"
    )
    problem = Problem.ask("?", answer="a")

    def made(name):
        return make_verifier(f"call:{file}:{name}")

    assert [v.score for v in verdicts(made("long"), problem, "a" * 5, "a")] == [0.5, 0.1]
    assert correct(made("long"), problem, "a" * 5, "a") == [True, False]
    assert verdicts(made("full"), problem, "a") == [Verdict(True, 7.0, "x")]
    assert correct(made("later"), problem, "a", "b") == [True, False]
    assert correct(made("nan"), problem, "a") == [False]
    with pytest.raises(UsageError, match="Verdict"):
        verdicts(made("wrong"), problem, "a")
    with pytest.raises(UsageError, match="no function"):
        made("nothing")
    with pytest.raises(UsageError, match="FILE.py:FUNCTION"):
        make_verifier("call:nowhere.py:f")


def test_judge():
    replies = [
        Completion("Yes", log_probabilities=(math.log(0.8), -1.0)),
        Completion(" **no**.", log_probabilities=(math.log(0.9),)),
        Completion("yes"),
        Completion("perhaps"),
        Completion("", "failed", error="down"),
    ]
    model = ScriptedModel(lambda request, number: replies[number])
    problem = Problem.ask("Why {answer}?", answer="so")
    found = verdicts(make_verifier("judge", model=model), problem, *["{reference} yes"] * 5)
    assert [verdict.correct for verdict in found] == [True, False, True, False, False]
    assert [verdict.score for verdict in found] == pytest.approx([0.8, 0.1, 1.0, 0.0, 0.0])
    assert "down" in found[-1].reason
    asked = model.asked[0].messages[0].content
    assert "Why {answer}?" in asked
    assert "{reference} yes" in asked
    assert "The right answer:\nso" in asked
    with pytest.raises(UsageError, match="model"):
        make_verifier("judge")
    with pytest.raises(UsageError, match="question"):
        Judge(model, "Is {answer} right?")


def test_reward(tmp_path):
    import torch
    import transformers

    from tiny_models import save_tokenizer

    words = save_tokenizer(tmp_path)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=words,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        num_labels=1,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.5,
    )
    transformers.LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    verifier = make_verifier(f"reward:{tmp_path}")
    texts = ["a", "bb", "a", "c" * 500]
    found = verdicts(verifier, Problem.ask("?"), *texts)
    assert found[0].score == pytest.approx(found[2].score, abs=1e-4)
    assert len({round(verdict.score, 4) for verdict in found}) == 3
    alone = verdicts(verifier, Problem.ask("?"), "bb")[0].score  # padding changes nothing
    assert alone == pytest.approx(found[1].score, abs=1e-4)
    assert all(verdict.correct is (verdict.score >= 0) for verdict in found)
    asyncio.run(verifier.close())
    with pytest.raises(UsageError, match="no folder"):
        make_verifier("reward:nowhere")


@pytest.mark.parametrize("spec", ["maths", "", "math:x", "regex", "regex:", "json", "exact:"])
def test_names_that_are_none(spec):
    with pytest.raises(UsageError, match="no verifier"):
        make_verifier(spec)


def test_every_name_is_made_without_what_is_heavy():
    for name in ("math", "exact", "choice", "python"):
        assert name in VERIFIERS
        assert make_verifier(name).name == name
