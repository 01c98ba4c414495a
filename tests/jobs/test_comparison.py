"""Methods at equal cost: the same rows for all, nothing twice, and nothing that cannot run."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

import samplewise as sw
from samplewise import Pool
from samplewise.errors import InputError, UsageError
from samplewise.jobs import CompareJob, Figure, Proxy, contest, rerun, run_compare
from samplewise.ledger import Ledger
from samplewise.select.base import Choice, Selector
from samplewise.select.random_rows import Random


def blobs(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    owner = rng.choice(4, rows, p=[0.7, 0.2, 0.06, 0.04])
    X = 2 * np.random.default_rng(9).normal(size=(4, 5))[owner] + rng.normal(size=(rows, 5))
    return Pool.from_arrays(X, y=[f"kind {code}" for code in owner])


@dataclass(frozen=True)
class First(Selector):
    """The first rows; with `times`, each that often."""

    name: ClassVar[str] = "first"
    times: int = 1

    def choose(self, pool, n, rng, engine):
        rows = np.repeat(np.arange(n), self.times)[:n]
        return Choice(rows, np.arange(1.0, n + 1))


@dataclass(frozen=True)
class Share(Proxy):
    """The share of the chosen rows that are of the most common kind, as a loss."""

    name: ClassVar[str] = "share"
    figures: ClassVar = {"share": Figure("Share", "lower"), "rows": Figure("Rows", "higher")}

    def judge(self, chosen, weights, held_out, rng):
        named = np.array(chosen.label.names)[chosen.label.codes] == "kind 0"
        return {"share": float(named.mean()), "rows": float(len(chosen))}


SEEN: list = []


@dataclass(frozen=True)
class Spy(Proxy):
    """Keep what was judged; the figure is the first number drawn."""

    name: ClassVar[str] = "spy"
    figures: ClassVar = {"draw": Figure("Draw", "higher")}

    def judge(self, chosen, weights, held_out, rng):
        value = rng.random()
        SEEN.append((chosen.picked, weights, held_out.picked, value))
        return {"draw": value}


@pytest.fixture(autouse=True)
def _clear():
    SEEN.clear()


def values(comparison):
    return comparison.values.sort_by([("seed", "ascending"), ("method", "ascending")]).to_pylist()


# --- equal cost -------------------------------------------------------------------------------


def test_a_random_choice_is_always_among_them():
    found = sw.compare(blobs(), ["stratified"], "10%", seeds=2, rng=0)
    assert list(found.methods) == ["stratified", "random"]
    named = sw.compare(blobs(), {"chance": "random", "even": "stratified"}, "10%", seeds=2, rng=0)
    assert list(named.methods) == ["chance", "even"]
    assert {row["method"]: row["verdict"] for row in named.report["methods"]}[
        "chance"
    ] == "baseline"


def test_all_methods_of_a_seed_face_the_same_rows():
    found = sw.compare(
        blobs(100), [First(), "k-center"], 12, seeds=3, proxy=Spy(), rng=5, workers=1, held_out=0.3
    )
    assert len(SEEN) == found.race.spent == 9
    by_seed = [SEEN[i : i + 3] for i in (0, 3, 6)]
    for seed in by_seed:
        chosen, _, held, draws = zip(*seed, strict=True)
        assert all((one == held[0]).all() for one in held)
        assert len(set(draws)) == 1
        assert len(held[0]) == 30
        for rows in chosen:
            assert len(rows) == 12
            assert not set(rows) & set(held[0])
    assert len({tuple(seed[0][2]) for seed in by_seed}) == 3


def test_a_share_counts_rows_of_the_whole_pool():
    sw.compare(blobs(200), [First()], "10%", seeds=2, proxy=Spy(), rng=0, held_out=0.4)
    assert {len(chosen) for chosen, *_ in SEEN} == {20}


def test_a_row_chosen_twice_counts_by_its_weights():
    sw.compare(blobs(50), [First(times=2)], 6, seeds=2, proxy=Spy(), rng=0, workers=1)
    twice = [weights.tolist() for _, weights, *_ in SEEN if len(weights) == 3]
    assert twice == [[3, 7, 11], [3, 7, 11]]


def test_same_seed_same_figures_however_many_at_once():
    pool, methods = blobs(), ["stratified", "k-center", "kmeans-random:clusters=5"]
    found = [
        values(sw.compare(pool, methods, "10%", seeds=3, rng=rng, workers=workers))
        for rng, workers in ((1, 1), (1, 3), (2, 1))
    ]
    assert found[0] == found[1] != found[2]


def test_a_generator_and_no_seed_are_taken_too():
    pool = blobs(60)
    for rng in (np.random.default_rng(0), None):
        assert sw.compare(pool, ["stratified"], 6, seeds=2, rng=rng).winner


def test_methods_run_side_by_side_on_one_core_each(monkeypatch):
    from threadpoolctl import threadpool_info

    threads, limits, barrier = set(), [], threading.Barrier(2, timeout=60)
    whole = contest.select

    def watched(*given, **more):
        barrier.wait()
        threads.add(threading.get_ident())
        limits.extend(info["num_threads"] for info in threadpool_info())
        return whole(*given, **more)

    monkeypatch.setattr(contest, "select", watched)
    sw.compare(blobs(60), ["stratified"], 6, seeds=2, rng=0, workers=2)
    assert len(threads) == 2
    assert set(limits) == {1}


def test_a_proxy_that_must_be_alone_is(monkeypatch):
    busy = threading.Lock()

    @dataclass(frozen=True)
    class Alone(Share):
        alone: ClassVar[bool] = True

        def judge(self, *given):
            assert busy.acquire(blocking=False)
            time.sleep(0.02)
            busy.release()
            return super().judge(*given)

    methods = {f"first {i}": First() for i in range(4)}
    sw.compare(blobs(60), methods, 6, seeds=2, proxy=Alone(), rng=0, workers=4, eliminate=False)


# --- what comes of it -------------------------------------------------------------------------


def test_the_table_and_the_winner():
    pool = blobs()
    found = sw.compare(
        pool,
        {"even": "stratified:allocation=equal", "far": "k-center"},
        "20%",
        seeds=6,
        proxy=Share(),
        rng=0,
    )
    assert found.winner in ("even", "far")  # fewer of the common kind than a random choice
    table = found.table
    assert set(table.column("method").to_pylist()) == {"even", "far", "random"}
    rows = {row["method"]: row for row in table.to_pylist()}
    assert rows["random"]["difference"] is None
    assert rows["even"]["verdict"] == "better"
    assert rows["even"]["difference_high"] < 0
    assert rows["even"]["mean"] == pytest.approx(
        rows["random"]["mean"] + rows["even"]["difference"]
    )
    assert rows["even"]["mean_rows"] == pytest.approx(60)
    assert found.report["methods"][0]["method"] == found.winner
    assert len(found.values) == 2 * found.race.spent
    assert [row.name for row in found.standings] == table.column("method").to_pylist()


def test_a_method_that_is_clearly_behind_gets_no_more_seeds():
    @dataclass(frozen=True)
    class Fixed(Share):
        def judge(self, chosen, weights, held_out, rng):
            good = chosen.picked.max() > 40
            return {"share": (0.1 if good else 0.9) + 0.001 * rng.random(), "rows": 1.0}

    found = sw.compare(blobs(60), {"poor": First()}, 6, seeds=8, proxy=Fixed(), rng=0)
    # A random choice is as good as certain to hold one of the last rows.
    assert found.winner == "random"
    assert found.race.spent < found.race.fixed
    assert found.report["spent"]["saved"] == 1 - found.race.spent / 16
    assert found.report["verdict"]["text"].startswith("No method has a better mean than a random")
    every = sw.compare(
        blobs(60), {"poor": First()}, 6, seeds=8, proxy=Fixed(), rng=0, eliminate=False
    )
    assert every.race.spent == every.race.fixed


def test_it_is_written(tmp_path):
    found = sw.compare(blobs(), ["stratified"], "10%", seeds=2, rng=0)
    page = found.write(tmp_path / "out").read_text()
    assert found.report["verdict"]["text"] in page
    written = pq.read_table(tmp_path / "out" / "compare.parquet")
    assert written.equals(found.values)
    assert orjson.loads((tmp_path / "out" / "report.json").read_bytes()) == found.report


def test_vectors_are_made_where_they_are_needed():
    rows = [{"text": f"{'cats and dogs' if i % 2 else 'numbers'} {i}"} for i in range(60)]
    found = sw.compare(Pool.from_rows(rows), ["k-center"], 6, seeds=2, proxy="coverage", rng=0)
    assert found.pool.embeddings is not None


def test_a_target_reaches_the_methods():
    aims = []

    @dataclass(frozen=True)
    class Aimed(First):
        """Rows for the target."""

        needs: ClassVar = ("target",)

        def choose(self, pool, n, rng, engine):
            aims.append(pool.target)
            return super().choose(pool, n, rng, engine)

    target = Pool.from_arrays(np.eye(5))
    sw.compare(blobs(60), [Aimed()], 6, seeds=2, proxy=Share(), rng=0, target=target)
    assert {id(aim) for aim in aims} == {id(target)}


# --- what is refused --------------------------------------------------------------------------


def test_every_method_that_cannot_run_is_named_before_any_work(monkeypatch):
    monkeypatch.setattr(contest, "select", lambda *_, **__: pytest.fail("work was done"))
    pool = Pool.from_arrays(np.eye(30))
    methods = ["k-center", "kmeans-quality", "stratified", "random"]
    with pytest.raises(InputError) as caught:
        sw.compare(pool, methods, 3, proxy="coverage", rng=0)
    message = str(caught.value)
    for name, mend in (("kmeans-quality", "--score FIELD"), ("stratified", "--source FIELD")):
        assert f"{name} cannot run" in message
        assert mend in message
    assert "k-center" not in message
    assert "leave the method out" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": []}, "no method to compare"),
        ({"methods": ["random"]}, "no method to compare"),
        ({"methods": "stratified"}, "a list of methods"),
        ({"methods": ["stratifed"]}, "stratified"),
        ({"methods": ["stratified", "stratified"]}, "named twice"),
        ({"methods": ["kmr:clusters=4", "kmeans-random:clusters=4"]}, "named twice"),
        ({"methods": ["kmeans-random:clusters"]}, "NAME:KNOB=VALUE"),
        ({"methods": ["kmeans-random:cluster=4"]}, "no knob 'cluster'"),
        ({"methods": ["iterative-refinement"]}, "iterative-refinement.*outcomes"),
        ({"methods": {"random": First()}}, "no random choice"),
        ({"budget": "$5"}, "dollars"),
        ({"budget": "90%"}, "all of the 48 rows"),
        ({"budget": 48}, "all of the 48 rows"),
        ({"seeds": 1}, "no interval"),
        ({"held_out": 0.0}, "held-out share"),
        ({"held_out": 1.0}, "held-out share"),
        ({"held_out": 0.001}, "leaves none"),
        ({"alpha": 0.7}, "alpha"),
        ({"indifference": -0.1}, "indifference"),
        ({"proxy": "prob"}, "no proxy"),
        ({"workers": 0}, "0 workers"),
        ({"rng": -1}, "rng is -1"),
    ],
)
def test_a_request_without_sense_is_refused(changes, message):
    request = {"methods": ["stratified"], "budget": "10%", "seeds": 2, "rng": 0, **changes}
    with pytest.raises(UsageError, match=message):
        sw.compare(blobs(60), **request)


def test_a_figure_that_is_no_number_is_named():
    @dataclass(frozen=True)
    class Broken(Share):
        def judge(self, *given):
            return {"share": float("nan"), "rows": 1.0}

    with pytest.raises(InputError, match="share: share of first is not finite"):
        sw.compare(blobs(60), [First()], 6, seeds=2, proxy=Broken(), rng=0, workers=1)


def test_an_error_of_a_method_is_named():
    @dataclass(frozen=True)
    class Fails(First):
        def choose(self, pool, n, rng, engine):
            raise UsageError("cannot go on")

    with pytest.raises(UsageError, match="mine: cannot go on"):
        sw.compare(blobs(60), {"mine": Fails()}, 6, seeds=2, proxy=Share(), rng=0)


# --- run folders ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    rng = random.Random(0)
    words = {"a": "red green blue pink", "b": "cat dog bird horse", "c": "one two three four"}
    rows = []
    for _ in range(400):
        label = rng.choice("aaaabbc")
        rows.append({"text": " ".join(rng.choices(words[label].split(), k=9)), "label": label})
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows) + b"not json\n")
    return path


METHODS = ["stratified", "k-center", "kmeans-random:clusters=6"]


def job(pool_file, **changes):
    return CompareJob(
        **{"pool": str(pool_file), "methods": METHODS, "budget": "5%", "seeds": 3, **changes}
    )


def table(folder):
    return pq.read_table(folder / "compare.parquet").sort_by(
        [("seed", "ascending"), ("method", "ascending"), ("figure", "ascending")]
    )


def test_a_run_folder_holds_it_all(pool_file, tmp_path):
    out = tmp_path / "runs" / "one"
    record = run_compare(job(pool_file), out)
    assert orjson.loads((out / "run.json").read_bytes()) == orjson.loads(orjson.dumps(record))
    assert record["state"] == "done"
    assert record["command"] == "compare select"
    assert record["winner"] in record["methods"]
    assert record["input"]["rejected"] == 1
    assert set(record["seconds"]) == {"read", "embed", "compare", "report"}
    assert record["methods"]["kmeans-random:clusters=6"]["knobs"]["clusters"] == 6
    assert record["verdict"] in (out / "report.html").read_text()
    assert len((out / "rejected.jsonl").read_bytes().splitlines()) == 1
    report = orjson.loads((out / "report.json").read_bytes())
    assert record["spent"]["rows"] == 20 * report["spent"]["runs"]
    with Ledger(out / "ledger.sqlite") as ledger:
        assert len(ledger.rounds()) == report["spent"]["runs"]


def test_set_reaches_every_entry_of_a_method(pool_file, tmp_path):
    methods = ["kmeans-random", "kmeans-closest:clusters=3"]
    record = run_compare(
        job(pool_file, methods=methods, knobs={"kmr.clusters": "7"}, seeds=2), tmp_path / "r" / "o"
    )
    knobs = {name: one["knobs"].get("clusters") for name, one in record["methods"].items()}
    assert knobs == {"kmeans-random:clusters=7": 7, "kmeans-closest:clusters=3": 3, "random": None}
    for given, message in (({"k-center.x": "1"}, "not compared"), ({"clusters": "1"}, "METHOD")):
        with pytest.raises(UsageError, match=message):
            run_compare(job(pool_file, methods=methods, knobs=given), tmp_path / "r" / "other")
    assert not (tmp_path / "r" / "other").exists()


def test_a_resumed_run_repeats_no_finished_seed_and_method(pool_file, tmp_path, monkeypatch):
    whole = tmp_path / "runs" / "whole"
    run_compare(job(pool_file), whole, workers=1)
    done, inner = [], contest.Contest._one

    def dies(self, split, name, lock, engine):
        if len(done) == 6:
            raise KeyboardInterrupt
        run = inner(self, split, name, lock, engine)
        done.append((split.seed, name))
        return run

    out = tmp_path / "runs" / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(contest.Contest, "_one", dies)
        with pytest.raises(KeyboardInterrupt):
            run_compare(job(pool_file), out, workers=1)
    again = []

    def counts(self, split, name, lock, engine):
        again.append((split.seed, name))
        return inner(self, split, name, lock, engine)

    monkeypatch.setattr(contest.Contest, "_one", counts)
    run_compare(job(pool_file), out, resume=True, workers=1)
    assert len(done) == 6
    assert not set(done) & set(again)
    assert table(out).equals(table(whole))
    assert set(done) | set(again) == {
        (row["seed"], row["method"]) for row in table(whole).to_pylist()
    }
    again.clear()
    run_compare(job(pool_file), out, resume=True)
    assert again == []
    with Ledger(out / "ledger.sqlite") as ledger:
        assert ledger.spent()["rows"] == 20 * len(ledger.rounds())


def test_killed_and_resumed_it_gives_the_same(pool_file, tmp_path):
    arguments = ["compare", "select", str(pool_file), "--methods", ",".join(METHODS)]
    command = [sys.executable, "-m", "samplewise", *arguments, "--seeds", "3", "--resume"]
    whole, out = tmp_path / "a" / "whole", tmp_path / "b" / "killed"
    start = time.monotonic()
    subprocess.run([*command, "--out", str(whole)], check=True, capture_output=True)
    seconds = time.monotonic() - start
    process = subprocess.Popen(
        [*command, "--out", str(out)], stdout=-3, stderr=-3, start_new_session=True
    )
    time.sleep(0.8 * seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    assert table(out).equals(table(whole))


def test_a_finished_run_is_repeated_from_its_record(pool_file, tmp_path):
    run_compare(job(pool_file, seeds=2), tmp_path / "a" / "run")
    rerun(tmp_path / "a" / "run", tmp_path / "b" / "run")
    assert table(tmp_path / "b" / "run").equals(table(tmp_path / "a" / "run"))


def test_a_ledger_of_another_comparison_is_refused():
    with Ledger(":memory:") as ledger:
        sw.compare(blobs(60), [First()], 6, seeds=2, proxy=Share(), rng=0, ledger=ledger)
        with pytest.raises(InputError, match="another comparison"):
            sw.compare(blobs(60), [First()], 6, seeds=2, proxy=Spy(), rng=0, ledger=ledger)


def test_random_may_have_another_class_name():
    @dataclass(frozen=True)
    class Chance(Random):
        """Rows at random, by another name."""

        name: ClassVar[str] = "chance"

    found = sw.compare(blobs(60), [Chance(), First()], 6, seeds=2, proxy=Share(), rng=0)
    assert list(found.methods) == ["chance", "first"]
