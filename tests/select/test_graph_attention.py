import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.measure import attention_graph as edges
from samplewise.select.allocation import quotas
from samplewise.select.graph_attention import (
    GraphAttention,
    Layer,
    Seen,
    Wiring,
    attend,
    attention_of,
    best_of_classes,
    cover,
    fit,
    forward,
    held_out,
    importance,
    make_layers,
)

GRAPHS = ("dmb", "sl-hash", "ml-hash", "mv-hash", "chunk", "knn", "full")
FAST = {"epochs": 3, "hidden": 4, "heads": 2, "output_heads": 2}


def blobs(rows=90, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    X = 4 * rng.normal(size=(classes, 4))[y] + rng.normal(size=(rows, 4))
    return edges.scale(X.astype(np.float32)), y


def random_graph(rows, seed=0, pairs=None):
    rng = np.random.default_rng(seed)
    count = 3 * rows if pairs is None else pairs
    first, second = rng.integers(0, rows, (2, count))
    apart = first != second
    return edges.join([(first[apart], second[apart])], rows)


def complete(rows):
    return edges.join([np.triu_indices(rows, 1)], rows)


def star(leaves):
    return edges.join([(np.zeros(leaves, np.int64), np.arange(1, leaves + 1))], leaves + 1)


def network(dimensions, classes, seed=0, **knobs):
    generator = torch.Generator().manual_seed(seed)
    return make_layers(dimensions, classes, GraphAttention(**knobs), generator)


def flat(layers):
    """Give the same network with u = v = 0: all neighbours get the same attention."""
    return [Layer(one.weight, 0 * one.receive, 0 * one.send) for one in layers]


# --- attention and importance ---------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_a_row_pays_sums_to_one(depth):
    rows = 40
    graph, (X, _) = random_graph(rows), blobs(40)
    layers, wiring = network(X.shape[1], 3, layers=depth), Wiring.of(graph)
    x = torch.from_numpy(X.astype(np.float64))
    for layer in layers:
        z = torch.einsum("nd,dhf->nhf", x, layer.weight)
        out, alpha = attend(z, layer, wiring, wiring.blocks[0])
        paid = torch.zeros(rows, alpha.shape[1], dtype=x.dtype)
        paid.index_add_(0, wiring.receivers, alpha)
        torch.testing.assert_close(paid, torch.ones_like(paid), rtol=0, atol=1e-12)
        x = torch.nn.functional.elu(out.flatten(1))
    # All that is paid to others is n less what rows pay to themselves.
    _, every = forward(torch.from_numpy(X), layers, wiring)
    own = every[wiring.receivers == wiring.senders].numpy()
    attention, _ = attention_of(X, graph, layers)
    assert importance(attention, graph).sum() == pytest.approx(rows - own.sum(), abs=1e-10)


def test_uniform_attention_follows_from_the_graph_alone():
    graph, (X, _) = random_graph(50), blobs(50)
    attention, _ = attention_of(X, graph, flat(network(X.shape[1], 3)))
    expected = np.zeros(50)
    for i, j in zip(graph.receivers, graph.senders, strict=True):
        expected[j] += 1 / (np.count_nonzero(graph.receivers == i) + 1)
    np.testing.assert_allclose(importance(attention, graph), expected, atol=1e-12)


def test_complete_graph_and_star_with_uniform_attention():
    X, _ = blobs(8)
    layers = flat(network(X.shape[1], 3))
    found = importance(attention_of(X, complete(8), layers)[0], complete(8))
    np.testing.assert_allclose(found, 7 / 8, atol=1e-12)
    found = importance(attention_of(X, star(7), layers)[0], star(7))
    np.testing.assert_allclose(found, [7 / 2] + [1 / 8] * 7, atol=1e-12)


def test_the_other_ways_to_count_on_a_star():
    graph = star(3)
    attention = np.array([0.5, 0.3, 0.1, 0.2, 0.4, 0.6])  # of the centre, then of each leaf
    found = {rule: importance(attention, graph, rule) for rule in ("sum", "mean", "max", "entropy")}
    np.testing.assert_allclose(found["sum"], [1.2, 0.5, 0.3, 0.1])
    np.testing.assert_allclose(found["mean"], [0.4, 0.5, 0.3, 0.1])
    np.testing.assert_allclose(found["max"], [0.6, 0.5, 0.3, 0.1])
    shares = np.array([0.2, 0.4, 0.6]) / 1.2
    np.testing.assert_allclose(found["entropy"], [-(shares * np.log(shares)).sum(), 0, 0, 0])


def test_rows_without_neighbours_are_worth_nothing_and_have_a_class_all_the_same():
    graph = edges.join([(np.array([0]), np.array([1]))], 4)
    X, _ = blobs(4)
    attention, odds = attention_of(X, graph, network(X.shape[1], 2))
    assert np.isfinite(attention).all()
    np.testing.assert_allclose(odds.sum(axis=1), 1)
    for rule in ("sum", "mean", "max", "entropy"):
        assert importance(attention, graph, rule)[2:].tolist() == [0, 0]


def test_permuted_rows_have_permuted_importance():
    (X, _), graph = blobs(60), random_graph(60)
    layers = network(X.shape[1], 3)
    to = np.random.default_rng(1).permutation(60)  # row i moves to place to[i]
    moved = np.empty_like(X)
    moved[to] = X
    other = edges.join([(to[graph.receivers], to[graph.senders])], 60)
    for rule in ("sum", "mean", "max", "entropy"):
        here = importance(attention_of(X, graph, layers)[0], graph, rule)
        there = importance(attention_of(moved, other, layers)[0], other, rule)
        np.testing.assert_allclose(there[to], here, atol=1e-12)


# --- the network ----------------------------------------------------------------------------------


def dense(x, layers, graph):
    """Compute the network with matrices of all pairs: logits and mean attention."""
    rows = graph.rows
    joined = np.eye(rows, dtype=bool)
    joined[graph.receivers, graph.senders] = True
    attention = np.zeros((rows, rows))
    for layer in layers:
        weight, receive, send = (part.numpy() for part in layer)
        outs = []
        for head in range(weight.shape[1]):
            z = x @ weight[:, head]
            scores = (z @ receive[head])[:, None] + (z @ send[head])[None]
            scores = np.where(scores > 0, scores, 0.2 * scores)
            odds = np.where(joined, np.exp(scores - scores.max()), 0)
            alpha = odds / odds.sum(axis=1, keepdims=True)
            attention += alpha / (weight.shape[1] * len(layers))
            outs.append(alpha @ z)
        out = np.concatenate(outs, axis=1)
        x = np.where(out > 0, out, np.expm1(out))
    return np.mean(outs, axis=0), attention


@pytest.mark.parametrize("most", [1, 7, 1_000])
@pytest.mark.parametrize("depth", [1, 2])
def test_equal_to_a_dense_masked_softmax(most, depth):
    (X, _), graph = blobs(30), random_graph(30)
    layers = network(X.shape[1], 3, layers=depth)
    logits, attention = dense(X.astype(np.float64), layers, graph)
    wiring = Wiring.of(graph, most)
    edges_of_a_block = [end - start for _, _, start, end in wiring.blocks]
    assert sum(edges_of_a_block) == len(wiring.receivers)
    assert max(edges_of_a_block) < most + (graph.degrees.max() + 1)
    assert [block[0] for block in wiring.blocks][1:] == [block[1] for block in wiring.blocks][:-1]
    found, paid = forward(torch.from_numpy(X), layers, wiring)
    np.testing.assert_allclose(found, logits, atol=1e-10)
    np.testing.assert_allclose(paid, attention[wiring.receivers, wiring.senders], atol=1e-10)


def test_large_scores_do_not_overflow():
    (X, _), graph = blobs(12), random_graph(12)
    layers = [Layer(one.weight, 1e4 * one.receive, 1e4 * one.send) for one in network(4, 3)]
    attention, odds = attention_of(X, graph, layers)
    assert np.isfinite(attention).all()
    assert np.isfinite(odds).all()


def test_gradients_by_finite_differences_on_five_rows():
    (X, y), graph = blobs(5), random_graph(5, pairs=6)
    layers, wiring = network(X.shape[1], 3, hidden=3, heads=2, output_heads=2), Wiring.of(graph)
    parts = [part.requires_grad_() for layer in layers for part in layer]

    def loss(*parts):
        remade = [Layer(*parts[at : at + 3]) for at in range(0, len(parts), 3)]
        logits, _ = forward(torch.from_numpy(X), remade, wiring)
        return torch.nn.functional.cross_entropy(logits, torch.from_numpy(y))

    assert torch.autograd.gradcheck(loss, parts, eps=1e-6, atol=1e-7)


def test_a_network_learns_what_can_be_learnt():
    X, y = blobs(150)
    knobs, rng = GraphAttention(), np.random.default_rng(0)
    graph = knobs.build(X, y, rng)
    fitted = fit(X, y, graph, knobs, rng)
    assert fitted.accuracy > 0.9
    assert fitted.epochs <= 60
    probabilities = attention_of(X, graph, fitted.layers)[1]
    assert (probabilities.argmax(axis=1) == y).mean() > 0.9


def test_training_ends_where_it_no_longer_improves():
    X, y = blobs(40)
    y = np.random.default_rng(3).permutation(y)  # nothing to learn
    knobs = GraphAttention(patience=2, epochs=200, rate=0.1)
    assert fit(X, y, random_graph(40), knobs, np.random.default_rng(0)).epochs < 100


def test_training_leaves_the_state_of_torch_alone():
    X, y = blobs(40)
    torch.manual_seed(7)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
    fit(X, y, random_graph(40), GraphAttention(**FAST), np.random.default_rng(0))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.get_default_dtype()) == before[1:]


