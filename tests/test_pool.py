import gc
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samplewise import readers
from samplewise.errors import InputError, UsageError
from samplewise.pool import Category, Pool

ROWS = [
    {"text": "red", "label": "a", "score": 1.5, "extra": [1, 2]},
    {"text": "green", "label": "b", "score": 2.0, "extra": []},
    {"text": "blue", "label": "a", "score": -3.0, "extra": [3]},
]


def same(pool: Pool) -> None:
    assert pool.texts([0, 1, 2]) == ["red", "green", "blue"]
    assert pool.label is not None
    assert pool.label.codes.tolist() == [0, 1, 0]
    assert pool.label.names == ["a", "b"]
    assert pool.score is not None
    assert pool.score.tolist() == [1.5, 2.0, -3.0]
    assert pool.rows([2, 0]) == [ROWS[2], ROWS[0]]


def test_rows_in_memory_of_every_kind() -> None:
    table = pa.Table.from_pylist(ROWS)
    same(Pool.from_rows(ROWS))
    same(Pool.from_rows(iter(ROWS)))
    same(Pool.from_arrow(table))
    same(Pool.from_arrow(table.to_batches()[0]))
    same(Pool.from_arrow(pa.concat_tables([table.slice(0, 1), table.slice(1)])))
    same(Pool.from_pandas(pd.DataFrame(ROWS).assign(extra=[row["extra"] for row in ROWS])))
    same(Pool.from_polars(pl.DataFrame(ROWS)))


def test_categorical_columns_and_several_chunks(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.Categorical(["x", "y"])})
    pool = Pool.from_pandas(frame)
    assert pool.label is not None
    assert pool.label.names == ["x", "y"]
    polar = Pool.from_polars(
        pl.DataFrame({"text": ["a"], "label": ["x"]}).cast({"label": pl.Categorical})
    )
    assert polar.label is not None
    assert polar.label.names == ["x"]
    other = pd.DataFrame({"text": ["c"], "label": pd.Categorical(["z"])})
    chunks = pa.concat_tables([pa.Table.from_pandas(part) for part in (frame, other)])
    pool = Pool.from_arrow(chunks)
    written = pool.write([0, 2], tmp_path / "out")
    assert pq.read_table(written).column("label").to_pylist() == ["x", "z"]
    folder = tmp_path / "many"
    folder.mkdir()
    frame.to_parquet(folder / "1.parquet")
    other.to_parquet(folder / "2.parquet")
    pool = Pool.read(folder)
    written = pool.write([0, 2], tmp_path / "again")
    assert pq.read_table(written).column("label").to_pylist() == ["x", "z"]


def test_arrays(tmp_path: Path) -> None:
    X = np.arange(12, dtype=np.float32).reshape(4, 3)
    pool = Pool.from_arrays(X, y=[1, 2, 1, 1], text=["a", "b", "", "d"], score=[1, 2, 3, 4])
    assert pool.embeddings is not None
    assert pool.embeddings.tolist() == X[[0, 1, 3]].tolist()
    assert pool.label is not None
    assert pool.label.codes.tolist() == [0, 1, 0]
    alone = Pool.from_arrays(X)
    assert alone.embeddings is not None
    assert np.shares_memory(alone.embeddings, X)
    np.save(tmp_path / "X.npy", X)
    mapped = Pool.read(tmp_path / "X.npy")
    assert isinstance(mapped.embeddings, np.memmap)
    assert mapped.fingerprint == alone.fingerprint
    assert np.load(mapped.write([3, 1], tmp_path / "out")).tolist() == X[[1, 3]].tolist()
    with pytest.raises(UsageError, match="vectors alone"):
        mapped.texts([0])


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"X": np.ones((2, 3)), "text": ["a"]},
        {"X": np.ones(3)},
        {"X": np.empty((0, 3))},
        {"X": [["a"]]},
        {"X": [[1.0], [1.0, 2.0]]},
        {"X": np.ones((2, 2), complex)},
        {"text": ["a", 3, {}]},
        {"y": np.ones((2, 2))},
    ],
)
def test_arrays_that_make_no_pool(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Pool.from_arrays(**given)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_named(value: float) -> None:
    X = np.ones((70_000, 2))
    X[69_000, 1] = value
    with pytest.raises(InputError, match=rf"line 69001, field 'dimension 1': is {value}"):
        Pool.from_arrays(X)
    X[69_000] = np.inf, -np.inf
    with pytest.raises(InputError, match="line 69001, field 'dimension 0': is inf"):
        Pool.from_arrays(X)


def test_a_double_that_is_no_float32_is_named() -> None:
    with pytest.raises(InputError, match="is inf"):
        Pool.from_arrays([[1e300]])


@pytest.mark.parametrize("row", [3, "text", None, ["text"]])
def test_a_row_that_is_no_mapping_is_named(row: Any) -> None:
    with pytest.raises(InputError, match="rows, line 2: is a"):
        Pool.from_rows([{"text": "a"}, row])


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", 10**30, "\ud800", {1: 2}])
def test_a_row_that_json_cannot_hold_is_named(value: Any) -> None:
    with pytest.raises(InputError, match=r"rows, line 2.*cannot be kept as JSON"):
        Pool.from_rows([{"text": "a"}, {"text": "b", "more": value}])


@pytest.mark.parametrize(
    "frame", [pd.DataFrame({"text": ["a", 3]}), pd.DataFrame([[1, 2]], columns=["a", "a"])]
)
def test_a_frame_that_arrow_cannot_hold_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="Arrow table"):
        Pool.from_pandas(frame)


