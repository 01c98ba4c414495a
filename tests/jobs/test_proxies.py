"""What stands in for a training: the proxies' figures, against scikit-learn and brute force."""

import sys
import types

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from samplewise import Pool
from samplewise.errors import InputError, UsageError
from samplewise.jobs.proxies import PROXIES, Coverage, LoraLoss, Probe, make_proxy


def rng():
    return np.random.default_rng(0)


def blobs(rows, names="abc", seed=0):
    made = np.random.default_rng(seed)
    owner = made.integers(0, len(names), rows)
    X = 2 * np.random.default_rng(99).normal(size=(3, 6))[owner] + made.normal(size=(rows, 6))
    return Pool.from_arrays(X, y=[names[code] for code in owner])


def test_probe_is_as_accurate_as_scikit_learns_discriminants():
    train, test = blobs(300), blobs(400, seed=1)
    found = Probe().judge(train, np.ones(300), test, rng())
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    names = [[pool.label.names[code] for code in pool.label.codes] for pool in (train, test)]
    score = theirs.fit(train.embeddings, names[0]).score(test.embeddings, names[1])
    assert found["accuracy"] == pytest.approx(score, abs=0.02)
    assert found["accuracy"] > 0.8
    assert found["macro_f1"] == pytest.approx(found["accuracy"], abs=0.1)
    assert 0 < found["log_loss"] < np.log(3)


def test_probe_matches_classes_by_name_not_by_number():
    train = blobs(300)
    test = blobs(400, seed=1)
    order = np.argsort(test.label.codes == 0, kind="stable")  # another name comes first
    other = Pool.from_arrays(
        test.embeddings[order], y=[test.label.names[code] for code in test.label.codes[order]]
    )
    assert other.label.names != test.label.names
    one, two = (Probe().judge(train, np.ones(300), held, rng()) for held in (test, other))
    assert one == pytest.approx(two)


def test_probe_counts_classes_that_were_not_chosen_as_wrong():
    train, test = blobs(300), blobs(400, seed=1)
    some = train.subset(np.flatnonzero(train.label.codes < 2))
    share = np.mean([test.label.names[c] in some.label.names for c in test.label.codes])
    found = Probe().judge(some, np.ones(len(some)), test, rng())
    assert found["accuracy"] <= share < 1
    assert np.isfinite(found["log_loss"])


def test_probe_follows_weights():
    train, test = blobs(60), blobs(400, seed=1)
    heavy = np.where(train.label.codes == 0, 1000.0, 1.0)
    plain = Probe().judge(train, np.ones(60), test, rng())
    assert Probe().judge(train, heavy, test, rng())["log_loss"] != plain["log_loss"]
    assert Probe().judge(train, np.full(60, 7.0), test, rng()) == pytest.approx(plain)


def test_probe_leaves_out_rows_without_a_class():
    rows = [{"text": f"t{i}", "label": "ab"[i % 2] if i % 3 else None} for i in range(60)]
    X = np.random.default_rng(0).normal(size=(60, 4)) + np.arange(60)[:, None] % 2 * 4
    pool = Pool.from_rows(rows).with_embeddings(X)
    known = pool.subset([i for i in range(60) if i % 3])
    with_all = Probe().judge(pool, np.ones(60), pool, rng())
    assert with_all == Probe().judge(known, np.ones(len(known)), known, rng())
    nameless = pool.subset([0, 3, 6])
    with pytest.raises(InputError, match="none of the rows"):
        Probe().judge(nameless, np.ones(3), pool, rng())


def test_coverage_is_the_brute_force_mean():
    picks, rows = blobs(20), blobs(50, seed=1)
    found = Coverage().judge(picks, np.ones(20), rows, rng())
    X, P = rows.embeddings.astype(float), picks.embeddings.astype(float)
    gaps = np.linalg.norm(X[:, None] - P[None], axis=2).min(axis=1)
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (X, P)]
    assert found["mean_nearest"] == pytest.approx(gaps.mean(), rel=1e-5)
    cosines = (unit[0] @ unit[1].T).max(axis=1)
    assert found["facility_location"] == pytest.approx(cosines.mean(), rel=1e-5)


