"""Metrics of structured answers about scientific papers: lists, entities, relations, verdicts.

A model's text is parsed as JSON with `parse_json`, which never fails but says how it went; scores
are then taken in two settings, over all answers (a failed parse counts as an empty answer) and
over those alone that could be parsed. F1 is micro-averaged over the corpus; 0 where undefined.

Cost: linear in the answers, but for relations, which are matched pair by pair.
Source: SciRIFF, arXiv 2406.07835 (allenai/SciRIFF, Apache-2.0); checked against its figures.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from samplewise.extras import need

__all__ = [
    "F1",
    "SUMMARY",
    "Parsed",
    "entity_f1",
    "list_f1",
    "mean_token_f1",
    "normalise",
    "parse_json",
    "parse_share",
    "rating_score",
    "relation_f1",
    "rouge_l",
    "score_settings",
    "summarise_tasks",
    "token_f1",
    "verdict_scores",
]

Status: TypeAlias = Literal["valid_json", "extract_success", "null_json", "extract_failure"]

SUMMARY = (
    "bioasq f1",
    "biored f1",
    "discomat bleu",
    "evidence_inference f1_overlap",
    "multicite f1",
    "mup judge",
    "qasper judge",
    "qasper f1_evidence",
    "scierc f1",
    "scifact f1_label",
    "scifact f1_evidence_token",
)
"""The columns of the summary, in order."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Parsed:
    """What was found in a model's text.

    Parameters
    ----------
    value : object
        The JSON value, or the default.
    status : {'valid_json', 'extract_success', 'null_json', 'extract_failure'}
    """

    value: Any
    status: Status


class F1(NamedTuple):
    """Precision, recall and their harmonic mean; each 0 where it is undefined."""

    precision: float
    recall: float
    f1: float

    @classmethod
    def of(cls, correct: float, predicted: float, wanted: float) -> F1:
        """Make it from counts.

        Examples
        --------
        >>> F1.of(1, 2, 2).f1
        0.5
        """
        precision = correct / predicted if predicted else 0.0
        recall = correct / wanted if wanted else 0.0
        both = precision + recall
        return cls(precision, recall, 2 * precision * recall / both if both else 0.0)


def parse_json(text: str, default: Any) -> Parsed:
    """Parse a model's answer: all of it, or else the first balanced part that is JSON.

    Parameters
    ----------
    text : str
    default : list or dict
        The value where there is none; its type says whether to look for [...] or {...}.

    Examples
    --------
    >>> parse_json('Sure: ["a"] ok', [])
    Parsed(value=['a'], status='extract_success')
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _extracted(text, default)
    if value is None or value == "null":
        return Parsed(default, "null_json")
    return Parsed(value, "valid_json")


def parse_share(parsed: Sequence[Parsed]) -> float:
    """Give the share of the answers in which a value was found; NaN of none.

    Examples
    --------
    >>> parse_share([parse_json(text, {}) for text in ('{"a": 1}', "zz")])
    0.5
    """
    found = [one.status in ("valid_json", "extract_success") for one in parsed]
    return float(np.mean(found)) if found else float("nan")


def score_settings(
    metric: Callable[[Sequence[Any], Sequence[Any]], Any],
    parsed: Sequence[Parsed],
    references: Sequence[Any],
) -> dict[str, Any]:
    """Take a metric over all answers, and over those alone that could be parsed.

    Returns
    -------
    dict
        ``all`` and ``valid_json``.
    """
    kept = [i for i, one in enumerate(parsed) if one.status != "extract_failure"]
    return {
        "all": metric([one.value for one in parsed], references),
        "valid_json": metric([parsed[i].value for i in kept], [references[i] for i in kept]),
    }


def normalise(value: Any) -> str:
    """Write a value as it is compared: lower case, numbers to two places, lists flattened.

    Examples
    --------
    >>> normalise("BRCA1 "), normalise(2.005), normalise([1, ["B", None]])
    ('brca1', '2.0', '1 b ')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip().lower()
    if isinstance(value, float):
        return str(round(value, 2))
    if isinstance(value, (list, tuple)):
        return " ".join(normalise(one) for one in value)
    return str(value)


