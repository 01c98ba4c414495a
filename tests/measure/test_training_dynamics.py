"""Scores of training dynamics against the card's figures, loops over rows, and autograd."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplewise.measure import training_dynamics as dynamics

NAN = float("nan")


def record(seed, t=6, n=9, c=4):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (t, n, c)).astype(np.float32)
    return logits, dynamics.softmax(logits), rng.integers(0, c, n)


def uneven(values, seen):
    """Blank the sightings of each row after the first `seen[i]`."""
    values = np.array(values, dtype=np.float64)
    for row, count in enumerate(seen):
        values[count:, row] = NAN
    return values


def by_hand(function, values, labels, reduce):
    """Score row by row, from the sightings that are there."""
    found = []
    for row, label in enumerate(labels):
        there = [p for p in values[:, row].astype(np.float64) if not np.isnan(p).any()]
        each = [function(p, label) for p in there]
        found.append({"sum": sum(each), "mean": sum(each) / len(each), "last": each[-1]}[reduce])
    return found


def error(p, label):
    return math.sqrt(sum((v - (k == label)) ** 2 for k, v in enumerate(p)))


def margin(p, label):
    return p[label] - max(v for k, v in enumerate(p) if k != label)


def entropy(p, label):
    return -sum(v * math.log(v) for v in p)


@pytest.mark.parametrize("reduce", ["sum", "mean", "last"])
@pytest.mark.parametrize("seed", range(4))
def test_scores_match_loops_over_rows_seen_unevenly(seed, reduce):
    logits, chances, labels = record(seed)
    seen = np.random.default_rng(seed).integers(1, 7, len(labels))
    p, z = uneven(chances, seen), uneven(logits, seen)
    for found, expected in (
        (dynamics.el2n(p, labels, reduce), by_hand(error, p, labels, reduce)),
        (dynamics.aum(p, labels, reduce), by_hand(margin, p, labels, reduce)),
        (dynamics.aum(z, labels, reduce), by_hand(margin, z, labels, reduce)),
        (dynamics.prediction_entropy(p, reduce), by_hand(entropy, p, labels, reduce)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_aum_of_the_card():
    row = [0.7, 0.2, 0.1]
    np.testing.assert_allclose(dynamics.aum([[row, row]], [0, 1]), [0.5, -0.5], atol=1e-12)
    np.testing.assert_allclose(dynamics.aum([[row, row]] * 3, [0, 1]), [1.5, -1.5], atol=1e-12)


def test_forgetting_of_the_hand_log():
    assert dynamics.forgetting_events(np.array([[1, 0, 1, 1, 0]]).T).tolist() == [2]


@pytest.mark.parametrize(
    ("log", "events"),
    [("0000", 0), ("1111", 0), ("0111", 0), ("1010", 2), ("1-0-1-0", 2), ("01-", 0)],
)
def test_forgetting_begins_wrong_and_passes_over_what_was_not_seen(log, events):
    correct = np.array([[one == "1"] for one in log])
    seen = np.array([[one != "-"] for one in log])
    assert dynamics.forgetting_events(correct, seen).tolist() == [events]


@given(st.lists(st.lists(st.sampled_from("01-"), min_size=5, max_size=5), min_size=1, max_size=6))
def test_forgetting_matches_counting(logs):
    logs = [["0", *log] for log in logs]  # every row is seen at least once
    table = {"0": [0.2, 0.8], "1": [0.9, 0.1], "-": [NAN, NAN]}
    values = np.array([[table[one] for one in log] for log in logs]).swapaxes(0, 1)
    labels = np.zeros(len(logs), int)
    expected = ["".join(log).replace("-", "").count("10") for log in logs]
    assert dynamics.forgetting(values, labels).tolist() == expected
    seen = [len(log) - log.count("-") for log in logs]
    np.testing.assert_allclose(
        dynamics.forgetting(values, labels, "mean"), np.divide(expected, seen)
    )
    assert dynamics.times_correct(values, labels).tolist() == [log.count("1") for log in logs]


def test_limits_of_the_scores():
    sure, wrong, even = [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]
    p = [[sure, wrong, even]]
    np.testing.assert_allclose(dynamics.el2n(p, [0, 0, 0]), [0, 2**0.5, 0.5**0.5])
    np.testing.assert_allclose(dynamics.aum(p, [0, 0, 0]), [1, -1, 0])
    np.testing.assert_allclose(dynamics.prediction_entropy(p), [0, 0, math.log(2)])
    one_class = np.ones((2, 3, 1))
    assert dynamics.el2n(one_class, [0, 0, 0]).tolist() == [0, 0, 0]
    assert dynamics.aum(one_class, [0, 0, 0], "mean").tolist() == [1, 1, 1]
    assert dynamics.prediction_entropy(one_class).tolist() == [0, 0, 0]


@pytest.mark.parametrize("bias", [True, False])
def test_last_layer_gradients_are_those_of_autograd(bias):
    import torch

    rng = np.random.default_rng(3)
    features, labels = rng.normal(size=(7, 5)), rng.integers(0, 4, 7)
    layer = torch.nn.Linear(5, 4, bias=bias).double()
    expected, chances = [], []
    for h, label in zip(features, labels, strict=True):
        logits = layer(torch.tensor(h))
        loss = torch.nn.functional.cross_entropy(logits[None], torch.tensor([label]))
        gradients = torch.autograd.grad(loss, list(layer.parameters()))
        expected.append(sum(float(g.square().sum()) for g in gradients) ** 0.5)
        chances.append(logits.softmax(0).detach().numpy())
    for given_features in (features, features[None]):
        found = dynamics.last_layer_gradient_norms([chances], labels, given_features, bias=bias)
        np.testing.assert_allclose(found[0], expected, rtol=1e-12)
    np.testing.assert_allclose(dynamics.grand(found), expected, rtol=1e-12)


def test_gradients_of_rows_seen_unevenly():
    norms = [[1.0, 5.0], [3.0, NAN]]
    assert dynamics.grand(norms).tolist() == [4, 5]
    assert dynamics.grand(norms, "mean").tolist() == [2, 5]
    assert dynamics.grand(norms, "last").tolist() == [3, 5]


def test_softmax_is_exact_and_does_not_overflow():
    logits, chances, _ = record(0)
    weights = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(chances, weights / weights.sum(-1, keepdims=True), rtol=1e-5)
    assert np.isfinite(dynamics.softmax([[1e30, -1e30]])).all()
    assert np.isnan(dynamics.softmax([[NAN, NAN]])).all()


def test_the_record_is_left_as_it_is():
    _, chances, labels = record(1)
    chances.setflags(write=False)
    before = chances.copy()
    dynamics.el2n(chances, labels)
    dynamics.aum(chances, labels)
    assert np.array_equal(chances, before)


@pytest.mark.parametrize(
    ("values", "labels", "said"),
    [
        (np.ones((3, 2)), [0, 0, 0], "give \\(sightings, rows, classes\\)"),
        (np.empty((0, 3, 2)), [0, 0, 0], "give \\(sightings, rows, classes\\)"),
        (np.ones((1, 3, 2)), [0, 0], "labels have shape"),
        (np.ones((1, 3, 2)), [0.0, 0.0, 1.0], "labels have shape"),
        (np.ones((1, 3, 2)), [0, 1, 2], "labels are 0 to 2 for 2 classes"),
        (np.ones((1, 3, 2)), [0, -1, 1], "labels are -1 to 1"),
        (np.full((2, 1, 2), NAN), [0], "row 0 was never seen"),
    ],
)
@pytest.mark.parametrize("function", [dynamics.el2n, dynamics.aum, dynamics.forgetting])
def test_wrong_records_are_refused(function, values, labels, said):
    with pytest.raises(ValueError, match=said):
        function(values, labels)


def test_wrong_rules_and_shapes_are_refused():
    with pytest.raises(ValueError, match="no rule 'median'"):
        dynamics.el2n(np.ones((1, 1, 1)), [0], "median")
    with pytest.raises(ValueError, match="no rule 'last'"):
        dynamics.forgetting(np.ones((1, 1, 1)), [0], "last")
    with pytest.raises(ValueError, match="gradient norms have shape"):
        dynamics.grand([1.0, 2.0])
    with pytest.raises(ValueError, match="features have shape"):
        dynamics.last_layer_gradient_norms(np.ones((1, 2, 2)), [0, 1], np.ones((3, 4)))
    with pytest.raises(ValueError, match="give \\(sightings, rows\\)"):
        dynamics.forgetting_events([True, False])
