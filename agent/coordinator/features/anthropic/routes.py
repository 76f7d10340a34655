"""The paths of Anthropic's API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from agent.coordinator.features.anthropic import conversation, models
from agent.coordinator.features.anthropic.answer import MessageAnswer, TokensCount, whole
from agent.coordinator.features.anthropic.errors import AnthropicRoute
from agent.coordinator.features.anthropic.events import MessageEvents
from agent.coordinator.features.anthropic.request import CountRequest, MessagesRequest
from agent.coordinator.features.client_apis.errors import AnswerRefused
from agent.coordinator.features.client_apis.job_stream import JobStream
from agent.coordinator.features.client_apis.results import result
from agent.coordinator.features.client_apis.routes import streaming
from agent.coordinator.features.client_apis.routes.declared import answers
from agent.coordinator.features.client_apis.routes.streaming import Framing, job_headers
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.features.client_apis.text import writing
from agent.coordinator.http.server_sent_events import event
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.routes._callers import AnyCaller, Client, ContextOf, IdempotencyKey, disconnected
from agent.coordinator.routes._declare import EVENT_STREAM, errors
from agent.core.errors import NotFound
from runners.llm.request import InferenceResult

PATIENCE: Final = 3
"""Intervals without a piece (`job_stream.KEEP_ALIVE_SECONDS`) before a stream begins all the same."""


router = APIRouter(route_class=AnthropicRoute, prefix="/v1", tags=["Anthropic-compatible"])


def _frame(chunk: BaseModel) -> bytes:
    fields = chunk.model_dump(exclude_unset=True)
    return event(fields, fields["type"])


FRAMING: Final = Framing(_frame, keep_alive=event({"type": "ping"}, "ping"))
_EVENTS: Final = (
    'event: message_start\ndata: {"type":"message_start","message":{...}}\n\n'
    'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Paris"}}\n\n'
    'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


@router.post(
    "/messages",
    summary="Answer a conversation",
    response_model=MessageAnswer,
    responses=answers(
        "The answer; with `stream`, server-sent events that are named by their `type`",
        EVENT_STREAM,
        events=_EVENTS,
    ),
)
async def create_message(
    context: ContextOf, caller: Client, body: MessagesRequest, request: Request, key: IdempotencyKey = None
) -> Response:
    """Answers when the text is complete, or streams it. Disconnecting earlier cancels the job, unless it has an `Idempotency-Key`."""
    try:
        return await _answer(context, caller, body, request, key)
    except AnswerRefused as error:
        shorter = conversation.fitting(body, error)
        if shorter is None:
            raise
        # Another request, which needs another key.
        return await _answer(
            context, caller, shorter, request, None if key is None else f"{key[:240]} {shorter.max_tokens}"
        )


async def _answer(
    context: Context, caller: Caller, body: MessagesRequest, request: Request, key: str | None
) -> Response:
    submission = await conversation.create(context, caller, body, key)
    if body.stream:
        return await _streamed(request, submission, body)
    generated = await result(submission, InferenceResult, disconnected(request))
    answer = whole(submission, body, generated)
    return JSONResponse(answer.model_dump(mode="json"), headers=job_headers(submission))


@router.post(
    "/messages/count_tokens",
    summary="Count the tokens of a conversation",
    response_model=TokensCount,
    responses=answers("The number of tokens"),
)
async def count_tokens(
    context: ContextOf, caller: Client, body: CountRequest, request: Request, key: IdempotencyKey = None
) -> Response:
    """A job that reads the conversation as the model would, and generates nothing. A token costs a hundredth."""
    submission = await conversation.count(context, caller, body, key)
    counted = await result(submission, InferenceResult, disconnected(request))
    answer = TokensCount(input_tokens=counted.usage.prompt_tokens)
    return JSONResponse(answer.model_dump(mode="json"), headers=job_headers(submission))


async def _streamed(
    request: Request, submission: AnswerSubmission, body: MessagesRequest
) -> StreamingResponse:
    """Answer piece by piece. A job that fails before its first piece is an ordinary error, which clients can act upon."""
    form = MessageEvents(submission, body)
    stream = await JobStream.begin(submission)
    chunks = writing.chunks(stream, form)
    begun: list[BaseModel | None] = []
    try:
        async for chunk in chunks:
            begun.append(chunk)
            if begun.count(None) >= PATIENCE or (chunk is not None and len(begun) - begun.count(None) > 1):
                break
    except BaseException:
        await stream.close()
        raise
    return streaming.answer(request, stream, _continued(begun, chunks), form.failure, FRAMING)


async def _continued(
    begun: list[BaseModel | None], chunks: AsyncIterator[BaseModel | None]
) -> AsyncIterator[BaseModel | None]:
    for chunk in begun:
        yield chunk
    async for chunk in chunks:
        yield chunk


@router.get("/anthropic/models", summary="List models in Anthropic's form")
async def list_models(context: ContextOf, _: AnyCaller) -> models.ModelPage:
    """Returns the models for text. `GET /v1/models` with the header `anthropic-version` returns the same."""
    return await models.page(context)


@router.get("/anthropic/models/{model}", responses=errors(NotFound), summary="A model in Anthropic's form")
async def get_model(
    context: ContextOf, _: AnyCaller, model: Annotated[str, Path(examples=["smollm2-135m-instruct"])]
) -> models.ModelInfo:
    """The message of a 404 names the nearest model."""
    return await models.info(context, model)
