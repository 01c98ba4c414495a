"""A model on this machine that answers: batched, with its keys and values kept from step to step.

One thread draws a token a step for every completion in flight. A prompt that many completions share
is read once. Completions that end make room for those that wait.

Cost: a step reads all weights once, so that more completions at a time cost little more until the
processor's arithmetic is used up.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from samplewise.errors import UsageError
from samplewise.models.base import LanguageModel
from samplewise.models.completion import Chunk, Completion, Enough, Finish, Model, Request, Seen

if TYPE_CHECKING:
    import torch

    from samplewise.models.cache import Keep

__all__ = ["LocalModel", "draw_tokens"]

_CANDIDATES = 256  # tokens looked at first: nearly always enough for top_p


class LocalModel(Model):
    """Complete with a language model of this machine.

    The same seed draws by the same random numbers. As sums are rounded otherwise in another batch,
    a token may still come out differently once in about a million.

    Parameters
    ----------
    lm : LanguageModel
        As `samplewise.models.load` gives it.
    batch : int
        Completions in flight; the rest wait.

    Examples
    --------
    >>> import asyncio
    >>> from samplewise.models import load
    >>> async def ask(question):
    ...     async with LocalModel(load("builtin")) as model:
    ...         return await model.complete(
    ...             [Request.ask(question, temperature=0.0, max_tokens=12)]
    ...         )
    >>> [answer] = asyncio.run(ask("What is the capital of France?"))
    >>> answer.text
    'The capital of France is Paris.'
    """

    def __init__(self, lm: LanguageModel, *, batch: int = 64) -> None:
        if batch < 1:
            raise UsageError(f"batch is {batch}", mend="give 1 or more")
        self.lm = lm
        self.name = lm.name
        self._batch = _Batch(lm, batch)
        self._waiting: list[_Draw] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    async def complete(
        self, requests: Sequence[Request], seen: Seen | None = None
    ) -> list[Completion]:
        """Complete requests in batches."""
        return await self._together(requests, _never, seen)

    async def race(self, requests: Sequence[Request], enough: Enough) -> list[Completion]:
        """Complete requests in step with each other until those that have ended are enough.

        The test is made within the step, so that no draw goes on for even one token more.
        """
        return await self._together(requests, enough)

    async def _together(
        self, requests: Sequence[Request], enough: Enough, seen: Seen | None = None
    ) -> list[Completion]:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Completion]] = [loop.create_future() for _ in requests]

        def tell(place: int) -> Callable[[Completion], None]:
            def settle(completion: Completion) -> None:
                if futures[place].done():
                    return
                futures[place].set_result(completion)
                if seen:
                    seen(place, completion)

            return lambda completion: _call(loop, settle, completion)

        together = _Together(enough)
        draws = [
            _Draw(request, self.lm, together, tell(place)) for place, request in enumerate(requests)
        ]
        self._submit(draws)
        try:
            return list(await asyncio.gather(*futures))
        finally:
            self._cancel(draws)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Complete one request token by token."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Chunk] = asyncio.Queue()
        draw = _Draw(
            request,
            self.lm,
            _Together(_never),
            lambda completion: _call(loop, pieces.put_nowait, Chunk(completion=completion)),
            lambda text: _call(loop, pieces.put_nowait, Chunk(text, tokens=1)),
        )
        self._submit([draw])
        try:
            while True:
                piece = await pieces.get()
                if piece.completion:
                    left = piece.completion.text[draw.shown :]
                    yield Chunk(left, completion=piece.completion)
                    return
                yield piece
        finally:
            self._cancel([draw])

    async def close(self) -> None:
        """End the thread; what is in flight is cancelled."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread:
            await asyncio.to_thread(self._thread.join)

    def _submit(self, draws: list[_Draw]) -> None:
        with self._changed:
            if self._closing:
                raise UsageError("the model is closed", mend="make another one")
            self._waiting += draws
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def _cancel(self, draws: list[_Draw]) -> None:
        for draw in draws:
            draw.together.over = True

    def _work(self) -> None:
        """Draw until the model is closed."""
        while True:
            with self._changed:
                while not (self._closing or self._waiting or self._batch.live):
                    self._changed.wait()
                if self._closing:
                    break
                new = self._next()
            try:
                self._batch.step(new)
            except Exception as error:  # whoever waits must hear of it
                for draw in [*new, *self._batch.clear()]:
                    draw.end("failed", f"{type(error).__name__}: {error}")
        for draw in [*self._waiting, *self._batch.clear()]:
            draw.end("cancelled")

    def _next(self) -> list[_Draw]:
        """Take the draws that can begin now; those of a race begin together, if they all fit."""
        room = self._batch.room
        new: list[_Draw] = []
        for _, same in itertools.groupby(self._waiting, key=lambda draw: id(draw.together)):
            group = list(same)
            left = room - len(new)
            races = group[0].together.enough is not _never
            if not left or (races and left < len(group) <= self._batch.size):
                break
            new += group[:left]
        self._waiting = self._waiting[len(new) :]
        return new


