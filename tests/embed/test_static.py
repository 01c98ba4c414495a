from pathlib import Path

import numpy as np
import pytest
import wordllama

import samplewise as sw
from samplewise.embed import count_tokens, embed_pool, make_embedder, store
from samplewise.embed.static import StaticEmbedder
from samplewise.engine.local import LocalEngine
from samplewise.errors import InputError, UsageError

TEXTS = [
    "A cat sat on the mat.",
    "Der schnelle braune Fuchs",
    "def f(x):\n    return x + 1\n",
    "日本語のテキスト 🙂",
    "a" * 500,
    " leading and trailing ",
]


@pytest.fixture(scope="module")
def reference():
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)


def test_vectors_are_those_of_wordllama(reference):
    ours = StaticEmbedder().embed(TEXTS)
    theirs = reference.embed(TEXTS, norm=True)
    assert np.sum(ours * theirs, axis=1).min() > 0.99999


def test_a_long_text_is_cut_in_pieces_without_changing_its_vector(reference):
    text = " ".join(f"word{i} and another" for i in range(12_000))
    assert len(text) > 200_000
    ours = StaticEmbedder().embed([text, "short"])
    theirs = reference.embed([text], norm=True)
    assert float(ours[0] @ theirs[0]) > 0.99999


def test_a_vector_does_not_depend_on_its_neighbours():
    together = StaticEmbedder().embed(TEXTS)
    alone = np.concatenate([StaticEmbedder().embed([text]) for text in TEXTS])
    np.testing.assert_array_equal(together, alone)


def test_empty_text_and_no_text():
    assert not StaticEmbedder().embed([""]).any()
    assert StaticEmbedder().embed([]).shape == (0, 256)


def test_token_counts_are_those_of_the_tokenizer(reference):
    pool = sw.Pool.from_rows([{"text": text} for text in TEXTS])
    expected = [sum(encoding.attention_mask) for encoding in reference.tokenize(TEXTS)]
    assert count_tokens(pool, LocalEngine()).tolist() == expected


class Counting:
    """An embedder that counts the texts it is given."""

    id = "counting"
    seen = 0

    def embed(self, texts):
        Counting.seen += len(texts)
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


@pytest.fixture
def rows_file(tmp_path, monkeypatch):
    monkeypatch.setattr("samplewise.readers.SHARD_BYTES", 400)
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(f'{{"text": "row {"x" * i}"}}\n' for i in range(60)))
    return path


def test_vectors_are_kept_by_content_and_memory_mapped(tmp_path, rows_file):
    Counting.seen = 0
    pool = sw.Pool.read(rows_file, cache=tmp_path)
    first = embed_pool(pool, Counting(), cache=tmp_path)
    assert Counting.seen == 60
    assert isinstance(first.embeddings, np.memmap)
    again = embed_pool(sw.Pool.read(rows_file, cache=tmp_path), Counting(), cache=tmp_path)
    assert Counting.seen == 60
    np.testing.assert_array_equal(first.embeddings, again.embeddings)
    np.testing.assert_array_equal(first.embeddings[:, 0], 4 + np.arange(60))


def test_finished_shards_are_not_made_again(tmp_path, rows_file, monkeypatch):
    pool = sw.Pool.read(rows_file, cache=tmp_path)
    assert len(pool.shards) > 3
    made = []

    def dies_at_the_third(embedder, item):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(item[1])
        return whole(embedder, item)

    whole = store._embed_item
    monkeypatch.setattr(store, "_embed_item", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        embed_pool(pool, Counting(), cache=tmp_path, engine=LocalEngine(workers=1))
    monkeypatch.setattr(store, "_embed_item", whole)
    done = sum(len(np.load(path)) for path in made)
    assert done > 0
    Counting.seen = 0
    embed_pool(pool, Counting(), cache=tmp_path)
    assert Counting.seen == 60 - done


def test_precomputed_vectors_from_a_file_and_a_column(tmp_path):
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "vectors.npy", vectors)
    table = [{"text": f"t{i}", "vector": row.tolist()} for i, row in enumerate(vectors)]
    import pyarrow as pa

    pool = sw.Pool.from_arrow(pa.Table.from_pylist(table))
    from_file = embed_pool(pool, str(tmp_path / "vectors.npy")).embeddings
    from_column = embed_pool(pool, "column:vector").embeddings
    np.testing.assert_array_equal(from_file, vectors)
    np.testing.assert_array_equal(from_column, vectors)
    with pytest.raises(InputError, match="no such column"):
        embed_pool(pool, "column:nothing")
    np.save(tmp_path / "short.npy", vectors[:2])
    with pytest.raises(InputError, match="has 2 vectors for 3 rows"):
        embed_pool(pool, str(tmp_path / "short.npy"))


@pytest.mark.parametrize("spec", ["", "word2vec", "endpoint:model", "sentence-transformers:"])
def test_an_unknown_embedder_is_refused(spec):
    with pytest.raises(UsageError, match="builtin"):
        make_embedder(spec)
