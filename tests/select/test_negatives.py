"""Hard negatives: never relevant, the hardest by brute force, and every strategy as it says."""

import numpy as np
import pytest

import samplewise as sw
from samplewise.errors import UsageError
from samplewise.select.negatives import draw_negatives, hardness, in_batch_negatives


def problem(seed=0, n=60, q=5, d=4):
    rng = np.random.default_rng(seed)
    vectors, queries = rng.normal(size=(n, d)), rng.normal(size=(q, d))
    classes = rng.integers(-1, 3, n), rng.integers(-1, 3, q)
    return vectors.astype(np.float32), queries.astype(np.float32), classes


@pytest.mark.parametrize("seed", range(10))
def test_hardness_equals_brute_force(seed):
    vectors, queries, classes = problem(seed)
    found, query = hardness(vectors, queries, classes, most_similar=0.8)
    for i, row in enumerate(vectors):
        best, which = -np.inf, -1
        for j, other in enumerate(queries):
            cosine = row @ other / np.linalg.norm(row) / np.linalg.norm(other)
            same = classes[0][i] == classes[1][j] >= 0
            if not same and cosine <= 0.8 and cosine > best:
                best, which = cosine, j
        assert query[i] == which
        assert found[i] == pytest.approx(best, abs=1e-6)


def test_relevant_rows_come_last_and_are_marked():
    vectors, queries, _ = problem()
    labels = ["a" if i % 2 else "b" for i in range(len(vectors))]
    target = sw.Pool.from_arrays(queries, ["a"] * len(queries))
    pool = sw.Pool.from_arrays(vectors, labels).with_target(target)
    chosen = sw.select(pool, 40, "hard-negatives", rng=0, most_similar=1.0)
    assert all(labels[i] == "b" for i in chosen.indices[:30])
    assert all(labels[i] == "a" for i in chosen.indices[30:])
    known = chosen.columns["hardness"]
    assert np.isnan(known[[i for i, one in enumerate(labels) if one == "a"]]).all()
    first = known[chosen.indices[:30]]
    assert (np.diff(first) <= 0).all()


def test_rows_that_are_nearly_a_query_are_no_negatives():
    queries = np.eye(3, dtype=np.float32)[:1]
    vectors = np.array([[1, 0, 0], [1, 0.5, 0], [0, 1, 0]], np.float32)
    assert hardness(vectors, queries, most_similar=0.95)[1].tolist() == [-1, 0, 0]
    assert hardness(vectors, queries, most_similar=1.0)[1].tolist() == [0, 0, 0]


def test_strategies():
    rng = np.random.default_rng(0)
    scores, negative = np.arange(100.0)[::-1], np.arange(100) % 10 != 0
    hardest = np.flatnonzero(negative)
    draw = {
        name: draw_negatives(scores, negative, 20, rng, strategy=name, progress=1.0, share=0.25)
        for name in ("hard", "random", "curriculum", "mixture")
    }
    assert draw["hard"].tolist() == hardest[:20].tolist()
    assert sorted(draw["curriculum"]) == hardest[:20].tolist()  # at the end, only the hardest
    assert draw["mixture"][:5].tolist() == hardest[:5].tolist()
    for found in draw.values():
        assert negative[found].all()
        assert len(np.unique(found)) == 20
    assert len(draw_negatives(scores, negative, 500, rng)) == 90
    at_start = [
        draw_negatives(scores, negative, 5, rng, strategy="curriculum", progress=0.0)
        for _ in range(300)
    ]
    assert np.isin(hardest, np.concatenate(at_start)).all()  # at the start, any
    half = [
        draw_negatives(scores, negative, 10, rng, strategy="curriculum", progress=0.5)
        for _ in range(300)
    ]
    assert set(np.concatenate(half)) == set(hardest[:50].tolist())


def test_random_negatives_are_uniform():
    rng = np.random.default_rng(1)
    negative = np.array([True] * 8 + [False] * 2)
    draws = [
        draw_negatives(np.zeros(10), negative, 2, rng, strategy="random") for _ in range(4_000)
    ]
    counts = np.bincount(np.concatenate(draws), minlength=10)
    assert (counts[8:] == 0).all()
    assert (abs(counts[:8] - 1_000) < 4 * np.sqrt(1_000 * 0.75)).all()


def test_in_batch_negatives_are_never_relevant_nor_later():
    rng = np.random.default_rng(2)
    for _ in range(50):
        relevant, earlier = rng.random((2, 6, 20)) < 0.5
        positives = np.array([rng.choice(20) for _ in range(6)])
        relevant[np.arange(6), positives] = True
        mask = in_batch_negatives(positives, relevant, earlier)
        assert not mask.diagonal().any()
        for i, j in zip(*np.nonzero(mask), strict=True):
            assert not relevant[i, positives[j]]
            assert earlier[i, positives[j]]
        for i in range(6):
            drawn = positives[mask[i]]
            assert len(set(drawn)) == len(drawn)


def test_bad_knobs():
    for knobs in ({"progress": 2}, {"share": -0.1}, {"most_similar": -2}, {"strategy": "odd"}):
        (knob,) = knobs
        with pytest.raises(UsageError, match=knob):
            sw.method("hard-negatives", knobs)