def _never(ended: Sequence[Completion]) -> bool:
    return False


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[Any], Any], value: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, value)


@dataclass
class _Together:
    """Draws that stop together."""

    enough: Enough
    ended: list[Completion] = field(default_factory=list)
    over: bool = False


class _Draw:
    """One completion in flight."""

    def __init__(
        self,
        request: Request,
        lm: LanguageModel,
        together: _Together,
        tell: Callable[[Completion], None],
        show: Callable[[str], None] | None = None,
    ) -> None:
        self.request = request
        self.together = together
        self.prompt = lm.turns(
            [{"role": turn.role, "content": turn.content} for turn in request.messages]
        )
        self.drawn: list[int] = []
        self.log_probabilities: list[float] = []
        self.random = np.random.default_rng(request.seed)
        self.shown = 0
        self.ended = False
        self._lm = lm
        self._tell = tell
        self._show = show
        self._begun = time.perf_counter()
        limit = lm.positions or 2**31
        self.most = min(request.max_tokens or limit, limit - len(self.prompt))

    @property
    def text(self) -> str:
        """What was drawn so far."""
        shown: str = self._lm.tokenizer.decode(self.drawn, skip_special_tokens=True)
        return shown

    def take(self, token: int, log_probability: float) -> None:
        """Add a token, and end where it is the last."""
        self.drawn.append(token)
        self.log_probabilities.append(log_probability)
        if token in self._lm.ends:
            self.end("stop")
            return
        if self.request.stop or self._show:
            text = self.text
            if any(stop in text for stop in self.request.stop):
                self.end("stop")
                return
            self._reveal(text)
        if len(self.drawn) >= self.most:
            self.end("length")

    def _reveal(self, text: str) -> None:
        """Show what no later token can change: half a character, or half a stop text, waits."""
        if not self._show:
            return
        held = max((len(stop) - 1 for stop in self.request.stop), default=0)
        safe = len(text) - held if not text.endswith("\ufffd") else self.shown
        self._show(text[self.shown : safe] if safe > self.shown else "")
        self.shown = max(self.shown, safe)

    def end(self, finish: Finish, error: str = "", status: int = 0) -> None:
        """Say that it has ended, once."""
        if self.ended:
            return
        self.ended = True
        text = self.text
        cuts = [text.find(stop) for stop in self.request.stop if stop in text]
        completion = Completion(
            text[: min(cuts)] if cuts else text,
            finish,
            prompt_tokens=len(self.prompt),
            tokens=len(self.drawn),
            log_probabilities=tuple(self.log_probabilities)
            if self.request.log_probabilities
            else None,
            error=error,
            seconds=time.perf_counter() - self._begun,
            status=status,
            token_texts=tuple(self._lm.tokenizer.decode([token]) for token in self.drawn)
            if self.request.log_probabilities
            else None,
        )
        if finish != "cancelled":
            self.together.ended.append(completion)
        self._tell(completion)


