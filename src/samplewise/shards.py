"""Rows on disk: one Arrow file a shard, and one manifest a part that makes its shards valid."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from samplewise.files import atomic_path, atomic_write
from samplewise.layout import Layout
from samplewise.progress import Progress
from samplewise.readers import COLUMNS, Part, read_part

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["VERSION", "Mapper", "load_shard", "store_parts"]

VERSION = 2  # of the files; raise it when what they hold changes

T = TypeVar("T")
R = TypeVar("R")


class Mapper(Protocol):
    """Something that can run a function over items: an engine."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `function(item)` for each item, in order."""
        ...


def store_parts(
    parts: list[Part], layout: Layout, folder: Path, engine: Mapper | None, progress: Progress
) -> list[dict[str, Any]]:
    """Read every part that is not in the folder yet, and give the manifests of all.

    A manifest holds `shards` (name and rows of each), `rejected` and `last_line`.
    """
    manifests = [folder / f"part-{number:05d}.json" for number in range(len(parts))]
    missing = [
        (part, str(path)) for part, path in zip(parts, manifests, strict=True) if not path.exists()
    ]
    store = functools.partial(_store_part, layout)
    results = engine.map(store, missing) if engine else map(store, missing)
    sizes = [_size(part) / 1e6 for part, _ in missing]
    with progress.stage("read", sum(sizes), "MB") as advance:
        for size, _ in zip(sizes, results, strict=True):
            advance(size)
    return [json.loads(path.read_bytes()) for path in manifests]


def load_shard(shard: Path | pa.Table, columns: Sequence[str]) -> pa.Table:
    """Load some columns of a shard, from disk or memory."""
    if not isinstance(shard, Path):
        return shard.select(columns)
    import pyarrow as pa

    fields = [COLUMNS.index(column) for column in columns]
    with pa.OSFile(str(shard)) as stream:
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        return pa.ipc.open_file(stream, options=options).read_all()


def _store_part(layout: Layout, item: tuple[Part, str]) -> None:
    import pyarrow as pa

    part, manifest = item[0], Path(item[1])
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    shards, rejected, last_line = [], [], 0
    for number, shard in enumerate(read_part(part, layout)):
        last_line = shard.last_line
        rejected += [row.as_json() for row in shard.rejected]
        if shard.table.num_rows:
            name = f"{manifest.stem}-{number:05d}.arrow"
            with (
                atomic_path(manifest.with_name(name)) as temporary,
                pa.ipc.new_file(str(temporary), shard.table.schema, options=options) as writer,
            ):
                writer.write_table(shard.table)
            shards.append({"file": name, "rows": shard.table.num_rows})
    content = {"shards": shards, "rejected": rejected, "last_line": last_line}
    atomic_write(manifest, json.dumps(content))


def _size(part: Part) -> int:
    size = Path(part.path).stat().st_size
    return min(size, part.end or size) - part.start
