"""The paths on which clients of llama.cpp and vLLM ask for tokens."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel

from agent.coordinator.features.client_apis import services, tokens
from agent.coordinator.features.client_apis.results import invalid_results, result
from agent.coordinator.features.client_apis.routes.declared import Call, answers
from agent.coordinator.features.client_apis.routes.job_answers import json_answer
from agent.coordinator.features.tokens.request import DetokenizeRequest, TokenizeRequest
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.supply import supply
from agent.coordinator.routes._callers import IdempotencyKey
from agent.core.errors import invalid_request
from aitbc.answers.fields import example
from runners.llm.request import InferenceResult

router = APIRouter(route_class=LargeJsonRoute, tags=["Tokens"])


class NumberedPiece(BaseModel, defer_build=True):
    """A token and its text, as llama.cpp names them."""

    id: int
    piece: str


class Tokenized(BaseModel, defer_build=True):
    """The tokens of a text. Those of `content` come without `count`, with `with_pieces` as objects."""

    model_config = example({"count": 2, "tokens": [19556, 665]})

    tokens: list[int] | list[NumberedPiece]
    count: int | None = None
    token_strs: list[str] | None = None


class Detokenized(BaseModel, defer_build=True):
    """The text of tokens: `content` as in llama.cpp, `prompt` as in vLLM."""

    model_config = example({"content": "Hello there", "prompt": "Hello there"})

    content: str
    prompt: str


_TOKENIZED: Final[dict[str, Any]] = {"response_model": Tokenized, "responses": answers("The tokens")}
_DETOKENIZED: Final[dict[str, Any]] = {"response_model": Detokenized, "responses": answers("The text")}


@router.post("/v1/tokenize", operation_id="tokens_tokenize", summary="Tokens of a text", **_TOKENIZED)
@router.post("/tokenize", operation_id="tokens_tokenize_short", summary="Same as /v1/tokenize", **_TOKENIZED)
async def tokenize(call: Call, body: TokenizeRequest, key: IdempotencyKey = None) -> Response:
    """A job that reads the text or the conversation as the model would, and generates nothing. A token costs a hundredth."""
    with_texts = body.with_pieces or bool(body.return_token_strs)
    submission = await tokens.convert(
        call,
        "pieces" if with_texts else "tokens",
        {**body.parameters(), "model": body.model or await _only_model(call.context)},
        body,
        key=key,
        names={"prompt": "prompt" if body.content is None else "content"},
    )
    converted = await result(submission, InferenceResult)
    numbers, pieces = converted.tokens, converted.pieces or []
    if numbers is None or (with_texts and len(pieces) != len(numbers)):
        raise invalid_results(submission)
    if body.content is None:
        texts = pieces if with_texts else None
        answer = Tokenized(tokens=numbers, count=len(numbers), token_strs=texts)
    elif with_texts:
        numbered = zip(numbers, pieces, strict=True)
        answer = Tokenized(tokens=[NumberedPiece(id=number, piece=piece) for number, piece in numbered])
    else:
        answer = Tokenized(tokens=numbers)
    return json_answer(answer, submission, exclude_none=True)


@router.post("/v1/detokenize", operation_id="tokens_detokenize", summary="Text of tokens", **_DETOKENIZED)
@router.post(
    "/detokenize", operation_id="tokens_detokenize_short", summary="Same as /v1/detokenize", **_DETOKENIZED
)
async def detokenize(call: Call, body: DetokenizeRequest, key: IdempotencyKey = None) -> Response:
    """The same job in the other direction."""
    submission = await tokens.convert(
        call,
        "text",
        {"token_ids": body.tokens, "model": body.model or await _only_model(call.context)},
        body,
        key=key,
        names={"token_ids": "tokens"},
    )
    converted = await result(submission, InferenceResult)
    return json_answer(Detokenized(content=converted.text, prompt=converted.text), submission)


async def _only_model(context: Context) -> str:
    """Return the only language model that can be used now. Raises `ValidationFailed`."""
    models = (await supply(context, services.TEXT)).ready
    if len(models) == 1:
        return next(iter(models))
    words = "name the model; GET /v1/models lists those that can be used now"
    raise invalid_request({"model": words})
