"""How hard each row is to learn, told by what a model said of it while it was trained.

A model in training is often wrong, or unsure, of some rows long after the others are learned: they
are rare, ambiguous, or mislabelled. Use these scores to drop the hardest rows as likely errors, to
keep the hard ones of a clean set, or to keep some of every difficulty (`coverage-centric`). Higher
is harder, always.

Without a record of your own (`samplewise.score.recording.DynamicsRecorder`), a small perceptron
that learns the pool's labels from its embeddings is watched in place of the model.
Cost O(t n h (d + c)) for t epochs, h hidden units and c classes; memory O(t n c).
Source: coverage-centric coreset selection, arXiv 2210.15809, and the papers that it compares.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import InputError, UsageError
from samplewise.measure import training_dynamics as measure
from samplewise.pool import Category, Pool
from samplewise.progress import Progress
from samplewise.score.base import Scorer
from samplewise.score.recording import Dynamics, record_dynamics, require_keys, require_torch

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["AUM", "EL2N", "Forgetting", "GraNd", "PredictionEntropy"]

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingDynamics(Scorer):
    """Shared base: get a record of training, and make one number a row of it."""

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")
    cost: ClassVar[str] = "O(t n h (d + c)) for t epochs, h hidden units, c classes"
    by_label: ClassVar[bool] = True
    """Whether the label counts, and not only what the model said."""

    dynamics: str | None = None
    reduce: Literal["mean", "sum"] = "mean"
    hidden: int = 64
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("hidden", "epochs", "batch_size", "first"):
            value = getattr(self, knob, None)
            if value is not None and value < 1:
                raise UsageError(f"{self.name}: knob '{knob}' is {value}", mend="give 1 or more")
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(
                f"{self.name}: knob 'learning_rate' is {self.learning_rate}",
                mend="give more than 0, such as 0.01",
            )
        if self.dynamics is not None:
            object.__setattr__(self, "needs", ())  # nothing is trained

    def score(
        self, pool: Pool, rng: np.random.Generator, engine: Engine, progress: Progress
    ) -> Floats:
        """Give each row its difficulty."""
        if self.dynamics is not None:
            dynamics = _fitted(Dynamics.load(self.dynamics), pool, self.dynamics)
            codes = _labels(dynamics, pool) if self.by_label else np.zeros(len(pool), np.int64)
            return self.difficulty(dynamics, codes)
        assert pool.embeddings is not None
        assert pool.classes is not None
        codes = pool.classes.codes.astype(np.int64)
        dynamics = record_dynamics(
            pool.embeddings,
            codes,
            hidden=self.hidden,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            gradient_norms="gradient_norms" in self.keys(),
            rng=rng,
            progress=progress,
        )
        return self.difficulty(dynamics, codes)

    @abstractmethod
    def difficulty(self, dynamics: Dynamics, labels: Indices) -> Floats:
        """Make one number a row of the record, higher where the row is harder."""

    def keys(self) -> tuple[str, ...]:
        """Name the arrays of a file of which one must be there."""
        return ("probabilities", "logits")

    def check(self, pool: Pool) -> None:
        """Refuse a pool without labels to learn, and a file without what the score is made of."""
        super().check(pool)
        if self.dynamics is None:
            require_torch()
            assert pool.classes is not None
            _refuse_unlabelled(pool, pool.classes)
            return
        held = Dynamics.keys_of(self.dynamics)
        require_keys(held, self.keys(), self.dynamics)
        if self.by_label and "labels" not in held and pool.classes is None:
            raise InputError(
                f"{self.name} needs the rows' labels, and neither this file nor the pool has them",
                file=self.dynamics,
                field="labels",
                mend="save 'labels' in it, or name the pool's field with --label FIELD",
            )


@dataclass(frozen=True)
class EL2N(TrainingDynamics):
    """How far the probabilities of each row were from its label, early in training.

    The Euclidean norm of p - onehot(label), over the first times that the row was seen. Higher is
    harder.

    Parameters
    ----------
    dynamics : str, optional
        An .npz file with a record of your own training: `probabilities` or `logits` of shape
        (sightings, rows, classes), and `labels` of shape (rows,) or `classes`, their names in
        order, by which those of the pool are found. By default a small model is trained.
    reduce : {'mean', 'sum'}
        Over the sightings. They differ only where rows were not seen equally often.
    hidden, epochs, batch_size : int
        Of the small model: its hidden units, how often it sees every row, rows a step.
    learning_rate : float
        Of the small model.
    first : int or None
        Sightings that count; None: all.

    References
    ----------
    M. Paul, S. Ganguli, G. K. Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples
    Early in Training", arXiv 2107.07075.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0)
    >>> y = np.repeat(["a", "b"], 20)
    >>> y[3] = "b"  # a mistake
    >>> int(sw.score(sw.Pool.from_arrays(X, y), "el2n", rng=0).score.argmax())
    3
    """

    name: ClassVar[str] = "el2n"
    paper: ClassVar[str] = "2107.07075"

    first: int | None = 10

    def difficulty(self, dynamics: Dynamics, labels: Indices) -> Floats:
        """Make one number a row of the record."""
        return measure.el2n(dynamics.chances()[: self.first], labels, self.reduce)


@dataclass(frozen=True)
class GraNd(TrainingDynamics):
    """How strongly each row pulled at the model early in training: the norm of its gradient.

    Of the small model it is the gradient by all weights, exactly. Higher is harder.

    Parameters
    ----------
    dynamics : str, optional
        An .npz file with a record of your own training: `gradient_norms` of shape (sightings,
        rows), such as `DynamicsRecorder` makes of the last layer's inputs. By default a small
        model is trained.
    reduce : {'mean', 'sum'}
        Over the sightings. They differ only where rows were not seen equally often.
    hidden, epochs, batch_size, learning_rate
        As in `EL2N`.
    first : int or None
        Sightings that count; None: all.

    References
    ----------
    M. Paul, S. Ganguli, G. K. Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples
    Early in Training", arXiv 2107.07075.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0)
    >>> y = np.repeat(["a", "b"], 20)
    >>> y[3] = "b"  # a mistake
    >>> int(sw.score(sw.Pool.from_arrays(X, y), "grand", rng=0).score.argmax())
    3
    """

    name: ClassVar[str] = "grand"
    paper: ClassVar[str] = "2107.07075"
    by_label: ClassVar[bool] = False

    first: int | None = 10

    def difficulty(self, dynamics: Dynamics, labels: Indices) -> Floats:
        """Make one number a row of the record."""
        assert dynamics.gradient_norms is not None
        return measure.grand(dynamics.gradient_norms[: self.first], self.reduce)

    def keys(self) -> tuple[str, ...]:
        """Name the arrays of a file of which one must be there."""
        return ("gradient_norms",)


@dataclass(frozen=True)
class Forgetting(TrainingDynamics):
    """How often each row, once told right, was told wrong the next time.

    Higher is harder. Counts are small whole numbers with a spike at 0: most strata of
    `coverage-centric` are then empty, and that is no harm.

    Parameters
    ----------
    dynamics
        As in `EL2N`.
    reduce : {'mean', 'sum'}
        'sum' counts; 'mean' divides by the times that the row was seen.
    hidden, epochs, batch_size, learning_rate
        As in `EL2N`.
    unlearned : {'most', 'none'}
        What a row that was never told right is given: 'most', one event more than any row had,
        since nothing is harder; 'none', the 0 that counting gives, as in the code of arXiv
        2210.15809.

    References
    ----------
    M. Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network
    Learning", arXiv 1812.05159.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0)
    >>> y = np.repeat(["a", "b"], 20)
    >>> y[3] = "b"  # a mistake
    >>> int(sw.score(sw.Pool.from_arrays(X, y), "forgetting", rng=0).score.argmax())
    3
    """

    name: ClassVar[str] = "forgetting"
    paper: ClassVar[str] = "1812.05159"

    reduce: Literal["mean", "sum"] = "sum"
    unlearned: Literal["most", "none"] = "most"

    def difficulty(self, dynamics: Dynamics, labels: Indices) -> Floats:
        """Make one number a row of the record."""
        values = dynamics.probabilities if dynamics.logits is None else dynamics.logits
        assert values is not None
        counts = measure.forgetting(values, labels)
        if self.unlearned == "most":
            counts[measure.times_correct(values, labels) == 0] = counts.max() + 1
        if self.reduce == "mean":
            counts /= (~np.isnan(values[:, :, 0])).sum(axis=0)
        return counts


@dataclass(frozen=True)
class AUM(TrainingDynamics):
    """How far each row's label fell short of the other classes, over all of training.

    The margin is the label's probability less the highest other one. The area under the margin is
    high where a row is easy, so the score is its *negative*: higher is harder, and mislabelled
    rows are at the top.

    Parameters
    ----------
    dynamics
        As in `EL2N`.
    reduce : {'mean', 'sum'}
        Over the sightings. They differ only where rows were not seen equally often.
    hidden, epochs, batch_size, learning_rate
        As in `EL2N`.
    margin : {'probabilities', 'logits'}
        What the margin is of. That of logits is the one of arXiv 2001.10528; it has no bound, and
        outliers leave most of many strata of equal width empty.

    References
    ----------
    G. Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking",
    arXiv 2001.10528.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0)
    >>> y = np.repeat(["a", "b"], 20)
    >>> y[3] = "b"  # a mistake
    >>> int(sw.score(sw.Pool.from_arrays(X, y), "aum", rng=0).score.argmax())
    3
    """

    name: ClassVar[str] = "aum"
    paper: ClassVar[str] = "2001.10528"

    margin: Literal["probabilities", "logits"] = "probabilities"

    def difficulty(self, dynamics: Dynamics, labels: Indices) -> Floats:
        """Make one number a row of the record."""
        values = dynamics.logits if self.margin == "logits" else dynamics.chances()
        assert values is not None
        return -measure.aum(values, labels, self.reduce)

    def keys(self) -> tuple[str, ...]:
        """Name the arrays of a file of which one must be there."""
        return ("logits",) if self.margin == "logits" else super().keys()


@dataclass(frozen=True)
class PredictionEntropy(TrainingDynamics):
    """How unsure the model was of each row, whatever its label.

    Higher is harder. A mislabelled row that the model is sure of is low here: this score does not
    find it.

    Parameters
    ----------
    dynamics : str, optional
        An .npz file with a record of your own training: `probabilities` or `logits` of shape
        (sightings, rows, classes). By default a small model is trained.
    reduce : {'last', 'mean', 'sum'}
        'last': of the last time that the row was seen, when the model has learned most.
    hidden, epochs, batch_size, learning_rate
        As in `EL2N`.

    References
    ----------
    C. Coleman et al., "Selection via Proxy: Efficient Data Selection for Deep Learning",
    arXiv 1906.11829.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> X = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0)
    >>> X[5] = 0.5  # between the two
    >>> pool = sw.Pool.from_arrays(X, np.repeat(["a", "b"], 20))
    >>> int(sw.score(pool, "prediction-entropy", rng=0).score.argmax())
    5
    """

    name: ClassVar[str] = "prediction-entropy"
    aliases: ClassVar[tuple[str, ...]] = ("entropy",)
    paper: ClassVar[str] = "1906.11829"
    by_label: ClassVar[bool] = False

    # mypy: one rule more than the shared base has.
    reduce: Literal["last", "mean", "sum"] = "last"  # type: ignore[assignment]

    def difficulty(self, dynamics: Dynamics, labels: Indices) -> Floats:
        """Make one number a row of the record."""
        return measure.prediction_entropy(dynamics.chances(), self.reduce)


# --- records and pools ---------------------------------------------------------------------------


def _refuse_unlabelled(pool: Pool, classes: Category) -> None:
    if (classes.codes < 0).any():
        file, line = pool.place(int((classes.codes < 0).argmax()))
        raise InputError(
            "has no label to learn",
            file=file,
            line=line,
            field=pool.layout.label or pool.layout.source or "label",
            mend="label the row, or leave it out",
        )


def _fitted(dynamics: Dynamics, pool: Pool, name: str) -> Dynamics:
    """Match the record with the pool; rows that were set aside may be in it or not."""
    if dynamics.rows == len(pool):
        return dynamics
    if dynamics.rows == pool.read_count:
        return dynamics.without([row.row for row in pool.rejected])
    raise InputError(
        f"is of {dynamics.rows} rows, and the pool has {len(pool)}",
        file=name,
        mend="record every row of the pool, in its order",
    )


def _labels(dynamics: Dynamics, pool: Pool) -> Indices:
    """Give the record's labels, or the pool's as places on the record's axis of classes."""
    if dynamics.labels is not None:
        return dynamics.labels
    classes = pool.classes
    assert classes is not None
    _refuse_unlabelled(pool, classes)
    values = dynamics.probabilities if dynamics.logits is None else dynamics.logits
    assert values is not None
    # Order of appearance may be another than the model's: names decide, or are the places.
    names = dynamics.classes or [str(place) for place in range(values.shape[2])]
    missing = sorted(set(classes.names) - set(names))
    if missing:
        raise InputError(
            f"does not say which of its {len(names)} classes is {missing[0]!r}",
            file=pool.name,
            field=pool.layout.label or pool.layout.source or "label",
            mend="save 'labels', or 'classes' (their names, in order), with the dynamics",
        )
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[name] for name in classes.names])[classes.codes].astype(np.int64)
