"""A language model that is trained: what it says, and how likely it was to say so.

Any causal model of transformers will do: a small one that reads characters, made here, or a real
one, whose low-rank adapters are trained.
"""

from __future__ import annotations

import string
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from samplewise.errors import UsageError
from samplewise.extras import lazy, need
from samplewise.rng import RandomState, generator, seed_of

if TYPE_CHECKING:
    import torch

    from samplewise.models import LanguageModel
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["CHARACTERS", "Batch", "Meter", "Policy"]

CHARACTERS = "\n " + "".join(sorted(string.ascii_letters + string.digits + string.punctuation))
"""What a small model reads; tokens 0 and 1 are padding and the end of a text."""


class Batch(NamedTuple):
    """Prompts and responses as one table: prompts end, and responses begin, in one column.

    Attributes
    ----------
    ids : torch.Tensor of int64, shape (rows, length)
    read : torch.Tensor of int64, shape (rows, length)
        1 for prompt and response, 0 for padding.
    response : torch.Tensor of bool, shape (rows, length)
        The tokens of the response, with the one that ends it.
    """

    ids: torch.Tensor
    read: torch.Tensor
    response: torch.Tensor

    @property
    def scored(self) -> torch.Tensor:
        """The response as `Policy.log_probabilities` has it: shape (rows, length - 1)."""
        return self.response[:, 1:]

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens of each response, shape (rows,)."""
        return self.response.sum(dim=1)

    def rows(self, chosen: Any) -> Batch:
        """Take some rows."""
        return Batch(self.ids[chosen], self.read[chosen], self.response[chosen])


@dataclass
class Meter:
    """What a model's work has cost, reckoned by its weights and tokens.

    Attributes
    ----------
    flops : float
        2 floating-point operations a weight and token, 6 where a gradient is taken; attention to
        other tokens, which short texts have little of, is left out, and padding counts.
    """

    flops: float = 0.0

    def count(self, model: torch.nn.Module, tokens: int) -> None:
        """Add a pass over tokens."""
        weights = sum(weight.numel() for weight in model.parameters())
        self.flops += (6.0 if torch.is_grad_enabled() else 2.0) * weights * tokens


@dataclass(frozen=True, eq=False)
class Policy:
    """A causal language model, and how it reads and writes text.

    Parameters
    ----------
    model : torch.nn.Module
        Called as models of transformers are. What of it requires a gradient is trained.
    encode : callable
        Gives the tokens of a text.
    decode : callable
        Gives the text of tokens.
    end : int
        The token that ends a response.
    padding : int

    Attributes
    ----------
    meter : Meter
        What its work has cost so far.
    """

    model: Any
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    end: int = 1
    padding: int = 0
    meter: Meter = field(default_factory=Meter, init=False)

    @classmethod
    def small(
        cls,
        *,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        positions: int = 256,
        special: int = 0,
        rng: RandomState = 0,
    ) -> Self:
        """Make a transformer of some hundred thousand weights that reads characters, untrained.

        Beyond the characters it knows `special` tokens, the last of its vocabulary.
        """
        transformers = need("transformers", "llm", "the small transformer")
        config = transformers.LlamaConfig(
            vocab_size=2 + len(CHARACTERS) + special,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=positions,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
            tie_word_embeddings=False,
            initializer_range=width**-0.5,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(generator(rng)))
            model = transformers.LlamaForCausalLM(config)
        return cls(model, encode_characters, decode_characters)

    @classmethod
    def of(cls, lm: LanguageModel, *, rank: int = 16, rng: RandomState = 0) -> Self:
        """Put low-rank adapters on every linear layer of a model; they alone are trained.

        Raises
        ------
        UsageError
            If peft is missing.
        """
        peft = need("peft", "llm", "LoRA")
        config = peft.LoraConfig(
            task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
        )
        with (
            torch.random.fork_rng(),
            warnings.catch_warnings(action="ignore"),  # of what peft itself uses
        ):
            torch.manual_seed(seed_of(generator(rng)))
            model = peft.get_peft_model(lm.model, config)
        end = min(lm.ends)
        padding = lm.tokenizer.pad_token_id
        return cls(
            model,
            lambda text: lm.tokens([text])[0],
            lambda ids: str(lm.tokenizer.decode(ids, skip_special_tokens=True)),
            end,
            end if padding is None else int(padding),
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @property
    def learned(self) -> list[torch.nn.Parameter]:
        """The weights that are trained."""
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def texts(self, batch: Batch) -> list[str]:
        """Give the text of every response."""
        return [
            self.decode([token for token in ids[mask].tolist() if token != self.end])
            for ids, mask in zip(batch.ids, batch.response, strict=True)
        ]

    def batch(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        *,
        ended: Sequence[bool] | None = None,
    ) -> Batch:
        """Put prompts and given responses into a table.

        Parameters
        ----------
        prompts, responses : sequence of str
        ended : sequence of bool, optional
            Whether each response is followed by the end; by default all are.
        """
        heads = [self.encode(prompt) for prompt in prompts]
        ends = [True] * len(heads) if ended is None else ended
        tails = [
            self.encode(response) + ([self.end] if end else [])
            for response, end in zip(responses, ends, strict=True)
        ]
        return self._table(heads, tails)

    def sample(
        self,
        prompts: Sequence[str],
        *,
        most: int,
        random: torch.Generator,
        temperature: float = 1.0,
    ) -> Batch:
        """Draw a response to every prompt.

        Parameters
        ----------
        prompts : sequence of str
        most : int
            Tokens of a response, at most; one that is cut has no end.
        random : torch.Generator
            On the CPU.
        temperature : float
            0 takes the likeliest token.

        Raises
        ------
        UsageError
            If there is no prompt, or a number makes no sense.
        """
        if not prompts or most < 1 or temperature < 0:
            raise UsageError(
                f"{len(prompts)} prompts, most {most}, temperature {temperature}",
                mend="give a prompt or more, a token or more, and 0 or more",
            )
        from samplewise.models.cache import Keep, run

        heads = [self.encode(prompt) for prompt in prompts]
        tails: list[list[int]] = [[] for _ in heads]
        table = self._table(heads, tails)
        ids, read = table.ids, table.read
        plain = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        caches = [Keep() for _ in range(plain.config.num_hidden_layers)]
        open_rows = list(range(len(heads)))
        with torch.no_grad():
            for _ in range(most):
                self.meter.count(plain, ids.numel())
                logits = run(
                    plain,
                    caches,
                    input_ids=ids,
                    attention_mask=read,
                    position_ids=_positions(read)[:, -ids.shape[1] :],
                )
                drawn = _draw(_precise(logits[:, -1]).cpu(), temperature, random)
                for row in open_rows:
                    tails[row].append(int(drawn[row]))
                open_rows = [row for row in open_rows if tails[row][-1] != self.end]
                if not open_rows:
                    break
                ids = drawn[:, None].to(ids.device)
                read = torch.cat([read, read.new_ones(len(read), 1)], dim=1)
        return self._table(heads, tails)

    def logits(
        self, batch: Batch, weights: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Give the logits of every next token, in single precision or better.

        Parameters
        ----------
        batch : Batch
        weights : mapping of str to torch.Tensor, optional
            In place of the model's weights of these names.

        Returns
        -------
        torch.Tensor, shape (rows, length - 1, vocabulary)
        """
        inputs = {
            "input_ids": batch.ids,
            "attention_mask": batch.read,
            "position_ids": _positions(batch.read),
            "use_cache": False,
        }
        self.meter.count(self.model, batch.ids.numel())
        out = torch.func.functional_call(self.model, dict(weights or {}), (), inputs)
        return _precise(out.logits[:, :-1])

    def log_probabilities(
        self,
        batch: Batch,
        temperature: float = 1.0,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Give the log-probability of every token after the first.

        Parameters
        ----------
        batch : Batch
        temperature : float
            Of the law that the tokens are drawn by.
        weights : mapping of str to torch.Tensor, optional
            In place of the model's weights of these names: of a model as it once was.

        Returns
        -------
        torch.Tensor, shape (rows, length - 1)
            Natural logarithms; `Batch.scored` says which are of the response.
        """
        logits = self.logits(batch, weights) / temperature
        taken = logits.gather(2, batch.ids[:, 1:, None])[:, :, 0]
        return taken - logits.logsumexp(dim=2)

    def _table(self, heads: list[list[int]], tails: list[list[int]]) -> Batch:
        before = max(1, *(len(head) for head in heads))
        length = before + max(len(tail) for tail in tails)
        ids = np.full((len(heads), length), self.padding, dtype=np.int64)
        read, response = np.zeros_like(ids), np.zeros(ids.shape, dtype=bool)
        for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            start, stop = before - len(head), before + len(tail)
            ids[row, start:stop] = head + tail
            read[row, start:stop] = 1
            response[row, before:stop] = True
        return Batch(*(torch.from_numpy(part).to(self.device) for part in (ids, read, response)))


def _positions(read: torch.Tensor) -> torch.Tensor:
    return (read.cumsum(dim=1) - 1).clamp(min=0)


def _precise(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _draw(logits: torch.Tensor, temperature: float, random: torch.Generator) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(dim=1)
    law = (logits / temperature).softmax(dim=1)
    return torch.multinomial(law, 1, generator=random)[:, 0]


def encode_characters(text: str) -> list[int]:
    """Give a token for every character.

    Raises
    ------
    UsageError
        If a small model knows no such character.

    Examples
    --------
    >>> decode_characters(encode_characters("1 + 1 = 2"))
    '1 + 1 = 2'
    """
    try:
        return [_NUMBERS[character] for character in text]
    except KeyError as error:
        raise UsageError(
            f"a small model cannot read {error.args[0]!r}", mend="give it plain ASCII"
        ) from None


def decode_characters(tokens: Sequence[int]) -> str:
    """Give the text of tokens; padding, ends and special tokens are left out."""
    return "".join(CHARACTERS[token - 2] for token in tokens if 1 < token < 2 + len(CHARACTERS))


_NUMBERS = {character: number for number, character in enumerate(CHARACTERS, 2)}
