"""The paths of OpenAI's API, for its existing clients (docs/reference/openai.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any, Final

import anyio
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from agent.coordinator.features.openai import audio, embeddings, images, models, transcript_stream
from agent.coordinator.features.openai.errors import (
    AnswerCancelled,
    AnswerFailed,
    AnswerInvalid,
    AnswerRefused,
    AnswerTimeout,
)
from agent.coordinator.features.openai.form import form_schema
from agent.coordinator.features.openai.job_stream import JobStream
from agent.coordinator.features.openai.responses import calls, response
from agent.coordinator.features.openai.responses.events import ResponseEvent, ResponseEvents
from agent.coordinator.features.openai.responses.request import ResponseRequest
from agent.coordinator.features.openai.results import result
from agent.coordinator.features.openai.submission import AnswerSubmission
from agent.coordinator.features.openai.text import chat, completions, conversation, writing
from agent.coordinator.features.openai.text.chunks import Chunks, error_chunk
from agent.coordinator.http.hosts import own_address
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.http.server_sent_events import KEEP_ALIVE, EventStream, event
from agent.coordinator.job_fields import OPTION_ERRORS
from agent.coordinator.routes._callers import AnyCaller, Client, ContextOf, IdempotencyKey, disconnected
from agent.coordinator.routes._declare import EVENT_STREAM, DataEvent, errors, event_stream, headers
from agent.core.errors import ApiError, Conflict, InsufficientBalance, NotFound, error_body
from runners.embedding.request import EmbeddingResult
from runners.llm.request import InferenceResult
from runners.whisper.request import TranscribeResult

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1", tags=["OpenAI-compatible"])

CLOSE_SECONDS: Final = 5.0
"""How long a stream may take to cancel its job after the client has left."""


@router.get("/models", summary="List models")
async def list_models(context: ContextOf, _: AnyCaller) -> models.ModelList:
    """Returns the models for text, embeddings, speech and images, and whether a miner would run each of them now."""
    return await models.find_all(context)


@router.get("/models/{model}", responses=errors(NotFound), summary="A model")
async def get_model(
    context: ContextOf, _: AnyCaller, model: Annotated[str, Path(examples=["smollm2-135m-instruct"])]
) -> models.Model:
    """The message of a 404 names the nearest model."""
    return await models.find(context, model)


_CHUNKS: Final = 'data: {"id":"job_1234567890","object":"...","choices":[...]}\n\ndata: [DONE]\n\n'
_ERRORS: Final = errors(
    NotFound,
    InsufficientBalance,
    Conflict,
    AnswerCancelled,
    AnswerFailed,
    AnswerInvalid,
    AnswerRefused,
    AnswerTimeout,
    *OPTION_ERRORS,
)


def _answers(description: str, *media_types: str, events: str = _CHUNKS) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of an answer; `media_types` are those besides JSON, `events` an example of a stream."""
    answer_headers = headers(X_Job_ID="The id of the answer's job")
    content: dict[str, Any] = {media_type: {"schema": {"type": "string"}} for media_type in media_types}
    if EVENT_STREAM in media_types:
        content |= event_stream("", events, DataEvent)["content"]
    return {200: {"description": description, "headers": answer_headers, "content": content}, **_ERRORS}


_STREAM: Final = "The answer; with `stream`, one server-sent event for each chunk, and `[DONE]` at the end"


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    response_model=conversation.ChatCompletion,
    responses=_answers(_STREAM, EVENT_STREAM),
)
async def chat_completions(
    context: ContextOf, caller: Client, body: chat.ChatRequest, request: Request, key: IdempotencyKey = None
) -> Response:
    """Answers when the text is complete, or streams it. Disconnecting earlier cancels the job, unless it has an `Idempotency-Key`."""
    submission = await chat.create(context, caller, body, key)
    if body.stream:
        # The form needs the number of answers before the first of them begins.
        chunks = conversation.ChatChunks(submission, answers=body.n or 1, usage=body.includes_usage)
        return await _stream(request, submission, chunks)
    generated = await result(submission, InferenceResult, disconnected(request))
    return _text(submission, conversation.completion(submission, generated))


