"""Instructions from scientific data sets: one format of task, splits, caps and a training mix.

A `Task` says how a record of a data set becomes an instruction and its answer, by a template; tasks
are instantiated with a cap on their number and length, and mixed so that none outweighs the others.
Use it to build a training set out of many small data sets of different shapes.

Time and memory are linear in the records.
Source: SciRIFF, arXiv 2406.07835 (allenai/SciRIFF, Apache-2.0). The source data sets keep their own
licences.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samplewise.errors import InputError, UsageError
from samplewise.rng import RandomState, generator

__all__ = [
    "EVALUATION_TASKS",
    "Task",
    "combine",
    "instantiate",
    "standardise_splits",
    "training_mix",
]

EVALUATION_TASKS = (
    "bioasq_list_qa",
    "biored_ner",
    "discomat_te",
    "evidence_inference",
    "multicite_intent_classification",
    "mup_single_document_summarization",
    "qasper_abstractive_qa",
    "scierc_ner",
    "scifact_entailment",
)
"""The nine tasks that are held out for evaluation."""

_KINDS = (
    "summarization",
    "ie.named_entity_recognition",
    "ie.relation_extraction",
    "ie.event_extraction",
    "ie.structure_to_json",
    "qa.yes_no",
    "qa.multiple_choice",
    "qa.extractive",
    "qa.abstractive",
    "entailment",
    "classification",
    "generation",
    "dialog",
    "ranking",
)
_ALLOWED: dict[str, tuple[str, ...]] = {
    "task_family": _KINDS,
    "domains": (
        "clinical_medicine",
        "biomedicine",
        "chemistry",
        "artificial_intelligence",
        "materials_science",
        "misc",
    ),
    "input_context": ("sentence", "paragraph", "multiple_paragraphs", "structured"),
    "output_context": (
        "label",
        "sentence",
        "paragraph",
        "multiple_paragraphs",
        "json",
        "jsonlines",
        "ranking",
    ),
    "source_type": ("single_source", "multiple_source"),
}
_MARK = "|||"  # between the input and the output of a template
_ESCAPED = "\ue000"  # stands for the mark inside a field; a character of private use
_PAD = 20  # tokens kept free in the window

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """How the records of one data set become instructions.

    Parameters
    ----------
    name : str
        Such as ``"scierc_ner"``.
    template : str
        A Jinja template: the input, the mark ``|||``, the output. What a record lacks is an error.
    metadata : mapping
        ``task_family``, ``domains`` (a list), ``input_context``, ``output_context`` and
        ``source_type``, each of the values that the format allows.
    answer_choices : list of str
        Given to the template under that name.

    Raises
    ------
    UsageError
        If the metadata hold a value or a key that the format does not allow, or the template has
        no mark or no sense.

    Examples
    --------
    >>> task = Task("mine", "Is it so? {{ claim }} ||| {{ verdict }}", {"task_family": "qa.yes_no"})
    >>> task.render({"claim": "Water is wet.", "verdict": "yes"})
    ('Is it so? Water is wet.', 'yes')
    """

    name: str
    template: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    answer_choices: Sequence[str] = ()

    def __post_init__(self) -> None:
        for key, value in self.metadata.items():
            allowed = _ALLOWED.get(key)
            if allowed is None:
                raise UsageError(
                    f"task {self.name!r}: metadata have no {key!r}",
                    mend=f"of {', '.join(_ALLOWED)}",
                )
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if one not in allowed:
                    raise UsageError(
                        f"task {self.name!r}: {key} is {one!r}", mend=f"one of {', '.join(allowed)}"
                    )
        marks = self.template.count(_MARK)
        if marks != 1:
            raise UsageError(
                f"task {self.name!r}: the template has {marks} marks '{_MARK}'",
                mend="put one between the input and the output",
            )
        self._compiled()

    def render(self, record: Record) -> tuple[str, str]:
        """Give the instruction and the answer of a record.

        Raises
        ------
        InputError
            If the record lacks a field of the template, has one called `answer_choices`, or the
            input or the output comes out empty.
        """
        import jinja2

        if "answer_choices" in record:
            raise InputError("is a name the format keeps", file=self.name, field="answer_choices")
        fields = {key: _escape(value) for key, value in record.items()}
        try:
            text = self._compiled().render(**fields, answer_choices=list(self.answer_choices))
        except jinja2.TemplateError as error:
            raise InputError(f"does not fit the template: {error}", file=self.name) from error
        parts = [part.strip().replace(_ESCAPED, _MARK) for part in text.split(_MARK)]
        if len(parts) != 2 or not all(parts):
            raise InputError("gives an empty input or output", file=self.name)
        return parts[0], parts[1]

    def _compiled(self) -> Any:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        try:
            return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined).from_string(
                self.template
            )
        except jinja2.TemplateError as error:
            raise UsageError(f"task {self.name!r}: the template is broken: {error}") from error


def instantiate(
    task: Task,
    records: Sequence[Record],
    split: str,
    count_tokens: Callable[[str], int],
    *,
    window: int = 4_096,
    most: int | None = 2_500,
    rng: RandomState = 0,
) -> list[dict[str, Any]]:
    """Render the records of one split, as many as there may be and as are short enough.

    Parameters
    ----------
    task : Task
    records : sequence of mapping
    split : str
        Its name: part of the identifiers.
    count_tokens : callable
        Gives the tokens of a text.
    window : int
        The context: input and output together may take this less 20 tokens.
    most : int or None
        Instances at most; with it, records are taken in random order.
    rng : int, numpy.random.Generator or None
        A seed is combined with the task's name, so that it draws the same in every process.

    Returns
    -------
    list of dict
        ``input``, ``output``, ``metadata`` and ``_instance_id`` ("task:split:record").

    Examples
    --------
    >>> task = Task("mine", "{{ q }} ||| {{ a }}")
    >>> instantiate(task, [{"q": "1 + 1?", "a": "2"}], "train", len)[0]["_instance_id"]
    'mine:train:0'
    """
    order = np.arange(len(records))
    if most is not None:
        order = _stable(rng, task.name).permutation(order)
    found: list[dict[str, Any]] = []
    for index in order.tolist():
        if most is not None and len(found) == most:
            break
        given, answer = task.render(records[index])
        if count_tokens(given) + count_tokens(answer) <= window - _PAD:
            found.append(
                {
                    "input": given,
                    "output": answer,
                    "metadata": dict(task.metadata),
                    "_instance_id": f"{task.name}:{split}:{index}",
                }
            )
    return found


def standardise_splits(
    splits: Mapping[str, Sequence[Record]], *, rng: RandomState = 0, share: float = 0.2
) -> dict[str, list[Record]]:
    """Bring the splits of a data set to train, validation and test.

    Three stay as they are. Of train and one more, the other becomes the test split, and validation
    is drawn from train: a `share` of it, at most as many as the test split has. One alone gives
    test and validation a `share` each.

    Parameters
    ----------
    splits : mapping of str to sequence of mapping
    rng : int, numpy.random.Generator or None
    share : float

    Raises
    ------
    UsageError
        If there are two splits and none is called train, or more than three.

    Examples
    --------
    >>> parts = standardise_splits({"all": [{"x": i} for i in range(101)]})
    >>> [len(parts[name]) for name in ("train", "validation", "test")]
    [61, 20, 20]
    """
    parts = {name: list(rows) for name, rows in splits.items() if len(rows)}
    if len(parts) == 3 and {"train", "test"} <= set(parts):
        (middle,) = set(parts) - {"train", "test"}
        return {"train": parts["train"], "validation": parts[middle], "test": parts["test"]}
    if len(parts) not in (1, 2) or (len(parts) == 2 and "train" not in parts):
        raise UsageError(
            f"the splits are {', '.join(parts) or 'none'}",
            mend="give train, validation and test; train and one more; or one alone",
        )
    random = generator(rng)
    if len(parts) == 1:
        (rows,) = parts.values()
        held = round(share * len(rows))
        train, test = _divide(rows, held, random)
    else:
        train = parts.pop("train")
        ((_, test),) = parts.items()
        held = min(len(test), round(share * len(train)))
    train, validation = _divide(train, held, random)
    return {"train": train, "validation": validation, "test": test}


def combine(instances: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Put the instances of all tasks together, ordered by identifier.

    Raises
    ------
    InputError
        If an identifier comes twice.

    Examples
    --------
    >>> one = {"input": "q", "output": "a", "metadata": {}, "_instance_id": "t:train:0"}
    >>> combine({"t": [one]})[0]["_instance_id"]
    't:train:0'
    """
    found = [dict(one) for rows in instances.values() for one in rows]
    found.sort(key=lambda one: str(one["_instance_id"]))
    for before, after in itertools.pairwise(found):
        if before["_instance_id"] == after["_instance_id"]:
            raise InputError("comes twice", field=str(after["_instance_id"]))
    return found


