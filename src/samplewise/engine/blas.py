"""One BLAS thread for a while: for blocks of products that run side by side on threads of ours.

A BLAS with several threads splits a product as their number has it, and so rounds differently on
another machine; and called from several threads at once it has them wait for each other.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any, cast

__all__ = ["one_blas_thread"]


def one_blas_thread() -> AbstractContextManager[Any]:
    """Give a context in which NumPy's BLAS uses one thread a call, in the whole process.

    Examples
    --------
    >>> import numpy as np
    >>> with one_blas_thread():
    ...     print(float(np.ones(3) @ np.ones(3)))
    3.0
    """
    return cast(AbstractContextManager[Any], _controller().limit(limits=1))


@functools.cache
def _controller() -> Any:
    """Find the loaded BLAS libraries, once: that takes milliseconds."""
    import numpy  # noqa: F401 - its BLAS is loaded with it
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
