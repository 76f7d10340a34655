"""`whisper_transcription` with a real model on real speech."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from decimal import Decimal
from importlib.metadata import version

import pytest
from pydantic import ValidationError

from runners.api import Cancelled, Fail, Model, Retry, Tools
from runners.errors import Fault
from runners.host.protocol import Load, Run
from runners.whisper import WhisperRunner, engines, faster
from runners.whisper.request import LANGUAGES, TranscribeRequest
from runners.whisper.runner import BENCHMARK_TEXT
from support.inputs.speech import SENTENCE, STORY, similarity

pytestmark = pytest.mark.system

URL = "https://example.com/audio.mp3"


@pytest.fixture(scope="session")
def runner(models, device, tmp_path_factory):
    """One runner for all tests, as in a child process that stays warm."""
    made = WhisperRunner(Tools(models_dir=models), device)
    made.load(Model("tiny.en", models / "tiny.en"))
    yield made
    made.close()


@pytest.fixture
def transcribe(runner, make_context):
    def run(file, **fields):
        context = make_context({"audio_url": file})
        request = TranscribeRequest(audio_url=URL, **{"model": "tiny.en", **fields})
        return runner.run(request, context), context

    return run


def test_speech_is_transcribed_word_for_word(transcribe, speech):
    result, context = transcribe(speech)
    assert result.results["text"] == SENTENCE
    assert result.results["language"] == "en"
    assert result.results["segments"][0]["start"] == 0
    assert result.results["files"] == []
    assert result.units == Decimal(str(result.results["duration"]))
    assert result.results["duration"] == pytest.approx(6.76, abs=0.3)
    assert [data["text"] for kind, data in context.events if kind == "segment"] == [SENTENCE]
    model, language, speed = (line for source, line in context.lines if source == "faster-whisper")
    assert re.fullmatch(r"Model tiny\.en in faster-whisper [\d.]+ on the CPU \(\d+ threads?\)\.", model)
    assert language == "The language was detected: en."
    assert re.fullmatch(r"6\.\d s of audio in \d+\.\d s: \d+\.\d audio second/s\.", speed)


@pytest.mark.ship
def test_the_other_engine_transcribes_the_same_and_reports_its_own_weights(
    transcribe, runner, models, speech
):
    """A request that names no engine uses the loaded one."""
    model = Model("tiny.en", models / "tiny.en")
    result, _ = transcribe(speech, engine="openai-whisper")
    assert result.results["text"] == SENTENCE
    assert [path.name for path in runner.weights(model)] == ["model.pt"]
    assert runner.engine_version() == f"openai-whisper-{version('openai-whisper')}"
    assert runner.engine_version() in runner.probe(runner.tools).versions
    transcribe(speech)
    assert [path.name for path in runner.weights(model)] == ["model.pt"]
    transcribe(speech, engine="faster-whisper")
    assert [path.name for path in runner.weights(model)][:2] == ["model.bin", "config.json"]
    assert runner.engine_version() == runner.probe(runner.tools).version


def test_an_engine_that_the_client_chose_and_the_machine_lacks_is_not_the_machines_fault(
    transcribe, runner, speech, monkeypatch
):
    """The job waits for a miner that has it; a sealed one says it only here. The loaded engine stays."""
    transcribe(speech, engine="faster-whisper")
    loaded = runner._engine
    monkeypatch.setattr(engines, "installed", lambda engine: engine == "faster-whisper")
    with pytest.raises(Retry, match="openai-whisper is not installed") as caught:
        transcribe(speech, engine="openai-whisper")
    assert caught.value.fault is Fault.NEITHER
    assert runner._engine is loaded
    needs = runner.definition.needs
    assert needs({"engine": "openai-whisper"}) == [("engines", "openai-whisper")]
    assert needs({"engine": None}) == needs({}) == []


@pytest.mark.ship
@pytest.mark.parametrize("engine", ["openai-whisper", "faster-whisper"])
def test_each_word_has_its_time(transcribe, speech, engine):
    result, _ = transcribe(speech, engine=engine, word_timestamps=True)
    words = [word for segment in result.results["segments"] for word in segment["words"]]
    assert [word["word"] for word in words] == SENTENCE.split()
    assert all(0 <= word["start"] <= word["end"] <= 7 for word in words)
    assert words == sorted(words, key=lambda word: word["start"])


def test_subtitles_are_written_in_each_format(transcribe, speech):
    result, context = transcribe(speech, output_formats=("srt", "vtt", "txt", "json"))
    texts = {file.media_type: file.path.read_text() for file in result.results["files"]}
    assert texts["application/x-subrip"].startswith("1\n00:00:00,000 --> 00:00:0")
    assert texts["text/vtt"].startswith("WEBVTT\n\n00:00:00.000 --> 00:00:0")
    assert texts["text/plain"] == SENTENCE + "\n"
    assert json.loads(texts["application/json"])["text"] == SENTENCE
    assert {file.path.parent for file in result.results["files"]} == {context.output}


@pytest.mark.ship
@pytest.mark.parametrize("engine", ["openai-whisper", "faster-whisper"])
def test_progress_follows_the_windows_of_long_audio(transcribe, long_speech, engine):
    """The event of a segment states where its text begins in the results' text."""
    result, context = transcribe(long_speech, engine=engine)
    percents = [percent for percent, _ in context.reported]
    assert len(set(percents)) >= 3
    assert percents == sorted(percents)
    assert percents[-1] <= 99
    published = [data for kind, data in context.events if kind == "segment"]
    assert [{**data, "offset": 0} for data in published] == [
        {**segment, "offset": 0} for segment in result.results["segments"]
    ]
    text = result.results["text"]
    assert all(text.startswith(data["text"], data["offset"]) for data in published)
    assert "".join(data["text"] for data in published).replace(" ", "") == text.replace(" ", "")
    assert similarity(text, STORY) > 0.8