def test_the_number_of_threads_changes_nothing():
    X, y = blobs(400)
    pool = sw.Pool.from_arrays(X, y=[f"class {one}" for one in y])
    threads = torch.get_num_threads()
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(sw.select(pool, 40, "graph-attention", rng=0, epochs=6))
    torch.set_num_threads(threads)
    assert np.array_equal(found[0].indices, found[1].indices)
    assert np.array_equal(*(one.columns["importance"] for one in found))


def test_a_tenth_of_every_class_is_held_out():
    classes = np.repeat([0, 1, 2], [40, 12, 3])
    held = held_out(classes, np.random.default_rng(0))
    assert np.bincount(classes[held], minlength=3).tolist() == [4, 1, 0]


# --- which rows -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.floats(0, 1))
@settings(max_examples=100)
def test_quotas_sum_to_the_budget_and_leave_no_class_empty(sizes, share):
    sizes = np.array(sizes)
    n = round(share * sizes.sum())
    counts = quotas(sizes, n)
    assert counts.sum() == n
    assert (counts <= sizes).all()
    assert (counts >= 0).all()
    if n >= np.count_nonzero(sizes):
        assert (counts[sizes > 0] >= 1).all()


def test_best_of_classes_by_brute_force():
    rng = np.random.default_rng(0)
    worth, classes = rng.integers(0, 5, 50) / 4, rng.integers(0, 3, 50)
    counts = quotas(np.bincount(classes), 20)
    wanted = []
    for number, count in enumerate(counts):
        rows = [row for row in range(50) if classes[row] == number]
        wanted += sorted(rows, key=lambda row: (-worth[row], row))[:count]
    found = best_of_classes(worth, classes, counts).tolist()
    assert found == sorted(wanted, key=lambda row: (-worth[row], row))


