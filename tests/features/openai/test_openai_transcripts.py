"""OpenAI's own client streams transcripts, also when the job is cancelled, handed over or fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI, Stream
from openai.types.audio import (
    TranscriptionStreamEvent,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
)

from agent.coordinator.features.client_apis import job_stream
from support.clients.openai_jobs import SPEECH, register
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import ended
from support.server import Served

SENTENCES = ("Hello there.", "The boats have returned.", "Bye.")
WHOLE = "Hello there. The boats have returned.Bye."
RESULTS: dict[str, Any] = {
    "text": WHOLE, "language": "en", "duration": 6.0, "segments": [], "files": [], "units": 6, "processing_time": 0.1,
}  # fmt: skip


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    return register(ScriptedMiner(served.url))


@pytest.fixture
def transcript(ai: OpenAI) -> Iterator[Stream[TranscriptionStreamEvent]]:
    """A streamed transcription, before any event is read."""
    with closing(
        ai.audio.transcriptions.create(file=("a.wav", b"RIFF"), model=SPEECH, stream=True)
    ) as stream:
        yield stream


def send(miner: ScriptedMiner, lease: dict[str, Any], *sentences: str) -> None:
    """Publish segments, at their offsets in the whole text."""
    events = [
        {"kind": "segment", "data": {"start": 0, "end": 1, "text": text, "offset": WHOLE.index(text)}}
        for text in sentences
    ]
    assert miner.job(lease, "events", events=events).status_code == 204


def delta(event: TranscriptionStreamEvent) -> str:
    assert isinstance(event, TranscriptionTextDeltaEvent), event
    return event.delta


def test_a_transcript_is_streamed_segment_by_segment(
    transcript: Stream[TranscriptionStreamEvent], miner: ScriptedMiner
) -> None:
    """The pieces are the whole text, with spaces only where it has them."""
    assert transcript.response.headers["content-type"].startswith("text/event-stream")
    (lease,) = miner.poll()
    assert lease["job_id"] == transcript.response.headers["x-job-id"]
    pieces = []
    for sentence in SENTENCES:
        send(miner, lease, sentence)
        pieces.append(delta(next(transcript)))
    assert pieces == ["Hello there.", " The boats have returned.", "Bye."]
    assert miner.complete(lease, RESULTS).status_code == 200
    (done,) = list(transcript)
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert done.text == WHOLE


def test_lost_segments_are_sent_at_the_end(
    transcript: Stream[TranscriptionStreamEvent], miner: ScriptedMiner
) -> None:
    (lease,) = miner.poll()
    send(miner, lease, SENTENCES[0], SENTENCES[2])
    miner.complete(lease, RESULTS)
    *pieces, done = list(transcript)
    assert [delta(piece) for piece in pieces] == ["Hello there.", " The boats have returned.Bye."]
    assert done.type == "transcript.text.done"


def test_a_run_that_resumes_another_continues_the_text(
    transcript: Stream[TranscriptionStreamEvent], served: Served, miner: ScriptedMiner
) -> None:
    """It repeats the segments of the first run, which are not sent again."""
    (lease,) = miner.poll()
    send(miner, lease, *SENTENCES[:2])
    assert [delta(next(transcript)) for _ in range(2)] == ["Hello there.", " The boats have returned."]
    miner.job(lease, "release", reason="stopping")
    second = register(ScriptedMiner(served.url))
    (again,) = second.poll()
    send(second, again, *SENTENCES)
    assert delta(next(transcript)) == "Bye."
    second.complete(again, RESULTS)
    (done,) = list(transcript)
    assert done.type == "transcript.text.done"


def test_a_different_text_of_another_miner_is_an_error(
    transcript: Stream[TranscriptionStreamEvent], miner: ScriptedMiner
) -> None:
    (lease,) = miner.poll()
    send(miner, lease, SENTENCES[0])
    assert delta(next(transcript)) == "Hello there."
    miner.complete(lease, {**RESULTS, "text": "Goodbye."})
    with pytest.raises(openai.APIError) as caught:
        list(transcript)
    assert caught.value.code == "TEXT_CHANGED"


def test_a_job_that_fails_ends_the_stream_with_its_error(
    transcript: Stream[TranscriptionStreamEvent], miner: ScriptedMiner
) -> None:
    (lease,) = miner.poll()
    miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No audio stream.")
    with pytest.raises(openai.APIError, match="No audio stream") as caught:
        list(transcript)
    assert caught.value.code == "INPUT_INVALID"


def test_disconnecting_from_a_stream_cancels_its_job(
    transcript: Stream[TranscriptionStreamEvent], miner: ScriptedMiner, client: httpx.Client
) -> None:
    (lease,) = miner.poll()
    send(miner, lease, SENTENCES[0])
    assert delta(next(transcript)) == "Hello there."
    transcript.close()
    ended(client, lease["job_id"], "cancelled")


@pytest.mark.parametrize("response_format", ["srt", "vtt", "verbose_json"])
def test_only_a_text_can_be_streamed(ai: OpenAI, response_format: Any) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="json or text"):
        ai.audio.transcriptions.create(
            file=("a.wav", b"RIFF"), model=SPEECH, stream=True, response_format=response_format
        )


def test_an_idle_stream_sends_keep_alive_comments(
    client: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As clients in other languages require, the last line is [DONE]."""
    monkeypatch.setattr(job_stream, "KEEP_ALIVE_SECONDS", 0.01)
    form = {"data": {"model": SPEECH, "stream": "true"}, "files": {"file": ("a.wav", b"RIFF")}}
    with client.stream("POST", "/v1/audio/transcriptions", **form) as answer:
        lines = answer.iter_lines()
        assert any(line == ": still here" for line in lines)
        (lease,) = miner.poll()
        miner.complete(lease, RESULTS)
        assert [line for line in lines if line and not line.startswith(":")] == [
            f'data: {{"type":"transcript.text.delta","delta":"{WHOLE}"}}',
            f'data: {{"type":"transcript.text.done","text":"{WHOLE}"}}',
            "data: [DONE]",
        ]