class _Batch:
    """The draws in flight, a row each, with their keys and values, which all end at one place."""

    def __init__(self, lm: LanguageModel, size: int) -> None:
        self.lm = lm
        self.size = size
        self.draws: list[_Draw] = []
        self.caches: list[Keep] = []
        self.lengths: list[int] = []

    @property
    def live(self) -> int:
        """Draws that have not ended."""
        return sum(not draw.ended for draw in self.draws)

    @property
    def room(self) -> int:
        """Draws that could begin now: none until a quarter is free, as making room costs a copy."""
        free = self.size - self.live
        return free if 4 * free >= self.size else 0

    def clear(self) -> list[_Draw]:
        """Forget all draws, and give those that had not ended."""
        left = [draw for draw in self.draws if not draw.ended]
        self.draws, self.caches, self.lengths = [], [], []
        return left

    def step(self, new: list[_Draw]) -> None:
        """Draw one token for every draw, old and new."""
        import torch

        with torch.inference_mode():
            self._drop(bool(new))
            if self.draws:
                self._advance()
            if new:
                self._admit(new)
            self._settle()

    def _settle(self) -> None:
        """End the draws whose race is decided, or whose asker has gone."""
        for together in {id(draw.together): draw.together for draw in self.draws}.values():
            together.over = together.over or (
                bool(together.ended) and together.enough(together.ended)
            )
        for draw in self.draws:
            if draw.together.over:
                draw.end("cancelled")

    def _drop(self, now: bool) -> None:
        """Let go of the rows that have ended, once they are many."""
        keep = [row for row, draw in enumerate(self.draws) if not draw.ended]
        gone = len(self.draws) - len(keep)
        if not gone or not (now or 4 * gone >= len(self.draws)):
            return
        self.draws = [self.draws[row] for row in keep]
        self.lengths = [self.lengths[row] for row in keep]
        if not keep:
            self.caches = []
            return
        unused = self.caches[0].length - max(self.lengths)
        for cache in self.caches:
            cache.keep_rows(keep, unused)

    def _admit(self, new: list[_Draw]) -> None:
        """Read the prompts of new draws, each different one once, and draw their first tokens."""
        for _, same in itertools.groupby(sorted(new, key=_by_prompt), key=_by_prompt):
            group = [draw for draw in same if not self._refused(draw)]
            if not group:
                continue
            caches, logits = self._read(group[0].prompt)
            if self.caches:
                for old, fresh in zip(self.caches, caches, strict=True):
                    old.append(fresh, len(group))
            else:
                for cache in caches:
                    cache.repeat(len(group))
                self.caches = caches
            self.draws += group
            self.lengths += [len(group[0].prompt)] * len(group)
            self._take(logits.expand(len(group), -1), group)

    def _refused(self, draw: _Draw) -> bool:
        if draw.most < 1:
            text = f"the prompt has {len(draw.prompt)} tokens, more than it can read"
            draw.end("failed", text, 400)
        return draw.ended or draw.together.over

    def _read(self, prompt: list[int]) -> tuple[list[Keep], torch.Tensor]:
        import torch

        from samplewise.models.cache import Keep

        caches = [Keep() for _ in range(self.lm.model.config.num_hidden_layers)]
        ids = torch.tensor([prompt], device=self.lm.device)
        return caches, self._logits(ids, caches)

    def _advance(self) -> None:
        """Read each draw's last token, and draw its next."""
        import torch

        device = self.lm.device
        # A row that has ended goes along until rows are dropped; what it gives is not taken.
        ids = torch.tensor([[draw.drawn[-1]] for draw in self.draws], device=device)
        lengths = torch.tensor(self.lengths, device=device)
        length = self.caches[0].length
        mask = None
        if min(self.lengths) < length:
            places = torch.arange(length + 1, device=device)
            mask = (places >= (length - lengths)[:, None]).long()
        logits = self._logits(ids, self.caches, mask, lengths[:, None])
        self.lengths = [length + 1 for length in self.lengths]
        self._take(logits, self.draws)

    def _logits(self, ids: Any, caches: list[Keep], mask: Any = None, places: Any = None) -> Any:
        from samplewise.models.cache import run

        logits = run(
            self.lm.model,
            caches,
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            logits_to_keep=1,
        )
        return logits[:, -1].float()

    def _take(self, logits: Any, draws: list[_Draw]) -> None:
        uniform = [0.0 if draw.ended else draw.random.random() for draw in draws]
        tokens, chances = draw_tokens(
            logits,
            [draw.request.temperature for draw in draws],
            [draw.request.top_p for draw in draws],
            uniform,
            [draw.request.min_p for draw in draws],
        )
        for draw, token, chance in zip(draws, tokens, chances, strict=True):
            if not draw.ended:
                draw.take(token, chance)


def _by_prompt(draw: _Draw) -> list[int]:
    return draw.prompt


def draw_tokens(
    logits: torch.Tensor,
    temperatures: Sequence[float],
    top_ps: Sequence[float],
    uniforms: Sequence[float],
    min_ps: Sequence[float] | None = None,
) -> tuple[list[int], list[float]]:
    """Draw one token a row, by a uniform random number each.

    The likeliest tokens that together reach `top_p` are lined up from the likeliest on, and the
    number says where in that line the token is.

    Parameters
    ----------
    logits : torch.Tensor, shape (rows, vocabulary), float32
    temperatures, top_ps, uniforms : sequence of float, one a row
        Temperature 0 takes the likeliest.
    min_ps : sequence of float, one a row, optional
        Of the tokens that `top_p` leaves, those below this share of the likeliest one's probability
        are left out too.

    Returns
    -------
    tokens : list of int
    log_probabilities : list of float
        Of these tokens at temperature 1 among all tokens, in nats.
    """
    import torch

    device = logits.device
    heat = torch.tensor(temperatures, device=device)[:, None]
    wanted = torch.tensor(top_ps, device=device)[:, None]
    point = torch.tensor(uniforms, device=device)[:, None]
    warm = logits / heat.clamp_min(1e-4)
    total = warm.logsumexp(dim=-1, keepdim=True)
    top, ids = warm.topk(min(_CANDIDATES, logits.shape[1]), dim=-1)
    if bool(((top - total).exp().sum(-1, keepdim=True) < wanted).any()):
        top, ids = warm.sort(dim=-1, descending=True)
    chances = (top - total).exp()
    before = chances.cumsum(-1) - chances
    chances = chances * ((before < wanted) & ((heat > 0) | (before == 0)))
    if min_ps is not None:
        least = torch.tensor(min_ps, device=device)[:, None]
        chances = chances * (chances >= least * chances[:, :1])
    line = chances.cumsum(-1)
    place = (line < point * line[:, -1:]).sum(-1, keepdim=True).clamp_max(ids.shape[1] - 1)
    tokens = ids.gather(1, place)
    known = logits.log_softmax(dim=-1).gather(1, tokens)
    return tokens[:, 0].tolist(), known[:, 0].tolist()
