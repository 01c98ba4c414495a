import numpy as np
import pytest
from scipy import stats

import samplewise as sw
from samplewise.engine.local import LocalEngine
from samplewise.errors import InputError, UsageError
from samplewise.ledger import Ledger
from samplewise.select.iterative_refinement import (
    IterativeRefinement,
    RefinementSession,
    draw_counts,
    perplexity_outcome,
    refined_weights,
)

THIRDS = np.full(3, 1 / 3)
SMALL = {"clusters": 3, "restarts": 10}


def blobs(sizes=(50, 30, 20), score=None):
    """Rows in blobs far from each other, and the blob of each."""
    rng = np.random.default_rng(1)
    centres = 50 * np.eye(len(sizes))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    points = centres[owner] + rng.normal(size=(len(owner), len(sizes)))
    return sw.Pool.from_arrays(points.astype(np.float32), score=score), owner


def nothing(pool, draws):
    return np.zeros(len(draws))


def session_of(sizes, n, rounds, seed=0, **options):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    keys = np.random.default_rng(9).random(len(labels))
    return labels, RefinementSession(
        labels, keys, n, rounds, rng=np.random.default_rng(seed), **options
    )


def run(session, outcome):
    """Play a session to its end, and give the rows of each round."""
    rounds = []
    while len(draws := session.ask()):
        rounds.append(draws)
        session.tell(draws, outcome(draws))
    return rounds


# --- weights --------------------------------------------------------------------------------------


def test_softmax_rule_is_the_cards():
    weights = refined_weights(THIRDS, [0.2, -0.1, 0.5], "softmax")
    assert weights == pytest.approx([0.3236, 0.2397, 0.4368], abs=5e-5)


def test_paper_rule_is_the_cards_and_compounds():
    once = refined_weights(THIRDS, [0.2, 0.1, 0.5], "paper")
    assert once == pytest.approx([0.25, 0.125, 0.625])
    twice = refined_weights(once, [0.2, 0.1, 0.5], "paper")
    assert twice == pytest.approx([0.1333, 0.0333, 0.8333], abs=5e-5)


def test_softmax_rule_forgets_the_weights_before():
    means = [0.2, -0.1, 0.5]
    np.testing.assert_array_equal(
        refined_weights([0.9, 0.05, 0.05], means), refined_weights(THIRDS, means)
    )


def test_zero_outcomes_keep_softmax_weights_uniform():
    assert refined_weights([0.7, 0.2, 0.1], [0, 0, 0]) == pytest.approx(THIRDS)


def test_softmax_survives_huge_outcomes_and_a_tiny_temperature():
    assert refined_weights(THIRDS, [1e6, 0, -1e6]).tolist() == [1, 0, 0]
    assert refined_weights(THIRDS, [1.0, 0, -1], temperature=1e-300).tolist() == [1, 0, 0]
    warm = refined_weights(THIRDS, [1.0, 0, -1], temperature=1e9)
    assert warm == pytest.approx(THIRDS, abs=1e-8)


def test_unscored_clusters_count_with_the_mean():
    weights = refined_weights(np.full(4, 0.25), [0.2, np.nan, 0.4, np.nan])
    assert weights == pytest.approx(refined_weights(np.full(4, 0.25), [0.2, 0.3, 0.4, 0.3]))
    assert refined_weights([0.7, 0.3], [np.nan, np.nan]).tolist() == [0.7, 0.3]


@pytest.mark.parametrize("means", [[0.2, -0.1, 0.5], [0, 0, 0], [-1, -1, -1]])
def test_paper_rule_refuses_what_it_cannot_take(means):
    with pytest.raises(InputError, match="softmax"):
        refined_weights(THIRDS, means, "paper")


def test_perplexity_outcome_is_antisymmetric():
    gold, made = np.array([8.0, 2.0, 3.0]), np.array([4.0, 4.0, 3.0])
    outcome = perplexity_outcome(gold, made)
    np.testing.assert_allclose(outcome, -np.log(made / gold))
    np.testing.assert_array_equal(outcome, -perplexity_outcome(made, gold))
    assert outcome[2] == 0


@pytest.mark.parametrize(
    ("gold", "made"), [([1.0, 2.0], [1.0]), ([0.0], [1.0]), ([1.0], [np.nan]), ([1.0], [-1.0])]
)
def test_perplexities_are_numbers_above_zero(gold, made):
    with pytest.raises(InputError):
        perplexity_outcome(gold, made)


