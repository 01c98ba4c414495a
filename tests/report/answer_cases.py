"""Answered problems to report on, as the lines of answers.jsonl."""

from __future__ import annotations

import json

import numpy as np

from samplewise.report import summarise_answers


def sample(correct, answer="7", *, text="so it is 7", finish="stop", tokens=10, **more):
    return {
        "text": text,
        "finish": finish,
        "tokens": tokens,
        "prompt_tokens": 5,
        "correct": correct,
        "score": float(correct),
        "answer": answer,
        **more,
    }


def row(samples, kept=0, *, state="answered", reason="", name="p", question="What is it?"):
    answered = state == "answered"
    return {
        "id": name,
        "question": question,
        "gold": "7",
        "state": state,
        "reason": reason,
        "answer": samples[kept]["text"] if answered else None,
        "kept": kept if answered else None,
        "correct": answered and samples[kept]["correct"],
        "tokens": sum(one["tokens"] for one in samples),
        "sequential_tokens": max((one["tokens"] for one in samples), default=0),
        "samples": samples,
    }


def drawn(problems=30, samples=32, seed=0, text="so it is"):
    """Draw problems of unlike difficulty, whose kept answer is the first sample's."""
    rng = np.random.default_rng(seed)
    rows = []
    for place, chance in enumerate(rng.beta(0.5, 1.5, problems)):
        right = rng.random(samples) < chance
        answers = np.where(right, 7, rng.integers(8, 12, samples))
        rows.append(
            row(
                [
                    sample(bool(ok), str(got), text=f"{text} {got}", tokens=int(tokens))
                    for ok, got, tokens in zip(
                        right, answers, rng.integers(20, 200, samples), strict=True
                    )
                ],
                name=f"p{place}",
            )
        )
    return rows


def report_on(rows, **options):
    return summarise_answers(
        rows, **({"strategy": "repeated", "model": "m", "verifier": "math"} | options)
    )


def write_answers(folder, report, rejected=(), **changes):
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "command": "answer",
        "version": "0.0",
        "arguments": {"temperature": 0.6, "budget": None, "system": "Be brief."},
        "input": {"path": "problems.jsonl", "problems": 3, "rejected": 0, "hash": "ab" * 32},
        "seconds": {"answer": 9.0, "report": 0.5},
        "drawn": {"counted": False},
        **changes,
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "report.json").write_text(json.dumps(report, allow_nan=False))
    if rejected:
        lines = "".join(json.dumps(one) + "\n" for one in rejected)
        (folder / "rejected.jsonl").write_text(lines)
    return folder
