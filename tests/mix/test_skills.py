import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samplewise.errors import UsageError
from samplewise.mix import Mixer, Sources, mix
from samplewise.mix.skill_graph import SkillGraph
from samplewise.mix.skills import (
    SkillIt,
    StratifiedSkills,
    skill_law,
    static_mixture,
    stratified_law,
)

LEGO = np.eye(5)
LEGO[1] = [0.5, 1, 0.5, 0.5, 0]  # the graph in the published script
STARTED = [0.1, 0.7, 0.7, 0.7, 0.7]
losses_of = st.integers(1, 6).flatmap(
    lambda rounds: arrays(np.float64, (rounds, 5), elements=st.floats(0, 20))
)


def begun(graph=LEGO, sizes=(40, 30, 20, 10, 50), rng=0, rank=0, world_size=1, **knobs):
    sources = Sources.of(list(sizes))
    return SkillIt(**knobs).start(sources, rng=rng, rank=rank, world_size=world_size, graph=graph)


# --- the law --------------------------------------------------------------------------------------


def test_lego_graph_of_the_published_script():
    stream = begun()
    np.testing.assert_allclose(stream.law(), [0.1635, 0.3461, 0.1635, 0.1635, 0.1635], atol=5e-5)
    np.testing.assert_allclose(static_mixture(SkillGraph.of(LEGO)), stream.law())
    for _ in range(3):
        stream.tell(STARTED)
    np.testing.assert_allclose(stream.law(), [0.0627, 0.4748, 0.1542, 0.1542, 0.1542], atol=5e-5)
    stream.tell([5, 0, 0, 0, 0])  # the window forgets: two old rounds stay
    expected = np.exp(0.5 * LEGO @ (2 * np.array(STARTED) + [5, 0, 0, 0, 0]))
    np.testing.assert_allclose(stream.law(), expected / expected.sum())


@given(losses_of, st.floats(0, 5))
@settings(max_examples=40)
def test_limits(losses, eta):
    np.testing.assert_allclose(skill_law(np.ones((5, 5)), losses, eta), 0.2)
    np.testing.assert_allclose(skill_law(LEGO, losses, eta=0), 0.2)
    scores = eta * losses[-3:].sum(axis=0)
    expected = np.exp(scores - scores.max())
    np.testing.assert_allclose(skill_law(np.eye(5), losses, eta), expected / expected.sum())
    # Help that all skills give alike decides nothing.
    lifted = skill_law(LEGO + np.array([0.3, 0, 1, 0, 2]), losses, eta)
    np.testing.assert_allclose(lifted, skill_law(LEGO, losses, eta), atol=1e-9)


@given(losses_of)
@settings(max_examples=40)
def test_a_window_of_all_rounds_is_the_product_of_steps(losses):
    law = np.full(5, 0.2)
    for told in losses:
        law = law * np.exp(0.5 * LEGO @ told)
        law /= law.sum()
    for window in (None, len(losses), 99):
        np.testing.assert_allclose(skill_law(LEGO, losses, 0.5, window), law, rtol=1e-9)


def test_average_divides_by_the_rounds_that_count():
    told = [[1.0] * 5, STARTED, [0.2] * 5]
    for rounds in (1, 2, 3):
        one = skill_law(LEGO, told[:rounds], eta=0.6, average=True)
        np.testing.assert_allclose(one, skill_law(LEGO, told[:rounds], eta=0.6 / rounds))


def test_a_large_eta_saturates_and_does_not_overflow():
    law = skill_law(np.eye(3), [[1000.0, 999, 0]], eta=100)
    assert law.tolist() == [1.0, pytest.approx(np.exp(-100)), 0.0]


def test_negative_edges_are_clipped_unless_asked_for():
    graph = [[1, -1], [0, 1]]
    assert begun(graph, (5, 5)).law().tolist() == [0.5, 0.5]
    kept = begun(graph, (5, 5), clip=False).law()
    np.testing.assert_allclose(kept, skill_law(graph, [[1, 1]]))
    assert kept[0] < 0.4


def test_relative_losses_have_no_unit():
    small, large = begun(relative=True), begun(relative=True)
    for told in (STARTED, [0.05, 0.7, 0.1, 0.2, 0.3]):
        small.tell(told)
        large.tell([1000 * one for one in told])
    np.testing.assert_allclose(small.law(), large.law())
    with pytest.raises(UsageError, match="relative is true"):
        begun(relative=True).tell([0, 1, 1, 1, 1])


def test_help_fades_round_by_round_and_a_skill_keeps_helping_itself():
    stream = begun(fade=0.5, window=1)
    for factor in (1, 0.5, 0.25):
        stream.tell(STARTED)
        weights = np.eye(5) + factor * (LEGO - np.eye(5))
        np.testing.assert_allclose(stream.law(), skill_law(weights, [STARTED]))
    # A graph onto some targets: what meets itself is known by name.
    onto = begun(SkillGraph.of(LEGO).onto(["2"]), fade=0.0, window=1)
    onto.tell([1.0])
    onto.tell([1.0])
    np.testing.assert_allclose(onto.law(), skill_law([[0], [0], [1], [0], [0]], [[1.0]]))


