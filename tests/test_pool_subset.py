"""A subset of a pool answers as a pool of those rows does, and copies none of them."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import samplewise as sw
from samplewise import readers
from samplewise.embed import count_tokens, embed_pool
from samplewise.engine.local import LocalEngine
from samplewise.errors import UsageError
from samplewise.pool import Category, Pool

ROWS = [
    {
        "text": f"row {i} " + "word " * i,
        "label": "abc"[i % 3],
        "source": "s" if i < 10 else "t",
        "score": i / 2,
    }
    for i in range(30)
]
PICKS = [29, 3, 4, 17, 11]
ORDER = sorted(PICKS)


@pytest.fixture
def lines() -> list[bytes]:
    import orjson

    return [orjson.dumps(row) + b"\n" for row in ROWS]


@pytest.fixture(params=["file", "memory"])
def pool(request, tmp_path, monkeypatch, lines) -> Pool:
    if request.param == "memory":
        return Pool.from_rows(ROWS)
    monkeypatch.setattr(readers, "SHARD_BYTES", 300)  # many shards
    (tmp_path / "rows.jsonl").write_bytes(b"".join(lines))
    pool = Pool.read(tmp_path / "rows.jsonl")
    assert len(pool.shards) > 5
    return pool


def test_a_subset_answers_as_a_pool_of_its_rows(pool: Pool) -> None:
    part, whole = pool.subset(PICKS), Pool.from_rows([ROWS[i] for i in ORDER])
    every = np.arange(5)
    assert len(part) == part.read_count == 5
    assert part.texts(every) == whole.texts(every)
    assert part.texts([4, 0]) == whole.texts([4, 0])
    assert part.rows(every) == whole.rows(every)
    assert part.score.tolist() == whole.score.tolist()
    for ours, theirs in ((part.label, whole.label), (part.source, whole.source)):
        assert [ours.names[code] for code in ours.codes] == [
            theirs.names[code] for code in theirs.codes
        ]
    assert part.line.tolist() == [i + 1 for i in ORDER]
    assert part.place(1)[1] == 5
    assert part.picked.tolist() == ORDER
    texts = [text for table in part.batches("text") for text in table.column("text").to_pylist()]
    assert texts == whole.texts(every)


def test_its_rows_are_written_as_they_were_read(pool: Pool, tmp_path: Path, lines) -> None:
    written = pool.subset(PICKS).write([4, 0, 1], tmp_path / "out")
    assert written.read_bytes() == lines[3] + lines[4] + lines[29]


def test_no_shard_is_copied(pool: Pool) -> None:
    assert pool.subset(PICKS).shards is pool.shards


def test_a_subset_of_a_subset_is_one_of_the_pool(pool: Pool) -> None:
    twice = pool.subset(PICKS).subset([4, 1])
    assert twice.texts([0, 1]) == [ROWS[4]["text"], ROWS[29]["text"]]
    assert twice.picked.tolist() == [4, 29]
    assert len({pool.fingerprint, pool.subset([4]).fingerprint, twice.fingerprint}) == 3


def test_vectors_and_tokens_are_those_of_its_rows(pool: Pool, tmp_path: Path) -> None:
    part, whole = pool.subset(PICKS), embed_pool(pool)
    np.testing.assert_array_equal(embed_pool(part).embeddings, whole.embeddings[ORDER])
    cached = embed_pool(part, cache=tmp_path / "cache")
    np.testing.assert_array_equal(cached.embeddings, whole.embeddings[ORDER])
    np.testing.assert_array_equal(whole.subset(PICKS).embeddings, whole.embeddings[ORDER])
    counts = count_tokens(pool, LocalEngine())
    assert count_tokens(part, LocalEngine()).tolist() == counts[ORDER].tolist()


@pytest.mark.parametrize("method", ["kmeans-quality", "stratified", "facility-location"])
def test_methods_choose_from_it(pool: Pool, tmp_path: Path, lines, method: str) -> None:
    part = embed_pool(pool).subset(np.arange(5, 30))
    selection = sw.select(part, 6, method, rng=0)
    found = selection.write(tmp_path / "run").read_bytes().splitlines(keepends=True)
    assert found == [lines[5 + i] for i in np.sort(selection.indices)]
    scores = pq.read_table(tmp_path / "run" / "scores.parquet")
    assert scores.column("line").to_pylist() == list(range(6, 31))


def test_a_target_stays(pool: Pool) -> None:
    target = Pool.from_rows(ROWS[:2])
    assert pool.with_target(target).subset([1]).target is target


def test_names_that_no_row_has_are_left_out(pool: Pool) -> None:
    part = pool.subset([0, 3, 6])
    assert part.label.names == ["a"]
    assert part.label.codes.tolist() == [0, 0, 0]


def test_a_column_that_no_row_of_it_has_is_none() -> None:
    rows = [{"text": "t", "label": label, "score": score} for label, score in LABELLED]
    pool = Pool.from_rows(rows)
    part = pool.subset([1, 3])
    assert part.label is None
    assert part.score is None
    some = pool.subset([1, 2])
    assert some.label.codes.tolist() == [-1, 0]
    assert some.label.names == ["b"]
    assert np.isnan(some.score[0])


LABELLED = [("a", 1.0), (None, None), ("b", 2.0), (None, None)]


def test_vectors_alone_have_subsets_too(tmp_path: Path) -> None:
    X = np.arange(12, dtype=np.float32).reshape(6, 2)
    part = Pool.from_arrays(X).subset([5, 1, 2])
    assert np.load(part.write([2, 0], tmp_path / "out")).tolist() == X[[1, 5]].tolist()
    with pytest.raises(UsageError, match="vectors alone"):
        part.texts([0])


def test_rows_set_aside_are_not_of_a_subset() -> None:
    pool = Pool.from_rows([{"text": "a"}, {"text": ""}, {"text": "c"}, {"text": "d"}])
    part = pool.subset([1, 2])
    assert part.rejected == []
    assert part.with_embeddings(np.eye(2)).texts([0, 1]) == ["c", "d"]
    assert part.line.tolist() == [3, 4]


def test_csv_keeps_its_header(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b'text,"n"\r\na,1\r\nc,"2"\r\nd,3\r\n')
    part = Pool.read(tmp_path / "rows.csv").subset([1, 2])
    assert part.write([0], tmp_path / "out").read_bytes() == b'text,"n"\r\nc,"2"\r\n'
    assert part.rows([1]) == [{"text": "d", "n": "3"}]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [([], "names no row"), ([1, 1], "twice"), ([30], "not in the pool"), ([-1], "not in the pool")],
)
def test_a_wrong_subset_is_refused(pool: Pool, wrong: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pool.subset(wrong)


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=12), st.data())
def test_a_category_keeps_every_name(codes: list[int], data) -> None:
    column = Category(np.array(codes, np.int32), list("abcde"))
    rows = np.array(data.draw(st.lists(st.integers(0, len(codes) - 1), min_size=1)))
    part = column.subset(rows)
    expected = [None if codes[row] < 0 else "abcde"[codes[row]] for row in rows]
    if part is None:
        assert set(expected) == {None}
    else:
        assert [None if code < 0 else part.names[code] for code in part.codes] == expected
        assert set(part.names) == set(expected) - {None}
