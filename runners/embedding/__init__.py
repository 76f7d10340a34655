"""Vectors of texts, for search and comparison."""

from runners.embedding.runner import EmbeddingRunner

__all__ = ["EmbeddingRunner"]
