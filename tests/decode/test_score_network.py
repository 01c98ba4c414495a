import subprocess
import sys

import numpy as np
import pytest
import torch

from samplewise.decode.feynman_kac import Annealed, FeynmanKac
from samplewise.decode.noising import VarianceExploding, VariancePreserving, exact_score
from samplewise.decode.score_network import ScoreNetwork, torch_score
from samplewise.errors import InputError, UsageError
from samplewise.measure.gaussian_mixture import GaussianMixture, grid_law

TWO = GaussianMixture.of([0.6, 0.4], [[-2.0, 0.0], [2.0, 1.0]], [0.25, 1.0])
VP = VariancePreserving()
SMALL = {"steps": 20, "batch_size": 32, "hidden": 8, "depth": 2}


@pytest.fixture(scope="module")
def network():
    return ScoreNetwork.fit(TWO.sample(10_000, 0), VP, steps=1500, hidden=64, rng=0)


def error(score, t):
    """Root mean square of the error, over that of the score."""
    x = TWO.noised(VP.signal(t), VP.spread(t)).sample(2000, 1)
    exact = exact_score(TWO, VP)(x, t)
    return np.sqrt(((score(x, t) - exact) ** 2).mean() / (exact**2).mean())


def test_it_learns_the_score_at_every_noise(network):
    assert max(error(network, t) for t in (0.0, 0.2, 0.4, 0.6)) < 0.05
    assert error(network, 0.8) < 0.15
    untrained = ScoreNetwork.fit(TWO.sample(1000, 0), VP, **{**SMALL, "steps": 1})
    assert error(untrained, 0.8) > 0.5


def test_corrected_sampling_with_it_comes_near_the_target(network):
    law = grid_law(lambda x: 2 * TWO.log_density(x), [-8, -8], [9, 9], 400)
    exact = float(law.expectation(lambda x: x[:, 0] > 0))
    found = {
        correction: FeynmanKac(300, 200, correction)
        .sample(network, Annealed(2.0), VP, 2, populations=6, rng=0)
        .snis_mean(lambda x: x[:, 0] > 0)
        for correction in ("birth-death", "none")
    }
    gaps = {name: abs(values.mean() - exact) for name, values in found.items()}
    assert gaps["birth-death"] < 0.05 < gaps["none"]


def test_before_it_learns_it_is_the_score_of_one_gaussian():
    data = np.random.default_rng(0).normal(3.0, 2.0, (5000, 2))
    fresh = ScoreNetwork.fit(data, VP, **{**SMALL, "steps": 1}, learning_rate=1e-12)
    whole = GaussianMixture.of([1.0], [data.mean(axis=0)], fresh.scale**2)
    x = np.random.default_rng(1).normal(size=(10, 2))
    np.testing.assert_allclose(fresh(x, 0.7), exact_score(whole, VP)(x, 0.7), rtol=1e-4)


def test_the_same_rng_gives_the_same_network_and_leaves_torchs_own_state():
    state = torch.get_rng_state()
    data, x = TWO.sample(500, 0), np.ones((3, 2))
    first, again, other = (ScoreNetwork.fit(data, VP, rng=rng, **SMALL) for rng in (0, 0, 1))
    np.testing.assert_array_equal(first(x, 0.5), again(x, 0.5))
    assert (first(x, 0.5) != other(x, 0.5)).all()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("noising", [VP, VarianceExploding(0.02, 7.0)])
def test_it_comes_back_from_its_file(tmp_path, noising):
    network = ScoreNetwork.fit(TWO.sample(500, 0), noising, rng=0, **SMALL)
    network.save(tmp_path / "score.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["score.npz"]
    back = ScoreNetwork.load(tmp_path / "score.npz")
    assert back.noising == noising
    x = TWO.sample(20, 1)
    for t in (0.0, 0.5, 1.0):
        np.testing.assert_array_equal(back(x, t), network(x, t))


def test_a_file_is_whole_or_absent(tmp_path, monkeypatch):
    network = ScoreNetwork.fit(TWO.sample(500, 0), VP, rng=0, **SMALL)

    def stop(stream, **arrays):
        stream.write(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", stop)
    with pytest.raises(OSError, match="no space"):
        network.save(tmp_path / "score.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_holds_none_is_named(tmp_path):
    (tmp_path / "text.npz").write_text("not a network")
    np.savez(tmp_path / "other.npz", layers=np.zeros(3))
    (tmp_path / "empty.npz").touch()
    for name in ("text.npz", "other.npz", "empty.npz", "missing.npz"):
        with pytest.raises(InputError, match=rf"{name}: holds no score network"):
            ScoreNetwork.load(tmp_path / name)


def test_a_noising_of_another_kind_cannot_be_saved(tmp_path):
    class Other(VariancePreserving):
        pass

    network = ScoreNetwork.fit(TWO.sample(500, 0), Other(), rng=0, **SMALL)
    with pytest.raises(UsageError, match="type Other"):
        network.save(tmp_path / "score.npz")


@pytest.mark.parametrize(
    "data", [np.zeros(5), np.zeros((0, 2)), np.zeros((5, 2)), np.full((5, 2), np.nan)]
)
def test_data_that_cannot_be_learned_are_refused(data):
    with pytest.raises(UsageError, match="data has the shape"):
        ScoreNetwork.fit(data, VP)


@pytest.mark.parametrize("knob", ["steps", "batch_size", "hidden", "depth", "learning_rate"])
def test_numbers_that_are_too_small_are_refused(knob):
    with pytest.raises(UsageError, match=f"{knob} is 0|{knob} 0"):
        ScoreNetwork.fit(np.eye(2), VP, **{knob: 0})


def test_a_score_in_torch_is_wrapped():
    seen = []

    def score(x, t):
        seen.append((x.dtype, x.requires_grad, t))
        return -x * torch.nn.Parameter(torch.tensor(2.0))

    found = torch_score(score)(np.array([[1.0, 2.0]]), 0.25)
    assert found.dtype == np.float64
    assert found.tolist() == [[-2.0, -4.0]]
    assert seen == [(torch.float32, False, 0.25)]


def test_torch_is_loaded_only_when_it_is_used():
    code = (
        "import sys, samplewise.decode.score_network, samplewise as sw; sw.methods(); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
