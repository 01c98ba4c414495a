"""Hostile input: a clear error that names the place, or a row set aside; never anything else."""

import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samplewise import files, readers
from samplewise.budget import Budget
from samplewise.errors import InputError, SamplewiseError, UsageError
from samplewise.pool import Pool
from samplewise.select.base import select

GOOD = b'{"text": "good", "score": 1}\n'


def read(tmp_path: Path, content: bytes, name: str = "rows.jsonl", **options: Any) -> Pool:
    (tmp_path / name).write_bytes(content)
    return Pool.read(tmp_path / name, **options)


# --- rows that are set aside ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "field", "reason"),
    [
        (b'{"text": "cut', "", "is not valid JSON"),
        (b"nonsense", "", "is not valid JSON"),
        (b"{'text': 'python'}", "", "is not valid JSON"),
        (b'{"text": NaN}', "", "is not valid JSON"),
        (b'{"text": "a", "score": 1e999}', "", "infinity"),
        (b'{"text": "\\ud800"}', "", "is not valid JSON"),
        (b'{"text": "\xff\xfe"}', "", "is not valid UTF-8"),
        (b'{"text": "a\x00b"}', "", "is not valid JSON"),
        (b'{"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "", "depth"),
        (b'["text"]', "", "is a JSON list, not an object"),
        (b"7", "", "is a JSON int, not an object"),
        (b"null", "", "is a JSON NoneType, not an object"),
        (b"{}", "text", "is missing"),
        (b'{"text": null}', "text", "is missing"),
        (b'{"text": ""}', "text", "is empty"),
        (b'{"text": " \\n\\u2003"}', "text", "is empty"),
        (b'{"text": 7}', "text", "is a int, not text"),
        (b'{"text": [{"content": 7}]}', "text", "holds a int where"),
        (b'{"text": "a", "label": {"x": 1}}', "label", "is a dict, not a name"),
        (b'{"text": "a", "source": [1]}', "source", "is a list, not a name"),
        (b'{"text": "a"}', "score", "is missing"),
        (b'{"text": "a", "score": null}', "score", "is missing"),
        (b'{"text": "a", "score": "high"}', "score", "is not a finite number: 'high'"),
        (b'{"text": "a", "score": "nan"}', "score", "is not a finite number: 'nan'"),
        (b'{"text": "a", "score": "1e999"}', "score", "is not a finite number"),
        (b'{"text": "a", "score": [1]}', "score", "is not a finite number: '[1]'"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_bad_line_is_set_aside_with_its_reason(
    tmp_path: Path, bad: bytes, field: str, reason: str, end: bytes
) -> None:
    good = b'{"text": "good", "score": 1, "label": "x", "source": "y"}'
    content = end.join([good, b"", bad, b"   ", good, b""])
    pool = read(tmp_path, content, score="score", label="label", source="source")
    assert pool.line.tolist() == [1, 5]
    (row,) = pool.rejected
    assert (row.file, row.line, row.field, row.row) == (str(tmp_path / "rows.jsonl"), 3, field, 1)
    assert reason in row.reason
    assert row.raw == (bad + end[:-1])[:500].decode("utf-8", "backslashreplace")
    json.dumps(row.as_json()).encode()
    with pytest.raises(InputError, match="line 3"):
        Pool.read(tmp_path / "rows.jsonl", strict=True, score="score")


def test_a_score_too_large_for_a_float_is_no_number() -> None:
    pool = Pool.from_rows([{"text": "a", "score": 1}, {"text": "b", "score": "9" * 400}])
    assert pool.score is not None
    assert pool.score[1] == np.inf
    with pytest.raises(InputError, match="line 2, field 'score'"):
        select(pool, 1, _needs_score())


def _needs_score() -> Any:
    from dataclasses import dataclass

    from samplewise.select.base import Choice, Selector

    @dataclass(frozen=True)
    class NeedsScore(Selector):
        name = "needs-score"
        needs = ("score",)

        def choose(self, pool: Pool, n: int, rng: Any, engine: Any) -> Choice:
            raise AssertionError("work was done before the check")

    return NeedsScore()


def test_a_line_of_20_mb_is_read_and_written(tmp_path: Path) -> None:
    long = b'{"text": "' + b"x" * (20 << 20) + b'"}\n'
    pool = read(tmp_path, GOOD + long + GOOD)
    assert pool.line.tolist() == [1, 2, 3]
    assert len(pool.texts([1])[0]) == 20 << 20
    assert pool.write([1], tmp_path / "out").read_bytes() == long


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
@pytest.mark.parametrize("size", [50, 1 << 20])
def test_a_line_over_the_limit_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    monkeypatch.setattr(readers, "MAX_ROW_BYTES", 100)
    monkeypatch.setattr(readers, "SHARD_BYTES", size)
    content = GOOD + b'{"text": "' + b"x" * 1_000 + b'"}\n' + GOOD
    pool = read(
        tmp_path, gzip.compress(content, mtime=0) if name.endswith(".gz") else content, name
    )
    assert pool.line.tolist() == [1, 3]
    assert [(row.line, row.reason[:14]) for row in pool.rejected] == [(2, "is longer than")]


def test_a_csv_record_over_the_limit_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_ROW_BYTES", 100)
    content = b"text\none\n" + b"x" * 1_000 + b'\n"' + b"y\n" * 90 + b'"\nlast\n'
    pool = read(tmp_path, content, "rows.csv")
    assert pool.line[0] == 2
    assert pool.texts([0]) == ["one"]
    assert pool.rejected[0].line == 3
    assert "longer than" in pool.rejected[0].reason
    assert any("field larger" in row.reason for row in pool.rejected)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"one,two", "has 2 fields, the header has 3"),
        (b"1,2,3,4", "has 4 fields, the header has 3"),
        (b'a"b,"c"d,e', "is not valid CSV"),
        (b"\xff,b,c", "is not valid UTF-8"),
        (b",b,c", "is empty"),
        (b"a\rb,c,d", "is not valid CSV"),
    ],
)
def test_a_bad_csv_record_is_set_aside(tmp_path: Path, bad: bytes, reason: str) -> None:
    pool = read(tmp_path, b"text,a,b\ngood,1,2\n" + bad + b"\ngood,3,4\n", "rows.csv")
    assert pool.line.tolist() == [2, 4]
    assert [row.line for row in pool.rejected] == [3]
    assert reason in pool.rejected[0].reason


