"""Metrics against brute force and chance; BM25 against the card's figures and a plain loop."""

import itertools
import math

import numpy as np
import pytest

from samplewise.measure.retrieval import (
    BM25,
    average_precision,
    contrastive_loss,
    evaluate_run,
    expected_average_precision,
    expected_recall,
    r_precision,
    rank,
    recall_at,
    reciprocal_rank,
)


def by_hand(ranking, relevant, k):
    wanted = set(relevant)
    recall = len(wanted & set(ranking[:k])) / len(wanted)
    precisions = [
        len(wanted & set(ranking[: i + 1])) / (i + 1)
        for i, document in enumerate(ranking)
        if document in wanted
    ]
    first = [i + 1 for i, document in enumerate(ranking) if document in wanted]
    return (
        recall,
        sum(precisions) / len(wanted),
        len(wanted & set(ranking[: len(wanted)])) / len(wanted),
        1 / first[0] if first else 0.0,
    )


def test_metrics_equal_brute_force_on_500_runs():
    rng = np.random.default_rng(0)
    for _ in range(500):
        n = int(rng.integers(1, 30))
        ranking = rng.permutation(n)[: rng.integers(0, n + 1)].tolist()
        relevant = rng.choice(n, rng.integers(1, n + 1), replace=False).tolist()
        k = int(rng.integers(1, 12))
        found = (
            recall_at(k, ranking, relevant),
            average_precision(ranking, relevant),
            r_precision(ranking, relevant),
            reciprocal_rank(ranking, relevant),
        )
        assert found == pytest.approx(by_hand(ranking, relevant, k), abs=1e-12)


def test_a_perfect_run_has_ones_and_recall_never_falls():
    run = {q: list("ABCDE") for q in "xy"}
    relevant = {"x": ["A", "B"], "y": ["A"], "z": []}
    found = evaluate_run(run, relevant, ks=(2, 3))
    assert all(found[name] == 1 for name in ("recall@2", "recall@3", "map", "r_precision", "mrr"))
    assert (found["queries"], found["queries_without_relevant"]) == (2, 1)
    curve = [recall_at(k, list("EDCBA"), ["A", "C", "E"]) for k in range(1, 6)]
    assert curve == sorted(curve)


def test_a_missing_query_ranks_nothing_and_a_repeated_document_counts_once():
    assert evaluate_run({}, {"q": ["A"]}, ks=(1,))["map"] == 0
    assert recall_at(3, ["A", "A", "B"], ["A", "B"]) == 1
    assert average_precision(["A", "A"], ["A", "B"]) == 0.5


@pytest.mark.parametrize("metric", [average_precision, r_precision, reciprocal_rank])
def test_nothing_relevant_is_refused(metric):
    with pytest.raises(ValueError, match="nothing is relevant"):
        metric(["A"], [])
    with pytest.raises(ValueError, match="no query has"):
        evaluate_run({"q": ["A"]}, {"q": []})
    with pytest.raises(ValueError, match="k is 0"):
        recall_at(0, ["A"], ["A"])


def test_chance_in_closed_form_equals_all_permutations():
    for n, relevant in ((4, 1), (5, 3), (6, 2), (1, 1)):
        orders = list(itertools.permutations(range(n)))
        mean = np.mean([average_precision(order, range(relevant)) for order in orders])
        assert expected_average_precision(n, relevant) == pytest.approx(mean, abs=1e-12)
        recall = np.mean([recall_at(2, order, range(relevant)) for order in orders])
        assert expected_recall(2, n) == pytest.approx(recall, abs=1e-12)


def test_ties_go_to_the_earlier_document():
    assert rank([1.0, 1.0, 2.0, 1.0]).tolist() == [2, 0, 1, 3]
    assert rank([1.0, 1.0, 2.0, 1.0], [True, True, False, True]).tolist() == [0, 1, 3]


def test_loss_of_equal_scores():
    for m in (1, 3, 10):
        assert contrastive_loss(0.7, [0.7] * m, 0.05) == pytest.approx(math.log(m + 1))
    assert contrastive_loss(1000.0, [0.0], 0.01) == pytest.approx(0.0)


def plain_bm25(documents, query, k1, b):
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        total = 0.0
        for term in query:
            df = sum(term in other for other in documents)
            tf = document.count(term)
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            total += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(document) / mean))
        scores.append(total)
    return scores


def test_bm25_equals_a_plain_loop():
    rng = np.random.default_rng(1)
    documents = [rng.choice(list("abcdefg"), rng.integers(1, 20)).tolist() for _ in range(30)]
    for k1, b in ((1.2, 0.75), (0.9, 0.0), (2.0, 1.0)):
        bm25 = BM25(documents, k1=k1, b=b)
        query = ["a", "c", "c", "zzz"]
        assert bm25.scores(query) == pytest.approx(plain_bm25(documents, query, k1, b), abs=1e-12)


def test_documents_outside_the_candidates_change_nothing():
    rng = np.random.default_rng(2)
    documents = [rng.choice(list("abcdefg"), rng.integers(1, 20)).tolist() for _ in range(30)]
    past = np.arange(30) < 12
    strict = BM25(documents).scores(["a", "b"], past)
    assert strict[:12] == pytest.approx(plain_bm25(documents[:12], ["a", "b"], 1.2, 0.75))
    assert not strict[12:].any()
    assert not BM25(documents).scores(["a"], np.zeros(30, bool)).any()
