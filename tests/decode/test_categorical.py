import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import entr
from scipy.stats import chisquare

from samplewise.decode.categorical import (
    categorical,
    effective_temperature,
    grid_unmask_rate,
    max_gumbel,
    open_uniform,
    truncated_gumbel_probs,
    unmask_rate,
)
from samplewise.errors import UsageError

V = 50_257
ZIPF = 1 / np.arange(1, V + 1)
UNIFORM = np.full(V, 1 / V)
ONE_HOT = np.eye(1, V)[0]


class Coarse(np.random.Generator):
    """Random numbers that are multiples of 2^-bits."""

    def __init__(self, bits, seed=0):
        super().__init__(np.random.PCG64(seed))
        self.cells = 2.0**bits

    def random(self, size=None, dtype=np.float64, out=None):
        return (np.floor(super().random(size) * self.cells) / self.cells).astype(dtype)


def random_law(size, seed, sharpness=0.5):
    return np.random.default_rng(seed).dirichlet(np.full(size, sharpness))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_numbers_are_never_0_or_1(dtype):
    kind = np.dtype(dtype).type
    drawn = open_uniform(np.random.default_rng(0), 1000, dtype)
    assert drawn.dtype == kind
    lowest = open_uniform(Coarse(0), 10, dtype)  # the generator gives 0
    assert ((lowest > 0) & (lowest < 2.0**-24)).all()
    assert np.isfinite(-np.log(-np.log(lowest))).all()


def test_the_largest_gumbel_number_is_that_of_the_largest_random_number():
    for dtype in ("float32", "float64"):
        largest = np.nextafter(np.dtype(dtype).type(1), np.dtype(dtype).type(0))
        assert max_gumbel(dtype) == pytest.approx(-np.log(-np.log(largest)), rel=1e-6)
    assert open_uniform(np.random.default_rng(0), 10**6, "float32").max() <= 1 - 2.0**-24


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_follow_the_law(dtype):
    law = np.array([0.5, 0.3, 0.15, 0.0, 0.05])
    drawn = categorical(np.tile(7 * law, (100_000, 1)), np.random.default_rng(0), dtype)
    counts = np.bincount(drawn, minlength=5)
    assert counts[3] == 0
    assert chisquare(counts[law > 0], 100_000 * law[law > 0]).pvalue > 1e-3


@pytest.mark.parametrize("largest", [-1.0, 0.5, 2.0, 5.0])
def test_the_truncated_law_is_its_integral(largest):
    law = random_law(6, seed=1)

    def below(g):  # distribution of a Gumbel number that is at most `largest`
        return np.exp(np.exp(-largest) - np.exp(-g)) if g < largest else 1.0

    for token, chance in enumerate(truncated_gumbel_probs(law, largest)):
        others = np.delete(np.log(law), token) - np.log(law[token])

        def density(g, others=others):
            return np.exp(-g) * below(g) * np.prod([below(g - other) for other in others])

        kinks = [float(k) for k in largest + others if -6 < k < largest]
        exact = quad(density, -6, largest, points=kinks or None, limit=200, epsabs=1e-12)[0]
        assert chance == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("largest", [0.5, 2.0, 4.0])
def test_the_truncated_law_is_what_is_drawn(largest):
    law, rows = random_law(8, seed=2), 200_000
    laws = np.tile(law, (rows, 1))
    drawn = np.bincount(categorical(laws, np.random.default_rng(0), largest=largest), minlength=8)
    expected = truncated_gumbel_probs(law, largest)
    errors = np.sqrt(expected * (1 - expected) / rows)
    assert (np.abs(drawn / rows - expected) < 4 * errors + 1e-9).all()
    assert np.abs(law - expected).max() > 10 * errors.max()


@given(st.integers(1, 40), st.integers(0, 10**6), st.floats(-3, 40), st.sampled_from([0.05, 1.0]))
@settings(max_examples=200)
def test_the_truncated_law_sums_to_one_and_favours_the_likelier(size, seed, largest, sharpness):
    law = random_law(size, seed, sharpness)
    law[0] = law[-1]  # two alike
    law /= law.sum()
    found = truncated_gumbel_probs(law, largest)
    assert found.sum() == pytest.approx(1, abs=1e-9)
    assert found[0] == pytest.approx(found[-1], rel=1e-9)
    order = np.argsort(law)
    meant, drawn = law[order], found[order]
    # pi'_a / pi'_b >= pi_a / pi_b wherever pi_a > pi_b
    assert (drawn[1:] * meant[:-1] >= drawn[:-1] * meant[1:] * (1 - 1e-9)).all()


