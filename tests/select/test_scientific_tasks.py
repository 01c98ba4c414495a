"""The task format: what it refuses, how it splits and caps, and what the mix holds."""

import subprocess
import sys

import numpy as np
import pytest

from samplewise.errors import InputError, UsageError
from samplewise.select.scientific_tasks import (
    EVALUATION_TASKS,
    Task,
    combine,
    instantiate,
    standardise_splits,
    training_mix,
)


def words(text):
    return len(text.split())


def test_marks_inside_fields_survive():
    task = Task("t", "Say {{ x }} {{ more[0] }} ||| {{ y }}")
    assert task.render({"x": "a ||| b", "more": ["|||"], "y": "|||"}) == (
        "Say a ||| b |||",
        "|||",
    )


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"x": "a"}, "does not fit the template: 'y' is undefined"),
        ({"x": " ", "y": "b"}, "empty input or output"),
        ({"x": "a", "y": ""}, "empty input or output"),
        ({"x": "a", "y": "b", "answer_choices": []}, "answer_choices"),
    ],
)
def test_records_that_do_not_fit(record, words):
    with pytest.raises(InputError, match=words):
        Task("t", "{{ x }} ||| {{ y }}").render(record)


@pytest.mark.parametrize(
    ("template", "metadata", "words"),
    [
        ("{{ x }}", {}, "0 marks"),
        ("a ||| b ||| c", {}, "2 marks"),
        ("{{ x ||| y", {}, "template is broken"),
        ("a ||| b", {"task_family": "magic"}, "task_family is 'magic'"),
        ("a ||| b", {"domains": ["biomedicine", "cooking"]}, "domains is 'cooking'"),
        ("a ||| b", {"colour": "red"}, "no 'colour'"),
    ],
)
def test_tasks_that_the_format_does_not_allow(template, metadata, words):
    with pytest.raises(UsageError, match=words):
        Task("t", template, metadata)


def test_a_template_cannot_reach_python():
    task = Task("t", "{{ x.__class__.__mro__[1].__subclasses__() }} ||| b")
    with pytest.raises(InputError, match="does not fit"):
        task.render({"x": "a"})


def test_window_and_cap():
    task = Task("t", "{{ x }} ||| end")
    records = [{"x": "w " * n} for n in range(1, 101)]
    found = instantiate(task, records, "train", words, window=50, most=None)
    assert [words(one["input"]) for one in found] == list(range(1, 30))  # 29 + 1 <= 50 - 20
    capped = instantiate(task, records, "train", words, window=50, most=10)
    assert len(capped) == 10
    assert all(words(one["input"]) <= 29 for one in capped)
    assert {one["_instance_id"] for one in capped} <= {one["_instance_id"] for one in found}
    other = instantiate(task, records, "train", words, window=50, most=10, rng=1)
    assert capped != other


def test_the_same_instances_in_a_process_with_another_hash_seed():
    code = (
        "from samplewise.select.scientific_tasks import Task, instantiate\n"
        "rows = [{'x': str(i)} for i in range(100)]\n"
        "found = instantiate(Task('t', '{{ x }} ||| y'), rows, 'train', len, most=10)\n"
        "print([one['_instance_id'] for one in found])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != ""


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"all": 101}, (61, 20, 20)),
        ({"train": 100, "test": 5}, (95, 5, 5)),
        ({"train": 100, "dev": 50}, (80, 20, 50)),
        ({"train": 7, "dev": 2, "test": 3}, (7, 2, 3)),
    ],
)
def test_splits(sizes, expected):
    splits = {name: [{"id": f"{name}{i}"} for i in range(n)] for name, n in sizes.items()}
    parts = standardise_splits(splits)
    assert tuple(len(parts[name]) for name in ("train", "validation", "test")) == expected
    ids = [row["id"] for rows in parts.values() for row in rows]
    assert len(set(ids)) == len(ids) == sum(sizes.values())


@pytest.mark.parametrize("names", [("dev", "test"), ("a", "b", "c", "d"), ()])
def test_splits_that_make_no_sense(names):
    with pytest.raises(UsageError, match="the splits are"):
        standardise_splits({name: [{}] for name in names})


def instances(name, count):
    return [
        {"input": f"{name} {i}", "output": "x", "metadata": {}, "_instance_id": f"{name}:train:{i}"}
        for i in range(count)
    ]


def test_the_mix_of_the_paper():
    tasks = {f"task{i}": instances(f"task{i}", 1_001) for i in range(45)}
    tasks |= {name: instances(name, 10) for name in EVALUATION_TASKS}
    general = [{"dataset": "chat", "id": f"g{i}", "messages": []} for i in range(60_000)]
    general += [{"dataset": "science.old", "id": "s", "messages": []}]
    mixed = training_mix(tasks, general)
    science = [row for row in mixed if row["dataset"].startswith("science.")]
    assert (len(mixed), len(science)) == (90_000, 45_000)
    assert all(row["id"] != "s" for row in mixed)
    assert not any(name in row["dataset"] for row in science for name in EVALUATION_TASKS)
    places = np.flatnonzero([row["dataset"].startswith("science.") for row in mixed])
    middle, spread = places.mean() / len(mixed), np.sqrt(1 / 12 / len(places) / 2)
    assert abs(middle - 0.5) < 5 * spread
    assert training_mix(tasks, general) == mixed
    assert len(training_mix(tasks, general, general_count=0)) == 45_000
    with pytest.raises(UsageError, match="45000 general instructions are asked for, and 1 are"):
        training_mix(tasks, general[:1])


def test_combining_sorts_and_refuses_repeats():
    found = combine({"b": instances("b", 2), "a": instances("a", 1)})
    assert [one["_instance_id"] for one in found] == ["a:train:0", "b:train:0", "b:train:1"]
    with pytest.raises(InputError, match="b:train:0"):
        combine({"b": instances("b", 2), "again": instances("b", 1)})
