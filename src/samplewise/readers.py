"""Files of rows, read in parts into Arrow tables; what cannot be read is set aside.

A source (file or folder) is planned into `Part`s: a range of lines of a plain file, or a whole
file of any other kind. `read_part` turns one part into shards, each a table of at most about
16 MB of rows with the columns `COLUMNS`. Parts can be read in any order, on any machine.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from samplewise.errors import InputError
from samplewise.layout import Layout, Rejection, Values

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

__all__ = [
    "COLUMNS",
    "SUFFIXES",
    "Part",
    "Rejected",
    "Shard",
    "csv_header",
    "csv_rows",
    "first_rows",
    "plan",
    "read_part",
    "sample_table",
    "shard_of",
    "tabulate",
    "valid",
]

COLUMNS = ("row", "line", "text", "label", "source", "score", "tags")
SHARD_BYTES = 16 << 20  # about how many bytes of rows a shard holds
MAX_ROW_BYTES = 64 << 20  # a longer row is set aside: no text is that long, a broken file is
KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
SUFFIXES = (*KINDS, *(f".jsonl{suffix}" for suffix in COMPRESSED))


@dataclass(frozen=True)
class Part:
    """One piece of a source that one worker reads.

    `start` and `end` are byte offsets in a plain JSONL file: the part owns the lines that start
    in [start, end). Other kinds are read whole.
    """

    path: str
    kind: str
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Rejected:
    """A row that was set aside: where it is, why, and how it begins.

    `row` counts all the rows read, usable or not, from 0.
    """

    file: str
    line: int
    field: str
    reason: str
    raw: str
    row: int

    def as_json(self) -> dict[str, Any]:
        """Give the record that `rejected.jsonl` holds."""
        return asdict(self)


@dataclass
class Shard:
    """Rows read: a table with the columns `COLUMNS`.

    `row` is the row as it was read: its bytes, or a struct of its columns. `line` counts from 1
    within the part; `last_line` is the last line (or table row) the shard covers.
    """

    table: pa.Table
    rejected: list[Rejected]
    last_line: int


def plan(path: str | Path) -> list[Part]:
    """Split a file or folder into parts, in reading order.

    Raises
    ------
    InputError
        If there is nothing to read, or the folder mixes formats that cannot be written as one.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file or folder", file=str(path))
    files = _files_of(path)
    kinds = {str(file): _kind(file) for file in files}
    if len(set(kinds.values())) > 1:
        raise InputError(
            f"holds files of several formats: {', '.join(sorted(set(kinds.values())))}",
            file=str(path),
            mend="keep one format in a folder",
        )
    if len(files) > 1 and "csv" in kinds.values():
        _same_headers(files)
    return [part for file in files for part in _parts(file, kinds[str(file)])]


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / "dataset_dict.json").exists():
        splits = _description(path / "dataset_dict.json", lambda found: found["splits"])
        if len(splits) > 1 and "train" not in splits:
            raise InputError(
                f"a data set with the splits {', '.join(splits)}",
                file=str(path),
                mend=f"name one of them, such as {path / splits[0]}",
            )
        return _files_of(path / ("train" if "train" in splits else splits[0]))
    if (path / "state.json").exists():
        names = _description(
            path / "state.json", lambda found: [file["filename"] for file in found["_data_files"]]
        )
        return [path / name for name in names]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and _kind_or_none(file) and not file.name.startswith((".", "_"))
    )
    if not files:
        raise InputError(
            "no file to read in this folder", file=str(path), mend=f"known: {', '.join(SUFFIXES)}"
        )
    return files


def _description(path: Path, names: Callable[[Any], list[str]]) -> list[str]:
    """Read the names in one of the files that describe a saved data set."""
    try:
        found = names(json.loads(path.read_bytes()))
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"does not describe a data set: {error!r}", file=str(path)) from error
    if not found or not all(isinstance(name, str) for name in found):
        raise InputError("names no file or split", file=str(path))
    return found