# --- counts ---------------------------------------------------------------------------------------


def test_counts_are_multinomial():
    weights, rng = np.array([0.5, 0.3, 0.15, 0.05]), np.random.default_rng(3)
    draws = np.array([draw_counts(20, weights, np.full(4, 99), rng) for _ in range(2_000)])
    assert stats.chisquare(draws.sum(0), 40_000 * weights).pvalue > 1e-3
    # Not only the means: the spread of one cluster's count is that of a binomial.
    seen = np.bincount(draws[:, 2], minlength=21)
    expected = 2_000 * stats.binom.pmf(np.arange(21), 20, 0.15)
    assert stats.chisquare(pool_tail(seen), pool_tail(expected)).pvalue > 1e-3


def pool_tail(counts, last=7):
    pooled = np.append(counts[:last], counts[last:].sum())
    return pooled * 2_000 / pooled.sum()


@pytest.mark.parametrize("seed", range(20))
def test_counts_fit_the_room_and_sum_to_n(seed):
    rng = np.random.default_rng(seed)
    room = rng.integers(0, 5, 12)
    weights = rng.random(12) * (rng.random(12) < 0.5)
    for n in range(int(room.sum()) + 1):
        counts = draw_counts(n, weights, room, rng)
        assert counts.sum() == n
        assert ((counts >= 0) & (counts <= room)).all()


def test_weightless_clusters_give_only_what_the_others_cannot():
    room = np.array([3, 4, 8])
    weights = np.array([0.9, 0.1, 0.0])
    assert draw_counts(7, weights, room, np.random.default_rng(0)).tolist() == [3, 4, 0]
    assert draw_counts(9, weights, room, np.random.default_rng(0)).tolist() == [3, 4, 2]


# --- a session ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "rounds"), [(10, 3), (11, 3), (9, 3), (2, 3), (1, 1), (100, 7)])
def test_rounds_sum_to_the_budget_and_draw_no_row_twice(n, rounds):
    _, session = session_of((50, 30, 20), n, rounds)
    drawn = run(session, lambda draws: np.sin(draws))
    sizes = [len(draws) for draws in drawn]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    assert len(drawn) == min(n, rounds)
    assert len(np.unique(np.concatenate(drawn))) == n
    assert len(session.weights) == len(drawn) + 1
    np.testing.assert_array_equal(session.choice().indices, np.concatenate(drawn))


def test_first_weights_are_equal_and_the_first_round_is_multinomial():
    totals = np.zeros(3)
    for seed in range(400):
        labels, session = session_of((500, 300, 200), 60, 2, seed)
        assert session.weights[0] == pytest.approx(THIRDS)
        totals += np.bincount(labels[session.ask()], minlength=3)
    assert stats.chisquare(totals).pvalue > 1e-3


def test_weights_follow_the_means_by_hand():
    labels, session = session_of((50, 50, 50), 30, 3, rule="paper")
    worth = np.array([0.2, 0.1, 0.5])
    run(session, lambda draws: worth[labels[draws]])
    assert session.weights[1] == pytest.approx([0.25, 0.125, 0.625])
    assert session.weights[2] == pytest.approx([0.1333, 0.0333, 0.8333], abs=5e-5)


def test_a_row_told_again_counts_with_its_latest_outcome():
    labels, session = session_of((10, 10), 8, 2)
    first = session.ask()
    session.tell(first, np.where(labels[first] == 0, 5.0, 0.0))
    both = np.concatenate([first, session.ask()])
    session.tell(both, np.where(labels[both] == 0, 0.0, 1.0))
    assert session.weights[2] == pytest.approx(refined_weights([0.5, 0.5], [0, 1]))


def test_exhausted_clusters_hand_on_their_part():
    labels, session = session_of((4, 40, 40), 60, 4)
    drawn = run(session, lambda draws: np.where(labels[draws] == 0, 50.0, 0.0))
    counts = np.array([np.bincount(labels[draws], minlength=3) for draws in drawn])
    assert counts.sum(1).tolist() == [15, 15, 15, 15]
    assert counts[:2, 0].sum() == 4
    assert counts[:, 0].sum() == 4


def test_the_whole_pool_can_be_drawn():
    _, session = session_of((5, 1, 3), 9, 4)
    assert sorted(np.concatenate(run(session, np.negative)).tolist()) == list(range(9))


