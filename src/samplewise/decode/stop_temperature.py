"""How long a reasoning model thinks, set while it decodes: nothing is trained.

``stop-temperature`` changes the probability of the one token that ends thinking, and nothing else:
above 1 thinking ends earlier, below 1 later. ``budget-forcing`` is its rival: thinking ends at a
limit at the latest, and before another limit its end is replaced by a word such as "Wait". Use them
for a model that thinks between two marks and goes on too long, or stops too early. Once thinking
has ended, both leave the law as it is.

The formulas of the first are reconstructed: the paper's own was not at hand.

Cost: O(V) a token for V tokens in the vocabulary, and one look over the text.
Source: arXiv 2505.07961; budget forcing: arXiv 2501.19393.
"""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from samplewise.decode.base import Sampler
from samplewise.errors import UsageError
from samplewise.extras import lazy, need

if TYPE_CHECKING:
    import torch
    from transformers import LogitsProcessor
else:
    torch = lazy("torch", "torch", "a processor")

__all__ = ["BudgetForcing", "StopTemperature", "geometric_length", "mark_token", "stop_probability"]

_BACKWARDS = (
    "the end's score is above 0 at some steps and below at others, where the logit form works "
    "backwards: take form='logprob'"
)


@dataclass(frozen=True)
class StopTemperature(Sampler):
    """End thinking earlier or later by the temperature of its end alone.

    With probability p of the end, ``logprob`` gives it p^(1/tau) against 1 - p for all others
    together, whose proportions stay; ``logit`` divides its score by tau, which depends on what is
    added to all scores, and works backwards where the score is negative; where it is now above 0
    and now below, there is a warning. Both are reconstructed. Where the likeliest token is taken
    each time, either does something only where it makes the end the likeliest, or no longer so.

    Parameters
    ----------
    tau : float
        Above 0; 1 changes nothing.
    end : int
        The token that ends thinking; `mark_token` finds it.
    begin : int, optional
        The token that begins it. By default a text is thinking until `end` has come.
    form : {'logprob', 'logit'}

    References
    ----------
    Zhang et al. (2025), arXiv 2505.07961.

    Examples
    --------
    >>> processor = StopTemperature(tau=2.0, end=2).processor()
    >>> scores = torch.tensor([[0.09, 0.9, 0.01]]).log()
    >>> law = processor(torch.tensor([[0]]), scores).softmax(dim=1)
    >>> [round(chance, 3) for chance in law[0].tolist()]
    [0.083, 0.826, 0.092]
    """

    name: ClassVar[str] = "stop-temperature"
    aliases: ClassVar[tuple[str, ...]] = ("ts",)
    paper: ClassVar[str] = "2505.07961"
    cost: ClassVar[str] = "O(V) a token"
    before_cuts: ClassVar[bool] = True

    tau: float = 1.25
    end: int = 2
    begin: int | None = None
    form: Literal["logprob", "logit"] = "logprob"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("tau", above=True)
        _check_marks(self.end, self.begin)

    def processor(self) -> LogitsProcessor:
        """Make one for `generate`; all it remembers is what it has to warn of."""
        signs: set[bool] = set()

        def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            found = self._process(ids, scores)
            if self.form == "logit" and self.tau != 1 and len(signs) < 2:
                active = scores[thinking(ids, self.end, self.begin), self.end]
                signs.update((active[active.isfinite() & (active != 0)] > 0).tolist())
                if len(signs) == 2:
                    warnings.warn(_BACKWARDS, stacklevel=2)
            return found

        return _processor_class()(process)

    def _process(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Give other scores to the end, in rows that think."""
        _check_scores(scores, self.end)
        if self.tau == 1:
            return scores
        score = scores[:, self.end]
        if self.form == "logit":
            changed = score / self.tau
        else:
            # p' / (1 - p') = p^(1/tau) / (1 - p): all other scores stay as they are.
            changed = score + (1 / self.tau - 1) * scores.log_softmax(dim=1)[:, self.end]
        kept = torch.where(score.isneginf(), score, changed)  # a token that cannot come stays so
        found = scores.clone()
        found[:, self.end] = torch.where(thinking(ids, self.end, self.begin), kept, score)
        return found


@dataclass(frozen=True)
class BudgetForcing(Sampler):
    """Let thinking be no longer than a limit, and no shorter than another.

    At the longest, its end is the only token that can come. Before the shortest, what the end has
    of probability goes to `wait`, so that this comes in its place, `waits` times at most; from then
    on the end cannot come before the shortest.

    Parameters
    ----------
    end : int
        The token that ends thinking; `mark_token` finds it.
    begin : int, optional
        The token that begins it. By default it begins where the prompt ends.
    shortest, longest : int
        Tokens of thinking without its end.
    wait : int, optional
        The token of a word such as "Wait".
    waits : int

    References
    ----------
    Muennighoff et al. (2025), arXiv 2501.19393.

    Examples
    --------
    >>> processor = BudgetForcing(end=2, longest=1).processor()
    >>> scores = torch.zeros(1, 3)
    >>> processor(torch.tensor([[0]]), scores).exp().tolist()
    [[1.0, 1.0, 1.0]]
    >>> processor(torch.tensor([[0, 1]]), scores).exp().tolist()
    [[0.0, 0.0, 1.0]]
    """

    name: ClassVar[str] = "budget-forcing"
    paper: ClassVar[str] = "2501.19393"
    cost: ClassVar[str] = "O(V) a token"
    before_cuts: ClassVar[bool] = True

    end: int = 2
    begin: int | None = None
    shortest: int = 0
    longest: int = 1000
    wait: int | None = None
    waits: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_marks(self.end, self.begin)
        if not 0 <= self.shortest <= self.longest:
            raise UsageError(
                f"shortest is {self.shortest} and longest {self.longest}",
                mend="give 0 <= shortest <= longest",
            )
        if self.waits < 0 or (self.wait is not None and self.wait in (self.end, self.begin)):
            raise UsageError(
                f"wait is {self.wait} and waits {self.waits}",
                mend="give another token than the marks, and 0 or more",
            )

    def processor(self) -> LogitsProcessor:
        """Make one for `generate`; it remembers how long the prompt was."""
        prompt: list[int] = []

        def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            if not prompt or ids.shape[1] < prompt[0]:
                prompt[:] = [ids.shape[1]]
            return self._process(ids, scores, prompt[0])

        return _processor_class()(process)

    def _process(self, ids: torch.Tensor, scores: torch.Tensor, prompt: int) -> torch.Tensor:
        _check_scores(scores, self.end, *([] if self.wait is None else [self.wait]))
        active = thinking(ids, self.end, self.begin)
        since = _since(ids, self.begin, prompt)
        length = since.sum(dim=1)
        found = scores.clone()
        early = active & (length < self.shortest)
        found[:, self.end] = torch.where(early, -math.inf, scores[:, self.end])
        if self.wait is not None:
            said = (since & (ids == self.wait)).sum(dim=1)
            both = torch.logaddexp(scores[:, self.wait], scores[:, self.end])
            instead = early & (said < self.waits)
            found[:, self.wait] = torch.where(instead, both, found[:, self.wait])
        late = active & (length >= self.longest)
        forced = torch.full_like(scores, -math.inf)
        forced[:, self.end] = 0.0
        return torch.where(late[:, None], forced, found)


def thinking(ids: torch.Tensor, end: int, begin: int | None = None) -> torch.Tensor:
    """Say which rows are thinking: their last mark is `begin`, or they have no `end` yet.

    Returns
    -------
    torch.Tensor of bool, shape (rows,)
    """
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    ended = torch.where(ids == end, places, 0).amax(dim=1)
    if begin is None:
        return ended == 0
    return torch.where(ids == begin, places, 0).amax(dim=1) > ended


def _since(ids: torch.Tensor, begin: int | None, prompt: int) -> torch.Tensor:
    """Say which tokens are thinking: those behind the last `begin`, or behind the prompt."""
    places = torch.arange(ids.shape[1], device=ids.device)[None]
    if begin is None:
        return (places >= prompt).expand_as(ids)
    last = torch.where(ids == begin, places, -1).amax(dim=1)
    return places > last[:, None]


def stop_probability(p: float, tau: float) -> float:
    """Give the probability of the end at a temperature: p^(1/tau) / (p^(1/tau) + 1 - p).

    Examples
    --------
    >>> round(stop_probability(0.01, 1.25), 4)
    0.0247
    """
    if not 0 <= p <= 1 or not tau > 0:
        raise UsageError(f"p is {p} and tau {tau}", mend="give a probability, and tau above 0")
    power: float = p ** (1 / tau)
    return power / (power + 1 - p)


def geometric_length(p: float, longest: float = math.inf) -> float:
    """Give the mean length of thinking that ends with probability `p` after each token.

    Parameters
    ----------
    p : float
        Above 0, 1 at most.
    longest : float
        Where it is cut.

    Examples
    --------
    >>> round(geometric_length(stop_probability(0.01, 1.25)), 1)
    40.4
    """
    if not 0 < p <= 1:
        raise UsageError(f"p is {p}", mend="give a probability above 0")
    return float((1 - (1 - p) ** longest) / p)


def mark_token(tokenizer: Any, mark: str) -> int:
    """Find the token of a mark such as ``"</think>"``.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    mark : str

    Raises
    ------
    UsageError
        If the mark is several tokens, or none: one of them cannot stand for it.
    """
    ids = tokenizer.encode(mark, add_special_tokens=False)
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise UsageError(
            f"{mark!r} is {len(ids)} tokens of this model's",
            mend="give a mark that is one token, as </think> is of models that were made to think",
        )
    return int(ids[0])


def _check_marks(end: int, begin: int | None) -> None:
    if end < 0 or (begin is not None and (begin < 0 or begin == end)):
        raise UsageError(f"end is {end} and begin {begin}", mend="give two tokens, 0 or more")


def _check_scores(scores: torch.Tensor, *tokens: int) -> None:
    if max(tokens) >= scores.shape[1]:
        raise UsageError(
            f"there is no token {max(tokens)} among {scores.shape[1]}", mend="give the model's own"
        )
    if bool(scores.isnan().any()):
        raise UsageError("scores have a NaN", mend="look at what comes before")


@functools.cache
def _processor_class() -> Any:
    need("transformers", "llm", "a processor")
    from transformers import LogitsProcessor

    class StopProcessor(LogitsProcessor):  # type: ignore[misc]
        """A processor of transformers."""

        def __init__(self, process: Any) -> None:
            self.process = process

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            """Give new scores; those given stay as they are."""
            found: torch.Tensor = self.process(input_ids, scores)
            return found

    return StopProcessor
