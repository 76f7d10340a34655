"""OpenAI's own client sends speech and gets images."""

from __future__ import annotations

import base64
import hashlib
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
import structlog
from openai import OpenAI

from support.clients.openai_jobs import LIMIT_SECONDS, PICTURES, SPEECH, answered, asking, register
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve

SOUND = b"RIFF" + bytes(range(256)) * 8192
TRANSCRIPT: dict[str, Any] = {
    "text": "Hello there. Bye.",
    "language": "de",
    "duration": 2.5,
    "segments": [
        {
            "start": 0.0,
            "end": 1.5,
            "text": "Hello there.",
            "words": [
                {"word": " Hello", "start": 0.0, "end": 0.5, "probability": 0.9},
                {"word": " there.", "start": 0.5, "end": 1.5, "probability": 0.9},
            ],
        },
        {"start": 1.5, "end": 2.5, "text": "Bye."},
    ],
    "files": [],
    "units": 2.5,
    "processing_time": 0.1,
}
SUBTITLES = "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n"


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    return register(ScriptedMiner(served.url))


def with_file(
    miner: ScriptedMiner, content: bytes, name: str, media_type: str, **extra: Any
) -> dict[str, Any]:
    """Upload a file and return its entry in the results."""
    stored = miner.upload(content, media_type)
    url = f"/v1/artifacts/{stored['artifact_id']}"
    return {**stored, "media_type": media_type, "name": name, "url": url, **extra}


def test_speech_is_transcribed(ai: OpenAI, miner: ScriptedMiner, client: httpx.Client) -> None:
    """The file becomes an artifact of the caller, byte for byte, and parameters reach the runner."""
    answer, parameters = answered(
        miner,
        TRANSCRIPT,
        lambda: ai.audio.transcriptions.create(
            file=("speech.wav", SOUND, "audio/wav"),
            model=SPEECH,
            language="de",
            prompt="Names: Ann",
            temperature=0.2,
            extra_body={"priority": 4, "pricing": {"max_cost": "0.25"}},
        ),
    )
    assert answer.text == TRANSCRIPT["text"]
    assert answer.usage is not None
    assert answer.usage.to_dict() == {"type": "duration", "seconds": 2.5}
    reference = parameters["audio_url"]
    stored = client.get(f"/v1/artifacts/{reference.removeprefix('artifact:')}")
    assert (stored.content, stored.headers["content-type"]) == (SOUND, "audio/wav")
    expected = {
        "model": SPEECH, "language": "de", "initial_prompt": "Names: Ann", "temperature": 0.2, "task": "transcribe",
        "word_timestamps": False,
    }  # fmt: skip
    assert expected.items() <= parameters.items()


@pytest.mark.parametrize("granularities", [None, ["segment"], ["word"], ["word", "segment"]])
def test_times_have_the_requested_granularity(ai: OpenAI, miner: ScriptedMiner, granularities: Any) -> None:
    more = {} if granularities is None else {"timestamp_granularities": granularities}
    answer, parameters = answered(
        miner,
        TRANSCRIPT,
        lambda: ai.audio.transcriptions.create(
            file=("speech.wav", SOUND), model=SPEECH, response_format="verbose_json", **more
        ),
    )
    assert (answer.language, answer.duration, answer.text) == ("de", 2.5, TRANSCRIPT["text"])
    wanted = granularities or ["segment"]
    assert parameters["word_timestamps"] is ("word" in wanted)
    segments = [(segment.id, segment.start, segment.end, segment.text) for segment in answer.segments or []]
    words = [(word.word, word.start, word.end) for word in answer.words or []]
    assert segments == ([(0, 0.0, 1.5, "Hello there."), (1, 1.5, 2.5, "Bye.")] if "segment" in wanted else [])
    assert words == ([(" Hello", 0.0, 0.5), (" there.", 0.5, 1.5)] if "word" in wanted else [])


