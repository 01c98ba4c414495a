"""What a model says of every row while it is trained: recorded, kept in a file, read back.

`DynamicsRecorder` goes into any training loop; `record_dynamics` runs a small loop of its own, a
multilayer perceptron on vectors, for those who have none. Use the recorder where the model that
is to be trained can be afforded for some epochs: its own difficulties are the ones that count.
Cost of a record: O(t n c) numbers for t sightings of n rows with c classes.
Source: coverage-centric coreset selection, arXiv 2210.15809.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import InputError, UsageError
from samplewise.extras import need
from samplewise.files import atomic_path
from samplewise.measure.training_dynamics import last_layer_gradient_norms, softmax
from samplewise.progress import Progress, Silent
from samplewise.rng import RandomState, generator, seed_of

if TYPE_CHECKING:
    import torch

__all__ = ["Dynamics", "DynamicsRecorder", "record_dynamics", "require_keys", "require_torch"]

Values: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int64]

_KEYS = ("probabilities", "logits", "gradient_norms")


@dataclass(frozen=True, eq=False)
class Dynamics:
    """A record of training: entry (t, i) is of the t-th time that row i was seen.

    Attributes
    ----------
    probabilities, logits : ndarray of float32, shape (t, n, c), or None
        NaN where a row was seen less often than that. Of the two, one may be missing.
    labels : ndarray of int64, shape (n,), or None
        The class that each row was to be told as.
    classes : list of str or None
        Names of the classes, in the order of the last axis.
    gradient_norms : ndarray of float32, shape (t, n), or None
    """

    probabilities: Values | None = None
    logits: Values | None = None
    labels: Indices | None = None
    classes: list[str] | None = None
    gradient_norms: Values | None = None

    @classmethod
    def load(cls, path: str | Path) -> Dynamics:
        """Read and check an .npz file, such as `DynamicsRecorder.save` writes.

        Parameters
        ----------
        path : str or Path
            Its keys are those of the attributes. Shapes without the first axis are taken as one
            sighting.

        Raises
        ------
        InputError
            If it cannot be read, or an array in it makes no sense.
        """
        name = str(path)
        with _opened(path) as (file, keys):
            require_keys(keys, _KEYS, name)
            wanted = {*_KEYS, "labels", "classes"}.intersection(keys)
            found = {key: _array(file, key, name) for key in wanted}
        dynamics = cls(
            _record(found.get("probabilities"), "probabilities", 3, name),
            _record(found.get("logits"), "logits", 3, name),
            _whole(found["labels"], name) if "labels" in found else None,
            [str(one) for one in found["classes"].ravel()] if "classes" in found else None,
            _record(found.get("gradient_norms"), "gradient_norms", 2, name),
        )
        dynamics._check(name)
        return dynamics

    @staticmethod
    def keys_of(path: str | Path) -> list[str]:
        """Name the arrays of an .npz file without reading them.

        Raises
        ------
        InputError
            If the file cannot be read.
        """
        with _opened(path) as (_, keys):
            return keys

    @property
    def rows(self) -> int:
        """How many rows it is of."""
        held = (self.probabilities, self.logits, self.gradient_norms)
        return next(int(one.shape[1]) for one in held if one is not None)

    def without(self, rows: list[int]) -> Dynamics:
        """Give the record without some rows."""

        def less(values: Any, axis: int) -> Any:
            return None if values is None else np.delete(values, rows, axis=axis)

        return Dynamics(
            less(self.probabilities, 1),
            less(self.logits, 1),
            less(self.labels, 0),
            self.classes,
            less(self.gradient_norms, 1),
        )

    def chances(self) -> Values:
        """Give the probabilities, made of the logits where need be."""
        if self.probabilities is not None:
            return self.probabilities
        assert self.logits is not None
        return softmax(self.logits)

    def save(self, path: str | Path) -> Path:
        """Write an .npz file, which is either whole or absent."""
        held = {
            "probabilities": self.probabilities,
            "logits": self.logits,
            "labels": self.labels,
            "classes": None if self.classes is None else np.array(self.classes, dtype=np.str_),
            "gradient_norms": self.gradient_norms,
        }
        given: dict[str, Any] = {key: value for key, value in held.items() if value is not None}
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **given)
        return Path(path)

    def _check(self, name: str) -> None:
        """Refuse arrays that do not fit each other, and probabilities that are none."""
        held = {"probabilities": self.probabilities, "logits": self.logits}
        shapes = {key: value.shape[1] for key, value in held.items() if value is not None}
        if self.gradient_norms is not None:
            shapes["gradient_norms"] = self.gradient_norms.shape[1]
        if self.labels is not None:
            shapes["labels"] = len(self.labels)
        if len(set(shapes.values())) > 1:
            raise InputError(f"has arrays of different numbers of rows: {shapes}", file=name)
        for value in held.values():
            if value is None:
                continue
            classes = value.shape[2]
            if self.classes is not None and len(self.classes) != classes:
                raise InputError(
                    f"has {len(self.classes)} names for {classes} classes",
                    file=name,
                    field="classes",
                    mend="give one name a class, in the order of the last axis",
                )
            if self.labels is not None:
                outside = (self.labels < 0) | (self.labels >= classes)
                if outside.any():
                    row = int(outside.argmax())
                    raise InputError(
                        f"is {self.labels[row]}, and there are {classes} classes",
                        file=name,
                        line=row + 1,
                        field="labels",
                        mend="give whole numbers from 0, in the order of the last axis",
                    )
        if self.probabilities is not None:
            _refuse_improper(self.probabilities, name)
        if self.gradient_norms is not None and (self.gradient_norms < 0).any():
            raise InputError("holds a norm below 0", file=name, field="gradient_norms")


class DynamicsRecorder:
    """Keeps what a model says of each row, batch by batch, in any training loop.

    Give each batch once, in the order of training: the t-th time that a row comes is its t-th
    sighting, so that rows need not be seen equally often, and epochs need not be marked.

    Parameters
    ----------
    rows : int
        Rows of the training set.
    labels : array_like of int, shape (rows,), optional
        Their classes, from 0; kept in the file, and needed for gradient norms from `features`.
    classes : sequence of str, optional
        Names of the classes, in the order of the logits. With them and without `labels`, the
        labels are those of the pool, by name.

    Examples
    --------
    In a PyTorch loop, `logits` is the model's output as it is:

    >>> recorder = DynamicsRecorder(rows=3, labels=[0, 1, 1])
    >>> recorder.update([0, 1], [[2.0, 0.0], [1.0, 0.0]])
    >>> recorder.update([2, 0], [[0.0, 3.0], [4.0, 0.0]])
    >>> recorder.dynamics().logits[:, 0].tolist()  # of row 0
    [[2.0, 0.0], [4.0, 0.0]]
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = recorder.save(f"{folder}/dynamics.npz")
    ...     Dynamics.load(path).rows
    3
    """

    def __init__(
        self, rows: int, labels: ArrayLike | None = None, classes: list[str] | None = None
    ) -> None:
        if rows < 1:
            raise UsageError(f"there are {rows} rows to record", mend="give 1 or more")
        self._labels = None if labels is None else _whole(np.asarray(labels), "labels")
        if self._labels is not None and len(self._labels) != rows:
            raise UsageError(
                f"there are {len(self._labels)} labels for {rows} rows", mend="give one a row"
            )
        self._classes = None if classes is None else [str(one) for one in classes]
        self._seen = np.zeros(rows, np.int64)
        self._logits: list[Values] = []
        self._norms: list[Values] = []

    def update(
        self,
        indices: Any,
        logits: Any,
        *,
        features: Any = None,
        gradient_norms: Any = None,
    ) -> None:
        """Record one batch.

        Parameters
        ----------
        indices : array_like of int or tensor, shape (b,)
            The rows of the batch, from 0.
        logits : array_like or tensor, shape (b, c)
            What the model said of them, on any device and of any float type.
        features : array_like or tensor, shape (b, h), optional
            Inputs of the model's last layer: the norms of its gradients are then kept.
        gradient_norms : array_like or tensor, shape (b,), optional
            Norms of each row's gradient, where you have them.

        Raises
        ------
        UsageError
            If the shapes do not fit, a row does not exist, or a value is not finite.
        """
        places, values = _plain(indices), _plain(logits).astype(np.float32)
        self._refuse_batch(places, values)
        norms = self._norms_of(places, values, features, gradient_norms)
        times = self._seen[places] + _earlier(places)
        while times.max(initial=-1) >= len(self._logits):
            self._grow(values.shape[1], norms is not None)
        for time in np.unique(times):
            at = times == time
            self._logits[time][places[at]] = values[at]
            if norms is not None:
                self._norms[time][places[at]] = norms[at]
        np.add.at(self._seen, places, 1)

    def dynamics(self) -> Dynamics:
        """Give what was recorded so far.

        Raises
        ------
        UsageError
            If nothing was.
        """
        if not self._logits:
            raise UsageError("nothing was recorded", mend="call update(...) for every batch")
        norms = np.stack(self._norms) if self._norms else None
        return Dynamics(None, np.stack(self._logits), self._labels, self._classes, norms)

    def save(self, path: str | Path) -> Path:
        """Write what was recorded to an .npz file, which the scorers' knob `dynamics` takes.

        Raises
        ------
        UsageError
            If nothing was recorded, or a row was never seen.
        """
        if (self._seen == 0).any():
            raise UsageError(
                f"row {int((self._seen == 0).argmax())} was never seen",
                mend="record at least one whole epoch",
            )
        return self.dynamics().save(path)

    def _grow(self, classes: int, with_norms: bool) -> None:
        rows = len(self._seen)
        self._logits.append(np.full((rows, classes), np.nan, np.float32))
        if with_norms:
            self._norms.append(np.full(rows, np.nan, np.float32))

    def _refuse_batch(self, places: NDArray[Any], values: Values) -> None:
        if places.ndim != 1 or places.dtype.kind not in "iu" or values.shape[:1] != places.shape:
            raise UsageError(
                f"indices have shape {places.shape} and type {places.dtype}, and logits shape "
                f"{values.shape}",
                mend="give (b,) whole numbers and (b, c) logits",
            )
        if values.ndim != 2 or (self._logits and self._logits[0].shape[1] != values.shape[1]):
            raise UsageError(
                f"logits have shape {values.shape}", mend="give (b, c), c the same in every batch"
            )
        if places.size and (places.min() < 0 or places.max() >= len(self._seen)):
            raise UsageError(
                f"row {places.max() if places.min() >= 0 else places.min()} does not exist",
                mend=f"rows count from 0 to {len(self._seen) - 1}",
            )
        if not np.isfinite(values).all():
            raise UsageError(
                "the logits hold a value that is not finite", mend="look for a loss that diverged"
            )

    def _norms_of(
        self, places: Indices, values: Values, features: Any, gradient_norms: Any
    ) -> NDArray[Any] | None:
        """Give the batch's gradient norms, where they were given or can be made."""
        if gradient_norms is not None:
            norms = _plain(gradient_norms)
            if norms.shape != places.shape or not np.isfinite(norms).all():
                raise UsageError(
                    f"gradient norms have shape {norms.shape}, or one is not finite",
                    mend="give (b,) finite numbers",
                )
        elif features is not None:
            if self._labels is None:
                raise UsageError(
                    "gradients need the labels", mend="give labels= when the recorder is made"
                )
            norms = last_layer_gradient_norms(
                softmax(values)[None], self._labels[places], _plain(features)
            )[0]
        else:
            norms = None
        if self._logits and (norms is not None) != bool(self._norms):
            raise UsageError(
                "some batches have gradient norms and some have not", mend="give them for all"
            )
        return norms