def list_f1(predicted: Sequence[Any], references: Sequence[Sequence[Any]]) -> F1:
    """Compare lists as sets of normalised values.

    Parameters
    ----------
    predicted : sequence
        One answer an instance; what is no list counts as an empty one.
    references : sequence of list

    Examples
    --------
    >>> round(list_f1([["BRCA1 ", "tp53"], []], [["brca1", "TP53", "ATM"], ["x"]]).f1, 3)
    0.667
    """
    return _micro((_set(one), _set(wanted)) for one, wanted in _pairs(predicted, references))


def entity_f1(
    predicted: Sequence[Any],
    references: Sequence[Mapping[str, Sequence[Any]]],
    *,
    typed: bool = True,
) -> F1:
    """Compare mentions of entities, given by type.

    Parameters
    ----------
    predicted : sequence
        One mapping of type to mentions an instance; what is none counts as empty.
    references : sequence of mapping
    typed : bool
        Whether the type has to be right too.

    Examples
    --------
    >>> one, other = {"Task": ["A", "b"], "Method": ["c"]}, {"Task": ["a"], "Method": ["b", "C"]}
    >>> round(entity_f1([one], [other]).f1, 3), entity_f1([one], [other], typed=False).f1
    (0.667, 1.0)
    """

    def mentions(value: Any) -> set[Any]:
        if not isinstance(value, Mapping):
            return set()
        return {
            (mention, kind) if typed else mention
            for kind, listed in value.items()
            for mention in _set(listed)
        }

    return _micro((mentions(a), mentions(b)) for a, b in _pairs(predicted, references))


def relation_f1(
    predicted: Sequence[Any],
    references: Sequence[Any],
    *,
    length: int = 5,
    threshold: float = 0.3,
) -> dict[str, Any]:
    """Compare tuples of fields: exactly, as parts of each other, and by shared words.

    Predictions are walked in order, and each takes the first reference not yet taken that all its
    fields match. An empty predicted field matches nothing.

    Parameters
    ----------
    predicted : sequence
        One list of tuples an instance; a tuple alone will do where there is one.
    references : sequence of list of tuples
    length : int
        Fields of a tuple; others are dropped.
    threshold : float
        Token F1 from which two fields share enough words.

    Returns
    -------
    dict
        F1 under ``exact``, ``substring`` and ``overlap``; ``good_list`` and ``wrong_length`` count
        the predicted tuples.

    Examples
    --------
    >>> found = relation_f1([[["a drug", "pain"]]], [[["the drug", "pain score"]]], length=2)
    >>> found["exact"].f1, found["overlap"].f1
    (0.0, 1.0)
    """
    kinds: dict[str, Callable[[str, str], bool]] = {
        "substring": lambda one, other: bool(one) and (one in other or other in one),
        "overlap": lambda one, other: bool(one) and token_f1(one, other) >= threshold,
    }
    correct = dict.fromkeys(("exact", *kinds), 0)
    counts = dict.fromkeys(("good_list", "wrong_length", "wanted", "set", "wanted_set"), 0)
    for one, wanted in _pairs(predicted, references):
        good, wrong = _tuples(one, length)
        known, _ = _tuples(wanted, length)
        counts["good_list"] += len(good)
        counts["wrong_length"] += wrong
        counts["wanted"] += len(known)
        counts["set"] += len(set(good))
        counts["wanted_set"] += len(set(known))
        correct["exact"] += len(set(good) & set(known))
        for name, matches in kinds.items():
            correct[name] += _matched(good, known, matches)
    scores = {name: F1.of(correct[name], counts["good_list"], counts["wanted"]) for name in kinds}
    exact = F1.of(correct["exact"], counts["set"], counts["wanted_set"])
    return {
        "exact": exact,
        **scores,
        "good_list": counts["good_list"],
        "wrong_length": counts["wrong_length"],
    }