@router.post(
    "/completions",
    summary="Continue a text",
    response_model=completions.Completion,
    responses=_answers(_STREAM, EVENT_STREAM),
)
async def text_completions(
    context: ContextOf,
    caller: Client,
    body: completions.CompletionRequest,
    request: Request,
    key: IdempotencyKey = None,
) -> Response:
    """Same as a chat completion, but continues the text without a chat template."""
    submission = await completions.create(context, caller, body, key)
    if body.stream:
        return await _stream(
            request, submission, completions.CompletionChunks(submission, usage=body.includes_usage)
        )
    generated = await result(submission, InferenceResult, disconnected(request))
    return _text(submission, completions.completion(submission, generated))


@router.post(
    "/responses",
    summary="Answer a conversation, in the form of Open Responses",
    response_model=response.Response,
    responses=_answers(
        "The answer; with `stream`, server-sent events that are named by their `type`, and `[DONE]` at the end",
        EVENT_STREAM,
    ),
)
async def create_response(
    context: ContextOf,
    caller: Client,
    body: ResponseRequest,
    request: Request,
    key: IdempotencyKey = None,
) -> Response:
    """Same as a chat completion. The coordinator stores no conversation, so each request contains all of it."""
    submission = await calls.create(context, caller, body, key)
    if body.stream:
        return await _stream(request, submission, ResponseEvents(submission, body))
    generated = await result(submission, InferenceResult, disconnected(request))
    # Null is a value in this form, so nothing is left out, unlike in the other answers.
    answer = response.made(submission, body, generated)
    return JSONResponse(answer.model_dump(mode="json"), headers=_names(submission))


@router.post(
    "/embeddings",
    summary="Embed texts",
    response_model=embeddings.Embeddings,
    responses=_answers("The vectors"),
)
async def text_embeddings(
    context: ContextOf,
    caller: Client,
    body: embeddings.EmbeddingsRequest,
    request: Request,
    key: IdempotencyKey = None,
) -> Response:
    """Answers when all vectors are made. Disconnecting earlier cancels the job, unless it has an `Idempotency-Key`."""
    submission = await embeddings.create(context, caller, body, key)
    embedded = await result(submission, EmbeddingResult, disconnected(request))
    return _json(
        submission, embeddings.embeddings(submission, embedded, encoded=body.encoding_format == "base64")
    )


_SPOKEN: Final = "The text; with `stream`, server-sent events `transcript.text.delta`, then `transcript.text.done` and `[DONE]`"
_SPOKEN_EVENTS: Final = (
    'data: {"type":"transcript.text.delta","delta":"Hello."}\n\n'
    'data: {"type":"transcript.text.done","text":"Hello."}\n\ndata: [DONE]\n\n'
)


def _form(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form_schema(model)}}}
    }


@router.post(
    "/audio/transcriptions",
    summary="Transcribe speech",
    response_model=audio.Transcription | audio.VerboseTranscription,
    responses=_answers(_SPOKEN, "text/plain", EVENT_STREAM, events=_SPOKEN_EVENTS),
    openapi_extra=_form(audio.TranscriptionRequest),
)
async def transcriptions(
    context: ContextOf, caller: Client, request: Request, key: IdempotencyKey = None
) -> Response:
    """The file becomes an artifact of the caller. `text`, `srt` and `vtt` answers are plain text.

    A streamed text comes segment by segment. Disconnecting earlier cancels the job, unless it has an `Idempotency-Key`.
    """
    return await _speech(context, caller, request, key, "transcribe")


@router.post(
    "/audio/translations",
    summary="Translate speech to English text",
    response_model=audio.Transcription | audio.VerboseTranscription,
    responses=_answers("The text", "text/plain"),
    openapi_extra=_form(audio.TranslationRequest),
)
async def translations(
    context: ContextOf, caller: Client, request: Request, key: IdempotencyKey = None
) -> Response:
    """Same as a transcription. Needs a multilingual model."""
    return await _speech(context, caller, request, key, "translate")


