import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from samplewise import files, readers
from samplewise.errors import InputError
from samplewise.layout import Rejection, find_layout
from samplewise.pool import Pool

ROWS = [
    {"text": "red", "label": "a", "source": "s1", "score": 1.5},
    {"text": "grün\nzwei Zeilen", "label": "b", "source": "s1", "score": 2.0},
    {"text": 'say "hi", now', "label": "a", "source": "s2", "score": -3.0},
]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=2)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "rows.jsonl": jsonl,
    "rows.ndjson": jsonl,
    "rows.JSONL": jsonl,
    "rows.jsonl.gz": lambda rows: gzip.compress(jsonl(rows)),
    "rows.jsonl.zst": lambda rows: zstandard.compress(jsonl(rows)),
    "rows.json": lambda rows: json.dumps(rows).encode(),
    "pretty.json": lambda rows: json.dumps(rows, indent=2).encode(),
    "object.json": lambda rows: json.dumps({"about": {"n": 3}, "data": rows, "end": 1}).encode(),
    "rows.csv": as_csv,
    "rows.parquet": parquet,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reads_the_same_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name](ROWS))
    pool = Pool.read(path)
    assert pool.texts(range(3)) == [row["text"] for row in ROWS]
    assert pool.label is not None
    assert pool.source is not None
    assert pool.score is not None
    assert [pool.label.names[code] for code in pool.label.codes] == ["a", "b", "a"]
    assert [pool.source.names[code] for code in pool.source.codes] == ["s1", "s1", "s2"]
    assert pool.score.tolist() == [1.5, 2.0, -3.0]
    rows = [{**row, "score": float(row["score"])} for row in pool.rows([2, 0, 1])]
    assert rows == [ROWS[2], ROWS[0], ROWS[1]]
    assert not pool.rejected


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.parquet"])
def test_a_folder_of_files_is_one_pool_in_order_of_names(tmp_path: Path, name: str) -> None:
    make = FORMATS[name.replace("a.", "rows.")]
    for folder, row in zip(("z", "b", "b/c"), ROWS, strict=True):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_bytes(make([row]))
    (tmp_path / "README.md").write_text("not rows")
    (tmp_path / f".{name}").write_text("hidden, and broken")
    pool = Pool.read(tmp_path)
    assert pool.texts([0, 1, 2]) == [ROWS[i]["text"] for i in (1, 2, 0)]
    assert pool.place(2) == (str(tmp_path / "z" / name), 2 if name == "a.csv" else 1)


@pytest.mark.parametrize("split", [False, True])
def test_a_saved_hugging_face_data_set(tmp_path: Path, split: bool) -> None:
    import datasets

    data = datasets.Dataset.from_list(ROWS)
    if split:
        datasets.DatasetDict({"test": data.select([0]), "train": data}).save_to_disk(tmp_path / "d")
    else:
        data.save_to_disk(tmp_path / "d", num_shards=2)
    pool = Pool.read(tmp_path / "d")
    assert pool.texts([0, 1, 2]) == [row["text"] for row in ROWS]
    written = pool.write([2, 0], tmp_path / "out")
    assert pq.read_table(written).to_pylist() == [ROWS[0], ROWS[2]]


def test_splits_without_train_ask_for_one(tmp_path: Path) -> None:
    import datasets

    data = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"dev": data, "test": data}).save_to_disk(tmp_path / "d")
    with pytest.raises(InputError, match="splits dev, test"):
        Pool.read(tmp_path / "d")
    assert len(Pool.read(tmp_path / "d" / "test")) == 3


LAYOUTS: list[tuple[dict[str, Any], str]] = [
    ({"text": "t"}, "t"),
    ({"content": "c"}, "c"),
    ({"instruction": "i", "input": "n", "output": "o"}, "i\nn\no"),
    ({"instruction": "i", "input": "", "output": "o"}, "i\no"),
    ({"instruction": "i", "response": "r"}, "i\nr"),
    ({"instruction": "i"}, "i"),
    ({"prompt": "p", "completion": "c"}, "p\nc"),
    ({"prompt": "p", "response": "r"}, "p\nr"),
    ({"question": "q", "answer": "a"}, "q\na"),
    ({"messages": [{"role": "user", "content": "u"}, {"role": "bot", "content": "b"}]}, "u\nb"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "u"}]}]}, "u"),
    ({"conversations": [{"from": "human", "value": "h"}, {"from": "gpt", "value": "g"}]}, "h\ng"),
    ({"dialogs": ["one", "two"]}, "one\ntwo"),
    ({"question_id": 7, "category": "writing", "turns": ["first", "then"]}, "first\nthen"),
]


