"""The usual samplers, from transformers, in the order in which its `generate` uses them.

Temperature, top-k, top-p, min-p, typical decoding and the repetition penalty are transformers' own
classes: what is compared with them here is compared with what people run. Methods of this library
come by name.

Cost: that of the processors: O(V log V) a token for those that sort the vocabulary.
Source: transformers' `GenerationMixin._get_logits_processor`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from samplewise.decode.base import Sampler
from samplewise.decode.mirostat import SurpriseControl
from samplewise.errors import UsageError
from samplewise.extras import need

if TYPE_CHECKING:
    from transformers import LogitsProcessorList

__all__ = ["PLAIN", "Extra", "make_processors"]

Extra: TypeAlias = "str | Sampler | Callable[..., Any]"

PLAIN: Mapping[str, Any] = MappingProxyType(
    {
        "do_sample": True,
        "num_beams": 1,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "typical_p": 1.0,
        "repetition_penalty": 1.0,
    }
)
"""Settings with which `generate` draws from the processors it is given, and adds none of its own.

Without them transformers keeps the 50 likeliest tokens, and whatever the model's own settings say.
"""


def make_processors(
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float | None = None,
    typical_p: float = 1.0,
    repetition_penalty: float = 1.0,
    extra: Sequence[Extra] = (),
) -> LogitsProcessorList:
    """Make the processors that turn a model's scores into the law to draw from.

    They come in the order in which `generate` uses them: the penalty, processors of the user's,
    temperature, top-k, top-p, min-p, typical; then the library's own samplers, so that they see the
    law after temperature. Those that end thinking come before what cuts tokens off. What would
    change nothing is left out.

    Parameters
    ----------
    temperature : float
        Above 0.
    top_k : int, optional
        Tokens that are kept, 1 or more; None or 0 for all.
    top_p : float
        Probability that is kept; above 0, at most 1.
    min_p : float, optional
        Least probability of a token that is kept, as a share of the likeliest one's; 0 to 1.
    typical_p : float
        Probability that is kept, of the tokens whose surprise is nearest the expected one; above 0,
        at most 1.
    repetition_penalty : float
        Above 0; above 1 it makes tokens that have come less likely.
    extra : sequence of str, Sampler or callable
        Names of samplers, with their knobs if need be, such as ``"mirostat-v2:tau=3"``; samplers;
        or processors, called with ids and scores.

    Returns
    -------
    transformers.LogitsProcessorList
        New each time: samplers among them keep a state, for one text or batch at a time.

    Raises
    ------
    UsageError
        If a setting is out of range, there is no such sampler, Mirostat is to be combined with what
        else cuts the tail, or transformers is not installed.

    Examples
    --------
    >>> made = make_processors(temperature=0.7, top_p=0.9)
    >>> [type(one).__name__ for one in made]
    ['TemperatureLogitsWarper', 'TopPLogitsWarper']
    """
    truncation = {
        "top_k": top_k if top_k else None,
        "top_p": top_p if top_p != 1 else None,
        "min_p": min_p if min_p else None,
        "typical_p": typical_p if typical_p != 1 else None,
    }
    cuts = [name for name, value in truncation.items() if value is not None]
    _check("temperature", temperature, 0, math.inf)
    _check("repetition_penalty", repetition_penalty, 0, math.inf)
    _check("top_p", top_p, 0, 1)
    _check("typical_p", typical_p, 0, 1)
    if min_p:
        _check("min_p", min_p, 0, 1)
    if top_k is not None and (isinstance(top_k, bool) or top_k != int(top_k) or top_k < 0):
        raise UsageError(f"top_k is {top_k!r}", mend="give 1 or more, or none for all tokens")
    if isinstance(extra, str) or not isinstance(extra, Sequence):
        raise UsageError(f"extra is {extra!r}", mend="give a list")
    read = [Sampler.named(one) if isinstance(one, str) else one for one in extra]
    samplers = [one for one in read if isinstance(one, Sampler)]
    own = [one for one in read if not isinstance(one, Sampler)]
    _refuse_stacks(samplers, cuts)
    for one in own:
        if not callable(one):
            raise UsageError(f"extra has {one!r}", mend="give a sampler, its name, or a processor")
    need("transformers", "llm", "a processor")
    import transformers

    made = transformers.LogitsProcessorList()
    if repetition_penalty != 1:
        made.append(transformers.RepetitionPenaltyLogitsProcessor(float(repetition_penalty)))
    made.extend(own)
    if temperature != 1:
        made.append(transformers.TemperatureLogitsWarper(float(temperature)))
    classes = {
        "top_k": transformers.TopKLogitsWarper,
        "top_p": transformers.TopPLogitsWarper,
        "min_p": transformers.MinPLogitsWarper,
        "typical_p": transformers.TypicalLogitsWarper,
    }
    made.extend(one.processor() for one in samplers if one.before_cuts)
    made.extend(classes[name](truncation[name]) for name in cuts)
    made.extend(one.processor() for one in samplers if not one.before_cuts)
    return made


def _refuse_stacks(samplers: Sequence[Sampler], cuts: Sequence[str]) -> None:
    """Refuse what would hide from a surprise control what its own cutting does."""
    controls = [one.name for one in samplers if isinstance(one, SurpriseControl)]
    others = [*cuts, *controls[1:]]
    if controls and others:
        raise UsageError(
            f"{controls[0]} with {', '.join(others)}: both cut the tail, and the target is missed",
            mend=f"leave out {', '.join(others)}, or {controls[0]}",
        )


def _check(name: str, value: Any, low: float, high: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and low < value <= high and math.isfinite(value)):
        wanted = f"above {low}" + (f", at most {high}" if math.isfinite(high) else "")
        raise UsageError(f"{name} is {value!r}", mend=f"give a number {wanted}")
