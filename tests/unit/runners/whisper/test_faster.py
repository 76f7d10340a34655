"""faster-whisper: which parts of a recording it decodes, how often, and where the text is in the recording."""

from __future__ import annotations

import subprocess
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from runners.api import Model
from runners.whisper import faster
from runners.whisper.faster import Decoded, FasterWhisper
from runners.whisper.request import TranscribeRequest
from runners.whisper.speech import WINDOW_SECONDS, Clip, blocks
from support.inputs.speech import SENTENCE, read_samples, similarity

pytestmark = pytest.mark.ship

RATE = 16_000
REQUEST = TranscribeRequest(audio_url="https://example.com/a.mp3", model="tiny.en")


@pytest.fixture(scope="module")
def engine(models, device):
    return FasterWhisper(Model("tiny.en", models / "tiny.en"), device)


class Collected:
    """Records an engine's reports."""

    def __init__(self) -> None:
        self.segments = []
        self.borders = []
        self.spans = []

    def reached(self, seconds, language):
        self.borders.append((seconds, language))

    def segment(self, segment, text):  # noqa: ARG002 - the listener's signature
        self.segments.append(segment)

    def doubtful(self, start, end):
        self.spans.append((start, end))


class Said:
    """A segment as faster-whisper returns it."""

    words = None
    start = end = 0.0

    def __init__(self, text, avg_logprob, no_speech_prob):
        self.text, self.tokens, self.seek = text, [1, 2], 0
        self.avg_logprob, self.no_speech_prob = avg_logprob, no_speech_prob


@pytest.fixture
def decodings(engine, monkeypatch):
    """The temperatures of all decodings outside of batches."""
    asked = []
    alone = engine._model.transcribe

    def transcribe(samples, *, temperature, **options):
        asked.append(temperature)
        return alone(samples, temperature=temperature, **options)

    monkeypatch.setattr(engine._model, "transcribe", transcribe)
    return asked


def run(engine, samples, **changes):
    found = Collected()
    found.language = engine.transcribe(samples, REQUEST.model_copy(update=changes), found)
    return found


def test_pauses_are_not_decoded_and_times_are_those_of_the_recording(engine, samples, decodings):
    """The text after a pause of 40 seconds is at its time, although one window holds both sentences."""
    pause = np.zeros(40 * RATE, np.float32)
    found = run(engine, np.concatenate([samples, pause, samples]), word_timestamps=True)
    first, *_, last = found.segments
    text = " ".join(segment["text"] for segment in found.segments)
    assert text.replace(",", "") == f"{SENTENCE} {SENTENCE}"
    assert first["start"] < 1
    assert last["end"] == pytest.approx(2 * len(samples) / RATE + 40, abs=1.5)
    beginning = len(samples) / RATE + 40
    times = [word["start"] for segment in found.segments for word in segment["words"]]
    assert sum(time < beginning - 39 for time in times) == sum(time > beginning - 1 for time in times)
    assert len(times) == 2 * len(SENTENCE.split())
    assert [language for _, language in found.borders] == [None, "en", "en"]
    assert decodings == []


def test_a_text_that_repeats_itself_is_decoded_again_at_higher_temperatures(
    engine, samples, decodings, monkeypatch
):
    """Only the first temperature is decoded in batches. One clip of a batch is affected, and the other is not."""
    batch = engine._pipeline.transcribe

    def looping(*arguments, **options):
        passages, information = batch(*arguments, **options)
        passages = list(passages)
        passages[-1].text = "la " * 80
        return passages, information

    monkeypatch.setattr(engine._pipeline, "transcribe", looping)
    clips = [Clip(0, len(samples) / RATE, 0), Clip(len(samples) / RATE, 2 * len(samples) / RATE, 0)]
    results, language = engine._decode(np.concatenate([samples] * 2), clips, REQUEST, None)
    assert decodings == [[0.2, 0.4, 0.6, 0.8, 1.0]]
    assert language == "en"
    for result, clip in zip(results, clips, strict=True):
        assert similarity("".join(segment.text for segment in result.segments), SENTENCE) > 0.7
        assert clip.start - 0.01 <= result.segments[0].start < clip.start + 1


