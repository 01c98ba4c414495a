"""Cloning and labels: their limits, their parts, and that they go on where they were stopped."""

import itertools

import numpy as np
import pytest
import torch

from samplewise.errors import UsageError
from samplewise.measure.heterogeneity import best_in_ball, best_of_n_value, pessimistic_tilt
from samplewise.train.base import train
from samplewise.train.planted_subsequence import PlantedSubsequence
from samplewise.train.verifier_based import (
    VerifierBased,
    VerifierFree,
    clone_log_likelihood,
    clone_rollouts,
    solved_by_step,
)

TASK = PlantedSubsequence(length=3, budget=12, prompts=3, test=3, rollouts=100)
WIDE = PlantedSubsequence(length=3, budget=12, prompts=24, test=3, rollouts=100)
LOOPS = {
    "likelihood": VerifierFree(traces=4),
    "likelihood of filtered": VerifierFree(traces=4, data="filtered"),
    "clone": VerifierFree(traces=4, learner="network"),
    "clone of filtered": VerifierFree(traces=4, learner="network", data="filtered", forcing=True),
    "regression": VerifierBased(traces=4),
    "zero-one": VerifierBased(traces=4, learner="zero-one", label_noise=0.3),
    "verifier": VerifierBased(traces=4, learner="network"),
}


def hard(maps):
    """A map that is sure, as log-odds that are far apart."""
    return 200 * (torch.nn.functional.one_hot(torch.from_numpy(maps)).double() - 0.5)


# --- parts ----------------------------------------------------------------------------------------


def test_a_verifier_that_knows_the_map_tells_the_return():
    numbers, tokens, returns = TASK.pool.numbers, TASK.pool.tokens, TASK.pool.returns
    serves = hard(TASK.maps[TASK.truth]).sigmoid()
    solved = solved_by_step(
        serves, torch.from_numpy(TASK.symbols[numbers]), torch.from_numpy(tokens)
    )
    assert solved.sum(dim=1).round().tolist() == returns[:, :, TASK.truth].ravel().tolist()
    assert (solved.diff(dim=1) >= -1e-9).all()


