"""The sound of a job, piece by piece: from its events while it runs, and from its file at the end."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from agent.coordinator.features.client_apis.errors import AnswerChanged
from agent.coordinator.features.client_apis.results import result_file
from agent.coordinator.feed.hub import Message
from runners.speech.request import SynthesisResult

if TYPE_CHECKING:  # routes begin it, and read from it here
    from agent.coordinator.features.client_apis.job_stream import JobStream


class AudioDelta(BaseModel, defer_build=True):
    """A further piece of the sound, as base64."""

    type: Literal["speech.audio.delta"] = "speech.audio.delta"
    audio: str

    @classmethod
    def of(cls, content: bytes) -> AudioDelta:
        """Return a piece."""
        return cls(audio=base64.b64encode(content).decode())

    @property
    def content(self) -> bytes:
        """The bytes of the sound."""
        return base64.b64decode(self.audio)


class AudioUsage(BaseModel, defer_build=True):
    """What is paid for: characters of the text, which stand here for OpenAI's tokens."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class AudioDone(BaseModel, defer_build=True):
    """The end of the sound."""

    type: Literal["speech.audio.done"] = "speech.audio.done"
    usage: AudioUsage


async def pieces(stream: JobStream, characters: int) -> AsyncIterator[AudioDelta | AudioDone | None]:
    """Yield the sound piece by piece, and None after an interval without a piece. Raises `AnswerFailed`.

    If pieces were lost, or another miner began again, the rest comes from the file when the job has ended. `characters` are those of the text.
    """
    sent_sound = _SentSound()
    async for message in stream.messages():
        if message is None:
            yield None
        elif content := sent_sound.piece_of(message):
            stream.extend()
            yield AudioDelta.of(content)
    async for content in _rest(stream, sent_sound, await stream.result(SynthesisResult)):
        yield AudioDelta.of(content)
    usage = AudioUsage(input_tokens=characters, output_tokens=0, total_tokens=characters)
    yield AudioDone(usage=usage)


class _SentSound:
    """The size and the digest of what has been sent. Once pieces may be missing, no more are sent."""

    def __init__(self) -> None:
        self.size = 0
        self.digest = hashlib.sha256()

    def piece_of(self, message: Message) -> bytes:
        """Return the bytes of a message to send; empty if there are none."""
        data = message.get("data", {})
        if message["type"] != "job_event" or data["kind"] != "audio" or data.get("offset") != self.size:
            return b""
        # A miner may send anything.
        try:
            content = base64.b64decode(data["audio"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            return b""
        self.size += len(content)
        self.digest.update(content)
        return content


async def _rest(stream: JobStream, sent_sound: _SentSound, result: SynthesisResult) -> AsyncIterator[bytes]:
    """Yield what of the file was not sent. Raises `AnswerChanged` if it begins differently."""
    submission = stream.submission
    file = await result_file(submission, result.audio.artifact_id)
    beginning, compared = hashlib.sha256(), 0
    async for content in await submission.context.files.blobs.read(file.name_in_store, 0, file.size):
        repeated = content[: sent_sound.size - compared]
        beginning.update(repeated)
        compared += len(repeated)
        if compared == sent_sound.size and beginning.digest() != sent_sound.digest.digest():
            break
        if missing := content[len(repeated) :]:
            yield missing
    if compared < sent_sound.size or beginning.digest() != sent_sound.digest.digest():
        message = (
            "Another miner made a different sound after a part had been sent. "
            f"GET /v1/jobs/{submission.job_id}/results names the whole file."
        )
        raise AnswerChanged(submission.job_id, message)