def test_isolated_skills_can_hold_their_share():
    stream = begun(hold_isolated=True)
    stream.tell(STARTED)
    assert stream.law()[4] == pytest.approx(0.2)  # the last has no edge
    np.testing.assert_allclose(stream.law()[:4], 0.8 * skill_law(LEGO[:4], [STARTED]), rtol=1e-12)
    alone = begun(np.eye(5), hold_isolated=True)
    alone.tell(STARTED)
    np.testing.assert_allclose(alone.law(), skill_law(np.eye(5), [STARTED]))


def test_counts_sum_and_follow_the_law():
    counts = begun().counts(1000)
    assert counts.sum() == 1000
    assert (abs(counts - 1000 * begun().law()) < 1).all()


# --- assumed dynamics -----------------------------------------------------------------------------


def mean_loss(graph, losses, alpha, rounds, stream=None):
    """Let losses fall as the paper assumes: each by what is drawn of the skills that help it."""
    if stream is not None:
        stream.tell(losses)
    for _ in range(rounds):
        law = np.full(len(graph), 1 / len(graph)) if stream is None else stream.law()
        losses = losses * (1 - alpha * graph.T @ law)
        if stream is not None:
            stream.tell(losses)
    return losses.mean()


@pytest.mark.parametrize(
    ("window", "graph", "expected"), [(3, LEGO, 0.0135), (None, LEGO, 0.0042), (3, None, 0.0182)]
)
def test_dynamics_on_the_lego_graph(window, graph, expected):
    found = mean_loss(LEGO, np.ones(5), 0.5, 30, begun(graph, window=window))
    assert round(found, 4) == expected


def test_dynamics_of_rivals_on_the_lego_graph():
    assert round(mean_loss(LEGO, np.ones(5), 0.5, 30), 4) == 0.0215
    left = np.ones(5)
    for _ in range(30):
        left = left * (1 - 0.5 * LEGO.T @ static_mixture(SkillGraph.of(LEGO)))
    assert round(left.mean(), 4) == 0.0185


def test_it_beats_stratified_draws_on_random_graphs():
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(100):
        graph = 0.5 * (rng.random((8, 8)) < 0.25)
        np.fill_diagonal(graph, 1)
        losses = rng.uniform(0.5, 3, 8)
        ours = mean_loss(graph, losses, 0.2, 12, begun(graph, [5] * 8))
        plain = mean_loss(graph, losses, 0.2, 12)
        alone = mean_loss(graph, losses, 0.2, 12, begun(None, [5] * 8))
        ratios.append((ours / plain, ours / alone))
    stratified, no_graph = np.array(ratios).T
    assert stratified.max() < 1
    assert 0.84 < stratified.mean() < 0.90
    assert (no_graph < 1).mean() > 0.97
    assert 0.89 < no_graph.mean() < 0.95


# --- the stream -----------------------------------------------------------------------------------


def test_draws_follow_the_law_before_and_after_losses_are_told():
    stream = begun()
    for told in (None, [0.0, 0, 0, 0, 9], [9.0, 0, 0, 0, 0]):
        if told is not None:
            stream.tell(told)
        drawn = stream.draw(20_000)
        shares = np.bincount(drawn.sources, minlength=5) / 20_000
        np.testing.assert_allclose(shares, stream.law(), atol=0.015)  # four standard errors
    first = stream.sources.first
    assert (first[drawn.sources] <= drawn.indices).all()
    assert (drawn.indices < (first + stream.sources.sizes)[drawn.sources]).all()


def test_it_goes_on_from_the_middle_of_a_round():
    whole, stopped = begun(rng=3), begun(rng=3)
    for stream in (whole, stopped):
        stream.draw(17)
        stream.tell(STARTED)
        stream.draw(9)
        stream.tell([0.2] * 5)
        stream.draw(5)
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = begun(rng=99)
    resumed.load_state_dict(state)
    for told in ([0.1, 0.4, 0.4, 0.4, 0.4], STARTED, [0.01] * 5):
        np.testing.assert_array_equal(resumed.draw(13).indices, whole.draw(13).indices)
        resumed.tell(told)
        whole.tell(told)
        np.testing.assert_array_equal(resumed.law(), whole.law())
    assert len(resumed.told) == 5


def test_draws_taken_ahead_are_made_again_from_a_state():
    stream = begun(rng=5)
    stream.draw(10)
    stream.tell(STARTED)
    ahead = stream.draw(30)
    resumed = begun(rng=0)
    resumed.load_state_dict(stream.state_dict(position=20))
    np.testing.assert_array_equal(resumed.draw(20).indices, ahead.indices[10:])


def test_ranks_share_one_order_and_may_change_in_number():
    one = begun(rng=7)
    four = [begun(rng=7, rank=rank, world_size=4) for rank in range(4)]
    for told in (STARTED, [0.1] * 5):
        drawn = one.draw(24).indices
        parts = [stream.draw(6).indices for stream in four]
        np.testing.assert_array_equal(np.column_stack(parts).ravel(), drawn)
        for stream in (one, *four):
            stream.tell(told)
    two = [begun(rank=rank, world_size=2) for rank in range(2)]
    for stream in two:
        stream.load_state_dict(four[1].state_dict())
    parts = [stream.draw(12).indices for stream in two]
    np.testing.assert_array_equal(np.column_stack(parts).ravel(), one.draw(24).indices)


