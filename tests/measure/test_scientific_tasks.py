"""The card's exact vectors, and that every score falls as answers get worse."""

import json

import numpy as np
import pytest

from samplewise.measure.scientific_tasks import (
    SUMMARY,
    entity_f1,
    list_f1,
    mean_token_f1,
    parse_json,
    parse_share,
    rating_score,
    relation_f1,
    score_settings,
    summarise_tasks,
    token_f1,
    verdict_scores,
)


@pytest.mark.parametrize(
    ("text", "value", "status"),
    [
        ('["a","b"]', ["a", "b"], "valid_json"),
        ('Sure: ["a"] ok', ["a"], "extract_success"),
        ("null", [], "null_json"),
        ('"null"', [], "null_json"),
        ("oops", [], "extract_failure"),
        ("[1,[2", [], "extract_failure"),
        ('text [bad] then ["x"]', ["x"], "extract_success"),
        ('{"a":1}', {"a": 1}, "valid_json"),
        ("[" * 100_000, [], "extract_failure"),
        ("x" + "[" * 50_000 + "]" * 50_000, [], "extract_failure"),
        ("] [1]", [1], "extract_success"),
    ],
)
def test_parser(text, value, status):
    found = parse_json(text, [])
    assert (found.value, found.status) == (value, status)


def test_parse_share():
    texts = ['{"a":1}', "zz", "null", 'x {"b":{"c":2}} y']
    parsed = [parse_json(text, {}) for text in texts]
    assert parse_share(parsed) == 0.5
    assert parsed[3].value == {"b": {"c": 2}}
    assert np.isnan(parse_share([]))


def test_lists():
    predicted = [["BRCA1 ", "tp53"], [], [1, 2.005]]
    references = [["brca1", "TP53", "ATM"], ["x"], ["1", "2.0"]]
    assert list_f1(predicted, references) == pytest.approx((1, 2 / 3, 0.8))
    assert list_f1([7], [["7"]]).f1 == 0


def test_entities():
    one = {"Task": ["A", "b"], "Method": ["c"]}
    other = {"Task": ["a"], "Method": ["b", "C"]}
    assert entity_f1([one], [other]).f1 == pytest.approx(2 / 3)
    assert entity_f1([one], [other], typed=False).f1 == 1
    assert entity_f1([["a"]], [other]).f1 == 0


def test_relations():
    predicted = [
        ["Drug A", "placebo", "pain", "significantly decreased", "pain fell a lot"],
        ["x", "y", "z"],
    ]
    references = [
        ["drug a", "placebo control", "pain score", "significantly decreased", "pain fell"],
        ["b", "c", "d", "e", "f"],
    ]
    found = relation_f1([predicted], [references])
    assert found["exact"].f1 == 0
    assert found["substring"].f1 == pytest.approx(2 / 3)
    assert found["overlap"].f1 == pytest.approx(2 / 3)
    assert (found["good_list"], found["wrong_length"]) == (1, 1)
    pair = relation_f1([["a", "b"]], [[["a", "b"]]], length=2)
    assert [pair[kind].f1 for kind in ("exact", "substring", "overlap")] == [1, 1, 0]
    empty = relation_f1([[["", "b"]]], [[["", "b"]]], length=2)
    assert [empty[kind].f1 for kind in ("exact", "substring", "overlap")] == [1, 0, 0]
    assert relation_f1([{"a": 1}], [[["a", "b"]]], length=2)["exact"].f1 == 0
    twice = relation_f1([[["dog", "b"], ["dog", "b"]]], [[["dog", "b"]]], length=2)
    assert twice["substring"].precision == 0.5  # a reference is taken once


def test_verdicts():
    def one(verdict, *evidence):
        return {"verdict": verdict, "evidence": list(evidence)}

    predicted = [one("SUPPORT", "The cat sat."), one("NEI"), one("SUPPORT", "Foo bar")]
    references = [
        one("SUPPORT", "the cat sat.", "A dog ran."),
        one("CONTRADICT", "No effect."),
        one("NEI"),
    ]
    found = verdict_scores(predicted, references)
    assert found["label"].f1 == 0.5
    assert found["evidence_sentence"] == pytest.approx((0.5, 1 / 3, 0.4))
    assert found["evidence_token"].f1 == pytest.approx(0.4)
    assert verdict_scores(["?"], [one("SUPPORT", "x")])["label"].f1 == 0


def test_tokens_and_ratings():
    assert token_f1("The cat sat on the mat", "a cat sat") == pytest.approx(2 / 3)
    assert token_f1("", "") == 0
    assert mean_token_f1([["The cat", "sat"], None], ["cat sat", "x"]) == 0.5
    assert [rating_score(r) for r in (1, 3, 5, 9, None)] == [0, 0.5, 1, 1, 0.5]
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        list_f1([[]], [[], []])


def test_summary_keeps_its_order_and_names_what_is_missing():
    scores = {name: 0.1 * i for i, name in enumerate(SUMMARY)}
    found = summarise_tasks(scores)
    assert [name for name in found if name in SUMMARY] == list(SUMMARY)
    assert found["mean"] == pytest.approx(50)
    assert found["median"] == pytest.approx(50)
    assert found["missing"] == []
    with pytest.raises(ValueError, match="unknown columns"):
        summarise_tasks({"other": 1.0})


def test_scores_fall_with_errors_and_with_broken_json():
    """A model of known error rates, on made tasks of every kind."""
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(50)]
    n = 400
    lists = [rng.choice(words, 4, replace=False).tolist() for _ in range(n)]
    entities = [{"Task": one[:2], "Method": one[2:]} for one in lists]
    relations = [[one, one[::-1]] for one in lists]
    kinds = {
        "list": (lists, [], list_f1),
        "entity": (entities, {}, entity_f1),
        "relation": (relations, [], lambda p, r: relation_f1(p, r, length=4)["exact"]),
    }

    def corrupt(value, rate):
        if isinstance(value, dict):
            return {kind: corrupt(one, rate) for kind, one in value.items()}
        if isinstance(value, list):
            return [corrupt(one, rate) for one in value]
        return "wrong" + value if rng.random() < rate else value

    for references, default, metric in kinds.values():
        scores = []
        for rate in (0.0, 0.1, 0.3):
            texts = [json.dumps(corrupt(one, rate)) for one in references]
            found = score_settings(metric, [parse_json(t, default) for t in texts], references)
            assert found["all"] == found["valid_json"]  # nothing is broken
            scores.append(found["all"].f1)
        assert scores[0] == 1
        assert scores[0] > scores[1] > scores[2]
        texts = [json.dumps(one) if rng.random() > 0.2 else "broken" for one in references]
        found = score_settings(metric, [parse_json(t, default) for t in texts], references)
        assert found["all"].f1 < found["valid_json"].f1 == 1
        assert metric([default] * n, references).f1 == 0