def token_f1(predicted: str, reference: str) -> float:
    """Compare two texts as bags of words, without case, punctuation and articles.

    Examples
    --------
    >>> round(token_f1("The cat sat on the mat", "a cat sat"), 3), token_f1("", "")
    (0.667, 0.0)
    """
    one, other = _tokens(predicted), _tokens(reference)
    return F1.of((one & other).total(), one.total(), other.total()).f1


def mean_token_f1(predicted: Sequence[Any], references: Sequence[Any]) -> float:
    """Average token F1 over instances; lists of paragraphs are joined, what is missing scores 0.

    Examples
    --------
    >>> mean_token_f1(["yes", None], ["yes", "no"])
    0.5
    """

    def text(value: Any) -> str:
        if isinstance(value, (list, tuple)):
            return " ".join(map(str, value))
        return "" if value is None else str(value)

    scores = [token_f1(text(a), text(b)) for a, b in _pairs(predicted, references)]
    return float(np.mean(scores)) if scores else 0.0


def corpus_bleu(predicted: Sequence[str], references: Sequence[str]) -> float:
    """Give the corpus BLEU by sacrebleu, in [0, 1].

    Raises
    ------
    UsageError
        If sacrebleu is not installed.

    Examples
    --------
    >>> round(corpus_bleu(["a b c d e"], ["a b c d e"]), 6)
    1.0
    """
    sacrebleu = need("sacrebleu", "science", "BLEU")
    return float(sacrebleu.corpus_bleu(list(predicted), [list(references)]).score) / 100


def rouge_l(predicted: Sequence[str], references: Sequence[str]) -> float:
    """Average the F1 of ROUGE-L by rouge-score, with stemming.

    Raises
    ------
    UsageError
        If rouge-score is not installed.

    Examples
    --------
    >>> rouge_l(["the cat sat"], ["the cat sat"])
    1.0
    """
    module = need("rouge_score.rouge_scorer", "science", "ROUGE")
    scorer = module.RougeScorer(["rougeL"], use_stemmer=True)
    scores = [scorer.score(b, a)["rougeL"].fmeasure for a, b in _pairs(predicted, references)]
    return float(np.mean(scores)) if scores else 0.0


def verdict_scores(
    predicted: Sequence[Any], references: Sequence[Mapping[str, Any]]
) -> dict[str, F1]:
    """Compare verdicts (SUPPORT, CONTRADICT, NEI: not enough information) and their evidence.

    Parameters
    ----------
    predicted : sequence
        A mapping with ``verdict`` and ``evidence`` (a list of sentences) an instance.
    references : sequence of mapping

    Returns
    -------
    dict
        ``label`` over verdicts other than NEI, ``evidence_sentence`` over sets of sentences and
        ``evidence_token`` over their words.

    Examples
    --------
    >>> one = {"verdict": "SUPPORT", "evidence": ["The cat sat."]}
    >>> verdict_scores([one], [one])["label"].f1
    1.0
    """
    labels, tokens = np.zeros(3), np.zeros(3)
    sentences = []
    for one, wanted in _pairs(predicted, references):
        verdict, evidence = _verdict(one)
        right, known = _verdict(wanted)
        labels += (verdict == right != "NEI", verdict != "NEI", right != "NEI")
        sentences.append((_set(evidence), _set(known)))
        bags = [sum((_tokens(str(s)) for s in part), Counter()) for part in (evidence, known)]
        tokens += ((bags[0] & bags[1]).total(), bags[0].total(), bags[1].total())
    return {
        "label": F1.of(*labels.tolist()),
        "evidence_sentence": _micro(sentences),
        "evidence_token": F1.of(*tokens.tolist()),
    }