def test_a_table_with_broken_data_or_one_name_twice_is_refused() -> None:
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], "i4")), pa.py_buffer(b"\xff")]
    )
    with pytest.raises(InputError, match="broken data"):
        Pool.from_arrow(pa.table({"text": bad}))
    with pytest.raises(InputError, match="two columns"):
        Pool.from_arrow(pa.table([["a"], ["b"]], names=["text", "text"]))


# --- written as they were read ----------------------------------------------------------------

LINES = [
    b'{"text": "caf\\u00e9", "n": 1.0}\r\n',
    b'  {"n":1e2,"text":"caf\xc3\xa9"}\n',
    b'{"text":"third",   "n": 12345678901234567890}\n',
    b'{"text":"third",   "n": 12345678901234567890}\n',
    b'{"text":"no newline"}',
]


@pytest.mark.parametrize("size", [16, 64, 1 << 20])
def test_lines_come_back_byte_for_byte_in_input_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"".join(LINES))
    monkeypatch.setattr(readers, "SHARD_BYTES", size)
    pool = Pool.read(tmp_path / "rows.jsonl")
    written = pool.write([4, 0, 3, 1], tmp_path / "out" / "chosen")
    assert written == tmp_path / "out" / "chosen.jsonl"
    assert written.read_bytes() == LINES[0] + LINES[1] + LINES[3] + LINES[4] + b"\n"
    assert pool.write([2, 2], tmp_path / "twice").read_bytes() == LINES[2] * 2
    assert pool.write([], tmp_path / "none").read_bytes() == b""


def test_a_json_list_comes_back_as_one_with_its_rows_untouched(tmp_path: Path) -> None:
    rows = ['{"text": "a",\n  "n": 1.0}', '{"text":"\\u00e9"}', '{ "text" : "c" }']
    (tmp_path / "rows.json").write_text("[" + " , ".join(rows) + "]")
    pool = Pool.read(tmp_path / "rows.json")
    written = pool.write([2, 0], tmp_path / "out")
    assert written.read_text() == f"[\n{rows[0]},\n{rows[2]}\n]\n"
    assert json.loads(pool.write([], tmp_path / "none").read_text()) == []


def test_csv_comes_back_with_its_header(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b'text,"n"\r\n"a\r\nb",1\r\nc,"2"\r\n')
    pool = Pool.read(tmp_path / "rows.csv")
    assert pool.write([1], tmp_path / "out").read_bytes() == b'text,"n"\r\nc,"2"\r\n'
    assert pool.write([], tmp_path / "none").read_bytes() == b'text,"n"\r\n'


def test_parquet_comes_back_with_its_types(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("text", pa.large_string()),
            ("when", pa.timestamp("ns", tz="UTC")),
            ("many", pa.list_(pa.int16())),
            ("deep", pa.struct([("x", pa.decimal128(10, 2))])),
        ]
    )
    table = pa.Table.from_pylist(
        [{"text": f"{i}", "when": i, "many": [i], "deep": None} for i in range(50)], schema=schema
    ).replace_schema_metadata({"huggingface": "{}"})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=7)
    pool = Pool.read(tmp_path / "rows.parquet")
    written = pq.read_table(pool.write([49, 3, 20], tmp_path / "out"))
    assert written.schema.equals(schema)
    assert written.equals(table.take([3, 20, 49]).replace_schema_metadata(None))
    assert pq.read_table(pool.write([], tmp_path / "none")).schema.equals(schema)


