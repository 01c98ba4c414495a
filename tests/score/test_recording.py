"""Records of training: what the recorder keeps, what the files must hold, what the model says."""

import numpy as np
import pytest

from samplewise.errors import InputError, UsageError
from samplewise.measure.training_dynamics import last_layer_gradient_norms, softmax
from samplewise.score import recording
from samplewise.score.recording import Dynamics, DynamicsRecorder, record_dynamics

NAN = np.nan


def blobs(seed=0, rows=60, classes=3, dimensions=5):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    X = 2 * rng.normal(size=(classes, dimensions))[y] + rng.normal(size=(rows, dimensions))
    return X.astype(np.float32), y


# --- the recorder ---------------------------------------------------------------------------------


def test_the_recorder_keeps_each_rows_sightings_in_order():
    rng = np.random.default_rng(0)
    recorder, seen = DynamicsRecorder(7), {row: [] for row in range(7)}
    for _ in range(40):  # batches of any size, a row twice in one, epochs never marked
        places = rng.integers(0, 7, int(rng.integers(0, 6)))
        logits = rng.normal(size=(len(places), 3)).astype(np.float32)
        recorder.update(places, logits)
        for place, row in zip(places, logits, strict=True):
            seen[int(place)].append(row)
    kept = recorder.dynamics().logits
    assert len(kept) == max(map(len, seen.values()))
    for row, expected in seen.items():
        assert np.array_equal(kept[: len(expected), row], expected)
        assert np.isnan(kept[len(expected) :, row]).all()


def test_tensors_of_any_kind_are_taken_and_not_changed():
    import torch

    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16, requires_grad=True)
    recorder = DynamicsRecorder(2, torch.tensor([0, 1]))
    recorder.update(torch.tensor([1, 0]), logits * 1, features=torch.ones(2, 3))
    with torch.no_grad():
        logits.zero_()
    assert recorder.dynamics().logits.tolist() == [[[3, 4], [1, 2]]]


def test_a_file_gives_back_what_was_recorded(tmp_path):
    recorder = DynamicsRecorder(3, [0, 1, 1], ["yes", "no"])
    rng = np.random.default_rng(1)
    logits, features = rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 3, 4))
    for one, h in zip(logits, features, strict=True):
        recorder.update([2, 0, 1], one, features=h)
    read = Dynamics.load(recorder.save(tmp_path / "deep" / "dynamics.npz"))
    back = np.argsort([2, 0, 1])
    np.testing.assert_allclose(read.logits, logits[:, back], rtol=1e-6)
    assert read.labels.tolist() == [0, 1, 1]
    assert read.classes == ["yes", "no"]
    expected = last_layer_gradient_norms(softmax(logits[:, back]), [0, 1, 1], features[:, back])
    np.testing.assert_allclose(read.gradient_norms, expected, rtol=1e-5)
    np.testing.assert_allclose(read.chances(), softmax(logits[:, back]), rtol=1e-6)
    assert Dynamics.keys_of(tmp_path / "deep" / "dynamics.npz") == [
        "logits", "labels", "classes", "gradient_norms"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (([0, 1], [[1.0, 2.0]]), "indices have shape"),
        (([0.5], [[1.0, 2.0]]), "indices have shape"),
        (([0], [1.0]), "logits have shape"),
        (([0], [[1.0, 2.0, 3.0]]), "the same in every batch"),
        (([3], [[1.0, 2.0]]), "row 3 does not exist"),
        (([-1], [[1.0, 2.0]]), "row -1 does not exist"),
        (([0], [[NAN, 2.0]]), "not finite"),
    ],
)
def test_batches_that_do_not_fit_are_refused_and_leave_no_trace(batch, said):
    recorder = DynamicsRecorder(3, [0, 0, 0])
    recorder.update([0], [[1.0, 2.0]])
    with pytest.raises(UsageError, match=said):
        recorder.update(*batch)
    assert recorder.dynamics().logits.shape == (1, 3, 2)
    assert np.isnan(recorder.dynamics().logits[0, 1:]).all()


def test_gradient_norms_are_all_or_none():
    recorder = DynamicsRecorder(2, [0, 0])
    recorder.update([0], [[1.0, 2.0]], gradient_norms=[3.0])
    with pytest.raises(UsageError, match="some batches have gradient norms"):
        recorder.update([1], [[1.0, 2.0]])
    with pytest.raises(UsageError, match="gradient norms have shape"):
        recorder.update([1], [[1.0, 2.0]], gradient_norms=[3.0, 4.0])
    with pytest.raises(UsageError, match="gradients need the labels"):
        DynamicsRecorder(2).update([0], [[1.0, 2.0]], features=[[1.0]])


def test_nothing_recorded_or_a_row_never_seen_is_refused(tmp_path):
    recorder = DynamicsRecorder(2)
    with pytest.raises(UsageError, match="nothing was recorded"):
        recorder.dynamics()
    recorder.update([0], [[1.0]])
    with pytest.raises(UsageError, match="row 1 was never seen"):
        recorder.save(tmp_path / "d.npz")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="there are 0 rows"):
        DynamicsRecorder(0)
    with pytest.raises(UsageError, match="1 labels for 2 rows"):
        DynamicsRecorder(2, [0])
    with pytest.raises(InputError, match="labels"):
        DynamicsRecorder(2, [0.5, 1.0])


