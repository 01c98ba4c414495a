"""The Ray engine on a real cluster of two node processes."""

import gzip
import os
import signal
import sys
import threading
import time

import numpy as np
import orjson
import psutil
import pytest
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster

import samplewise as sw
from samplewise.engine import make_engine
from samplewise.errors import InputError, UsageError
from samplewise.jobs import SelectJob, run_select

# The workers cannot import this file, so what is defined in it travels as code.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 200_000_000},
    )
    cluster.add_node(num_cpus=1, object_store_memory=200_000_000)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def pool_file(tmp_path, monkeypatch):
    monkeypatch.setattr("samplewise.readers.SHARD_BYTES", 40_000)
    monkeypatch.setattr("samplewise.measure.kmeans._BLOCK", 500)
    words = "red green blue one two three cat dog bird house tree river".split()
    rng = np.random.default_rng(0)
    path = tmp_path / "pool.jsonl"
    path.write_bytes(
        b"".join(
            orjson.dumps({"text": " ".join(rng.choice(words, 20)), "source": str(i % 7)}) + b"\n"
            for i in range(4_000)
        )
        + b"{broken\n"
    )
    return path


def test_the_cluster_has_two_nodes_and_both_work(cluster):
    engine = make_engine("ray", address=cluster.address)

    def node(_):
        time.sleep(0.2)
        return ray.get_runtime_context().get_node_id()

    assert len(set(engine.map(node, range(8)))) == 2


def test_same_rows_as_the_local_engine(cluster, pool_file, tmp_path):
    job = SelectJob(pool=str(pool_file), budget="5%")
    local = run_select(job, tmp_path / "a" / "local")
    remote = run_select(job, tmp_path / "b" / "ray", engine="ray", ray_address=cluster.address)
    assert local["chosen"] == remote["chosen"] == 200
    for name in ("selected.jsonl", "scores.parquet", "rejected.jsonl"):
        ours, theirs = (tmp_path / "a/local" / name), (tmp_path / "b/ray" / name)
        assert ours.read_bytes() == theirs.read_bytes()


class Slow:
    """An embedder slow enough to be killed at work."""

    id = "slow"

    def embed(self, texts):
        time.sleep(0.3)
        return np.array([[len(text), hash(text[:1]) % 1, 1] for text in texts], np.float32)


def test_a_killed_worker_does_not_change_the_result(cluster, pool_file, tmp_path):
    from samplewise.embed import embed_pool

    engine = make_engine("ray", address=cluster.address)
    pool = sw.Pool.read(pool_file, cache=tmp_path / "rows")
    expected = embed_pool(pool, Slow()).embeddings
    killed = []

    def kill_one():
        deadline = time.time() + 60
        while not killed and time.time() < deadline:
            for process in psutil.process_iter(["cmdline"]):
                if any("ray::" in part for part in process.info["cmdline"] or []) and any(
                    "Map" in part for part in process.info["cmdline"]
                ):
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=kill_one)
    thread.start()
    found = embed_pool(pool, Slow(), engine=engine, cache=tmp_path / "vectors").embeddings
    thread.join()
    assert killed
    np.testing.assert_array_equal(found, expected)


def test_an_error_in_a_worker_is_the_callers_error(cluster, tmp_path):
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(os.urandom(100_000).hex().encode())[:-50_000])
    with pytest.raises(InputError, match="cannot be read to its end"):
        sw.Pool.read(path, engine=make_engine("ray", address=cluster.address))


def test_a_cluster_that_does_not_answer_is_a_clear_error(cluster):
    ray.shutdown()
    with pytest.raises(UsageError, match="no Ray cluster answers"):
        make_engine("ray", address="127.0.0.1:1")
