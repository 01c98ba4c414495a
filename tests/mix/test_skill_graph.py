from contextlib import contextmanager

import numpy as np
import pytest

from samplewise.errors import InputError, UsageError
from samplewise.mix.skill_graph import SkillGraph, learn_graph

# What a step on each skill takes off the loss of each: the dynamics the method assumes.
TRUTH = np.array([[0.1, 0.08, 0.0], [0.0, 0.04, 0.06], [0.0, 0.0, 0.05]])
SKILLS = ("a", "b", "c")
START = np.array([1.0, 2.0, 3.0])


class Runs:
    """Training by the assumed dynamics, on an even mix; counts runs and steps."""

    def __init__(self):
        self.asked = []

    def train(self, skills, steps):
        self.asked.append((skills, steps))
        law = np.array([name in skills for name in SKILLS]) / max(len(skills), 1)
        return START * (1 - TRUTH.T @ law) ** steps

    def evaluate(self, losses):
        return losses


def test_approximate_graph_is_the_drop_of_each_run():
    runs = Runs()
    graph = learn_graph(runs.train, runs.evaluate, SKILLS, steps=10)
    np.testing.assert_allclose(graph.weights, START * (1 - (1 - TRUTH) ** 10))
    assert runs.asked == [((), 0), (("a",), 10), (("b",), 10), (("c",), 10)]
    assert graph.skills == graph.targets == SKILLS


def test_brute_graph_is_what_a_half_of_another_skill_adds():
    runs = Runs()
    graph = learn_graph(runs.train, runs.evaluate, SKILLS, steps=10, mode="brute")
    own = np.diag(TRUTH)
    expected = START * ((1 - own) ** 10 - (1 - (TRUTH + own) / 2) ** 10)
    np.fill_diagonal(expected, START * (1 - (1 - own) ** 10))
    np.testing.assert_allclose(graph.weights, expected.clip(min=0))
    assert graph.edges.tolist() == (own < TRUTH).tolist()  # half of i must beat half of j
    assert len(runs.asked) == 1 + 3 + 3


@pytest.mark.parametrize("mode", ["brute", "approximate"])
def test_several_lengths_give_the_most_that_any_of_them_does(mode):
    runs = Runs()
    graph = learn_graph(runs.train, runs.evaluate, SKILLS, steps=[30, 1, 5], mode=mode)
    each = [
        learn_graph(runs.train, runs.evaluate, SKILLS, steps=steps, mode=mode).weights
        for steps in (1, 5, 30)
    ]
    np.testing.assert_array_equal(graph.weights, np.max(each, axis=0))
    asked = [steps for skills, steps in runs.asked if skills == ("a",)][:3]
    assert asked == [1, 5, 30]  # so that a run may go on
    assert len({one.tobytes() for one in each}) == 3


def test_an_order_of_unlike_skills_is_found_by_several_lengths_alone():
    # "b" is learned within 10 steps, and "c" within 100, each sooner beside the one before it.
    def train(skills, steps):
        return skills, steps

    def evaluate(model):
        skills, steps = model
        own = {name: steps / max(len(skills), 1) * (name in skills) for name in "abc"}
        return [
            float(own["a"] < 1),
            float(own["b"] < (2 if "a" in skills else 10)),
            float(own["c"] < (20 if "b" in skills else 100)),
        ]

    found = {
        steps: learn_graph(train, evaluate, "abc", steps=steps, mode="brute").edges
        for steps in ((5,), (50,), (5, 50))
    }
    assert [edges.tolist() for edges in found.values()] == [
        [[False, True, False], [False, False, False], [False, False, False]],
        [[False, False, False], [False, False, True], [False, False, False]],
        [[False, True, False], [False, False, True], [False, False, False]],
    ]


def test_brute_trains_only_pairs_with_a_target():
    runs = Runs()
    graph = learn_graph(
        runs.train, lambda losses: losses[2:], SKILLS, steps=5, mode="brute", targets=["c"]
    )
    assert [skills for skills, _ in runs.asked if len(skills) == 2] == [("a", "c"), ("b", "c")]
    assert graph.edges[:, 0].tolist() == [False, True, False]
    assert graph.weights.shape == (3, 1)


def test_targets_may_be_others_in_the_approximate_mode():
    runs = Runs()
    graph = learn_graph(runs.train, lambda losses: losses[:2], SKILLS, steps=5, targets=["x", "y"])
    assert graph.weights.shape == (3, 2)
    assert graph.targets == ("x", "y")
    with pytest.raises(UsageError, match="targets x"):
        learn_graph(runs.train, runs.evaluate, SKILLS, steps=5, targets=["x", "a"], mode="brute")


