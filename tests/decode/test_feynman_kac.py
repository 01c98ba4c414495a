import functools
import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from samplewise import registry
from samplewise.decode.feynman_kac import (
    Annealed,
    FeynmanKac,
    Geometric,
    Particles,
    Product,
    RewardTilt,
    Target,
    WeightedProduct,
)
from samplewise.decode.noising import VarianceExploding, VariancePreserving, exact_score
from samplewise.errors import UsageError
from samplewise.measure.gaussian_mixture import GaussianMixture, gaussian_power_product, grid_law

VE, VP = VarianceExploding(0.01, 10.0), VariancePreserving()
NOISINGS = pytest.mark.parametrize("noising", [VE, VP], ids=["VE", "VP"])
WEIGHTED = ("every-step", "ess", "birth-death", "final-weights")
POPULATIONS = 16


def gaussian(mean, variance):
    return GaussianMixture.of([1.0], [[mean]], variance)


def linear_reward(beta_t=lambda t: t, dbeta_t=lambda t: 1.0):
    """A reward whose tilt of N(m, v) is N(m + 2 beta v, v)."""
    return RewardTilt(lambda x: 2 * x[:, 0], lambda x: 2 * np.eye(x.shape[1])[[0]], beta_t, dbeta_t)


def curved_reward():
    return RewardTilt(
        lambda x: np.sin(x).sum(axis=1), np.cos, lambda t: 0.3 + t**2, lambda t: 2 * t
    )


def some_mixtures(count):
    rng = np.random.default_rng(5)
    roots = rng.normal(size=(count, 2, 2, 2))
    covariances = roots @ roots.swapaxes(2, 3) + 0.5 * np.eye(2)
    return [GaussianMixture.of([0.3, 0.7], rng.normal(size=(2, 2)), one) for one in covariances]


def run(models, target, noising=VE, populations=POPULATIONS, rng=0, **knobs):
    models = models if isinstance(models, list) else [models]
    method = FeynmanKac(**{"particles": 1000, "steps": 200, **knobs})
    return method.sample(
        [exact_score(model, noising) for model in models],
        target,
        noising,
        models[0].dimensions,
        populations=populations,
        rng=rng,
    )


def near(estimates, exact, slack, errors=4.0):
    """Whether the mean over populations is within standard errors and a little bias."""
    error = estimates.std(ddof=1) / np.sqrt(len(estimates))
    return abs(estimates.mean() - exact) < errors * error + slack


def far(estimates, exact, errors=8.0):
    error = estimates.std(ddof=1) / np.sqrt(len(estimates))
    return abs(estimates.mean() - exact) > errors * error


# --- formulas -----------------------------------------------------------------------------------


@NOISINGS
@pytest.mark.parametrize(
    "target",
    [
        Annealed(2.5),
        Annealed(0.4, a=0.5),
        Annealed(3.0, a=0.3),
        Geometric(1.7),
        Geometric(0.3),
        Product(1.5),
        Product(2.0, a=0.5),
        WeightedProduct((0.5, -0.2, 1.1)),
        curved_reward(),
    ],
    ids=lambda target: repr(target).partition("reward=")[0],
)
def test_weighted_particles_follow_the_target_at_every_time(target, noising):
    """The log-density solves its equation: dp/dt = -div(p v) + zeta^2 sigma^2 / 2 Lap p + p g."""
    models = some_mixtures(target.models)
    tilted = isinstance(target, RewardTilt)
    powers = (1.0,) if tilted else target.powers

    def noised(t):
        return [model.noised(noising.signal(t), noising.spread(t)) for model in models]

    def log_density(x, t):
        logs = sum(b * q.log_density(x) for b, q in zip(powers, noised(t), strict=True))
        return logs + target.beta_t(t) * target.reward(x) if tilted else logs

    def score(x, t):
        whole = sum(b * q.score(x) for b, q in zip(powers, noised(t), strict=True))
        return whole + target.beta_t(t) * target.gradient(x) if tilted else whole

    def move(x, t):
        return target.move(x, [q.score(x) for q in noised(t)], t, noising)

    def divergence(field, x):
        steps = 1e-4 * np.eye(2)
        return sum(
            (field(x + step) - field(x - step))[:, axis] / 2e-4 for axis, step in enumerate(steps)
        )

    x = np.random.default_rng(0).normal(size=(30, 2))
    for t in (0.5, 0.8, 0.95):
        drift, noise, increment = move(x, t)
        change = (log_density(x, t + 1e-5) - log_density(x, t - 1e-5)) / 2e-5
        spreading = divergence(lambda y, t=t: score(y, t), x) + (score(x, t) ** 2).sum(axis=1)
        carried = divergence(lambda y, t=t: move(y, t).drift, x) + (drift * score(x, t)).sum(axis=1)
        expected = change + carried - noise**2 / 2 * spreading
        np.testing.assert_allclose(increment, expected, rtol=1e-5, atol=1e-4)