def test_texts_are_joined_with_the_spaces_of_their_language(runner, make_context, speech, monkeypatch):
    """And each event states where its text begins in the whole."""

    class Speaker:
        precision = "float32"

        def transcribe(self, _samples, _request, listener):
            for number, text in enumerate(("  你好。", "世界。", " Bye.")):
                listener.segment({"start": number, "end": number + 1, "text": text.strip()}, text)
            return "zh"

    runner.load(Model("tiny.en", runner.tools.models_dir / "tiny.en"))
    monkeypatch.setattr(runner, "_engine", Speaker())
    context = make_context({"audio_url": speech})
    results = runner.run(TranscribeRequest(audio_url=URL, model="tiny.en"), context).results
    assert (results["text"], results["language"]) == ("你好。世界。 Bye.", "zh")
    offsets = [data["offset"] for kind, data in context.events if kind == "segment"]
    assert offsets == [0, 3, 7]


@pytest.mark.ship
@pytest.mark.parametrize("engine", ["openai-whisper", "faster-whisper"])
def test_segments_are_published_while_the_rest_is_transcribed(
    runner, make_context, long_speech, engine, monkeypatch
):
    """Cancelling after the first segment ends the run before the next windows are decoded."""
    monkeypatch.setattr(faster, "BATCH", {"cpu": 1})
    runner.close()
    context = make_context({"audio_url": long_speech})
    context.on_progress = lambda: context.events and context.cancel()
    with pytest.raises(Cancelled):
        runner.run(TranscribeRequest(audio_url=URL, model="tiny.en", engine=engine), context)
    assert context.reported[-1][1] < 40
    assert "decode" not in vars(runner._engine._model), "the model is restored"
    runner.close()


@pytest.mark.ship
def test_the_benchmarks_speech_is_transcribed(transcribe, tools, tmp_path):
    """Nearly word for word, so that no passage is decoded again and every run takes the same time."""
    benchmark = WhisperRunner.benchmark(tools, tmp_path)
    result, _ = transcribe(benchmark.files["audio_url"], language="en")
    words = [word.strip(".,").lower() for word in result.results["text"].split()]
    spoken = [word.strip(".").lower() for word in BENCHMARK_TEXT.split()]
    assert sum(word in words for word in spoken) >= 0.95 * len(spoken)


