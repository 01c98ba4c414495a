"""Strategies as solvers of Inspect, the evaluation framework, and its models as models here.

`answer_with` runs any strategy inside an Inspect evaluation, on the model that is evaluated: a
task, its samples, its scorer and its log stay what they are. `InspectModel` is a model of any
provider that Inspect knows, for `sw.answer` and the like.

Cost: that of the strategy.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias

from samplewise.answer.base import Judge, Kept, Strategy, find_strategy, run_strategy
from samplewise.answer.draws import Draws, Meter, Sampling
from samplewise.errors import SamplewiseError, UsageError
from samplewise.extras import need
from samplewise.models.chat import estimate, prompt_estimate
from samplewise.models.completion import Chunk, Completion, Enough, Finish, Model, Request, Seen
from samplewise.problems import Message, Problem
from samplewise.verify import make_verifier
from samplewise.verify.base import Verifier
from samplewise.verify.patterns import Choice

inspect_model = need("inspect_ai.model", "inspect", "a solver of Inspect")
inspect_solver = need("inspect_ai.solver", "inspect", "a solver of Inspect")
inspect_util = need("inspect_ai.util", "inspect", "a solver of Inspect")
anyio = need("anyio", "inspect", "a solver of Inspect")

__all__ = ["InspectModel", "answer_with"]

Told: TypeAlias = Callable[[Completion, Any], None]
"""Told of each completion, and of the output of Inspect that it was read from."""

_CHOICES = "{question}\n\n{choices}\n\nEnd with 'Answer: LETTER', where LETTER is one of {letters}."
_FINISHES: dict[str, Finish] = {
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "filtered",
}
_ENDS_SAMPLE = (
    inspect_util.LimitExceededError,
    getattr(inspect_model, "ModelRefusalError", inspect_util.LimitExceededError),  # not in all
)
"""What Inspect ends a sample by; every other error is that of one draw."""


class _Left(float):
    """A setting that is left to the evaluation; one that a strategy chooses is a plain number."""


@inspect_solver.solver  # type: ignore[untyped-decorator]
def answer_with(
    strategy: str | Strategy = "repeated",
    verifier: str | Verifier = "math",
    *,
    limit: int | None = None,
    rng: int = 0,
    **knobs: Any,
) -> Any:
    """Answer the samples of an Inspect task by a strategy.

    The strategy is asked the messages that the sample has by then, so that solvers before it, such
    as `system_message`, count. Temperature, top-p and the most tokens are those of the evaluation,
    where the strategy does not set its own. What it keeps becomes the sample's output; where it
    abstains, the output is empty. What it drew is told in the sample's metadata, under
    ``"samplewise"``.

    Parameters
    ----------
    strategy : str or Strategy
        The strategy, or its name.
    verifier : str or Verifier
        What finds the answer in a text, and says whether it is right to strategies that ask for
        that. They are told by the sample's target, so that their score is no fair one where nothing
        would know the target in use. All others see no target. ``"judge"`` asks the model of the
        role ``grader``.
    limit : int, optional
        Tokens that may be drawn for each sample.
    rng : int
        Every draw of every sample and epoch has its own seed; the same number gives the same seeds.
    **knobs
        Knobs of the strategy.

    Returns
    -------
    inspect_ai.solver.Solver

    Raises
    ------
    UsageError
        If there is no such strategy, knob or verifier. While a sample is solved: if it has tools,
        or messages that are not text.
    InputError
        While a sample is solved: if the strategy asks a verifier that needs one target, or choices,
        and the sample has none.
    SamplewiseError
        While a sample is solved: if every draw failed.

    Examples
    --------
    >>> from inspect_ai import Task
    >>> from inspect_ai.dataset import Sample
    >>> from inspect_ai.scorer import includes
    >>> samples = [Sample("What is 2 + 3?", target="5")]
    >>> task = Task(samples, solver=answer_with("repeated", samples=4), scorer=includes())
    >>> answer_with("repeated", sample=4)
    Traceback (most recent call last):
    samplewise.errors.UsageError: repeated has no knob 'sample'
      mend: one of samples, selector
    """
    chosen = find_strategy(strategy, knobs)
    shared = _Shared(verifier)

    async def solve(state: Any, generate: Any) -> Any:
        async with shared.verifier() as one:
            return await _solve(state, chosen, one, limit, rng)

    return solve


class InspectModel(Model):
    """A model of Inspect's: that of a provider, or the one that is being evaluated.

    Retries, caching, limits and the log are Inspect's.

    Parameters
    ----------
    model : str or inspect_ai.model.Model, optional
        Such as ``"openai/gpt-4o-mini"``; by default the one that is being evaluated.
    role : str, optional
        The model that the evaluation has for this role, if it has one.
    told : callable, optional
        Told of each completion, and of Inspect's own output.

    Notes
    -----
    Inspect does not say what a draw had drawn when it was cancelled: its tokens are 0, and not
    counted.

    Examples
    --------
    >>> InspectModel("openai/gpt-4o-mini").name
    'inspect:openai/gpt-4o-mini'
    """

    def __init__(
        self, model: Any = None, *, role: str | None = None, told: Told | None = None
    ) -> None:
        self.name = f"inspect:{model or role or 'evaluated'}"
        self._model, self._role, self._told = model, role, told

    async def complete(
        self, requests: Sequence[Request], seen: Seen | None = None
    ) -> list[Completion]:
        """Complete requests, as many at a time as Inspect's `max_connections` says."""
        return await self._draw(requests, seen, lambda ended: False)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Complete one request, in one piece."""
        [completion] = await self.complete([request])
        yield Chunk(completion.text, completion.thinking, completion.tokens, completion)

    async def race(self, requests: Sequence[Request], enough: Enough) -> list[Completion]:
        """Complete requests side by side until those that have ended are enough."""
        return await self._draw(requests, None, enough)

    async def _draw(
        self, requests: Sequence[Request], seen: Seen | None, enough: Enough
    ) -> list[Completion]:
        begun = time.perf_counter()
        model = inspect_model.get_model(self._model, role=self._role)
        ended: dict[int, Completion] = {}
        stopped: list[Exception] = []

        async def draw(place: int) -> None:
            try:
                ended[place] = await self._one(model, requests[place])
            except _ENDS_SAMPLE as error:  # raised below, where no group of errors wraps it
                stopped.append(error)
                group.cancel_scope.cancel()
                return
            if seen:
                seen(place, ended[place])
            if enough(list(ended.values())):
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for place in range(len(requests)):
                group.start_soon(draw, place)
        if stopped:
            raise stopped[0]
        lost = Completion("", "cancelled", seconds=time.perf_counter() - begun, counted=False)
        return [ended.get(place, lost) for place in range(len(requests))]

    async def _one(self, model: Any, request: Request) -> Completion:
        begun = time.perf_counter()
        try:
            output = await model.generate(_told_turns(request), config=_config(request))
        except _ENDS_SAMPLE:
            raise
        except Exception as error:
            seconds = time.perf_counter() - begun
            return Completion(
                "", "failed", error=str(error) or type(error).__name__, seconds=seconds
            )
        completion = _read(output, request, time.perf_counter() - begun)
        if self._told:
            self._told(completion, output)
        return completion


def _config(request: Request) -> Any:
    """Give the settings that the evaluation does not have already."""
    left = isinstance(request.temperature, _Left), isinstance(request.top_p, _Left)
    return inspect_model.GenerateConfig(
        temperature=None if left[0] else request.temperature,
        top_p=None if left[1] else request.top_p,
        max_tokens=request.max_tokens,
        stop_seqs=list(request.stop) or None,
        seed=request.seed,
        logprobs=request.log_probabilities or None,
    )


def _told_turns(request: Request) -> list[Any]:
    kinds = {
        "system": inspect_model.ChatMessageSystem,
        "user": inspect_model.ChatMessageUser,
        "assistant": inspect_model.ChatMessageAssistant,
    }
    return [kinds[turn.role](content=turn.content) for turn in request.messages]


def _read(output: Any, request: Request, seconds: float) -> Completion:
    """Read a completion from an output."""
    if output.empty:
        error = output.error or "the model gave no output"
        return Completion("", "failed", error=error, seconds=seconds)
    choice, usage = output.choices[0], output.usage
    content = choice.message.content
    thinking = "" if isinstance(content, str) else _thinking(content)
    known = choice.logprobs.content if request.log_probabilities and choice.logprobs else None
    cached = usage and (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    return Completion(
        output.completion,
        _FINISHES.get(choice.stop_reason, "stop"),
        prompt_tokens=usage.input_tokens + cached if usage else prompt_estimate(request),
        tokens=usage.output_tokens if usage else estimate(output.completion + thinking),
        thinking=thinking,
        thinking_tokens=(usage.reasoning_tokens or 0) if usage else 0,
        log_probabilities=tuple(token.logprob for token in known) if known else None,
        error=output.error or "",
        seconds=seconds,
        counted=usage is not None,
    )


def _thinking(content: Sequence[Any]) -> str:
    return "".join(
        (part.summary or "") if part.redacted else part.reasoning
        for part in content
        if part.type == "reasoning"
    )


class _Shared:
    """A verifier for all samples that are at work; its processes end with the last of them."""

    def __init__(self, verifier: str | Verifier) -> None:
        self._asked = verifier
        self._made = self._make()
        self._users = 0

    def _make(self) -> Verifier:
        if isinstance(self._asked, Verifier):
            return self._asked
        return make_verifier(self._asked, model=InspectModel(role="grader"))

    @contextlib.asynccontextmanager
    async def verifier(self) -> AsyncIterator[Verifier]:
        self._users += 1
        try:
            yield self._made
        finally:
            self._users -= 1
            if not self._users and self._made is not self._asked:
                done, self._made = self._made, self._make()
                with anyio.CancelScope(shield=True):  # a sample that was cancelled closes it too
                    await done.close()


async def _solve(
    state: Any, strategy: Strategy, verifier: Verifier, limit: int | None, rng: int
) -> Any:
    """Solve one sample."""
    problem, target = _problem(state), _target(state)
    known = problem
    if strategy.asks_verifier():
        known = Problem(problem.id, problem.messages, target, choices=problem.choices)
        verifier.check(known)
    outputs: dict[int, Any] = {}
    model = InspectModel(told=lambda completion, output: outputs.update({id(completion): output}))
    left = Sampling(temperature=_Left(1.0), top_p=_Left(1.0))
    draws = Meter(model, left, seed=rng).of(problem, limit)
    judge = Judge(verifier, known)
    kept, outcome = await run_strategy(strategy, draws, judge)
    if outcome == "failed":
        raise SamplewiseError(f"sample {state.sample_id!r} has no answer: {kept.reason}")
    facts = await _facts(strategy, draws, judge, kept)
    state.metadata["samplewise"] = {"state": outcome, "reason": kept.reason, **facts}
    state.output = _output(state, kept, draws, outputs)
    state.messages.append(state.output.message)
    if state.choices:
        said = Choice().extract(kept.text or "")
        for place in range(len(state.choices)):
            state.choices.mark_choice(place, chr(ord("A") + place) == said)
    return state


def _problem(state: Any) -> Problem:
    """Make a problem of a sample, without its target."""
    if state.tools:
        raise UsageError(
            f"sample {state.sample_id!r} has tools, and a strategy calls none",
            mend="take use_tools(...) out of the solvers",
        )
    if state.choices:
        state.user_prompt.text = state.choices.prompt(state.user_prompt.text, _CHOICES)
    return Problem(
        f"{state.sample_id}/{state.epoch}",
        tuple(_turn(state, message) for message in state.messages),
        choices=tuple(choice.value for choice in state.choices),
    )


def _turn(state: Any, message: Any) -> Message:
    parts = [] if isinstance(message.content, str) else message.content
    strange = {part.type for part in parts} - {"text", "reasoning"}
    strange |= {message.role} - {"system", "user", "assistant"}
    if strange:
        raise UsageError(
            f"sample {state.sample_id!r} has a message of {' and '.join(sorted(strange))}",
            mend="strategies read text: answer such samples with generate()",
        )
    return Message(message.role, message.text)


def _target(state: Any) -> str | None:
    """Give the target, where there is one and no more."""
    return (state.target.text or None) if len(state.target) == 1 else None


async def _facts(strategy: Strategy, draws: Draws, judge: Judge, kept: Kept) -> dict[str, Any]:
    """Say what was drawn; verdicts only where the strategy asked for them."""
    made, asks = draws.made, strategy.asks_verifier()
    samples: list[dict[str, Any]] = [
        {
            "kind": origin.kind,
            "parents": list(origin.parents),
            "finish": done.finish,
            "tokens": done.tokens,
            "answer": judge.extract(done) if origin.kind == "answer" else None,
            **({"error": done.error} if done.error else {}),
            **({"remarks": origin.remarks} if origin.remarks else {}),
        }
        for done, origin in zip(made, draws.origins, strict=True)
    ]
    if asks:
        whole = [place for place, one in enumerate(samples) if one["kind"] == "answer"]
        verdicts = await judge.verify([made[place] for place in whole])
        for place, verdict in zip(whole, verdicts, strict=True):
            samples[place] |= {"correct": verdict.correct, "score": verdict.score}
    return {
        "strategy": strategy.name,
        "knobs": strategy.settings(),
        "verifier": judge.verifier.name,
        "asked_verifier": asks,
        "kept": kept.place,
        "answer": None if kept.text is None else judge.extract(Completion(kept.text)),
        "tokens": draws.tokens,
        "prompt_tokens": sum(done.prompt_tokens for done in made),
        "sequential_tokens": kept.sequential_tokens,
        "samples": samples,
    }


def _output(state: Any, kept: Kept, draws: Draws, outputs: dict[int, Any]) -> Any:
    """Give Inspect's own output of the draw that was kept, or one of the text."""
    if kept.place is not None and draws.made[kept.place].text == kept.text:
        return outputs[id(draws.made[kept.place])]
    return inspect_model.ModelOutput.from_content(str(state.model), kept.text or "")
