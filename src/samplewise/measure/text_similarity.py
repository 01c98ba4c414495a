"""How alike two texts are, from 0 to 1, as utilities of minimum Bayes risk.

All compare words or characters, and so texts of one language; across languages only numbers and
names are alike. Cost: linear in the texts, but for ROUGE-L, which is quadratic.
"""

from __future__ import annotations

from collections.abc import Callable

from samplewise.extras import need
from samplewise.measure.scientific_tasks import rouge_l, token_f1

__all__ = ["SIMILARITIES", "chrf"]


def chrf(text: str, reference: str) -> float:
    """Give chrF by sacrebleu: F2 of character 1- to 6-grams, without spaces.

    Raises
    ------
    UsageError
        If sacrebleu is not installed.

    References
    ----------
    Popović, chrF: character n-gram F-score for automatic MT evaluation, WMT 2015.

    Examples
    --------
    >>> round(chrf("the cat sat", "the cat sat"), 6), chrf("abc", "xyz")
    (1.0, 0.0)
    """
    sacrebleu = need("sacrebleu", "science", "chrF")
    return float(sacrebleu.sentence_chrf(text, [reference]).score) / 100


def _exact(text: str, reference: str) -> float:
    return float(text.strip() == reference.strip())


def _rouge(text: str, reference: str) -> float:
    return rouge_l([text], [reference])


SIMILARITIES: dict[str, Callable[[str, str], float]] = {
    "exact": _exact,
    "token-f1": token_f1,
    "chrf": chrf,
    "rouge-l": _rouge,
}
"""Similarities by name, each a function of a text and a reference."""
