"""Texts to vectors."""

from samplewise.embed.base import Embedder
from samplewise.embed.store import count_tokens, embed_pool, make_embedder

__all__ = ["Embedder", "count_tokens", "embed_pool", "make_embedder"]
