"""Kokoro with its real weights and voices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aitbc.canonical import sha256_hex
from runners.api import Device, Fail, Model, Tools
from runners.speech import SpeechRunner
from runners.speech.kokoro import VOICES
from runners.speech.likeness import distances
from runners.speech.request import SynthesisRequest
from runners.whisper import WhisperRunner
from runners.whisper.request import TranscribeRequest
from support.inputs.kokoro import assembled
from support.inputs.speech import SENTENCE, similarity

pytestmark = pytest.mark.ship

MODEL = "kokoro-82m-int8"


@pytest.fixture(scope="module")
def kokoro(tmp_path_factory: pytest.TempPathFactory) -> Model:
    directory = assembled(tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("kokoro"))
    options = {"voice": "af_heart", "voices": {"onyx": "am_onyx"}}
    return Model(MODEL, directory, engines=("kokoro-onnx",), options=options)


@pytest.fixture(scope="module")
def speaker(kokoro: Model, tmp_path_factory: pytest.TempPathFactory) -> SpeechRunner:
    runner = SpeechRunner(
        Tools(cache_dir=tmp_path_factory.mktemp("cache")), Device("cpu", "test processor", threads=2)
    )
    runner.load(kokoro)
    return runner


def test_the_weights_are_those_of_the_catalogue(kokoro: Model) -> None:
    from agent.catalogue import load_catalogue  # noqa: PLC0415 - not needed by the other tests

    (expected, _) = load_catalogue()[MODEL].files
    assert sha256_hex((kokoro.path / "kokoro.onnx").read_bytes()) == expected.sha256


def test_every_voice_of_the_list_is_there(speaker: SpeechRunner, kokoro: Model) -> None:
    loaded, _ = speaker._ready(SynthesisRequest(model=MODEL, input="Hi"))
    assert sorted(loaded.voices) == sorted(VOICES)
    assert loaded.voices[0] == "af_heart"


def test_speech_is_understood_and_voices_differ(
    speaker: SpeechRunner, models: Path, make_context: Callable[..., Any]
) -> None:
    request = SynthesisRequest(model=MODEL, input=SENTENCE, output_format="flac", speed=1.1)
    spoken = speaker.run(request, make_context())
    assert (spoken.results["voice"], spoken.units) == ("af_heart", len(SENTENCE))
    whisper = WhisperRunner(Tools(models_dir=models), Device("cpu", "test processor", threads=2))
    whisper.load(Model("tiny.en", models / "tiny.en"))
    context = make_context({"audio_url": spoken.results["audio"].path})
    text = whisper.run(TranscribeRequest(audio_url="artifact:x", model="tiny.en"), context).results["text"]
    whisper.close()
    assert similarity(text, SENTENCE) >= 0.9, text
    loaded, _ = speaker._ready(request)
    passage = "The harbour is quiet tonight."
    own, again, other = (
        loaded.speak(passage, voice, 1, None) for voice in ("af_heart", "af_heart", "am_onyx")
    )
    assert distances(own, again)["spectrum"] < 1
    assert distances(own, other)["spectrum"] > 4


def test_languages_are_those_of_the_voices(speaker: SpeechRunner, make_context: Callable[..., Any]) -> None:
    request = {"model": MODEL, "input": "Buenas noches.", "output_format": "pcm"}
    for fields in ({"voice": "ef_dora"}, {"voice": "onyx", "language": "es"}):
        assert (
            speaker.run(SynthesisRequest.model_validate({**request, **fields}), make_context()).results[
                "duration"
            ]
            > 0.5
        )
    with pytest.raises(Fail, match="does not speak 'de'"):
        speaker.run(SynthesisRequest.model_validate({**request, "language": "de"}), make_context())
    with pytest.raises(Fail, match="has no voice 'zf_xiaobei'"):
        speaker.run(SynthesisRequest.model_validate({**request, "voice": "zf_xiaobei"}), make_context())
