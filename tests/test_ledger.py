import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from samplewise.ledger import Ledger, Round


def test_spending_is_summed_by_unit(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.spent() == {}
        for amount in (1, 2.5):
            ledger.spend("tokens", amount, "a")
        ledger.spend("rows", 3, "b")
        assert ledger.spent() == {"rows": 3.0, "tokens": 3.5}


def test_rounds_come_back_in_order_and_exactly(tmp_path: Path) -> None:
    outcomes = [0.1, 1 / 3, -1e-300]
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.ask(1, [5])
        ledger.ask(0, [int(draw) for draw in np.array([2**40, 7, 0])])
        ledger.tell(0, outcomes)
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.rounds() == [Round([2**40, 7, 0], outcomes), Round([5], None)]


def test_a_round_is_asked_for_once(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.ask(0, [1])
        with pytest.raises(sqlite3.IntegrityError):
            ledger.ask(0, [2])
        assert ledger.rounds() == [Round([1], None)]


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from samplewise.ledger import Ledger; "
        "ledger = Ledger(sys.argv[1]); ledger.ask(0, [3, 4]); ledger.tell(0, [1.0, 2.0]); "
        "ledger.spend('rows', 2, 'x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "ledger.db"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with Ledger(path) as ledger:
        assert ledger.rounds() == [Round([3, 4], [1.0, 2.0])]
        assert ledger.spent() == {"rows": 2.0}


def test_threads_may_share_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        threads = [
            threading.Thread(target=lambda: [ledger.spend("rows", 1, "t") for _ in range(20)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledger.spent() == {"rows": 80.0}


def test_one_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Ledger(":memory:") as ledger:
        ledger.spend("rows", 1, "x")
    assert list(tmp_path.iterdir()) == []
