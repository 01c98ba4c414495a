"""The chosen rows beside random choices of the same size: no figure without its rival."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.measure.coverage import cluster_entropy, nearest_distances, nearest_similarities
from samplewise.report.groups import Groups, of_category

if TYPE_CHECKING:
    from samplewise.pool import Pool

__all__ = ["compare", "verdict_of"]

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]

SUBSETS = 8
_T = 2.3646  # 97.5% quantile of Student's t with SUBSETS - 1 = 7 degrees of freedom
_MOST_PICKS = 5_000  # chosen rows that coverage is measured against
_MOST_REFERENCE, _FEWEST_REFERENCE = 4_000, 500  # pool rows that coverage is measured on
_WORK = 12_000_000_000  # products of two numbers: about 0.25 s on two cores
_RESAMPLES = 100


@dataclass(frozen=True)
class _Figure:
    """One measure: `values[0]` is the choice's, the others those of the random subsets."""

    key: str
    title: str
    better: str
    values: Floats
    noise: float = 0.0


def compare(
    pool: Pool, indices: Indices, groups: Groups | None, rng: np.random.Generator
) -> dict[str, Any]:
    """Measure the chosen rows and `SUBSETS` random choices of as many rows.

    Parameters
    ----------
    pool : Pool
        With embeddings, or without: then distances are left out.
    indices : ndarray of int64
        The chosen rows.
    groups : Groups or None
        What evenness is measured over.
    rng : numpy.random.Generator

    Returns
    -------
    dict
        ``measures`` (one a row of the table), ``subsets``, ``reference`` (pool rows that coverage
        was measured on; 0 where there are no vectors) and ``picks`` (chosen rows it was measured
        against).
    """
    size = min(len(indices), len(pool))
    sets = [indices, *(rng.choice(len(pool), size, replace=False) for _ in range(SUBSETS))]
    figures, reference, picks = _coverage_figures(pool, sets, rng)
    figures = [*_score_figures(pool, sets), *figures, *_group_figures(pool, sets, groups)]
    return {
        "measures": [_row(figure) for figure in figures],
        "subsets": SUBSETS,
        "reference": reference,
        "picks": picks,
    }


def verdict_of(method: str, measures: list[dict[str, Any]], chose_all: bool) -> dict[str, Any]:
    """Say in one sentence whether the choice beats random, and where it does worse."""
    if chose_all:
        return _say("all", "Every row of the pool was chosen: there is nothing left to compare.")
    if not measures:
        return _say("none", "The rows have no score, vectors, source or label to compare by.")
    if method == "random":
        return _say("random", "This is a random choice: the baseline that others have to beat.")
    better = [row["title"] for row in measures if row["verdict"] == "better"]
    worse = [row["title"] for row in measures if row["verdict"] == "worse"]
    total = f"{len(measures)} measure{'s' if len(measures) > 1 else ''}"
    tail = f" It does worse on: {_list(worse)}." if worse else ""
    if not better:
        text = f"This choice does not beat a random one of the same size on any of {total}."
        return _say("worse" if worse else "same", text + tail)
    text = f"Better than random on {len(better)} of {total}: {_list(better)}."
    return _say("mixed" if worse else "better", text + tail)


def _say(kind: str, text: str) -> dict[str, Any]:
    return {"kind": kind, "text": text}


def _list(titles: list[str]) -> str:
    return ", ".join(title[0].lower() + title[1:] for title in titles)


def _row(figure: _Figure) -> dict[str, Any]:
    """Set the choice against the range in which one more random subset would fall."""
    chosen, random = float(figure.values[0]), figure.values[1:]
    mean, spread = float(random.mean()), float(random.std(ddof=1))
    half = _T * float(np.sqrt(spread**2 * (1 + 1 / len(random)) + figure.noise**2))
    gap = chosen - mean
    if abs(gap) <= half + 1e-6 * max(abs(chosen), abs(mean)):
        verdict = "same"
    else:
        verdict = "better" if (gap > 0) == (figure.better == "higher") else "worse"
    return {
        "key": figure.key,
        "title": figure.title,
        "better": figure.better,
        "chosen": chosen,
        "random": mean,
        "low": mean - half,
        "high": mean + half,
        "verdict": verdict,
    }