def _same_headers(files: list[Path]) -> None:
    """Refuse CSV files whose rows could not be written under one header."""
    first, *others = [(file, csv_header(str(file))) for file in files]
    for file, header in others:
        if header.rstrip(b"\r") != first[1].rstrip(b"\r"):
            raise InputError(
                f"has another header than {first[0]}", file=str(file), line=1, mend="make them one"
            )


def _kind_or_none(path: Path) -> str | None:
    stem = path.with_suffix("") if path.suffix in COMPRESSED else path
    kind = KINDS.get(stem.suffix.lower())
    return kind if stem == path or kind == "jsonl" else None


def _kind(path: Path) -> str:
    kind = _kind_or_none(path)
    if kind is None:
        raise InputError(
            f"cannot tell the format from the name {path.name!r}",
            file=str(path),
            mend=f"rename it to one of {', '.join(SUFFIXES)}",
        )
    return kind


def _parts(path: Path, kind: str) -> Iterator[Part]:
    if kind != "jsonl" or path.suffix in COMPRESSED:
        yield Part(str(path), kind)
        return
    for start in range(0, max(1, path.stat().st_size), SHARD_BYTES):
        yield Part(str(path), kind, start, start + SHARD_BYTES)


def first_rows(parts: Iterable[Part], count: int = 100) -> list[dict[str, Any]]:
    """Give the first readable rows of a source, to find its layout from."""
    rows: list[dict[str, Any]] = []
    for part in parts:
        for record in _sample(part, count):
            rows.append(record)
            if len(rows) == count:
                return rows
    return rows


def _sample(part: Part, count: int) -> Iterator[dict[str, Any]]:
    if part.kind in _TABLES:
        for table in _TABLES[part.kind](part):
            yield from sample_table(table, count)
    else:
        for _, _, record in _RECORDS[part.kind](part):
            if isinstance(record, dict):
                yield record


def read_part(part: Part, layout: Layout) -> Iterator[Shard]:
    """Read one part as shards; there is at least one.

    Raises
    ------
    InputError
        If the file as a whole cannot be read (cut off, wrong encoding, no table).
    """
    if part.kind in _TABLES:
        row = 0
        for table in _TABLES[part.kind](part):
            yield tabulate(table, layout, part.path, row)
            row += table.num_rows
        return
    batch = _Batch(part.path, layout)
    for line, raw, record in _RECORDS[part.kind](part):
        batch.add(line, raw, record)
        if batch.size >= SHARD_BYTES:
            yield batch.finish()
            batch = _Batch(part.path, layout, line, batch.row)
    yield batch.finish()


def shard_of(name: str, layout: Layout, records: Iterable[_Record]) -> Shard:
    """Make one shard of records in memory."""
    batch = _Batch(name, layout)
    for line, raw, record in records:
        batch.add(line, raw, record)
    return batch.finish()


def tabulate(table: pa.Table, layout: Layout, name: str, start: int = 0) -> Shard:
    """Read the rows of an Arrow table, numbered from `start` + 1; each keeps all its columns."""
    import pyarrow as pa

    batch = _Batch(name, layout, start, start)
    fields = [field for field in layout.fields if field in table.column_names]
    columns = [table.column(field).to_pylist() for field in fields]
    for row in range(table.num_rows):
        batch.add(start + row + 1, b"", {f: c[row] for f, c in zip(fields, columns, strict=True)})
    shard = batch.finish()
    kept = pa.array([line - start - 1 for line in batch.lines], type=pa.int64())
    if table.num_rows:
        structs = pa.concat_arrays(table.unify_dictionaries().to_struct_array().chunks)
        shard.table = shard.table.set_column(0, "row", structs.take(kept))
    return shard