async def _speech(
    context: ContextOf, caller: Client, request: Request, key: IdempotencyKey, task: audio.Task
) -> Response:
    content_type = request.headers.get("content-type")
    submission, form = await audio.create(context, caller, task, content_type, request.stream(), key)
    if form.streamed:
        # Subscribed before the answer begins, so that no segment is missed.
        stream = await JobStream.begin(submission)
        frames = _frames(transcript_stream.events(stream), request.scope["request_id"])
        return _TextStream(stream, frames, _names(submission))
    transcribed = await result(submission, TranscribeResult, disconnected(request))
    if form.response_format == "text":
        return PlainTextResponse(f"{transcribed.text}\n", headers=_names(submission))
    if form.response_format in audio.SUBTITLES:
        content = await audio.subtitles(submission, form, transcribed)
        return StreamingResponse(content, headers=_names(submission), media_type="text/plain")
    return _json(submission, audio.transcription(task, form, transcribed))


@router.post(
    "/images/generations",
    summary="Generate images",
    response_model=images.Images,
    responses=_answers("The images"),
)
async def image_generations(
    context: ContextOf,
    caller: Client,
    body: images.ImageRequest,
    request: Request,
    key: IdempotencyKey = None,
) -> Response:
    """Answers when all images are generated."""
    submission = await images.create(context, caller, body, key)
    generated = await result(submission, images.GeneratedImages, disconnected(request))
    if body.response_format == "url":
        return _json(
            submission,
            await images.linked(submission, body, generated, own_address(context.settings, request)),
        )
    content = await images.encoded(submission, body, generated)
    return StreamingResponse(content, headers=_names(submission), media_type="application/json")


def _names(submission: AnswerSubmission) -> dict[str, str]:
    """Return the header that names the job, for its receipt."""
    return {"X-Job-ID": submission.job_id}


def _json(submission: AnswerSubmission, answer: BaseModel) -> Response:
    return JSONResponse(answer.model_dump(mode="json", exclude_none=True), headers=_names(submission))


def _text(submission: AnswerSubmission, answer: BaseModel) -> Response:
    """Return a text answer, in which null is a value."""
    return JSONResponse(answer.model_dump(mode="json", exclude_unset=True), headers=_names(submission))


async def _stream(request: Request, submission: AnswerSubmission, form: Chunks) -> Response:
    stream = await JobStream.begin(submission)
    frames = _frames(writing.chunks(stream, form), request.scope["request_id"], form.failure)
    return _TextStream(stream, frames, _names(submission))


async def _frames(
    chunks: AsyncIterator[BaseModel | None],
    request_id: str,
    failure: Callable[[Mapping[str, Any]], BaseModel] = error_chunk,
) -> AsyncIterator[bytes]:
    """Yield the answer as server-sent events; an error is the last of them."""
    try:
        async for chunk in chunks:
            yield KEEP_ALIVE if chunk is None else _frame(chunk)
    # The status of the answer is already sent, so the error becomes its last event.
    except ApiError as error:
        body = error_body(error.code, error.message, error.details, request_id)
        yield _frame(failure(body["error"]))
    else:
        yield format_sse_event(data_str="[DONE]")


def _frame(chunk: BaseModel) -> bytes:
    """Return a chunk as a server-sent event; those of the Responses API have a name."""
    # Clients of the other paths expect events without a name.
    name = chunk.type if isinstance(chunk, ResponseEvent) else None
    return event(chunk.model_dump(exclude_unset=True), name)


class _TextStream(EventStream):
    """A streamed answer that cancels its job when the client leaves, however early."""

    def __init__(self, stream: JobStream, frames: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        super().__init__(frames, headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # The cancellation that the client's leaving causes must not reach this.
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await self._stream.close()