def _score_figures(pool: Pool, sets: list[Indices]) -> list[_Figure]:
    if pool.score is None:
        return []
    known = [pool.score[rows][np.isfinite(pool.score[rows])] for rows in sets]
    if not all(len(scores) for scores in known):
        return []
    values = np.array([scores.mean() for scores in known])
    return [_Figure("mean_score", "Mean score", "higher", values)]


def _group_figures(pool: Pool, sets: list[Indices], groups: Groups | None) -> list[_Figure]:
    figures = []
    if groups is not None and len(groups.names) > 1:
        entropy = np.array([cluster_entropy(groups.codes, rows) for rows in sets])
        title = f"Evenness over {groups.kind}s (entropy)"
        figures.append(_Figure("cluster_entropy", title, "higher", entropy))
    kinds = {} if groups is None else {groups.kind: groups}
    for kind, category in (("source", pool.source), ("label", pool.label)):
        if category is not None and kind not in kinds:
            kinds[kind] = of_category(kind, category)
    for kind, held in kinds.items():
        if len(held.names) > 1:
            counts = np.array([held.covered(rows) for rows in sets], dtype=np.float64)
            figures.append(_Figure(f"distinct_{kind}s", f"Distinct {kind}s", "higher", counts))
    return figures


def _coverage_figures(
    pool: Pool, sets: list[Indices], rng: np.random.Generator
) -> tuple[list[_Figure], int, int]:
    """Measure how far a sample of the pool is from the choice, and from each random subset."""
    vectors = pool.embeddings
    if vectors is None:
        return [], 0, 0
    picks = min(len(sets[0]), _MOST_PICKS)
    room = _WORK // (len(sets) * picks * vectors.shape[1])
    size = min(len(pool), max(_FEWEST_REFERENCE, min(_MOST_REFERENCE, room)))
    reference = vectors[np.sort(rng.choice(len(pool), size, replace=False))]
    chosen = sets[0] if picks == len(sets[0]) else rng.permutation(sets[0])[:picks]
    # A random subset is in random order, so that its beginning is one as well.
    parts = [vectors[np.sort(rows[:picks])] for rows in (chosen, *sets[1:])]
    distances = np.stack([nearest_distances(reference, part) for part in parts])
    if np.allclose(np.linalg.norm(reference, axis=1), 1.0, atol=1e-3):
        cosines = 1 - distances**2 / 2  # so it is for vectors of length 1, at half the work
    else:
        cosines = np.stack([nearest_similarities(reference, part) for part in parts])
    left = 1 - size / len(pool)
    titles = (
        ("mean_nearest", "Mean distance to nearest chosen", "lower", distances, _mean),
        ("p90_nearest", "90th percentile of that distance", "lower", distances, _p90),
        ("facility_location", "Facility location (mean cosine)", "higher", cosines, _mean),
    )
    figures = [
        _Figure(key, title, better, statistic(values), _noise(values, statistic, left, rng))
        for key, title, better, values, statistic in titles
    ]
    return figures, size, picks


def _mean(values: Floats) -> Floats:
    return np.asarray(values.mean(axis=-1))


def _p90(values: Floats) -> Floats:
    return np.asarray(np.quantile(values, 0.9, axis=-1))


def _noise(
    values: Floats, statistic: Callable[[Floats], Floats], left: float, rng: np.random.Generator
) -> float:
    """Bootstrap the standard error of (choice - random) that sampling the pool's rows brings.

    Both sides are measured on the same rows, so only the difference is noisy; `left` is the share
    of the pool that was not measured.
    """
    if left == 0:
        return 0.0
    gaps = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        found = statistic(values[:, rng.integers(values.shape[1], size=values.shape[1])])
        gaps[i] = found[0] - found[1:].mean()
    return float(gaps.std(ddof=1) * np.sqrt(left))
