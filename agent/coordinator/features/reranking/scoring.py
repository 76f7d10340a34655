"""Submits the job of a request, and reads the scores from its results."""

from __future__ import annotations

from collections.abc import Sequence

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.naming import model_named
from agent.coordinator.features.client_apis.results import invalid_results, result
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs.requests import JobOptions
from runners.embedding.request import EmbeddingResult
from runners.reranking.request import RerankingResult


async def create(
    call: ClientCall,
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
    is_reranker = await _is_model(call.context, services.RERANKING, model)
    if not is_reranker and await _is_model(call.context, services.EMBEDDINGS, model):
        # A text without characters has no vector.
        fields = {"model": model, "input": [query, *(text or " " for text in documents)]}
        renamed = {"input": names[1]}
        return await submit(call, services.EMBEDDINGS, fields, options, key=key, names=renamed)
    parameters = {
        "model": model,
        "query": query,
        "documents": list(documents),
        "document_tokens": document_tokens,
    }
    renamed = {"query": names[0], "documents": names[1]}
    return await submit(call, services.RERANKING, parameters, options, key=key, names=renamed)


async def _is_model(context: Context, service_id: str, name: str) -> bool:
    definition = context.catalogue.services.get(service_id)
    return definition is not None and await model_named(context, definition, name) is not None


async def scores(submission: AnswerSubmission, number: int) -> tuple[list[float], int]:
    """Wait for the job, and return a score for each of so many documents, and the tokens that were read. Raises `AnswerFailed`."""
    if submission.service_id == services.EMBEDDINGS:
        embedded = await result(submission, EmbeddingResult)
        query, *documents = embedded.embeddings or [[]]
        values = [_cosine(query, document) for document in documents]
        tokens = embedded.usage.total_tokens
    else:
        ranked = await result(submission, RerankingResult)
        values, tokens = ranked.scores, ranked.usage.total_tokens
    if len(values) != number:
        raise invalid_results(submission)
    return values, tokens


def _cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the similarity of two vectors of length 1."""
    return sum(a * b for a, b in zip(first, second, strict=False))
