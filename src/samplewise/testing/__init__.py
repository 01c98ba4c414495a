"""Contract checks of every room, for our methods and yours."""

from samplewise.testing.decoders import check_decoder, decoder_checks
from samplewise.testing.loops import check_loop, loop_checks
from samplewise.testing.mixers import check_mix, mix_checks
from samplewise.testing.scorers import check_scorer, scorer_checks
from samplewise.testing.selectors import check_selector, selector_checks
from samplewise.testing.strategies import (
    ScriptedModel,
    ScriptedVerifier,
    check_strategy,
    strategy_checks,
)

__all__ = [
    "ScriptedModel",
    "ScriptedVerifier",
    "check_decoder",
    "check_loop",
    "check_mix",
    "check_scorer",
    "check_selector",
    "check_strategy",
    "decoder_checks",
    "loop_checks",
    "mix_checks",
    "scorer_checks",
    "selector_checks",
    "strategy_checks",
]