def rating_score(rating: float | None, *, answered: bool = True) -> float:
    """Map a judge's rating of 1 to 5 to 0 to 1: no answer is a 1, an unreadable rating a 3.

    Examples
    --------
    >>> rating_score(5), rating_score(None), rating_score(None, answered=False)
    (1.0, 0.5, 0.0)
    """
    given = 1.0 if not answered else 3.0 if rating is None else min(5.0, max(1.0, float(rating)))
    return (given - 1) / 4


def summarise_tasks(scores: Mapping[str, float]) -> dict[str, Any]:
    """Put the figures of all tasks in one row, times 100, with mean and median.

    Parameters
    ----------
    scores : mapping of str to float
        By the names in `SUMMARY`, in [0, 1].

    Returns
    -------
    dict
        The figures in order, ``mean`` and ``median`` over those present, and ``missing``.

    Raises
    ------
    ValueError
        If a name is not in `SUMMARY`.

    Examples
    --------
    >>> found = summarise_tasks({"bioasq f1": 0.5, "scierc f1": 0.25})
    >>> found["mean"], len(found["missing"])
    (37.5, 9)
    """
    unknown = set(scores) - set(SUMMARY)
    if unknown:
        raise ValueError(f"unknown columns {sorted(unknown)}: the columns are {', '.join(SUMMARY)}")
    row = {name: 100 * scores[name] for name in SUMMARY if name in scores}
    values = list(row.values()) or [float("nan")]
    return {
        **row,
        "mean": float(np.mean(values)),
        "median": float(np.median(values)),
        "missing": [name for name in SUMMARY if name not in scores],
    }


def _extracted(text: str, default: Any) -> Parsed:
    """Find the first balanced part that is JSON; quotes are not looked at."""
    opening, closing = "{}" if isinstance(default, dict) else "[]"
    start = depth = 0
    for place, letter in enumerate(text):
        if letter == opening:
            start = place if depth == 0 else start
            depth += 1
        elif letter == closing and depth:
            depth -= 1
            if depth == 0:
                try:
                    return Parsed(json.loads(text[start : place + 1]), "extract_success")
                except (ValueError, RecursionError):
                    continue
    return Parsed(default, "extract_failure")


def _pairs(predicted: Sequence[Any], references: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    if len(predicted) != len(references):
        raise ValueError(f"{len(predicted)} predictions for {len(references)} references")
    return zip(predicted, references, strict=True)


def _set(values: Any) -> set[str]:
    return {normalise(one) for one in values} if isinstance(values, (list, tuple)) else set()


def _micro(pairs: Iterable[tuple[set[Any], set[Any]]]) -> F1:
    counts = np.zeros(3)
    for one, wanted in pairs:
        counts += (len(one & wanted), len(one), len(wanted))
    return F1.of(*counts.tolist())


def _tuples(value: Any, length: int) -> tuple[list[tuple[str, ...]], int]:
    """Read tuples of the right length, and count the others."""
    if not isinstance(value, (list, tuple)):
        return [], 0
    if len(value) == length and all(isinstance(field, str) for field in value):
        value = [value]
    good = [
        tuple(normalise(field) for field in one)
        for one in value
        if isinstance(one, (list, tuple)) and len(one) == length
    ]
    return good, len(value) - len(good)


def _matched(
    predicted: Sequence[tuple[str, ...]],
    references: Sequence[tuple[str, ...]],
    matches: Callable[[str, str], bool],
) -> int:
    left = list(references)
    for one in predicted:
        found = next((r for r in left if all(map(matches, one, r))), None)
        if found is not None:
            left.remove(found)
    return len(references) - len(left)


def _verdict(value: Any) -> tuple[str, list[Any]]:
    if not isinstance(value, Mapping):
        return "NEI", []
    evidence = value.get("evidence")
    return str(value.get("verdict", "NEI")), evidence if isinstance(evidence, list) else []


def _tokens(text: str) -> Counter[str]:
    """Count the words of a text, without case, punctuation and articles."""
    plain = text.lower().translate(_PUNCTUATION)
    return Counter(_ARTICLES.sub(" ", plain).split())
