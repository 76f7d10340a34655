"""The paths on which clients of Jina, Cohere and vLLM ask for reranking."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from agent.coordinator.features.client_apis.routes.declared import Call, answers
from agent.coordinator.features.client_apis.routes.job_answers import json_answer
from agent.coordinator.features.reranking.answers import Reranked, Scored, reranked, scored
from agent.coordinator.features.reranking.request import DOCUMENT_TOKENS, RerankRequest, ScoreRequest
from agent.coordinator.features.reranking.scoring import create, scores
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import IdempotencyKey

router = APIRouter(route_class=LargeJsonRoute, tags=["Reranking"])

_RERANKED: Final[dict[str, Any]] = {
    "response_model": Reranked,
    "responses": answers("The most relevant documents first"),
}
_SCORED: Final[dict[str, Any]] = {
    "response_model": Scored,
    "responses": answers("The scores in the order of the texts"),
}


@router.post(
    "/v1/rerank", operation_id="reranking_rerank", summary="Sort documents by relevance", **_RERANKED
)
@router.post(
    "/v2/rerank", operation_id="reranking_rerank_cohere", summary="Same, for Cohere's clients", **_RERANKED
)
@router.post("/rerank", operation_id="reranking_rerank_short", summary="Same, without a version", **_RERANKED)
async def rerank(call: Call, body: RerankRequest, request: Request, key: IdempotencyKey = None) -> Response:
    """Scores how relevant each document is to the query.

    A model of `text_embedding` scores by the cosine of the vectors. Disconnecting earlier cancels the job, unless it has an
    `Idempotency-Key`.
    """
    submission = await create(
        call,
        body.model,
        body.query,
        body.documents,
        body,
        document_tokens=body.max_tokens_per_doc or DOCUMENT_TOKENS,
        key=key,
        names=("query", "documents"),
    )
    values, tokens = await scores(submission, len(body.documents))
    with_documents = body.return_documents
    if with_documents is None:
        with_documents = "/v2/" not in request.url.path
    answer = reranked(
        submission, body.documents, values, tokens, top=body.top_n, with_documents=with_documents
    )
    return json_answer(answer, submission, exclude_none=True)


@router.post("/v1/score", operation_id="reranking_score", summary="Score the similarity of texts", **_SCORED)
@router.post("/score", operation_id="reranking_score_short", summary="Same as /v1/score", **_SCORED)
async def score(call: Call, body: ScoreRequest, key: IdempotencyKey = None) -> Response:
    """Same as reranking, in vLLM's form: the scores of `text_2` for `text_1`."""
    (query,) = body.text_1
    submission = await create(
        call,
        body.model,
        query,
        body.text_2,
        body,
        document_tokens=DOCUMENT_TOKENS,
        key=key,
        names=("text_1", "text_2"),
    )
    values, tokens = await scores(submission, len(body.text_2))
    return json_answer(scored(submission, values, tokens), submission)
