"""Which token comes next."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from samplewise.decode.base import (
    Choice,
    Decoder,
    MaskedSampler,
    Rate,
    Sampler,
    Unmasked,
    Verified,
    Verifier,
)

if TYPE_CHECKING:
    from samplewise.decode.multi_draft import Acceptance, acceptance
    from samplewise.decode.optimum import Optimum, acceptance_bound, optimal_acceptance

__all__ = [
    "Acceptance",
    "Choice",
    "Decoder",
    "MaskedSampler",
    "Optimum",
    "Rate",
    "Sampler",
    "Unmasked",
    "Verified",
    "Verifier",
    "acceptance",
    "acceptance_bound",
    "optimal_acceptance",
]

_HOMES = {
    "Acceptance": "multi_draft",
    "Optimum": "optimum",
    "acceptance": "multi_draft",
    "acceptance_bound": "optimum",
    "optimal_acceptance": "optimum",
}


def __getattr__(name: str) -> Any:
    """Import a function when it is first used, with the modules of its methods."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
