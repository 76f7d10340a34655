"""Submits the job of a request, and reads the scores from its results."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.naming import model_named
from agent.coordinator.features.client_apis.results import invalid_results, result
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs.requests import JobOptions
from runners.embedding.request import EmbeddingResult
from runners.reranking.request import RerankingResult


async def create(
    context: Context,
    caller: Caller,
    model: str,
    query: str,
    documents: Sequence[str],
    options: JobOptions,
    *,
    document_tokens: int,
    key: str | None,
    names: tuple[str, str],
) -> AnswerSubmission:
    """Submit the job: a reranker's, or that of a model of embeddings, whose scores are cosines. `names` are those of query and documents in the request. See `serving.submit`."""
    # A name of both services is a reranker's.
    if await _is_model(context, services.EMBEDDINGS, model) and not await _is_model(
        context, services.RERANKING, model
    ):
        # A text without characters has no vector.
        texts = [query, *(text or " " for text in documents)]
        fields = {"model": model, "input": texts}
        return await submit(
            context, caller, services.EMBEDDINGS, fields, options, key=key, names={"input": names[1]}
        )
    parameters = {
        "model": model,
        "query": query,
        "documents": list(documents),
        "document_tokens": document_tokens,
    }
    renamed = {"query": names[0], "documents": names[1]}
    return await submit(context, caller, services.RERANKING, parameters, options, key=key, names=renamed)


async def _is_model(context: Context, service_id: str, name: str) -> bool:
    definition = context.catalogue.services.get(service_id)
    return definition is not None and await model_named(context, definition, name) is not None


async def scores(
    submission: AnswerSubmission, number: int, disconnected: Coroutine[Any, Any, None]
) -> tuple[list[float], int]:
    """Wait for the job, and return a score for each of so many documents, and the tokens that were read. Raises `AnswerFailed`."""
    if submission.service_id == services.EMBEDDINGS:
        embedded = await result(submission, EmbeddingResult, disconnected)
        query, *documents = embedded.embeddings or [[]]
        values = [_cosine(query, document) for document in documents]
        tokens = embedded.usage.total_tokens
    else:
        ranked = await result(submission, RerankingResult, disconnected)
        values, tokens = ranked.scores, ranked.usage.total_tokens
    if len(values) != number:
        raise invalid_results(submission)
    return values, tokens


def _cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the similarity of two vectors of length 1."""
    return sum(a * b for a, b in zip(first, second, strict=False))
