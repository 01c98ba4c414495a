"""Small images of some classes, for loops that train networks on them.

`Digits` is at hand with scikit-learn and is learned in seconds; `ImageArrays` and `ImageFile` hold
images of the user's.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import UsageError
from samplewise.train.base import Task

__all__ = ["Digits", "ImageArrays", "ImageFile", "ImageSets", "Images"]


class ImageSets(NamedTuple):
    """Images to learn from, and images for a test.

    Attributes
    ----------
    images, test_images : ndarray of float32, shape (rows, channels, height, width)
    labels, test_labels : ndarray of int64, shape (rows,)
        Numbered from 0.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """Classes, those of the test included."""
        return int(max(self.labels.max(), self.test_labels.max())) + 1

    @classmethod
    def read(
        cls,
        images: ArrayLike,
        labels: ArrayLike,
        test_images: ArrayLike,
        test_labels: ArrayLike,
    ) -> ImageSets:
        """Check arrays; images without channels get one.

        Raises
        ------
        UsageError
            If shapes do not fit together, or labels are no whole numbers of 0 or more.
        """
        sets = cls(
            *_read("images", images, "labels", labels),
            *_read("test_images", test_images, "test_labels", test_labels),
        )
        if sets.images.shape[1:] != sets.test_images.shape[1:]:
            raise UsageError(
                f"images are of the shape {sets.images.shape[1:]} and test_images "
                f"{sets.test_images.shape[1:]}",
                mend="give images of one shape",
            )
        return sets


class Images(Task):
    """Images and their classes."""

    @functools.cached_property
    @abstractmethod
    def sets(self) -> ImageSets:
        """All images."""


@dataclass(frozen=True)
class Digits(Images):
    """The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn.

    Parameters
    ----------
    test : float
        Share of them that is held out.
    seed : int
        Of the split.

    Examples
    --------
    >>> Digits().sets.images.shape
    (899, 1, 8, 8)
    """

    label: ClassVar[str] = "digits"

    test: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.test < 1:
            raise UsageError(f"test is {self.test}", mend="give a share between 0 and 1")

    @functools.cached_property
    def sets(self) -> ImageSets:
        """All images, with pixels from 0 to 1."""
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(self.seed).permutation(len(pixels))
        images = pixels.reshape(-1, 8, 8) / 16
        held_out, learned = np.split(order, [round(self.test * len(order))])
        return ImageSets.read(images[learned], labels[learned], images[held_out], labels[held_out])


@dataclass(frozen=True, eq=False)
class ImageArrays(Images):
    """Images in arrays.

    Parameters
    ----------
    images, test_images : array_like, shape (rows, channels, height, width) or (rows, height, width)
        As the network is to see them: scale them before.
    labels, test_labels : array_like of int, shape (rows,)
    """

    label: ClassVar[str] = "image-arrays"

    images: ArrayLike
    labels: ArrayLike
    test_images: ArrayLike
    test_labels: ArrayLike

    @functools.cached_property
    def sets(self) -> ImageSets:
        """All images."""
        return ImageSets.read(self.images, self.labels, self.test_images, self.test_labels)


@dataclass(frozen=True)
class ImageFile(Images):
    """Images in a file of NumPy's.

    Parameters
    ----------
    path : str
        An ``.npz`` with the arrays ``images``, ``labels``, ``test_images`` and ``test_labels``, as
        `ImageArrays` takes them.
    """

    label: ClassVar[str] = "image-file"

    path: str = "images.npz"

    @functools.cached_property
    def sets(self) -> ImageSets:
        """All images.

        Raises
        ------
        UsageError
            If the file or an array of it is missing.
        """
        if not Path(self.path).is_file():
            raise UsageError(f"path {self.path!r} is no file", mend="write one with numpy.savez")
        with np.load(self.path) as file:
            missing = [name for name in ImageSets._fields if name not in file]
            if missing:
                raise UsageError(
                    f"{self.path} has no {', '.join(missing)}", mend="write it with numpy.savez"
                )
            return ImageSets.read(*(file[name] for name in ImageSets._fields))


def _read(name: str, images: ArrayLike, of: str, labels: ArrayLike) -> tuple[Any, Any]:
    pixels = np.asarray(images, dtype=np.float32)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4 or not pixels.size or not np.isfinite(pixels).all():
        raise UsageError(
            f"{name} have the shape {pixels.shape}, or values that are not finite",
            mend="give numbers of the shape (rows, channels, height, width)",
        )
    classes = np.asarray(labels)
    whole = np.issubdtype(classes.dtype, np.integer)
    if not whole or classes.shape != pixels.shape[:1] or classes.min() < 0:
        raise UsageError(
            f"{of} do not fit {name} of the shape {pixels.shape}",
            mend="give a whole number a row, 0 or more",
        )
    return pixels, classes.astype(np.int64)
