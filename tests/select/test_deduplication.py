import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.select import deduplication
from samplewise.select.deduplication import (
    Dedup,
    Sets,
    band_keys,
    link_sets,
    near_duplicates,
    shingle_sets,
)


def components(linked):
    """Group rows by union-find over a matrix of links, numbered by first appearance."""
    parent = list(range(len(linked)))

    def find(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i, j in zip(*np.nonzero(np.triu(linked, 1)), strict=True):
        one, other = find(i), find(j)
        parent[max(one, other)] = min(one, other)
    names = {}
    return [names.setdefault(find(i), len(names)) for i in range(len(linked))]


def words_of(text, size):
    words = text.split()
    return {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def jaccard(one, other):
    return len(one & other) / len(one | other)


def pool_of(texts, **columns):
    return sw.Pool.from_arrays(None, None, texts, columns.get("score"))


def edited_texts(seed, count=60):
    """Make texts of which many are earlier ones with a few words replaced."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        words = [f"w{i}" for i in rng.integers(0, 500, int(rng.integers(20, 60)))]
        if texts and rng.random() < 0.7:
            words = texts[int(rng.integers(len(texts)))].split()
            for place in rng.integers(0, len(words), int(rng.integers(0, 4))):
                words[place] = f"w{rng.integers(0, 500)}"
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_groups_are_those_of_all_pairs(seed, threshold, monkeypatch):
    monkeypatch.setattr(deduplication, "_MISSED", 1e-6)
    texts = edited_texts(seed)
    sets = [words_of(text, 2) for text in texts]
    linked = np.array([[jaccard(a, b) >= threshold for b in sets] for a in sets])
    found = near_duplicates(pool_of(texts), threshold=threshold, shingle=2, permutations=256)
    assert found.tolist() == components(linked)
    assert 1 < len(set(found.tolist())) < len(texts)


def test_a_pair_is_a_candidate_as_often_as_the_bands_say():
    rng = np.random.default_rng(0)
    b, r = deduplication.bands_for(0.8, 128)
    pairs, shared, own = 1_000, 50, 25  # Jaccard 50 / 100
    values = []
    for _ in range(pairs):
        numbers = np.unique(rng.integers(0, 2**32, 2_000, dtype=np.uint32))[::10]
        numbers = rng.permutation(numbers)[: shared + 2 * own]
        values.append(np.sort(numbers[: shared + own]))
        values.append(np.sort(np.concatenate([numbers[:shared], numbers[shared + own :]])))
    sets = Sets(np.concatenate(values), np.arange(2 * pairs + 1) * (shared + own))
    keys = band_keys(sets, np.arange(2 * pairs), 0.8, 128, seed=3)
    assert keys.shape == (b, 2 * pairs)
    same = keys[:, ::2] == keys[:, 1::2]
    odds = 0.5**r
    # All pairs share the permutations, but not their numbers: the pairs are nearly independent.
    hit = 1 - (1 - odds) ** b
    assert abs(same.any(axis=0).mean() - hit) < 5 * np.sqrt(hit * (1 - hit) / pairs)
    assert abs(same.mean() - odds) < 5 * np.sqrt(odds * (1 - odds) / same.size)


@given(st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=25))
@settings(max_examples=40)
def test_no_link_is_false_and_equal_sets_are_one(sets):
    values = np.concatenate([np.sort(np.array(list(one), np.uint32)) for one in sets])
    starts = np.concatenate([[0], np.cumsum([len(one) for one in sets])])
    parent = link_sets(Sets(values, starts), 0.6, 64, seed=0)
    roots = deduplication._kernels().roots(parent)
    group = components(np.array([[jaccard(a, b) >= 0.6 for b in sets] for a in sets]))
    for i in range(len(sets)):
        for j in range(i):
            if sets[i] == sets[j]:
                assert roots[i] == roots[j]
            if roots[i] == roots[j]:
                assert group[i] == group[j]


@pytest.mark.parametrize("threshold", [0.6, 0.95, 1.0])
@pytest.mark.parametrize("block", [16, 1_024])
def test_groups_by_vectors_are_those_of_all_pairs(threshold, block, monkeypatch):
    monkeypatch.setattr(deduplication, "_BLOCK", block)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6))[rng.integers(0, 40, 150)]
    X[75:] += rng.choice([0, 0.1, 0.5], (75, 1)) * rng.normal(size=(75, 6))
    X *= rng.uniform(0.5, 3, (150, 1))
    X[[3, 77]] = 0  # like nothing, not even each other
    pool = sw.Pool.from_arrays(X.astype(np.float32))
    lengths = np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-30)
    cosines = (X / lengths) @ (X / lengths).T
    found = near_duplicates(pool, by="embedding", threshold=threshold)
    assert found.tolist() == components(cosines >= threshold - 1e-6)


def test_case_and_signs_do_not_count_and_other_scripts_do():
    texts = [
        "To be, or NOT to be!",
        "to be or not to be",
        "今日は",
        "今日は",
        "明日は",
        "!?",
        "...",
        "",
    ]
    assert near_duplicates(pool_of(texts[:-1])).tolist() == [0, 0, 1, 1, 2, 3, 4]
    sets = shingle_sets(iter([["", " ", "a b", "a b c d"]]), 3)
    assert np.diff(sets.starts).tolist() == [1, 1, 1, 2]
    characters = shingle_sets(iter([["abcd", "ab", "aaaa"]]), 3, "characters")
    assert np.diff(characters.starts).tolist() == [2, 1, 1]


def test_hashes_are_the_same_for_ever():
    sets = shingle_sets(iter([["one two three four"]]), 3)
    assert sets.values.tolist() == EXPECTED_HASHES


EXPECTED_HASHES = [1535645094, 2593373594]


def test_no_row_is_taken_twice_before_every_group_has_given_one():
    texts = ["a a a"] * 5 + ["b b b"] * 3 + ["c c c"]
    chosen = sw.select(pool_of(texts), 9, "dedup", rng=1).indices
    letters = [texts[row][0] for row in chosen]
    assert sorted(letters[:3]) == ["a", "b", "c"]
    assert sorted(letters[3:5]) == ["a", "b"]
    assert sorted(letters[5:7]) == ["a", "b"]
    assert letters[7:] == ["a", "a"]
    selection = sw.select(pool_of(texts), 2, "dedup", rng=1)
    assert selection.columns["group"].tolist() == [0] * 5 + [1] * 3 + [2]
    assert selection.columns["duplicate_of"].tolist() == [-1, 0, 0, 0, 0, -1, 5, 5, -1]


def test_the_best_row_stands_for_its_group_and_order_may_go_by_score():
    texts, score = ["a", "b", "a", "c", "b"], [1.0, 5.0, 3.0, 2.0, 5.0]
    selection = sw.select(pool_of(texts, score=score), 5, "dedup", order="score")
    assert selection.indices.tolist() == [1, 2, 3, 4, 0]
    assert selection.columns["duplicate_of"].tolist() == [2, -1, -1, -1, 1]
    firsts = {
        tuple(sw.select(pool_of(texts, score=score), 3, "dedup", rng=seed).indices.tolist())
        for seed in range(8)
    }
    assert {tuple(sorted(one)) for one in firsts} == {(1, 2, 3)}
    assert len(firsts) > 1


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.8, 0.99])
@pytest.mark.parametrize("permutations", [2, 16, 128])
def test_bands_are_as_long_as_few_links_are_missed(threshold, permutations):
    b, r = deduplication.bands_for(threshold, permutations)
    assert 1 <= b * r <= permutations
    assert (1 - threshold**r) ** b <= 0.01 or r == 1
    longer = permutations // (r + 1)
    assert longer == 0 or (1 - threshold ** (r + 1)) ** longer > 0.01


def test_a_large_bucket_of_copies_is_quick_to_join():
    rng = np.random.default_rng(0)
    base = [f"w{i}" for i in range(100)]
    texts = [" ".join([*base, f"own{i}"]) for i in range(3_000)]
    assert near_duplicates(pool_of(texts), rng=rng).max() == 0


def test_datasketch_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(UsageError, match=r"samplewise\[dedup\]"):
        sw.select(pool_of(["a", "b"]), 1, "dedup")
    X = sw.Pool.from_arrays(np.eye(3))
    assert len(sw.select(X, 2, "dedup", by="embedding")) == 2


def test_what_is_compared_must_be_there():
    vectors = sw.Pool.from_arrays(np.eye(3))
    with pytest.raises(InputError, match="by=embedding"):
        sw.select(vectors, 1, "dedup")
    with pytest.raises(InputError, match="the rows have none"):
        near_duplicates(vectors)
    with pytest.raises(InputError, match="embeddings"):
        near_duplicates(pool_of(["a"]), by="embedding")
    with pytest.raises(InputError, match="score"):
        sw.select(pool_of(["a"]), 1, "dedup", order="score")


@pytest.mark.parametrize(
    "knobs",
    [
        {"by": "sound"},
        {"threshold": 0.0},
        {"threshold": 1.1},
        {"threshold": float("nan")},
        {"shingle": 0},
        {"unit": "bytes"},
        {"permutations": 1},
        {"order": "line"},
    ],
)
def test_knobs_are_checked(knobs):
    with pytest.raises(UsageError, match=f"knob '{next(iter(knobs))}'"):
        Dedup(**knobs)
