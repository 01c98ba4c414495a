"""Tags of rows: a list of names, or one text, in every format; coded, kept and checked."""

import csv
import io
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
from samplewise.errors import InputError
from samplewise.jobs import SelectJob, run_select
from samplewise.layout import Rejection, find_layout, read_tags
from samplewise.pool import Pool, Tags

ROWS: list[dict[str, Any]] = [
    {"text": "one", "tags": ["maths", "sums"]},
    {"text": "two", "tags": None},
    {"text": "three", "tags": []},
    {"text": "four", "tags": ["sums", "law, tax", "sums"]},
]
FOUND = [["maths", "sums"], [], [], ["sums", "law, tax"]]


def listed(pool: Pool) -> list[list[str]]:
    assert pool.tags is not None
    assert len(pool.tags) == len(pool)
    assert pool.tags.codes.dtype == np.int32
    assert pool.tags.starts.dtype == np.int64
    return [pool.tags[row] for row in range(len(pool))]


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_lists_of_every_kind_of_pool(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=2)
    pools = [
        Pool.from_rows(ROWS),
        Pool.from_arrow(table),
        Pool.from_pandas(pd.DataFrame(ROWS)),
        Pool.from_polars(pl.DataFrame(ROWS)),
        Pool.from_arrays(text=[row["text"] for row in ROWS], tags=[row["tags"] for row in ROWS]),
        Pool.from_arrays(tags=[row["tags"] for row in ROWS]),
        Pool.from_arrays(np.eye(4), tags=tuple(row["tags"] for row in ROWS)),
        Pool.read(jsonl(tmp_path / "rows.jsonl", ROWS)),
        Pool.read(tmp_path / "rows.parquet"),
    ]
    for pool in pools:
        assert listed(pool) == FOUND
        assert pool.tags is not None
        assert pool.tags.names == ["maths", "sums", "law, tax"]
    assert listed(pickle.loads(pickle.dumps(pools[0]))) == FOUND


def test_texts_with_commas_or_semicolons(tmp_path: Path) -> None:
    rows = [{"text": "a", "tags": " maths ,sums;; maths"}, {"text": "b", "tags": " ; "}]
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, ["text", "tags"])
    writer.writeheader()
    writer.writerows(rows)
    (tmp_path / "rows.csv").write_text(sink.getvalue())
    for pool in (
        Pool.read(tmp_path / "rows.csv"),
        Pool.from_rows(rows),
        Pool.from_arrays(text=["a", "b"], tags=[row["tags"] for row in rows]),
    ):
        assert listed(pool) == [["maths", "sums"], []]


def test_a_field_is_named_or_found_by_itself(tmp_path: Path) -> None:
    rows = [{"text": "a", "tags": ["x"], "topics": "y"}, {"text": "b", "tags": [], "topics": "z"}]
    assert listed(Pool.from_rows(rows)) == [["x"], []]
    assert listed(Pool.from_rows(rows, tags="topics")) == [["y"], ["z"]]
    assert listed(Pool.read(jsonl(tmp_path / "a.jsonl", rows), tags="topics")) == [["y"], ["z"]]
    with pytest.raises(InputError, match=r"'subjects'.*no such field"):
        Pool.from_rows(rows, tags="subjects")
    assert Pool.from_rows([{"text": "a"}]).tags is None
    assert Pool.from_rows([{"text": "a", "tags": []}]).tags is None


@pytest.mark.parametrize("value", [3, {"a": 1}, [["a"]], [{"a": 1}], True])
def test_what_is_no_list_of_names(tmp_path: Path, value: Any) -> None:
    rows = [{"text": "a", "tags": value}]
    assert find_layout(rows).tags is None  # a field that holds other things is not tags
    assert find_layout(rows, tags="tags").tags == "tags"
    with pytest.raises(Rejection, match="tag"):
        read_tags(value, "tags")
    good = [{"text": f"row {i}", "tags": ["x"]} for i in range(150)]
    path = jsonl(tmp_path / "rows.jsonl", [*good, *rows, *good])
    pool = Pool.read(path)
    assert len(pool) == 300
    assert [(row.line, row.field) for row in pool.rejected] == [(151, "tags")]
    assert listed(pool) == [["x"]] * 300
    with pytest.raises(InputError, match=r"line 151, field 'tags'"):
        Pool.read(path, strict=True)


def test_numbers_are_names_and_nothing_is_none() -> None:
    assert read_tags([3, "a", None, " "], "tags") == ["3", "a"]
    assert read_tags(None, "tags") is None
    assert read_tags([None], "tags") is None
    assert read_tags("", "tags") is None


def test_tags_cross_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "SHARD_BYTES", 200)
    rows = [{"text": f"t {i}", "tags": [f"tag {i % 7}"] * (i % 3 > 0)} for i in range(60)]
    pool = Pool.read(jsonl(tmp_path / "rows.jsonl", rows))
    assert len(pool.shards) > 3
    assert listed(pool) == [row["tags"][:1] for row in rows]


def test_arrays_of_other_lengths_or_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="lengths differ"):
        Pool.from_arrays(np.eye(2), tags=[["a"]])
    with pytest.raises(InputError, match="Arrow table"):
        Pool.from_arrays(tags=[["a"], "b"])


def test_no_tags_at_all() -> None:
    assert Tags.of([None, []]) is None
    assert Tags.of([]) is None


def test_a_run_takes_the_tags(tmp_path: Path) -> None:
    words = ["law", "cooking", "poetry", "algebra", "football"]
    rows = [{"text": f"row {i}", "topics": f"{words[i % 5]}; even"} for i in range(40)]
    path = str(jsonl(tmp_path / "rows.jsonl", rows))
    job = SelectJob(path, "5", "information-gain", tags="topics")
    record = run_select(job, tmp_path / "run")
    assert record["chosen"] == 5
    assert record["arguments"]["tags"] == "topics"
    scores = pq.read_table(tmp_path / "run" / "scores.parquet")
    assert scores.column("tags").to_pylist()[3] == "algebra; even"
    chosen = (tmp_path / "run" / "selected.jsonl").read_text().splitlines()
    assert len({json.loads(line)["topics"] for line in chosen}) == 5


def test_a_subset_keeps_the_tags_of_its_rows():
    lists = [["a", "b"], None, ["c"], ["b", "d", "a"], []]
    rows = [{"text": str(i), "tags": tags} for i, tags in enumerate(lists)]
    pool = Pool.from_rows(rows)
    part = pool.subset([0, 1, 3])
    assert [set(part.tags[i]) for i in range(3)] == [{"a", "b"}, set(), {"a", "b", "d"}]
    assert set(part.tags.names) == {"a", "b", "d"}
    assert pool.subset([1, 4]).tags is None