@NOISINGS
@pytest.mark.parametrize("beta", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("a", [0.0, 0.25, 0.5])
def test_one_formula_is_all_of_the_papers(noising, beta, a):
    rng = np.random.default_rng(3)
    x, s1, s2 = rng.normal(size=(3, 50, 4))
    t = 0.6
    f, div = noising.drift_rate(t) * x, 4 * noising.drift_rate(t)
    sigma2 = noising.sigma(t) ** 2
    eta, zeta = beta + (1 - beta) * a, np.sqrt((beta + 2 * (1 - beta) * a) / beta)

    def square(v):
        return (v**2).sum(axis=1)

    def same(move, drift, noise2, g):
        np.testing.assert_allclose(move.drift, drift, rtol=1e-10, atol=1e-12)
        assert move.noise**2 == pytest.approx(noise2)
        np.testing.assert_allclose(move.increment, g, rtol=1e-10, atol=1e-12)

    same(
        Annealed(beta, a).move(x, [s1], t, noising),
        -f + eta * sigma2 * s1,
        zeta**2 * sigma2,
        (beta - 1) * div + sigma2 / 2 * beta * (beta - 1) * square(s1),
    )
    same(
        Product(beta, a).move(x, [s1, s2], t, noising),
        -f + eta * sigma2 * (s1 + s2),
        zeta**2 * sigma2,
        beta * (beta - 1) * sigma2 / 2 * square(s1 + s2)
        + beta * sigma2 * (s1 * s2).sum(axis=1)
        + (2 * beta - 1) * div,
    )
    same(
        Geometric(beta).move(x, [s1, s2], t, noising),
        -f + sigma2 * ((1 - beta) * s1 + beta * s2),
        sigma2,
        sigma2 / 2 * beta * (beta - 1) * square(s1 - s2),
    )
    for special, powers, scores in (
        (Annealed(beta), (beta,), [s1]),
        (Product(beta), (beta, beta), [s1, s2]),
        (Geometric(beta), (1 - beta, beta), [s1, s2]),
    ):
        move = special.move(x, scores, t, noising)
        same(WeightedProduct(powers).move(x, scores, t, noising), *move[:1], sigma2, move.increment)


def test_tempered_noise_is_what_its_name_says():
    x, score = np.random.default_rng(0).normal(size=(2, 5, 1))
    move = Annealed(4.0, a=0.5).move(x, [score], 0.5, VE)
    assert move.noise == pytest.approx(VE.sigma(0.5) / 2)
    np.testing.assert_allclose(move.drift, 2.5 * VE.sigma(0.5) ** 2 * score)


# --- limits -------------------------------------------------------------------------------------


@NOISINGS
@pytest.mark.parametrize("correction", WEIGHTED)
def test_where_nothing_is_changed_it_is_the_plain_sampler(noising, correction):
    one, other = gaussian(1.0, 1.0), gaussian(-1.0, 2.0)
    small = {"populations": None, "particles": 50, "steps": 30}
    plain = run(one, Annealed(1.0), noising, correction="none", **small)
    for models, target in (
        (one, Annealed(1.0, a=0.5)),
        ([other, one], Geometric(1.0)),
        ([one, other], Geometric(0.0)),
        ([one, other, other], WeightedProduct((1.0, 0.0, 0.0))),
    ):
        found = run(models, target, noising, correction=correction, **small)
        np.testing.assert_allclose(found.samples, plain.samples)
        assert not found.log_weights.any()
        assert found.ancestors.tolist() == list(range(50))
        np.testing.assert_allclose(found.effective_sizes, 50)
        assert (found.unique_ancestors == 50).all()


@dataclass(frozen=True)
class Raised(Target):
    """Another target, with a constant added to g."""

    target: Target
    constant: float

    @property
    def models(self):
        return self.target.models

    @property
    def power(self):
        return self.target.power

    def move(self, x, scores, t, noising):
        move = self.target.move(x, scores, t, noising)
        return move._replace(increment=move.increment + self.constant)


@pytest.mark.parametrize("correction", WEIGHTED)
def test_what_is_added_to_all_weights_changes_nothing(correction):
    plain = run(gaussian(1.0, 1.0), Annealed(2.0), correction=correction, particles=100)
    for constant in (-3.0, 1e5):
        target = Raised(Annealed(2.0), constant)
        raised = run(gaussian(1.0, 1.0), target, correction=correction, particles=100)
        np.testing.assert_allclose(raised.samples, plain.samples)
        np.testing.assert_allclose(raised.weights, plain.weights, rtol=1e-6)


@pytest.mark.parametrize("correction", WEIGHTED)
@pytest.mark.parametrize("final_selection", [False, True])
def test_one_particle_has_no_weight_to_speak_of(correction, final_selection):
    small = {"particles": 1, "populations": None}
    plain = run(gaussian(1.0, 1.0), Annealed(3.0), correction="none", **small)
    found = run(
        gaussian(1.0, 1.0),
        Annealed(3.0),
        correction=correction,
        final_selection=final_selection,
        **small,
    )
    np.testing.assert_array_equal(found.samples, plain.samples)
    assert found.weights.tolist() == [1.0]


def test_outside_its_interval_nothing_is_weighed():
    target = Annealed(2.0)
    plain = run(gaussian(1.0, 1.0), target, correction="none", particles=100)
    never = run(gaussian(1.0, 1.0), target, particles=100, t_min=1.0)
    np.testing.assert_array_equal(never.samples, plain.samples)
    assert not never.log_weights.any()
    some = run(gaussian(1.0, 1.0), target, particles=100, t_min=0.25, t_max=0.5)
    unique = some.unique_ancestors
    assert (unique[:, :50] == 100).all()  # t = 0.25 is step 50 of 200, t = 0.5 step 100
    assert (unique[:, 100] < 100).all()
    assert (unique[:, 100:] == unique[:, [100]]).all()
    assert (some.effective_sizes[:, 50:101] < 100).all()
    np.testing.assert_allclose(some.effective_sizes[:, 101:], 100)


def test_weights_that_were_gathered_are_kept_after_the_interval():
    early = run(gaussian(1.0, 1.0), Annealed(2.0), correction="final-weights", t_max=0.3)
    assert (early.effective_sizes[:, 199] < 999).all()
    assert (early.effective_sizes[:, 60:] == early.effective_sizes[:, [60]]).all()


def test_a_clamp_limits_what_a_step_adds():
    knobs = {"particles": 200, "steps": 20}
    free = run(gaussian(1.0, 1.0), Annealed(3.0), VP, **knobs)
    assert np.abs(free.log_weights).max() > 0.1
    held = run(gaussian(1.0, 1.0), Annealed(3.0), VP, clamp=0.01, **knobs)
    assert np.abs(held.log_weights).max() == 0.01
    wide = run(gaussian(1.0, 1.0), Annealed(3.0), VP, clamp=1e9, **knobs)
    np.testing.assert_array_equal(wide.samples, free.samples)


# --- laws ---------------------------------------------------------------------------------------

GAUSSIAN = {  # models, target, mean and variance
    "annealed, sharper": ([gaussian(1.0, 1.0)], Annealed(2.0), (1.0, 0.5)),
    "annealed, wider": ([gaussian(1.0, 1.0)], Annealed(0.5), (1.0, 2.0)),
    "product": ([gaussian(-1.0, 1.0), gaussian(2.0, 0.5)], Product(), (1.0, 1 / 3)),
    "guidance": ([gaussian(0.0, 2.0), gaussian(1.0, 1.0)], Geometric(2.0), (4 / 3, 2 / 3)),
    "reward": ([gaussian(0.0, 1.0)], linear_reward(), (2.0, 1.0)),
}


@functools.cache
def unweighted(name):
    models, target = {**GAUSSIAN, **MODES}[name][:2]
    return run(models, target, correction="none")


@pytest.mark.parametrize("correction", ["every-step", "ess", "birth-death"])
@pytest.mark.parametrize("name", GAUSSIAN)
def test_gaussians_come_out_as_worked_out_where_the_plain_sampler_does_not(name, correction):
    models, target, (mean, variance) = GAUSSIAN[name]
    found = run(models, target, correction=correction)
    assert near(found.mean()[:, 0], mean, 0.03 * np.sqrt(variance))
    assert near(found.covariance()[:, 0, 0], variance, 0.05 * variance)
    plain = unweighted(name)
    assert far(plain.mean()[:, 0], mean) or far(plain.covariance()[:, 0, 0], variance)
    assert not (
        near(plain.mean()[:, 0], mean, 0.03 * np.sqrt(variance))
        and near(plain.covariance()[:, 0, 0], variance, 0.05 * variance)
    )


@pytest.mark.parametrize("name", GAUSSIAN)
def test_so_they_do_where_the_variance_is_preserved(name):
    models, target, (mean, variance) = GAUSSIAN[name]
    found = run(models, target, VP, correction="birth-death")
    assert near(found.mean()[:, 0], mean, 0.03 * np.sqrt(variance))
    assert near(found.covariance()[:, 0, 0], variance, 0.05 * variance)


@pytest.mark.parametrize("name", ["annealed, wider", "guidance"])
def test_weights_that_are_kept_to_the_end_give_the_mean(name):
    models, target, (mean, variance) = GAUSSIAN[name]
    found = run(models, target, correction="final-weights")
    assert (found.unique_ancestors == 1000).all()
    assert near(found.snis_mean(lambda x: x[:, 0]), mean, 0.03 * np.sqrt(variance))
    assert near(found.snis_mean(lambda x: (x[:, 0] - mean) ** 2), variance, 0.05 * variance)


def test_the_cards_closed_forms_are_those_of_precisions():
    for models, target, (mean, variance) in GAUSSIAN.values():
        if not isinstance(target, RewardTilt):
            law = gaussian_power_product(models, target.powers)
            assert law.mean() == pytest.approx(mean)
            assert law.covariance() == pytest.approx(variance)


def test_three_models_at_once():
    models = [gaussian(-1.0, 1.0), gaussian(1.0, 2.0), gaussian(0.0, 3.0)]
    target = WeightedProduct((1.0, 1.5, -0.5))
    exact = gaussian_power_product(models, target.betas)
    found = run(models, target, correction="birth-death")
    assert near(found.mean()[:, 0], exact.mean()[0], 0.03)
    assert near(found.covariance()[:, 0, 0], exact.covariance()[0, 0], 0.03)


def test_covariances_of_two_dimensions():
    model = GaussianMixture.of([1.0], [[1.0, -1.0]], [[[1.0, 0.6], [0.6, 1.5]]])
    found = run(model, Annealed(2.0), correction="birth-death", populations=12)
    exact = model.covariances[0] / 2
    for i, j in ((0, 0), (0, 1), (1, 1)):
        assert near(found.covariance()[:, i, j], exact[i, j], 0.04)
    plain = run(model, Annealed(2.0), correction="none", populations=12)
    assert far(plain.covariance()[:, 0, 1], exact[0, 1])


@pytest.mark.parametrize("correction", WEIGHTED)
def test_a_reward_that_counts_from_the_start_has_weights_from_the_start(correction):
    wide = VarianceExploding(0.01, 3.0)
    target = linear_reward(lambda t: 0.25, lambda t: 0.0)
    found = run(gaussian(0.0, 1.0), target, wide, correction=correction)
    assert near(found.mean()[:, 0], 0.5, 0.05)
    plain = run(gaussian(0.0, 1.0), target, wide, correction="none")
    assert far(plain.mean()[:, 0], 0.5)


TWO = GaussianMixture.of([0.6, 0.4], [[-2.0], [2.0]], [0.25, 1.0])
MODES = {  # models, target
    "annealed": ([TWO], Annealed(3.0)),
    "product of mixtures": ([TWO, GaussianMixture.of([0.5, 0.5], [[-2.0], [2.0]], 1.0)], Product()),
    "between": ([GaussianMixture.of([0.5, 0.5], [[-3.0], [1.0]], [1.0, 0.5]), TWO], Geometric(0.5)),
    "guidance of mixtures": (
        [GaussianMixture.of([0.5, 0.5], [[-2.0], [2.0]], 1.0), TWO],
        Geometric(1.5),
    ),
}


def above(x):
    return x[:, 0] > 0


def powered(models, powers):
    logs = list(zip(models, powers, strict=True))
    return grid_law(lambda x: sum(b * q.log_density(x) for q, b in logs), [-10], [10], 4000)


def statistics(particles):
    """Mass above 0, mean and variance."""
    return particles.snis_mean(above), particles.mean()[:, 0], particles.covariance()[:, 0, 0]


@pytest.mark.parametrize("correction", ["every-step", "ess", "birth-death"])
@pytest.mark.parametrize("name", MODES)
def test_modes_of_mixtures_weigh_what_they_should(name, correction):
    models, target = MODES[name]
    law = powered(models, target.powers)
    exact = law.expectation(above), law.mean()[0], law.covariance()[0, 0]
    found = statistics(run(models, target, correction=correction, rng=3))
    assert all(map(near, found, exact, (0.01, 0.05, 0.05)))
    plain = statistics(unweighted(name))
    assert any(map(far, plain, exact))
    assert not all(map(near, plain, exact, (0.01, 0.05, 0.05)))


def test_modes_that_do_not_overlap_weigh_as_their_powers():
    exact = float(powered([TWO], [3.0]).expectation(above))
    assert exact == pytest.approx(0.069, abs=5e-4)
    found = run(TWO, Annealed(3.0, a=0.5), correction="every-step", rng=1)
    assert near(found.snis_mean(above), exact, 0.01)
    plain = run(TWO, Annealed(3.0, a=0.5), correction="none", rng=1)
    assert far(plain.snis_mean(above), exact)


def test_tempered_noise_leaves_particles_narrower_than_a_sharp_target():
    tempered = run(gaussian(1.0, 1.0), Annealed(3.0, a=0.5)).covariance().mean()
    assert tempered < 0.25 < run(gaussian(1.0, 1.0), Annealed(3.0)).covariance().mean()


def test_final_selection_puts_the_weights_into_the_samples():
    knobs = {"correction": "final-weights", "particles": 4000, "populations": None}
    kept = run(gaussian(1.0, 1.0), Annealed(0.5), **knobs)
    chosen = run(gaussian(1.0, 1.0), Annealed(0.5), final_selection=True, **knobs)
    assert not chosen.log_weights.any()
    assert len(set(chosen.ancestors)) < 4000
    np.testing.assert_array_equal(chosen.samples, kept.samples[chosen.ancestors])
    assert chosen.samples.var() == pytest.approx(kept.covariance()[0, 0], rel=0.05)
    assert kept.samples.var() > 2 * chosen.samples.var()


# --- the sampler as a method ---------------------------------------------------------------------


def test_it_is_found_by_its_names():
    method = registry.make("fkc", {"particles": "8", "correction": "ess"}, "decode")
    assert method == FeynmanKac(particles=8, correction="ess")
    assert method.kind == "corrector"
    assert registry.find("feynman-kac", "decode") is FeynmanKac


def test_one_population_is_the_first_of_one():
    knobs = {"particles": 30, "steps": 20, "correction": "ess", "ess_threshold": 0.99}
    alone = run(TWO, Annealed(3.0), populations=None, **knobs)
    one = run(TWO, Annealed(3.0), populations=1, **knobs)
    assert alone.samples.shape == (30, 1)
    assert alone.effective_sizes.shape == alone.unique_ancestors.shape == (20,)
    for field in ("samples", "log_weights", "ancestors", "effective_sizes", "unique_ancestors"):
        np.testing.assert_array_equal(getattr(one, field)[0], getattr(alone, field))


def test_the_same_rng_gives_the_same_particles():
    knobs = {"particles": 30, "steps": 20, "populations": None}
    for correction in WEIGHTED:
        first = run(TWO, Annealed(3.0), correction=correction, rng=4, **knobs)
        again = run(TWO, Annealed(3.0), correction=correction, rng=4, **knobs)
        other = run(TWO, Annealed(3.0), correction=correction, rng=5, **knobs)
        np.testing.assert_array_equal(first.samples, again.samples)
        assert (first.samples != other.samples).all()


def test_particles_can_be_given_to_start_from():
    given = np.full((20, 1), 3.0)
    still = FeynmanKac(particles=20, steps=1).sample(
        lambda x, t: np.zeros_like(x), Annealed(2.0), VE, 1, start=given, rng=0
    )
    spread = VE.sigma(0.0)
    assert np.abs(still.samples - 3.0).max() < 4 * spread
    assert (given == 3.0).all()
    with pytest.raises(UsageError, match="start has the shape"):
        FeynmanKac(particles=21).sample(lambda x, t: x, Annealed(2.0), VE, 1, start=given)


def test_ancestors_count_who_is_left():
    found = run(TWO, Annealed(3.0), particles=200, populations=3)
    assert (np.diff(found.unique_ancestors, axis=1) <= 0).all()
    for ancestors, unique in zip(found.ancestors, found.unique_ancestors, strict=True):
        assert len(set(ancestors)) == unique[-1] < 200
    assert ((found.effective_sizes >= 1) & (found.effective_sizes <= 200)).all()


def test_particles_weigh_any_function():
    particles = Particles(
        np.array([[0.0, 1.0], [2.0, 3.0]]), np.log([3.0, 1.0]), np.arange(2), np.ones(1), np.ones(1)
    )
    np.testing.assert_allclose(particles.weights, [0.75, 0.25])
    np.testing.assert_allclose(particles.mean(), [0.5, 1.5])
    np.testing.assert_allclose(particles.covariance(), np.full((2, 2), 0.75))
    assert particles.snis_mean(lambda x: x[:, 0] > 1) == pytest.approx(0.25)
    outer = particles.snis_mean(lambda x: x[:, :, None] * x[:, None, :])
    np.testing.assert_allclose(outer, [[1.0, 1.5], [1.5, 3.0]])
    far_apart = Particles(particles.samples, np.array([-1e5, 1e5]), *3 * [np.arange(2)])
    assert far_apart.weights.tolist() == [0.0, 1.0]


def test_it_can_be_pickled():
    method = FeynmanKac(particles=5, clamp=1.0)
    assert pickle.loads(pickle.dumps(method)) == method
    assert pickle.loads(pickle.dumps(Annealed(2.0, 0.5))) == Annealed(2.0, 0.5)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_named(wrong):
    def broken(x, t):
        return np.where((np.arange(len(x)) == 3)[:, None] & (t >= 0.5), wrong, -x)

    with pytest.raises(UsageError, match=r"score 2 of 2 is NaN or infinite at t = 0\.5"):
        FeynmanKac(particles=5, steps=10).sample([lambda x, t: -x, broken], Product(), VP, 1)


def test_a_weight_that_is_no_number_is_refused():
    with pytest.raises(UsageError, match="weight is NaN or infinite"):
        FeynmanKac(particles=5, steps=10).sample(
            lambda x, t: -x, RewardTilt(lambda x: x[:, 0] * np.nan, np.ones_like, abs, abs), VP, 1
        )


def test_a_score_of_another_shape_is_refused():
    with pytest.raises(UsageError, match=r"score 1 of 1 has the shape \(5,\)"):
        FeynmanKac(particles=5).sample(lambda x, t: x[:, 0], Annealed(2.0), VP, 2)


def test_scores_must_be_as_many_as_the_target_takes():
    with pytest.raises(UsageError, match="1 scores for Product, which takes 2"):
        FeynmanKac().sample(lambda x, t: -x, Product(), VP, 1)
    with pytest.raises(UsageError, match="dimensions is 0"):
        FeynmanKac().sample(lambda x, t: -x, Annealed(1.0), VP, 0)
    with pytest.raises(UsageError, match="populations 0"):
        FeynmanKac().sample(lambda x, t: -x, Annealed(1.0), VP, 1, populations=0)


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan, np.inf])
def test_a_power_must_be_above_0(beta):
    for make in (Annealed, Product, lambda beta: WeightedProduct((beta, 0.0))):
        with pytest.raises(UsageError, match="beta"):
            make(beta)


