"""Verifiers that ask something else: a function of the user's, a language model, a reward model."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from samplewise.errors import UsageError
from samplewise.extras import load_function, need
from samplewise.models.completion import Completion, Model, Request
from samplewise.problems import Problem
from samplewise.verify.base import Verdict, Verifier

__all__ = ["Call", "Judge", "Reward"]


class Call(Verifier):
    """Ask a function: ``function(problem, text)`` gives a bool, a number, or a `Verdict`.

    Parameters
    ----------
    function : callable or str
        A function, which may be asynchronous, or ``"FILE.py:FUNCTION"``. A number is a score, and
        from one half on accepted.

    Raises
    ------
    UsageError
        If there is no such function, or it gives something else.

    Examples
    --------
    >>> import asyncio
    >>> verifier = Call(lambda problem, text: "because" in text)
    >>> asyncio.run(verifier.verify(Problem.ask("Why?"), ["because", "so"]))[0].correct
    True
    """

    name: ClassVar[str] = "call"

    def __init__(self, function: Callable[[Problem, str], Any] | str) -> None:
        self.function = (
            load_function(function, "verifier") if isinstance(function, str) else function
        )

    async def verify(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """Judge texts, one after the other, beside the event loop."""
        return [await self._judge(problem, text) for text in texts]

    async def _judge(self, problem: Problem, text: str) -> Verdict:
        if inspect.iscoroutinefunction(self.function):
            said = await self.function(problem, text)
        else:
            said = await asyncio.to_thread(self.function, problem, text)
        if isinstance(said, Verdict):
            return said
        try:
            score = float(said)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the verifier's function gives {said!r}", mend="give a bool, a number or a Verdict"
            ) from error
        if math.isnan(score):
            return Verdict(False, 0.0, self.extract(text), "the function gives NaN")
        correct = score >= 0.5
        return Verdict(
            correct, score, self.extract(text), "" if correct else "the function says no"
        )


class Judge(Verifier):
    """Ask a language model whether an answer is right, yes or no.

    Parameters
    ----------
    model : Model
        The one that judges.
    prompt : str, optional
        What it is asked, with ``{question}``, ``{answer}`` and ``{reference}``; by default the text
        of ``judge.txt`` beside this module.
    max_tokens : int
        For its reply.
    owned : bool
        Whether `close` closes the model too.

    Notes
    -----
    The score is the probability of yes where the model gives log-probabilities, else 1 or 0. A
    judge errs, and answers can talk it round: measure its errors before votes rest on it. What the
    judge draws is in no ledger and no budget.
    """

    name: ClassVar[str] = "judge"

    def __init__(
        self, model: Model, prompt: str | None = None, max_tokens: int = 8, *, owned: bool = False
    ) -> None:
        self.model, self.prompt, self.max_tokens = model, prompt or _prompt(), max_tokens
        self._owned = owned
        for field in ("{question}", "{answer}"):
            if field not in self.prompt:
                raise UsageError(f"the judge's prompt has no {field}", mend=f"write {field} in it")

    async def verify(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """Judge texts in one batch."""
        requests = [self.request(problem, text) for text in texts]
        replies = await self.model.complete(requests)
        return [
            _verdict(reply, self.extract(text)) for reply, text in zip(replies, texts, strict=True)
        ]

    async def close(self) -> None:
        """Close the model, where it is the judge's own."""
        if self._owned:
            await self.model.close()

    def request(self, problem: Problem, text: str) -> Request:
        """Write what the judge is asked."""
        reference = f"\nThe right answer:\n{problem.answer}\n" if problem.answer else ""
        fields = {"question": problem.question, "answer": text, "reference": reference}
        # One pass, so that what an answer writes in braces stays as it is.
        asked = re.sub(r"\{(question|answer|reference)\}", lambda m: fields[m[1]], self.prompt)
        return Request.ask(
            asked, temperature=0.0, max_tokens=self.max_tokens, log_probabilities=True
        )