# --- files ----------------------------------------------------------------------------------------

P = np.full((2, 3, 2), 0.5, np.float32)


def changed(values, place, value):
    values = np.array(values)
    values[place] = value
    return values


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"loss": P}, "field 'probabilities': holds no probabilities or logits"),
        ({"logits": P[0, 0]}, r"field 'logits': has shape \(2,\)"),
        ({"logits": P.astype(str)}, "field 'logits': has shape"),
        ({"logits": changed(P, (0, 1, 0), np.inf)}, "line 2, field 'logits': .* not finite"),
        ({"logits": changed(P, (0, 1, 0), NAN)}, "line 2, field 'logits': .* not finite"),
        ({"logits": changed(P, (slice(None), 2), NAN)}, "line 3, field 'logits': .* never seen"),
        ({"probabilities": P * 3}, "line 1, field 'probabilities': are no probabilities"),
        ({"probabilities": changed(P, (0, 2), [-0.5, 1.5])}, "line 3, field 'probabilities'"),
        ({"logits": P, "labels": [0, 1]}, "different numbers of rows"),
        ({"logits": P, "labels": [0, 1, 2]}, "line 3, field 'labels': is 2, and there are 2"),
        ({"logits": P, "labels": [0, -1, 1]}, "line 2, field 'labels': is -1"),
        ({"logits": P, "labels": [0.0, 1.0, 1.0]}, "field 'labels': have shape"),
        ({"logits": P, "classes": ["a"]}, "field 'classes': has 1 names for 2 classes"),
        ({"gradient_norms": [[1.0, -2.0]]}, "field 'gradient_norms': holds a norm below 0"),
        ({"gradient_norms": P}, "field 'gradient_norms': has shape"),
    ],
)
def test_files_that_make_no_sense_are_refused_with_their_place(tmp_path, arrays, said):
    np.savez(tmp_path / "dynamics.npz", **arrays)
    with pytest.raises(InputError, match=f"dynamics.npz(:|,).*{said.removeprefix('field')}"):
        Dynamics.load(tmp_path / "dynamics.npz")


def test_one_sighting_and_other_number_types_are_taken(tmp_path):
    np.savez(tmp_path / "d.npz", probabilities=P[0].astype(np.float16), labels=np.uint8([0, 1, 1]))
    read = Dynamics.load(tmp_path / "d.npz")
    assert read.probabilities.shape == (1, 3, 2)
    assert read.rows == 3
    assert read.labels.dtype == np.int64


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Dynamics.load(tmp_path / "none.npz")
    np.save(tmp_path / "one.npy", P)
    (tmp_path / "text.npz").write_text("probabilities")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "objects.npz", logits=np.array([{}]), labels=[0])
    whole = tmp_path / "whole.npz"
    np.savez(whole, logits=P)
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:200])
    for name in ("one.npy", "text.npz", "empty.npz", "objects.npz", "cut.npz"):
        with pytest.raises(InputError, match=f"{name}: is not a readable .npz file"):
            Dynamics.load(tmp_path / name)


# --- the small model ------------------------------------------------------------------------------


def test_gradient_norms_of_the_small_model_are_those_of_autograd():
    import torch

    X, y = (torch.from_numpy(one) for one in blobs(rows=9))
    weights = recording._weights(5, 6, 3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        weights[1].normal_()
    inner, logits = recording._forward(X, weights)
    found = recording._gradient_norms(X, y, inner, logits, weights)
    for row in range(9):
        one = recording._forward(X[row : row + 1], weights)[1]
        loss = torch.nn.functional.cross_entropy(one, y[row : row + 1])
        gradients = torch.autograd.grad(loss, weights)
        expected = sum(float(g.square().sum()) for g in gradients) ** 0.5
        assert float(found[row].detach()) == pytest.approx(expected, rel=1e-4)


def test_the_small_model_learns_and_records_what_it_said_before_each_step():
    X, y = blobs()
    record = record_dynamics(X, y, epochs=25, rng=0)
    assert record.logits.shape == (25, 60, 3)
    assert np.isfinite(record.logits).all()
    right = (record.logits.argmax(axis=2) == y).mean(axis=1)
    assert right[0] < 0.75 < 0.95 < right[-1]


def test_the_same_seed_gives_the_same_record():
    X, y = blobs()
    first, second = (record_dynamics(X, y, epochs=2, gradient_norms=True, rng=5) for _ in range(2))
    assert np.array_equal(first.logits, second.logits)
    assert np.array_equal(first.gradient_norms, second.gradient_norms)
    without = record_dynamics(X, y, epochs=2, rng=5)
    assert without.gradient_norms is None
    assert np.array_equal(first.logits, without.logits)


def test_scale_and_place_of_the_vectors_do_not_matter():
    X, y = blobs()
    here = record_dynamics(X, y, epochs=2, rng=1).logits
    there = record_dynamics(X * 1000 + 500, y, epochs=2, rng=1).logits
    np.testing.assert_allclose(here, there, atol=0.02)


@pytest.mark.parametrize(("X", "y"), [([[1.0]], [0]), ([[2.0, 2.0]] * 5, [0, 0, 1, 1, 0])])
def test_one_row_and_equal_rows(X, y):
    assert np.isfinite(record_dynamics(X, y, epochs=3, rng=0).logits).all()
