"""Streams a transcript, segment by segment, as the events of OpenAI's API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from agent.coordinator.feed.hub import Message
from runners.whisper.request import TranscribeResult

if TYPE_CHECKING:  # routes begin it, and read from it here
    from agent.coordinator.features.client_apis.job_stream import JobStream


class TextDelta(BaseModel, defer_build=True):
    """A further piece of the text."""

    type: Literal["transcript.text.delta"]
    delta: str


class TextDone(BaseModel, defer_build=True):
    """The whole text."""

    type: Literal["transcript.text.done"]
    text: str


async def events(stream: JobStream) -> AsyncIterator[TextDelta | TextDone | None]:
    """Yield the text piece by piece, and None after an interval without a piece. Raises `AnswerFailed`.

    If segments were lost, or another miner began again, the text pauses until what was sent is exceeded or the job ends;
    the last piece has the missing text.
    """
    sent_text = _SentText()
    async for message in stream.messages():
        if message is None:
            yield None
        elif piece := sent_text.piece_of(message):
            stream.extend()
            yield _delta(piece)
    result = await stream.result(TranscribeResult)
    if not result.text.startswith(sent_text.text):
        raise stream.changed()
    if missing := result.text[len(sent_text.text) :]:
        yield _delta(missing)
    yield TextDone(type="transcript.text.done", text=result.text)


def _delta(text: str) -> TextDelta:
    return TextDelta(type="transcript.text.delta", delta=text)


class _SentText:
    """The text that has been sent. Once segments may be missing, no more are sent."""

    def __init__(self) -> None:
        self.text = ""
        self._complete = True

    def piece_of(self, message: Message) -> str:
        """Return the text of a message to send; empty if there is none."""
        data = message.get("data", {})
        if message["type"] != "job_event" or data["kind"] != "segment":
            return ""
        text, offset = data.get("text"), data.get("offset")
        if not isinstance(text, str) or not isinstance(offset, int) or offset < 0:
            return ""
        # A run that resumes another one repeats its segments. Between two segments is a space, or nothing in some languages.
        if offset < len(self.text) and self.text.startswith(text, offset):
            return ""
        gap = offset - len(self.text)
        self._complete = self._complete and gap in (0, 1)
        if not self._complete:
            return ""
        piece = " " * gap + text
        self.text += piece
        return piece
