"""Text of a wanted surprise: one number in place of top-k, top-p and their tuning.

At every step only tokens up to some surprise stay, and the limit `mu` moves against the error: down
after a token more surprising than wanted, up after one that was less. The mean surprise of a long
text then is `tau` bits a token, wherever the model can supply it. Use it for long open-ended text,
where a fixed top-k or top-p lets the surprise drift: down into repetition, or up into incoherence.
A short answer with one right wording has no use for it.

``mirostat-v2`` compares each token's surprise with `mu`; ``mirostat`` fits Zipf's law to the
likeliest tokens, and keeps those up to the rank whose surprise would be `mu`.

Surprise is measured on the scores as they come in: temperature and penalties go before it, and
nothing that cuts the tail goes before or after it. `samplewise.decode.samplers.make_processors`
sees to that order; where `generate` makes samplers of its own, tell it not to, as `PLAIN` there
does: transformers cuts to 50 tokens unless told otherwise.

Cost: O(V) a token for V tokens in the vocabulary; O(V log k) in the first version, where k stay.
Source: arXiv 2007.14966, and the script and notebook its authors published; the second version is
the one that llama.cpp made popular.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplewise.decode.base import Sampler
from samplewise.errors import UsageError
from samplewise.extras import need
from samplewise.measure.surprise import fit_exponents, log_cutoffs
from samplewise.rng import RandomState, generator

if TYPE_CHECKING:
    import torch
    from transformers import LogitsProcessor

__all__ = ["Drawn", "Law", "Mirostat", "MirostatV2", "State", "SurpriseControl", "Trace"]

Floats: TypeAlias = NDArray[np.float64]

_LN2 = math.log(2)
_ALL = 16  # bits: tokens that are less likely than 2^-16 together do not count


class State(NamedTuple):
    """What is carried from token to token.

    Attributes
    ----------
    mu : float, or array of shape (rows,)
        The surprise up to which tokens stay, in bits.
    """

    mu: Any


class Law(NamedTuple):
    """What may come next, for each row.

    Attributes
    ----------
    logs : array, shape (rows, V)
        Natural logarithms of the probabilities before any token was cut.
    keep : array of bool, shape (rows, V)
    """

    logs: Any
    keep: Any


class Drawn(NamedTuple):
    """What is known of a token once it was drawn; scalars, or arrays of shape (rows,).

    Attributes
    ----------
    surprise : float
        In the law before any token was cut, in bits.
    error : float
        The surprise that is steered, less the target.
    kept : int
        Tokens it was drawn from.
    mu : float
        The limit it was drawn under.
    saturated : bool
        Whether `mu` was at `mu_max`, or so high that all it cuts has less than 2^-16 of the
        probability together (log2 V + 16 bits): nearly all may come, and it still is too little
        surprise. Where most tokens are so, the model cannot supply the target.
    """

    surprise: Any
    error: Any
    kept: Any
    mu: Any
    saturated: Any


class Trace(NamedTuple):
    """What happened to one row: arrays with a place for every token, as `Drawn` has them.

    `surprise` and `error` are NaN for a token that was not kept and so not drawn here, such as the
    padding after a row's end; it leaves `mu` as it is.
    """

    surprise: Floats
    error: Floats
    kept: NDArray[np.int64]
    mu: Floats
    saturated: NDArray[np.bool_]

    def rate(self) -> float:
        """Give the observed cross-entropy rate: the mean surprise, in bits a token."""
        return float(np.nanmean(self.surprise))


@dataclass(frozen=True)
class SurpriseControl(Sampler):
    """Base of both versions: a loop that holds the mean surprise at a target.

    `start` and `step` are pure, and work on NumPy arrays without torch; `processor` does the same
    within transformers' `generate`, or in any loop that calls processors.

    Parameters
    ----------
    tau : float
        Target, in bits a token; above 0. A low one may not be reached: the likeliest token alone
        can be more surprising.
    eta : float
        How far an error of one bit moves `mu`; above 0. At 1 the loop reacts within tokens; at 0.1
        it is calmer, and needs a few hundred tokens to settle.
    mu0 : float, optional
        Where `mu` starts; by default twice `tau`.
    mu_max : float, optional
        Where `mu` stops rising, not below `mu0`; by default nowhere, as the paper has it: what a
        stretch without surprises lacked is then made up for by what comes after it. With a limit
        the loop soon cuts again once the model has surprises to give, and the mean stays below the
        target. A rule of this library.
    surprise : {'model', 'truncated'}
        Which surprise is steered: in the law before any token was cut, as the paper has it, or in
        what is left of it, as llama.cpp has it, where the text's own rate comes out higher.
    """

    tau: float = 3.0
    eta: float = 1.0
    mu0: float | None = None
    mu_max: float | None = None
    surprise: Literal["model", "truncated"] = "model"

    paper: ClassVar[str] = "2007.14966"

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("tau", "eta"):
            value = getattr(self, knob)
            if not 0 < value < math.inf:
                raise UsageError(f"knob {knob!r} is {value}", mend="give a number above 0")
        if self.mu0 is not None and not math.isfinite(self.mu0):
            raise UsageError(f"knob 'mu0' is {self.mu0}", mend="give a finite number, or none")
        if self.mu_max is not None and self.mu_max < self._mu0:
            raise UsageError(
                f"knob 'mu_max' is {self.mu_max}, below mu0 = {self._mu0}", mend="give mu0 or more"
            )

    @property
    def _mu0(self) -> float:
        return 2 * self.tau if self.mu0 is None else self.mu0

    def start(self, rows: int | None = None) -> State:
        """Make the state before the first token: a number, or an array for rows of a batch."""
        return State(self._mu0 if rows is None else np.full(rows, self._mu0))

    def step(
        self, logits: ArrayLike, state: State, rng: RandomState = None
    ) -> tuple[int | NDArray[np.int64], State, Drawn]:
        """Draw the next token of one row, or of each row of a batch.

        Parameters
        ----------
        logits : array_like, shape (V,) or (rows, V)
            After temperature and penalties; -inf for what must not come. They need not be
            normalised.
        state : State
            As `start` or the last step gave it; it is not changed.
        rng : int, numpy.random.Generator or None

        Returns
        -------
        token : int, or ndarray of int64, shape (rows,)
        state : State
        drawn : Drawn

        Raises
        ------
        UsageError
            If the logits are no laws, or the state is of another number of rows.
        """
        table, mu = _as_table(logits), np.asarray(state.mu, np.float64)
        if mu.shape != np.shape(logits)[:-1]:
            raise UsageError(
                f"logits of shape {np.shape(logits)}, and a state of shape {mu.shape}",
                mend="make one with start(rows), or start() for a single row",
            )
        law = self.law(table, mu.reshape(-1), np)
        weights = np.where(law.keep, np.exp(law.logs), 0.0).cumsum(axis=1)
        # Above 0, and at most the sum: the token it falls on has a probability above 0.
        points = weights[:, -1] * (1 - generator(rng).random(len(table)))
        tokens = (weights < points[:, None]).sum(axis=1)
        drawn, after = self.settle(law, tokens, mu.reshape(-1), np)
        if mu.ndim:
            return tokens, State(after), drawn
        single = Drawn(*(values.item() for values in drawn))
        return int(tokens[0]), State(float(after[0])), single

    def processor(self) -> LogitsProcessor:
        """Make one for `generate(do_sample=True, logits_processor=[...])`.

        It learns from the ids which token was drawn last, gives every row a `mu` of its own, and
        keeps a trace, which its method ``trace()`` gives. A row starts anew whenever its ids are
        not those of the call before and one more: so one object can be used again, but not by a
        loop that tries tokens and takes them back, such as transformers' assisted generation, and
        not for several texts in turn.

        Raises
        ------
        UsageError
            If transformers is not installed; when called, if rows change places, as beams do.
        """
        made: LogitsProcessor = _processor_class()(self)
        return made

    def law(self, logits: Any, mu: Any, xp: Any) -> Law:
        """Say which tokens stay.

        Parameters
        ----------
        logits : array of float32 or float64, shape (rows, V)
        mu : array, shape (rows,)
        xp : module
            NumPy or torch: whose arrays they are.

        Returns
        -------
        Law
        """
        logs = _log_softmax(logits, xp)
        return Law(logs, self.keep(logs, mu, xp))

    @abstractmethod
    def keep(self, logs: Any, mu: Any, xp: Any) -> Any:
        """Say which tokens stay, from their log-probabilities; at least one of each row."""

    def settle(self, law: Law, tokens: Any, mu: Any, xp: Any) -> tuple[Drawn, Any]:
        """Say what is known of tokens that were drawn, and give the `mu` for the next ones.

        Parameters
        ----------
        law : Law
        tokens : array of int64, shape (rows,)
        mu : array, shape (rows,)
            What `law` was made with.
        xp : module

        Returns
        -------
        drawn : Drawn
        mu : array, shape (rows,)
        """
        was_kept = _take(law.keep, tokens, xp)
        surprise = -_take(law.logs, tokens, xp) / _LN2
        error = surprise - self.tau
        if self.surprise == "truncated":
            share = xp.where(law.keep, xp.exp(law.logs), 0.0).sum(-1)
            error = error + xp.log2(share)
        surprise, error = (xp.where(was_kept, one, math.nan) for one in (surprise, error))
        cap = math.inf if self.mu_max is None else self.mu_max
        after = xp.where(was_kept, mu - self.eta * error, mu).clip(max=cap)
        nearly_all = min(cap, math.log2(law.logs.shape[-1]) + _ALL)
        return Drawn(surprise, error, law.keep.sum(-1), mu, mu >= nearly_all), after


@dataclass(frozen=True)
class Mirostat(SurpriseControl):
    """Hold the mean surprise at a target, by a top-k whose k follows from Zipf's law.

    The exponent is fitted anew for every token. The vocabulary's size is that of the logits, where
    the published script has 50,000.

    Parameters
    ----------
    tau, eta, mu0, mu_max, surprise
        As `SurpriseControl` has them; the published script starts with tau 3, eta 1.
    candidates : int
        Tokens that the exponent is fitted to (the paper's m), 2 or more. The published notebook
        takes 100, the script 101.
    rounding : {'script', 'floor'}
        How the rank becomes a number of tokens: rounded and one more, as the published script does,
        or its whole part, at least 1, as llama.cpp does.

    References
    ----------
    arXiv 2007.14966

    Examples
    --------
    >>> import numpy as np
    >>> method, rng = Mirostat(tau=3.0), np.random.default_rng(0)
    >>> logits = -1.2 * np.log(np.arange(1, 50_001))  # Zipf's law
    >>> state, found = method.start(), []
    >>> for _ in range(500):
    ...     token, state, drawn = method.step(logits, state, rng)
    ...     found.append(drawn.surprise)
    >>> round(float(np.mean(found)), 1)
    3.0
    """

    candidates: int = 100
    rounding: Literal["script", "floor"] = "script"

    name: ClassVar[str] = "mirostat"
    aliases: ClassVar[tuple[str, ...]] = ("mirostat-v1",)
    cost: ClassVar[str] = "O(V log k) a token, V tokens in the vocabulary, k kept"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates < 2:
            raise UsageError(f"knob 'candidates' is {self.candidates}", mend="give 2 or more")

    def keep(self, logs: Any, mu: Any, xp: Any) -> Any:
        """Keep the likeliest tokens, up to the rank whose surprise under Zipf's law is `mu`."""
        vocabulary = logs.shape[-1]
        head, places = _largest(logs, min(self.candidates, vocabulary), xp)
        rank = xp.exp(log_cutoffs(fit_exponents(head, xp), mu, vocabulary, xp))
        rank = xp.round(rank) + 1 if self.rounding == "script" else xp.floor(rank)
        rank = rank.clip(1, vocabulary)
        # The one number that is needed off the device: no token beyond it has to be sorted.
        all_stay = rank >= vocabulary
        most = int(xp.where(all_stay, 1, rank).max())
        if most > places.shape[1]:
            _, places = _largest(logs, most, xp)
        stays = xp.arange(most, **({} if xp is np else {"device": logs.device})) < rank[:, None]
        keep = _put(xp.zeros_like(logs, dtype=bool), places[:, :most], stays, xp)
        return (keep | all_stay[:, None]) & (logs > -math.inf)


@dataclass(frozen=True)
class MirostatV2(SurpriseControl):
    """Hold the mean surprise at a target, by a limit on each token's own surprise.

    No law of the ranks is assumed. The likeliest token always stays.

    Parameters
    ----------
    tau, eta, mu0, mu_max, surprise
        As `SurpriseControl` has them. llama.cpp has other defaults (said to be tau 5, eta 0.1; not
        confirmed here), and steers the surprise in what is left, ``surprise="truncated"``.

    References
    ----------
    arXiv 2007.14966, which has the first version; the second is in its authors' notebook, on the
    1,000 likeliest tokens, and in llama.cpp.

    Examples
    --------
    >>> import numpy as np
    >>> method = MirostatV2(tau=1.0)
    >>> token, state, drawn = method.step(np.log([0.8, 0.2]), method.start(), rng=0)
    >>> token, drawn.kept, round(state.mu, 2)  # 0.2 has 2.32 bits, above mu = 2
    (0, 1, 2.68)
    """

    name: ClassVar[str] = "mirostat-v2"
    cost: ClassVar[str] = "O(V) a token, V tokens in the vocabulary"

    def keep(self, logs: Any, mu: Any, xp: Any) -> Any:
        """Keep the tokens whose surprise is at most `mu`, and the likeliest one."""
        best = logs.argmax(-1)[:, None]
        return _put(logs >= -_LN2 * mu[:, None], best, xp.ones_like(best, dtype=bool), xp)


class _Follower:
    """What a processor does: see which token came, and mask the tokens that must not come next."""

    def __init__(self, method: SurpriseControl) -> None:
        self.method = method
        self.reset()

    def reset(self) -> None:
        """Forget the last generation; the next call starts anew, whatever its ids are."""
        self._ids: torch.Tensor | None = None
        self._law: Law | None = None
        self._mu: Any = None
        self._steps: list[Drawn] = []
        self._begins: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask with -inf.

        Parameters
        ----------
        input_ids : torch.Tensor of int64, shape (rows, n)
        scores : torch.Tensor, shape (rows, V)
            Floating point of any width. Not changed.

        Returns
        -------
        torch.Tensor, shape (rows, V)
            Of the same type.

        Raises
        ------
        UsageError
            If rows have changed places since the last call, as beams do.
        """
        import torch

        logits = scores.detach()
        logits = logits if logits.dtype == torch.float64 else logits.float()
        self._follow(input_ids, logits, torch)
        self._law = self.method.law(logits, self._mu, torch)
        self._ids = input_ids.clone()
        return torch.where(self._law.keep, scores, -math.inf)

    def trace(self, sequences: torch.Tensor | None = None) -> list[Trace]:
        """Say what happened since the last start of each row.

        Parameters
        ----------
        sequences : torch.Tensor of int64, shape (rows, n + 1), optional
            What `generate` returned. No call has seen the last token yet, and without it the trace
            ends one token earlier.

        Returns
        -------
        list of Trace
            One a row.

        Raises
        ------
        UsageError
            If `sequences` does not continue the ids of the last call by one token.
        """
        if self._ids is None or self._law is None:
            return []
        steps = list(self._steps)
        if sequences is not None:
            if not (
                sequences.shape == (len(self._ids), self._ids.shape[1] + 1)
                and bool((sequences[:, :-1] == self._ids).all())
            ):
                raise UsageError(
                    "sequences are not the ids of the last call and one token more",
                    mend="give what generate returned, or nothing",
                )
            steps.append(self._settle(sequences)[0])
        columns = [
            np.array([value.cpu().numpy() for value in values]).reshape(-1, len(self._ids))
            for values in (zip(*steps, strict=True) if steps else [[]] * len(Drawn._fields))
        ]
        begins = np.array([step.cpu().numpy() for step in self._begins])
        # The last of the places where each row began.
        first = len(begins) - 1 - begins[::-1].argmax(axis=0)
        return [
            Trace(
                surprise[start:].astype(np.float64),
                error[start:].astype(np.float64),
                kept[start:].astype(np.int64),
                mu[start:].astype(np.float64),
                saturated[start:].astype(bool),
            )
            for start, surprise, error, kept, mu, saturated in zip(
                first, *(column.T for column in columns), strict=True
            )
        ]

    def _follow(self, input_ids: torch.Tensor, logits: torch.Tensor, torch: Any) -> None:
        """Bring `mu` up to the ids: by the token that each row was given, or back to its start."""
        rows, length = input_ids.shape
        like = {"dtype": logits.dtype, "device": logits.device}
        begin = torch.full((rows,), self.method.start().mu, **like)
        if (
            self._ids is None
            or self._law is None
            or (rows, length - 1) != self._ids.shape
            or logits.shape != self._law.logs.shape
        ):
            self.reset()
            self._mu = begin
            self._begins = [torch.ones_like(begin, dtype=torch.bool)]
            return
        goes_on = (input_ids[:, :-1] == self._ids).all(dim=1)
        # A single row is followed without waiting for the device.
        if rows > 1 and not goes_on.all():
            self._refuse_beams(input_ids, goes_on)
        drawn, after = self._settle(input_ids)
        self._steps.append(drawn)
        self._begins.append(~goes_on)
        self._mu = torch.where(goes_on, after.to(begin.dtype), begin)

    def _settle(self, input_ids: torch.Tensor) -> tuple[Drawn, Any]:
        import torch

        assert self._law is not None
        return self.method.settle(self._law, input_ids[:, -1], self._mu, torch)

    def _refuse_beams(self, input_ids: torch.Tensor, goes_on: torch.Tensor) -> None:
        assert self._ids is not None
        for row in input_ids[~goes_on, :-1]:
            if bool((row == self._ids).all(dim=1).any()):
                raise UsageError(
                    f"{self.method.name}: a row continues what was another row's text, as beams do",
                    mend="sample instead: do_sample=True, num_beams=1",
                )


@functools.cache
def _processor_class() -> Any:
    need("transformers", "llm", "a processor")
    from transformers import LogitsProcessor

    class MirostatProcessor(_Follower, LogitsProcessor):  # type: ignore[misc]
        """A processor of transformers."""

        supports_continuous_batching = False  # it gives the rows other texts from call to call

    return MirostatProcessor


# --- what NumPy and torch spell differently -------------------------------------------------------


def _log_softmax(logits: Any, xp: Any) -> Any:
    if xp is np:
        shifted = logits - logits.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return xp.log_softmax(logits, dim=-1)


def _largest(table: Any, count: int, xp: Any) -> tuple[Any, Any]:
    """Give the largest values of each row in falling order, and their places."""
    if xp is not np:
        return tuple(table.topk(count, dim=-1))
    some = np.argpartition(-table, min(count, table.shape[1] - 1), axis=1)[:, :count]
    values = np.take_along_axis(table, some, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(some, order, axis=1)


def _take(table: Any, places: Any, xp: Any) -> Any:
    """Give one value of each row."""
    if xp is np:
        return np.take_along_axis(table, places[:, None], axis=1)[:, 0]
    return table.gather(1, places[:, None])[:, 0]


def _put(table: Any, places: Any, values: Any, xp: Any) -> Any:
    """Write values at places of each row, in place."""
    if xp is np:
        np.put_along_axis(table, places, values, axis=1)
        return table
    return table.scatter_(1, places, values)


def _as_table(logits: ArrayLike) -> Floats:
    """Read logits as laws, one a row."""
    table = np.asarray(logits, np.float64)
    if table.ndim not in (1, 2) or not table.size:
        raise UsageError(f"logits have the shape {table.shape}", mend="give (V,) or (rows, V)")
    table = table.reshape(-1, table.shape[-1])
    if np.isnan(table).any() or not np.isfinite(table.max(axis=1)).all():
        raise UsageError(
            "logits have a NaN, +inf, or a row without any token",
            mend="give finite numbers, and -inf only for what must not come",
        )
    return table
