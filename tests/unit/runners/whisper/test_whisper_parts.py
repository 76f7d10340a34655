"""Transcriptions that resume from the parts of an earlier run, but not from invalid ones."""

from __future__ import annotations

import difflib
import json
import subprocess

import pytest

from runners.api import Device, Model, Tools
from runners.whisper import WhisperRunner
from runners.whisper import parts as whisper_parts
from runners.whisper.parts import PartIdentity, PartWriter, Resumed, resume
from runners.whisper.request import TranscribeRequest, TranscribeResult

URL = "https://example.com/audio.mp3"
PASSAGE = (
    "Please transcribe this short message and send the result back to the coordinator before noon on Friday. Later in the "
    "morning the buyers came down from the town. They walked along the tables without a word and pointed at what they "
    "wanted. By noon everything had been sold and the street was wet and empty. The boy closed his book and went home along "
    "the river. Please send the result back before noon."
)


@pytest.fixture(scope="module")
def passage(tmp_path_factory):
    """Longer than one of Whisper's windows."""
    path = tmp_path_factory.mktemp("speech") / "passage.wav"
    command = ["espeak-ng", "-v", "en-us", "-s", "130", "-w", str(path), PASSAGE]
    subprocess.run(command, check=True, timeout=120)
    return path


@pytest.fixture(scope="module")
def runner(models):
    """Hands over a checkpoint at every border. One thread: several would wait for each other on a busy machine."""
    device = Device("cpu", "test processor", threads=1)
    made = WhisperRunner(Tools(models_dir=models, checkpoint_seconds=1e-6), device)
    made.load(Model("tiny.en", models / "tiny.en"))
    yield made
    made.close()


@pytest.mark.ship
@pytest.mark.parametrize("engine", ["openai-whisper", "faster-whisper"])
def test_a_run_resumes_after_the_parts_of_another(runner, make_context, passage, engine):
    """It transcribes only the rest; its results are those of an uninterrupted run, except for words at the border."""
    request = TranscribeRequest(
        audio_url=URL, model="tiny.en", engine=engine, word_timestamps=engine == "faster-whisper"
    )
    first = make_context({"audio_url": passage})
    whole = runner.run(request, first).results
    assert "resumed_until" not in whole
    assert [file.name for file in first.handed_over][:1] == ["part_0001.json"]
    middle = (len(first.handed_over) + 1) // 2
    second = make_context({"audio_url": passage})
    for file in first.handed_over[:middle]:
        second.checkpoints[file.name] = second.resumed_from / file.name
        second.checkpoints[file.name].write_bytes(file.path.read_bytes())
    resumed = runner.run(request, second).results
    until = resumed["resumed_until"]
    parts = [json.loads(file.path.read_text()) for file in first.handed_over[:middle]]
    assert until == parts[-1]["end"] > 0
    earlier = [segment for part in parts for segment in part["segments"]]
    assert resumed["segments"][: len(earlier)] == earlier == whole["segments"][: len(earlier)]
    assert all(segment["start"] >= until - 0.1 for segment in resumed["segments"][len(earlier) :])
    assert min(percent for percent, _ in second.reported[1:]) >= 100 * until / resumed["duration"] - 1
    assert all(file.name > f"part_{middle:04}" for file in second.handed_over)
    assert {"resumed_until"} == resumed.keys() - whole.keys()
    TranscribeResult.model_validate(resumed)
    words = [results["text"].split() for results in (whole, resumed)]
    # With the smallest model and a synthetic voice, some words of the rest differ without their context.
    assert difflib.SequenceMatcher(None, *words).ratio() > 0.75
    assert resumed["language"] == whole["language"]
    spoken = [data["text"] for kind, data in second.events if kind == "segment"]
    assert spoken == [segment["text"] for segment in resumed["segments"]]


REQUEST = TranscribeRequest(audio_url=URL, model="tiny.en", language="en")


@pytest.fixture
def context(make_context, tmp_path):
    audio = tmp_path / "audio"
    audio.write_bytes(b"sound")
    return make_context({"audio_url": audio})


def part(context, number=1, of=REQUEST, **changes):
    """Write a valid checkpoint with these changes."""
    identity = PartIdentity.of(of, context.files["audio_url"])
    start = 10.0 * (number - 1)
    content = {
        "format": 1, "request": identity.request, "audio": identity.audio, "language": "en", "start": start,
        "end": start + 10.0, "text": " Hello there.",
        "segments": [
            {"start": start, "end": start + 2, "text": "Hello"}, {"start": start + 2, "end": start + 3, "text": "there."},
        ],
        **changes,
    }  # fmt: skip
    write(context, number, json.dumps(content).encode())


def write(context, number, content: bytes):
    name = f"part_{number:04}.json"
    context.checkpoints[name] = context.resumed_from / name
    context.checkpoints[name].write_bytes(content)


