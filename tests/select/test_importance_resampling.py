import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import chisquare

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.select.importance_resampling import (
    ImportanceResampling,
    hash_words,
    log_importance,
)

HASHES = [7608, 4050, 6480, 8430, 1230]


def grams(text, ngrams):
    words = re.findall(r"[\w]+|[^\w\s]+", text.lower())
    return [
        " ".join(words[at : at + length])
        for length in range(1, ngrams + 1)
        for at in range(len(words) - length + 1)
    ]


def texts_pool(texts):
    return sw.Pool.from_rows([{"text": text} for text in texts])


@settings(max_examples=60)
@given(st.lists(st.text(alphabet="abAB_1 .!?\t", max_size=20), min_size=1), st.integers(1, 3))
def test_hashes_tell_the_same_words_apart_as_a_dictionary(texts, ngrams):
    """With buckets enough, rows have equal bags of hashes where they have equal bags of words."""
    found = hash_words(pa.array(texts), ngrams, 2**31 - 1)
    assert found.shape == (len(texts), 2**31 - 1)
    names = {}
    for row, text in enumerate(texts):
        buckets = Counter(found.indices[found.indptr[row] : found.indptr[row + 1]].tolist())
        words = Counter(grams(text, ngrams))
        assert sorted(buckets.values()) == sorted(words.values())
        key = frozenset(words.items())
        assert names.setdefault(key, buckets) == buckets
    assert len({frozenset(bag.items()) for bag in names.values()}) == len(names)


def test_hashes_stay_as_they_are():
    """A changed hash would change what every seed chooses."""
    found = hash_words(pa.array(["the cat."]), 2, 10_000)
    assert found.indices.tolist() == HASHES
    assert hash_words(pa.array(["x", "the cat."])[1:], 2, 10_000).indices.tolist() == HASHES
    assert hash_words(pa.array([""]), 2, 10).nnz == 0


def test_hashes_fill_the_buckets_evenly():
    words = " ".join(f"w{i}" for i in range(50_000))
    counts = np.bincount(hash_words(pa.array([words]), 1, 100).indices, minlength=100)
    assert chisquare(counts).pvalue > 1e-3


def test_letters_of_other_scripts_and_cases_count():
    one, other = hash_words(pa.array(["Größe GRÖSSE", "größe grösse"]), 2, 10_000).toarray()
    assert one.tolist() == other.tolist()
    assert one.sum() == 3


def test_importance_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    own, wanted = rng.integers(0, 3, (6, 9)), rng.integers(0, 3, (4, 9))
    p, q = wanted.sum(axis=0) / wanted.sum(), own.sum(axis=0) / own.sum()
    expected = [
        sum(c * np.log((p[w] + 0.01) / (q[w] + 0.01)) for w, c in enumerate(r)) for r in own
    ]
    found = log_importance(csr_array(own), csr_array(wanted), 0.01)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_target_with_the_pools_words_gives_any_row_the_same_odds():
    texts = ["red cat", "blue sea", "green hill", "red sea"]
    pool = texts_pool(texts).with_target(texts_pool(texts[::-1]))
    columns = sw.select(pool, 2, "dsir", rng=0).columns
    np.testing.assert_allclose(columns["log_importance"], 0, atol=1e-9)
    first = [int(sw.select(pool, 1, "dsir", rng=seed).indices[0]) for seed in range(200)]
    assert chisquare(np.bincount(first, minlength=4)).pvalue > 1e-3


def test_the_first_row_is_drawn_by_its_importance():
    pool = texts_pool(["a"] * 2 + ["b"] * 2).with_target(texts_pool(["a", "a", "a", "b"]))
    first = [int(sw.select(pool, 1, "dsir", rng=seed).indices[0]) for seed in range(300)]
    drawn = np.bincount(first, minlength=4)
    # p_target / p_pool is 3/2 for "a" and 1/2 for "b": odds of 3 to 1.
    assert chisquare(drawn, 300 * np.array([3, 3, 1, 1]) / 8).pvalue > 1e-3


def test_rows_with_the_targets_words_are_found():
    rng = np.random.default_rng(0)
    topics = [[f"{topic}{i}" for i in range(30)] for topic in "ab"]
    draw = lambda topic: " ".join(rng.choice(topics[topic], 12))  # noqa: E731
    pool = texts_pool([draw(row >= 950) for row in range(1_000)])
    pool = pool.with_target(texts_pool([draw(1) for _ in range(50)]))
    assert sw.select(pool, 50, "dsir", rng=0).indices.min() >= 950


def test_rows_without_text_are_refused():
    vectors = sw.Pool.from_arrays(np.eye(3), name="vectors")
    for pool, what in (
        (vectors.with_target(texts_pool(["a"])), "pool"),
        (texts_pool(["a", "b"]).with_target(vectors), "target"),
    ):
        with pytest.raises(InputError, match=f"vectors: dsir needs texts.* {what} have none"):
            sw.select(pool, 1, "dsir")


@pytest.mark.parametrize("knobs", [{"ngrams": 0}, {"buckets": 2**31}, {"smoothing": 0.0}])
def test_knobs_are_checked(knobs):
    with pytest.raises(UsageError, match=f"knob '{next(iter(knobs))}'"):
        ImportanceResampling(**knobs)
