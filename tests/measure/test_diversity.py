"""Diversity of what was chosen: limits, closed forms and plain loops."""

import itertools
import math

import numpy as np
import pytest

from samplewise.measure.diversity import (
    distinct_ngrams,
    distinct_texts,
    mean_pairwise_distance,
    mean_pairwise_similarity,
    neighbour_distances,
    ngram_entropy,
    vendi_score,
)


@pytest.mark.parametrize("order", [0, 0.5, 1, 2, math.inf])
def test_vendi_counts_groups(order):
    for groups, size in ((1, 5), (3, 4), (7, 1)):
        vectors = np.repeat(np.eye(9)[:groups], size, axis=0) * 3.0
        assert vendi_score(vectors, order) == pytest.approx(groups)


@pytest.mark.parametrize("shape", [(5, 12), (12, 5)])
def test_vendi_equals_the_eigenvalues_of_the_kernel(shape):
    vectors = np.random.default_rng(0).normal(size=shape)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(units @ units.T / len(units))
    values = values[values > 1e-12]
    assert vendi_score(vectors) == pytest.approx(np.exp(-(values * np.log(values)).sum()))
    assert vendi_score(vectors, 2) == pytest.approx(1 / (values**2).sum())
    orders = [vendi_score(vectors, q) for q in (0, 0.5, 0.999999999999, 1, 1.5, 2, math.inf)]
    assert all(a >= b - 1e-6 for a, b in itertools.pairwise(orders))


def test_vendi_of_uneven_groups_is_the_exponential_of_their_entropy():
    vectors = np.eye(3)[[0, 0, 0, 1, 1, 2]]
    share = np.array([3, 2, 1]) / 6
    assert vendi_score(vectors) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


@pytest.mark.parametrize("k", [1, 3])
def test_neighbours_equal_a_plain_loop(k):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(60, 6)) + 100
    vectors[10] = vectors[11]  # repeated rows
    vectors[12:15] = vectors[12]
    full = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(full, np.inf)
    expected = np.sort(full, axis=1)[:, k - 1]
    assert neighbour_distances(vectors, k) == pytest.approx(expected, abs=1e-4)


def test_pairs_equal_a_plain_loop():
    vectors = np.random.default_rng(2).normal(size=(20, 3))
    pairs = list(itertools.combinations(vectors, 2))
    distance = np.mean([((a - b) ** 2).sum() for a, b in pairs])
    cosine = np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])
    assert mean_pairwise_distance(vectors) == pytest.approx(distance)
    assert mean_pairwise_similarity(vectors) == pytest.approx(cosine)
    assert mean_pairwise_distance(vectors[:1]) == 0
    assert mean_pairwise_similarity(vectors[:1]) == 1


def test_texts():
    assert distinct_texts(["a", "b", "A "]) == pytest.approx(2 / 3)
    assert distinct_ngrams(["x y z", "x y"], 2) == pytest.approx(2 / 3)
    assert distinct_ngrams(["x"], 2) == 0
    assert ngram_entropy(["a a a a"]) == 0
    assert ngram_entropy(["a b c d e f g h"]) == pytest.approx(3)
    assert ngram_entropy([""]) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: vendi_score([[1, 0], [0, 0]]), "row 1 is zero"),
        (lambda: vendi_score([[1, 0]], -1), "order is -1"),
        (lambda: vendi_score([[1, 0]], math.nan), "order is nan"),
        (lambda: vendi_score(np.empty((0, 2))), "give \\(n, d\\)"),
        (lambda: neighbour_distances([[1.0], [2.0]], 2), "k is 2 for 2 rows"),
        (lambda: distinct_texts([]), "no texts"),
        (lambda: ngram_entropy(["a"], 0), "n is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
