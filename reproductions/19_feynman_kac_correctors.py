"""Feynman-Kac correctors in diffusion (arXiv 2503.02819).

The paper anneals a learned sampler of 13 Lennard-Jones particles, guides an image model, and
multiplies models of molecules. Here the laws are mixtures of Gaussians, where the target is known:
single ones, two modes on a line, 40 modes in the plane (the paper's own toy), each with the exact
score, and two modes in the plane with a small network that learned its score from points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import WORDS, Result, Value, interval, reproduce, weigh
from samplewise.decode.feynman_kac import (
    Annealed,
    FeynmanKac,
    Geometric,
    Particles,
    Product,
    Target,
)
from samplewise.decode.noising import Noising, Score, VarianceExploding, exact_score
from samplewise.decode.score_network import ScoreNetwork
from samplewise.measure.gaussian_mixture import (
    GaussianMixture,
    Grid,
    gaussian_power_product,
    grid_law,
)

Array = NDArray[np.float64]
Row = dict[str, Value]
Table = dict[str, Row]

PAPER: Mapping[str, Any] = {
    "LJ-13 at temperature 2 annealed to 0.8 (beta 2.5), mean of 3 seeds": {
        "target score": {
            "W2 of distances": 0.189,
            "with FKC": 0.048,
            "W1 of energies": 14.730,
            "its, with FKC": 6.252,
        },
        "tempered noise": {
            "W2 of distances": 0.108,
            "with FKC": 0.047,
            "W1 of energies": 6.487,
            "its, with FKC": 7.016,
        },
    },
    "LJ-13 at temperature 2 annealed to 1.5 (beta 1.33)": {
        "target score": {
            "W2 of distances": 0.168,
            "with FKC": 0.083,
            "W1 of energies": 5.340,
            "its, with FKC": 3.366,
        },
        "tempered noise": {
            "W2 of distances": 0.095,
            "with FKC": 0.066,
            "W1 of energies": 2.154,
            "its, with FKC": 0.765,
        },
    },
    "40 modes in the plane, beta 3": {
        "target score": {"with FKC": "best of all"},
        "tempered noise": {"with FKC": "drops modes"},
    },
}
NAMES = {
    "none": "no weights",
    "every-step": "FKC, resampled every step",
    "ess": "FKC, below half the effective size",
    "birth-death": "FKC, birth-death clocks",
    "final-weights": "FKC, weights kept to the end",
}
RESAMPLED = ("none", "every-step", "ess", "birth-death")
SDES = {"target score": 0.0, "tempered noise": 0.5}
NEAR = VarianceExploding(0.01, 10.0)
WIDE = VarianceExploding(0.01, 80.0)
SMOOTH = VarianceExploding(0.02, 10.0)


def gaussian(mean: float, variance: float) -> GaussianMixture:
    """Make one Gaussian on a line."""
    return GaussianMixture.of([1.0], [[mean]], variance)


GAUSSIANS: Mapping[str, tuple[list[GaussianMixture], Annealed | Product | Geometric]] = {
    "N(1, 1)^2": ([gaussian(1.0, 1.0)], Annealed(2.0)),
    "N(1, 1)^0.5": ([gaussian(1.0, 1.0)], Annealed(0.5)),
    "N(-1, 1) N(2, 0.5)": ([gaussian(-1.0, 1.0), gaussian(2.0, 0.5)], Product()),
    "N(1, 1)^2 / N(0, 2)": ([gaussian(0.0, 2.0), gaussian(1.0, 1.0)], Geometric(2.0)),
}
LINE = GaussianMixture.of([0.6, 0.4], [[-2.0], [2.0]], [0.25, 1.0])
EVEN = GaussianMixture.of([0.5, 0.5], [[-2.0], [2.0]], 1.0)
LINES: Mapping[str, tuple[list[GaussianMixture], Product | Geometric]] = {
    "product with two even modes": ([LINE, EVEN], Product()),
    "guidance 1.5, from two even modes": ([EVEN, LINE], Geometric(1.5)),
}
PLANE = GaussianMixture.of([0.6, 0.4], [[-2.0, 0.0], [2.0, 1.0]], [0.25, 1.0])
FORTY = GaussianMixture.of(
    np.ones(40), np.random.default_rng(0).uniform(-40, 40, (40, 2)), np.log1p(np.e) ** 2
)
BETA = 3.0
MORE = 1.5
MATCHED = 800  # points that are matched with as many exact ones


class Size(NamedTuple):
    """How much is run."""

    seeds: int
    particles: int
    steps: int
    training: int
    cells: int


def main(quick: bool) -> Result:
    """Run every target with and without weights, and judge."""
    size = Size(3, 200, 100, 200, 200) if quick else Size(10, 2000, 500, 4000, 900)
    forty = forty_modes(size)
    network, learned = learned_score(size)
    agrees, why = judge(forty)
    return Result(
        paper="Feynman-Kac Correctors in Diffusion: Annealing, Guidance, and Product of Experts, "
        "arXiv 2503.02819",
        setting=("Quick run. " if quick else "")
        + f"Mixtures of Gaussians with a variance-exploding noising, {size.seeds} independent "
        f"populations of {size.particles} particles ({MORE} times as many in the plane for 40 "
        f"modes, a quarter with the network and half the steps), {size.steps} steps of Euler and "
        "Maruyama; mean and 95% interval over populations. 40 modes: means uniform in "
        "[-40, 40]^2, standard deviation 1.31; distances are to as many exact draws, W2 of "
        f"{MATCHED} of each at most. The network: a perceptron, trained for {size.training} steps "
        "on 20,000 points. The paper's systems (Lennard-Jones particles, images, molecules) are "
        "not run.",
        paper_figures=PAPER,
        our_figures={
            **single_gaussians(size),
            "two modes on a line, 0.6 N(-2, 0.25) + 0.4 N(2, 1), beta 3: mass above 0": line(size),
            **other_lines(size),
            "40 modes in the plane, beta 3": {name: row(one) for name, one in forty.items()},
            "error of the learned score, over the score": {"two modes in the plane": network},
            "two modes in the plane, beta 3: mass right of 0, and second variance": learned,
        },
        agrees=agrees,
        why=why,
    )


def single_gaussians(size: Size) -> dict[str, Table]:
    """Measure targets that are Gaussian: mean and variance of each correction."""
    tables = {}
    for name, (models, target) in GAUSSIANS.items():
        law = gaussian_power_product(models, target.powers)
        table: Table = {
            "exact": {
                "mean": round(float(law.mean()[0]), 3),
                "variance": round(float(law.covariance()[0, 0]), 3),
            }
        }
        for correction in NAMES:
            found = run(models, target, NEAR, correction, size)
            table[NAMES[correction]] = {
                "mean": rounded(found.mean()[:, 0]),
                "variance": rounded(found.covariance()[:, 0, 0]),
                **health(found),
            }
        tables[f"Gaussians: {name}"] = table
    return tables


def line(size: Size) -> Table:
    """Measure the mass of one of two modes, annealed."""
    law = powered([LINE], [BETA], size)
    table: Table = {"exact": {"target score": round(float(law.expectation(right)), 4)}}
    for correction, name in NAMES.items():
        table[name] = {
            sde: rounded(run([LINE], Annealed(BETA, a), NEAR, correction, size).snis_mean(right))
            for sde, a in SDES.items()
        }
    return table


def other_lines(size: Size) -> dict[str, Table]:
    """Measure a product and a guided law of two modes."""
    tables = {}
    for name, (models, target) in LINES.items():
        law = powered(models, target.powers, size)
        table: Table = {
            "exact": {
                "mass above 0": round(float(law.expectation(right)), 4),
                "mean": round(float(law.mean()[0]), 3),
                "variance": round(float(law.covariance()[0, 0]), 3),
            }
        }
        for correction in RESAMPLED:
            found = run(models, target, NEAR, correction, size)
            table[NAMES[correction]] = {
                "mass above 0": rounded(found.snis_mean(right)),
                "mean": rounded(found.mean()[:, 0]),
                "variance": rounded(found.covariance()[:, 0, 0]),
            }
        tables[f"two modes on a line, {name}"] = table
    return tables


def forty_modes(size: Size) -> dict[str, dict[str, list[float]]]:
    """Measure 40 modes in the plane: distances to the target, one a population."""
    law = grid_law(lambda x: BETA * FORTY.log_density(x), [-46, -46], [46, 46], size.cells)
    masses = law.expectation(mode_of)
    size = size._replace(particles=int(MORE * size.particles))
    draws = [law.sample(size.particles, seed) for seed in range(2 * size.seeds)]
    exact, others = draws[: size.seeds], draws[size.seeds :]
    found = {"exact draws": distances(exact, others, masses)}
    for sde, a in SDES.items():
        for correction in RESAMPLED:
            made = run([FORTY], Annealed(BETA, a), WIDE, correction, size, final_selection=True)
            found[f"{sde}, {NAMES[correction]}"] = distances(made.samples, others, masses)
    return found


def distances(
    samples: Sequence[Array] | Array, draws: Sequence[Array], masses: Array
) -> dict[str, list[float]]:
    """Give how far samples are from exact draws, and their modes from the modes' masses."""
    from scipy.stats import wasserstein_distance

    found: dict[str, list[float]] = {}
    for x, y in zip(samples, draws, strict=True):
        share = mode_of(x).mean(axis=0)
        energies = [-BETA * FORTY.log_density(z) for z in (x, y)]
        for name, value in (
            ("W2", wasserstein_2(x, y)),
            ("W1 of energies", wasserstein_distance(*energies)),
            ("total variation of modes", np.abs(share - masses).sum() / 2),
            ("modes of 40", (share > 0).sum()),
        ):
            found.setdefault(name, []).append(float(value))
    return found