def test_columns_say_what_happened_to_every_row():
    labels, session = session_of((20, 20), 7, 2)
    first = session.ask()
    session.tell(first, first / 10)
    second = session.ask()
    choice = session.choice()
    np.testing.assert_array_equal(choice.columns["cluster"], labels)
    rounds, outcome = choice.columns["round"], choice.columns["outcome"]
    assert (rounds[first] == 0).all()
    assert (rounds[second] == 1).all()
    assert (rounds == -1).sum() == 33
    np.testing.assert_allclose(outcome[first], first / 10)
    assert np.isnan(np.delete(outcome, first)).all()


@pytest.mark.parametrize(
    "outcomes", [[1.0], [[1.0, 2.0, 3.0, 4.0]], [1, 2, np.nan, 4], [1, 2, 3, np.inf]]
)
def test_bad_outcomes_are_refused_and_leave_the_session_as_it_was(outcomes):
    _, session = session_of((20, 20), 8, 2)
    draws = session.ask()
    with pytest.raises(InputError):
        session.tell(draws, outcomes)
    assert len(session.weights) == 1
    session.tell(draws, np.ones(4))
    assert len(session.ask()) == 4


def test_the_paper_rule_names_the_mend_and_leaves_the_session_as_it_was():
    _, session = session_of((20, 20), 8, 2, rule="paper")
    draws = session.ask()
    with pytest.raises(InputError, match="softmax"):
        session.tell(draws, -np.ones(4))
    session.tell(draws, np.ones(4))
    assert len(session.weights) == 2


def test_asking_and_telling_take_turns():
    _, session = session_of((20, 20), 8, 2)
    with pytest.raises(UsageError, match="ask"):
        session.tell(np.array([0]), [1.0])
    draws = session.ask()
    with pytest.raises(UsageError, match="tell"):
        session.ask()
    session.tell(draws, np.ones(4))
    with pytest.raises(UsageError, match="ask"):
        session.tell(draws, np.ones(4))


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + 1000, lambda d: d - 1000])
def test_only_rows_that_were_drawn_can_be_told(change):
    _, session = session_of((20, 20), 8, 2)
    draws = change(session.ask())
    with pytest.raises(UsageError, match="not those of round 0"):
        session.tell(draws, np.ones(len(draws)))


# --- the method -----------------------------------------------------------------------------------


def test_it_moves_to_where_the_model_still_learns():
    pool, owner = blobs((100, 100, 100))
    rows = sw.select(
        pool,
        90,
        "iterative-kmq",
        rng=0,
        outcome=lambda pool, draws: np.where(owner[draws] == 2, 3.0, -3.0),
        **SMALL,
    ).indices
    shares = [(owner[part] == 2).mean() for part in np.split(rows, 3)]
    assert shares[0] < 0.6
    assert min(shares[1:]) > 0.9


def test_one_round_of_one_cluster_is_simple_random_sampling():
    pool, _ = blobs((4, 3, 3))
    times = np.zeros(10)
    method = IterativeRefinement(clusters=1, rounds=1)
    clustering = method.cluster(pool, 3, np.random.default_rng(0), LocalEngine())
    for seed in range(2_000):
        rng = np.random.default_rng(seed)
        keys = method.keys(pool, clustering, rng)
        times[RefinementSession(clustering.labels, keys, 3, 1, rng=rng).ask()] += 1
    # Rows of one draw exclude each other: the statistic is that of 3 of 10 without replacement.
    expected = 600.0
    statistic = ((times - expected) ** 2 / expected).sum() * (9 / 10) / (1 - 3 / 10)
    assert stats.chi2.sf(statistic, 9) > 1e-3


@pytest.mark.parametrize("clusters", [1, 10, 500, None])
def test_any_number_of_clusters_gives_the_budget(clusters):
    pool, _ = blobs((4, 3, 3))
    method = IterativeRefinement(clusters=clusters)
    for n in (1, 5, 10):
        rows = sw.select(pool, n, method, rng=1, outcome=nothing).indices
        assert len(set(rows.tolist())) == n


def test_rows_that_are_all_alike():
    pool = sw.Pool.from_arrays(np.ones((30, 4)))
    rows = sw.select(pool, 10, "iterative-refinement", clusters=5, rng=0, outcome=nothing).indices
    assert len(set(rows.tolist())) == 10