def valid(table: pa.Table, name: str) -> pa.Table:
    """Check every byte of a table, so that nothing done with it later can fail, or crash."""
    import pyarrow as pa

    twice = [column for column, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise InputError("two columns have this name", file=name, field=twice[0])
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise InputError(f"holds broken data: {error}", file=name) from error
    return table


def sample_table(table: pa.Table, count: int = 100) -> list[dict[str, Any]]:
    """Give the first rows of a table; a column that Python cannot hold counts as empty."""
    head = table.slice(0, count)
    columns = {}
    for name in head.column_names:
        try:
            columns[name] = head.column(name).to_pylist()
        except (ValueError, OverflowError):  # such as a date after the year 9999
            columns[name] = [None] * head.num_rows
    return [{name: columns[name][i] for name in columns} for i in range(head.num_rows)]


class _Batch:
    """Rows on their way into a shard."""

    def __init__(self, path: str, layout: Layout, last_line: int = 0, row: int = 0) -> None:
        self.path, self.layout, self.last_line, self.size = path, layout, last_line, 0
        self.row = row
        self.raws: list[bytes] = []
        self.lines: list[int] = []
        self.values: list[Values] = []
        self.rejected: list[Rejected] = []

    def add(self, line: int, raw: bytes, record: dict[str, Any] | Rejection | None) -> None:
        self.last_line = line
        if record is None:
            return
        self.row += 1
        try:
            if isinstance(record, Rejection):
                raise record
            self.values.append(self.layout.read(record))
        except Rejection as error:
            begin = raw[:500].decode("utf-8", "backslashreplace")
            self.rejected.append(
                Rejected(self.path, line, error.field, error.reason, begin, self.row - 1)
            )
            return
        self.raws.append(raw)
        self.lines.append(line)
        self.size += len(raw)

    def finish(self) -> Shard:
        import pyarrow as pa

        columns = list(zip(*self.values, strict=True)) or [()] * 5
        table = pa.table(
            {
                "row": pa.array(self.raws, type=pa.binary()),
                "line": pa.array(self.lines, type=pa.int64()),
                "text": pa.array(columns[0], type=pa.large_string()),
                "label": pa.array(columns[1], type=pa.string()),
                "source": pa.array(columns[2], type=pa.string()),
                "score": pa.array(columns[3], type=pa.float64()),
                "tags": pa.array(columns[4], type=pa.list_(pa.string())),
            }
        )
        return Shard(table, self.rejected, self.last_line)


# --- one reader a format: each yields (line, raw bytes, what they hold) ----------------------

_Record = tuple[int, bytes, "dict[str, Any] | Rejection | None"]


def _jsonl(part: Part) -> Iterator[_Record]:
    for line, raw in enumerate(_lines(part), start=1):
        if raw is None:
            yield line, b"", Rejection(f"is longer than {MAX_ROW_BYTES >> 20} MB")
        elif not raw or raw.isspace():
            yield line, raw, None
        else:
            yield line, raw, _parse(raw)


def _parse(raw: bytes) -> dict[str, Any] | Rejection:
    import orjson

    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "not valid UTF-8" in error.msg:
            return Rejection("is not valid UTF-8")
        return Rejection(f"is not valid JSON: {error.msg} (character {error.pos + 1})")
    if not isinstance(record, dict):
        return Rejection(f"is a JSON {type(record).__name__}, not an object")
    return record


def _lines(part: Part) -> Iterator[bytes | None]:
    """Yield the lines that start in the part, without their newline; None for one too long."""
    end = float("inf") if part.end is None else part.end
    with _open(part.path) as stream:
        position = 0
        if part.start:
            stream.seek(part.start - 1)
            position = part.start - 1 + _skip_line(stream)
        while position < end:
            raw = _guarded(part.path, lambda: stream.readline(MAX_ROW_BYTES))
            if not raw:
                return
            first = position == 0
            position += len(raw)
            if len(raw) == MAX_ROW_BYTES and raw[-1:] != b"\n":
                position += _guarded(part.path, lambda: _skip_line(stream))
                yield None
            else:
                raw = raw.removesuffix(b"\n")
                yield _without_mark(raw, part.path) if first else raw


def _open(path: str) -> io.BufferedReader:
    """Open a file for reading bytes, decompressed."""
    compression = COMPRESSED.get(Path(path).suffix)
    if compression is None:
        return Path(path).open("rb")
    import pyarrow as pa

    return io.BufferedReader(pa.input_stream(path, compression=compression), 1 << 20)


def _skip_line(stream: io.BufferedReader) -> int:
    skipped = 0
    while chunk := stream.readline(1 << 20):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped


def _guarded(path: str, read: Callable[[], T]) -> T:
    """Read, and name the file when it is cut off or not what its name says."""
    try:
        return read()
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"cannot be read to its end: {error}", file=path, mend="copy or download it again"
        ) from error