def test_coverage_by_brute_force():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 40)
    looks = [(graph := random_graph(40, seed), rng.random(len(graph.senders))) for seed in (1, 2)]
    counts = quotas(np.bincount(y), 15)
    found = cover(looks, y, counts).tolist()
    left, chosen = counts.copy(), []
    for row in found:
        gains = np.full(40, -1.0)
        for j in set(range(40)) - set(chosen):
            if not left[y[j]]:
                continue
            gains[j] = 0
            for graph, paid in looks:
                table = np.zeros((40, 40))
                table[graph.receivers, graph.senders] = paid
                served = table[:, chosen].max(axis=1, initial=0)
                gain = np.maximum(table[:, j] - served, 0)
                gain[chosen] = 0  # they need no other
                gains[j] += gain.sum()
        assert gains[row] >= gains.max() - 1e-9
        chosen.append(row)
        left[y[row]] -= 1
    assert left.sum() == 0


def test_coverage_of_ties_takes_the_lowest_index_and_goes_on_without_gains():
    graph = complete(6)
    attention = np.full(len(graph.senders), 1 / 6)
    zeros = np.zeros(6, np.int64)
    assert cover([(graph, attention)], zeros, np.array([6])).tolist() == list(range(6))


def test_attention_of_other_classes_does_not_count():
    y = np.array([0, 0, 1, 1])
    graph = complete(4)
    seen = Seen(graph, np.full(len(graph.senders), 0.25), np.ones(4), 1.0)
    within = seen.within(y)
    assert within.graph.receivers.tolist() == [0, 1, 2, 3]
    assert within.graph.senders.tolist() == [1, 0, 3, 2]
    for same, worth in ((True, 0.25), (False, 0.75)):
        knobs = GraphAttention(aggregation="sum", same_class=same)
        assert knobs.pick([seen], y, 2)[1].tolist() == [worth] * 4


