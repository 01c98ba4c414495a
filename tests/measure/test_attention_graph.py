import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.measure import attention_graph as edges
from samplewise.measure.attention_graph import Rule


def points(seed, rows=60, dimensions=5):
    return np.random.default_rng(seed).random((rows, dimensions)).astype(np.float32)


def pairs(graph):
    return set(zip(graph.receivers.tolist(), graph.senders.tolist(), strict=True))


def graph_of(X, parts, rule):
    return edges.join(edges.pairs_of_parts(X, parts, rule), len(X))


def similarities(X, kind):
    X = X.astype(np.float64)
    if kind == "cosine":
        unit = X / np.linalg.norm(X, axis=1, keepdims=True)
        return unit @ unit.T
    power = 2 if kind == "euclidean" else 1
    distance = np.linalg.norm(X[:, None] - X[None], ord=power, axis=2)
    return 1 / (1 + distance)


@pytest.mark.parametrize("kind", ["euclidean", "manhattan", "cosine"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_pairs_above_the_quantile_of_similarity(kind, share):
    X = points(1)
    like = similarities(X, kind)
    first, second = np.triu_indices(len(X), 1)
    above = like[first, second] > np.quantile(like[first, second], share)
    wanted = set(zip(first[above].tolist(), second[above].tolist(), strict=True))
    found = edges.pairs_within(X, Rule(kind, share))
    assert set(zip(*(side.tolist() for side in found), strict=True)) == wanted


@pytest.mark.parametrize("kind", ["euclidean", "manhattan", "cosine"])
def test_nearest_neighbours_by_brute_force(kind):
    X = points(2)
    like = similarities(X, kind)
    np.fill_diagonal(like, -np.inf)
    near = np.argsort(-like, axis=1)[:, :4]
    wanted = {(i, int(j)) for i in range(len(X)) for j in near[i]}
    wanted |= {(j, i) for i, j in wanted}
    rule = Rule(kind, neighbours=4)
    assert pairs(graph_of(X, [np.arange(len(X))], rule)) == wanted
    assert pairs(edges.nearest_graph(X, rule)) == wanted


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 3))
@settings(max_examples=40)
def test_a_graph_is_symmetric_ordered_and_without_loops(seed, rows, kind):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, (rows, 2)).astype(np.float32)  # many ties
    classes = rng.integers(0, 3, rows)
    parts = [
        edges.batches(classes, 7, rng),
        edges.chunks(rows, 7, rng),
        edges.buckets(edges.bit_codes(X, edges.directions(2, 2, rng)), 7, rng),
        [np.arange(rows)],
    ][kind]
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    assert max(map(len, parts)) <= (rows if kind == 3 else 7)
    graph = graph_of(X, parts, Rule(percentile=0.8))
    found = pairs(graph)
    assert found == {(j, i) for i, j in found}
    assert all(i != j for i, j in found)
    assert len(found) == len(graph.receivers)
    assert (np.diff(graph.receivers * rows + graph.senders) > 0).all()
    assert graph.degrees.sum() == len(found)


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(2, 50))
@settings(max_examples=60)
def test_every_batch_holds_every_class_in_its_share(seed, rows, size):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 4, rows)
    dealt = edges.batches(classes, size, rng)
    assert len(dealt) == -(-rows // size)
    assert max(map(len, dealt)) <= size
    for number, total in enumerate(np.bincount(classes)):
        counts = np.array([np.count_nonzero(classes[part] == number) for part in dealt])
        assert np.abs(counts - total / len(dealt)).max() < 1


def test_no_bits_and_no_cap_is_the_graph_of_all_pairs():
    X, rule = points(3), Rule()
    rng = np.random.default_rng(0)
    codes = edges.bit_codes(X, edges.directions(0, X.shape[1], rng))
    assert (codes == 0).all()
    hashed = graph_of(X, edges.buckets(codes, len(X), rng), rule)
    assert pairs(hashed) == pairs(graph_of(X, [np.arange(len(X))], rule))


def test_rows_of_one_bucket_have_one_code():
    X = points(4, 300)
    codes = edges.bit_codes(X, edges.directions(4, X.shape[1], np.random.default_rng(0)))
    found = edges.buckets(codes, 300, np.random.default_rng(1))
    assert [len(np.unique(codes[rows])) for rows in found] == [1] * len(np.unique(codes))
    capped = edges.buckets(codes, 10, np.random.default_rng(1))
    assert max(map(len, capped)) <= 10
    assert all(len(np.unique(codes[rows])) == 1 for rows in capped)


def test_bits_are_equal_as_often_as_the_angle_says():
    # P(bit equal) = 1 - angle / pi, which is 2/3 at 60 degrees.
    angle = np.pi / 3
    X = np.array([[1, 0], [np.cos(angle), np.sin(angle)]], np.float32)
    X = np.concatenate([X, -X])  # the mean is zero
    rng, draws = np.random.default_rng(0), 20_000
    across = edges.directions(draws, 2, rng)
    equal = ((X[:2] @ across.T) > 0).astype(int)
    assert abs(np.mean(equal[0] == equal[1]) - 2 / 3) < 0.01
    codes = np.array([edges.bit_codes(X, part)[:2] for part in across.reshape(-1, 4, 2)])
    alike = np.mean(codes[:, 0] == codes[:, 1])
    assert abs(alike - (2 / 3) ** 4) < 0.02


def test_levels_are_put_together():
    # The graph of several levels is the union of theirs; meetings count the levels.
    X, rng, rule = points(5, 200), np.random.default_rng(0), Rule(percentile=0.8)
    parts = [
        edges.buckets(edges.bit_codes(X, edges.directions(bits, 5, rng)), 200, rng)
        for bits in (1, 2, 3)
    ]
    each = [pairs(graph_of(X, level, rule)) for level in parts]
    whole = graph_of(X, [rows for level in parts for rows in level], rule)
    assert pairs(whole) == set.union(*each)
    for i, j, met in zip(whole.receivers, whole.senders, whole.meetings, strict=True):
        assert met == sum((i, j) in level for level in each)


def test_rows_that_repeat_share_the_edges():
    # All 780 pairs are at distance 0: the edges go round the ring, and no row becomes a hub.
    graph = graph_of(np.ones((40, 3), np.float32), [np.arange(40)], Rule())
    assert len(graph.receivers) == 2 * (780 - int(0.97 * 780))
    assert graph.degrees.max() <= 2


def test_masked_pairs_are_left_out():
    X, rng = points(6, 50), np.random.default_rng(0)
    masked = rng.random(50 * 49 // 2) < 0.5
    first, second = (side[masked] for side in np.triu_indices(50, 1))
    left_out = set(zip(first.tolist(), second.tolist(), strict=True))
    for rule in (Rule(percentile=0.5), Rule(neighbours=30)):
        found = edges.pairs_within(X, rule, masked)
        kept = set(zip(*(side.tolist() for side in found), strict=True))
        assert kept
        assert not kept & left_out
    assert len(edges.pairs_within(X, Rule(), np.ones_like(masked))[0]) == 0


def test_columns_are_scaled_and_constant_ones_dropped():
    X = np.array([[1e38, 5, -3e38], [3e38, 5, 3e38]], np.float32)
    assert edges.scale(X).tolist() == [[0, 0], [1, 1]]
    assert edges.scale(np.ones((3, 2), np.float32)).tolist() == [[0], [0], [0]]
    wide = points(7, 70_000, 2) * 5 - 2  # more than one block
    low, high = wide.min(axis=0), wide.max(axis=0)
    np.testing.assert_allclose(edges.scale(wide), (wide - low) / (high - low), atol=1e-6)


def test_a_zero_vector_has_no_direction():
    X = np.array([[0, 0], [1, 0], [1, 0.1], [0, 1]], np.float32)
    found = edges.pairs_within(X, Rule("cosine", 0.9))
    assert [side.tolist() for side in found] == [[1], [2]]


@pytest.mark.parametrize("rows", [1, 2])
def test_the_smallest_pools(rows):
    X = points(8, rows)
    for rule in (Rule(), Rule(neighbours=5)):
        whole = pairs(graph_of(X, [np.arange(rows)], rule))
        assert len(whole) == 2 * (rows - 1)
        assert pairs(edges.nearest_graph(X, rule)) == whole


def test_edges_grow_with_the_rows_and_no_faster():
    def work(rows):
        X, rng = points(9, rows, 4), np.random.default_rng(0)
        parts = edges.batches(np.zeros(rows, np.int64), 128, rng)
        tracemalloc.start()
        graph = graph_of(X, parts, Rule())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return len(graph.receivers), peak

    work(128)  # loads what is loaded once
    (few, small), (many, large) = work(2_048), work(8_192)
    assert 3.9 < many / few < 4.1
    assert large < 4.5 * max(small, 1 << 20)
