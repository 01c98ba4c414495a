"""The contract of every method that decodes, kind by kind."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samplewise.decode.base import Decoder, Draft, MaskedSampler, Sampler, Verifier
from samplewise.decode.plain import Plain
from samplewise.decode.rejection import Rejection
from samplewise.decode.speculative import Speculation
from samplewise.errors import UsageError
from samplewise.testing.common import (
    check_bad_knobs,
    check_names,
    found_elsewhere,
    leaves_global_state,
    refused,
)
from samplewise.testing.masked_laws import KnownLaw

__all__ = ["VOCABULARY", "check_decoder", "decoder_checks", "digest", "target_model"]

VOCABULARY = 258
"""Of the target that drafts are checked with; a draft with a model of its own must have as many."""

_PROMPT = (0, 50, 60, 70, 50, 60)


def decoder_checks(kind: str) -> list[Callable[[Any], None]]:
    """List the checks that every method of a kind must pass, each a function of a method."""
    every = [_names, _bad_knobs, _pickles]
    repeatable = [_same_seed_same_result, _same_in_another_process, _global_state]
    own: dict[str, list[Callable[[Any], None]]] = {
        "sampler": [*repeatable, _leaves_scores_alone, _rows_are_apart, _states_are_apart],
        "draft": [*repeatable, _other_seed, _keeps_greedy_text, _keeps_to_the_limit],
        "verifier": [
            *repeatable,
            _other_seed,
            _has_the_targets_law,
            _leaves_laws_alone,
            _takes_one_token,
            _accepts_all_of_its_own,
            _refuses_no_drafts,
        ],
        "masked sampler": [
            *repeatable,
            _other_seed,
            _fills_masks_alone,
            _takes_any_number_of_masks,
            _refuses_what_is_no_table,
        ],
    }
    return every + own.get(kind, [])


def check_decoder(method: Decoder) -> None:
    """Run every check on one method.

    Raises
    ------
    AssertionError
        If it breaks the contract.
    """
    for check in decoder_checks(method.kind):
        check(method)


def digest(method: Any, seed: int = 0) -> str:
    """Hash what a method does with a small task of its kind."""
    work: dict[str, Callable[..., Any]] = {
        "sampler": _process,
        "draft": _decode,
        "verifier": _verify,
        "masked sampler": _fill,
    }
    return hashlib.blake2b(repr(work[method.kind](method, seed)).encode()).hexdigest()


def target_model() -> Any:
    """Make a small causal model in double precision, the same every time."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.3,
        )
        return LlamaForCausalLM(config).double().eval().requires_grad_(False)


# --- small tasks ----------------------------------------------------------------------------------


def _process(method: Sampler, seed: int) -> list[list[int]]:
    """Draw tokens of three rows by what it makes of random scores, which tokens it keeps each."""
    import torch

    random = np.random.default_rng(seed)
    processor = method.processor()
    ids = torch.tensor([[1], [2], [3]])
    kept = []
    for _ in range(6):
        scores = torch.from_numpy(random.gumbel(scale=2.0, size=(3, 40)))
        left = processor(ids, scores)
        kept.append([int(count) for count in torch.isfinite(left).sum(dim=1)])
        drawn = [random.choice(40, p=row.softmax(0).numpy()) for row in left]
        ids = torch.cat([ids, torch.tensor(drawn)[:, None]], dim=1)
    return kept + ids.tolist()


def _decode(method: Draft, seed: int) -> list[int]:
    speculation = Speculation(target_model(), method, verifier=Rejection(), auto=False)
    return speculation.decode(_PROMPT, 20, rng=seed).tokens