def test_a_quote_never_closed_sets_the_rest_aside(tmp_path: Path) -> None:
    pool = read(tmp_path, b'text\ngood\n"open\nand\non', "rows.csv")
    assert pool.line.tolist() == [2]
    assert [row.line for row in pool.rejected] == [3]


def test_duplicate_rows_are_all_kept(tmp_path: Path) -> None:
    pool = read(tmp_path, GOOD * 50)
    assert len(pool) == 50
    assert pool.write(range(50), tmp_path / "out").read_bytes() == GOOD * 50


def test_bad_rows_of_a_json_list_are_set_aside(tmp_path: Path) -> None:
    pool = read(tmp_path, b'[{"text": "a"},\n7,\n{"text": ""}, {"text": "\\udc00"}]', "rows.json")
    assert len(pool) == 1
    assert [(row.line, row.row) for row in pool.rejected] == [(2, 1), (3, 2), (3, 3)]


# --- files that cannot be read ----------------------------------------------------------------

MANY = b"".join(b'{"text": "row %d %d"}\n' % (i, i * i * 7919) for i in range(3_000))


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("damage", ["cut", "flip", "plain"])
def test_a_damaged_archive_is_named(
    tmp_path: Path, compress: Callable[[bytes], bytes], damage: str
) -> None:
    packed = compress(MANY)
    half = len(packed) // 2
    content = {
        "cut": packed[:half],
        "flip": packed[:half]
        + bytes(b ^ 255 for b in packed[half : half + 50])
        + packed[half + 50 :],
        "plain": GOOD,
    }[damage]
    name = "rows.jsonl" + (".gz" if compress is gzip.compress else ".zst")
    with pytest.raises(InputError, match=rf"{name}: cannot be read to its end.*\n.*again"):
        read(tmp_path, content, name)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_with_its_mend(tmp_path: Path, name: str, encoding: str) -> None:
    content = (codec_mark(encoding) + '[{"text": "a"}]').encode(encoding)
    with pytest.raises(InputError, match=r"line 1: is UTF-16, not UTF-8\n.*iconv"):
        read(tmp_path, content, name)


