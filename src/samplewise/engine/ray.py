"""A Ray cluster: the same batch functions, run as stages of Ray Data."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from samplewise.errors import SamplewiseError, UsageError
from samplewise.extras import need

__all__ = ["RayEngine"]

T = TypeVar("T")
R = TypeVar("R")


class RayEngine:
    """Run on a Ray cluster; every node must see the input and the cache at the same path.

    Parameters
    ----------
    address : str, optional
        The cluster to join, such as ``"10.0.0.1:6379"`` or ``"auto"``; without it, a cluster is
        started on this machine.

    Raises
    ------
    UsageError
        If Ray is not installed, or the cluster cannot be reached.
    """

    name = "ray"

    def __init__(self, address: str | None = None) -> None:
        ray = need("ray", "ray", "the ray engine")
        if not ray.is_initialized():
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        ray.data.DataContext.get_current().enable_progress_bars = False

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `function(item)` for each item, in order.

        A task whose worker dies is run again by Ray.
        """
        import ray
        from ray import cloudpickle

        # Items and results travel as bytes: Ray Data would turn arrays into columns of its own.
        def run(row: dict[str, Any]) -> dict[str, Any]:
            result = function(cloudpickle.loads(row["item"]))
            return {"place": row["place"], "result": cloudpickle.dumps(result)}

        if not items:
            return
        rows = [
            {"place": place, "item": cloudpickle.dumps(item)} for place, item in enumerate(items)
        ]
        stage = ray.data.from_items(rows, override_num_blocks=len(rows)).map(run)
        early: dict[int, R] = {}
        due = 0
        try:
            for row in stage.iter_rows():
                early[row["place"]] = cloudpickle.loads(row["result"])
                while due in early:
                    yield early.pop(due)
                    due += 1
        except ray.exceptions.RayError as error:
            raise _own_error(error) from error


def _knock(address: str | None) -> None:
    """Refuse an address where nobody listens: Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UsageError(
            f"no Ray cluster answers at {address}: {error}",
            mend="start one with: ray start --head",
        ) from error


def _own_error(error: BaseException) -> BaseException:
    """Find our own error under those that Ray has wrapped around it."""
    cause: BaseException | None = error
    while cause is not None and type(cause).__module__.startswith("ray."):
        cause = getattr(cause, "cause", None) or cause.__cause__
    return cause if isinstance(cause, SamplewiseError) else error