def _without_mark(first: bytes, path: str) -> bytes:
    """Drop a UTF-8 byte-order mark from the first bytes of a file."""
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(
            "is UTF-16, not UTF-8", file=path, line=1, mend="convert it: iconv -f utf-16 -t utf-8"
        )
    return first.removeprefix(codecs.BOM_UTF8)


def _json(part: Part) -> Iterator[_Record]:
    """Read a list of objects, or an object that holds one; each row keeps its own bytes."""
    content = _without_mark(_guarded(part.path, Path(part.path).read_bytes), part.path)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError("is not valid UTF-8", file=part.path, line=line) from error
    decoder = json.JSONDecoder(parse_int=str)  # only finds where rows end; `_parse` reads them
    position, line, counted = _list_start(text, part.path), 1, 0
    while True:
        position = _after_space(text, position)
        if text[position : position + 1] == "]":
            return
        try:
            _, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise _broken_json(part.path, text, error.pos, error.msg) from error
        except RecursionError as error:
            raise _broken_json(part.path, text, position, "nested too deeply") from error
        line += text.count("\n", counted, position)
        counted = position
        raw = text[position:end].encode()
        yield line, raw, _parse(raw)
        position = _after_space(text, end)
        if text[position : position + 1] == ",":
            position += 1
        elif text[position : position + 1] != "]":
            raise _broken_json(part.path, text, position, "no comma or bracket after a row")


def _broken_json(path: str, text: str, position: int, reason: str) -> InputError:
    return InputError(
        f"is not valid JSON: {reason}",
        file=path,
        line=text.count("\n", 0, position) + 1,
        mend="mend that line, or save one object a line as .jsonl: "
        "then only the broken rows are set aside",
    )


def _after_space(text: str, position: int) -> int:
    return _SPACE.match(text, position).end()  # type: ignore[union-attr]


_SPACE = re.compile(r"\s*")
_FIRST_LIST = re.compile(r'"(?:[^"\\]|\\.)*"\s*:\s*\[\s*(?=\{)')


def _list_start(text: str, path: str) -> int:
    """Find where the list of rows begins, just behind its bracket."""
    head = _after_space(text, 0)
    if text[head : head + 1] == "[":
        return head + 1
    inside = _FIRST_LIST.search(text, head) if text[head : head + 1] == "{" else None
    if inside is None:
        raise InputError(
            "holds no list of objects",
            file=path,
            line=1,
            mend="save a list of objects, or one object a line as .jsonl",
        )
    return inside.end()


def _csv(part: Part) -> Iterator[_Record]:
    """Read records of comma-separated values; the first names the fields."""
    header: list[str] | None = None
    for line, raw, values in _csv_records(part):
        if header is None:
            header = _header(values, part.path, line)
        elif isinstance(values, Rejection):
            yield line, raw, values
        elif values and len(values) != len(header):
            reason = f"has {len(values)} fields, the header has {len(header)}"
            yield line, raw, Rejection(reason)
        else:
            yield line, raw, dict(zip(header, values, strict=True)) if values else None


