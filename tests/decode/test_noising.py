import numpy as np
import pytest
from scipy.integrate import quad

from samplewise.decode.noising import VarianceExploding, VariancePreserving, exact_score
from samplewise.errors import UsageError
from samplewise.measure.gaussian_mixture import GaussianMixture

NOISINGS = [VarianceExploding(0.01, 10.0), VariancePreserving()]


@pytest.mark.parametrize("noising", NOISINGS, ids=lambda noising: type(noising).__name__)
@pytest.mark.parametrize("t", [0.0, 0.3, 0.9])
def test_signal_and_spread_solve_the_equation_of_the_noising(noising, t):
    # From the data (t = 1) on: the signal shrinks by the drift, and the noise that came in at a
    # time shrinks with it from there.
    fall = quad(noising.drift_rate, t, 1)[0]
    assert noising.signal(t) == pytest.approx(np.exp(fall))
    came = quad(
        lambda s: (noising.sigma(s) * noising.signal(t) / noising.signal(s)) ** 2, t, 1, limit=200
    )[0]
    assert noising.spread(t) ** 2 == pytest.approx(came, rel=1e-6)
    assert noising.spread(1.0) == 0


def test_variance_exploding_is_the_usual_schedule():
    noising = VarianceExploding(0.01, 10.0)
    assert noising.sigma(0.25) ** 2 == pytest.approx(2 * np.log(1000) * 1e-4 * 1000**1.5)
    assert noising.spread(0.25) ** 2 == pytest.approx(1e-4 * (1000**1.5 - 1))


@pytest.mark.parametrize("noising", NOISINGS, ids=lambda noising: type(noising).__name__)
def test_particles_start_from_the_noise_raised_to_a_power(noising):
    rng = np.random.default_rng(0)
    x = noising.start((200_000, 1), 4.0, rng)
    assert x.std() == pytest.approx(noising.spread(0.0) / 2, rel=0.01)


def test_the_exact_score_is_that_of_noised_data():
    data = GaussianMixture.of([1.0], [[1.0, 0.0]], 4.0)
    noising = VariancePreserving()
    signal, spread = noising.signal(0.8), noising.spread(0.8)
    expected = -(np.array([3.0, 1.0]) - [signal, 0]) / (4 * signal**2 + spread**2)
    np.testing.assert_allclose(exact_score(data, noising)(np.array([[3.0, 1.0]]), 0.8)[0], expected)


@pytest.mark.parametrize("make", [VarianceExploding, VariancePreserving])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (2.0, 1.0), (1.0, np.inf), (np.nan, 1.0)])
def test_a_schedule_that_does_not_rise_is_refused(make, ends):
    with pytest.raises(UsageError, match="_min is"):
        make(*ends)