def test_speech_is_transcribed_as_plain_text(ai: OpenAI, miner: ScriptedMiner) -> None:
    answer, _ = answered(
        miner,
        TRANSCRIPT,
        lambda: ai.audio.transcriptions.create(file=("a.wav", SOUND), model=SPEECH, response_format="text"),
    )
    assert answer == f"{TRANSCRIPT['text']}\n"


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_are_those_that_the_miner_wrote(ai: OpenAI, miner: ScriptedMiner, form: Any) -> None:
    file = with_file(miner, SUBTITLES.encode(), f"transcript.{form}", "text/plain")
    answer, parameters = answered(
        miner,
        {**TRANSCRIPT, "files": [file]},
        lambda: ai.audio.transcriptions.create(file=("a.wav", SOUND), model=SPEECH, response_format=form),
    )
    assert answer == SUBTITLES
    assert parameters["output_formats"] == [form]


def test_missing_subtitles_are_a_server_error(ai: OpenAI, miner: ScriptedMiner) -> None:
    with asking(
        lambda: ai.audio.transcriptions.create(file=b"RIFF", model=SPEECH, response_format="srt")
    ) as asked:
        (lease,) = miner.poll()
        miner.complete(lease, TRANSCRIPT)
        with pytest.raises(openai.InternalServerError) as caught:
            asked.result(LIMIT_SECONDS)
    assert (caught.value.status_code, caught.value.code) == (502, "RESULT_INVALID")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_speech_is_translated(ai: OpenAI, miner: ScriptedMiner) -> None:
    answer, parameters = answered(
        miner,
        TRANSCRIPT,
        lambda: ai.audio.translations.create(
            file=("a.wav", SOUND), model=SPEECH, response_format="verbose_json"
        ),
    )
    assert (answer.text, answer.language) == (TRANSCRIPT["text"], "en")
    assert parameters["task"] == "translate"


def test_a_file_over_the_artifact_limit_is_refused(tmp_path: Any) -> None:
    """The limit of bodies does not apply, since the file goes to disk."""
    with serve(tmp_path / "data", max_body=2**16, max_artifact=2**20) as served:
        ai = OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0)
        with pytest.raises(openai.APIStatusError) as caught:
            ai.audio.transcriptions.create(file=("a.wav", bytes(2**20 + 1)), model=SPEECH)
        assert (caught.value.status_code, caught.value.code) == (413, "PAYLOAD_TOO_LARGE")
        with pytest.raises(openai.NotFoundError, match="no model 'none'"):
            ai.audio.transcriptions.create(file=("a.wav", bytes(2**20)), model="none")


def test_disconnecting_during_the_upload_leaves_nothing_behind(served: Served, client: httpx.Client) -> None:
    """No job, no file, and no failure in the log."""
    where = urlsplit(served.url)
    beginning = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 100000\r\n"
        f"X-API-Key: {served.client_key}\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'
    )
    with structlog.testing.capture_logs() as logs:
        with socket.create_connection((where.hostname, where.port)) as connection:
            connection.sendall(beginning.encode())
        end = time.monotonic() + LIMIT_SECONDS
        while not any(entry["event"] == "client_left" for entry in logs):
            assert time.monotonic() < end, logs
            client.get("/v1/health")
    assert not [entry for entry in logs if entry["log_level"] in {"error", "critical"}]
    assert client.get("/v1/jobs").json()["total"] == 0
    digest = hashlib.sha256(b"RIFF").hexdigest()
    assert client.get(f"/v1/artifacts/sha256:{digest}").status_code == 404


def image_results(miner: ScriptedMiner, *contents: bytes, media_type: str = "image/png") -> dict[str, Any]:
    """Results with these images."""
    images = [
        with_file(miner, content, f"image-{number}.png", media_type, seed=7 + number, width=64, height=32)
        for number, content in enumerate(contents)
    ]
    return {"images": images, "units": 0.001, "processing_time": 1}


