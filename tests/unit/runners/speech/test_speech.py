"""`speech_synthesis` with a real voice."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from runners.api import Cancelled, Device, Fail, Model, Retry, Tools
from runners.speech import SpeechRunner
from runners.speech.base import OPENAI_VOICES, chosen_voice
from runners.speech.passages import passages
from runners.speech.request import SoundFormat, SynthesisRequest
from runners.speech.runner import END_SECONDS
from runners.speech.sound import FORMS, SoundFile
from support.inputs.media import probe

pytestmark = pytest.mark.system

VOICE = "piper-en-us-joe"
TEXT = (
    "The harbour is quiet tonight, and no ship has left the port, because the fog does not lift before the morning comes. "
    "At nine o'clock the watchman goes home."
)


def request(**fields: Any) -> SynthesisRequest:
    return SynthesisRequest(**{"model": VOICE, "input": TEXT, **fields})


def test_a_text_is_spoken_passage_by_passage(runner: SpeechRunner, make_context: Callable[..., Any]) -> None:
    context = make_context()
    result = runner.run(request(output_format="wav"), context)
    results = result.results
    described = probe(results["audio"].path)
    assert float(described["format"]["duration"]) == pytest.approx(results["duration"], abs=0.01)
    (stream,) = described["streams"]
    assert (stream["codec_name"], stream["sample_rate"], stream["channels"]) == ("pcm_s16le", "24000", 1)
    assert 6 < results["duration"] < 20
    assert [segment["text"] for segment in results["segments"]] == passages(TEXT)
    first, second = results["segments"]
    assert (
        0
        == first["start"]
        < first["end"]
        < second["start"]
        < second["end"]
        == pytest.approx(results["duration"] - END_SECONDS, abs=0.01)
    )
    assert (results["voice"], result.units) == ("joe", len(TEXT))
    # A slow machine repeats its last report.
    percents, units = zip(*dict.fromkeys(context.reported), strict=True)
    assert list(units) == [0, len(passages(TEXT)[0]) + 1, len(TEXT)]
    assert percents[0] == 0 < percents[1] < percents[2]
    assert context.events == []


@pytest.mark.parametrize("name", get_args(SoundFormat))
def test_every_format_can_be_played_and_is_published_as_it_is_stored(
    name: SoundFormat, tmp_path: Any
) -> None:
    """A second of a tone with another rate than the file's, in pieces."""
    published: list[bytes] = []
    path = tmp_path / f"tone.{FORMS[name].suffix}"
    file = SoundFile(path, name, 22_050, published.append)
    tone = np.sin(np.arange(22_050) * 440 * 2 * np.pi / 22_050).astype(np.float32)
    for piece in np.split(tone, 5):
        file.add(piece)
    early = len(published)
    file.finish()
    assert file.seconds == 1
    if name == "pcm":
        assert path.stat().st_size == pytest.approx(48_000, abs=200)
    else:
        described = probe(path)
        assert described["streams"][0]["codec_type"] == "audio"
        assert float(described["format"]["duration"]) == pytest.approx(1, abs=0.1)
    assert b"".join(published) == (path.read_bytes() if FORMS[name].streamed else b"")
    assert (early > 0) == FORMS[name].streamed


def test_a_streamed_job_publishes_its_file_while_it_is_made(
    runner: SpeechRunner, make_context: Callable[..., Any]
) -> None:
    context = make_context()
    published: list[int] = []
    context.on_progress = lambda: published.append(len(context.events))
    result = runner.run(request(output_format="mp3", stream=True), context)
    content = b""
    for kind, data in context.events:
        assert kind == "audio"
        assert data["offset"] == len(content)
        content += base64.b64decode(data["audio"])
    digest = hashlib.sha256(result.results["audio"].path.read_bytes()).hexdigest()
    assert hashlib.sha256(content).hexdigest() == digest
    # The first passage was published before the second was spoken.
    assert 0 < published[-1] < len(context.events)


def test_a_job_is_cancelled_between_two_passages(
    runner: SpeechRunner, make_context: Callable[..., Any]
) -> None:
    context = make_context()

    def cancel() -> None:
        context.cancelled = context.reported[-1][1] > 0

    context.on_progress = cancel
    with pytest.raises(Cancelled):
        runner.run(request(), context)
    assert context.reported[-1][1] == Decimal(len(passages(TEXT)[0]) + 1)


@pytest.mark.ship
def test_speed_changes_the_duration(runner: SpeechRunner, make_context: Callable[..., Any]) -> None:
    slow, fast = (
        runner.run(request(speed=speed, output_format="pcm"), make_context()).results["duration"]
        for speed in (0.5, 2)
    )
    assert slow / fast > 2.5


def test_voices_are_those_of_the_model_and_their_other_names() -> None:
    model = Model("m", None, options={"voice": "b", "voices": {"nova": "a", "echo": "gone"}})  # type: ignore[arg-type]
    voices = ("a", "b")
    assert chosen_voice(None, model, voices) == "b"
    assert chosen_voice("a", model, voices) == "a"
    assert chosen_voice("Nova", model, voices) == "a"
    assert {chosen_voice(name, model, voices) for name in OPENAI_VOICES if name != "nova"} == {"b"}
    assert chosen_voice(None, Model("m", None), voices) == "a"  # type: ignore[arg-type]
    with pytest.raises(Fail, match=r"has no voice 'c'. It has: a, b"):
        chosen_voice("c", model, voices)


def test_what_a_voice_cannot_do_is_refused_in_words(
    runner: SpeechRunner, make_context: Callable[..., Any], tmp_path: Any
) -> None:
    with pytest.raises(Fail, match="It has: joe"):
        runner.run(request(voice="nobody"), make_context())
    with pytest.raises(Fail, match="speaks 'en-us' only"):
        runner.run(request(language="de"), make_context())
    for fields, message in (
        ({"input": " ... "}, "there is nothing to say"),
        ({"model": "kokoro-82m", "speed": 3}, "speaks at a speed from 0.5 to 2"),
        ({"speed": 5}, "speed"),
    ):
        with pytest.raises(ValidationError, match=message):
            request(**fields)
    missing = SpeechRunner(Tools(), Device("cpu", "test processor"))
    with pytest.raises(Retry, match="models pull nowhere"):
        missing.load(Model("nowhere", tmp_path, engines=("piper-tts",)))
    damaged = tmp_path / "a.onnx"
    damaged.write_bytes(b"no model")
    (tmp_path / "a.onnx.json").write_text("{}")
    with pytest.raises(Retry, match="could not be loaded by piper-tts"):
        missing.load(Model("damaged", tmp_path, engines=("piper-tts",)))


@pytest.mark.ship
def test_brackets_are_spoken_and_no_phonemes(runner: SpeechRunner, make_context: Callable[..., Any]) -> None:
    """Piper would take what is between two brackets for phonemes, and say something else."""
    said = runner.run(
        request(input="[[ Nobody should get phonemes instead of these words. ]]"), make_context()
    )
    plain = runner.run(request(input="Nobody should get phonemes instead of these words."), make_context())
    assert said.results["duration"] == pytest.approx(plain.results["duration"], rel=0.4)