def learned_score(size: Size) -> tuple[Row, Table]:
    """Measure what a learned score does to it: the network's error, and the masses."""
    small = size._replace(particles=size.particles // 4, steps=size.steps // 2)
    network = ScoreNetwork.fit(PLANE.sample(20_000, 0), SMOOTH, steps=size.training, rng=0)
    exact = exact_score(PLANE, SMOOTH)
    errors: Row = {}
    for t in (0.2, 0.4, 0.6, 0.8):
        spread = SMOOTH.spread(t)
        x = PLANE.noised(1.0, spread).sample(4000, 1)
        gap = np.square(network(x, t) - exact(x, t)).mean() / np.square(exact(x, t)).mean()
        errors[f"noise {spread:.2f}"] = round(float(np.sqrt(gap)), 4)
    law = grid_law(lambda x: BETA * PLANE.log_density(x), [-6, -6], [7, 7], size.cells)
    scores: dict[str, Score] = {"exact score": exact, "learned score": network}
    table: Table = {
        "exact": {
            "exact score": round(float(law.expectation(right)), 4),
            "variance, exact score": round(float(law.covariance()[1, 1]), 4),
        }
    }
    for correction in RESAMPLED:
        cells: Row = {}
        for name, score in scores.items():
            found = sample([score], Annealed(BETA), SMOOTH, 2, correction, small)
            cells[name] = rounded(found.snis_mean(right))
            cells[f"variance, {name}"] = rounded(found.covariance()[:, 1, 1])
        table[NAMES[correction]] = cells
    return errors, table


# --- runs and measures ----------------------------------------------------------------------------


def run(
    models: Sequence[GaussianMixture],
    target: Target,
    noising: Noising,
    correction: str,
    size: Size,
    **knobs: Any,
) -> Particles:
    """Run exact scores."""
    scores = [exact_score(model, noising) for model in models]
    return sample(scores, target, noising, models[0].dimensions, correction, size, **knobs)


def sample(
    scores: Sequence[Score],
    target: Target,
    noising: Noising,
    dimensions: int,
    correction: str,
    size: Size,
    **knobs: Any,
) -> Particles:
    """Run all populations at once."""
    method = FeynmanKac(size.particles, size.steps, correction, **knobs)  # type: ignore[arg-type]
    return method.sample(scores, target, noising, dimensions, populations=size.seeds, rng=0)


def health(found: Particles) -> Row:
    """Give how uneven the weights became, and how many first particles were left."""
    return {
        "least effective share": round(
            float(found.effective_sizes.min(axis=1).mean() / found.samples.shape[1]), 3
        ),
        "first particles left": round(float(found.unique_ancestors[:, -1].mean())),
    }


def right(x: Array) -> Array:
    """Say which points have a first coordinate above 0."""
    return np.asarray(x[:, 0] > 0)


def powered(models: Sequence[GaussianMixture], powers: Sequence[float], size: Size) -> Grid:
    """Sum a product of powers of mixtures on a line."""

    def log_density(x: Array) -> Array:
        logs = [b * q.log_density(x) for q, b in zip(models, powers, strict=True)]
        return np.asarray(np.sum(logs, axis=0))

    return grid_law(log_density, [-12], [12], 10 * size.cells)


def mode_of(x: Array) -> Array:
    """Mark the nearest of the 40 means of every point; shape (n, 40)."""
    squares = np.square(FORTY.means).sum(axis=1) - 2 * x @ FORTY.means.T
    return np.asarray(squares.argmin(axis=1)[:, None] == np.arange(len(FORTY.means)))


def wasserstein_2(x: Array, y: Array) -> float:
    """Give the 2-Wasserstein distance of some of as many points each, exactly."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    some = np.random.default_rng(0).permutation(len(x))[:MATCHED]
    squares = cdist(x[some], y[some], "sqeuclidean")
    return float(np.sqrt(squares[linear_sum_assignment(squares)].mean()))


def rounded(values: Array | Sequence[float]) -> list[float]:
    """Give the mean and its interval."""
    return [round(value, 4) for value in interval([float(value) for value in values])]


def row(one: Mapping[str, Sequence[float]]) -> Row:
    """Give every measure's mean and interval."""
    return {name: rounded(values) for name, values in one.items()}


def judge(
    forty: Mapping[str, Mapping[str, Sequence[float]]],
) -> tuple[bool | Literal["not comparable"], str]:
    """Judge by the paper's claims, on the 40 modes: differences over populations.

    True if all hold beyond the noise of populations, false if one holds the other way round.
    """

    def less(one: str, other: str, measure: str) -> int:
        _, low, high = interval(np.subtract(forty[other][measure], forty[one][measure]).tolist())
        return int(low > 0) - int(high < 0)

    every = NAMES["every-step"]
    target, tempered = (f"{sde}, {every}" for sde in SDES)
    claims = {
        f"{sde}: {measure} falls with FKC": less(
            f"{sde}, {every}", f"{sde}, {NAMES['none']}", measure
        )
        for sde in SDES
        for measure in ("W2", "W1 of energies", "total variation of modes")
    }
    claims["tempered noise with FKC keeps fewer modes than the target's score with it"] = less(
        tempered, target, "modes of 40"
    )
    claims["the target's score with FKC has the lower W2 of the two"] = less(target, tempered, "W2")
    agrees, said = weigh(claims)
    clocks = [
        less(f"{sde}, {NAMES['birth-death']}", f"{sde}, {NAMES['none']}", "W2") for sde in SDES
    ]
    return agrees, (
        f"judged on the 40 modes, resampled every step as in the paper: {said}. Not judged: that "
        f"W2 falls with birth-death clocks {WORDS[clocks[0]]} for the target's score, and "
        f"{WORDS[clocks[1]]} for tempered noise. Modes far apart gain and lose particles by chance "
        "at every resampling, and W2 pays for each of these over the whole distance. The paper's "
        "figures are of Lennard-Jones particles, and cannot be compared as numbers."
    )


if __name__ == "__main__":
    reproduce("19-feynman-kac-correctors", main)