@pytest.mark.parametrize(("row", "text"), LAYOUTS)
def test_every_layout_is_found(tmp_path: Path, row: dict[str, Any], text: str) -> None:
    assert Pool.from_rows([row]).texts([0]) == [text]
    (tmp_path / "rows.jsonl").write_bytes(jsonl([row, row]))
    assert Pool.read(tmp_path / "rows.jsonl").texts([1]) == [text]
    assert Pool.from_arrow(pa.Table.from_pylist([row])).texts([0]) == [text]


def test_input_may_be_missing_in_some_rows_and_output_may_not() -> None:
    rows = [
        {"instruction": "i", "input": "n", "output": "o"},
        {"instruction": "i", "output": "o"},
        {"instruction": "i", "input": "n"},
    ]
    pool = Pool.from_rows(rows)
    assert pool.texts([0, 1]) == ["i\nn\no", "i\no"]
    assert [(row.line, row.field, row.reason) for row in pool.rejected] == [
        (3, "output", "is missing")
    ]


def test_fields_that_the_user_names_win() -> None:
    row = {"text": "no", "a": "x", "b": "y", "kind": 3, "origin": "o", "stars": "4.5", "score": 1}
    pool = Pool.from_rows([row], text="a, b", label="kind", source="origin", score="stars")
    assert pool.texts([0]) == ["x\ny"]
    assert pool.label is not None
    assert pool.label.names == ["3"]
    assert pool.source is not None
    assert pool.source.names == ["o"]
    assert pool.score is not None
    assert pool.score.tolist() == [4.5]


@pytest.mark.parametrize("field", ["text", "label", "source", "score"])
def test_a_named_field_that_is_not_there_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=r"field 'colour'.*\n.*label, text"):
        Pool.from_rows([{"text": "a", "label": "b"}], **{field: "colour"})


def test_a_list_is_not_taken_for_a_label_unless_named() -> None:
    rows = [{"text": "a", "labels": [1, 2], "source": {"url": "x"}}]
    pool = Pool.from_rows(rows)
    assert pool.label is None
    assert pool.source is None
    with pytest.raises(InputError, match="field 'labels': none of the 1 rows can be used"):
        Pool.from_rows(rows, label="labels")


def test_numpy_values_are_names_and_scores() -> None:
    pool = Pool.from_rows([{"text": "a", "label": np.int64(3), "score": np.float32(0.5)}])
    assert pool.label is not None
    assert pool.label.names == ["3"]
    assert pool.score is not None
    assert pool.score.tolist() == [0.5]


def test_no_text_field_says_which_fields_there_are() -> None:
    with pytest.raises(InputError, match="no text found in the fields a, b"):
        find_layout([{"a": "x", "b": "y"}])


def test_a_conversation_nested_without_end_is_set_aside() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    layout = find_layout([{"messages": []}])
    with pytest.raises(Rejection, match="nested too deeply"):
        layout.read({"messages": deep})


# --- parts ------------------------------------------------------------------------------------


def mixed_lines() -> bytes:
    """Lines of many lengths: good, broken, blank, CRLF, the last without its newline."""
    lines = [
        b""
        if i % 17 == 3
        else b"{broken"
        if i % 11 == 5
        else json.dumps({"text": f"row {i} " + "x" * (i * 7 % 61), "score": i}).encode()
        for i in range(200)
    ]
    return b"\xef\xbb\xbf" + b"".join(
        line + (b"\r\n" if i % 3 else b"\n") for i, line in enumerate(lines)
    ).removesuffix(b"\n")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 64, 1_000, 4_096])
