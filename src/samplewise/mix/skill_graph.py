"""Which skill helps which: a weighted graph, and how it is learned from training runs.

A skill is a group of rows such that training on it lowers the loss on it. An edge leads from one
skill to another that is learned sooner where rows of the first are mixed in. Learn the graph with a
small model or few steps, and let ``skill-it`` draw by it. A graph without edges, or with all alike,
says nothing about an order: stratified draws serve as well then.

Cost: O(steps k^2) of training for k skills by brute force, O(steps k) approximately: the sum of all
numbers of steps, or the highest of them where runs go on.
Source: arXiv 2307.14430, sections 2 and 3.1; the published code has no learner, so the details that
the docstrings call ours are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypeVar

import numpy as np
import orjson
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import InputError, UsageError
from samplewise.files import atomic_write
from samplewise.progress import Progress, Silent

__all__ = ["SkillGraph", "learn_graph"]

Floats: TypeAlias = NDArray[np.float64]
M = TypeVar("M")


@dataclass(frozen=True, eq=False)
class SkillGraph:
    """How much training on each skill helps each evaluation skill.

    Attributes
    ----------
    weights : ndarray of float64, shape (skills, targets)
        Row i, column j: what training on skill i does for target j; 0 where it does nothing.
    skills : tuple of str
        What can be trained on.
    targets : tuple of str
        What is evaluated: the same skills, some of them, or others.

    Examples
    --------
    >>> graph = SkillGraph.of([[1, 0.5], [0, 1]], ["first", "second"])
    >>> graph.density
    0.5
    """

    weights: Floats
    skills: tuple[str, ...]
    targets: tuple[str, ...]

    @classmethod
    def of(
        cls,
        weights: ArrayLike,
        skills: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
    ) -> Self:
        """Read a graph from its matrix.

        Parameters
        ----------
        weights : array_like, shape (skills, targets)
        skills : sequence of str, optional
            By default ``"0"``, ``"1"``, ...
        targets : sequence of str, optional
            By default the skills where the matrix is square, and else ``"target 0"``, ...

        Raises
        ------
        UsageError
            If the matrix is empty or not finite, or the names do not fit it.
        """
        matrix = np.array(weights, dtype=np.float64)
        if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
            raise UsageError(
                f"the graph has the shape {matrix.shape}, or numbers that are not finite",
                mend="give a matrix: a row for every skill, a column for every target",
            )
        rows, columns = matrix.shape
        names = tuple(map(str, range(rows) if skills is None else skills))
        if targets is not None:
            goals = tuple(map(str, targets))
        else:
            goals = names if rows == columns else tuple(f"target {j}" for j in range(columns))
        for known, count, what in ((names, rows, "skills"), (goals, columns, "targets")):
            if len(known) != count or len(set(known)) != count:
                raise UsageError(
                    f"the graph has {count} {what}, and their names are {list(known)}",
                    mend=f"give {count} different names",
                )
        return cls(matrix, names, goals)

    @classmethod
    def read(cls, path: str | Path, skills: Sequence[str] | None = None) -> Self:
        """Read a file: ``.npy``, or JSON that is a matrix or what `write` wrote.

        Parameters
        ----------
        path : str or Path
        skills : sequence of str, optional
            Names of the rows where the file has none.

        Raises
        ------
        InputError
            If the file cannot be read as a graph.
        """
        file = Path(path)
        try:
            if file.suffix == ".npy":
                return cls.of(np.load(file, allow_pickle=False), skills)
            content = orjson.loads(file.read_bytes())
            if isinstance(content, dict):
                return cls.of(content["weights"], content["skills"], content["targets"])
            return cls.of(content, skills)
        except KeyError as error:
            raise InputError(
                "there is no such field", file=str(file), field=error.args[0]
            ) from error
        except UsageError as error:
            raise InputError(error.message, file=str(file), mend=error.mend) from error
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"it cannot be read as a graph of skills: {error}",
                file=str(file),
                mend='give a .npy matrix, or JSON: [[1, 0.5], [0, 1]], or {"skills": ["a", "b"], '
                '"targets": ["a", "b"], "weights": [[1, 0.5], [0, 1]]}',
            ) from error

    def write(self, path: str | Path) -> None:
        """Write a JSON file that `read` reads."""
        content = {
            "skills": self.skills,
            "targets": self.targets,
            "weights": self.weights.tolist(),
        }
        atomic_write(Path(path), orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")

    def ordered(self, names: Sequence[str]) -> SkillGraph:
        """Give the graph with its rows in the order of some names; targets stay as they are.

        A square graph keeps its columns in the order of its rows.

        Raises
        ------
        UsageError
            If the names are not those of the graph's skills.
        """
        if sorted(names) != sorted(self.skills):
            raise UsageError(
                f"the graph is of the skills {', '.join(self.skills)}, and the sources are "
                f"{', '.join(names)}",
                mend="give a graph with a row for every source",
            )
        rows = [self.skills.index(name) for name in names]
        if self.targets != self.skills:
            return replace(self, weights=self.weights[rows], skills=tuple(names))
        return SkillGraph(self.weights[np.ix_(rows, rows)], tuple(names), tuple(names))

    def onto(self, targets: Sequence[str]) -> SkillGraph:
        """Give the graph with some of the targets alone, as fine-tuning for them needs it.

        Raises
        ------
        UsageError
            If one is no target of the graph.

        Examples
        --------
        >>> SkillGraph.of([[1, 0.5], [0, 1]], ["a", "b"]).onto(["b"]).weights.tolist()
        [[0.5], [1.0]]
        """
        unknown = [name for name in targets if name not in self.targets]
        if unknown or not targets:
            raise UsageError(
                f"targets {', '.join(unknown)} are not in the graph"
                if unknown
                else "there is no target",
                mend=f"give some of {', '.join(self.targets)}",
            )
        columns = [self.targets.index(name) for name in targets]
        return replace(self, weights=self.weights[:, columns], targets=tuple(targets))

    @property
    def own(self) -> NDArray[np.bool_]:
        """Where a skill meets itself; shape (skills, targets)."""
        same: NDArray[np.bool_] = np.asarray(self.skills)[:, None] == np.asarray(self.targets)
        return same

    @property
    def edges(self) -> NDArray[np.bool_]:
        """Where a skill helps another one; shape (skills, targets)."""
        helps: NDArray[np.bool_] = (self.weights > 0) & ~self.own
        return helps

    @property
    def density(self) -> float:
        """Share of the possible edges that there are; 0 where none is possible."""
        possible = int((~self.own).sum())
        return int(self.edges.sum()) / possible if possible else 0.0

    def clipped(self) -> SkillGraph:
        """Give the graph with 0 for what is negative."""
        return replace(self, weights=self.weights.clip(min=0))

    def uniform(self, weight: float = 0.5) -> SkillGraph:
        """Give the graph with one weight for every edge, and 1 where a skill meets itself.

        The paper's synthetic tasks are drawn by such graphs.

        Examples
        --------
        >>> SkillGraph.of([[0.3, 0.1], [0, 0.2]]).uniform().weights.tolist()
        [[1.0, 0.5], [0.0, 1.0]]
        """
        return replace(self, weights=np.where(self.own, 1.0, weight * self.edges))


def learn_graph(
    train: Callable[[tuple[str, ...], int], M],
    evaluate: Callable[[M], ArrayLike],
    skills: Sequence[str],
    *,
    steps: int | Sequence[int],
    mode: Literal["brute", "approximate"] = "approximate",
    targets: Sequence[str] | None = None,
    margin: float = 0.0,
    progress: Progress | None = None,
) -> SkillGraph:
    """Learn which skill helps which by training on one or two at a time.

    ``"approximate"`` trains on every skill alone: an edge weighs what that takes off the target's
    loss. ``"brute"`` trains on every pair too, mixed evenly, in as many steps: an edge weighs how
    much lower the target's loss is than after training on the target alone; that half as many of
    its own rows do better is what the paper calls an edge. Where a skill meets itself, both modes
    give what training on it takes off its loss (for ``"brute"`` this is ours: the paper's rule
    would give 0 there, and no skill would be drawn for its own sake).

    Parameters
    ----------
    train : callable
        Given skills and steps, trains a fresh copy of the same model on an even mix of them and
        returns it; with no skills, and 0 steps, returns the model untrained. Where there are
        several numbers of steps, it is called with one after the other for the same skills, the
        fewest first, and may go on from where it was.
    evaluate : callable
        Given a model, returns its loss on each target, 0 or more.
    skills : sequence of str
    steps : int or sequence of int
        Of every run. What helps a skill shows only while that is being learned: in runs that are
        too short it is not yet, in long ones it is learned alone as well. So skills of unlike
        difficulty need several numbers (ours): an edge then weighs the most that any of them gives.
    mode : {'approximate', 'brute'}
    targets : sequence of str, optional
        What is evaluated; by default the skills. ``"brute"`` needs them to be among the skills.
    margin : float
        An edge must be above it: what chance alone may do to a loss.
    progress : Progress, optional

    Returns
    -------
    SkillGraph
        No weight is negative.

    Raises
    ------
    UsageError
        If an argument makes no sense, or losses are not one for every target.

    References
    ----------
    Chen et al. (2023), arXiv 2307.14430, section 3.1.

    Examples
    --------
    >>> def train(skills, steps):  # "second" is learned only beside "first"
    ...     return set(skills)
    >>> def evaluate(known):
    ...     return [0.2 if "first" in known else 1.0, 0.1 if len(known) == 2 else 0.9]
    >>> learn_graph(train, evaluate, ["first", "second"], steps=10, mode="brute").edges.tolist()
    [[False, True], [False, False]]
    """
    names = tuple(map(str, skills))
    goals = names if targets is None else tuple(map(str, targets))
    graph = SkillGraph.of(np.zeros((len(names), len(goals))), names, goals)
    lengths = [steps] if isinstance(steps, int) else sorted(set(steps))
    if min(lengths, default=0) < 1 or not margin >= 0 or mode not in ("brute", "approximate"):
        raise UsageError(
            f"steps is {steps}, margin {margin} and mode {mode!r}",
            mend="give 1 step or more, a margin of 0 or more, and brute or approximate",
        )
    strange = [name for name in goals if name not in names]
    if mode == "brute" and strange:
        raise UsageError(
            f"mode 'brute' cannot train on the targets {', '.join(strange)}",
            mend="use mode 'approximate'",
        )
    pairs = [pair for pair in combinations(names, 2) if mode == "brute" and {*pair} & {*goals}]

    with (progress or Silent()).stage("skill graph", 1 + len(names) + len(pairs), "runs") as done:

        def losses_after(*chosen: str) -> Floats:
            """Give a row a length."""
            models = (train(chosen, length if chosen else 0) for length in lengths)
            losses = np.array([check_losses(evaluate(model), goals) for model in models])
            done(1)
            return losses

        before = losses_after()
        alone = np.array([losses_after(name) for name in names])
        drops = before - alone
        if mode == "brute":
            drops = np.where(graph.own[:, None], drops, 0.0)
            for pair in pairs:
                mixed = losses_after(*pair)
                for helper, goal in (pair, pair[::-1]):
                    if goal in goals:
                        i, j, column = names.index(helper), names.index(goal), goals.index(goal)
                        drops[i, :, column] = alone[j, :, column] - mixed[:, column]
    weights = drops.max(axis=1)
    return replace(graph, weights=np.where(weights > margin, weights, 0.0))


def check_losses(losses: ArrayLike, targets: Sequence[Any]) -> Floats:
    """Refuse losses that are not one finite number of 0 or more for every target."""
    values = np.array(losses, dtype=np.float64)
    if values.shape != (len(targets),) or not np.isfinite(values).all() or (values < 0).any():
        raise UsageError(
            f"losses are {values}", mend=f"give {len(targets)} finite numbers, 0 or more"
        )
    return values