def codec_mark(encoding: str) -> str:
    return "" if encoding == "utf-16" else "\ufeff"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", GOOD),
        ("rows.json", b'[{"text": "good"}]'),
        ("rows.csv", b"text\ngood\n"),
        ("rows.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + GOOD, mtime=0)),
    ],
)
def test_a_byte_order_mark_is_dropped(tmp_path: Path, name: str, content: bytes) -> None:
    mark = b"" if name.endswith(".gz") else b"\xef\xbb\xbf"
    pool = read(tmp_path, mark + content, name)
    assert pool.texts([0]) == ["good"]
    assert b"\xef\xbb\xbf" not in pool.write([0], tmp_path / "out").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b"", "rows.jsonl: holds no rows"),
        ("rows.jsonl", b"\n \n\n", "rows.jsonl: holds no rows"),
        ("rows.jsonl", b"{broken\n", "line 1: none of the 1 rows can be used; the first is not"),
        ("rows.jsonl", b'{"a": 1}\n', "no text found in the fields a"),
        ("rows.jsonl.gz", gzip.compress(b"", mtime=0), "holds no rows"),
        ("rows.csv", b"", "holds no rows"),
        ("rows.csv", b"text\n", "holds no rows"),
        ("rows.csv", b"text,text\na,b\n", "line 1, field 'text': two columns have this name"),
        ("rows.csv", b"te\xfft\na\n", "line 1: the header is not valid UTF-8"),
        ("rows.csv", b'"te"xt\na\n', "line 1: the header is not valid CSV"),
        ("rows.json", b"", "holds no list of objects"),
        ("rows.json", b"[]", "holds no rows"),
        ("rows.json", b'{"text": "a"}', "holds no list of objects"),
        ("rows.json", b"7", "holds no list of objects"),
        ("rows.json", b'[{"text": "a"},\n{"text": "b"', "line 2: is not valid JSON"),
        ("rows.json", b'[{"text": "a"}\n{"text": "b"}]', "line 2: is not valid JSON: no comma"),
        ("rows.json", b'[{"text": "a"}\n', "line 2: is not valid JSON: no comma or bracket"),
        ("rows.json", b'[\n{"text": "\xff"}]', "line 2: is not valid UTF-8"),
        ("rows.json", b"[" * 200_000, "nested too deeply"),
        ("rows.parquet", b"", "is not a readable Parquet file"),
        ("rows.parquet", b"PAR1PAR1", "is not a readable Parquet file"),
        ("rows.arrow", b"ARROW1", "is not a readable Arrow file"),
        ("rows.npy", b"", "is not a readable .npy file"),
        ("rows.npy", b"\x93NUMPY\x01\x00\x76\x00{broken", "is not a readable .npy file"),
        ("rows.txt", b"text", "cannot tell the format"),
        ("rows.csv.gz", b"text", "cannot tell the format"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(InputError, match=name) as caught:
        read(tmp_path, content, name)
    assert message in caught.value.message


def test_huge_whole_numbers_are_no_crash(tmp_path: Path) -> None:
    content = b'[{"text": "a", "n": ' + b"9" * 5_000 + b'}, {"text": "b"}]'
    pool = read(tmp_path, content, "rows.json")
    assert pool.read_count == 2
    assert pool.texts([len(pool) - 1]) == ["b"]


@pytest.mark.parametrize("name", ["nothing.jsonl", "nothing", "nothing.npy"])
def test_a_path_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: no such file"):
        Pool.read(tmp_path / name)


def test_a_folder_of_mixed_formats_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    (tmp_path / "b.csv").write_text("text\na\n")
    with pytest.raises(InputError, match=r"several formats: csv, jsonl\n.*one format"):
        Pool.read(tmp_path)


def test_a_folder_of_csv_files_needs_one_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,n\na,1\n")
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbftext,n\r\nb,2\r\n")
    assert len(Pool.read(tmp_path)) == 2
    (tmp_path / "c.csv").write_bytes(b"n,text\n3,c\n")
    with pytest.raises(InputError, match=r"c.csv, line 1: has another header than .*a.csv"):
        Pool.read(tmp_path)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file to read in this folder"):
        Pool.read(tmp_path)


@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"splits": [], "_data_files": []}', b"\xff",
     b'{"splits": [3], "_data_files": [3]}', b'{"splits": [3], "_data_files": [{"filename": 3}]}'],
)  # fmt: skip
def test_a_saved_data_set_described_badly_is_named(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        Pool.read(tmp_path)


def test_a_saved_data_set_without_its_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "gone.arrow"}]}')
    with pytest.raises(InputError, match=r"gone\.arrow"):
        Pool.read(tmp_path)


def test_invalid_utf_8_inside_parquet_is_named(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array([b"good", b"\xff\xfe"], pa.binary())})
    pq.write_table(table, tmp_path / "raw.parquet", store_schema=False)
    content = (tmp_path / "raw.parquet").read_bytes()
    # the same bytes, said to be text: the logical type of a column is in the footer
    pq.write_table(
        pa.table({"text": pa.array(["good", "xx"])}), tmp_path / "rows.parquet", store_schema=False,
        use_dictionary=False, compression="none", write_statistics=False,
    )  # fmt: skip
    content = (tmp_path / "rows.parquet").read_bytes()
    assert content.count(b"xx") == 1
    (tmp_path / "rows.parquet").write_bytes(content.replace(b"xx", b"\xff\xfe"))
    with pytest.raises(InputError, match=r"rows.parquet: holds broken data: .*UTF8"):
        Pool.read(tmp_path / "rows.parquet")


