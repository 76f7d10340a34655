"""The paths of OpenAI's API for speech."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, NoReturn

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from agent.coordinator.features.client_apis.job_stream import JobStream
from agent.coordinator.features.client_apis.results import result, result_file
from agent.coordinator.features.client_apis.routes import streaming
from agent.coordinator.features.client_apis.routes.declared import Call, answers
from agent.coordinator.features.client_apis.routes.streaming import Framing
from agent.coordinator.features.client_apis.submission import AnswerSubmission, job_headers
from agent.coordinator.features.client_apis.text.chunks import error_chunk
from agent.coordinator.features.speech import voices
from agent.coordinator.features.speech.calls import SpokenText, create
from agent.coordinator.features.speech.pieces import AudioDelta, pieces
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.http.server_sent_events import event
from agent.coordinator.routes._callers import AnyCaller, ContextOf, IdempotencyKey
from agent.coordinator.routes._declare import EVENT_STREAM
from runners.speech.request import SynthesisResult
from runners.speech.sound import FORMS

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1", tags=["OpenAI-compatible"])

_EVENTS: Final = (
    'data: {"type":"speech.audio.delta","audio":"SUQz..."}\n\n'
    'data: {"type":"speech.audio.done","usage":{"input_tokens":29,"output_tokens":0,"total_tokens":29}}\n\n'
)


class SoundInterrupted(Exception):
    """A job failed after a part of its sound was sent: the connection is closed, since a complete answer would mean complete sound."""


@router.get("/audio/voices", summary="List voices")
async def list_voices(
    context: ContextOf,
    _: AnyCaller,
    model: Annotated[
        str | None, Query(max_length=200, description="Only those of this model", examples=["kokoro-82m"])
    ] = None,
) -> voices.VoiceList:
    """Returns the voices of the catalogue's models, or of one."""
    return await voices.find_all(context, model)


@router.post(
    "/audio/speech",
    summary="Speak a text",
    response_class=Response,
    responses=answers(
        "The sound, while it is made; with the `stream_format` `sse`, as server-sent events",
        "audio/mpeg",
        EVENT_STREAM,
        events=_EVENTS,
    ),
)
async def speech(call: Call, body: SpokenText, key: IdempotencyKey = None) -> Response:
    """`wav` and `flac`, whose headers need the duration, are sent when they are complete, the other formats while they are made.

    Disconnecting earlier cancels the job, unless it has an `Idempotency-Key`.
    """
    submission = await create(call, body, key)
    form = FORMS[body.sound_format]
    if body.stream_format != "sse" and not form.streamed:
        return await _whole(submission, form.media_type)
    stream = await JobStream.begin(submission)
    chunks = pieces(stream, len(body.input))
    if body.stream_format == "sse":
        framing = Framing(lambda chunk: event(chunk.model_dump()))
        return streaming.answer(stream, chunks, error_chunk, framing)
    sound = await streaming.begun(stream, chunks, lambda beginning: beginning[-1] is not None)
    framing = Framing(_bytes, keep_alive=b"", media_type=form.media_type)
    return streaming.answer(stream, sound, _interrupt, framing)


async def _whole(submission: AnswerSubmission, media_type: str) -> Response:
    spoken = await result(submission, SynthesisResult)
    file = await result_file(submission, spoken.audio.artifact_id)
    content = await submission.context.files.blobs.read(file.name_in_store, 0, file.size)
    headers = {**job_headers(submission), "Content-Length": str(file.size)}
    return StreamingResponse(content, headers=headers, media_type=media_type)


def _bytes(chunk: BaseModel) -> bytes:
    return chunk.content if isinstance(chunk, AudioDelta) else b""


def _interrupt(error: Mapping[str, Any]) -> NoReturn:
    # Without the message, which may quote the text, and would be in the server's log.
    raise SoundInterrupted(f"A job failed ({error['code']}) after a part of its sound was sent.")