def test_guidance_may_go_beyond_its_models_but_not_without_end():
    assert Geometric(7.5).powers == (-6.5, 7.5)
    with pytest.raises(UsageError, match="beta is nan"):
        Geometric(float("nan"))
    with pytest.raises(UsageError, match="sum of betas is 0"):
        WeightedProduct(())


@pytest.mark.parametrize("make", [Annealed, Product])
def test_noise_of_negative_variance_is_refused(make):
    assert make(3.0, a=0.75).noise_square == pytest.approx(0.0)
    with pytest.raises(UsageError, match="a is 0.76: .* below 0"):
        make(3.0, a=0.76)
    with pytest.raises(UsageError, match="a is nan"):
        make(3.0, a=np.nan)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("particles", 0),
        ("steps", 0),
        ("correction", "sometimes"),
        ("ess_threshold", 0.0),
        ("ess_threshold", 1.5),
        ("clamp", 0.0),
        ("clamp", -1.0),
        ("t_min", -0.1),
        ("t_max", 1.1),
    ],
)
def test_bad_knobs_are_named(knob, value):
    with pytest.raises(UsageError, match=knob):
        FeynmanKac(**{knob: value})


def test_an_interval_must_not_run_backwards():
    with pytest.raises(UsageError, match="t_min"):
        FeynmanKac(t_min=0.6, t_max=0.4)
