"""The paths of Anthropic's API."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse
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
from agent.coordinator.features.client_apis.routes.declared import Call, answers
from agent.coordinator.features.client_apis.routes.job_answers import json_answer
from agent.coordinator.features.client_apis.routes.streaming import Framing
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.features.client_apis.text import writing
from agent.coordinator.http.server_sent_events import event
from agent.coordinator.routes._callers import AnyCaller, ContextOf, IdempotencyKey
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
async def create_message(call: Call, body: MessagesRequest, key: IdempotencyKey = None) -> Response:
    """Answers when the text is complete, or streams it. Disconnecting earlier cancels the job, unless it has an `Idempotency-Key`."""
    try:
        return await _answer(call, body, key)
    except AnswerRefused as error:
        shorter = conversation.fitting(body, error)
        if shorter is None:
            raise
        # Another request, which needs another key.
        return await _answer(call, shorter, None if key is None else f"{key[:240]} {shorter.max_tokens}")


async def _answer(call: ClientCall, body: MessagesRequest, key: str | None) -> Response:
    submission = await conversation.create(call, body, key)
    if body.stream:
        return await _streamed(submission, body)
    return json_answer(whole(submission, body, await result(submission, InferenceResult)), submission)


@router.post(
    "/messages/count_tokens",
    summary="Count the tokens of a conversation",
    response_model=TokensCount,
    responses=answers("The number of tokens"),
)
async def count_tokens(call: Call, body: CountRequest, key: IdempotencyKey = None) -> Response:
    """A job that reads the conversation as the model would, and generates nothing. A token costs a hundredth."""
    submission = await conversation.count(call, body, key)
    counted = await result(submission, InferenceResult)
    return json_answer(TokensCount(input_tokens=counted.usage.prompt_tokens), submission)


async def _streamed(submission: AnswerSubmission, body: MessagesRequest) -> StreamingResponse:
    """Answer piece by piece. A job that fails before its first piece is an ordinary error, which clients can act upon."""
    form, stream = MessageEvents(submission, body), await JobStream.begin(submission)
    chunks = await streaming.begun(stream, writing.chunks(stream, form), _has_begun)
    return streaming.answer(stream, chunks, form.failure, FRAMING)


def _has_begun(chunks: list[BaseModel | None]) -> bool:
    # The first chunk precedes the text.
    intervals = chunks.count(None)
    return intervals >= PATIENCE or (chunks[-1] is not None and len(chunks) - intervals > 1)


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
