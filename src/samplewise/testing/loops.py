"""The contract of every loop that learns."""

from __future__ import annotations

import hashlib
import math
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from samplewise.errors import UsageError
from samplewise.testing.common import (
    check_bad_knobs,
    check_names,
    found_elsewhere,
    leaves_global_state,
)
from samplewise.train.base import Learner, Loop, Task, Weights

__all__ = ["check_loop", "digest", "loop_checks"]

STEPS = 4


def loop_checks() -> list[Callable[[Any], None]]:
    """List the checks that every loop must pass, each a function of a loop.

    A loop is checked with its own task, for a few steps: make it with knobs that keep them short.
    """
    return [
        check_names,
        check_bad_knobs,
        _pickles,
        _figures_are_numbers,
        _same_seed_same_weights,
        _other_seed,
        _same_in_another_process,
        _goes_on_bit_for_bit,
        _a_test_changes_nothing,
        _global_state,
        _has_a_rival,
        _refuses_other_tasks,
        _refuses_no_steps,
    ]


def check_loop(loop: Loop[Any]) -> None:
    """Run every check on one loop.

    Raises
    ------
    AssertionError
        If it breaks the contract.
    """
    for check in loop_checks():
        check(loop)


def digest(loop: Loop[Any], seed: int = 0) -> str:
    """Hash the weights after a few steps."""
    return _hash(_advance(loop.begin(steps=STEPS, rng=seed), STEPS))


def _advance(learner: Learner, steps: int) -> Learner:
    for _ in range(steps):
        learner.advance()
    return learner


def _hash(learner: Learner) -> str:
    model: Any = learner.parts["model"]
    found = hashlib.blake2b()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode() + value.numpy().tobytes())
    return found.hexdigest()


def _pickles(loop: Loop[Any]) -> None:
    assert pickle.loads(pickle.dumps(loop)) == loop


def _figures_are_numbers(loop: Loop[Any]) -> None:
    learner = loop.begin(steps=STEPS, rng=0)
    assert isinstance(learner.parts["model"], Weights), f"{loop.name}: no part 'model' of Weights"
    _advance(learner, STEPS)
    assert len(learner.history) == learner.done == STEPS <= learner.steps
    for row in [*learner.history, learner.evaluate()]:
        assert row, f"{loop.name} tells nothing"
        for name, value in row.items():
            assert type(value) is float, f"{loop.name}: {name} is a {type(value).__name__}"
            assert not math.isinf(value), f"{loop.name}: {name} is {value}"
    assert "loss" in learner.history[-1], f"{loop.name} tells no loss"


def _same_seed_same_weights(loop: Loop[Any]) -> None:
    assert digest(loop) == digest(loop), f"{loop.name} is not decided by the seed"


def _other_seed(loop: Loop[Any]) -> None:
    assert digest(loop, 0) != digest(loop, 1), f"{loop.name} does not heed the seed"


def _same_in_another_process(loop: Loop[Any]) -> None:
    there = found_elsewhere(loop, "loops", "s.digest(method)")
    assert there == digest(loop), f"{loop.name} differs in another process"


def _goes_on_bit_for_bit(loop: Loop[Any]) -> None:
    whole = digest(loop)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        for stop in (1, STEPS - 1):
            _advance(loop.begin(steps=STEPS, rng=0), stop).save(path)
            learner = loop.begin(steps=STEPS, rng=99)
            learner.load(path)
            found = _hash(_advance(learner, STEPS - stop))
            assert found == whole, f"{loop.name}: after {stop} steps it goes on otherwise"


def _a_test_changes_nothing(loop: Loop[Any]) -> None:
    learner = loop.begin(steps=STEPS, rng=0)
    for _ in range(STEPS):
        learner.evaluate()
        learner.advance()
    assert _hash(learner) == digest(loop), f"{loop.name}: evaluate changes what follows"


def _global_state(loop: Loop[Any]) -> None:
    import torch

    before = torch.random.get_rng_state()
    leaves_global_state(loop, lambda: digest(loop))
    assert torch.random.get_rng_state().equal(before), f"{loop.name} moves torch's random state"


def _has_a_rival(loop: Loop[Any]) -> None:
    task: Any = loop.tasks[0]()
    rival = loop.rival(task)
    if rival is None:
        return
    assert rival != loop, f"{loop.name} is its own rival"
    assert isinstance(task, rival.tasks), f"{rival.name} cannot learn what {loop.name} does"
    mine, others = (one.begin(task, steps=STEPS, rng=0).outcomes() for one in (loop, rival))
    assert next(iter(mine)) in others, f"{rival.name} does not tell what {loop.name} is for"
    shared = [mine[name] for name in mine.keys() & others.keys()]
    assert any(isinstance(one, np.ndarray) and len(one) > 1 for one in shared), (
        f"{loop.name} and {rival.name} share no figure of every held-out item"
    )


class _Other(Task):
    label = "other"


def _refuses_other_tasks(loop: Loop[Any]) -> None:
    try:
        loop.begin(_Other())
    except UsageError:
        return
    raise AssertionError(f"{loop.name} learns any task")


def _refuses_no_steps(loop: Loop[Any]) -> None:
    try:
        loop.begin(steps=0)
    except UsageError:
        return
    raise AssertionError(f"{loop.name} takes no steps")
