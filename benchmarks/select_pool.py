"""The whole `samplewise select` against its two heavy parts alone, on the T0 pool.

Ours is the command in a fresh process: start-up, reading, embedding, k-means, choice, files and
report. The peer is the embedding and one faiss k-means with the same k and iterations, warm, in
memory. A second table sets the built-in embedder beside `WordLlama.embed(norm=True)`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import samplewise as sw
from harness import compare, data_file
from samplewise.embed import embed_pool
from samplewise.embed.static import StaticEmbedder
from samplewise.select.clusters import automatic_clusters

BUDGET = "5%"
ITERATIONS = 20


def main() -> None:
    path = data_file("t0_instructions.jsonl.gz")
    pool = sw.Pool.read(path)
    texts = pool.texts(np.arange(len(pool)))
    k = automatic_clusters(sw.Budget.parse(BUDGET).rows_of(len(pool)))

    def command() -> None:
        folder = Path(tempfile.mkdtemp())
        arguments = ["select", str(path), "--budget", BUDGET, "--out", str(folder / "run")]
        subprocess.run([sys.executable, "-m", "samplewise", *arguments], check=True, stdout=-3)
        chosen = (folder / "run" / "selected.jsonl").read_bytes().count(b"\n")
        assert chosen == 2_759, chosen
        shutil.rmtree(folder)

    def parts() -> None:
        import faiss

        vectors = embed_pool(pool).embeddings
        assert vectors is not None
        trainer = faiss.Kmeans(vectors.shape[1], k, niter=ITERATIONS, seed=0)
        trainer.train(vectors)

    setting = {"rows": len(pool), "budget": BUDGET, "k": k, "iterations": ITERATIONS}
    compare(
        "select_pool",
        {"samplewise select": command, "embedding and faiss k-means": parts},
        in_process=True,
        setting=setting,
        packages=["faiss-cpu"],
    )

    import wordllama

    folder = Path(wordllama.__file__).parent
    reference = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    ours = embed_pool(pool).embeddings
    theirs = reference.embed(texts, norm=True)
    cosine = float(np.einsum("ij,ij->i", ours, theirs).min())
    compare(
        "embed_static",
        {
            "built-in embedder": lambda: len(StaticEmbedder().embed(texts)),
            "WordLlama.embed": lambda: len(reference.embed(texts, norm=True)),
        },
        in_process=True,
        repeats=3,
        setting={"rows": len(texts), "lowest cosine between the two": cosine},
        packages=["wordllama"],
    )


if __name__ == "__main__":
    main()
