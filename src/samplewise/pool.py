"""What can be drawn from: rows with text, label, source, score, tags and, if needed, vectors.

A pool read from files keeps its rows on disk, in shards of about 16 MB, and only their small
columns in memory; a pool made from rows in memory keeps them there. Both answer alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.errors import InputError, UsageError
from samplewise.files import atomic_path, file_hash
from samplewise.layout import Layout, find_layout
from samplewise.progress import Progress, Silent
from samplewise.readers import (
    COLUMNS,
    Part,
    Rejected,
    Shard,
    csv_header,
    csv_rows,
    first_rows,
    plan,
    sample_table,
    shard_of,
    tabulate,
    valid,
)
from samplewise.shards import VERSION, Mapper, load_shard, store_parts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Category", "Pool", "Tags", "load_vectors"]

Floats: TypeAlias = NDArray[np.float64]
Vectors: TypeAlias = NDArray[np.float32]

_SMALL = ("line", "label", "source", "score", "tags")
_SUFFIXES = {"jsonl": ".jsonl", "json": ".json", "csv": ".csv", "npy": ".npy"}


@dataclass(frozen=True)
class Category:
    """A column of names, coded: `names[codes[i]]` is row i's; -1 stands for none.

    Parameters
    ----------
    codes : ndarray of int32, shape (n,)
    names : list of str
    """

    codes: NDArray[np.int32]
    names: list[str]

    @classmethod
    def of(cls, values: Any) -> Category | None:
        """Code a column of strings, by order of first appearance; None if every value is."""
        import pyarrow as pa

        column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
        if column.null_count == len(column):
            return None
        coded = column.combine_chunks().dictionary_encode()
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        return cls(codes, coded.dictionary.to_pylist())

    def __len__(self) -> int:
        return len(self.codes)

    def subset(self, rows: NDArray[np.int64]) -> Category | None:
        """Give the column of some rows, with the names they use; None if none of them has one."""
        used, codes = np.unique(self.codes[rows], return_inverse=True)
        nameless = int(np.searchsorted(used, 0))  # 1 where -1 is among the codes
        if nameless == len(used):
            return None
        names = [self.names[code] for code in used[nameless:].tolist()]
        return Category((codes - nameless).astype(np.int32), names)


@dataclass(frozen=True)
class Tags:
    """A column of sets of names, coded: row i's are those of `codes[starts[i] : starts[i + 1]]`.

    Parameters
    ----------
    codes : ndarray of int32, shape (m,)
    starts : ndarray of int64, shape (n + 1,)
    names : list of str

    Examples
    --------
    >>> tags = Tags.of([["maths", "sums"], None, ["sums"]])
    >>> tags[0], tags[1], tags.codes.tolist(), tags.starts.tolist()
    (['maths', 'sums'], [], [0, 1, 1], [0, 2, 2, 3])
    """

    codes: NDArray[np.int32]
    starts: NDArray[np.int64]
    names: list[str]

    @classmethod
    def of(cls, values: Any) -> Tags | None:
        """Code a column of lists of strings, by order of first appearance; None if all are empty.

        Parameters
        ----------
        values : list or Arrow column of lists of str
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if not isinstance(values, pa.ChunkedArray):
            values = pa.chunked_array([pa.array(values, type=pa.list_(pa.string()))])
        lengths = pc.list_value_length(values).fill_null(0).to_numpy()
        if not lengths.any():
            return None
        coded = pc.list_flatten(values).combine_chunks().dictionary_encode()
        codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return cls(codes, starts, coded.dictionary.to_pylist())

    def subset(self, rows: NDArray[np.int64]) -> Tags | None:
        """Give the column of some rows, with the names they use; None if none of them has one."""
        lengths = (self.starts[1:] - self.starts[:-1])[rows]
        ends = np.cumsum(lengths)
        if not len(ends) or not ends[-1]:
            return None
        # The place of each row's first code, less how many codes stand before it in the result.
        shift = np.repeat(self.starts[:-1][rows] - (ends - lengths), lengths)
        used, codes = np.unique(self.codes[np.arange(ends[-1]) + shift], return_inverse=True)
        starts = np.concatenate([[0], ends]).astype(np.int64)
        return Tags(codes.astype(np.int32), starts, [self.names[code] for code in used.tolist()])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> list[str]:
        codes = self.codes[self.starts[row] : self.starts[row + 1]]
        return [self.names[code] for code in codes.tolist()]