def test_inside_quality_and_closest():
    score = np.random.default_rng(0).normal(size=100)
    pool, owner = blobs(score=score)
    cold = {"inside": "quality", "temperature": 1e-9, **SMALL}
    for knobs, key in ((cold, score), ({"inside": "closest", **SMALL}, None)):
        chosen = sw.select(pool, 30, "iterative-refinement", rng=0, outcome=nothing, **knobs)
        cluster = chosen.columns["cluster"]
        if key is None:
            vectors = pool.embeddings
            means = np.array([vectors[owner == blob].mean(0) for blob in range(3)])
            key = -((vectors - means[owner]) ** 2).sum(1)
        for j in range(3):
            members = np.flatnonzero(cluster == j)
            taken = np.intersect1d(members, chosen.indices)
            best = members[np.argsort(-key[members])[: len(taken)]]
            assert set(best.tolist()) == set(taken.tolist())


def test_a_constant_score_is_the_same_as_random_inside():
    pool, _ = blobs(score=np.full(100, 7.0))
    one, other = (
        sw.select(pool, 30, IterativeRefinement(inside=inside), rng=4, outcome=nothing).indices
        for inside in ("quality", "random")
    )
    np.testing.assert_array_equal(one, other)


def test_proportional_first_weights():
    pool, _ = blobs()
    session = IterativeRefinement(allocation="proportional", **SMALL).start(
        pool, 10, np.random.default_rng(0), LocalEngine()
    )
    assert sorted(session.weights[0]) == pytest.approx([0.2, 0.3, 0.5])


def test_the_same_seed_gives_the_same_rows():
    pool, _ = blobs()

    def rows(seed):
        return sw.select(pool, 30, "iterative-refinement", rng=seed, outcome=nothing).indices

    np.testing.assert_array_equal(rows(5), rows(5))
    assert set(rows(5).tolist()) != set(rows(6).tolist())


def test_resuming_pays_no_round_twice(tmp_path):
    pool, owner = blobs()
    paid = []

    def outcome(pool, draws):
        if len(paid) == 2:
            raise KeyboardInterrupt
        paid.append(draws.tolist())
        return owner[draws].astype(float)

    def select(outcome, file):
        with Ledger(tmp_path / file) as ledger:
            chosen = sw.select(
                pool, 31, "iterative-refinement", rng=3, outcome=outcome, ledger=ledger, **SMALL
            )
            return chosen, ledger.rounds()

    with pytest.raises(KeyboardInterrupt):
        select(outcome, "broken.db")
    again = []
    chosen, rounds = select(
        lambda pool, draws: again.append(draws.tolist()) or owner[draws].astype(float), "broken.db"
    )
    whole, _ = select(lambda pool, draws: owner[draws].astype(float), "whole.db")
    np.testing.assert_array_equal(chosen.indices, whole.indices)
    assert [one.draws for one in rounds] == paid + again
    assert len(again) == 1
    assert [len(draws) for draws in paid + again] == [11, 10, 10]


@pytest.mark.parametrize(
    "outcome", [lambda pool, draws: [1.0], lambda pool, draws: np.full(len(draws), np.nan)]
)
def test_outcome_functions_that_give_nonsense_are_refused(outcome):
    pool, _ = blobs()
    with pytest.raises(InputError, match="outcome"):
        sw.select(pool, 30, "iterative-refinement", rng=0, outcome=outcome)


def test_without_outcomes_it_says_what_to_give():
    pool, _ = blobs()
    with pytest.raises(UsageError, match="outcome"):
        sw.select(pool, 30, "iterative-refinement", rng=0)


def test_quality_inside_needs_a_score():
    pool, _ = blobs()
    with pytest.raises(InputError, match="score"):
        sw.select(pool, 3, IterativeRefinement(inside="quality"), rng=0, outcome=nothing)


@pytest.mark.parametrize(
    "knobs",
    [
        {"clusters": 0},
        {"rounds": 0},
        {"weight_rule": "ratio"},
        {"inside": "best"},
        {"allocation": "first"},
        {"temperature": 0.0},
        {"weight_temperature": float("nan")},
    ],
)
def test_knobs_that_make_no_sense_are_refused(knobs):
    with pytest.raises(UsageError, match=next(iter(knobs))):
        IterativeRefinement(**knobs)