def test_the_truncated_law_tends_to_the_one_that_is_meant():
    law = np.append(random_law(30, seed=3), 0.0)
    gaps = [np.abs(truncated_gumbel_probs(law, m) - law).max() for m in (2, 6, 10, 36.7)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 1e-2
    assert gaps[-1] < 1e-14
    assert truncated_gumbel_probs(law, 3.0)[-1] == 0


def test_the_size_of_the_32_bit_fault():
    largest = max_gumbel("float32")
    rates = [unmask_rate(law, 1e-3, largest) for law in (ONE_HOT, ZIPF / ZIPF.sum(), UNIFORM)]
    assert [round(rate, 2) for rate in rates] == [1.0, 0.64, 0.05]
    for law in (ONE_HOT, ZIPF / ZIPF.sum(), UNIFORM):
        assert unmask_rate(law, 1e-3, max_gumbel("float64")) == pytest.approx(1, abs=1e-8)
        assert grid_unmask_rate(law, 1e-3, 53) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["one-hot", "zipf", "uniform"])
def test_measured_unmask_rates_are_those_of_the_closed_form(name):
    size, nominal, largest, rows = 200, 0.02, 8.0, 20_000
    tokens = {
        "one-hot": np.eye(1, size)[0],
        "zipf": ZIPF[:size] / ZIPF[:size].sum(),
        "uniform": np.full(size, 1 / size),
    }[name]
    laws = np.broadcast_to(np.append(nominal * tokens, 1 - nominal), (rows, size + 1))
    for draw, expected in (
        ({"largest": largest}, unmask_rate(tokens, nominal, largest)),
        ({"rng": Coarse(12)}, grid_unmask_rate(tokens, nominal, 12)),
    ):
        drawn = categorical(laws, **{"rng": np.random.default_rng(0), **draw})
        rate = nominal * expected
        error = np.sqrt(rate * (1 - rate) / rows)
        assert np.mean(drawn < size) == pytest.approx(rate, abs=4 * error)
        if name == "uniform":
            assert rate < nominal - 4 * error


def test_real_32_bit_numbers_unmask_too_rarely_by_the_predicted_size():
    rows, nominal, block = 4_000, 1e-3, 500
    rng = np.random.default_rng(1)
    # All tokens are alike, so the largest random number wins; the mask's own is integrated out.
    best = np.concatenate(
        [open_uniform(rng, (block, V), "float32").max(axis=1) for _ in range(rows // block)]
    )
    ahead = np.exp(V * (1 - nominal) / nominal * np.log(best.astype(np.float64)))
    error = ahead.std(ddof=1) / np.sqrt(rows)
    assert ahead.mean() == pytest.approx(
        nominal * grid_unmask_rate(UNIFORM, nominal), abs=4 * error
    )
    assert ahead.mean() < nominal - 10 * error


def test_the_grid_is_kinder_than_the_limit_alone():
    largest = -np.log(-np.log1p(-(2.0**-12)))
    for size in (10, 100, 1000):
        law = np.full(size, 1 / size)
        assert unmask_rate(law, 0.1, largest) <= grid_unmask_rate(law, 0.1, 12) <= 1


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 2.5])
def test_the_effective_temperature_is_the_one_that_was_used(temperature):
    law = random_law(20, seed=5)
    other = law ** (1 / temperature)
    found = effective_temperature(law, other / other.sum())
    assert found == pytest.approx(temperature, rel=1e-6)


def test_the_effective_temperature_of_edges():
    assert effective_temperature([0.5, 0.5], [0.5, 0.5]) == 1
    assert effective_temperature([0.4, 0.6], [0.5, 0.5]) == np.inf
    assert effective_temperature([0.5, 0.5], [0.0, 1.0]) == 0


def test_the_fault_is_a_lower_temperature_that_falls_with_the_chance_of_a_step():
    law, size, largest = ZIPF[:500] / ZIPF[:500].sum(), 500, max_gumbel("float32")
    found = []
    for nominal in (1e-1, 1e-4, 1e-6):
        drawn = truncated_gumbel_probs(np.append(nominal * law, 1 - nominal), largest)[:size]
        drawn /= drawn.sum()
        assert entr(drawn).sum() <= entr(law).sum()
        found.append(effective_temperature(law, drawn))
    assert 1 >= found[0] > 0.99 > found[1] > found[2]


@pytest.mark.parametrize("nominal", [0.0, 1.0, float("nan")])
def test_nominal_probabilities_that_make_no_sense(nominal):
    with pytest.raises(UsageError, match="nominal"):
        unmask_rate([1.0], nominal, 9.0)
    with pytest.raises(UsageError, match="nominal"):
        grid_unmask_rate([1.0], nominal)


def test_laws_that_are_none():
    with pytest.raises(UsageError, match="law"):
        truncated_gumbel_probs([0.5, 0.7], 9.0)
    with pytest.raises(UsageError, match="drawn"):
        effective_temperature([0.5, 0.5], [0.5, np.nan])
