"""Skill-It draws skills by how much they help those not learned yet (arXiv 2307.14430).

The paper fine-tunes GPT-Neo on LEGO: the value of a variable at the end of a chain of assignments.
Here losses first fall by the very rule that the paper assumes, on random graphs; then small
networks learn the chain, one stage after another: stage j turns what stage j - 1 says and a noisy
picture of bit j into the product of the first j bits, which is skill j. Which skill helps which is
learned from training runs, as the paper says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness import Result, Value, interval, reproduce, weigh
from samplewise.measure.loss_trajectories import cluster_accuracy, cluster_trajectories
from samplewise.mix import Mixer, Sources, Stream
from samplewise.mix.curriculum import LossOrder
from samplewise.mix.skill_graph import SkillGraph, learn_graph
from samplewise.mix.skills import GraphMixer, SkillIt, SkillStream

Array = NDArray[Any]
Table = dict[str, dict[str, Value]]

PAPER: Mapping[str, Table] = {
    "LEGO, five skills, 6,000 steps of GPT-Neo-125M, 5 seeds": {
        name: {"mean loss": loss, "accuracy %": accuracy}
        for name, loss, accuracy in (
            ("random, 1:1:1:3:5", 0.541, 62.9),
            ("curriculum", 0.535, 63.6),
            ("anti-curriculum", 0.554, 61.3),
            ("skill-curriculum", 0.514, 66.6),
            ("skill-anti-curriculum", 0.286, 82.8),
            ("stratified", 0.046, 98.5),
            ("Skill-It", 0.012, 99.4),
        )
    },
    "claims": {
        "fine-tuning, LEGO": {"claim": "38.1 % fewer steps to learn one skill than on it alone"},
        "graph": {"claim": "LEGO: skill 2 helps skills 1, 3 and 4; skill 5 has no edge"},
        "groups from losses": {"claim": "61.0 % of rows, against 24 to 38 % from embeddings"},
    },
}
SKILLS = ("1", "2", "3", "4", "5")
K = len(SKILLS)
SIZES = (600, 600, 600, 1800, 3000)
TARGET = "4"
WIDTH, PICTURE, NOISE = 8, 16, 0.3
BATCH, RATE, ROUNDS = 32, 0.005, 6
LENGTHS = (200, 800, 3000)  # steps of the runs that the graph is learned from
LEGO = np.eye(K)
LEGO[1] = [0.5, 1, 0.5, 0.5, 0]  # the graph in the paper's script
EXPECTED = {  # our own runs when this was designed
    "stratified": 0.0215,
    "static": 0.0185,
    "no graph": 0.0182,
    "Skill-It": 0.0135,
    "Skill-It, all losses": 0.0042,
}


def main(quick: bool) -> Result:
    """Run the assumed dynamics and the networks, and judge them."""
    graphs = 20 if quick else 500
    seeds, steps, copies = (2, 60, 2) if quick else (20, 800, 3)
    lengths = (20, 40) if quick else LENGTHS
    falls = random_graphs(graphs)
    data = chain(SIZES, seed=0)
    test = chain([100 if quick else 400] * K, seed=1)
    graph = learn(data, test, [steps // 2], copies, "brute", 0)
    full = [learn(data, test, lengths, 5, "brute", seed) for seed in range(1 if quick else 5)]
    approximate = learn(data, test, [steps // 2], copies, "approximate", 0)
    found, groups = train_all(data, test, graph.uniform(0.5), full[0].uniform(0.5), seeds, steps)
    agrees, why = judge(falls, found, [graph, *full], full)
    return Result(
        paper="Skill-it! A Data-Driven Skills Framework for Understanding and Training Language "
        "Models, arXiv 2307.14430",
        setting=("Quick run. " if quick else "")
        + "Assumed dynamics: no model; losses told at the start and after every round. LEGO graph: "
        f"30 rounds, alpha 0.5, all losses 1. Random graphs: {graphs}, 8 skills, a quarter of the "
        "edges, weight 0.5, alpha 0.2, 12 rounds, losses from 0.5 to 3. Chain: five skills, "
        f"{', '.join(map(str, SIZES))} rows, networks of five stages of {WIDTH} units, {steps} "
        f"steps of {BATCH} rows, Adam, {ROUNDS} rounds, eta 0.5, window 3 (losses of {len(test.x)} "
        f"held-out rows told after each round), {seeds} seeds that all methods share; mean and 95% "
        f"interval. Graph: brute force, runs of {steps // 2} steps, mean loss of {copies} "
        "networks, weight 0.5 for every edge. Order: brute force, runs of "
        f"{', '.join(map(str, lengths))} steps, 5 networks, learned {len(full)} times with other "
        "networks; these lengths were chosen after one look at when edges show, as runs of 400 "
        "steps have edges into skills 4 and 5 alone. The paper continues to train GPT-Neo-125M on "
        "texts; nothing here is a language model.",
        paper_figures=PAPER,
        our_figures={
            "assumed dynamics, LEGO graph, final mean loss": lego_dynamics(),
            "assumed dynamics, random graphs: loss of Skill-It over that of": falls_table(falls),
            "chain, all skills": loss_table(found, [name for name in found if "alone" not in name]),
            f"chain, fine-tuning for skill {TARGET}": {
                name: {f"loss on skill {TARGET}": rounded(found[name][:, SKILLS.index(TARGET)])}
                for name in FINE_TUNED
            },
            "chain, learned edges": {
                f"brute, {steps // 2} steps": edges(graph),
                f"approximate, {steps // 2} steps": edges(approximate),
                **{
                    f"brute, all lengths, {number}": edges(one)
                    for number, one in enumerate(full, start=1)
                },
            },
            "chain, groups of rows found from their losses": {
                "k-means": {"accuracy": rounded(groups), "by chance": 1 / K}
            },
        },
        agrees=agrees,
        why=why,
    )


# --- the assumed dynamics -------------------------------------------------------------------------


def fall(
    truth: Array, losses: Array, alpha: float, rounds: int, stream: Stream, tell: bool = True
) -> float:
    """Let each loss fall by what is drawn of the skills that help it; give the last mean."""
    assert isinstance(stream, SkillStream)
    for _ in range(rounds):
        if tell:
            stream.tell(losses)
        losses = losses * (1 - alpha * truth.T @ stream.law())
    return float(losses.mean())


def streams(graph: Array) -> dict[str, tuple[Stream, bool]]:
    """Give the streams of each way to draw, and whether they are told losses."""
    sources, none = Sources.of([1] * len(graph)), np.eye(len(graph))
    return {
        "stratified": (SkillIt(eta=0).start(sources, rng=0), False),
        "static": (SkillIt().start(sources, rng=0, graph=graph), False),
        "no graph": (SkillIt().start(sources, rng=0, graph=none), True),
        "Skill-It": (SkillIt().start(sources, rng=0, graph=graph), True),
        "Skill-It, all losses": (SkillIt(window=None).start(sources, rng=0, graph=graph), True),
    }


def lego_dynamics() -> Table:
    """Run the dynamics on the paper's LEGO graph."""
    return {
        name: {
            "ours": round(fall(LEGO, np.ones(K), 0.5, 30, stream, tell), 4),
            "expected": EXPECTED[name],
        }
        for name, (stream, tell) in streams(LEGO).items()
    }