def test_one_batch_and_one_round_is_the_graph_of_all_pairs():
    X, y = blobs(80)
    made = [
        GraphAttention(graph=graph, batch=80, rounds=1, bits=0).build(
            X, y, np.random.default_rng(seed)
        )
        for seed, graph in enumerate(("full", "dmb", "sl-hash"))
    ]
    for one in made[1:]:
        assert np.array_equal(one.receivers, made[0].receivers)
        assert np.array_equal(one.senders, made[0].senders)


def test_every_graph_has_the_parts_that_its_knobs_ask_for():
    X, y = blobs(120)
    count = {}
    for graph, knob, few, many in (
        ("dmb", "rounds", 1, 4),
        ("ml-hash", "levels", 1, 3),
        ("mv-hash", "views", 1, 4),
    ):
        for value in (few, many):
            made = GraphAttention(graph=graph, combine="union", batch=40, **{knob: value})
            rng = np.random.default_rng(0)
            views = made._views(X.shape[1], rng)[0]
            count[graph, value] = len(made.build(X, y, rng, views).receivers)
        assert count[graph, many] > count[graph, few]


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_graph_chooses_exactly_the_budget(graph):
    X, y = blobs()
    pool = sw.Pool.from_arrays(X, y=[f"class {one}" for one in y])
    for n in (1, 9, 90):
        selection = sw.select(pool, n, "graph-attention", rng=0, graph=graph, **FAST)
        assert len(np.unique(selection.indices)) == n
        if n == 9:
            assert np.bincount(y[selection.indices]).tolist() == [3, 3, 3]
        assert (selection.columns["neighbours"] > 0).any()
    assert sorted(selection.indices.tolist()) == list(range(90))


@pytest.mark.parametrize("aggregation", ["sum", "mean", "max", "entropy", "confidence"])
def test_every_aggregation_takes_the_rows_that_are_worth_most(aggregation):
    X, y = blobs()
    pool = sw.Pool.from_arrays(X, y=[f"class {one}" for one in y])
    knobs = {"aggregation": aggregation, "rng": 0, **FAST}
    selection = sw.select(pool, 12, "graph-attention", **knobs)
    found = selection.columns["importance"]
    wanted = [row for c in range(3) for row in sorted(range(c, 90, 3), key=lambda r: -found[r])[:4]]
    assert selection.indices.tolist() == sorted(sorted(wanted), key=lambda row: -found[row])
    assert np.isfinite(found).all()
    assert len(np.unique(found)) > 30
    if aggregation == "confidence":
        assert found.min() >= 0
        assert found.max() <= 1


def test_views_by_rank_and_by_union():
    X, y = blobs()
    pool = sw.Pool.from_arrays(X, y=[f"class {one}" for one in y])
    found = {}
    for combine in ("ranks", "union"):
        knobs = {"graph": "mv-hash", "combine": combine, "rng": 0, **FAST}
        found[combine] = sw.select(pool, 12, "graph-attention", **knobs).columns["importance"]
    assert 0 < found["ranks"].min() < found["ranks"].max() <= 1
    assert found["ranks"].mean() == pytest.approx((90 + 1) / 2 / 90)
    assert found["union"].max() > 1


