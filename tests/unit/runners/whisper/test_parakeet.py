"""Parakeet models in onnx-asr. The model of these tests says a word wherever it is loud, so that its text and times are known."""

from __future__ import annotations

import json
import subprocess
import wave
from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail as RuntimeFault
from pydantic import ValidationError

from runners.api import Audited, Cancelled, Device, Fail, Model, Retry, Tools
from runners.torch_memory import engine_error
from runners.whisper import WhisperRunner
from runners.whisper.base import SAMPLE_RATE
from runners.whisper.engines import choose, open_engine
from runners.whisper.parakeet import Parakeet, segments_of, words_of
from runners.whisper.request import TranscribeRequest, TranscribeResult
from runners.whisper.speech import Clip, blocks
from support.inputs.speech import read_samples
from support.inputs.transducers import write_transducer

pytestmark = pytest.mark.system

URL = "https://example.com/audio.mp3"
NAME = "parakeet-tdt-0.6b-v3"
ENGLISH = "parakeet-tdt-0.6b-v2"
QUANTISED = "parakeet-tdt-0.6b-v3-int8"
OWNERS = "my-speech"
GPU = Device("cuda", "a card", uuid="GPU-1")
SEVERAL = (1.0, 2.2, 9.0, 10.2, 15.0, 20.0)
"""Seconds at which a word begins: two sentences of two words, and one with a long pause in it."""


@pytest.fixture(scope="module")
def parakeets(tmp_path_factory):
    """A directory of models: two with single precision, one with 8-bit integers, and one whose name says nothing about it."""
    directory = tmp_path_factory.mktemp("models")
    for name in (NAME, ENGLISH, OWNERS):
        write_transducer(directory / name)
    write_transducer(directory / QUANTISED, quantised=True)
    return directory


@pytest.fixture(scope="module")
def hello(tmp_path_factory):
    """Half a second of speech without silence around it."""
    path = tmp_path_factory.mktemp("speech") / "hello.wav"
    subprocess.run(
        ["espeak-ng", "-v", "en-us", "-s", "150", "-w", str(path), "Hello"], check=True, timeout=120
    )
    samples = read_samples(path)
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[loud[0] : loud[-1]]


@pytest.fixture(scope="module")
def record(hello, tmp_path_factory):
    """Write a recording in which the word is said at these times, in seconds."""

    def write(times, duration):
        samples = np.zeros(round(duration * SAMPLE_RATE), np.float32)
        for time in times:
            first = round(time * SAMPLE_RATE)
            samples[first : first + len(hello)] = hello
        path = tmp_path_factory.mktemp("recording") / "recording.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes((samples * 32767).astype(np.int16).tobytes())
        return path

    return write


@pytest.fixture(scope="module")
def recording(record):
    return record(SEVERAL, 25.0)


@pytest.fixture(scope="module")
def lecture(record):
    """More speech than one clip holds: 40 words in 100 seconds."""
    return record(np.arange(1.0, 100.0, 2.5), 101.0)


@pytest.fixture(scope="module")
def runner(parakeets, device):
    """A checkpoint is handed over at every border."""
    made = WhisperRunner(Tools(models_dir=parakeets, checkpoint_seconds=1e-6), device)
    yield made
    made.close()


@pytest.fixture
def transcribe(runner, make_context):
    def run(file, **fields):
        context = make_context({"audio_url": file})
        request = TranscribeRequest(audio_url=URL, **{"model": NAME, **fields})
        return runner.run(request, context), context

    return run


def test_a_model_of_parakeet_transcribes_with_the_times_of_its_tokens(transcribe, recording):
    """A client chooses it by its name. Results, units, log and evidence are as with the other engines."""
    result, context = transcribe(recording, word_timestamps=True)
    found = result.results
    assert found["text"] == "Word0, Word1. Word2, Word3. Word4, Word5."
    assert [segment["text"] for segment in found["segments"]] == [
        "Word0, Word1.", "Word2, Word3.", "Word4,", "Word5.",
    ]  # fmt: skip
    words = [word for segment in found["segments"] for word in segment["words"]]
    assert [word["start"] for word in words] == pytest.approx(SEVERAL, abs=0.16)
    assert all(word["end"] - word["start"] == pytest.approx(0.32, abs=0.011) for word in words)
    assert {word["probability"] for word in words} == {0.9953}
    for segment in found["segments"]:
        assert segment["start"] == segment["words"][0]["start"]
        assert segment["end"] == segment["words"][-1]["end"]
    assert (found["language"], found["duration"], result.units) == ("und", 25.0, Decimal("25.0"))
    assert result.evidence == {"engine": "onnx-asr", "precision": "float32"}
    TranscribeResult.model_validate(found)
    published = [data for kind, data in context.events if kind == "segment"]
    assert [data["offset"] for data in published] == [0, 14, 28, 35]
    lines = [line for source, line in context.lines if source == "onnx-asr"]
    assert lines[0].startswith(f"Model {NAME} in onnx-asr 0.")
    assert lines[1].startswith("25.0 s of audio in ")