def test_a_verifier_that_is_not_sure_averages_over_maps():
    serves = torch.rand(2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    symbols, tokens = torch.tensor([[0, 1]]), torch.tensor([[1, 0, 1, 1]])

    def chance(place, step, end):
        """Whether both symbols are served before `end`; each token serves by itself."""
        if place == 2 or step == end:
            return float(place == 2)
        p = float(serves[place, tokens[0, step]])
        return p * chance(place + 1, step + 1, end) + (1 - p) * chance(place, step + 1, end)

    expected = [chance(0, 0, end) for end in range(1, 5)]
    found = solved_by_step(serves, symbols, tokens)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_clone_that_knows_the_strategies_is_the_base():
    task = PlantedSubsequence(noise=0.4, rollouts=20)
    maps, shares = hard(task.maps), torch.from_numpy(task.shares)
    model = {
        "map": torch.cat([maps, torch.zeros_like(maps[:1])]),
        "noise": torch.tensor([0.4, 0.4, 1 - 1e-12], dtype=torch.float64).logit(),
        "share": shares.log(),
    }
    numbers, tokens, _ = task.pool
    symbols = task.symbols[numbers]
    found = clone_log_likelihood(model, torch.from_numpy(symbols), torch.from_numpy(tokens))
    np.testing.assert_allclose(found.numpy(), task.log_probabilities(numbers, tokens), rtol=1e-9)

    many = np.repeat(np.arange(4), 1000)
    drawn = clone_rollouts(model, task.symbols[many], 40, rng=np.random.default_rng(0))
    true = task.returns(many, drawn)[:, task.truth]
    law = task.laws[:4, task.truth].mean(axis=0)
    mean = law @ np.arange(41)
    sigma = np.sqrt(law @ (np.arange(41) - mean) ** 2)
    assert abs(true.mean() - mean) < 3 * sigma / np.sqrt(4000)


def test_a_clone_that_is_not_sure_is_a_law_and_draws_from_it():
    random = torch.Generator().manual_seed(0)
    model = {
        "map": torch.randn(2, 3, 3, generator=random, dtype=torch.float64),
        "noise": torch.tensor([-0.5, 1.0], dtype=torch.float64),
        "share": torch.tensor([0.5, 0.0], dtype=torch.float64),
    }
    every = np.array(list(itertools.product(range(3), repeat=4)))
    symbols = np.tile([2, 0], (len(every), 1))
    logs = clone_log_likelihood(model, torch.from_numpy(symbols), torch.from_numpy(every))
    law = logs.exp().numpy()
    assert law.sum() == pytest.approx(1, abs=1e-12)
    drawn = clone_rollouts(model, np.tile([2, 0], (20_000, 1)), 4, rng=np.random.default_rng(0))
    seen = np.bincount(drawn @ [27, 9, 3, 1], minlength=81) / 20_000
    assert (np.abs(seen - law) < 4.5 * np.sqrt(law * (1 - law) / 20_000)).all()


def test_forcing_begins_anew_until_the_budget_is_spent():
    maps = np.array([[1, 2, 3, 0], [2, 3, 0, 1]])
    sure = {"map": hard(maps), "noise": torch.full((2,), -100.0), "share": torch.zeros(2)}
    rows = {"symbols": np.array([[0, 3]] * 50), "budget": 6}
    forced = clone_rollouts(sure, forcing=True, rng=np.random.default_rng(0), **rows)
    tries = forced.reshape(-1, 2)
    assert set(map(tuple, tries.tolist())) == {(1, 0), (2, 1)}
    assert len(np.unique(forced, axis=0)) == 8  # a strategy is drawn again for every try
    plain = clone_rollouts(sure, rng=np.random.default_rng(0), **rows)
    assert set(map(tuple, plain[:, :2].tolist())) == {(1, 0), (2, 1)}
    assert len(np.unique(plain[:, 2:])) == 4


def test_the_experts_answers_return_what_the_best_in_the_ball_does():
    learner = VerifierFree(kappa=0.3).begin(TASK, steps=1, rng=0)
    numbers, _, returns = learner.expert(4000)
    true = returns[:, TASK.truth]
    level = learner.level[numbers]
    assert abs((true - level).mean()) < 3 * true.std() / np.sqrt(4000)
    laws, every = TASK.laws[:3, TASK.truth], np.arange(13)
    mean = laws @ every
    sigma = np.sqrt((laws * (every - mean[:, None]) ** 2).sum(axis=1))
    np.testing.assert_allclose(learner.level, mean + sigma * np.sqrt(0.3))


# --- limits ---------------------------------------------------------------------------------------


def test_labels_with_one_possible_reward_give_the_tilt():
    task = PlantedSubsequence(noise=0.9, known=1.0, misled=0.0, decoys=0, rollouts=100)
    for learner in ("regression", "zero-one"):
        figures = train(VerifierBased(learner=learner), task, steps=1, rng=0).evaluate()
        best = best_in_ball(task.pool.returns[:, :, 0], 0.25).value.mean()
        assert figures["value"] == pytest.approx(best)
        assert figures["regret"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("data", ["expert", "filtered"])
def test_enough_answers_of_the_expert_give_the_expert(data):
    figures = train(VerifierFree(traces=200, data=data), TASK, steps=1, rng=0).evaluate()
    assert figures["value"] == pytest.approx(figures["expert"])


def test_without_evidence_any_expert_is_played_and_labels_stay_cautious():
    free = VerifierFree().begin(TASK, steps=1, rng=0).evaluate()
    true = TASK.pool.returns[:, :, TASK.truth]
    both = [best_in_ball(TASK.pool.returns[:, :, one], 0.25).weights for one in range(2)]
    assert free["value"] == pytest.approx(np.mean([(w * true).mean() for w in both]))
    based = VerifierBased().begin(TASK, steps=1, rng=0).evaluate()
    cautious = pessimistic_tilt(TASK.pool.returns, 0.25)
    assert based["version_space"] == 2
    assert based["value"] == pytest.approx((cautious.weights * true).mean())


def test_where_no_answer_is_solved_labels_have_no_edge():
    sharp = PlantedSubsequence(length=12, budget=12, known=0.0, misled=0.0, rollouts=20)
    learner = train(VerifierBased(traces=16), sharp, steps=1, rng=0)
    assert learner.history[-1]["version_space"] == 2
    figures = learner.evaluate()
    assert figures["value"] == figures["base"] == figures["regret"] == 0


def test_labels_win_where_the_expert_is_near_and_answers_are_few():
    gaps = []
    for seed in range(30):
        n = 12
        value = [
            train(loop(traces=n, kappa=1 / n), TASK, steps=1, rng=seed).evaluate()["value"]
            for loop in (VerifierBased, VerifierFree)
        ]
        gaps.append(value[0] - value[1])
    assert min(gaps) > -1e-9
    assert np.mean(gaps) > 2 * np.std(gaps) / np.sqrt(30)


def test_wrong_labels_are_outvoted():
    for learner in ("regression", "zero-one"):
        loop = VerifierBased(traces=200, learner=learner, label_noise=0.4)
        figures = train(loop, TASK, steps=1, rng=0).evaluate()
        assert figures["version_space"] == 1
        assert figures["regret"] == pytest.approx(0, abs=1e-9)


def test_a_wide_gamma_keeps_every_reward():
    learner = train(VerifierBased(traces=50, gamma=1.0), TASK, steps=1, rng=0)
    assert learner.history[-1]["version_space"] == 2


def test_a_small_verifier_learns_to_search():
    figures = train(VerifierBased(learner="network", traces=64), WIDE, steps=60, rng=0).evaluate()
    true = WIDE.pool.returns[:, :, TASK.truth]
    assert figures["perfect"] == pytest.approx(best_of_n_value(true, true, 8).mean())
    assert figures["verifier_error"] < 0.15
    assert figures["base"] < figures["expert"] < figures["value"] <= figures["perfect"]
    assert figures["tokens"] == 8 * 12


def test_a_clone_learns_the_map_of_filtered_answers():
    loop = VerifierFree(learner="network", data="filtered", traces=64)
    learner = train(loop, TASK, steps=60, rng=0)
    used = np.unique(TASK.symbols[:3])
    main = learner.model.map[learner.model.share.argmax()]
    assert (main.argmax(dim=1)[used].numpy() == TASK.maps[TASK.truth][used]).all()
    assert learner.evaluate()["value"] > learner.evaluate()["base"]


# --- loops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_it_goes_on_from_a_checkpoint_bit_for_bit(loop, tmp_path):
    whole = loop.begin(TASK, steps=4, rng=3)
    for _ in range(4):
        if whole.done == 2:
            whole.evaluate()
            whole.save(tmp_path / "half")
        whole.advance()
    other = loop.begin(TASK, steps=4, rng=99)
    other.load(tmp_path / "half")
    while other.done < 4:
        other.advance()
    ours, theirs = other.parts["model"].state_dict(), whole.parts["model"].state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert other.history == whole.history
    assert other.evaluate() == whole.evaluate()
    assert len(whole.rollouts) <= 4


def test_draws_are_kept_for_the_ledger():
    learner = VerifierBased(traces=5).begin(TASK, steps=1, rng=0)
    figures = learner.advance()
    assert len(learner.rollouts) == 5
    one = learner.rollouts[0]
    assert one.tokens == len(one.text.split()) == 12
    assert len(one.prompt.split()) == 3
    assert np.mean([each.reward for each in learner.rollouts]) == figures["reward"]


@pytest.mark.parametrize(
    ("loop", "knobs"),
    [
        (VerifierFree, {"traces": 0}),
        (VerifierFree, {"kappa": -1.0}),
        (VerifierFree, {"learning_rate": 0.0}),
        (VerifierFree, {"forcing": True}),
        (VerifierFree, {"strategies": 0}),
        (VerifierFree, {"learner": "regression"}),
        (VerifierBased, {"samples": 0}),
        (VerifierBased, {"gamma": -0.1}),
        (VerifierBased, {"label_noise": 1.5}),
    ],
)
def test_bad_knobs_are_refused(loop, knobs):
    with pytest.raises(UsageError, match=next(iter(knobs))):
        loop(**knobs)