def random_graphs(count: int) -> dict[str, Array]:
    """Give the loss of Skill-It over that of its rivals, a number a graph."""
    rng = np.random.default_rng(0)
    ratios: dict[str, list[float]] = {"stratified": [], "static": [], "no graph": []}
    for _ in range(count):
        graph = 0.5 * (rng.random((8, 8)) < 0.25)
        np.fill_diagonal(graph, 1)
        losses = rng.uniform(0.5, 3, 8)
        ended = {
            name: fall(graph, losses, 0.2, 12, stream, tell)
            for name, (stream, tell) in streams(graph).items()
        }
        for name, ratio in ratios.items():
            ratio.append(ended["Skill-It"] / ended[name])
    return {name: np.array(ratio) for name, ratio in ratios.items()}


def falls_table(ratios: Mapping[str, Array]) -> Table:
    """Say how often Skill-It ends lower, and by how much."""
    expected = {"stratified": "100, 0.87", "no graph": "above 99, 0.92"}
    return {
        name: {
            "lower, % of graphs": round(100 * float((ratio < 1).mean()), 1),
            "mean ratio": round(float(ratio.mean()), 3),
            "expected": expected.get(name, ""),
        }
        for name, ratio in ratios.items()
    }


# --- networks that learn a chain ------------------------------------------------------------------


class Rows:
    """Pictures of five bits, whether the product that a row asks for is 1, and its skill."""

    def __init__(self, x: Array, y: Array, skill: Array) -> None:
        self.x, self.y, self.skill = x, y, skill


