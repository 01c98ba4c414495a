"""ECtHR-PCR on a made corpus: facts of a case as the query, all earlier cases as candidates.

The court's judgments are not at hand, so that the paper's figures cannot be met; what is checked is
the direction of its findings: law sections answer better than facts sections, a trained bi-encoder
ages faster than BM25, harder negatives bring little, and all are far above chance.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import Result, interval, reproduce
from samplewise.measure.precedents import Precedents
from samplewise.measure.retrieval import (
    BM25,
    evaluate_run,
    expected_average_precision,
    expected_recall,
    rank,
)
from samplewise.select.negatives import draw_negatives

ISSUES, YEARS, TRAIN_YEARS = 30, 20, 12
WORDS = 40  # of every issue, in the law and in the facts alike
DEPTH = 50


@dataclass(frozen=True)
class Corpus:
    """Cases in order of time, with the terms of both parts."""

    cases: Precedents
    facts: list[list[str]]
    law: list[list[str]]
    year: NDArray[np.int64]


def make_corpus(count: int, rng: np.random.Generator) -> Corpus:
    """Make cases that cite earlier ones of the same issues; the words of facts drift with time."""
    year = np.sort(rng.integers(1, YEARS + 1, count))
    issues = rng.dirichlet(np.full(ISSUES, 0.08), count)
    zipf = 1 / np.arange(1, WORDS + 1)
    zipf /= zipf.sum()
    times_cited = np.zeros(count)
    records = []
    for i in range(count):
        earlier = np.flatnonzero(year < year[i])
        cites: NDArray[np.int64] = np.empty(0, np.int64)
        if len(earlier):
            appeal = issues[earlier] @ issues[i] + 0.05 * np.log1p(times_cited[earlier])
            appeal += 0.05 * rng.normal(size=len(earlier))
            cites = earlier[np.argsort(-appeal)[: rng.integers(2, 7)]]
            times_cited[cites] += 1
        topics = rng.choice(ISSUES, 240, p=issues[i])
        words = rng.choice(WORDS, 240, p=zipf)
        law = [f"law{t}w{w}" for t, w in zip(topics[:120], words[:120], strict=True)]
        facts = []
        for t, w in zip(topics[120:], words[120:], strict=True):
            kind = rng.random()
            if kind < 0.5:
                facts.append(f"noise{rng.integers(400)}")
            elif kind < 0.65:  # facts share some words with the law
                facts.append(f"law{t}w{w}")
            else:  # each word of an issue's facts is replaced by a new one in some year
                born = (year[i] + (7 * t + 3 * w) % YEARS) // YEARS
                facts.append(f"fact{t}w{w}v{born}")
        records.append(
            {
                "appno": f"{i}/{year[i]}",
                "date": datetime.date(1960 + int(year[i]), 1, 1),
                "facts": [" ".join(facts)],
                "law": [" ".join(law)],
                "citations": [f"{j}/{year[j]}" for j in cites],
            }
        )
    cases = Precedents.from_records(records)
    parts = [[case.view(part).split() for case in cases.cases] for part in ("facts", "law")]
    years = np.array([case.date.year - 1960 for case in cases.cases])
    return Corpus(cases, parts[0], parts[1], years)


def run_of(score: Any, corpus: Corpus, queries: NDArray[np.int64]) -> dict[Any, list[Any]]:
    """Rank the candidates of every query by a function of the query and its candidates."""
    ranked = {}
    for query in queries.tolist():
        candidates = corpus.cases.candidates(query)
        ranked[query] = rank(score(query, candidates), candidates).tolist()
    return ranked


def figures(run: dict[Any, list[Any]], corpus: Corpus) -> dict[str, float]:
    """Evaluate a run; in percent, as the paper does."""
    relevant = {query: corpus.cases.relevant(query).tolist() for query in run}
    found = evaluate_run(run, relevant, ks=(DEPTH,))
    return {"R@50": 100 * found["recall@50"], "MAP": 100 * found["map"]}


def weights_of(documents: list[list[str]], train: NDArray[np.bool_], vocabulary: dict[str, int]):
    """Weigh terms by TF-IDF, with the frequencies of the training years; rows of length 1."""
    counts = np.zeros((len(documents), len(vocabulary)), np.float32)
    for row, terms in enumerate(documents):
        for term in terms:
            if term in vocabulary:
                counts[row, vocabulary[term]] += 1
    idf = np.log((1 + train.sum()) / (1 + (counts[train] > 0).sum(axis=0))) + 1
    weights = np.log1p(counts) * idf
    lengths = np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-9)
    return (weights / lengths).astype(np.float32)


def train_encoder(corpus: Corpus, strategy: Any, epochs: int, seed: int) -> Any:
    """Train two projections of TF-IDF vectors to one space, on the training years alone."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    rng = np.random.default_rng(seed)
    old = corpus.year <= TRAIN_YEARS
    terms = {t for i in np.flatnonzero(old) for t in (*corpus.facts[i], *corpus.law[i])}
    vocabulary = {term: column for column, term in enumerate(sorted(terms))}
    facts, law = (
        torch.from_numpy(weights_of(part, old, vocabulary)) for part in (corpus.facts, corpus.law)
    )
    start = torch.randn(len(vocabulary), 64, generator=torch.Generator().manual_seed(seed)) / 8
    maps = [start.clone().requires_grad_(), start.clone().requires_grad_()]
    optimizer = torch.optim.Adam(maps, lr=0.01)
    pairs = [(q, d) for q in np.flatnonzero(old) for d in corpus.cases.relevant(int(q))]

    @torch.no_grad()
    def all_scores() -> NDArray[np.float64]:
        return (normalize(facts @ maps[0]) @ normalize(law @ maps[1]).T).double().numpy()

    for epoch in range(epochs):
        scores = all_scores()
        progress = epoch / max(1, epochs - 1)
        for block in np.array_split(rng.permutation(len(pairs)), max(1, len(pairs) // 64)):
            documents = []
            for query, positive in (pairs[i] for i in block):
                negative = corpus.cases.candidates(int(query))
                negative[corpus.cases.relevant(int(query))] = False
                drawn = draw_negatives(
                    scores[query], negative, 8, rng, strategy=strategy, progress=progress
                )
                documents.append(
                    [positive, *(np.resize(drawn, 8) if len(drawn) else [positive] * 8)]
                )
            queries = np.array([pairs[i][0] for i in block])
            left = normalize(facts[queries] @ maps[0])
            right = normalize(law[np.array(documents)] @ maps[1], dim=-1)
            logits = torch.einsum("qd,qnd->qn", left, right) / 0.1
            loss = cross_entropy(logits, torch.zeros(len(block), dtype=torch.long))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    final = all_scores()
    return lambda query, candidates: final[query]


def one_seed(count: int, epochs: int, seed: int) -> dict[str, dict[str, float]]:
    """Measure every ranker on one corpus."""
    corpus = make_corpus(count, np.random.default_rng(seed))
    splits = corpus.cases.split(f"{1960 + TRAIN_YEARS}-12-31", f"{1961 + TRAIN_YEARS}-12-31")
    rankers = {}
    for part in ("facts", "law"):
        bm25 = BM25(getattr(corpus, part))
        rankers[f"BM25 on {part}"] = lambda q, c, b=bm25: b.scores(corpus.facts[q], c)
    for strategy in ("random", "hard", "curriculum", "mixture"):
        rankers[f"bi-encoder, {strategy} negatives"] = train_encoder(corpus, strategy, epochs, seed)
    early, late = (
        splits.test[corpus.year[splits.test] < (TRAIN_YEARS + YEARS) / 2 + 1],
        splits.test[corpus.year[splits.test] > (TRAIN_YEARS + YEARS) / 2 + 1],
    )
    found = {}
    for name, score in rankers.items():
        found[name] = figures(run_of(score, corpus, splits.test), corpus)
        parts = [figures(run_of(score, corpus, part), corpus)["R@50"] for part in (early, late)]
        found[name]["R@50, late less early"] = parts[1] - parts[0]
    sizes = [
        (int(corpus.cases.candidates(q).sum()), len(corpus.cases.relevant(q))) for q in splits.test
    ]
    found["chance (closed form)"] = {
        "R@50": 100 * float(np.mean([expected_recall(DEPTH, n) for n, _ in sizes])),
        "MAP": 100 * float(np.mean([expected_average_precision(n, r) for n, r in sizes])),
    }
    return found


def run(quick: bool) -> Result:
    """Measure over several corpora."""
    count, epochs, seeds = (150, 1, 2) if quick else (1_500, 8, 5)
    found = [one_seed(count, epochs, seed) for seed in range(seeds)]
    ours = {
        name: {key: interval([one[name][key] for one in found]) for key in found[0][name]}
        for name in found[0]
    }

    def gaps(one: str, other: str, key: str) -> tuple[float, float, float]:
        return interval([f[one][key] - f[other][key] for f in found])

    encoder = "bi-encoder, random negatives"
    law = gaps("BM25 on law", "BM25 on facts", "MAP")
    ageing = gaps(encoder, "BM25 on law", "R@50, late less early")
    harder = gaps("bi-encoder, hard negatives", encoder, "MAP")
    chance = gaps("BM25 on facts", "chance (closed form)", "R@50")
    ahead = gaps(encoder, "BM25 on law", "MAP")
    directions = {
        "bi-encoder not above BM25": ahead[1] <= 0,
        "law above facts": law[1] > 0,
        "bi-encoder ages faster than BM25": ageing[2] < 0,
        "hard negatives not above random ones": harder[1] <= 0,
        "far above chance": chance[1] > 0,
    }
    failed = [name for name, holds in directions.items() if not holds]
    return Result(
        paper="ECtHR-PCR: A Dataset for Precedent Understanding and Prior Case Retrieval in the "
        "European Court of Human Rights, arXiv 2404.00596",
        setting=f"{seeds} made corpora of {count} cases over {YEARS} years and {ISSUES} issues; "
        "the words of the facts change with time; queries of the last years, trained on the first "
        f"{TRAIN_YEARS}. The paper: 15,729 judgments of 1960 to 2022 and pretrained encoders.",
        paper_figures={
            "percent, as quoted by others (the paper's tables were not readable)": {
                "BM25": {"R@50": 22.1, "MAP": 9.65},
                "dense bi-encoder": {"R@50": 20.4, "MAP": 6.72},
                "law section alone": {"MAP": 10.3},
                "facts section alone": {"MAP": 8.2},
            }
        },
        our_figures={
            "percent, mean and 95% interval over corpora": ours,
            "differences": {
                "BM25: law less facts": {"MAP": law},
                "ageing: bi-encoder less BM25 on law": {"R@50, late less early": ageing},
                "bi-encoder: hard less random negatives": {"MAP": harder},
                "bi-encoder less BM25 on law": {"MAP": ahead},
                "BM25 on facts less chance": {"R@50": chance},
            },
        },
        agrees=not failed,
        why="By the direction of five findings, each with its 95% interval: "
        + ("all hold." if not failed else f"these do not hold: {'; '.join(failed)}."),
    )


if __name__ == "__main__":
    reproduce("51-ecthr-pcr", run)
