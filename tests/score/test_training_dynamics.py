"""Scorers of training dynamics: their files, the model they train, and the rows they find."""

import sys

import numpy as np
import pytest

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.measure import training_dynamics as measure
from samplewise.registry import methods
from samplewise.score.recording import Dynamics, DynamicsRecorder
from samplewise.score.training_dynamics import AUM, EL2N, Forgetting

NAMES = ["aum", "el2n", "forgetting", "grand", "prediction-entropy"]
NAN = np.nan


def recorded(folder, *, rows=12, classes=3, labels=True, names=None, norms=True, seed=0):
    """Write the dynamics of some epochs, and give the path, the logits and the labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (15, rows, classes)).astype(np.float32)
    y = rng.integers(0, classes, rows)
    gradients = rng.random((15, rows)).astype(np.float32) if norms else None
    path = folder / "dynamics.npz"
    Dynamics(None, logits, y if labels else None, names, gradients).save(path)
    return str(path), logits, y, gradients


def pool_of(rows, labels=None):
    return sw.Pool.from_arrays(text=[f"row {i}" for i in range(rows)], y=labels)


def noisy_blobs(seed, rows=300, noise=0.1):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 4, rows)
    X = 3 * rng.normal(size=(4, 10))[true] + rng.normal(size=(rows, 10))
    wrong = rng.random(rows) < noise
    labels = np.where(wrong, (true + 1 + rng.integers(0, 3, rows)) % 4, true)
    return sw.Pool.from_arrays(X, y=labels), wrong


def test_they_are_registered():
    assert set(NAMES) <= {method.name for method in methods(room="score")}


def test_a_record_is_scored_as_the_measures_say(tmp_path):
    path, logits, y, norms = recorded(tmp_path)
    pool, p = pool_of(12), measure.softmax(logits)

    def found(name, **knobs):
        return sw.score(pool, name, dynamics=path, **knobs).score

    np.testing.assert_allclose(found("el2n"), measure.el2n(p[:10], y, "mean"))
    np.testing.assert_allclose(found("el2n", first=None, reduce="sum"), measure.el2n(p, y))
    np.testing.assert_allclose(found("aum"), -measure.aum(p, y, "mean"))
    np.testing.assert_allclose(found("aum", margin="logits"), -measure.aum(logits, y, "mean"))
    np.testing.assert_allclose(found("grand", first=4), measure.grand(norms[:4], "mean"))
    np.testing.assert_allclose(found("prediction-entropy"), measure.prediction_entropy(p))
    counts = measure.forgetting(p, y)
    np.testing.assert_allclose(found("forgetting", unlearned="none"), counts)
    np.testing.assert_allclose(found("forgetting", unlearned="none", reduce="mean"), counts / 15)


def test_rows_never_told_right_are_the_hardest_to_forget(tmp_path):
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    p = np.array([[right, wrong, right], [wrong, wrong, right], [right, wrong, right]])
    path = Dynamics(p.astype(np.float32), labels=np.zeros(3, int)).save(tmp_path / "d.npz")

    def found(**knobs):
        return sw.score(pool_of(3), "forgetting", dynamics=str(path), **knobs).score.tolist()

    assert found() == [1, 2, 0]
    assert found(unlearned="none") == [1, 0, 0]
    assert found(reduce="mean") == [1 / 3, 2 / 3, 0]


def test_probabilities_will_do_for_logits_but_not_for_their_margins(tmp_path):
    p = np.array([[[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]], dtype=np.float32)
    path = str(Dynamics(p, labels=np.array([0, 1])).save(tmp_path / "d.npz"))
    assert sw.score(pool_of(2), "aum", dynamics=path).score == pytest.approx([-0.5, 0.5])
    with pytest.raises(InputError, match=r"d.npz, field 'logits': holds no logits"):
        sw.score(pool_of(2), "aum", dynamics=path, margin="logits")
    with pytest.raises(InputError, match=r"field 'gradient_norms': holds no gradient_norms"):
        sw.score(pool_of(2), "grand", dynamics=path)


def test_labels_of_the_pool_are_matched_by_name_not_by_order_of_appearance(tmp_path):
    names = ["cat", "dog", "eel"]
    path, logits, _, _ = recorded(tmp_path, labels=False, names=names)
    labels = [names[i] for i in (2, 0, 1, 2, 2, 0, 1, 1, 0, 2, 0, 1)]
    y = np.array([names.index(label) for label in labels])
    expected = measure.el2n(measure.softmax(logits)[:10], y, "mean")
    found = sw.score(pool_of(12, labels), "el2n", dynamics=path).score
    np.testing.assert_allclose(found, expected)


def test_labels_that_are_whole_numbers_are_places(tmp_path):
    path, logits, y, _ = recorded(tmp_path, labels=False)
    found = sw.score(pool_of(12, y[::1]), "el2n", dynamics=path).score
    np.testing.assert_allclose(found, measure.el2n(measure.softmax(logits)[:10], y, "mean"))


def test_labels_that_cannot_be_placed_are_refused(tmp_path):
    path, *_ = recorded(tmp_path, labels=False)
    with pytest.raises(InputError, match="which of its 3 classes is 'cat'"):
        sw.score(pool_of(12, ["cat"] * 12), "el2n", dynamics=path)
    with pytest.raises(InputError, match=r"field 'labels': el2n needs the rows' labels"):
        sw.score(pool_of(12), "el2n", dynamics=path)
    for name in ("grand", "prediction-entropy"):  # the label does not count for these
        assert len(sw.score(pool_of(12), name, dynamics=path).score) == 12


def test_rows_that_were_set_aside_may_be_in_the_record_or_not(tmp_path):
    rows = [{"text": "" if i in (2, 5) else f"row {i}"} for i in range(12)]
    pool = sw.Pool.from_rows(rows)
    path, logits, y, _ = recorded(tmp_path)
    expected = measure.el2n(measure.softmax(logits)[:10], y, "mean")[[0, 1, 3, 4, *range(6, 12)]]
    np.testing.assert_allclose(sw.score(pool, "el2n", dynamics=path).score, expected)
    path, *_ = recorded(tmp_path, rows=10)
    assert len(sw.score(pool, "el2n", dynamics=path).score) == 10
    path, *_ = recorded(tmp_path, rows=11)
    with pytest.raises(InputError, match="is of 11 rows, and the pool has 10"):
        sw.score(pool, "el2n", dynamics=path)


def test_rows_seen_unevenly_are_compared_by_the_mean(tmp_path):
    recorder = DynamicsRecorder(2, [0, 0])
    for _ in range(3):
        recorder.update([0], [[1.0, 0.0]])
    recorder.update([1], [[1.0, 0.0]])
    path = str(recorder.save(tmp_path / "d.npz"))
    for name in ("el2n", "aum"):
        mean = sw.score(pool_of(2), name, dynamics=path).score
        assert mean[0] == pytest.approx(mean[1])
        total = sw.score(pool_of(2), name, dynamics=path, reduce="sum").score
        assert total[0] == pytest.approx(3 * total[1])


@pytest.mark.parametrize("name", ["aum", "el2n", "grand"])
def test_the_small_model_finds_most_wrong_labels(name):
    pool, wrong = noisy_blobs(0)
    score = sw.score(pool, name, rng=0).score
    worst = np.argsort(-score)[: wrong.sum()]
    assert wrong[worst].mean() > 0.8
    assert score[wrong].mean() > score[~wrong].mean()


def test_seeds_differ_and_a_record_does_not_depend_on_them(tmp_path):
    pool, _ = noisy_blobs(1)
    one, other = (sw.score(pool, "el2n", rng=seed, epochs=3).score for seed in (0, 1))
    assert not np.array_equal(one, other)
    path, *_ = recorded(tmp_path)
    one, other = (sw.score(pool_of(12), "el2n", rng=s, dynamics=path).score for s in (0, 1))
    assert np.array_equal(one, other)


def test_pytorchs_own_random_state_and_threads_are_left_alone():
    import torch

    state, threads = torch.get_rng_state(), torch.get_num_threads()
    pool, _ = noisy_blobs(2)
    first = sw.score(pool, "el2n", rng=0, epochs=2).score
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.rand(5)
    with torch.no_grad():  # the caller's mode does not stop the training
        assert np.array_equal(sw.score(pool, "el2n", rng=0, epochs=2).score, first)


def test_without_pytorch_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    pool, _ = noisy_blobs(3)
    with pytest.raises(UsageError, match=r"pip install 'samplewise\[torch\]'"):
        sw.score(pool, "el2n", rng=0)
    path, *_ = recorded(tmp_path)
    assert len(sw.score(pool_of(12), "el2n", dynamics=path).score) == 12


def test_a_row_without_a_label_is_named():
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": None}]
    with pytest.raises(InputError, match=r"line 2, field 'label': has no label to learn"):
        sw.score(sw.Pool.from_rows(rows), "el2n", rng=0)


def test_texts_are_embedded_and_progress_is_told():
    class Watch:
        total = done = 0.0

        def stage(self, name, total, unit):
            import contextlib

            @contextlib.contextmanager
            def opened():
                self.total = total

                def add(amount):
                    self.done += amount

                yield add

            return opened()

    rows = [
        {"text": f"{kind} {i}", "label": kind} for kind in ("bread", "bicycle") for i in range(9)
    ]
    watch = Watch()
    scored = sw.score(sw.Pool.from_rows(rows), "el2n", rng=0, epochs=3, progress=watch)
    assert scored.embeddings is not None
    assert watch.total == watch.done == 54


@pytest.mark.parametrize(
    ("method", "knobs"),
    [
        (EL2N, {"epochs": 0}),
        (EL2N, {"hidden": 0}),
        (EL2N, {"batch_size": -1}),
        (EL2N, {"first": 0}),
        (EL2N, {"reduce": "last"}),
        (EL2N, {"learning_rate": 0.0}),
        (EL2N, {"learning_rate": float("nan")}),
        (AUM, {"margin": "cosine"}),
        (Forgetting, {"unlearned": "some"}),
    ],
)
def test_knobs_are_checked(method, knobs):
    with pytest.raises(UsageError, match=f"knob '{next(iter(knobs))}'"):
        method(**knobs)


def test_a_training_that_diverges_is_refused():
    pool, _ = noisy_blobs(4)
    with pytest.raises(UsageError, match="not finite"):
        sw.score(pool, "el2n", rng=0, learning_rate=1e30)