def chain(sizes: Sequence[int], seed: int) -> Rows:
    """Make rows of each skill; skill j asks for the product of the first j bits."""
    directions = np.random.default_rng(100).normal(size=(K, PICTURE))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    skill = np.repeat(np.arange(K), sizes)
    bits = rng.choice([-1.0, 1.0], size=(len(skill), K))
    x = bits[:, :, None] * directions + NOISE * rng.normal(size=(len(skill), K, PICTURE))
    products = bits.cumprod(axis=1)[np.arange(len(skill)), skill]
    return Rows(x.astype(np.float32), (products > 0).astype(np.float32), skill)


class Networks:
    """Networks side by side, which differ in their seeds alone."""

    def __init__(self, seeds: Sequence[int]) -> None:
        import torch

        def draw(seed: int) -> list[torch.Tensor]:
            random = torch.Generator().manual_seed(seed)
            inputs = WIDTH + PICTURE
            stages = torch.randn(K, inputs, WIDTH, generator=random) / inputs**0.5
            answer = torch.randn(WIDTH, 1, generator=random) / WIDTH**0.5
            return [stages, torch.zeros(K, 1, WIDTH), answer, torch.zeros(1, 1)]

        each = [draw(seed) for seed in seeds]
        self.weights = [torch.stack(one).requires_grad_() for one in zip(*each, strict=True)]
        self.optimizer = torch.optim.Adam(self.weights, lr=RATE)

    def losses(self, rows: Rows, numbers: Array) -> Any:
        """Give the loss of each network on each of its rows; `numbers` is (networks, rows)."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        stages, shifts, answer, shift = self.weights
        x = torch.from_numpy(rows.x[numbers])
        hidden = x.new_zeros(*numbers.shape, WIDTH)
        told = []
        for j in range(K):
            seen = torch.cat([hidden, x[:, :, j]], dim=2)
            hidden = torch.tanh(torch.baddbmm(shifts[:, j], seen, stages[:, j]))
            told.append(torch.baddbmm(shift, hidden, answer))
        skill = torch.from_numpy(rows.skill[numbers])[:, :, None]
        logits = torch.cat(told, dim=2).gather(2, skill)[:, :, 0]
        return binary_cross_entropy_with_logits(
            logits, torch.from_numpy(rows.y[numbers]), reduction="none"
        )

    def step(self, rows: Rows, numbers: Array) -> None:
        """Take one step of each network."""
        self.optimizer.zero_grad()
        self.losses(rows, numbers).mean(dim=1).sum().backward()
        self.optimizer.step()

    def tested(self, rows: Rows) -> Array:
        """Give the loss of each network on each of the rows."""
        import torch

        count = len(self.weights[0])
        with torch.no_grad():
            numbers = np.broadcast_to(np.arange(len(rows.y)), (count, len(rows.y)))
            return np.asarray(self.losses(rows, numbers).numpy(), np.float64)


def by_skill(losses: Array, rows: Rows) -> Array:
    """Give the mean loss on each skill; shape (networks, skills)."""
    return np.stack([losses[:, rows.skill == skill].mean(axis=1) for skill in range(K)], axis=1)


def learn(
    data: Rows,
    test: Rows,
    lengths: Sequence[int],
    copies: int,
    mode: Literal["brute", "approximate"],
    seed: int,
) -> SkillGraph:
    """Learn which skill helps which, from networks that are not compared later."""
    first = 1000 * (seed + 1)
    running: dict[tuple[str, ...], tuple[Networks, list[SkillStream], int]] = {}

    def train(skills: tuple[str, ...], count: int) -> Networks:
        networks, streams, done = running.pop(skills, None) or begin_run(skills)
        drawn = [
            stream.draw((count - done) * BATCH).indices.reshape(count - done, BATCH)
            for stream in streams
        ]
        for numbers in zip(*drawn, strict=True):
            networks.step(data, np.array(numbers))
        running[skills] = networks, streams, count
        return networks

    def begin_run(skills: tuple[str, ...]) -> tuple[Networks, list[SkillStream], int]:
        streams = []
        for copy in range(copies if skills else 0):
            stream = SkillIt().start(Sources.of(dict(zip(SKILLS, SIZES, strict=True))), rng=copy)
            assert isinstance(stream, SkillStream)
            stream.change([float(name in skills) for name in SKILLS])
            streams.append(stream)
        return Networks(range(first, first + copies)), streams, 0

    def evaluate(networks: Networks) -> Array:
        return by_skill(networks.tested(test), test).mean(axis=0)

    return learn_graph(train, evaluate, SKILLS, steps=lengths, mode=mode, margin=0.02)


FINE_TUNED = (
    f"skill {TARGET} alone",
    "stratified, not alone",
    "Skill-It, not alone",
)
"""Ways to draw for one skill."""


def begin(
    graph: SkillGraph, full: SkillGraph, steps: int, untrained: Array
) -> dict[str, Callable[[int], Stream]]:
    """Name every way to draw, with what starts its stream for a seed.

    `untrained` is the loss of the network of each seed on every row of the pool.
    """
    sources = Sources.of(dict(zip(SKILLS, SIZES, strict=True)))
    only = graph.onto([TARGET])
    alone = SkillGraph.of(np.array(SKILLS)[:, None] == TARGET, SKILLS, [TARGET])

    def plain(spec: str) -> Callable[[int], Stream]:
        return lambda seed: Mixer.named(spec).start(sources, rng=seed)

    def by(spec: str, drawn_by: SkillGraph) -> Callable[[int], Stream]:
        method = Mixer.named(spec)
        assert isinstance(method, GraphMixer)
        return lambda seed: method.start(sources, rng=seed, graph=drawn_by)

    def in_order(spec: str, whole_skills: bool) -> Callable[[int], Stream]:
        method = Mixer.named(spec)
        assert isinstance(method, LossOrder)
        firsts = [0, *np.cumsum(SIZES)[:-1]]
        losses = np.add.reduceat(untrained, firsts, axis=1) / SIZES if whole_skills else untrained
        return lambda seed: method.start(
            sources, rng=seed, total=steps * BATCH, losses=losses[seed]
        )

    return {
        "random, 1:1:1:3:5": plain("temperature:tau=1"),
        "curriculum": in_order("curriculum", False),
        "anti-curriculum": in_order("curriculum:hardest_first=true", False),
        "skill-curriculum": in_order("skill-curriculum", True),
        "skill-anti-curriculum": in_order("skill-curriculum:hardest_first=true", True),
        "stratified": plain("stratified-skills"),
        "static mixture": by("skill-it", graph),
        "no graph": plain("skill-it"),
        "Skill-It": by("skill-it", graph),
        "Skill-It, graph of all lengths": by("skill-it", full),
        FINE_TUNED[0]: by("stratified-skills", alone),
        FINE_TUNED[1]: by("stratified-skills", only),
        FINE_TUNED[2]: by("skill-it", only),
    }


def train_all(
    data: Rows, test: Rows, graph: SkillGraph, full: SkillGraph, seeds: int, steps: int
) -> tuple[dict[str, Array], list[float]]:
    """Train a network by every way to draw and every seed, all side by side.

    Gives each way's losses, shape (seeds, skills), and how well rows of a skill are found from the
    losses of the random way, a number a seed.
    """
    untrained = Networks(range(seeds)).tested(data)
    ways = begin(graph, full, steps, untrained)
    networks = Networks([seed for _ in ways for seed in range(seeds)])
    running = [start(seed) for start in ways.values() for seed in range(seeds)]
    told = [name for name in ways for _ in range(seeds)]
    trajectories = []
    for number in range(ROUNDS):
        count = steps // ROUNDS
        drawn = np.array(
            [stream.draw(count * BATCH).indices.reshape(count, BATCH) for stream in running]
        )
        for step in range(count):
            networks.step(data, drawn[:, step])
            if step % max(1, count // 4) == 0:
                trajectories.append(networks.tested(test)[:seeds])
        losses = by_skill(networks.tested(test), test)
        for name, stream, one in zip(told, running, losses, strict=True):
            if number < ROUNDS - 1 and isinstance(stream, SkillStream) and name != "static mixture":
                targets = [SKILLS.index(target) for target in stream.graph.targets]
                stream.tell(one[targets])
    of_rows = np.stack(trajectories, axis=2)
    groups = [cluster_accuracy(cluster_trajectories(one, K, rng=0), test.skill) for one in of_rows]
    return dict(zip(ways, losses.reshape(len(ways), seeds, K), strict=True)), groups


# --- tables and judgement -------------------------------------------------------------------------


def rounded(values: Sequence[float] | Array) -> list[float]:
    """Give the mean and its interval."""
    return [round(value, 4) for value in interval(np.asarray(values).tolist())]


def loss_table(found: Mapping[str, Array], names: Sequence[str]) -> Table:
    """Give the loss on all skills and on each."""
    return {
        name: {
            "mean loss": rounded(found[name].mean(axis=1)),
            **{
                f"skill {skill}": round(float(loss), 3)
                for skill, loss in zip(SKILLS, found[name].mean(axis=0), strict=True)
            },
        }
        for name in names
    }


def edges(graph: SkillGraph) -> dict[str, Value]:
    """List the edges of a graph, and say how they lie to the chain."""
    pairs = list(zip(*np.nonzero(graph.edges), strict=True))
    forward = sum(i < j for i, j in pairs)
    steps = sum(j == i + 1 for i, j in pairs)
    return {
        "edges": ", ".join(f"{SKILLS[i]}>{SKILLS[j]}" for i, j in pairs) or "none",
        "forward": f"{forward} of {len(pairs)}",
        "of the 4 of the chain": float(steps),
        "order": order(graph),
        "rank correlation with the chain": round(agreement(graph), 3),
    }


def levels(graph: SkillGraph) -> Array:
    """Count, for each skill, those that it helps less those that help it."""
    helps = graph.edges
    return np.asarray(helps.sum(axis=1) - helps.sum(axis=0))


def order(graph: SkillGraph) -> str:
    """Put the skills in the order that a graph says, equal ones side by side."""
    found = levels(graph)
    return " < ".join(
        " ".join(name for name, one in zip(SKILLS, found, strict=True) if one == level)
        for level in sorted(set(found.tolist()), reverse=True)
    )


def agreement(graph: SkillGraph) -> float:
    """Give Kendall's tau-b of that order with the chain's; 0 where all are alike."""
    from scipy.stats import kendalltau

    tau = float(kendalltau(levels(graph), -np.arange(K)).statistic)
    return 0.0 if np.isnan(tau) else tau


def lower(one: Array, other: Array) -> int:
    """Give 1 where the first losses are lower by more than seed noise, -1 where higher, else 0."""
    _, low, high = interval((other - one).tolist())
    return int(low > 0) - int(high < 0)


def judge(
    falls: Mapping[str, Array],
    found: Mapping[str, Array],
    graphs: Sequence[SkillGraph],
    full: Sequence[SkillGraph],
) -> tuple[bool | Literal["not comparable"], str]:
    """Judge by the paper's claims: true if all hold, false if one holds the other way round."""
    mean = {name: losses.mean(axis=1) for name, losses in found.items()}
    ours = mean["Skill-It"]
    target = {name: found[name][:, SKILLS.index(TARGET)] for name in FINE_TUNED}
    taus = [agreement(graph) for graph in full]
    curricula = [name for name in mean if "curriculum" in name]
    claims = {
        "assumed dynamics: below stratified on every graph": 1
        if max(falls["stratified"]) < 1
        else -1,
        "assumed dynamics: below no graph on more than 99 % of graphs": 1
        if (falls["no graph"] < 1).mean() > 0.99
        else -1,
        "chain: every edge found by brute force leads forward": 1
        if not any(np.tril(graph.edges).any() for graph in graphs)
        else -1,
        "chain: its order is found from the edges (tau-b above 0.8 in every learning)": 1
        if min(taus) > 0.8
        else (0 if np.median(taus) > 0.8 else -1),
        "stratified below random": lower(mean["stratified"], mean["random, 1:1:1:3:5"]),
        "stratified below every curriculum": min(
            lower(mean["stratified"], mean[name]) for name in curricula
        ),
        "Skill-It below stratified": lower(ours, mean["stratified"]),
        "Skill-It below the static mixture": lower(ours, mean["static mixture"]),
        "Skill-It below no graph": lower(ours, mean["no graph"]),
        f"fine-tuning: Skill-It below skill {TARGET} alone": lower(
            target[FINE_TUNED[2]], target[FINE_TUNED[0]]
        ),
        "and below stratified": lower(target[FINE_TUNED[2]], target[FINE_TUNED[1]]),
    }
    agrees, said = weigh(claims)
    return agrees, (
        f"{said}. Judged seed by seed, beyond the 95% interval of the mean difference. Order: "
        f"tau-b from {min(taus):.2f} to {max(taus):.2f}; skills 2 and 3 are as easy alone, so that "
        "no edge between them is found. The losses themselves are "
        "of other models and another task."
    )


if __name__ == "__main__":
    reproduce("55-skill-it", main)