def record_dynamics(
    vectors: ArrayLike,
    labels: ArrayLike,
    *,
    hidden: int = 64,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 0.01,
    gradient_norms: bool = False,
    rng: RandomState = None,
    progress: Progress | None = None,
) -> Dynamics:
    """Train a small classifier on vectors, and record what it said of each row before each step.

    A perceptron with one hidden layer of rectified units learns by Adam, in batches drawn anew
    every epoch. Vectors are first moved to mean 0 and scaled, all dimensions alike, to a mean
    square of 1.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
    labels : array_like of int, shape (n,)
        From 0.
    hidden : int
        Units of the hidden layer.
    epochs : int
        How often every row is seen.
    batch_size : int
        Rows a step.
    learning_rate : float
        Of Adam.
    gradient_norms : bool
        Whether the norms of each row's gradient, by all weights, are recorded too.
    rng : int, numpy.random.Generator or None
        The same seed gives the same record.
    progress : Progress, optional
        Who is told how far it has come.

    Returns
    -------
    Dynamics
        Logits of shape (epochs, n, c).

    Raises
    ------
    UsageError
        If PyTorch is not installed, or the training diverged.

    Examples
    --------
    >>> X = [[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]]
    >>> record_dynamics(X, [0, 0, 1, 1], epochs=3, rng=0).logits.shape
    (3, 4, 2)
    """
    torch = require_torch()
    seed = torch.Generator().manual_seed(seed_of(generator(rng)))
    rows, targets = np.asarray(vectors, np.float32), _whole(np.asarray(labels), "labels")
    X, y = torch.from_numpy(_scaled(rows)), torch.from_numpy(targets)
    weights = _weights(X.shape[1], hidden, int(targets.max()) + 1, seed)
    optimizer = torch.optim.Adam(weights, lr=learning_rate, fused=True)
    recorder = DynamicsRecorder(len(X), targets)
    stage = (progress or Silent()).stage("train", epochs * len(X), "rows")
    with _one_thread(), stage as advance, torch.enable_grad():
        for _ in range(epochs):
            for batch in torch.randperm(len(X), generator=seed).split(batch_size):
                inner, logits = _forward(X[batch], weights)
                loss = torch.nn.functional.cross_entropy(logits, y[batch])
                with torch.no_grad():
                    norms = (
                        _gradient_norms(X[batch], y[batch], inner, logits, weights)
                        if gradient_norms
                        else None
                    )
                recorder.update(batch, logits, gradient_norms=norms)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                advance(len(batch))
    return recorder.dynamics()