def test_words_are_in_the_results_only_if_requested(transcribe, recording):
    result, _ = transcribe(recording)
    assert all(segment.keys() == {"start", "end", "text"} for segment in result.results["segments"])


def test_subtitles_have_the_times_of_the_recording(transcribe, recording):
    result, _ = transcribe(recording, output_formats=("srt", "vtt"))
    texts = {file.path.suffix: file.path.read_text() for file in result.results["files"]}
    assert texts[".srt"].startswith("1\n00:00:00,9") or texts[".srt"].startswith("1\n00:00:01,0")
    assert texts[".srt"].count("-->") == texts[".vtt"].count("-->") == 4
    assert "\nWord5.\n" in texts[".vtt"]


def test_weights_of_8_bits_are_another_precision(transcribe, runner, parakeets, recording):
    """Another model's calibrations do not apply to them."""
    result, _ = transcribe(recording, model=QUANTISED)
    assert result.results["text"].endswith("Word4, Word5.")
    assert result.evidence == {"engine": "onnx-asr", "precision": "int8"}
    names = [path.name for path in runner.weights(Model(QUANTISED, parakeets / QUANTISED))]
    assert names == ["encoder-model.int8.onnx", "decoder_joint-model.int8.onnx", "vocab.txt", "config.json"]


def test_the_weights_include_the_file_that_holds_them(runner, parakeets):
    model = Model(NAME, parakeets / NAME, engines=("onnx-asr",))
    assert "encoder-model.onnx.data" in [path.name for path in runner.weights(model)]
    assert WhisperRunner.engines(model) == ("onnx-asr",)
    assert WhisperRunner.engines(Model("none", parakeets / "none", engines=("onnx-asr",))) == ()


def test_the_language_is_that_of_the_model_or_the_clients(transcribe, recording):
    """Only a multilingual model does not report the language."""
    assert transcribe(recording, model=ENGLISH)[0].results["language"] == "en"
    assert transcribe(recording, language="de")[0].results["language"] == "de"


def test_silence_is_an_empty_text(transcribe, record):
    result, context = transcribe(record((), 3.0))
    assert (result.results["text"], result.results["segments"], result.units) == ("", [], 3)
    assert context.lines[-1] == ("onnx-asr", "Warning: no speech was recognised.")


def test_long_audio_is_split_into_clips_at_pauses(transcribe, lecture):
    """The model counts from 0 again in each clip, and progress follows them; no word is lost at a border."""
    clips = [clip for block in blocks(read_samples(lecture)) for clip in block.clips]
    assert len(clips) > 1
    result, context = transcribe(lecture, word_timestamps=True)
    words = [word for segment in result.results["segments"] for word in segment["words"]]
    assert [word["start"] for word in words] == pytest.approx(np.arange(1.0, 100.0, 2.5), abs=0.16)
    counted = [int(word["word"].strip("Word,.")) for word in words]
    borders = [0, *(sum(word["start"] < clip.border for word in words) for clip in clips)]
    assert counted == [number % 10 for first, last in pairwise(borders) for number in range(last - first)]
    # Before the first clip, loading and decoding report nothing but zeros, the more often the slower the machine is.
    assert [units for _, units in context.reported if units][:-1] == [
        Decimal(str(round(clip.border, 3))) for clip in clips
    ]