def segment(start=0.0, end=2.0, text="Hello there.", **more):
    return {"start": start, "end": end, "text": text, **more}


def test_a_run_shorter_than_the_checkpoint_interval_hands_over_no_checkpoint(context):
    writer = PartWriter(REQUEST, context, Resumed(), 60.0, every=600.0)
    writer.segment(segment(), " Hello there.")
    writer.border(30.0, "en")
    assert context.handed_over == []
    assert list(context.output.iterdir()) == []


def test_the_next_run_resumes_from_the_parts_of_a_run(context):
    """Even after a second change of machines; a border that is not ahead causes no checkpoint."""
    first = PartWriter(REQUEST, context, Resumed(), 60.0, every=1e-9)
    first.segment(segment(1.0, 2.0, "One."), " One.")
    first.border(0.0, "en")
    first.border(30.004, "en")
    first.border(30.004, "en")
    use_checkpoints(context)
    resumed = resume(REQUEST, context, 60.0)
    assert (resumed.until, resumed.parts, resumed.text) == (30.004, 1, " One.")
    second = PartWriter(REQUEST, context, resumed, 60.0, every=1e-9)
    second.border(45.0, "en")
    use_checkpoints(context)
    again = resume(REQUEST, context, 60.0)
    assert (again.until, again.parts, again.text, again.segments) == (45.0, 2, " One.", resumed.segments)
    assert [file.name for file in context.handed_over] == ["part_0001.json", "part_0002.json"]


def use_checkpoints(context):
    for file in context.handed_over:
        context.checkpoints[file.name] = file.path


def test_parts_are_used_in_order_up_to_the_first_missing_one(context):
    part(context, 1)
    part(context, 2)
    part(context, 4)
    resumed = resume(REQUEST, context, 60.0)
    assert (resumed.until, resumed.parts, len(resumed.segments)) == (20.0, 2, 4)
    assert resumed.text == " Hello there. Hello there."


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"request": "0" * 64},
        {"audio": "0" * 64},
        {"language": "de"},
        {"language": "<b>"},
        {"start": 1.0},
        {"start": -1.0},
        {"end": 0.0},
        {"end": 61.0},
        {"end": "10"},
        {"end": float("inf")},
        {"end": float("nan")},
        {"text": " Something else."},
        {"text": " Hello\x1b[31m there."},
        {"text": "x" * 5000, "segments": [segment(text="x" * 2500), segment(text="x" * 2500)]},
        {"segments": []},
        {"segments": [segment(start=5.0, end=4.0)]},
        {"segments": [segment(end=11.0)]},
        {"segments": [segment(3.0, 4.0, "Hello"), segment(1.0, 2.0, "there.")]},
        {"segments": [segment(words=[])]},
        {"segments": [segment(text=["Hello there."])]},
        {"segments": [segment(more="Hello there.")]},
        {"segments": [segment(start=True)]},
        {"more": 1},
    ],
    ids=str,
)
def test_an_invalid_part_is_refused(context, changes):
    """Another miner wrote it, so its content is validated. The run begins where the valid parts end."""
    part(context, 1)
    assert resume(REQUEST, context, 60.0).parts == 1
    part(context, 1, **changes)
    assert resume(REQUEST, context, 60.0).until == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b'{"text": "\\ud800"}', b"\xff\xfe", b"null"])
def test_a_file_that_is_not_a_part_is_refused(context, content):
    write(context, 1, content)
    assert resume(REQUEST, context, 60.0).parts == 0


def test_a_part_that_is_too_large_is_not_read(context, monkeypatch):
    part(context, 1)
    size = context.checkpoints["part_0001.json"].stat().st_size
    monkeypatch.setattr(whisper_parts, "MAX_PART_BYTES", size - 1)
    assert resume(REQUEST, context, 60.0).parts == 0


@pytest.mark.parametrize("changes", [{"task": "translate"}, {"model": "base"}, {"temperature": 0.2}])
def test_a_part_of_another_request_is_refused(context, changes):
    multilingual = TranscribeRequest(audio_url=URL, model="tiny")
    part(context, 1, of=multilingual)
    assert resume(multilingual, context, 60.0).parts == 1
    assert (
        resume(TranscribeRequest(**{"audio_url": URL, "model": "tiny", **changes}), context, 60.0).parts == 0
    )


def test_the_words_must_form_their_segment(context):
    request = TranscribeRequest(audio_url=URL, model="tiny.en", word_timestamps=True)

    def words(*texts):
        return [{"word": text, "start": 0.5, "end": 1.0, "probability": 0.9} for text in texts]

    part(context, 1, of=request, segments=[segment(words=words("Hello", "there."))])
    assert resume(request, context, 60.0).parts == 1
    for wrong in (words("Good", "bye."), [], [{**words("Hello there.")[0], "probability": 2}]):
        part(context, 1, of=request, segments=[segment(words=wrong)])
        assert resume(request, context, 60.0).parts == 0
