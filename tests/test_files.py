import hashlib
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samplewise.errors import BudgetError, InputError, UsageError
from samplewise.files import PART, atomic_folder, atomic_path, atomic_write, file_hash
from samplewise.rng import generator, seed_of


def test_the_new_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "note.txt"
    atomic_write(path, "old")
    atomic_write(path, b"new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_crash_in_the_block_leaves_the_old_file_alone(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old")

    def crash() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise error

    with pytest.raises(error):
        crash()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_leaves_the_old_file_and_a_part_that_is_known_as_one(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys; from samplewise.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    (part,) = set(tmp_path.iterdir()) - {path}
    assert part.name.startswith(".")
    assert part.name.endswith(PART)


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "note.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_hash_is_sha_256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00abc" * 1_000_000)
    assert file_hash(tmp_path / "a") == hashlib.sha256(b"\x00abc" * 1_000_000).hexdigest()


# --- randomness -------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_draws_and_another_others() -> None:
    first, same, other = (generator(seed).integers(2**62, size=4).tolist() for seed in (5, 5, 6))
    assert first == same != other
    assert generator(np.int32(5)).integers(2**62, size=4).tolist() == first


def test_a_generator_is_used_as_it_is() -> None:
    rng = np.random.default_rng(0)
    assert generator(rng) is rng
    assert seed_of(rng) != seed_of(rng)
    assert 0 <= seed_of(rng) < 2**31


def test_none_is_fresh_and_global_state_is_left_alone() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    assert generator(None).integers(2**62) != generator(None).integers(2**62)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index, union-attr]  # noqa: NPY002


@pytest.mark.parametrize("rng", [-1, 1.5, "0", True, [1], np.random])
def test_what_is_no_seed_is_refused(rng: Any) -> None:
    with pytest.raises(UsageError, match="rng is"):
        generator(rng)


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    def fail(temporary: Path) -> None:
        (temporary / "note.txt").write_text("part")
        raise KeyError

    with pytest.raises(KeyError), atomic_folder(tmp_path / "notes") as temporary:
        fail(temporary)
    assert list(tmp_path.iterdir()) == []


def test_of_two_who_make_a_folder_the_first_stays(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "notes") as slow:
        (slow / "note.txt").write_text("second")
        with atomic_folder(tmp_path / "notes") as fast:
            (fast / "note.txt").write_text("first")
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    assert (tmp_path / "notes" / "note.txt").read_text() == "first"


def test_a_folder_that_cannot_be_put_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("a file")
    with pytest.raises(OSError), atomic_folder(tmp_path / "notes"):
        pass
    assert (tmp_path / "notes").read_text() == "a file"
    assert len(list(tmp_path.iterdir())) == 1


# --- errors -----------------------------------------------------------------------------------


def test_errors_name_the_place_and_the_mend() -> None:
    error = InputError("is bad", file="a.jsonl", line=3, field="text", mend="mend it")
    assert str(error) == "a.jsonl, line 3, field 'text': is bad\n  mend: mend it"
    assert (error.file, error.line, error.field, error.mend) == ("a.jsonl", 3, "text", "mend it")
    assert str(InputError("is bad")) == "is bad"
    assert (error.exit_code, BudgetError("x").exit_code) == (2, 3)


def test_errors_come_back_whole_from_another_process() -> None:
    error = InputError("is bad", file="a.jsonl", line=3, field="text", mend="mend it")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.file, copy.line, copy.field) == (error.file, error.line, error.field)