def test_a_run_resumes_after_the_parts_of_another(transcribe, runner, make_context, lecture):
    """Also where the language is not known."""
    whole, first = transcribe(lecture)
    assert json.loads(first.handed_over[0].path.read_text())["language"] == "und"
    context = make_context({"audio_url": lecture})
    context.checkpoints["part_0001.json"] = first.handed_over[0].path
    resumed = runner.run(TranscribeRequest(audio_url=URL, model=NAME), context).results
    earlier = json.loads(first.handed_over[0].path.read_text())
    assert resumed["resumed_until"] == earlier["end"] > 0
    assert len(earlier["segments"]) < len(resumed["segments"])
    assert resumed["text"] == whole.results["text"]
    starts = [[segment["start"] for segment in one["segments"]] for one in (whole.results, resumed)]
    assert starts[1] == pytest.approx(starts[0], abs=0.1)


def test_a_cancelled_run_ends_before_the_next_clip(runner, make_context, lecture):
    context = make_context({"audio_url": lecture})
    context.on_progress = lambda: context.events and context.cancel()
    with pytest.raises(Cancelled):
        runner.run(TranscribeRequest(audio_url=URL, model=NAME), context)
    assert context.reported[-1][1] < 99
    assert context.events[-1][1]["end"] < 99


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"task": "translate"}, "does not translate; use a Whisper model such as 'large-v3'"),
        ({"initial_prompt": "Names: Ann."}, "has no prompt; remove initial_prompt"),
        ({"temperature": 0.2}, "set temperature to 0"),
        ({"language": "ja"}, "does not know the language 'ja', only bg, cs, da"),
        ({"language": "de", "model": ENGLISH}, "does not know the language 'de', only en; use"),
        ({"engine": "faster-whisper"}, "does not run in faster-whisper; leave out engine"),
        ({"model": OWNERS, "engine": "onnx-asr", "task": "translate"}, "does not translate"),
    ],
)
def test_what_it_cannot_do_is_refused_at_submission(fields, words):
    with pytest.raises(ValidationError) as caught:
        TranscribeRequest(audio_url=URL, **{"model": NAME, **fields})
    (error,) = caught.value.errors()
    assert words in error["msg"]
    if "model" not in fields:
        TranscribeRequest(audio_url=URL, **{"model": "large-v3", **fields})


def test_a_model_with_another_name_refuses_it_on_the_machine(transcribe, recording):
    """The coordinator does not know what an owner's model is."""
    assert transcribe(recording, model=OWNERS)[0].evidence["engine"] == "onnx-asr"
    with pytest.raises(Fail, match=r"^Model 'my-speech' does not translate; use a Whisper model") as caught:
        transcribe(recording, model=OWNERS, task="translate")
    assert caught.value.code == "INPUT_INVALID"


@pytest.mark.parametrize(
    "missing", ["decoder_joint-model.onnx", "vocab.txt", "config.json", "encoder-model.onnx.data"]
)
def test_a_model_without_a_file_names_it(tmp_path, device, missing):
    model = Model(NAME, write_transducer(tmp_path / NAME), engines=("onnx-asr",))
    (model.path / missing).unlink()
    with pytest.raises(Retry, match=missing) as caught:
        open_engine(choose(model, device), model, device)
    assert caught.value.code == "MODEL_UNAVAILABLE"


def test_a_model_without_an_encoder_is_missing_in_the_format_of_its_engine(tmp_path, device):
    model = Model(NAME, write_transducer(tmp_path / NAME), engines=("onnx-asr",))
    (model.path / "encoder-model.onnx").unlink()
    with pytest.raises(Retry, match=r"in the format of onnx-asr; download it") as caught:
        open_engine(choose(model, device), model, device)
    assert caught.value.code == "MODEL_UNAVAILABLE"


def test_a_damaged_model_is_a_machine_fault(tmp_path, device):
    model = Model(NAME, write_transducer(tmp_path / NAME))
    (model.path / "decoder_joint-model.onnx").write_bytes(b"no graph")
    with pytest.raises(Retry, match="could not be loaded by onnx-asr") as caught:
        open_engine("onnx-asr", model, device)
    assert caught.value.code == "MODEL_UNAVAILABLE"


def test_on_a_gpu_the_other_build_of_onnx_runtime_is_needed(parakeets):
    """The build for processors would compute there without an error, and the GPU would be idle."""
    with pytest.raises(
        Retry, match=r"needs onnxruntime-gpu .* aitbc-agent engines install onnx-asr"
    ) as caught:
        open_engine("onnx-asr", Model(NAME, parakeets / NAME), GPU)
    assert caught.value.code == "ENGINE_MISSING"


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_driver_that_onnx_runtime_cannot_use_is_noticed_before_a_job(parakeets):
    with pytest.raises(Retry, match="cannot use the GPU") as caught:
        Parakeet(Model(NAME, parakeets / NAME), GPU)
    assert caught.value.code == "ENGINE_MISSING"