def test_a_margin_drops_weak_edges_and_nothing_is_negative():
    def evaluate(model):  # forgets: training on "a" makes "b" worse
        return [1 - 0.5 * ("a" in model), 1 + 0.3 * ("a" in model) - 0.05 * ("b" in model)]

    def train(skills, steps):
        return skills

    assert learn_graph(train, evaluate, "ab", steps=1).weights.tolist() == [
        [0.5, 0.0],
        [0.0, pytest.approx(0.05)],
    ]
    assert learn_graph(train, evaluate, "ab", steps=1, margin=0.1).weights.tolist() == [
        [0.5, 0.0],
        [0.0, 0.0],
    ]


def test_progress_counts_runs():
    class Watch:
        told = 0

        @contextmanager
        def stage(self, name, total, unit):
            self.total = total

            def done(amount):
                self.told += amount

            yield done

    for mode in ("brute", "approximate"):
        watch, runs = Watch(), Runs()
        learn_graph(runs.train, runs.evaluate, SKILLS, steps=2, mode=mode, progress=watch)
        assert watch.told == watch.total == len(runs.asked)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"margin": -1.0}, {"mode": "best"}, {"targets": []}])
def test_bad_arguments_are_refused_before_training(bad):
    runs = Runs()
    with pytest.raises(UsageError):
        learn_graph(runs.train, runs.evaluate, SKILLS, **{"steps": 3, **bad})
    assert not runs.asked


@pytest.mark.parametrize("losses", [[1, 2], [1, 2, np.nan], [1, 2, -1]])
def test_bad_losses_are_refused(losses):
    with pytest.raises(UsageError, match="losses are"):
        learn_graph(Runs().train, lambda model: losses, SKILLS, steps=3)


def test_density():
    assert SkillGraph.of(np.eye(4)).density == 0
    assert SkillGraph.of(np.ones((4, 4))).density == 1
    assert SkillGraph.of([[1, 0.5, -1], [0, 1, 0], [0, 0, 0]]).density == pytest.approx(1 / 6)
    assert SkillGraph.of([[1.0, 0], [0, 0], [0, 0]]).density == pytest.approx(1 / 6)
    assert SkillGraph.of([[1.0]]).density == 0


def test_rows_and_columns_are_put_in_order_by_name():
    graph = SkillGraph.of([[1, 2], [3, 4]], ["x", "y"])
    turned = graph.ordered(["y", "x"])
    assert turned.weights.tolist() == [[4, 3], [2, 1]]
    assert turned.targets == ("y", "x")
    onto = graph.onto(["x"]).ordered(["y", "x"])
    assert onto.weights.tolist() == [[3], [1]]
    assert onto.own.tolist() == [[False], [True]]


def test_files(tmp_path):
    graph = SkillGraph.of([[1, 0.25], [-0.5, 1], [0, 0]], list("abc"), ["a", "z"])
    graph.write(tmp_path / "graph.json")
    again = SkillGraph.read(tmp_path / "graph.json")
    assert again.weights.tolist() == graph.weights.tolist()
    assert (again.skills, again.targets) == (graph.skills, graph.targets)
    (tmp_path / "plain.json").write_text("[[1, 0.5], [0, 1]]")
    assert SkillGraph.read(tmp_path / "plain.json", "xy").skills == ("x", "y")


@pytest.mark.parametrize(
    "content",
    ["{", '{"skills": ["a"], "targets": ["a"]}', "[[1, 2], [3]]", "[]", '[["a"]]', "[[1, 2]]", "3"],
)
def test_bad_files_name_themselves(tmp_path, content):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(InputError, match=r"bad\.json"):
        SkillGraph.read(tmp_path / "bad.json", ["one", "two"])
    with pytest.raises(InputError, match=r"none\.npy"):
        SkillGraph.read(tmp_path / "none.npy")


@pytest.mark.parametrize(
    ("weights", "skills"),
    [(np.zeros((0, 0)), None), ([1, 2], None), ([[np.nan]], None), (np.eye(2), "aa")],
)
def test_bad_graphs_are_refused(weights, skills):
    with pytest.raises(UsageError, match="the graph has"):
        SkillGraph.of(weights, skills)


def test_unknown_targets_are_refused():
    for targets in (["0", "7"], []):
        with pytest.raises(UsageError, match="target"):
            SkillGraph.of(np.eye(2)).onto(targets)


def test_a_graph_does_not_share_its_matrix():
    matrix = np.eye(2)
    graph = SkillGraph.of(matrix)
    matrix[0, 1] = 9
    assert graph.weights[0, 1] == 0