def test_any_split_into_parts_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(mixed_lines() if size > 3 else mixed_lines()[:900])
    whole = Pool.read(path)
    monkeypatch.setattr(readers, "SHARD_BYTES", size)
    monkeypatch.setattr(files, "_sync", lambda path: None)  # one file a part: not the disk's test
    parts = readers.plan(path)
    assert len(parts) == -(-path.stat().st_size // size)
    split = Pool.read(path)
    assert split.line.tolist() == whole.line.tolist()
    assert split.texts(range(len(split))) == whole.texts(range(len(whole)))
    assert split.rejected == whole.rejected
    assert split.score is not None
    assert whole.score is not None
    assert split.score.tolist() == whole.score.tolist()
    assert split.fingerprint == whole.fingerprint
    assert split.write(range(len(split)), tmp_path / "b").read_bytes() == (
        whole.write(range(len(whole)), tmp_path / "a").read_bytes()
    )


@pytest.mark.parametrize("size", range(1, 45))
def test_a_mark_at_the_start_makes_no_row_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\n{"text": "two"}\n')
    monkeypatch.setattr(readers, "SHARD_BYTES", size)
    pool = Pool.read(path)
    assert pool.texts(range(len(pool))) == ["one", "two"]
    assert pool.line.tolist() == [1, 2]


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".json", ".csv"])
def test_shards_of_one_part_number_their_lines_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    rows = [{"text": "" if i % 7 == 2 else f"row {i}", "score": str(i)} for i in range(100)]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".json":
        path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]")
    else:
        path.write_bytes(gzip.compress(jsonl(rows)) if suffix == ".jsonl.gz" else as_csv(rows))
    monkeypatch.setattr(readers, "SHARD_BYTES", 64)
    pool = Pool.read(path)
    assert len(pool.shards) > 10
    first = 1 if suffix == ".jsonl.gz" else 2
    good = [i for i in range(100) if i % 7 != 2]
    assert pool.line.tolist() == [i + first for i in good]
    assert [row.line for row in pool.rejected] == [i + first for i in range(2, 100, 7)]
    assert [row.row for row in pool.rejected] == list(range(2, 100, 7))


def test_quoted_newlines_count_as_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'\n\ntext,note\r\n"a\nb",1\r\n\r\nc,2\r\nd\r\n"e\r\nf",3')
    pool = Pool.read(path)
    assert pool.texts([0, 1, 2]) == ["a\nb", "c", "e\r\nf"]
    assert pool.line.tolist() == [4, 7, 9]
    assert [(row.line, row.reason) for row in pool.rejected] == [
        (8, "has 1 fields, the header has 2")
    ]
    written = pool.write([0, 1, 2], tmp_path / "out").read_bytes()
    assert written == b'text,note\r\n"a\nb",1\r\nc,2\r\n"e\r\nf",3\n'


def test_marks_that_end_lines_elsewhere_end_none_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,note\na\u2028b\x0bc\x85d,1\n", encoding="utf-8", newline="")
    pool = Pool.read(path)
    assert pool.rows([0]) == [{"text": "a\u2028b\x0bc\x85d", "note": "1"}]


def test_a_csv_header_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'\xef\xbb\xbf"text","my\n""note"""\nx,1\n')
    pool = Pool.read(path)
    assert pool.rows([0]) == [{"text": "x", 'my\n"note"': "1"}]
    assert pool.write([0], tmp_path / "out").read_bytes() == b'"text","my\n""note"""\nx,1\n'


def test_a_csv_field_of_a_megabyte_can_be_read_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text\n" + b"x" * 1_000_000 + b"\n")
    pool = Pool.read(path)
    csv.field_size_limit(131_072)  # as in a process that has not read the file itself
    assert len(pool.rows([0])[0]["text"]) == 1_000_000


def test_an_engine_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samplewise.engine.local import LocalEngine

    path = tmp_path / "rows.jsonl"
    path.write_bytes(mixed_lines())
    monkeypatch.setattr(readers, "SHARD_BYTES", 500)
    alone, threaded = Pool.read(path), Pool.read(path, engine=LocalEngine(workers=3))
    assert threaded.texts(range(len(threaded))) == alone.texts(range(len(alone)))
    assert threaded.line.tolist() == alone.line.tolist()
    assert threaded.rejected == alone.rejected


def test_a_cache_is_read_again_and_not_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(mixed_lines())
    first = Pool.read(path, cache=tmp_path / "cache")
    monkeypatch.setattr("samplewise.shards.read_part", lambda *_: pytest.fail("read again"))
    again = Pool.read(path, cache=tmp_path / "cache")
    assert again.texts(range(len(again))) == first.texts(range(len(first)))
    assert again.rejected == first.rejected
