import numpy as np
import pytest
from scipy.integrate import quad

from samplewise.decode.mask_schedule import share_of_masks
from samplewise.decode.masked_likelihood import (
    discrete_elbo,
    exact_elbo,
    mask_counts,
    mask_places,
)
from samplewise.errors import UsageError
from samplewise.testing.masked_laws import KnownLaw, random_order_law


class TimedLaw(KnownLaw):
    """True conditionals, made flatter with time."""

    def __call__(self, tokens, time):
        return super().__call__(tokens, time) / (1 + time)[:, None, None]


def continuous_elbo(model, text, schedule):
    """The integral over time, by its definition, with every set of masks weighted at every time."""
    length, mask = len(text), model.vocabulary
    hidden = (np.arange(2**length)[:, None] >> np.arange(length)) % 2 == 1
    shown = np.where(hidden, mask, text)

    def rate(t):
        share = float(share_of_masks(t, schedule))
        slope = 1.0 if schedule == "linear" else np.pi / 2 * np.cos(np.pi / 2 * t)
        logits = model(shown, np.full(len(shown), t))
        logs = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
        scores = np.where(hidden, logs[:, np.arange(length), text], 0).sum(axis=1)
        masks = hidden.sum(axis=1)
        chances = share**masks * (1 - share) ** (length - masks)
        return slope / share * (chances * scores).sum()

    return quad(rate, 1e-12, 1, epsabs=1e-10, limit=100)[0]


def test_with_true_conditionals_the_bound_is_the_log_probability():
    model = KnownLaw(3, 4, rng=0)
    elbo = exact_elbo(model, model.texts, 3)
    np.testing.assert_allclose(elbo.values, np.log(model.law), rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(("kind", "warp"), [(KnownLaw, 0), (KnownLaw, 0.5), (TimedLaw, 0)])
def test_the_discrete_bound_is_the_continuous_one(kind, warp, schedule):
    model = kind(3, 3, rng=1, warp=warp)
    for text in model.texts[[0, 11, 26]]:
        exact = exact_elbo(model, [text], 3, schedule=schedule).values[0]
        assert exact == pytest.approx(continuous_elbo(model, text, schedule), abs=1e-6)


@pytest.mark.parametrize("schedule", [None, "linear", "cosine"])
def test_the_estimate_is_the_exact_bound(schedule):
    model = TimedLaw(3, 4, rng=2) if schedule else KnownLaw(3, 4, rng=2, warp=0.5)
    texts = model.texts[::9]
    exact = exact_elbo(model, texts, 3, schedule=schedule)
    drawn = discrete_elbo(model, texts, 3, samples=1500, schedule=schedule, rng=0)
    assert (np.abs(drawn.values - exact.values) < 4 * drawn.errors).all()
    assert (drawn.errors > 0).all()
    assert drawn.perplexity() == pytest.approx(np.exp(-drawn.values.mean() / 4))
    again = discrete_elbo(model, texts, 3, samples=1500, schedule=schedule, rng=0)
    np.testing.assert_array_equal(drawn.values, again.values)


def test_it_bounds_what_first_hitting_draws():
    model = KnownLaw(2, 4, rng=3, warp=0.5)
    gaps = np.log(random_order_law(model)) - exact_elbo(model, model.texts, 2).values
    assert (gaps >= -1e-12).all()
    assert gaps.max() > 1e-3


def test_the_model_is_given_a_time_only_where_it_takes_one():
    model = KnownLaw(2, 3, rng=0)
    discrete_elbo(model, model.texts, 2, samples=5)
    exact_elbo(model, model.texts[:1], 2)
    assert set(model.times) == {None}
    discrete_elbo(model, model.texts, 2, samples=5, schedule="cosine")
    assert model.calls == 5 + 3 + 5
    assert all(((time > 0) & (time < 1)).all() for time in model.times[-5:])


def test_numbers_of_masks_are_even_and_vary_less_than_independent_ones():
    rng = np.random.default_rng(0)
    assert mask_counts(6, 6, rng).tolist() == [1, 2, 3, 4, 5, 6]
    drawn = np.array([mask_counts(8, 5, rng) for _ in range(5000)])
    shares = np.bincount(drawn.ravel(), minlength=6)[1:] / drawn.size
    assert np.abs(shares - 0.2).max() < 4 * np.sqrt(0.16 / drawn.size)
    independent = rng.integers(1, 6, drawn.shape)
    assert drawn.mean(axis=1).std() < 0.3 * independent.mean(axis=1).std()


def test_places_of_masks_are_even():
    rng = np.random.default_rng(0)
    counts = np.tile([1, 2, 4], 4000)
    hidden = mask_places(counts, 4, rng)
    assert (hidden.sum(axis=1) == counts).all()
    for masks in (1, 2):
        shares = hidden[counts == masks].mean(axis=0)
        chance = masks / 4
        assert np.abs(shares - chance).max() < 4 * np.sqrt(chance * (1 - chance) / 4000)


@pytest.mark.parametrize("bound", [discrete_elbo, exact_elbo])
@pytest.mark.parametrize("tokens", [[[0, 2]], np.empty((0, 3), int), np.empty((2, 0), int)])
def test_texts_that_are_not_whole(bound, tokens):
    with pytest.raises(UsageError, match="hold a mask"):
        bound(KnownLaw(2, 2, rng=0), tokens, 2)


def test_numbers_that_make_no_sense():
    with pytest.raises(UsageError, match="samples is 1"):
        discrete_elbo(KnownLaw(2, 2, rng=0), [[0, 1]], 2, samples=1)
    with pytest.raises(UsageError, match="17 long"):
        exact_elbo(KnownLaw(2, 2, rng=0), [[0] * 17], 2)
