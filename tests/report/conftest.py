"""The run that both kinds of report test look at."""

import numpy as np
import pytest
from report_cases import HOSTILE, choose, make_pool, write_run

from samplewise.report import summarise


@pytest.fixture
def run_folder(tmp_path):
    """Make a run on hostile rows, with every part that a report can have."""
    pool = make_pool(hostile=True)
    cluster = np.arange(len(pool)) % 7
    number = np.where(np.arange(len(pool)) < 60, np.arange(len(pool)) // 20, -1)
    columns = {"cluster": cluster, "round": number, "gain": np.linspace(0, 1, len(pool))}
    weights = np.linspace(1, 2, 60)
    report = summarise(choose(pool, np.arange(60), columns, weights), seconds={"read": 1.0})
    rejected = [
        {"file": "pool.jsonl", "line": i, "field": "text", "reason": "is empty", "raw": HOSTILE}
        for i in range(1, 121)
    ]
    return write_run(tmp_path / "run", report, rejected)