def _csv_records(part: Part) -> Iterator[tuple[int, bytes, list[str] | Rejection]]:
    """Yield (line, raw bytes, values) of each record from the header on."""
    seen: list[bytes] = []
    long = Rejection(f"is longer than {MAX_ROW_BYTES >> 20} MB")

    def lines() -> Iterator[str]:
        for raw in _lines(part):
            seen.append(b"" if raw is None else raw + b"\n")
            yield seen[-1].decode("utf-8", "surrogateescape")

    reader = _csv_reader(lines())
    line, started = 0, False
    while True:
        seen.clear()
        try:
            values: list[str] | Rejection = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            values = Rejection(f"is not valid CSV: {error}")
        first, raw = line + 1, b"".join(seen).removesuffix(b"\n")
        line += len(seen)
        if b"" in seen:
            values = long
        elif not isinstance(values, Rejection) and any(map(_SURROGATE.search, values)):
            values = Rejection("is not valid UTF-8")
        started = started or bool(values)
        if started:
            yield first, raw, values


_SURROGATE = re.compile("[\ud800-\udfff]")


def _csv_reader(lines: Iterable[str]) -> Iterator[list[str]]:
    csv.field_size_limit(MAX_ROW_BYTES)
    return csv.reader(lines, strict=True)


def _header(values: list[str] | Rejection, path: str, line: int) -> list[str]:
    if isinstance(values, Rejection):
        raise InputError(f"the header {values.reason}", file=path, line=line)
    twice = [name for name, count in Counter(values).items() if count > 1]
    if twice:
        raise InputError("two columns have this name", file=path, line=line, field=twice[0])
    return values


def csv_header(path: str) -> bytes:
    """Give the header record of a CSV file as it was read."""
    for line, raw, values in _csv_records(Part(path, "csv")):
        _header(values, path, line)
        return raw
    return b""


def csv_rows(path: str, raws: Iterable[bytes]) -> list[dict[str, Any]]:
    """Read records of a CSV file again, from their bytes."""
    header = _fields(csv_header(path))
    return [dict(zip(header, _fields(raw), strict=True)) for raw in raws]


def _fields(raw: bytes) -> list[str]:
    # not splitlines: it also splits where no CSV line ends, such as at U+2028
    return next(_csv_reader(f"{line}\n" for line in raw.decode().split("\n")))


def _parquet(part: Part) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(part.path)
        for batch in file.iter_batches(batch_size=16_384):
            yield valid(pa.Table.from_batches([batch]), part.path)
    except (pa.ArrowException, *_BROKEN) as error:
        raise InputError(f"is not a readable Parquet file: {error}", file=part.path) from error


def _arrow(part: Part) -> Iterator[pa.Table]:
    """Read an Arrow stream or file, as a saved Hugging Face data set holds them."""
    import pyarrow as pa

    try:
        with pa.OSFile(part.path) as stream:
            is_file = stream.read(6) == b"ARROW1"
            stream.seek(0)
            if is_file:
                file = pa.ipc.open_file(stream)
                batches = (file.get_batch(i) for i in range(file.num_record_batches))
            else:
                batches = iter(pa.ipc.open_stream(stream))
            for batch in batches:
                yield valid(pa.Table.from_batches([batch]), part.path)
    except (pa.ArrowException, *_BROKEN) as error:
        raise InputError(f"is not a readable Arrow file: {error}", file=part.path) from error


# What broken files make PyArrow raise beside its own errors, as mutated files have shown:
# sizes that cannot be had, text that is no UTF-8, dates and types that Python lacks.
_BROKEN = (OSError, ValueError, TypeError, LookupError, MemoryError)

_RECORDS: dict[str, Callable[[Part], Iterator[_Record]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
}
_TABLES: dict[str, Callable[[Part], Iterator[pa.Table]]] = {"parquet": _parquet, "arrow": _arrow}
