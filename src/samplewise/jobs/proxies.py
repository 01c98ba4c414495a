"""Proxies: what a choice of rows is worth, judged in seconds instead of by a whole training.

A proxy sees the chosen rows with their weights, and rows of the same pool that no method could
choose. It gives figures, one of them the main one. Pass one of your own to `sw.compare` as an
instance of a class that derives from `Proxy`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise import registry
from samplewise.errors import InputError, UsageError
from samplewise.measure.coverage import nearest_distances, nearest_similarities
from samplewise.pool import Pool
from samplewise.rng import seed_of

__all__ = ["PROXIES", "Coverage", "Figure", "LoraLoss", "Probe", "Proxy", "make_proxy"]

Floats: TypeAlias = NDArray[np.float64]


class Figure(NamedTuple):
    """What a number is called, and whether more of it is better."""

    title: str
    better: Literal["higher", "lower"]


@dataclass(frozen=True)
class Proxy(registry.Method, ABC):
    """Base of the proxies: a frozen dataclass whose fields are its knobs.

    A proxy derives from it, sets `name`, `figures` (the first is the main one) and `needs`, and
    writes `judge`.
    """

    room: ClassVar[str] = "proxy"
    figures: ClassVar[Mapping[str, Figure]]
    needs: ClassVar[tuple[str, ...]] = ()
    """Of ``embeddings``, ``groups`` (a source or a label), ``text``."""
    alone: ClassVar[bool] = False
    """Whether two choices may not be judged at the same time."""

    @property
    def main(self) -> str:
        """The key of the figure that decides."""
        return next(iter(self.figures))

    def check(self, pool: Pool) -> None:
        """Refuse a pool that lacks what the proxy needs.

        Raises
        ------
        InputError
        """
        classes = pool.classes
        if "groups" in self.needs and (classes is None or len(classes.names) < 2):
            raise InputError(
                f"the proxy {self.name} needs a label or source with two values or more",
                file=pool.name,
                mend="name the field with --label FIELD or --source FIELD, or use --proxy coverage",
            )
        if "text" in self.needs and not (pool.shards and pool.layout.text):
            raise InputError(
                f"the proxy {self.name} needs texts, and the rows have none",
                file=pool.name,
                mend="use --proxy coverage",
            )

    @abstractmethod
    def judge(
        self, chosen: Pool, weights: Floats, held_out: Pool, rng: np.random.Generator
    ) -> dict[str, float]:
        """Give every figure of `figures`.

        Parameters
        ----------
        chosen : Pool
            The chosen rows, each once.
        weights : ndarray of float64, shape (len(chosen),)
            Above 0.
        held_out : Pool
            The same for every method of a seed.
        rng : numpy.random.Generator
            In the same state for every method of a seed.
        """


@dataclass(frozen=True)
class Probe(Proxy):
    """A linear classifier of the label (or source), trained on the vectors of the chosen rows.

    Linear discriminants in closed form, chosen by measurement (benchmarks/linear_probe.py): on 283
    kinds of instructions they put six choices in nearly the order that a logistic regression does,
    in about a fifteenth of its time, and are much nearer to its accuracy than ridge regression.

    Rows without a label are left out, held-out ones of a label that was not chosen count as wrong.
    """

    name: ClassVar[str] = "probe"
    cost: ClassVar[str] = "O(b d^2 + d^3 + (n + b) C d) for C classes"
    figures: ClassVar[Mapping[str, Figure]] = {
        "accuracy": Figure("Accuracy on held-out rows", "higher"),
        "macro_f1": Figure("Macro F1", "higher"),
        "log_loss": Figure("Log-loss", "lower"),
    }
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")

    def judge(
        self, chosen: Pool, weights: Floats, held_out: Pool, rng: np.random.Generator
    ) -> dict[str, float]:
        """Train on the chosen rows, and classify the held-out ones."""
        from samplewise.measure.linear_probe import fit_linear_probe, macro_f1

        codes: dict[str, int] = {}
        X, y, mass = _labelled(chosen, codes, weights)
        X_test, y_test, _ = _labelled(held_out, codes, np.ones(len(held_out)))
        probe = fit_linear_probe(X, y, len(codes), mass)
        found, loss = probe.judge(X_test, y_test)
        accuracy = float((found == y_test).mean())
        return {"accuracy": accuracy, "macro_f1": macro_f1(y_test, found), "log_loss": loss}


@dataclass(frozen=True)
class Coverage(Proxy):
    """How near the held-out rows are to the chosen ones; no labels, no training.

    Parameters
    ----------
    most : int
        Held-out rows looked at; of more, a random sample, the same for all methods of a seed.
    """

    name: ClassVar[str] = "coverage"
    cost: ClassVar[str] = "O(n b d)"
    figures: ClassVar[Mapping[str, Figure]] = {
        "facility_location": Figure("Mean cosine to the nearest chosen row", "higher"),
        "mean_nearest": Figure("Mean distance to the nearest chosen row", "lower"),
    }
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    most: int = 20_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most < 1:
            raise UsageError(f"{self.name}: knob 'most' is {self.most}", mend="give 1 or more")

    def judge(
        self, chosen: Pool, weights: Floats, held_out: Pool, rng: np.random.Generator
    ) -> dict[str, float]:
        """Measure both; weights do not count."""
        picks, rows = _vectors(chosen), _vectors(held_out)
        if len(rows) > self.most:
            rows = rows[np.sort(rng.choice(len(rows), self.most, replace=False))]
        return {
            "facility_location": float(nearest_similarities(rows, picks).mean()),
            "mean_nearest": float(nearest_distances(rows, picks).mean()),
        }


@dataclass(frozen=True)
class LoraLoss(Proxy):
    """What a small language model learns of the chosen rows: its loss on held-out texts.

    Low-rank adapters are trained for the same number of steps whatever was chosen. Weighted rows
    are drawn by their weight.

    Parameters
    ----------
    model : str
        The built-in language model, or another that `samplewise.models.load` knows.
    steps, batch : int
        Steps of training, and texts in each.
    rank : int
        Of the adapters.
    learning_rate : float
    max_tokens : int
        A text's tokens that are read.
    rows : int
        Held-out texts that are judged by.

    References
    ----------
    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685.
    """

    name: ClassVar[str] = "lm"
    cost: ClassVar[str] = "O(steps), the same for every choice"
    figures: ClassVar[Mapping[str, Figure]] = {
        "held_out_loss": Figure("Held-out loss after training", "lower"),
        "loss_drop": Figure("Drop of the loss by training", "higher"),
        "tokens": Figure("Tokens trained on", "lower"),
    }
    needs: ClassVar[tuple[str, ...]] = ("text",)
    alone: ClassVar[bool] = True

    model: str = "builtin"
    steps: int = 100
    batch: int = 8
    rank: int = 8
    learning_rate: float = 5e-4
    max_tokens: int = 512
    rows: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("steps", "batch", "rank", "learning_rate", "max_tokens", "rows"):
            if not getattr(self, knob) > 0:
                raise UsageError(
                    f"{self.name}: knob {knob!r} is {getattr(self, knob)}", mend="give more than 0"
                )

    def judge(
        self, chosen: Pool, weights: Floats, held_out: Pool, rng: np.random.Generator
    ) -> dict[str, float]:
        """Train on the chosen texts, and measure the loss on the held-out ones."""
        from samplewise.models import load
        from samplewise.models.finetune import held_out_loss_after_lora

        count = min(self.rows, len(held_out))
        test = np.sort(rng.choice(len(held_out), count, replace=False))
        seed = seed_of(rng)
        train = np.arange(len(chosen))
        if np.ptp(weights) > 1e-9 * weights.max():
            train = rng.choice(train, len(train), p=weights / weights.sum())
        before, after, tokens = held_out_loss_after_lora(
            load(self.model),
            chosen.texts(train),
            held_out.texts(test),
            rank=self.rank,
            steps=self.steps,
            learning_rate=self.learning_rate,
            batch=self.batch,
            seed=seed,
            max_tokens=self.max_tokens,
        )
        return {
            "held_out_loss": float(after),
            "loss_drop": float(before - after),
            "tokens": float(tokens),
        }


PROXIES: dict[str, type[Proxy]] = {cls.name: cls for cls in (Probe, Coverage, LoraLoss)}


def make_proxy(spec: str) -> Proxy:
    """Make a proxy from ``NAME`` or ``NAME:KNOB=VALUE:...``.

    Raises
    ------
    UsageError
        If there is no such proxy or knob.

    Examples
    --------
    >>> make_proxy("coverage:most=500")
    Coverage(most=500)
    """
    name, settings = registry.parse_spec(spec)
    if name not in PROXIES:
        raise UsageError(f"there is no proxy {name!r}", mend=f"one of {', '.join(PROXIES)}")
    return registry.configure(PROXIES[name], settings)


def _vectors(pool: Pool) -> NDArray[np.float32]:
    assert pool.embeddings is not None
    return pool.embeddings


def _labelled(
    pool: Pool, codes: dict[str, int], weights: Floats
) -> tuple[NDArray[np.float32], NDArray[np.int64], Floats]:
    """Give the rows that have a class; `codes` numbers the names, and grows by new ones."""
    classes = pool.classes
    if classes is None:
        raise InputError(
            "none of the rows of this part has a label",
            file=pool.name,
            mend="raise the budget, or use --proxy coverage",
        )
    numbers = np.array([codes.setdefault(name, len(codes)) for name in classes.names], np.int64)
    rows = np.flatnonzero(classes.codes >= 0)
    return _vectors(pool)[rows], numbers[classes.codes[rows]], weights[rows]