def test_dates_that_python_cannot_hold_do_not_matter(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"], "when": pa.array([2**62], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "rows.parquet")
    pool = Pool.read(tmp_path / "rows.parquet")
    assert pool.texts([0]) == ["a"]
    assert pq.read_table(pool.write([0], tmp_path / "out")).equals(table)
    with pytest.raises(InputError, match="Python cannot"):
        pool.rows([0])


@pytest.mark.parametrize(
    "values", [[[1.0, np.nan]] * 2, [[np.inf, 1.0]] * 2, [[1.0]] * 3, [1.0, 2.0]]
)
def test_vectors_that_do_not_fit_are_refused(tmp_path: Path, values: Any) -> None:
    with pytest.raises(InputError, match=r"vectors\.npy"):
        read(tmp_path, GOOD * 2).with_embeddings(np.array(values), "vectors.npy")


@pytest.mark.parametrize(
    "budget", [0, "0", "0%", -1, "-5", "200%", "abc", "", "5 %%", "nan", "1.5"]
)
def test_a_budget_that_makes_no_sense_is_refused(tmp_path: Path, budget: Any) -> None:
    with pytest.raises(UsageError, match="budget"):
        select(read(tmp_path, GOOD * 4), budget, "random", rng=0)
    with pytest.raises(UsageError, match="budget"):
        Budget.parse(budget)


# --- 10,000 files, each mutated in its own way ------------------------------------------------

TEXTS = ["plain", 'quo"ted, twice', "two\nlines", "grün \u2028 雪", "x" * 70]
RECORDS = [
    {"text": f"{TEXTS[i % 5]} {i}", "label": "ab"[i % 2], "score": i / 3, "n": [i, None]}
    for i in range(12)
]


def _csv() -> bytes:
    lines = ["text,label,score\r\n"]
    for row in RECORDS:
        quoted = str(row["text"]).replace('"', '""')
        lines.append(f'"{quoted}",{row["label"]},{row["score"]}\r\n')
    return "".join(lines).encode()


def _table(kind: str) -> bytes:
    table, sink = pa.Table.from_pylist(RECORDS), io.BytesIO()
    if kind == "arrow":
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    else:
        options = {"compression": "none"} if kind == "plain" else {"compression": "zstd"}
        pq.write_table(table, sink, row_group_size=5, **options)
    return sink.getvalue()


_JSONL = "".join(
    json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(RECORDS)
).encode()
SEEDS = {
    "jsonl": _JSONL,
    "json": json.dumps(RECORDS, indent=1).encode(),
    "object.json": json.dumps({"v": 1, "data": RECORDS}).encode(),
    "csv": _csv(),
    "parquet": _table("parquet"),
    "plain.parquet": _table("plain"),
    "arrow": _table("arrow"),
    "jsonl.gz": gzip.compress(_JSONL, mtime=0),
    "jsonl.zst": zstandard.compress(_JSONL),
}
NASTY = [
    *(bytes([byte]) for byte in b'\x00\xff"\\[]{},\n\r-'),
    *(
        b"\\ud800",
        b"1e999",
        b"9" * 400,
        b"NaN",
        b"null",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"[" * 2_000,
    ),
]


def mutate(content: bytes, random: random.Random) -> bytes:
    """Change a few bytes: flip, insert, delete, cut off, or repeat a piece."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        at = random.randrange(len(data) + 1)
        to = min(len(data), at + random.choice((1, 1, 2, 8, 64)))
        kind = random.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            data[at:at] = random.choice(NASTY)
        elif kind == 2:
            del data[at:to]
        elif kind == 3 and random.random() < 0.3:
            del data[at:]
        elif kind == 4:
            data[at:at] = data[at:to]
        else:
            data[at:to] = random.randbytes(to - at)
    return bytes(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


EXAMPLES, MUTATIONS = 200, 50


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(name=st.sampled_from(sorted(SEEDS)), seed=st.integers(0, 2**64))
def test_10_000_mutated_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, seed: int
) -> None:
    monkeypatch.setattr(files, "_sync", lambda path: None)  # what is on trial is not the disk
    path, dice = folder / f"rows.{name}", random.Random(seed)
    unnamed = 0
    for _ in range(MUTATIONS):
        path.write_bytes(mutate(SEEDS[name], dice))
        try:
            pool = Pool.read(path)
        except SamplewiseError as error:
            unnamed += str(path) not in str(error)
            continue
        assert len(pool) + len(pool.rejected) == pool.read_count
        assert sorted(row.row for row in pool.rejected) == [row.row for row in pool.rejected]
        if name == "jsonl":
            lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
            assert pool.read_count == sum(bool(line.strip(b" \t\n\r\v\f")) for line in lines)
        written = pool.write(range(len(pool)), folder / "out")
        again = Pool.read(written, text=",".join(pool.layout.text))
        assert again.texts(range(len(again))) == pool.texts(range(len(pool)))
        assert not again.rejected
    assert not unnamed


def test_the_count_of_mutated_files_is_10_000() -> None:
    assert EXAMPLES * MUTATIONS == 10_000
