"""Vectors of a pool: made shard by shard on an engine, kept by content hash, memory-mapped."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samplewise.embed.base import Embedder, Vectors
from samplewise.embed.static import StaticEmbedder
from samplewise.errors import InputError, UsageError
from samplewise.files import atomic_path
from samplewise.pool import Pool
from samplewise.progress import Progress, Silent
from samplewise.shards import VERSION, load_shard

if TYPE_CHECKING:
    from samplewise.engine.base import Engine

__all__ = ["count_tokens", "embed_pool", "make_embedder"]

_MEMORY_ROWS = 4_096  # rows of a pool in memory that one call embeds


def make_embedder(spec: str, url: str | None = None) -> Embedder:
    """Make an embedder from what `--embed` takes.

    Parameters
    ----------
    spec : str
        ``"builtin"``, ``"sentence-transformers:MODEL"`` (a name or a folder), or
        ``"endpoint:MODEL"`` with `url`.
    url : str, optional
        Base address of an OpenAI-compatible server, such as ``"http://localhost:8000/v1"``.

    Raises
    ------
    UsageError
        If the spec is none of these.
    """
    kind, _, model = spec.partition(":")
    if kind == "builtin":
        return StaticEmbedder()
    if kind == "sentence-transformers" and model:
        from samplewise.embed.sentence_transformers import SentenceTransformersEmbedder

        return SentenceTransformersEmbedder(model)
    if kind == "endpoint" and model and url:
        from samplewise.embed.endpoint import EndpointEmbedder

        return EndpointEmbedder(model, url)
    raise UsageError(
        f"embedder {spec!r}" + (" has no address" if kind == "endpoint" and model else ""),
        mend="builtin, sentence-transformers:MODEL, endpoint:MODEL with --embed-url, "
        "or a .npy file or column:NAME of vectors",
    )


def embed_pool(
    pool: Pool,
    embedder: str | Embedder = "builtin",
    *,
    url: str | None = None,
    engine: Engine | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Pool:
    """Give the pool, and its target if it has one, with a vector a row.

    Parameters
    ----------
    pool : Pool
        Rows with text (or with a column of vectors); those that have vectors keep them.
    embedder : str or Embedder
        An embedder, or what `make_embedder` takes, or a ``.npy`` file, or ``"column:NAME"``.
    url : str, optional
        Address of the endpoint.
    engine : Engine, optional
        Where the shards are embedded; by default this machine's cores.
    cache : str or Path, optional
        Folder that keeps the vectors, by hash of the pool and the embedder; finished shards are
        never made again. Without it they stay in memory.
    progress : Progress, optional

    Raises
    ------
    InputError
        If the pool has no text, or the vectors do not fit it or those of its target.
    """
    if pool.target is not None:
        where: dict[str, Any] = {"url": url, "engine": engine, "cache": cache}
        target = embed_pool(pool.target, embedder, **where, progress=progress)
        plain = dataclasses.replace(pool, target=None)
        pool = embed_pool(plain, embedder, **where, progress=progress)
        return pool.with_target(target)
    if pool.embeddings is not None:
        return pool
    if isinstance(embedder, str):
        if embedder.endswith(".npy"):
            return pool.with_embeddings(_load_file(Path(embedder)), embedder)
        if embedder.startswith("column:"):
            return pool.with_embeddings(_column(pool, embedder[7:]), embedder)
        embedder = make_embedder(embedder, url)
    if not pool.shards or not pool.layout.text:
        raise InputError("the rows have no text to embed", file=pool.name)
    if engine is None:
        from samplewise.engine.local import LocalEngine

        engine = LocalEngine()
    progress = progress or Silent()
    if cache is None:
        vectors = np.concatenate(_embedded(pool, embedder, engine, None, progress))
        return pool.with_embeddings(vectors, embedder.id)
    key = hashlib.sha256(f"{VERSION} {pool.fingerprint} {embedder.id}".encode()).hexdigest()
    folder = Path(cache) / "vectors" / key[:20]
    whole = folder / "embeddings.npy"
    if not whole.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shards = _embedded(pool, embedder, engine, folder, progress)
        _join(shards, whole)
        for shard in folder.glob("shard-*.npy"):
            shard.unlink()
    return pool.with_embeddings(np.load(whole, mmap_mode="r"), embedder.id)


def count_tokens(pool: Pool, engine: Engine) -> NDArray[np.int64]:
    """Count the tokens of every row with the built-in tokenizer."""
    return np.concatenate(list(engine.map(_count, _items(pool))))


def _items(pool: Pool) -> list[Any]:
    """Cut the pool into what one call takes.

    That is the path of a shard, with those of its rows that a subset holds, or a slice of a table
    in memory.
    """
    items: list[Any] = []
    for shard, local in zip(pool.shards, pool.rows_of_shards(), strict=True):
        if local is not None and not len(local):
            continue
        if isinstance(shard, Path):
            items.append((shard, local))
        else:
            text = shard.select(["text"])
            text = text if local is None else text.take(local)
            items += [
                (text.slice(start, _MEMORY_ROWS), None)
                for start in range(0, text.num_rows, _MEMORY_ROWS)
            ]
    return items


def _texts(item: Any) -> list[str]:
    shard, local = item
    column = load_shard(shard, ("text",)).column("text")
    texts: list[str] = (column if local is None else column.take(local)).to_pylist()
    return texts


def _count(item: Any) -> NDArray[np.int64]:
    return StaticEmbedder().count(_texts(item))


def _embedded(
    pool: Pool, embedder: Embedder, engine: Engine, folder: Path | None, progress: Progress
) -> list[Vectors]:
    """Embed every item; with a folder, only those it lacks, and give them memory-mapped."""
    items = _items(pool)
    paths = [folder / f"shard-{i:05d}.npy" if folder else None for i in range(len(items))]
    todo = [
        (item, path)
        for item, path in zip(items, paths, strict=True)
        if path is None or not path.exists()
    ]
    made = []
    total = len(pool) * len(todo) / max(1, len(items))
    with progress.stage("embed", total, "rows") as advance:
        for result in engine.map(functools.partial(_embed_item, embedder), todo):
            made.append(result)
            advance(len(pool) / len(items))
    if folder is None:
        return [vectors for vectors in made if vectors is not None]
    return [np.load(path, mmap_mode="r") for path in paths if path]


def _embed_item(embedder: Embedder, item: tuple[Any, Path | None]) -> Vectors | None:
    source, path = item
    vectors = embedder.embed(_texts(source))
    if path is None:
        return vectors
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, vectors)
    return None


def _join(shards: list[Vectors], path: Path) -> None:
    """Write the shards one behind the other as one array."""
    rows = sum(map(len, shards))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, shards[0].shape[1])}
        np.lib.format.write_array_header_1_0(stream, header)
        for shard in shards:
            stream.write(np.ascontiguousarray(shard, dtype="<f4").data)


def _load_file(path: Path) -> NDArray[Any]:
    from samplewise.pool import load_vectors

    return load_vectors(path)


def _column(pool: Pool, name: str) -> NDArray[Any]:
    """Take the vectors from a column of lists."""
    import pyarrow as pa

    blocks = []
    for table in pool.batches("row"):
        column = table.column("row").combine_chunks()
        if not pa.types.is_struct(column.type) or column.type.get_field_index(name) < 0:
            raise InputError("no such column", file=pool.name, field=name)
        try:
            blocks.append(np.asarray(column.field(name).to_pylist(), dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"is not a list of numbers, equally long in every row: {error}",
                file=pool.name,
                field=name,
            ) from error
    return np.concatenate(blocks)