def test_without_a_quota_the_most_important_rows_of_all_are_taken():
    X, y = blobs()
    pool = sw.Pool.from_arrays(X, y=[f"class {one}" for one in y])
    knobs = {"quota": False, "aggregation": "sum", **FAST}
    found = sw.select(pool, 10, "graph-attention", rng=0, **knobs)
    worth = found.columns["importance"]
    assert found.indices.tolist() == np.argsort(-worth, kind="stable")[:10].tolist()


def test_one_class_needs_no_network_and_gives_hubs(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    X, _ = blobs(50)
    pool = sw.Pool.from_arrays(X, y=["same"] * 50)
    for aggregation in ("sum", "confidence", "coverage"):
        knobs = {"graph": "full", "aggregation": aggregation}
        found = sw.select(pool, 5, "graph-attention", rng=0, **knobs)
        graph = GraphAttention(graph="full").build(X, np.zeros(50, int), np.random.default_rng(0))
        hubs = np.zeros(50)
        np.add.at(hubs, graph.senders, 1 / (graph.degrees[graph.receivers] + 1))
        np.testing.assert_allclose(found.columns["importance"], hubs, atol=1e-9)


def test_without_pytorch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    pool = sw.Pool.from_arrays(np.eye(4), y=["a", "a", "b", "b"])
    with pytest.raises(UsageError, match=r"pip install 'samplewise\[torch\]'"):
        sw.select(pool, 2, "graph-attention")


def test_rows_without_a_label_are_a_class_of_their_own():
    X, y = blobs(60, 2)
    labels = [None if row % 5 == 0 else f"class {one}" for row, one in enumerate(y)]
    pool = sw.Pool.from_arrays(X, y=labels)
    found = sw.select(pool, 10, "graph-attention", rng=0, **FAST)
    unlabelled = np.array([label is None for label in labels])
    assert np.count_nonzero(unlabelled[found.indices]) == 2
    assert (found.columns["class"] == -1).tolist() == unlabelled.tolist()


def test_a_class_of_one_row_is_kept():
    X, y = blobs(61, 2)
    labels = ["rare" if row == 60 else f"class {one}" for row, one in enumerate(y)]
    found = sw.select(sw.Pool.from_arrays(X, y=labels), 3, "graph-attention", rng=0, **FAST)
    assert 60 in found.indices


def test_a_large_pool_is_learnt_from_a_sample():
    X, y = blobs(400)
    pool = sw.Pool.from_arrays(X, y=[f"class {one}" for one in y])
    part, whole = (
        sw.select(pool, 40, "graph-attention", rng=0, train_rows=rows) for rows in (100, 400)
    )
    worth = [one.columns["importance"] for one in (part, whole)]
    assert not np.array_equal(*worth)
    assert np.corrcoef(*worth)[0, 1] > 0.8  # hubs are hubs
    many = sw.Pool.from_arrays(X, y=[f"class {row % 100}" for row in range(400)])
    assert len(sw.select(many, 100, "graph-attention", rng=0, train_rows=2, **FAST)) == 100


def test_what_a_pool_may_not_have():
    many = sw.Pool.from_arrays(np.eye(2)[np.arange(1_001) % 2], y=[str(i) for i in range(1_001)])
    with pytest.raises(InputError, match="at most 1,000 classes"):
        sw.select(many, 5, "graph-attention")
    long = sw.Pool.from_arrays(np.eye(2)[np.arange(2_049) % 2], y=["a"] * 2_049)
    with pytest.raises(UsageError, match="'full'.*2,049 rows"):
        sw.select(long, 5, "graph-attention", graph="full")


@pytest.mark.parametrize(
    "knobs",
    [
        {"graph": "circle"},
        {"aggregation": "least"},
        {"similarity": "jaccard"},
        {"combine": "sum"},
        {"batch": 1},
        {"rounds": 0},
        {"bits": 63},
        {"levels": 16},
        {"neighbours": 0},
        {"percentile": 1.0},
        {"percentile": float("nan")},
        {"dropout": -0.1},
        {"rate": 0.0},
        {"epochs": 0},
        {"train_rows": 1},
    ],
    ids=str,
)
def test_knobs_are_checked(knobs):
    with pytest.raises(UsageError, match=f"graph-attention: knob '{next(iter(knobs))}'"):
        GraphAttention(**knobs)