class _TemporaryFolder:
    """A folder that goes when the last pool that reads from it goes."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="samplewise-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle as nothing: only the process that made the folder removes it."""
        return (type(None), ())


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows to choose from; make one with `read` or one of the `from_...` functions.

    Attributes
    ----------
    name : str
        The file or folder it was read from.
    label, source : Category or None
        Coded columns, where the rows have them.
    score : ndarray of float64, shape (n,), or None
        NaN where a row has none.
    tags : Tags or None
        Names of what each row is about, where the rows have them.
    line : ndarray of int64, shape (n,)
        Line (or table row) of each row in its file, from 1.
    file : Category or None
        The file of each row.
    rejected : list of Rejected
        Rows that could not be read.
    embeddings : ndarray of float32, shape (n, d), or None
        One vector a row, perhaps memory-mapped.
    target : Pool or None
        Rows of what the chosen rows are for, where the user has some.
    picked : ndarray of int64, shape (n,), or None
        Of a subset: the place of each of its rows in the pool that was read.

    Examples
    --------
    >>> pool = Pool.from_rows([{"text": "red"}, {"text": "green"}, {"text": ""}])
    >>> len(pool), pool.read_count, pool.texts([1])
    (2, 3, ['green'])
    """

    name: str
    kind: str
    length: int
    fingerprint: str
    layout: Layout
    label: Category | None = None
    source: Category | None = None
    score: Floats | None = None
    tags: Tags | None = None
    line: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    file: Category | None = None
    rejected: list[Rejected] = field(default_factory=list)
    embeddings: Vectors | None = None
    target: Pool | None = None
    shards: tuple[Path | pa.Table, ...] = ()
    starts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    keeper: _TemporaryFolder | None = None
    picked: NDArray[np.int64] | None = None

    # --- making one ---------------------------------------------------------------------------

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        text: str | None = None,
        label: str | None = None,
        source: str | None = None,
        score: str | None = None,
        tags: str | None = None,
        strict: bool = False,
        cache: str | Path | None = None,
        engine: Mapper | None = None,
        progress: Progress | None = None,
    ) -> Pool:
        """Read a file, a folder of files or a saved Hugging Face data set.

        Parameters
        ----------
        path : str or Path
            .jsonl (also .gz, .zst), .json, .csv, .parquet, .arrow, a folder of files of one of
            these kinds, or .npy (vectors alone).
        text : str, optional
            Comma-separated fields that make a row's text. Found by itself for the usual layouts.
        label, source, score : str, optional
            Their fields. With `score` named, a row without a finite score is set aside.
        tags : str, optional
            Field of the tags: a list of names, or one text with commas or semicolons.
        strict : bool, default False
            Whether a row that cannot be read stops the reading.
        cache : str or Path, optional
            Folder for the shards; by default a temporary one that lives as long as the pool.
        engine : Mapper, optional
            What reads the parts; by default this thread.
        progress : Progress, optional
            Who is told how far the reading has come.

        Returns
        -------
        Pool

        Raises
        ------
        InputError
            If there is nothing to read, no row can be used, or (with `strict`) any row cannot.
        """
        path = Path(path)
        if path.suffix == ".npy":
            return cls.from_arrays(load_vectors(path), name=str(path))
        parts = plan(path)
        layout = find_layout(
            first_rows(parts),
            name=str(path),
            text=text,
            label=label,
            source=source,
            score=score,
            tags=tags,
        )
        files = dict.fromkeys(part.path for part in parts)
        hashes = [_hash_of(file) for file in files]
        fingerprint = _hash(VERSION, layout, *hashes, *([*files] if len(files) > 1 else []))
        keeper = None if cache else _TemporaryFolder()
        folder = keeper.path if keeper else Path(cache or "") / "rows" / fingerprint[:20]
        folder.mkdir(parents=True, exist_ok=True)
        manifests = store_parts(parts, layout, folder, engine, progress or Silent())
        pool = cls._assemble(str(path), parts, layout, fingerprint, folder, manifests)
        pool = dataclasses.replace(pool, keeper=keeper)
        if strict and pool.rejected:
            first = pool.rejected[0]
            raise InputError(
                first.reason,
                file=first.file,
                line=first.line,
                field=first.field,
                mend="mend the row, or leave out --strict to set such rows aside",
            )
        return pool._checked()

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]], **fields: str | None) -> Pool:
        """Make a pool from mappings; `fields` are `text`, `label`, `source`, `score`, `tags`.

        They are as in `read`.

        Raises
        ------
        InputError
            If no row can be used, or a row cannot be written as JSON.
        """
        given: list[Any] = list(rows)
        for line, row in enumerate(given, 1):
            if not isinstance(row, Mapping):
                reason = f"is a {type(row).__name__}, not a mapping"
                raise InputError(reason, file="rows", line=line)
        layout = find_layout(given[:100], name="rows", **fields)
        records = ((line, _dump(row, line), dict(row)) for line, row in enumerate(given, 1))
        return cls._in_memory("rows", "jsonl", layout, shard_of("rows", layout, records))

    @classmethod
    def from_arrow(cls, table: pa.Table, **fields: str | None) -> Pool:
        """Make a pool from an Arrow table; `fields` as in `from_rows`."""
        import pyarrow as pa

        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        layout = find_layout(sample_table(valid(table, "table")), name="table", **fields)
        return cls._in_memory("table", "table", layout, tabulate(table, layout, "table"))

    @classmethod
    def from_pandas(cls, frame: Any, **fields: str | None) -> Pool:
        """Make a pool from a pandas data frame; `fields` as in `from_rows`."""
        import pyarrow as pa

        table = _arrow_of(lambda: pa.Table.from_pandas(frame, preserve_index=False), "data frame")
        return cls.from_arrow(table, **fields)

    @classmethod
    def from_polars(cls, frame: Any, **fields: str | None) -> Pool:
        """Make a pool from a polars data frame; `fields` as in `from_rows`."""
        return cls.from_arrow(frame.to_arrow(), **fields)

    @classmethod
    def from_arrays(
        cls,
        X: ArrayLike | None = None,
        y: Sequence[Any] | NDArray[Any] | None = None,
        text: Sequence[str] | None = None,
        score: ArrayLike | None = None,
        *,
        tags: Sequence[Sequence[str] | str | None] | None = None,
        name: str = "arrays",
    ) -> Pool:
        """Make a pool from arrays.

        Parameters
        ----------
        X : array_like, shape (n, d), optional
            Vectors, kept as they are if float32, and not copied.
        y : array_like, shape (n,), optional
            Labels.
        text : sequence of str, optional
        score : array_like, shape (n,), optional
        tags : sequence, length n, optional
            Of each row: a list of names, or one text with commas or semicolons.

        Raises
        ------
        InputError
            If no array is given, their lengths differ, or a vector is not finite.
        """
        import pyarrow as pa

        vectors = None if X is None else _as_vectors(X, name)
        columns: dict[str, Any] = {"text": text, "label": y, "score": score, "tags": tags}
        given = {key: value for key, value in columns.items() if value is not None}
        lengths = {key: len(value) for key, value in given.items()}
        if vectors is not None:
            lengths["X"] = len(vectors)
        if len(set(lengths.values())) != 1:
            raise InputError(
                f"lengths differ: {lengths}" if lengths else "no array given", file=name
            )
        if not given:
            assert vectors is not None
            return cls(
                name,
                "npy",
                len(vectors),
                _hash(VERSION, vectors.shape, _bytes_of(vectors)),
                Layout(),
                line=np.arange(1, len(vectors) + 1),
                embeddings=vectors,
            )._checked()
        if tags is not None:
            given["tags"] = _arrow_of(lambda: pa.array(list(tags)), name)
        arrays = {
            key: value if key == "tags" else np.asarray(value) for key, value in given.items()
        }
        table = _arrow_of(lambda: pa.table(arrays), name)
        layout = Layout(
            ("text",) if text is not None else (),
            label="label" if y is not None else None,
            score="score" if score is not None else None,
            tags="tags" if tags is not None else None,
        )
        pool = cls._in_memory(name, "table", layout, tabulate(table, layout, name))
        return pool if vectors is None else pool.with_embeddings(vectors, name)

    def with_embeddings(self, vectors: ArrayLike, name: str = "embeddings") -> Pool:
        """Give the same pool with one vector a row.

        Parameters
        ----------
        vectors : array_like, shape (n, d) or (rows read, d)
            Where rows were set aside, vectors for all the rows read are taken too.
        name : str
            What to call them in an error.

        Raises
        ------
        InputError
            If their number fits neither count, or one is not finite.
        """
        found = _as_vectors(vectors, name)
        if len(found) != len(self):
            if len(found) != self.read_count:
                raise InputError(
                    f"has {len(found)} vectors for {self.read_count} rows read"
                    + (f" ({len(self)} of them usable)" if self.rejected else ""),
                    file=name,
                    mend="give one vector a row, in the order of the rows",
                )
            lost = [row.row for row in self.rejected]
            found = np.delete(found, lost, axis=0)
        return dataclasses.replace(self, embeddings=found)

    def with_target(self, target: Pool) -> Pool:
        """Give the same pool, aimed at the rows of another: what the chosen rows are for.

        Raises
        ------
        InputError
            If both have vectors, of different dimensions.

        Examples
        --------
        >>> pool = Pool.from_rows([{"text": "red"}, {"text": "green"}])
        >>> len(pool.with_target(Pool.from_rows([{"text": "blue"}])).target)
        1
        """
        if self.embeddings is not None and target.embeddings is not None:
            ours, theirs = self.embeddings.shape[1], target.embeddings.shape[1]
            if ours != theirs:
                raise InputError(
                    f"has vectors of {theirs} dimensions, and the pool's have {ours}",
                    file=target.name,
                    mend="embed both with one model",
                )
        return dataclasses.replace(self, target=target)

    def with_score(self, values: ArrayLike, name: str = "score") -> Pool:
        """Give the same pool with another score for every row.

        Parameters
        ----------
        values : array_like, shape (n,)
            Finite numbers; higher is better.
        name : str
            What to call them in an error.

        Raises
        ------
        InputError
            If there is not one finite number a row.

        Examples
        --------
        >>> Pool.from_rows([{"text": "red"}, {"text": "green"}]).with_score([1, 2]).score.tolist()
        [1.0, 2.0]
        """
        score = np.array(values, dtype=np.float64)
        if score.shape != (len(self),):
            raise InputError(
                f"has shape {score.shape} for {len(self)} rows", file=name, mend="give one a row"
            )
        if not np.isfinite(score).all():
            row = int(np.flatnonzero(~np.isfinite(score))[0])
            file, line = self.place(row)
            raise InputError(f"is {score[row]} for this row", file=file, line=line, field=name)
        return dataclasses.replace(self, score=score)

    def subset(self, indices: ArrayLike) -> Pool:
        """Give a pool of some of the rows; the rows themselves stay where they are.

        Parameters
        ----------
        indices : array_like of int
            The rows, each once, in any order; the subset holds them in input order. Where row i of
            it stands in the pool that was read, `picked[i]` says.

        Returns
        -------
        Pool
            With the labels, sources, scores, vectors and texts of its rows, and the same target.

        Raises
        ------
        UsageError
            If no row is named, one twice, or one that is not in the pool.

        Examples
        --------
        >>> pool = Pool.from_rows([{"text": "red"}, {"text": "green"}, {"text": "blue"}])
        >>> part = pool.subset([2, 0])
        >>> part.texts([0, 1]), part.picked.tolist()
        (['red', 'blue'], [0, 2])
        """
        rows = np.sort(self._places(indices))
        if not len(rows) or (rows[1:] == rows[:-1]).any():
            what = "names a row twice" if len(rows) else "names no row"
            raise UsageError(f"the subset {what}", mend="name one row or more, each once")
        picked, vectors = self._stored(rows), self.embeddings
        return dataclasses.replace(
            self,
            length=len(rows),
            fingerprint=_hash("subset", self.fingerprint, picked.data),
            label=None if self.label is None else self.label.subset(rows),
            source=None if self.source is None else self.source.subset(rows),
            score=None if self.score is None else _some(self.score[rows]),
            tags=None if self.tags is None else self.tags.subset(rows),
            line=self.line[rows],
            file=None if self.file is None else Category(self.file.codes[rows], self.file.names),
            rejected=[],
            embeddings=None if vectors is None else np.asarray(vectors[rows]),
            picked=picked,
        )

    @property
    def classes(self) -> Category | None:
        """The label of every row; where the rows have none, their source."""
        return self.source if self.label is None else self.label

    @property
    def domains(self) -> Category | None:
        """The source of every row; where the rows have none, their label."""
        return self.label if self.source is None else self.source

    # --- asking it ----------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.length

    @property
    def read_count(self) -> int:
        """How many rows were read, set aside or not."""
        return self.length + len(self.rejected)

    def batches(self, *columns: str) -> Iterator[pa.Table]:
        """Yield the pool shard by shard, with the named columns (all by default)."""
        for shard, local in zip(self.shards, self.rows_of_shards(), strict=True):
            table = load_shard(shard, columns or COLUMNS)
            if local is None:
                yield table
            elif len(local):
                yield table.take(local)

    def rows_of_shards(self) -> Iterator[NDArray[np.int64] | None]:
        """Yield, for each shard, which of its rows the pool holds; None where that is all."""
        if self.picked is None:
            yield from [None] * len(self.shards)
            return
        bounds = np.searchsorted(self.picked, self.starts)
        for shard, (low, high) in enumerate(itertools.pairwise(bounds)):
            yield self.picked[low:high] - self.starts[shard]

    def texts(self, indices: ArrayLike) -> list[str]:
        """Give the texts of some rows, in the order asked."""
        return [str(text) for text in self._take("text", indices)]

    def rows(self, indices: ArrayLike) -> list[dict[str, Any]]:
        """Give some rows as they were read, in the order asked."""
        import orjson

        try:
            found = self._take("row", indices)
        except (ValueError, OverflowError) as error:  # such as a date after the year 9999
            raise InputError(
                f"holds a value that Python cannot: {error}", file=self.name
            ) from error
        if self.kind == "csv":
            return csv_rows(self.place(0)[0], found)
        return [orjson.loads(row) if isinstance(row, bytes) else row for row in found]

    def place(self, index: int) -> tuple[str, int]:
        """Give the file and line of a row."""
        file = self.name if self.file is None else self.file.names[self.file.codes[index]]
        return file, int(self.line[index])

    def write(self, indices: ArrayLike, stem: str | Path) -> Path:
        """Write rows as they were read, in input order, to `stem` plus the pool's suffix.

        Parameters
        ----------
        indices : array_like of int
            The rows, in any order; one named twice is written twice.
        stem : str or Path
            Path without suffix.

        Returns
        -------
        Path
            The file written: .jsonl, .json, .csv, .parquet or .npy.
        """
        order = np.sort(self._places(indices))
        path = Path(f"{stem}{_SUFFIXES.get(self.kind, '.parquet')}")
        with atomic_path(path) as temporary:
            if self.kind == "npy":
                assert self.embeddings is not None
                with temporary.open("wb") as stream:
                    np.save(stream, self.embeddings[order])
            elif self.kind in _SUFFIXES:
                self._write_records(self._stored(order), temporary)
            else:
                self._write_table(self._stored(order), temporary)
        return path

    # --- inside -------------------------------------------------------------------------------

    @classmethod
    def _assemble(
        cls,
        name: str,
        parts: list[Part],
        layout: Layout,
        fingerprint: str,
        folder: Path,
        manifests: list[dict[str, Any]],
    ) -> Pool:
        import pyarrow as pa

        shards, rejected, lines, files = [], [], [], []
        base = count = 0  # lines of this file, and rows, before the part
        for i, (part, manifest) in enumerate(zip(parts, manifests, strict=True)):
            if i == 0 or parts[i - 1].path != part.path:
                base = 0
            for shard in manifest["shards"]:
                shards.append(folder / shard["file"])
                lines.append(base)
                files.append(part.path)
            rejected += [
                Rejected(**{**row, "line": row["line"] + base, "row": row["row"] + count})
                for row in manifest["rejected"]
            ]
            base += manifest["last_line"]
            count += len(manifest["rejected"]) + sum(s["rows"] for s in manifest["shards"])
        tables = [load_shard(shard, _SMALL) for shard in shards]
        sizes = [table.num_rows for table in tables]
        small = pa.concat_tables(tables) if tables else None
        if small is None or not small.num_rows:
            return cls(name, parts[0].kind, 0, fingerprint, layout, rejected=rejected)
        names = {path: i for i, path in enumerate(dict.fromkeys(part.path for part in parts))}
        codes = np.repeat([names[file] for file in files], sizes).astype(np.int32)
        return cls(
            name,
            parts[0].kind,
            small.num_rows,
            fingerprint,
            layout,
            label=Category.of(small.column("label")),
            source=Category.of(small.column("source")),
            score=_scores(small),
            tags=Tags.of(small.column("tags")),
            line=small.column("line").to_numpy() + np.repeat(lines, sizes),
            file=Category(codes, list(names)),
            rejected=rejected,
            shards=tuple(shards),
            starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        )

    @classmethod
    def _in_memory(cls, name: str, kind: str, layout: Layout, shard: Shard) -> Pool:
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, shard.table.schema) as writer:
            writer.write_table(shard.table)
        return cls(
            name,
            kind,
            shard.table.num_rows,
            _hash(VERSION, layout, memoryview(sink.getvalue())),
            layout,
            label=Category.of(shard.table.column("label")),
            source=Category.of(shard.table.column("source")),
            score=_scores(shard.table),
            tags=Tags.of(shard.table.column("tags")),
            line=shard.table.column("line").to_numpy(),
            rejected=shard.rejected,
            shards=(shard.table,),
            starts=np.array([0, shard.table.num_rows], dtype=np.int64),
        )._checked()

    def _checked(self) -> Pool:
        if len(self):
            return self
        first = self.rejected[0] if self.rejected else None
        raise InputError(
            f"none of the {len(self.rejected)} rows can be used; the first {first.reason}"
            if first
            else "holds no rows",
            file=first.file if first else self.name,
            line=first.line if first else None,
            field=first.field if first else "",
        )

    def _places(self, indices: ArrayLike) -> NDArray[np.int64]:
        """Check that `indices` are rows of this pool."""
        places = np.asarray(indices)
        if not places.size:
            return np.empty(0, np.int64)
        if places.dtype.kind not in "iu" or places.ndim != 1:
            raise UsageError(
                f"indices have shape {places.shape} and type {places.dtype}",
                mend="give a list of row numbers",
            )
        if places.min() < 0 or places.max() >= len(self):
            raise UsageError(
                f"row {places.max() if places.min() >= 0 else places.min()} is not in the pool",
                mend=f"rows count from 0 to {len(self) - 1}",
            )
        return places.astype(np.int64)

    def _stored(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Turn rows of this pool into rows of its shards."""
        return rows if self.picked is None else self.picked[rows]

    def _take(self, column: str, indices: ArrayLike) -> list[Any]:
        wanted = self._stored(self._places(indices))
        if not self.shards:
            raise UsageError(f"{self.name} holds vectors alone: its rows have no {column}")
        owner = np.searchsorted(self.starts, wanted, side="right") - 1
        found: list[Any] = [None] * len(wanted)
        for shard in np.unique(owner):
            places = np.flatnonzero(owner == shard)
            local = wanted[places] - self.starts[shard]
            taken = load_shard(self.shards[shard], (column,)).column(column).take(local).to_pylist()
            for place, value in zip(places, taken, strict=True):
                found[place] = value
        return found

    def _taken_rows(self, order: NDArray[np.int64]) -> Iterator[pa.ChunkedArray]:
        """Yield the `row` column of the ordered rows of the shards, a shard at a time."""
        bounds = np.searchsorted(order, self.starts)
        for shard, (low, high) in enumerate(itertools.pairwise(bounds)):
            if high > low:
                column = load_shard(self.shards[shard], ("row",)).column("row")
                yield column.take(order[low:high] - self.starts[shard])

    def _write_records(self, order: NDArray[np.int64], path: Path) -> None:
        first, between, last = b"", b"\n", b"\n"
        if self.kind == "json":
            first, between, last = b"[\n", b",\n", b"\n]\n"
        elif self.kind == "csv":
            first = csv_header(self.place(0)[0]) + b"\n"
        with path.open("wb") as stream:
            stream.write(first)
            for number, column in enumerate(self._taken_rows(order)):
                stream.write(between if number else b"")
                stream.write(between.join(column.to_pylist()))
            stream.write(last if len(order) or self.kind == "json" else b"")

    def _write_table(self, order: NDArray[np.int64], path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        empty = load_shard(self.shards[0], ("row",)).column("row").slice(0, 0)
        columns = [*self._taken_rows(order)] or [empty]
        tables = [pa.Table.from_struct_array(column.combine_chunks()) for column in columns]
        try:
            table = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise InputError(f"has files of other columns: {error}", file=self.name) from error
        pq.write_table(table.unify_dictionaries(), path)


def _scores(table: pa.Table) -> Floats | None:
    return _some(table.column("score").to_numpy().astype(np.float64))


def _some(score: Floats) -> Floats | None:
    """Give the scores, or None where no row has one."""
    return None if np.isnan(score).all() else score


def _hash_of(path: str) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from error


def _arrow_of(convert: Callable[[], pa.Table], name: str) -> pa.Table:
    import pyarrow as pa

    # Arrow's own errors cover the types it does not know; the others come of the values.
    try:
        return convert()
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"cannot be made an Arrow table: {error}", file=name) from error