def test_the_likeliest_of_poor_texts_remains(engine, tmp_path, monkeypatch):
    """Words that are really spoken again and again."""
    poorer = Decoded([Said("la " * 80, -0.9, 0.1)])
    monkeypatch.setattr(engine, "_alone", lambda *_: poorer)
    path = tmp_path / "spoken.wav"
    spoken = " ".join([SENTENCE] * 4)
    subprocess.run(
        ["espeak-ng", "-v", "en-us", "-s", "150", "-w", str(path), spoken], check=True, timeout=120
    )
    found = run(engine, read_samples(path))
    assert similarity(" ".join(segment["text"] for segment in found.segments), spoken) > 0.7
    assert [start for start, _ in found.spans] == [0]
    monkeypatch.setattr(engine, "_alone", lambda *_: Decoded([Said(" Bye.", -1.1, 0.1)]))
    assert [segment["text"] for segment in run(engine, read_samples(path)).segments] == ["Bye."]


def test_a_temperature_of_the_request_is_used(engine, samples, decodings):
    """Batches would take the likeliest words at any temperature."""
    found = run(engine, samples, temperature=0.2)
    assert decodings == [[0.2, 0.4, 0.6, 0.8, 1.0]]
    assert similarity(" ".join(segment["text"] for segment in found.segments), SENTENCE) > 0.7
    assert found.segments[-1]["end"] <= len(samples) / RATE + 0.01


def test_an_unlikely_text_is_invented_only_where_there_may_be_silence(
    engine, samples, decodings, monkeypatch
):
    """It is neither reported nor decoded again."""
    information = SimpleNamespace(language="en")
    invented = [Said("Thank you.", -1.2, 0.7)]
    monkeypatch.setattr(engine._pipeline, "transcribe", lambda *_, **__: (invented, information))
    found = run(engine, samples)
    assert (found.segments, decodings, len(found.spans)) == ([], [], 1)
    assert Decoded([Said("Thank you.", -1.2, 0.7)]).silent
    assert not Decoded([Said("Thank you.", -1.2, 0.5)]).silent
    assert not Decoded([Said("Thank you.", -0.9, 0.7)]).silent
    assert not Decoded([]).silent
    assert not Decoded([]).poor


def test_a_long_recording_is_cut_into_blocks_only_in_pauses(samples):
    """A word at a border is in one block, whole."""
    recording = np.concatenate([samples] * 6)
    (whole,) = blocks(recording)
    parts = list(blocks(recording, block_seconds=10))
    assert len(parts) > 3
    assert [part.start for part in parts] == [0, *(part.end for part in parts[:-1])]
    assert parts[-1].end == whole.end == len(recording) / RATE
    for border in (round(part.start * RATE) for part in parts[1:]):
        assert np.abs(recording[border - 500 : border + 500]).max() < 0.02, "a word is cut"
    speech = sum(len(part.speech) for part in parts)
    assert speech == pytest.approx(len(whole.speech), rel=0.02)
    for clip in (clip for part in (whole, *parts) for clip in part.clips):
        assert 0 < clip.end - clip.start <= WINDOW_SECONDS
    assert [clip.border for clip in whole.clips] == sorted(clip.border for clip in whole.clips)


def test_times_in_later_blocks_are_those_of_the_recording(engine, samples, monkeypatch):
    monkeypatch.setattr(faster, "blocks", partial(blocks, block_seconds=len(samples) / RATE + 2))
    found = run(engine, np.concatenate([samples] * 3), word_timestamps=True)
    words = [word for segment in found.segments for word in segment["words"]]
    starts = [word["start"] for word in words if word["word"] == "Please"]
    length = len(samples) / RATE
    assert starts == pytest.approx([0, length, 2 * length], abs=1)
    assert [word["start"] for word in words] == sorted(word["start"] for word in words)
    assert found.borders[-1] == (pytest.approx(3 * length), "en")


def test_silence_has_no_clips():
    assert [block.clips for block in blocks(np.zeros(5 * RATE, np.float32))] == [[]]
    assert list(blocks(np.zeros(0, np.float32))) == []
