"""From the model's name in a request to a strategy and a model: ``[STRATEGY[-COUNT]/]MODEL``."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from samplewise import registry
from samplewise.answer.base import Strategy
from samplewise.answer.single import Single
from samplewise.errors import UsageError
from samplewise.serve.errors import ApiError
from samplewise.verify.base import Verifier

__all__ = ["Route", "Router", "count_knob"]

_SHORT: dict[str, tuple[str, dict[str, Any]]] = {
    "best-of": ("repeated", {"selector": "best-of-n"}),
}
"""Names of a strategy with some of its knobs set."""


class Route(NamedTuple):
    """How a request is answered."""

    name: str
    """The strategy's own name."""
    strategy: Strategy | None
    """None where the request is passed on as it is."""
    samples: int
    """Completions of one answer, as far as the strategy has a knob for that."""
    model: str
    """What the upstream calls the model."""


class Router:
    """Finds strategies by name in the registry.

    Parameters
    ----------
    model : str
        What the upstream calls its model.
    verifier : Verifier
        What strategies may ask.
    others : bool
        Whether the upstream may have other models, whose names are passed on.
    samples : int
        The most completions of one answer that a name may ask for.
    """

    def __init__(self, model: str, verifier: Verifier, *, others: bool, samples: int) -> None:
        self.model = model
        self.others = others
        self.samples = samples
        self._verifier = verifier
        known = registry.methods("answer")
        registered = {name for cls in known for name in (cls.name, *cls.aliases)}
        self._short = {name: full for name, full in _SHORT.items() if name not in registered}
        self._listed = sorted({cls.name for cls in known} | set(self._short))
        self._names = registered | set(self._short)
        self._made = functools.lru_cache(maxsize=256)(self._make)

    def route(self, name: str) -> Route:
        """Find what a name asks for.

        Raises
        ------
        ApiError
            404 if there is no such strategy or model; 400 if its count makes no sense, or it asks a
            verifier that needs to know the right answer.
        """
        if name == self.model:
            return Route("single", None, 1, name)
        first, slash, rest = name.partition("/")
        known = self._known(first) if slash and rest else None
        if known is None:
            if not self.others or rest == self.model:
                raise _missing(name)
            return Route("single", None, 1, name)  # such as Qwen/Qwen2.5-7B
        if rest != self.model and not self.others:
            raise _missing(name)
        strategy, samples = self._made(*known)
        return Route(strategy.name, None if type(strategy) is Single else strategy, samples, rest)

    def names(self) -> Iterator[str]:
        """List what can be asked for with the knobs' defaults."""
        yield self.model
        for name in self._listed:
            try:
                self._made(name, None)
            except ApiError:
                continue
            yield f"{name}/{self.model}"

    def _known(self, text: str) -> tuple[str, int | None] | None:
        """Read a strategy's name, with a count or not; None where there is no such strategy."""
        if text in self._names:
            return text, None
        found = re.fullmatch(r"(.+)-(\d{1,9})", text, re.ASCII)
        return (found[1], int(found[2])) if found and found[1] in self._names else None

    def _make(self, name: str, count: int | None) -> tuple[Strategy, int]:
        full, settings = self._short.get(name, (name, {}))
        cls = registry.find(full, "answer")
        knob = count_knob(cls)
        if count is not None and knob is None:
            raise _missing(f"{name}-{count}", f"{name} takes no count")
        if count is not None and count > self.samples:
            raise ApiError(
                400, f"{name}-{count}: at most {self.samples} samples an answer", param="model"
            )
        try:
            given = {} if knob is None or count is None else {knob: count}
            strategy = registry.configure(cls, settings | given)
        except UsageError as error:
            raise ApiError(400, f"{name}: {error.message}", param="model") from None
        assert isinstance(strategy, Strategy)
        if strategy.asks_verifier() and self._verifier.needs:
            raise ApiError(
                400,
                f"{name} asks a verifier, and verifier {self._verifier.name} must know the "
                f"problem's {' and '.join(self._verifier.needs)}, which a request does not tell",
                code="verifier_needs_gold",
                param="model",
            )
        return strategy, (getattr(strategy, knob) or 1) if knob else 1


def count_knob(cls: type[registry.Method]) -> str | None:
    """Find the knob that a count in a name sets: samples, attempts, or the first like them.

    Examples
    --------
    >>> count_knob(registry.find("first-finish", "answer"))
    'samples'
    >>> count_knob(registry.find("single", "answer")) is None
    True
    """
    kinds = registry.knobs(cls).items()
    whole = [knob for knob, kind in kinds if kind is int or int in typing.get_args(kind)]
    counts = [knob for knob in whole if "tokens" not in knob]
    return next((knob for knob in ("samples", "attempts") if knob in counts), None) or next(
        iter(counts), None
    )


def _missing(name: str, why: str = "") -> ApiError:
    message = f"there is no model {name!r}" + (f": {why}" if why else "")
    return ApiError(404, message, code="model_not_found", param="model")
