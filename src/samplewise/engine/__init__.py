"""Where work runs: this machine or a Ray cluster, with the same batch functions."""

from samplewise.engine.base import Engine, make_engine

__all__ = ["Engine", "make_engine"]