# --- the small classifier ------------------------------------------------------------------------


def require_torch() -> Any:
    """Import PyTorch, or say how to get it, and how to do without."""
    what, otherwise = "training a small model", "give the dynamics of your own training"
    return need("torch", "torch", what, otherwise)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: so small a model is faster so, and sums round the same anywhere.

    The number is put back at the end.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _scaled(rows: Values) -> Values:
    """Move to mean 0, and scale to a mean square of 1 over all numbers."""
    middle = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    moved: Values = rows - middle
    square = float(np.einsum("ij,ij->", moved, moved, dtype=np.float64)) / moved.size
    moved /= np.float32(np.sqrt(square) or 1.0)
    return moved


def _weights(
    inputs: int, hidden: int, classes: int, seed: torch.Generator
) -> tuple[torch.Tensor, ...]:
    """Draw two layers, uniform with the variance of He et al. (2015) and half of it."""
    import torch

    def layer(fan: int, units: int, gain: float) -> torch.Tensor:
        bound = gain * (3.0 / fan) ** 0.5
        drawn = torch.empty(units, fan).uniform_(-bound, bound, generator=seed)
        return drawn.requires_grad_()

    return (
        layer(inputs, hidden, 2**0.5),
        torch.zeros(hidden, requires_grad=True),
        layer(hidden, classes, 1.0),
        torch.zeros(classes, requires_grad=True),
    )


