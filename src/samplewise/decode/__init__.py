"""Which token comes next."""

from samplewise.decode.base import (
    Decoder,
    Draft,
    Drafting,
    MaskedSampler,
    Sampler,
    Unmasked,
    Verified,
    Verifier,
)
from samplewise.decode.decoding import Decoding, decode
from samplewise.rooms import open_door

__all__ = [
    "Decoder",
    "Decoding",
    "Draft",
    "Drafting",
    "MaskedSampler",
    "Sampler",
    "Unmasked",
    "Verified",
    "Verifier",
    "decode",
]

open_door(__name__)