def test_images_are_returned_as_base64(ai: OpenAI, miner: ScriptedMiner) -> None:
    """For any length, and with the seeds that generate them again."""
    contents = [b"\x89PNG" + bytes(range(256)) * 9000, b"\x89PNG1", b"\x89PNG22", b""]
    raw, parameters = answered(
        miner,
        image_results(miner, *contents),
        lambda: ai.images.with_raw_response.generate(
            prompt="a lighthouse",
            model=PICTURES,
            n=4,
            size="64x64",
            quality="auto",
            background="opaque",
            extra_body={"steps": 2, "seed": 7, "negative_prompt": "fog", "guidance": 3.5},
        ),
    )
    answer = raw.parse()
    assert [base64.b64decode(image.b64_json or "", validate=True) for image in answer.data or []] == contents
    assert [image.to_dict()["seed"] for image in answer.data or []] == [7, 8, 9, 10]
    assert (answer.output_format, answer.size) == ("png", "64x32")
    assert raw.headers["x-job-id"].startswith("job_")
    expected = {
        "prompt": "a lighthouse", "model": PICTURES, "num_images": 4, "size": "64x64", "steps": 2, "seed": 7,
        "negative_prompt": "fog", "guidance": 3.5, "output_format": "png", "quality": None,
    }  # fmt: skip
    assert expected.items() <= parameters.items()


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_images_are_returned_as_links_that_need_no_key(
    ai: OpenAI, served: Served, miner: ScriptedMiner, prefix: str
) -> None:
    """With the client's prefix, since a proxy may forward no other path."""
    there = ai.with_options(base_url=f"{served.url}{prefix}")
    answer, _ = answered(
        miner,
        image_results(miner, b"\x89PNG1", b"\x89PNG2"),
        lambda: there.images.generate(prompt="a lighthouse", model=PICTURES, n=2, response_format="url"),
    )
    urls = [image.url or "" for image in answer.data or []]
    assert all(url.startswith(f"{served.url}{prefix}/artifacts/") for url in urls), urls
    seen = [httpx.get(url) for url in urls]
    assert [picture.content for picture in seen] == [b"\x89PNG1", b"\x89PNG2"]
    assert {picture.headers["content-type"] for picture in seen} == {"image/png"}
    assert all(image.b64_json is None for image in answer.data or [])


def test_links_to_images_name_the_public_address(tmp_path: Path) -> None:
    """A proxy may send a request on under another name, which the client could not reach."""
    with serve(tmp_path / "public", open_enrolment=True, public_url="https://jobs.example.org/api") as served:
        miner = register(ScriptedMiner(served.url))
        with OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0) as ai:
            answer, _ = answered(
                miner,
                image_results(miner, b"\x89PNG1"),
                lambda: ai.images.generate(prompt="a lighthouse", model=PICTURES, response_format="url"),
            )
        (image,) = answer.data or []
        public, _, path = (image.url or "").partition("/v1/")
        assert public == "https://jobs.example.org/api"
        assert httpx.get(f"{served.url}/v1/{path}").content == b"\x89PNG1"


def test_images_can_have_another_format(ai: OpenAI, miner: ScriptedMiner) -> None:
    answer, parameters = answered(
        miner,
        image_results(miner, b"RIFF", media_type="image/webp"),
        lambda: ai.images.generate(
            prompt="a lighthouse", model=PICTURES, size="auto", output_format="webp", output_compression=50
        ),
    )
    assert answer.output_format == "webp"
    assert (parameters["output_format"], parameters["quality"], parameters["size"]) == ("webp", 50, None)


def test_another_accounts_image_is_not_returned(ai: OpenAI, served: Served, miner: ScriptedMiner) -> None:
    """Even if the miner names it in the results: the answer has only files that the caller may read."""
    headers = {"X-API-Key": served.other_key}
    theirs = httpx.post(f"{served.url}/v1/artifacts", content=b"secret", headers=headers).json()
    results = image_results(miner, b"\x89PNG")
    results["images"].append({**results["images"][0], "artifact_id": theirs["artifact_id"], "size": "6"})
    with asking(lambda: ai.images.generate(prompt="a lighthouse", model=PICTURES)) as asked:
        (lease,) = miner.poll()
        assert miner.complete(lease, results).status_code == 200
        with pytest.raises(openai.InternalServerError) as caught:
            asked.result(LIMIT_SECONDS)
    assert (caught.value.status_code, caught.value.code) == (502, "RESULT_INVALID")
