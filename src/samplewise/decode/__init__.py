"""Which token comes next."""

from samplewise.decode.base import Decoder, MaskedSampler, Sampler, Unmasked, Verified, Verifier

__all__ = ["Decoder", "MaskedSampler", "Sampler", "Unmasked", "Verified", "Verifier"]