@cache
def _prompt() -> str:
    return Path(__file__).with_name("judge.txt").read_text("utf-8")


def _verdict(reply: Completion, answer: str | None) -> Verdict:
    if reply.finish == "failed":
        return Verdict(False, 0.0, answer, f"the judge failed: {reply.error}")
    word = re.search(r"[A-Za-z]+", reply.text)
    said = word[0].lower() if word else ""
    if said not in ("yes", "no"):
        return Verdict(False, 0.0, answer, "the judge says neither yes nor no")
    sure = 1.0
    if reply.log_probabilities:  # of its first token, which settles the word
        sure = min(1.0, math.exp(reply.log_probabilities[0]))
    score = sure if said == "yes" else 1 - sure
    return Verdict(said == "yes", score, answer, "" if said == "yes" else "the judge says no")


class Reward(Verifier):
    """Score answers with a reward model: a folder of transformers' sequence classification.

    Parameters
    ----------
    folder : str
        With the weights and the tokenizer.
    threshold : float
        From which score on an answer is accepted.
    batch : int
        Answers at a time.
    device : str, optional
        Where it runs; by default the GPU where there is one.

    Raises
    ------
    UsageError
        If the folder is missing, or transformers is.

    Notes
    -----
    The score is the model's one output, or, of several, that of the last class.
    """

    name: ClassVar[str] = "reward"

    def __init__(
        self, folder: str, threshold: float = 0.0, batch: int = 8, device: str | None = None
    ) -> None:
        if not Path(folder).is_dir():
            raise UsageError(f"no folder {folder!r}", mend="name the folder of a reward model")
        self.folder, self.threshold, self.batch, self.device = folder, threshold, batch, device
        self._loaded: tuple[Any, Any] | None = None
        self._lock = asyncio.Lock()

    async def verify(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """Score texts, one batch at a time."""
        async with self._lock:
            scores = await asyncio.to_thread(self.score, problem, texts)
        return [
            Verdict(
                score >= self.threshold,
                score,
                self.extract(text),
                "" if score >= self.threshold else "its reward is too low",
            )
            for score, text in zip(scores, texts, strict=True)
        ]

    def score(self, problem: Problem, texts: Sequence[str]) -> list[float]:
        """Give the reward of each text."""
        torch = need("torch", "llm", "verifier reward")
        tokenizer, model = self._load(torch)
        scores: list[float] = []
        for start in range(0, len(texts), self.batch):
            written = [
                _conversation(tokenizer, problem, text)
                for text in texts[start : start + self.batch]
            ]
            tokens = tokenizer(
                written,
                padding=True,
                truncation=True,
                max_length=_longest(tokenizer, model),
                return_tensors="pt",
            ).to(model.device)
            with torch.inference_mode():
                scores += model(**tokens).logits[:, -1].float().tolist()
        return scores

    def _load(self, torch: Any) -> tuple[Any, Any]:
        if self._loaded is None:
            transformers = need("transformers", "llm", "verifier reward")
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            load = transformers.AutoModelForSequenceClassification.from_pretrained
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True
            )
            model = load(self.folder, local_files_only=True).to(device).eval()
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token
            if model.config.pad_token_id is None:
                model.config.pad_token_id = tokenizer.pad_token_id
            tokenizer.truncation_side = "left"  # the end of an answer says most
            self._loaded = tokenizer, model
        return self._loaded

    async def close(self) -> None:
        """Let go of the weights."""
        self._loaded = None


def _conversation(tokenizer: Any, problem: Problem, text: str) -> str:
    """Write a problem and its answer as the model was taught to read them."""
    if getattr(tokenizer, "chat_template", None):
        turns = [{"role": turn.role, "content": turn.content} for turn in problem.messages]
        turns.append({"role": "assistant", "content": text})
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    return f"{problem.question}\n\n{text}"


def _longest(tokenizer: Any, model: Any) -> int:
    return min(
        int(tokenizer.model_max_length), int(getattr(model.config, "max_position_embeddings", 4096))
    )
