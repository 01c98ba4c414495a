"""The closed-form classifier against scikit-learn's, and against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import f1_score, log_loss

from samplewise.measure import linear_probe
from samplewise.measure.linear_probe import fit_linear_probe, macro_f1


def blobs(rows=120, classes=4, d=5, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.arange(rows) % classes
    turn = rng.normal(size=(d, d))
    return 1.5 * rng.normal(size=(classes, d))[codes] + rng.normal(size=(rows, d)) @ turn, codes


def test_it_predicts_as_scikit_learn_does():
    (X, new), (y, truth) = (np.split(part, 2) for part in blobs(240))
    means = np.stack([X[y == c].mean(axis=0) for c in range(4)])
    share = ledoit_wolf_shrinkage(X - means[y], assume_centered=True)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share).fit(X, y)
    found, _ = fit_linear_probe(X, y, 4).judge(new, truth)
    assert (found == theirs.predict(new)).all()
    assert 0.5 < (found == truth).mean() < 1


def test_the_loss_is_that_of_its_probabilities():
    X, y = blobs()
    probe = fit_linear_probe(X, y, 4)
    logits = probe.sharpness * np.concatenate(list(probe.scores(X))) + probe.log_prior
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert probe.judge(X, y)[1] == pytest.approx(log_loss(y, chances), rel=1e-5)


def test_the_loss_is_near_the_best_that_sharpness_can_do():
    X, y = blobs(400)
    probe = fit_linear_probe(X[:200], y[:200], 4)
    losses = [
        linear_probe.dataclasses.replace(probe, sharpness=s).judge(X[200:], y[200:])[1]
        for s in np.geomspace(0.01, 5, 60)
    ]
    assert probe.judge(X[200:], y[200:])[1] < 1.1 * min(losses)
    assert probe.judge(X[200:], y[200:])[1] < np.log(4)


def test_a_row_left_out_of_its_class_mean(monkeypatch):
    X, y = blobs(30)
    weights = np.random.default_rng(0).uniform(0.5, 2, 30)
    seen = []
    monkeypatch.setattr(linear_probe, "_sharpness", lambda *given: seen.append(given) or 1.0)
    fit_linear_probe(X, y, 4, weights)
    left = [X - np.stack([np.average(X[y == c], 0, weights[y == c]) for c in range(4)])[y]]
    covariance = linear_probe._shrunk(left[0] * np.sqrt(weights / weights.mean())[:, None])
    for row in (0, 13, 29):
        rest = np.arange(30) != row
        means = np.stack(
            [np.average(X[rest & (y == c)], 0, weights[rest & (y == c)]) for c in range(4)]
        )
        gaps = X[row] - means
        expected = -0.5 * np.einsum("ci,ij,cj->c", gaps, np.linalg.inv(covariance), gaps)
        found = seen[0][0][row]
        # Only the own class's mean moves; compare it with another class.
        other = (y[row] + 1) % 4
        assert found[y[row]] - found[other] == pytest.approx(expected[y[row]] - expected[other])


def test_weights_are_repeats(monkeypatch):
    monkeypatch.setattr("sklearn.covariance.ledoit_wolf_shrinkage", lambda *_, **__: 0.1)
    X, y = blobs(60)
    times = np.random.default_rng(0).integers(1, 4, 60)
    one = fit_linear_probe(X, y, 4, 7.0 * times)
    other = fit_linear_probe(np.repeat(X, times, axis=0), np.repeat(y, times), 4)
    np.testing.assert_allclose(one.directions, other.directions, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.offsets, other.offsets, rtol=1e-6)
    np.testing.assert_allclose(one.log_prior, other.log_prior)


def test_scale_and_origin_do_not_matter():
    X, y = blobs()
    new, truth = blobs(seed=1)
    one = fit_linear_probe(X, y, 4).judge(new, truth)
    other = fit_linear_probe(50 * X - 3, y, 4).judge(50 * new - 3, truth)
    assert (one[0] == other[0]).all()
    assert one[1] == pytest.approx(other[1], rel=1e-2)


def test_classes_without_rows_are_never_predicted_and_cost_a_finite_loss():
    X, y = blobs()
    known = y < 2
    found, loss = fit_linear_probe(X[known], y[known], 4).judge(X, y)
    assert set(found) <= {0, 1}
    assert np.isfinite(loss)
    assert loss > fit_linear_probe(X, y, 4).judge(X, y)[1]


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[1.0, 2.0]], [1]),
        ([[1.0, 2.0], [3.0, 4.0]], [0, 1]),
        (np.ones((6, 3)), [0, 0, 1, 1, 2, 2]),
        ([[0.0], [0.1], [5.0]], [0, 0, 1]),
        (np.random.default_rng(0).normal(size=(5, 40)), [0, 0, 1, 1, 1]),
    ],
    ids=["one row", "one a class", "all equal", "one dimension", "more dimensions than rows"],
)
def test_hardly_any_rows(X, y):
    found, loss = fit_linear_probe(X, y, 3).judge(X, y)
    assert np.isfinite(loss)
    if not np.ptp(X, axis=0).any():
        assert set(found) <= set(y)
    else:
        assert found.tolist() == list(y)


def test_rows_are_judged_in_blocks(monkeypatch):
    X, y = blobs()
    probe = fit_linear_probe(X, y, 4)
    whole = probe.judge(X, y)
    monkeypatch.setattr(linear_probe, "_CELLS", 28)
    part = probe.judge(X, y)
    assert (part[0] == whole[0]).all()
    assert part[1] == pytest.approx(whole[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], 2), "give"),
        (([[1.0]], [0, 1], 2), "give"),
        (([[1.0]], [2], 2), "classes run"),
        (([[1.0]], [-1], 2), "classes run"),
        (([[1.0]], [0], 1, [0.0]), "above 0"),
        (([[1.0]], [0], 1, [np.nan]), "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_linear_probe(*arguments)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40))
def test_macro_f1_is_that_of_scikit_learn(pairs):
    truth, guess = np.array(pairs).T
    expected = f1_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0)
    assert macro_f1(truth, guess) == pytest.approx(expected)
