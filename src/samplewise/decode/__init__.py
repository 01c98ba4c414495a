"""Which token comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samplewise.decode.base import (
    Choice,
    Decoder,
    Draft,
    Drafting,
    MaskedSampler,
    Rate,
    Sampler,
    Unmasked,
    Verified,
    Verifier,
)
from samplewise.decode.decoding import Decoding, PromptDecoder, decode
from samplewise.rooms import lazily, open_door

if TYPE_CHECKING:
    from samplewise.decode.multi_draft import Acceptance, acceptance
    from samplewise.decode.optimum import Optimum, acceptance_bound, optimal_acceptance

__all__ = [
    "Acceptance",
    "Choice",
    "Decoder",
    "Decoding",
    "Draft",
    "Drafting",
    "MaskedSampler",
    "Optimum",
    "PromptDecoder",
    "Rate",
    "Sampler",
    "Unmasked",
    "Verified",
    "Verifier",
    "acceptance",
    "acceptance_bound",
    "decode",
    "optimal_acceptance",
]

open_door(__name__)
__getattr__ = lazily(
    __name__,
    {
        "Acceptance": "multi_draft",
        "Optimum": "optimum",
        "acceptance": "multi_draft",
        "acceptance_bound": "optimum",
        "optimal_acceptance": "optimum",
    },
)
