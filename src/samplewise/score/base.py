"""The one protocol of the room: a `Scorer` gives every row of a pool one number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise import registry
from samplewise.errors import InputError
from samplewise.pool import Pool
from samplewise.progress import Progress, Silent
from samplewise.rng import RandomState, generator

if TYPE_CHECKING:
    from samplewise.embed.base import Embedder
    from samplewise.engine.base import Engine

__all__ = ["Scorer", "score"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Scorer(registry.Method, ABC):
    """Base of the methods that say what a row is worth.

    A method derives from it, sets `name`, and writes `score`. What the rows must have for it is
    named in `needs`; the base checks that before any work is done.
    """

    room: ClassVar[str] = "score"
    needs: ClassVar[tuple[str, ...]] = ()
    """Of ``text``, ``response`` (a prompt and a response), ``embeddings``, ``groups`` (a label or a
    source)."""
    slow: ClassVar[bool] = False
    """Whether a score takes a heavy model: the contract checks then use a dozen rows."""

    @abstractmethod
    def score(
        self, pool: Pool, rng: np.random.Generator, engine: Engine, progress: Progress
    ) -> Floats:
        """Give each row its score, shape (n,): finite, and higher where the row is harder."""

    def check(self, pool: Pool) -> None:
        """Refuse a pool that lacks what the method needs.

        Raises
        ------
        InputError
            If the texts or the groups are missing.
        """
        if "text" in self.needs and not (pool.shards and pool.layout.text):
            raise InputError(f"{self.name} needs a text, and the rows have none", file=pool.name)
        if "groups" in self.needs and pool.classes is None:
            raise InputError(
                f"{self.name} needs a label or a source",
                file=pool.name,
                mend="name the field with --label FIELD or --source FIELD",
            )


def score(
    pool: Pool,
    method: str | Scorer,
    *,
    rng: RandomState = None,
    embedder: str | Embedder | None = None,
    engine: str | Engine = "local",
    progress: Progress | None = None,
    **knobs: Any,
) -> Pool:
    """Score every row of a pool, so that any selector can choose by it.

    Parameters
    ----------
    pool : Pool
        The rows.
    method : str or Scorer
        The method, or its name.
    rng : int, numpy.random.Generator or None
        The same seed gives the same scores.
    embedder : str or Embedder, optional
        What makes vectors of texts where the pool has none and the method needs them; by default
        the built-in one.
    engine : {'local', 'ray'} or Engine
        Where the work runs.
    progress : Progress, optional
        Who is told how far it has come.
    **knobs
        Knobs of the method.

    Returns
    -------
    Pool
        The pool (with the embeddings that were used) and its new score.

    Raises
    ------
    UsageError
        If the method or a knob makes no sense.
    InputError
        If the pool lacks what the method needs.
    """
    from samplewise.engine.base import make_engine

    if isinstance(method, Scorer):
        scorer = registry.configure(type(method), method.settings() | knobs)
    else:
        made = registry.make(method, knobs, "score")
        assert isinstance(made, Scorer)
        scorer = made
    random = generator(rng)
    scorer.check(pool)
    runner = make_engine(engine) if isinstance(engine, str) else engine
    if "embeddings" in scorer.needs and pool.embeddings is None:
        from samplewise.embed import embed_pool

        pool = embed_pool(pool, embedder or "builtin", engine=runner)
    return pool.with_score(scorer.score(pool, random, runner, progress or Silent()), scorer.name)