def test_files_of_other_columns(tmp_path: Path) -> None:
    for name, more in (("1", {"a": 1}), ("2", {"b": "x"})):
        pq.write_table(pa.Table.from_pylist([{"text": name, **more}]), tmp_path / f"{name}.parquet")
    pool = Pool.read(tmp_path)
    assert pq.read_table(pool.write([0, 1], tmp_path / "out" / "x")).to_pylist() == [
        {"text": "1", "a": 1, "b": None},
        {"text": "2", "a": None, "b": "x"},
    ]
    pq.write_table(pa.Table.from_pylist([{"text": "3", "a": "word"}]), tmp_path / "3.parquet")
    pool = Pool.read(tmp_path)
    with pytest.raises(InputError, match="other columns"):
        pool.write([0, 2], tmp_path / "out" / "y")


@pytest.mark.parametrize("wrong", [[-1], [3], [0, 99], [0.5], [True, False, True], [[0]]])
def test_indices_that_are_no_rows_are_refused(tmp_path: Path, wrong: Any) -> None:
    pool = Pool.from_rows(ROWS)
    for use in (pool.texts, pool.rows, lambda indices: pool.write(indices, tmp_path / "out")):
        with pytest.raises(UsageError):
            use(wrong)
    assert list(tmp_path.iterdir()) == []


# --- embeddings -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
@pytest.mark.parametrize("size", [40, 1 << 20])
def test_vectors_of_all_rows_read_find_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, size: int
) -> None:
    monkeypatch.setattr(readers, "SHARD_BYTES", size)
    expected, count = [], 0
    for file in range(4):
        rows: list[dict[str, Any]] = []
        for _ in range(12):
            empty = file == 2 or count % 5 in (0, 3)
            rows.append({"text": "" if empty else str(count), "note": "x"})
            expected += [] if empty else [count]
            count += 1
        path = tmp_path / f"{file}{suffix}"
        if suffix == ".jsonl":
            path.write_text("\n\n".join(map(json.dumps, rows)))
        elif suffix == ".json":
            path.write_text(json.dumps(rows))  # every row on line 1
        elif suffix == ".csv":
            pd.DataFrame(rows).to_csv(path, index=False)
        else:
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=5)
    pool = Pool.read(tmp_path)
    assert pool.read_count == count
    every = np.repeat(np.arange(count, dtype=np.float32)[:, None], 2, axis=1)
    found = pool.with_embeddings(every).embeddings
    assert found is not None
    assert found[:, 0].astype(int).tolist() == expected
    assert [int(text) for text in pool.texts(range(len(pool)))] == expected
    usable = pool.with_embeddings(every[: len(pool)]).embeddings
    assert usable is not None
    assert usable[:, 0].tolist() == list(range(len(pool)))
    with pytest.raises(InputError, match=rf"has 7 vectors for {count} rows read \({len(pool)} of"):
        pool.with_embeddings(every[:7])


# --- the rest ---------------------------------------------------------------------------------


def test_fingerprint_follows_the_content_and_the_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "b": "c"}\n')
    first = Pool.read(path).fingerprint
    assert Pool.read(path).fingerprint == first
    assert Pool.read(path, text="b").fingerprint != first
    path.write_text('{"text": "A", "b": "c"}\n')
    assert Pool.read(path).fingerprint != first


def test_strict_stops_at_the_first_row_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": ""}\n{broken\n')
    assert [row.line for row in Pool.read(path).rejected] == [3, 4]
    with pytest.raises(InputError, match="line 3, field 'text': is empty"):
        Pool.read(path, strict=True)


def test_the_temporary_folder_goes_with_the_pool(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n')
    pool = Pool.read(path)
    folder = pool.keeper.path if pool.keeper else Path()
    other = pool.with_embeddings([[1.0]])
    copy = pickle.loads(pickle.dumps(pool))
    assert copy.texts([0]) == ["a"]
    del pool, copy
    gc.collect()
    assert other.texts([0]) == ["a"]
    del other
    gc.collect()
    assert not folder.exists()


def test_a_column_without_names_is_none() -> None:
    assert Category.of(pa.array([None, None], pa.string())) is None
    coded = Category.of(pa.array(["b", None, "a", "b"]))
    assert coded is not None
    assert (coded.codes.tolist(), coded.names, len(coded)) == ([0, -1, 1, 0], ["b", "a"], 4)
