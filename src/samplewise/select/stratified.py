"""Rows at random from every source (or label), each with its share of the budget.

Use it when the pool is put together from several sources, or the labels are uneven, and chance
alone should not decide what each of them gets; with equal shares, small groups get as much as
large ones. Time O(n log n), memory O(n).
Source: stratified random sampling, J. Neyman (1934).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from samplewise.errors import InputError
from samplewise.pool import Category, Pool
from samplewise.select.allocation import allocate, in_turns
from samplewise.select.base import Choice, Selector

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["Stratified"]


@dataclass(frozen=True)
class Stratified(Selector):
    """Random rows of every source or label.

    Parameters
    ----------
    by : {'source', 'label'} or None
        What the groups are. None: the source if the rows have one, else the label. Rows that have
        none of the two form a group of their own.
    allocation : {'proportional', 'equal'}
        Each group's part of the budget: by its size, or the same for all. Rounded by largest
        remainder; what a small group cannot give goes to the others.

    References
    ----------
    J. Neyman, "On the Two Different Aspects of the Representative Method", Journal of the Royal
    Statistical Society 97 (1934).

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> labels = np.repeat(["maths", "code", "law"], [50, 30, 20])
    >>> pool = sw.Pool.from_arrays(text=[f"row {i}" for i in range(100)], y=labels)
    >>> chosen = sw.select(pool, 10, "stratified", rng=0).indices
    >>> np.unique(labels[chosen], return_counts=True)[1].tolist()  # code, law, maths
    [3, 2, 5]
    """

    name: ClassVar[str] = "stratified"
    aliases: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ("groups",)
    cost: ClassVar[str] = "O(n log n)"
    paper: ClassVar[str] = "Neyman (1934)"

    by: Literal["source", "label"] | None = None
    allocation: Literal["proportional", "equal"] = "proportional"

    def check(self, pool: Pool) -> None:
        """Refuse a pool without the groups that `by` names."""
        super().check(pool)
        if self.by is not None and getattr(pool, self.by) is None:
            other = "label" if self.by == "source" else "source"
            raise InputError(
                f"{self.name}: knob 'by' is {self.by!r}, and the rows have no {self.by}",
                file=pool.name,
                field=self.by,
                mend=f"name the field with --{self.by} FIELD, or set by={other}",
            )

    def choose(self, pool: Pool, n: int, rng: np.random.Generator, engine: Engine) -> Choice:
        """Choose `n` rows; any beginning of them is spread over the groups too."""
        codes = self._groups(pool).codes.astype(np.int64)
        groups = codes + 1  # rows without a group: 0
        counts = allocate(np.bincount(groups), n, self.allocation)
        shuffled = rng.permutation(len(pool))
        order = shuffled[np.argsort(groups[shuffled], kind="stable")]
        owner = groups[order]
        rank = np.arange(len(order)) - np.searchsorted(owner, owner)
        taken = rank < counts[owner]
        parts = np.split(order[taken], np.cumsum(counts)[:-1])
        return Choice(in_turns(parts), columns={"group": codes})

    def _groups(self, pool: Pool) -> Category:
        groups: Category | None = getattr(pool, self.by or "domains")
        assert groups is not None  # check has seen to it
        return groups