def training_mix(
    tasks: Mapping[str, Sequence[Mapping[str, Any]]],
    general: Sequence[Record] = (),
    *,
    each: int = 1_000,
    general_count: int | str = "match",
    leave_out: Sequence[str] = EVALUATION_TASKS,
    rng: RandomState = 76,
) -> list[dict[str, Any]]:
    """Mix the first instances of every task with as many general instructions, shuffled.

    Parameters
    ----------
    tasks : mapping of str to sequence of instances
        By the name of the task, training split only.
    general : sequence of mapping
        Instructions with ``messages`` (and perhaps ``dataset`` and ``id``).
    each : int
        Instances of a task at most.
    general_count : int, 'match' or 'all'
        How many general instructions: a number, as many as the tasks give (none where `general`
        is empty), or all.
    leave_out : sequence of str
        Tasks that are kept for evaluation.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    list of dict
        ``dataset``, ``id`` and ``messages`` (user, assistant).

    Raises
    ------
    UsageError
        If fewer general instructions are there than were asked for.

    Examples
    --------
    >>> one = {"input": "q", "output": "a", "metadata": {}, "_instance_id": "t:train:0"}
    >>> mixed = training_mix({"t": [one], "scierc_ner": [one]})
    >>> [row["id"] for row in mixed]
    ['science.t.0']
    """
    random = generator(rng)
    rows = [
        {
            "dataset": f"science.{name}",
            "id": f"science.{name}.{number}",
            "messages": [
                {"role": "user", "content": one["input"]},
                {"role": "assistant", "content": one["output"]},
            ],
        }
        for name, instances in sorted(tasks.items())
        if name not in leave_out
        for number, one in enumerate(instances[:each])
    ]
    known = [dict(one) for one in general if not str(one.get("dataset", "")).startswith("science")]
    if general_count == "match":
        wanted = len(rows) if len(general) else 0
    else:
        wanted = len(known) if general_count == "all" else int(general_count)
    if wanted > len(known):
        raise UsageError(
            f"{wanted} general instructions are asked for, and {len(known)} are there",
            mend="give more of them, or a smaller number",
        )
    rows += [known[int(i)] for i in random.choice(len(known), wanted, replace=False)]
    return [rows[int(i)] for i in random.permutation(len(rows))]


def _escape(value: Any) -> Any:
    """Keep a mark inside a field from being taken for the template's own."""
    if isinstance(value, str):
        return value.replace(_MARK, _ESCAPED)
    if isinstance(value, Mapping):
        return {key: _escape(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escape(one) for one in value]
    return value


def _stable(rng: RandomState, name: str) -> np.random.Generator:
    """Make a generator of a seed and a name; Python's own hash differs between processes."""
    made = generator(rng)  # refuses what is no seed
    if rng is None or isinstance(rng, np.random.Generator):
        return made
    return np.random.default_rng([rng, zlib.crc32(name.encode())])


def _divide(
    rows: Sequence[Record], held: int, rng: np.random.Generator
) -> tuple[list[Record], list[Record]]:
    """Hold some rows out at random; both parts stay in order."""
    out = np.zeros(len(rows), bool)
    out[rng.choice(len(rows), held, replace=False)] = True
    kept, left = np.flatnonzero(~out).tolist(), np.flatnonzero(out).tolist()
    return [rows[i] for i in kept], [rows[i] for i in left]