def _forward(
    X: torch.Tensor, weights: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the hidden layer and the logits."""
    first, first_bias, second, second_bias = weights
    inner = (X @ first.T + first_bias).relu()
    return inner, inner @ second.T + second_bias


def _gradient_norms(
    X: torch.Tensor,
    y: torch.Tensor,
    inner: torch.Tensor,
    logits: torch.Tensor,
    weights: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """Norm of each row's own gradient by all weights: each layer's is an outer product."""
    error = logits.softmax(dim=1)
    error[range(len(y)), y] -= 1
    pulled = (error @ weights[2]) * (inner > 0)
    outer = error.square().sum(1) * (inner.square().sum(1) + 1)
    return (outer + pulled.square().sum(1) * (X.square().sum(1) + 1)).sqrt()


# --- checks --------------------------------------------------------------------------------------


def _plain(values: Any) -> NDArray[Any]:
    """Give an array of a tensor on any device, of anything else as NumPy does."""
    if hasattr(values, "detach"):  # a tensor, whose bfloat16 NumPy does not know
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
        return np.asarray(values.numpy())
    return np.asarray(values)


def _earlier(places: Indices) -> Indices:
    """Count, for each entry of a batch, the entries before it that name the same row."""
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    count = np.empty(len(places), np.int64)
    count[order] = np.arange(len(places)) - np.searchsorted(ordered, ordered)
    return count


def _whole(labels: NDArray[Any], name: str) -> Indices:
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
        raise InputError(
            f"have shape {labels.shape} and type {labels.dtype}",
            file=name,
            field="labels",
            mend="give one whole number a row, from 0",
        )
    return labels.astype(np.int64)


class _opened:  # noqa: N801 - reads as a word in a with statement
    """Open an .npz file, and turn what NumPy raises of a broken one into an error with a place."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> tuple[Any, list[str]]:
        if not self.path.is_file():
            raise InputError("no such file", file=str(self.path))
        try:
            self.file = np.load(self.path, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _broken(self.path, error) from error
        if not isinstance(self.file, np.lib.npyio.NpzFile):
            raise _broken(self.path, "it holds one array alone")
        return self.file, list(self.file.files)

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _broken(path: str | Path, why: object) -> InputError:
    return InputError(
        f"is not a readable .npz file: {why}",
        file=str(path),
        mend="write it with DynamicsRecorder.save, or numpy.savez",
    )


def _array(file: Any, key: str, name: str) -> NDArray[Any]:
    try:
        return np.asarray(file[key])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _broken(name, f"{key}: {error}") from error


def require_keys(keys: list[str], wanted: tuple[str, ...], name: str) -> None:
    """Refuse a file that has none of the arrays wanted."""
    if not set(wanted) & set(keys):
        raise InputError(
            f"holds no {' or '.join(wanted)}, but {', '.join(keys) or 'nothing'}",
            file=name,
            field=wanted[0],
            mend="write it with DynamicsRecorder.save, or numpy.savez",
        )


def _record(values: NDArray[Any] | None, key: str, axes: int, name: str) -> Values | None:
    """Check the shape, the type, and that every row was seen; NaN elsewhere is a sighting less."""
    if values is None:
        return None
    if values.ndim == axes - 1:
        values = values[None]
    if values.ndim != axes or not values.size or values.dtype.kind not in "fiu":
        wanted = "(sightings, rows, classes)" if axes == 3 else "(sightings, rows)"
        raise InputError(
            f"has shape {values.shape} and type {values.dtype}",
            file=name,
            field=key,
            mend=f"give numbers of shape {wanted}",
        )
    record: Values = values.astype(np.float32)
    flat = record.reshape(*record.shape[:2], -1)
    missing = np.isnan(flat)
    unseen = missing.all(axis=2)
    wrong = np.isinf(flat).any(axis=(0, 2)) | (missing.any(axis=2) & ~unseen).any(axis=0)
    for rows, reason in (
        (wrong, "holds a value that is not finite for this row"),
        (unseen.all(axis=0), "says nothing of this row: it was never seen"),
    ):
        if rows.any():
            raise InputError(reason, file=name, line=int(rows.argmax()) + 1, field=key)
    return record


def _refuse_improper(probabilities: Values, name: str) -> None:
    with np.errstate(invalid="ignore"):
        far = np.abs(probabilities.sum(axis=2, dtype=np.float64) - 1) > 0.01
        wrong = (far | (probabilities < 0).any(axis=2)).any(axis=0)
    if wrong.any():
        raise InputError(
            "are no probabilities for this row: they are below 0, or do not sum to 1",
            file=name,
            line=int(wrong.argmax()) + 1,
            field="probabilities",
            mend="give them as 'logits' if that is what they are",
        )
