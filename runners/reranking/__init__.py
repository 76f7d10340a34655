"""Scores of documents: how relevant each is to a query."""

from runners.reranking.runner import RerankingRunner

__all__ = ["RerankingRunner"]
