"""The paths of OpenAI's API, for its existing clients (docs/reference/openai.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel

from agent.coordinator.features.client_apis import models
from agent.coordinator.features.client_apis.errors import AnswerInvalid
from agent.coordinator.features.client_apis.form import form_body
from agent.coordinator.features.client_apis.images import Images
from agent.coordinator.features.client_apis.item_pages import ItemPage, page
from agent.coordinator.features.client_apis.job_stream import JobStream, JobStreams
from agent.coordinator.features.client_apis.results import all_results, result
from agent.coordinator.features.client_apis.routes import streaming
from agent.coordinator.features.client_apis.routes.declared import Call, answers
from agent.coordinator.features.client_apis.routes.item_pages import After, Order, PageSize
from agent.coordinator.features.client_apis.routes.job_answers import image_answer, json_answer
from agent.coordinator.features.client_apis.routes.streaming import Framing
from agent.coordinator.features.client_apis.submission import job_headers
from agent.coordinator.features.client_apis.text import writing
from agent.coordinator.features.client_apis.text.chunks import error_chunk
from agent.coordinator.features.openai import audio, embeddings, images, transcript_stream
from agent.coordinator.features.openai.responses import calls, response, stored
from agent.coordinator.features.openai.responses.events import ResponseEvent, ResponseEvents
from agent.coordinator.features.openai.responses.request import ResponseRequest
from agent.coordinator.features.openai.text import chat, completions, conversation
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.http.server_sent_events import event
from agent.coordinator.routes._callers import AnyCaller, ContextOf, IdempotencyKey
from agent.coordinator.routes._declare import EVENT_STREAM, errors
from agent.core.errors import NotFound
from runners.embedding.request import EmbeddingResult
from runners.llm.request import InferenceResult
from runners.whisper.request import TranscribeResult

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1", tags=["OpenAI-compatible"])


def _frame(chunk: BaseModel) -> bytes:
    """Return a chunk as a server-sent event; those of the Responses API have a name."""
    # Clients of the other paths expect events without a name.
    name = chunk.type if isinstance(chunk, ResponseEvent) else None
    return event(chunk.model_dump(exclude_unset=True), name)


FRAMING: Final = Framing(_frame, end=format_sse_event(data_str="[DONE]"))


@router.get("/models", summary="List models")
async def list_models(
    context: ContextOf,
    _: AnyCaller,
    every: Annotated[
        bool, Query(alias="all", description="Also models that no miner would run now without a download")
    ] = False,
) -> models.ModelList:
    """Returns the models for text, embeddings, speech and images that miners would run now.

    A request may also name a model that is only listed with `all`: it waits until a miner has downloaded it.
    """
    return await models.find_all(context, available=not every)


@router.get("/models/{model:path}", responses=errors(NotFound), summary="A model")
async def get_model(
    context: ContextOf, _: AnyCaller, model: Annotated[str, Path(examples=["smollm2-135m-instruct"])]
) -> models.Model:
    """The message of a 404 names the nearest model."""
    return await models.find(context, model)


_STREAM: Final = "The answer; with `stream`, one server-sent event for each chunk, and `[DONE]` at the end"


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    response_model=conversation.ChatCompletion,
    responses=answers(_STREAM, EVENT_STREAM),
)
async def chat_completions(call: Call, body: chat.ChatRequest, key: IdempotencyKey = None) -> Response:
    """Answers when the text is complete, or streams it. Disconnecting earlier cancels the job, unless it has an `Idempotency-Key`."""
    submission = await chat.create(call, body, key)
    if body.stream:
        # The form needs the number of answers before the first of them begins.
        chunks = conversation.ChatChunks(submission, answers=body.n or 1, usage=body.includes_usage)
        return await streaming.text(submission, chunks, FRAMING)
    generated = await result(submission, InferenceResult)
    # Null is a value in the answers for text.
    return json_answer(conversation.completion(submission, generated), submission, exclude_unset=True)


@router.post(
    "/completions",
    summary="Continue a text",
    response_model=completions.Completion,
    responses=answers(_STREAM, EVENT_STREAM),
)
async def text_completions(
    call: Call, body: completions.CompletionRequest, key: IdempotencyKey = None
) -> Response:
    """Same as a chat completion, but continues the text without a chat template. Each prompt is a job; `X-Job-ID` names all of them."""
    submissions = await completions.create(call, body, key)
    if body.stream:
        streams = await JobStreams.begin(submissions)
        chunks = completions.chunks(streams, body.echoed, answers=body.n or 1, usage=body.includes_usage)
        return streaming.answer(streams, chunks, error_chunk, FRAMING)
    generated = await all_results(submissions, InferenceResult)
    answer = completions.completion(submissions, generated, body.echoed)
    return json_answer(answer, *submissions, exclude_unset=True)


@router.post(
    "/responses",
    summary="Answer a conversation, in the form of Open Responses",
    response_model=response.Response,
    responses=answers(
        "The answer; with `stream`, server-sent events that are named by their `type`, and `[DONE]` at the end",
        EVENT_STREAM,
    ),
)
async def create_response(call: Call, body: ResponseRequest, key: IdempotencyKey = None) -> Response:
    """Same as a chat completion. It may continue a stored response or conversation, and run in the background (`GET /v1/responses/{id}`)."""
    history = await stored.history(call, body)
    submission = await calls.create(call, body, key, history)
    if body.background:
        submission = replace(submission, resumable=True)
    first = response.begun(submission, body, stored=stored.is_stored(call.context, body))
    record = await stored.begin(submission, body, calls.own_items(body), first) if first.store else None
    if body.stream:
        form, stream = ResponseEvents(submission, first), await JobStream.begin(submission)
        chunks = stored.recorded(call.context, record, writing.chunks(stream, form))
        return streaming.answer(stream, chunks, form.failure, FRAMING)
    # Null is a value in this form, so nothing is left out, unlike in the other answers.
    if body.background:
        queued = {**first.model_dump(mode="json"), "status": "queued"}
        return JSONResponse(queued, headers=job_headers(submission))
    generated = await result(submission, InferenceResult)
    answer = response.made(first, submission, generated).model_dump(mode="json")
    await stored.finish(call.context, record, answer)
    return JSONResponse(answer, headers=job_headers(submission))


ResponseId = Annotated[str, Path(max_length=64, examples=["job_1234567890"])]


@router.get(
    "/responses/{response_id}", responses=errors(NotFound, AnswerInvalid), summary="A stored response"
)
async def get_response(call: Call, response_id: ResponseId) -> response.Response:
    """Returns the response as it is now: one in the background is `queued` and `in_progress` before it ends."""
    return response.Response.model_validate(await stored.current(call, response_id))


@router.delete("/responses/{response_id}", responses=errors(NotFound), summary="Delete a stored response")
async def delete_response(call: Call, response_id: ResponseId) -> response.ResponseDeleted:
    """Responses that continue it can no longer be continued. The job's data has a call of its own (`DELETE /v1/jobs/{job_id}/data`)."""
    await stored.delete(call, response_id)
    return response.ResponseDeleted(id=response_id)


