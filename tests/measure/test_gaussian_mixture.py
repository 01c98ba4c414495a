import numpy as np
import pytest
from scipy.stats import multivariate_normal

from samplewise.measure import gaussian_mixture
from samplewise.measure.gaussian_mixture import GaussianMixture, gaussian_power_product, grid_law


def some_mixture(seed=0, m=3, d=2):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(m, d, d))
    covariances = roots @ roots.swapaxes(1, 2) + 0.5 * np.eye(d)
    return GaussianMixture.of(rng.random(m) + 0.2, rng.normal(size=(m, d)), covariances)


def test_density_is_that_of_scipy(monkeypatch):
    mixture = some_mixture()
    x = np.random.default_rng(1).normal(size=(50, 2))
    parts = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    expected = sum(w * multivariate_normal(m, c).pdf(x) for w, m, c in parts)
    np.testing.assert_allclose(np.exp(mixture.log_density(x)), expected)
    monkeypatch.setattr(gaussian_mixture, "_CELLS", 40)  # blocks of a few points
    np.testing.assert_allclose(np.exp(mixture.log_density(x)), expected)


def test_score_is_the_gradient_of_the_log_density():
    mixture = some_mixture()
    x = np.random.default_rng(1).normal(size=(20, 2))
    for axis, step in enumerate(1e-5 * np.eye(2)):
        slope = (mixture.log_density(x + step) - mixture.log_density(x - step)) / 2e-5
        np.testing.assert_allclose(mixture.score(x)[:, axis], slope, rtol=1e-5, atol=1e-7)


def test_far_away_nothing_underflows():
    mixture = GaussianMixture.of([0.5, 0.5], [[-1.0], [1.0]], 1e-4)
    np.testing.assert_allclose(mixture.score(np.array([[1e3]])), [[-999e4]])


def test_noise_adds_to_the_covariance_and_signal_scales():
    mixture = some_mixture()
    noised = mixture.noised(0.5, 2.0)
    np.testing.assert_allclose(noised.mean(), 0.5 * mixture.mean())
    np.testing.assert_allclose(
        noised.covariance(), 0.25 * mixture.covariance() + 4 * np.eye(2), atol=1e-12
    )


def test_product_has_the_product_as_density():
    one, other = some_mixture(0), some_mixture(1, m=2)
    x = np.random.default_rng(2).normal(size=(20, 2))
    ratio = one.product(other).log_density(x) - one.log_density(x) - other.log_density(x)
    np.testing.assert_allclose(ratio, ratio[0])


def test_samples_have_the_moments():
    mixture = some_mixture()
    x = mixture.sample(200_000, 0)
    np.testing.assert_allclose(x.mean(axis=0), mixture.mean(), atol=0.02)
    np.testing.assert_allclose(np.cov(x.T), mixture.covariance(), atol=0.05)


def test_powers_of_gaussians_add_precisions():
    one, other = some_mixture(0, m=1), some_mixture(1, m=1)
    found = gaussian_power_product([one, other], [1.5, 0.5])
    law = grid_law(
        lambda x: 1.5 * one.log_density(x) + 0.5 * other.log_density(x), [-9, -9], [9, 9], 300
    )
    np.testing.assert_allclose(found.mean(), law.mean(), atol=1e-6)
    np.testing.assert_allclose(found.covariance(), law.covariance(), atol=1e-2)
    with pytest.raises(ValueError, match="no finite mass"):
        gaussian_power_product([one, one], [1.0, -2.0])
    with pytest.raises(ValueError, match="not Gaussian"):
        gaussian_power_product([some_mixture()], [1.0])


def test_a_grid_has_the_mixtures_moments_and_samples():
    mixture = some_mixture(m=2)
    law = grid_law(mixture.log_density, [-14, -14], [14, 14], 400)
    np.testing.assert_allclose(law.mean(), mixture.mean(), atol=1e-4)
    np.testing.assert_allclose(law.covariance(), mixture.covariance(), atol=2e-3)
    assert law.expectation(lambda x: x[:, 0]) == pytest.approx(mixture.mean()[0], abs=1e-4)
    np.testing.assert_allclose(law.sample(100_000, 0).mean(axis=0), mixture.mean(), atol=0.02)


def test_squares_of_mixtures_agree_on_the_grid():
    mixture = GaussianMixture.of([0.6, 0.4], [[-2.0], [2.0]], [0.25, 1.0])
    law = grid_law(lambda x: 3 * mixture.log_density(x), [-9], [9], 3000)
    cube = mixture.product(mixture).product(mixture)
    np.testing.assert_allclose(law.mean(), cube.mean(), atol=1e-6)
    np.testing.assert_allclose(law.covariance(), cube.covariance(), atol=1e-4)


@pytest.mark.parametrize(
    ("weights", "means", "variances"),
    [
        ([1.0], [0.0], 1.0),
        ([1.0, 1.0], [[0.0]], 1.0),
        ([-1.0, 2.0], [[0.0], [1.0]], 1.0),
        ([0.0], [[0.0]], 1.0),
        ([1.0], [[0.0]], 0.0),
        ([1.0], [[0.0]], [[1.0]]),
    ],
)
def test_what_is_no_mixture_is_refused(weights, means, variances):
    with pytest.raises(ValueError, match="weights|covariance"):
        GaussianMixture.of(weights, means, variances)


def test_an_empty_box_is_refused():
    with pytest.raises(ValueError, match="box"):
        grid_law(lambda x: x[:, 0], [1.0], [1.0], 10)
    with pytest.raises(ValueError, match="NaN"):
        grid_law(lambda x: x[:, 0] * np.nan, [0.0], [1.0], 10)
