"""A run that aims at a target, and one whose scores are worked out or come from a file."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import orjson
import pytest

from samplewise import registry
from samplewise.errors import InputError, UsageError
from samplewise.jobs import CompareJob, SelectJob, rerun, run_compare, run_select
from samplewise.score import Scorer
from samplewise.select import Selector
from samplewise.select.base import Choice


@dataclass(frozen=True)
class Length(Scorer):
    """Length of the text. Deterministic."""

    name: ClassVar[str] = "length"
    needs: ClassVar[tuple[str, ...]] = ("text",)
    calls: ClassVar[list[float]] = []
    factor: float = 1.0

    def score(self, pool, rng, engine, progress):
        self.calls.append(self.factor)
        return np.array([self.factor * len(t) for t in pool.texts(np.arange(len(pool)))])


@dataclass(frozen=True)
class Nearest(Selector):
    """Rows most like the target's first. Deterministic."""

    name: ClassVar[str] = "nearest-to-first"
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "target")

    def choose(self, pool, n, rng, engine):
        order = np.argsort(-(pool.embeddings @ pool.target.embeddings[0]), kind="stable")
        return Choice(order[:n])


@pytest.fixture
def methods(monkeypatch):
    table = dict(registry._registered())
    table[("score", "length")] = Length
    table[("select", "nearest-to-first")] = Nearest
    monkeypatch.setattr(registry, "_registered", lambda: table)
    Length.calls.clear()


@pytest.fixture
def pool_file(tmp_path):
    path = tmp_path / "pool.jsonl"
    rows = [{"text": "word " * (1 + i % 37)} for i in range(100)] + [{"text": "a green parrot"}]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def chosen(out):
    return [orjson.loads(line)["text"] for line in (out / "selected.jsonl").open()]


def test_score_is_worked_out_once_and_kept(methods, pool_file, tmp_path):
    job = SelectJob(str(pool_file), "10%", score="method:length", score_knobs={"factor": "2"})
    record = run_select(job, tmp_path / "run")
    assert record["method"] == "kmeans-quality"
    kept = np.load(tmp_path / "run" / "score.npy")
    assert kept[0] == 2 * len("word ")
    (tmp_path / "run" / "selected.jsonl").unlink()
    state = orjson.loads((tmp_path / "run" / "run.json").read_bytes()) | {"state": "running"}
    (tmp_path / "run" / "run.json").write_bytes(orjson.dumps(state))
    run_select(job, tmp_path / "run", resume=True)
    assert Length.calls == [2.0]
    from_file = SelectJob(str(pool_file), "10%", score=str(tmp_path / "run" / "score.npy"))
    run_select(from_file, tmp_path / "again")
    assert chosen(tmp_path / "again") == chosen(tmp_path / "run")


def test_target_is_read_and_embedded(methods, pool_file, tmp_path):
    aim = tmp_path / "aim.jsonl"
    aim.write_text('{"text": "parrots are green"}\n')
    job = SelectJob(str(pool_file), "1", method="nearest-to-first", target=str(aim))
    run_select(job, tmp_path / "run")
    assert chosen(tmp_path / "run") == ["a green parrot"]


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"score": "method:nothing"}, UsageError, "no score method 'nothing'"),
        ({"score": "method:length", "score_knobs": {"x": "1"}}, UsageError, "no knob 'x'"),
        ({"score": "text", "score_knobs": {"x": "1"}}, UsageError, "--score-set"),
        ({"target": "nowhere.jsonl"}, InputError, "nowhere.jsonl: no such file"),
        ({"method": "nearest-to-first"}, InputError, "--target FILE"),
    ],
)
def test_what_makes_no_sense_is_refused(methods, pool_file, tmp_path, more, error, words):
    with pytest.raises(error, match=words):
        run_select(SelectJob(str(pool_file), **more), tmp_path / "run")
    assert not (tmp_path / "run" / "selected.jsonl").exists()
    assert Length.calls == []


def test_a_comparison_reads_its_pool_as_a_selection_does(methods, pool_file, tmp_path):
    aim = tmp_path / "aim.jsonl"
    aim.write_text('{"text": "parrots are green"}\n')
    job = CompareJob(
        str(pool_file),
        ["kmeans-quality", "nearest-to-first"],
        "5",
        proxy="coverage",
        seeds=2,
        score="method:length",
        target=str(aim),
    )
    record = run_compare(job, tmp_path / "run")
    assert set(record["methods"]) == {"kmeans-quality", "nearest-to-first", "random"}
    assert np.load(tmp_path / "run" / "score.npy")[0] == len("word ")
    assert record["input"]["target"]
    with pytest.raises(UsageError, match="--score-set"):
        run_compare(dataclasses.replace(job, score=None, score_knobs={"x": "1"}), tmp_path / "no")


def test_a_target_that_has_changed_is_noticed(methods, pool_file, tmp_path):
    aim = tmp_path / "aim.jsonl"
    aim.write_text('{"text": "parrots are green"}\n')
    job = SelectJob(str(pool_file), "1", method="nearest-to-first", target=str(aim))
    run_select(job, tmp_path / "run")
    rerun(tmp_path / "run", tmp_path / "same")
    aim.write_text('{"text": "something else"}\n')
    with pytest.raises(InputError, match="has changed"):
        rerun(tmp_path / "run", tmp_path / "other")
