"""Cross-domain mixing: counts by hand, by property, and a planner that keeps the total."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.select.cross_domain import best_share, domain_counts, mixture_grid


@given(st.data())
def test_counts_sum_to_the_budget_and_fit(data):
    sizes = np.array(data.draw(st.lists(st.integers(0, 30), min_size=2, max_size=6)), np.int64)
    if not sizes.sum():
        return
    own = data.draw(st.integers(0, len(sizes) - 1))
    n = data.draw(st.integers(1, int(sizes.sum())))
    share = data.draw(st.floats(0, 1))
    counts = domain_counts(
        sizes, own, n, share, data.draw(st.sampled_from(["equal", "proportional"]))
    )
    assert counts.sum() == n
    assert (counts >= 0).all()
    assert (counts <= sizes).all()
    rest = int(sizes.sum() - sizes[own])
    if sizes[own] >= n - round(share * n) and rest >= round(share * n):
        assert n - counts[own] == round(share * n)


def make_pool(**sizes):
    names = [name for name, size in sizes.items() for _ in range(size)]
    return sw.Pool.from_arrays(np.ones((len(names), 2)), names), np.array(names)


def test_a_domain_that_is_too_small_gives_all_it_has():
    pool, names = make_pool(code=200, chat=100, rare=2)
    chosen = names[sw.select(pool, 100, "cross-domain", rng=0, share=0.3).indices]
    assert {name: int((chosen == name).sum()) for name in set(names)} == {
        "code": 70,
        "chat": 28,
        "rare": 2,
    }
    small = names[sw.select(pool, 100, "cross-domain", rng=0, domain="rare").indices]
    assert (small == "rare").sum() == 2


def test_extremes_and_sizes():
    pool, names = make_pool(a=60, b=30, c=10)
    alone = names[sw.select(pool, 30, "cross-domain", rng=0, share=0).indices]
    assert set(alone) == {"a"}
    away = names[sw.select(pool, 30, "cross-domain", rng=0, share=1).indices]
    assert "a" not in away
    by_size = names[
        sw.select(pool, 40, "cross-domain", rng=0, share=0.5, spread="proportional").indices
    ]
    assert ((by_size == "b").sum(), (by_size == "c").sum()) == (15, 5)


def test_rows_of_a_domain_are_drawn_alike():
    pool, _ = make_pool(a=10, b=10)
    counts = np.zeros(20)
    for seed in range(2_000):
        counts[sw.select(pool, 10, "cross-domain", rng=seed, domain="a", share=0.4).indices] += 1
    assert (abs(counts[:10] - 1_200) < 4 * np.sqrt(2_000 * 0.24)).all()
    assert (abs(counts[10:] - 800) < 4 * np.sqrt(2_000 * 0.24)).all()


def test_an_unknown_domain_is_named():
    pool, _ = make_pool(code=5, chat=5)
    with pytest.raises(InputError, match=r"no domain 'cod'(.|\n)*chat, code"):
        sw.select(pool, 2, "cross-domain", domain="cod")
    with pytest.raises(UsageError, match="'share' is 2"):
        sw.method("cross-domain", {"share": 2})


def test_the_grid_keeps_the_total():
    grid = mixture_grid(20_001, [0, 0.05, 1 / 3, 1], ["x", "y", "z"])
    assert all(sum(one.values()) == 20_001 for one in grid)
    assert all(max(one[k] for k in "xyz") - min(one[k] for k in "xyz") <= 1 for one in grid)
    with pytest.raises(UsageError, match="a share is 1.5"):
        mixture_grid(10, [1.5], ["x"])
    with pytest.raises(UsageError, match="no other domains"):
        mixture_grid(10, [0.5], [])


def test_the_best_share_of_the_papers_table():
    paper = {0.0: 64.2, 1 / 20: 66.2, 2 / 20: 67.1, 5 / 20: 64.5}
    found = best_share(paper)
    assert (found.share, round(found.gain, 1), found.interior) == (0.1, 2.9, True)
    assert not best_share({0.0: 1.0, 0.5: 0.5}).interior
    assert best_share({0.0: 1.0, 0.5: 1.0}).share == 0
    with pytest.raises(UsageError, match="share 0 is missing"):
        best_share({0.1: 1.0})