@pytest.mark.ship
@pytest.mark.parametrize("engine", ["openai-whisper", "faster-whisper"])
def test_silence_is_an_empty_text(transcribe, make_media, engine):
    silence = make_media("silence.wav", "-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "3")
    result, context = transcribe(silence, engine=engine)
    assert context.lines[-1] == (engine, "Warning: no speech was recognised.")
    assert (result.results["text"], result.results["segments"]) == ("", [])
    assert result.units == 3


@pytest.mark.ship
def test_the_sound_of_a_video_is_transcribed(transcribe, make_media, speech):
    video = make_media(
        "speech.mkv",
        "-f",
        "lavfi",
        "-i",
        "color=size=64x64:rate=5",
        "-i",
        str(speech),
        "-shortest",
        "-c:a",
        "flac",
    )
    result, _ = transcribe(video)
    assert result.results["text"] == SENTENCE


def refused(transcribe, file):
    with pytest.raises(Fail) as caught:
        transcribe(file)
    assert caught.value.code == "INPUT_INVALID"
    return str(caught.value)


def test_a_file_without_audio_is_refused(transcribe, tmp_path, make_media, speech):
    text = tmp_path / "audio.mp3"
    text.write_text("these are only words\n" * 50)
    assert "media file" in refused(transcribe, text)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXTINF:6,\n{speech}\n")
    assert "media file" in refused(transcribe, playlist)
    click = make_media(
        "click.wav",
        "-f",
        "lavfi",
        "-i",
        "anullsrc=r=16000:cl=mono",
        "-frames:a",
        "1",
        "-af",
        "atrim=end_sample=2",
    )
    assert "shorter than a millisecond" in refused(transcribe, click)
    silent = make_media("silent.mp4", "-f", "lavfi", "-i", "testsrc2=size=64x64:duration=0.2")
    assert "no audio stream" in refused(transcribe, silent)
    empty = make_media("empty.wav", "-f", "lavfi", "-i", "anullsrc", "-t", "0")
    refused(transcribe, empty)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "tiny.en", "task": "translate"}, "use 'tiny' to translate"),
        ({"model": "base.en", "language": "de"}, "use 'base' for 'de'"),
        ({"language": "xx"}, "not supported by Whisper"),
        ({"model": "../tiny.en"}, "pattern"),
        ({"output_formats": ["srt", "srt"]}, "twice"),
        ({"temperature": 2}, "less than or equal"),
    ],
)
def test_an_invalid_request_is_refused_with_a_remedy(fields, words):
    with pytest.raises(ValidationError) as caught:
        TranscribeRequest(audio_url=URL, **fields)
    assert words in str(caught.value)


def test_the_languages_are_those_of_the_engine():
    from whisper import tokenizer  # noqa: PLC0415 - ten seconds, only where it runs

    assert set(tokenizer.LANGUAGES) == LANGUAGES


def test_a_missing_model_is_a_machine_fault(tools, device, tmp_path):
    with pytest.raises(Retry) as caught:
        WhisperRunner(tools, device).load(Model("small", tmp_path / "small"))
    assert caught.value.code == "MODEL_UNAVAILABLE"
    assert "models pull small" in str(caught.value)


def test_a_damaged_model_is_a_machine_fault(tools, device, tmp_path):
    directory = tmp_path / "small"
    directory.mkdir()
    (directory / "model.pt").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(Retry) as caught:
        WhisperRunner(tools, device).load(Model("small", directory))
    assert caught.value.code == "MODEL_UNAVAILABLE"


def test_probe_imports_no_engine(tools):
    code = (
        "import sys\nfrom runners.api import Tools\nfrom runners.whisper import WhisperRunner\n"
        "probe = WhisperRunner.probe(Tools())\nassert probe.available, probe.reasons\nassert probe.version\n"
        "assert not {'torch', 'whisper', 'faster_whisper', 'onnx_asr', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    probe = WhisperRunner.probe(dataclasses.replace(tools, ffmpeg="/nonexistent/ffmpeg"))
    assert (probe.available, "set runners.ffmpeg" in probe.reasons[0]) == (False, True)


@pytest.mark.ship
def test_through_the_child_process(start_child, models, tools, device, speech, tmp_path):
    output, work = tmp_path / "output", tmp_path / "work"
    output.mkdir()
    work.mkdir()
    child = start_child("whisper_transcription")
    child.configure(dataclasses.replace(tools, models_dir=models), device)
    child.send(Load(model=Model("tiny.en", models / "tiny.en")))
    assert child.until("loaded", "error").type == "loaded"
    parameters = TranscribeRequest(audio_url=URL, model="tiny.en", output_formats=("srt",)).model_dump(
        mode="json"
    )
    child.send(
        Run(
            run_id="r",
            parameters=parameters,
            files={"audio_url": speech},
            output=output,
            work=work,
            timeout_seconds=60,
        )
    )
    done = child.until("done", "error")
    assert done.type == "done", done
    assert done.weights[0] == models / "tiny.en" / "model.bin"
    assert done.results["text"] == SENTENCE
    assert done.results["files"][0]["$file"]["path"] == "transcript.srt"
