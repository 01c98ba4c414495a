"""Language models: what they are, and what they say of a text."""

from samplewise.models.base import LanguageModel, load
from samplewise.models.scoring import response_log_probabilities, token_log_probabilities

__all__ = ["LanguageModel", "load", "response_log_probabilities", "token_log_probabilities"]
