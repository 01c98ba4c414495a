"""What is done to vectors again and again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["directions"]


def directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale vectors to length 1; a vector of zeros stays as it is, and is like no other.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)

    Returns
    -------
    ndarray of float32, shape (n, d)
        A copy.

    Examples
    --------
    >>> directions(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)).round(1).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    # In float64, where no square of a float32 overflows or vanishes.
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    lengths[lengths == 0] = 1.0
    return np.asarray(vectors / lengths[:, None], dtype=np.float32)