@router.post(
    "/responses/{response_id}/cancel",
    responses=errors(NotFound, AnswerInvalid),
    summary="Cancel a stored response",
)
async def cancel_response(call: Call, response_id: ResponseId) -> response.Response:
    """Cancels its job, unless it has ended, and returns the response."""
    return response.Response.model_validate(await stored.cancel(call, response_id))


@router.get(
    "/responses/{response_id}/input_items",
    responses=errors(NotFound),
    summary="List a stored response's input",
)
async def list_input_items(
    call: Call,
    response_id: ResponseId,
    after: After = None,
    order: Order = "desc",
    limit: PageSize = 20,
) -> ItemPage:
    """Returns the items of the request's own input, without those that it continues."""
    items = await stored.input_items(call, response_id)
    return page(items, order=order, after=after, limit=limit)


@router.post(
    "/embeddings",
    summary="Embed texts",
    response_model=embeddings.Embeddings,
    responses=answers("The vectors"),
)
async def text_embeddings(
    call: Call, body: embeddings.EmbeddingsRequest, key: IdempotencyKey = None
) -> Response:
    """Answers when all vectors are made. Disconnecting earlier cancels the job, unless it has an `Idempotency-Key`."""
    submission = await embeddings.create(call, body, key)
    embedded = await result(submission, EmbeddingResult)
    answer = embeddings.embeddings(submission, embedded, encoded=body.encoding_format == "base64")
    return json_answer(answer, submission)


_SPOKEN: Final = "The text; with `stream`, server-sent events `transcript.text.delta`, then `transcript.text.done` and `[DONE]`"
_SPOKEN_EVENTS: Final = (
    'data: {"type":"transcript.text.delta","delta":"Hello."}\n\n'
    'data: {"type":"transcript.text.done","text":"Hello."}\n\ndata: [DONE]\n\n'
)


@router.post(
    "/audio/transcriptions",
    summary="Transcribe speech",
    response_model=audio.Transcription | audio.VerboseTranscription,
    responses=answers(_SPOKEN, "text/plain", EVENT_STREAM, events=_SPOKEN_EVENTS),
    openapi_extra=form_body(audio.TranscriptionRequest),
)
async def transcriptions(call: Call, key: IdempotencyKey = None) -> Response:
    """The file becomes an artifact of the caller. `text`, `srt` and `vtt` answers are plain text.

    A streamed text comes segment by segment. Disconnecting earlier cancels the job, unless it has an `Idempotency-Key`.
    """
    return await _speech(call, key, "transcribe")


@router.post(
    "/audio/translations",
    summary="Translate speech to English text",
    response_model=audio.Transcription | audio.VerboseTranscription,
    responses=answers("The text", "text/plain"),
    openapi_extra=form_body(audio.TranslationRequest),
)
async def translations(call: Call, key: IdempotencyKey = None) -> Response:
    """Same as a transcription. Needs a multilingual model."""
    return await _speech(call, key, "translate")


async def _speech(call: Call, key: IdempotencyKey, task: audio.Task) -> Response:
    submission, form = await audio.create(call, task, key)
    if form.streamed:
        # Subscribed before the answer begins, so that no segment is missed.
        stream = await JobStream.begin(submission)
        return streaming.answer(stream, transcript_stream.events(stream), error_chunk, FRAMING)
    transcribed = await result(submission, TranscribeResult)
    if form.response_format == "text":
        return PlainTextResponse(f"{transcribed.text}\n", headers=job_headers(submission))
    if form.response_format in audio.SUBTITLES:
        content = await audio.subtitles(submission, form, transcribed)
        return StreamingResponse(content, headers=job_headers(submission), media_type="text/plain")
    return json_answer(audio.transcription(task, form, transcribed), submission, exclude_none=True)


@router.post(
    "/images/generations",
    summary="Generate images",
    response_model=Images,
    responses=answers("The images"),
)
async def image_generations(
    call: Call, body: images.ImageRequest, request: Request, key: IdempotencyKey = None
) -> Response:
    """Answers when all images are generated."""
    return await image_answer(request, await images.create(call, body, key), body)