def raising(engine, fault, monkeypatch):
    def recognize(_):
        raise RuntimeFault(fault)

    monkeypatch.setattr(engine, "_model", SimpleNamespace(recognize=recognize))
    listener = SimpleNamespace(reached=lambda *_: None)
    return lambda samples: engine.transcribe(samples, TranscribeRequest(audio_url=URL, model=NAME), listener)


@pytest.mark.parametrize("gpu", [False, True])
def test_missing_memory_is_reported_as_such(parakeets, device, samples, monkeypatch, gpu):
    """Placement learns from it. The errors of ONNX Runtime are of no kind that says so."""
    engine = Parakeet(Model(NAME, parakeets / NAME), device)
    monkeypatch.setattr(engine, "_gpu", gpu)
    fault = "Failed to allocate memory for requested buffer of size 4194304"
    with pytest.raises(Retry, match="does not fit into the " + ("GPU" if gpu else "machine")) as caught:
        raising(engine, fault, monkeypatch)(samples)
    assert caught.value.code == "OUT_OF_MEMORY"


def test_a_failed_gpu_ends_the_process(parakeets, device, samples, monkeypatch):
    engine = Parakeet(Model(NAME, parakeets / NAME), device)
    fault = "CUDA failure 700: an illegal memory access was encountered ; GPU=0"
    with pytest.raises(RuntimeError) as caught:
        raising(engine, fault, monkeypatch)(samples)
    assert engine_error(caught.value, "").code == "ENGINE_DIED"


def test_an_audit_proves_nothing_without_a_calibration(runner, make_context, lecture):
    """The same text is neither right nor wrong: nobody has measured how honest runs differ."""
    request = TranscribeRequest(audio_url=URL, model=NAME)
    done = runner.run(request, make_context({"audio_url": lecture}))
    predicate = {"model": None, "device": {"kind": "cpu", "name": "test processor", "uuid": None}}
    audited = Audited(json.loads(json.dumps(done.results)), {"predicate": predicate}, done.evidence, "", "7")
    comparison = runner.audit(request, audited, make_context({"audio_url": lecture})).comparison
    assert (comparison.verdict, comparison.reason[:19]) == ("unproven", "Nobody has measured")
    assert comparison.distances.keys() == {"words", "seconds"}


def recognised(*tokens):
    """A result of onnx-asr: tokens with their times."""
    return SimpleNamespace(
        tokens=[token for token, _ in tokens],
        timestamps=[time for _, time in tokens],
        logprobs=[0.0 for _ in tokens],
    )


def test_tokens_become_words():
    """Marks of the model are no text, and punctuation that it writes in a pause does not prolong a word."""
    result = recognised(
        ("<|nospeech|>", 0.0), (" I", 0.4), ("'", 0.48), ("m", 0.56), (" here", 0.8), (".", 3.2), ("<unk>", 3.4), (" Yes", 9.9),
    )  # fmt: skip
    words = words_of(result, Clip(start=10.0, end=20.0, border=40.0))
    assert [(word.word, word.start, word.end) for word in words] == [
        ("I'm", 10.4, pytest.approx(10.8)), ("here.", 10.8, pytest.approx(11.12)), ("Yes", 19.9, 20.0),
    ]  # fmt: skip
    assert {word.probability for word in words} == {1.0}
    assert words_of(recognised(("<unk>", 0.0)), Clip(0.0, 1.0, 1.0)) == []


def test_words_become_sentences():
    """An abbreviation ends none, a long pause does."""
    result = recognised(
        (" See", 0.1), (" e.g.", 0.4), (" this.", 0.8), (" Or", 1.2), (" that", 1.6), (" one?", 4.0), (" Yes", 4.4),
    )  # fmt: skip
    words = words_of(result, Clip(0.0, 5.0, 5.0))
    texts = [" ".join(word.word for word in segment) for segment in segments_of(words)]
    assert texts == ["See e.g. this.", "Or that", "one?", "Yes"]
    assert list(segments_of([])) == []