def test_coverage_looks_at_the_same_sample_for_every_method():
    rows = blobs(500, seed=1)
    proxy = Coverage(most=40)
    one = proxy.judge(blobs(20), np.ones(20), rows, rng())
    assert one == proxy.judge(blobs(20), np.ones(20), rows, rng())
    assert one != Coverage().judge(blobs(20), np.ones(20), rows, rng())


@pytest.fixture
def calls(monkeypatch):
    """Stand in for the language model: the loss is the length of the training texts."""
    seen = []

    def after_lora(lm, train, test, **knobs):
        seen.append((lm, list(train), list(test), knobs))
        return 4.0, 4.0 - 0.001 * len("".join(train)), 123

    models, finetune = types.ModuleType("models"), types.ModuleType("finetune")
    models.load = lambda spec: f"model {spec}"
    finetune.held_out_loss_after_lora = after_lora
    monkeypatch.setitem(sys.modules, "samplewise.models", models)
    monkeypatch.setitem(sys.modules, "samplewise.models.finetune", finetune)
    return seen


def test_lora_gets_the_chosen_texts_and_the_same_held_out_ones(calls):
    pool = Pool.from_rows([{"text": f"row {i}"} for i in range(50)])
    proxy = LoraLoss(steps=3, rows=10, model="other")
    found = proxy.judge(pool.subset([1, 2, 3]), np.ones(3), pool.subset(range(20, 50)), rng())
    proxy.judge(pool.subset([4, 5]), np.ones(2), pool.subset(range(20, 50)), rng())
    assert found == {"held_out_loss": 4 - 0.015, "loss_drop": pytest.approx(0.015), "tokens": 123}
    (model, train, test, knobs), (_, _, test2, knobs2) = calls
    assert model == "model other"
    assert train == ["row 1", "row 2", "row 3"]
    assert len(test) == 10
    assert test == test2
    assert knobs == knobs2
    assert {knob: knobs[knob] for knob in ("steps", "rank", "batch", "max_tokens")} == {
        "steps": 3,
        "rank": 8,
        "batch": 8,
        "max_tokens": 512,
    }


def test_lora_draws_weighted_rows_by_weight(calls):
    pool = Pool.from_rows([{"text": f"{i}"} for i in range(200)])
    weights = np.r_[np.full(100, 9.0), np.full(100, 1.0)]
    LoraLoss().judge(pool, weights, pool, rng())
    heavy = np.mean([int(text) < 100 for text in calls[0][1]])
    assert heavy == pytest.approx(0.9, abs=0.07)


def test_every_proxy_says_what_it_measures():
    for name, cls in PROXIES.items():
        proxy = make_proxy(name)
        assert proxy == cls()
        assert proxy.title()
        assert proxy.main in proxy.figures
        assert {figure.better for figure in proxy.figures.values()} <= {"higher", "lower"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("prob", "one of probe, coverage, lm"),
        ("coverage:most", "NAME:KNOB=VALUE"),
        ("coverage:least=4", "no knob 'least'"),
        ("coverage:most=0", "1 or more"),
        ("lm:steps=0", "'steps' is 0"),
        ("lm:rank=x", "whole number"),
    ],
)
def test_a_wrong_proxy_is_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        make_proxy(spec)


@pytest.mark.parametrize(
    ("proxy", "pool"),
    [
        (Probe(), Pool.from_arrays(np.eye(3))),
        (Probe(), Pool.from_arrays(np.eye(3), y=["a", "a", "a"])),
        (LoraLoss(), Pool.from_arrays(np.eye(3))),
    ],
    ids=["no label", "one label", "no text"],
)
def test_a_pool_that_lacks_what_it_needs_is_refused(proxy, pool):
    with pytest.raises(InputError, match=f"{proxy.name} needs.*\n.*mend"):
        proxy.check(pool)