def _dump(row: Mapping[str, Any], line: int) -> bytes:
    import orjson

    try:
        return bytes(orjson.dumps(dict(row), option=orjson.OPT_SERIALIZE_NUMPY))
    except TypeError as error:
        raise InputError(f"cannot be kept as JSON: {error}", file="rows", line=line) from error


def load_vectors(path: Path) -> NDArray[Any]:
    """Map a .npy file into memory."""
    if not path.exists():
        raise InputError("no such file", file=str(path))
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except Exception as error:  # NumPy raises nearly anything for a broken header
        raise InputError(f"is not a readable .npy file: {error}", file=str(path)) from error


def _as_vectors(values: ArrayLike, name: str) -> Vectors:
    """Check that `values` are finite vectors; float32 ones are not copied."""
    try:
        given = np.asanyarray(values)
    except ValueError as error:
        raise InputError(f"is not one array: {error}", file=name) from error
    if given.ndim != 2 or not given.size or given.dtype.kind not in "fiu":
        raise InputError(
            f"has shape {given.shape} and type {given.dtype}",
            file=name,
            mend="give numbers of shape (rows, dimensions)",
        )
    with np.errstate(over="ignore"):
        vectors = given.astype(np.float32, copy=False, subok=True)
    for start in range(0, len(vectors), 65_536):
        block = vectors[start : start + 65_536]
        with np.errstate(invalid="ignore"):  # inf - inf
            total = np.add.reduce(block, axis=None, dtype=np.float64)
        if not np.isfinite(total):
            row, column = np.argwhere(~np.isfinite(block))[0]
            raise InputError(
                f"is {block[row, column]}",
                file=name,
                line=int(start + row + 1),
                field=f"dimension {column}",
                mend="mend or drop that vector (and its row)",
            )
    return vectors


def _bytes_of(vectors: Vectors) -> memoryview:
    return np.ascontiguousarray(vectors).data.cast("B")


def _hash(*values: Any) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(value if isinstance(value, memoryview) else repr(value).encode())
    return digest.hexdigest()