def _laws(vocabulary: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    target, draft = random.dirichlet(np.ones(vocabulary), size=2)
    return target, draft


def _count(method: Verifier) -> int:
    return min(2, method.most or 2)


def _verify(method: Verifier, seed: int) -> list[tuple[int, bool]]:
    random = np.random.default_rng(seed)
    target, draft = _laws(6)
    return [
        (found.token, found.accepted)
        for _ in range(40)
        for tokens in [method.draw(draft, _count(method), random)]
        for found in [method.verify(target, draft, tokens, random)]
    ]


def _fill(method: MaskedSampler, seed: int) -> list[list[int]]:
    model = KnownLaw(vocabulary=3, length=4, rng=0)
    found: list[list[int]] = method.fill(model, model.masks(8), 3, rng=seed).tokens.tolist()
    return found


# --- checks of all kinds --------------------------------------------------------------------------


def _names(method: Decoder) -> None:
    check_names(method)


def _bad_knobs(method: Decoder) -> None:
    check_bad_knobs(method)


def _pickles(method: Decoder) -> None:
    assert pickle.loads(pickle.dumps(method)) == method


def _same_seed_same_result(method: Decoder) -> None:
    assert digest(method) == digest(method), f"{method.name} is not decided by the seed"


def _other_seed(method: Decoder) -> None:
    assert digest(method, 0) != digest(method, 1), f"{method.name} does not heed the seed"


def _same_in_another_process(method: Decoder) -> None:
    there = found_elsewhere(method, "decoders", "s.digest(method)")
    assert there == digest(method), f"{method.name} differs in another process"


def _global_state(method: Decoder) -> None:
    leaves_global_state(method, lambda: digest(method))


# --- samplers -------------------------------------------------------------------------------------


def _leaves_scores_alone(method: Sampler) -> None:
    import torch

    scores = torch.linspace(-3, 3, 40)[None]
    before = scores.clone()
    method.processor()(torch.tensor([[1]]), scores)
    assert scores.equal(before), f"{method.name} changes the scores that it is given"


def _rows_are_apart(method: Sampler) -> None:
    """Check that a row's scores are processed as if it were alone."""
    import torch

    random = np.random.default_rng(0)
    together, alone = method.processor(), [method.processor() for _ in range(2)]
    ids = torch.tensor([[1], [2]])
    for _ in range(4):
        scores = torch.from_numpy(random.gumbel(scale=2.0, size=(2, 40)))
        found = together(ids, scores.clone())
        rows = [one(ids[[row]], scores[[row]].clone()) for row, one in enumerate(alone)]
        assert found.equal(torch.cat(rows)), f"{method.name} mixes the rows of a batch"
        ids = torch.cat([ids, found.argmax(dim=1, keepdim=True)], dim=1)


def _states_are_apart(method: Sampler) -> None:
    first = digest(method)
    _process(method, 1)
    assert digest(method) == first, f"{method.name}: its processors share a state"


# --- drafts ---------------------------------------------------------------------------------------


def _keeps_greedy_text(method: Draft) -> None:
    model = target_model()
    texts = []
    for draft in (method, Plain()):
        speculation = Speculation(model, draft, greedy=True, auto=False)
        texts.append([speculation.decode(_PROMPT, 30).tokens for _ in range(2)])
    assert texts[0] == texts[1], f"{method.name} changes the text"


def _keeps_to_the_limit(method: Draft) -> None:
    speculation = Speculation(target_model(), method, greedy=True, auto=False)
    speculation.decode(_PROMPT, 20)
    for most in (1, 2, 5):
        assert len(speculation.decode(_PROMPT, most).tokens) == most, f"{method.name} overshoots"
    assert len(speculation.decode(_PROMPT[:1], 3).tokens) == 3


# --- verifiers ------------------------------------------------------------------------------------


def _has_the_targets_law(method: Verifier) -> None:
    for seed, vocabulary in enumerate((1, 2, 5)):
        target, draft = _laws(vocabulary, seed)
        away = np.abs(method.law(target, draft, _count(method)) - target).max()
        assert away < 1e-9, f"{method.name}: its law is {away} away from the target's"


def _leaves_laws_alone(method: Verifier) -> None:
    target, draft = _laws(6)
    for law in (target, draft):
        law.setflags(write=False)
    random = np.random.default_rng(0)
    tokens = method.draw(draft, _count(method), random)
    tokens.setflags(write=False)
    method.verify(target, draft, tokens, random)


def _takes_one_token(method: Verifier) -> None:
    one = np.ones(1)
    random = np.random.default_rng(0)
    found = method.verify(one, one, method.draw(one, 1, random), random)
    assert tuple(found) == (0, True)


def _accepts_all_of_its_own(method: Verifier) -> None:
    target, _ = _laws(5)
    if method.scheme != "greedy":  # whose first drafts are no draws
        rate = method.acceptance(target, target, _count(method))
        assert rate > 1 - 1e-6, f"{method.name} accepts {rate} of drafts that have the target's law"


def _refuses_no_drafts(method: Verifier) -> None:
    target, draft = _laws(5)
    with refused(method, "count"):
        method.acceptance(target, draft, 0)


# --- masked samplers ------------------------------------------------------------------------------


def _fills_masks_alone(method: MaskedSampler) -> None:
    model = KnownLaw(vocabulary=3, length=4, rng=0)
    tokens = model.masks(50)
    tokens[:, 1] = 2
    before = tokens.copy()
    found = method.fill(model, tokens, 3, rng=0)
    assert (tokens == before).all(), f"{method.name} changes the tokens that it is given"
    assert (found.tokens[:, 1] == 2).all(), f"{method.name} changes a token that was no mask"
    assert (found.tokens < 3).all(), f"{method.name} leaves a mask"
    assert found.calls <= model.calls


def _takes_any_number_of_masks(method: MaskedSampler) -> None:
    model = KnownLaw(vocabulary=3, length=4, rng=0)
    tokens = np.array([[3, 3, 3, 3], [0, 3, 1, 2], [0, 1, 2, 0]])
    found = method.fill(model, tokens, 3, rng=0).tokens
    assert (found < 3).all()
    assert found[2].tolist() == [0, 1, 2, 0]
    assert method.fill(model, tokens[2:], 3, rng=0).calls == 0


def _refuses_what_is_no_table(method: MaskedSampler) -> None:
    model = KnownLaw(vocabulary=3, length=4, rng=0)
    for wrong in ([[0, 4]], [[-1, 0]], [0, 1], [[0.5, 1.0]]):
        try:
            method.fill(model, wrong, 3, rng=0)
        except UsageError:
            continue
        raise AssertionError(f"{method.name} takes the tokens {wrong}")
