"""An OpenAI-compatible server in front of a model, where the model's name chooses the strategy."""

from samplewise.serve.limits import Keys, Limits

__all__ = ["Keys", "Limits"]