def test_rows_taken_one_by_one_heed_what_is_told():
    taken, drawn = begun(rng=1), begun(rng=1)
    rows = iter(taken)
    assert list(itertools.islice(rows, 10)) == drawn.draw(10).indices.tolist()
    for stream in (taken, drawn):
        stream.tell([0.0, 0, 0, 0, 30])
    following = list(itertools.islice(rows, 50))
    assert following == drawn.draw(50).indices.tolist()
    assert np.mean([row >= 100 for row in following]) > 0.9


def test_a_state_of_another_graph_is_refused():
    state = begun().state_dict()
    with pytest.raises(UsageError, match="another graph"):
        begun(np.eye(5)).load_state_dict(state)
    with pytest.raises(UsageError, match="another graph"):
        begun(SkillGraph.of(LEGO).onto(list("43210"))).load_state_dict(state)


@pytest.mark.parametrize(
    "losses", [[1, 1], [1, 1, 1, 1, np.nan], [1, 1, 1, 1, -1], [[1] * 5], [1, 1, 1, 1, np.inf]]
)
def test_bad_losses_are_refused_and_change_nothing(losses):
    stream = begun()
    before = stream.state_dict()
    with pytest.raises(UsageError, match="losses are"):
        stream.tell(losses)
    assert stream.state_dict() == before


@pytest.mark.parametrize(
    ("knob", "value"),
    [("eta", -1), ("eta", np.inf), ("window", 0), ("fade", 1.5), ("fade", -0.1), ("average", 3)],
)
def test_bad_knobs_name_themselves(knob, value):
    with pytest.raises(UsageError, match=knob):
        SkillIt(**{knob: value})


# --- the graph ------------------------------------------------------------------------------------


def test_without_a_graph_no_skill_helps_another():
    stream = mix(sizes=[10, 20, 30], method="skill-it:eta=1:window=none", rng=0)
    assert stream.law().tolist() == pytest.approx([1 / 3] * 3)
    stream.tell([0, 1, 2])
    np.testing.assert_allclose(stream.law(), skill_law(np.eye(3), [[0, 1, 2]], eta=1))


def test_a_graph_from_a_file_is_matched_by_name(tmp_path):
    SkillGraph.of([[1, 0.5], [0, 1]], ["b", "a"]).write(tmp_path / "graph.json")
    np.save(tmp_path / "graph.npy", np.array([[1, 0], [0.5, 1]]))
    for name in ("graph.json", "graph.npy"):
        stream = mix(labels=["a", "b", "b"], method=f"skill-it:graph={tmp_path / name}", rng=0)
        assert stream.graph.targets == ("a", "b")
        stream.tell([2.0, 0.0])
        np.testing.assert_allclose(stream.law(), skill_law([[1, 0], [0.5, 1]], [[2, 0]]))


def test_other_targets_than_skills():
    graph = np.array([[0.2], [0.0], [0.7]])
    stream = begun(graph, (5, 5, 5), eta=2.0)
    assert stream.graph.targets == ("target 0",)
    stream.tell([1.5])
    np.testing.assert_allclose(stream.law(), skill_law(graph, [[1.5]], eta=2.0))


def test_a_graph_of_other_sources_is_refused():
    with pytest.raises(UsageError, match="the graph has 4 skills"):
        begun(np.eye(4))
    with pytest.raises(UsageError, match="the sources are 0, 1, 2"):
        begun(SkillGraph.of(np.eye(5), list("abcde")))


# --- stratified -----------------------------------------------------------------------------------


def test_stratified_in_the_three_settings():
    graph = SkillGraph.of(LEGO)
    assert stratified_law(graph).tolist() == [0.2] * 5
    np.testing.assert_allclose(stratified_law(graph.onto(["3", "4"])), [0, 1 / 3, 0, 1 / 3, 1 / 3])
    no_diagonal = SkillGraph.of(LEGO - np.eye(5)).onto(["2"])
    assert stratified_law(no_diagonal).tolist() == [0, 0.5, 0.5, 0, 0]  # a target all the same
    outside = SkillGraph.of([[0.1, 0], [0, 0], [-1, 2]])
    assert stratified_law(outside).tolist() == [0.5, 0, 0.5]
    assert stratified_law(SkillGraph.of(np.zeros((2, 3)))).tolist() == [0.5, 0.5]


def test_stratified_skills_as_a_method():
    method = Mixer.named("stratified-skills")
    assert isinstance(method, StratifiedSkills)
    sources = Sources.of([1, 50, 3])
    assert method.start(sources, rng=0).law().tolist() == pytest.approx([1 / 3] * 3)
    drawn = method.start(sources, rng=0, graph=[[1.0], [0.0], [1.0]]).draw(500)
    assert set(drawn.sources.tolist()) == {0, 2}
