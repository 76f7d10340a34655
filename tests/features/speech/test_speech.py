"""OpenAI's own client gets speech, whole and while it is made, also when the job is handed over or fails."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import ended
from support.server import Served

MODEL = "kokoro-82m"
TEXT = "The harbour is quiet tonight."
SOUND = bytes(range(256)) * 800
LIMIT_SECONDS = 180


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    return registered(served)


def registered(served: Served) -> ScriptedMiner:
    miner = ScriptedMiner(served.url)
    offered = capabilities()
    offered["services"]["speech_synthesis"]["models"] = [MODEL]
    assert miner.register(capabilities=offered).status_code == 200
    return miner


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def speak(ai: OpenAI, **fields: Any) -> bytes:
    body: Any = {"model": MODEL, "input": TEXT, "voice": "alloy", **fields}
    return ai.audio.speech.create(**body).read()


def send(miner: ScriptedMiner, lease: dict[str, Any], first: int, last: int) -> None:
    """Publish a part of the sound."""
    data = {"offset": first, "audio": base64.b64encode(SOUND[first:last]).decode()}
    assert miner.job(lease, "events", events=[{"kind": "audio", "data": data}]).status_code == 204


def complete(miner: ScriptedMiner, lease: dict[str, Any], sound: bytes = SOUND) -> None:
    stored = miner.upload(sound, "audio/mpeg")
    file = {**stored, "url": f"/v1/artifacts/{stored['artifact_id']}", "name": "speech.mp3"}
    results = {
        "audio": file, "duration": 2.0, "sample_rate": 24_000, "voice": "af_alloy", "segments": [],
        "units": len(TEXT), "processing_time": 0.1,
    }  # fmt: skip
    assert miner.complete(lease, results).status_code == 200


def test_a_text_becomes_a_job_and_its_sound_the_answer(
    ai: OpenAI, miner: ScriptedMiner, pool: ThreadPoolExecutor, client: httpx.Client
) -> None:
    answer = pool.submit(speak, ai, model="tts-1", voice="nova", response_format="wav", speed=1.5)
    (lease,) = miner.poll()
    assert lease["spec"]["parameters"] == {
        "model": MODEL, "input": TEXT, "voice": "nova", "output_format": "wav", "speed": 1.5, "language": None, "stream": True,
    }  # fmt: skip
    complete(miner, lease)
    assert answer.result(LIMIT_SECONDS) == SOUND
    job = client.get(f"/v1/jobs/{lease['job_id']}").json()
    # A character costs 0.001 here.
    assert (job["service_id"], job["cost"]) == ("speech_synthesis", f"{len(TEXT) / 1000}")


def test_the_sound_is_sent_while_it_is_made(served: Served, miner: ScriptedMiner) -> None:
    with (
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120) as http,
        ThreadPoolExecutor(1) as pool,
    ):
        request = http.build_request("POST", "/v1/audio/speech", json={"model": MODEL, "input": TEXT})
        begun = pool.submit(http.send, request, stream=True)
        (lease,) = miner.poll()
        assert not begun.done()
        send(miner, lease, 0, 1000)
        response = begun.result(LIMIT_SECONDS)
        assert (response.status_code, response.headers["content-type"]) == (200, "audio/mpeg")
        assert response.headers["x-job-id"] == lease["job_id"]
        received = response.iter_raw()
        assert next(received) == SOUND[:1000]
        send(miner, lease, 1000, 5000)
        assert next(received) == SOUND[1000:5000]
        complete(miner, lease)
        assert b"".join(received) == SOUND[5000:]


def events_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


@pytest.fixture
def events(served: Served) -> Iterator[Iterator[dict[str, Any]]]:
    """A streamed answer, before any event is read."""
    body = {"model": MODEL, "input": TEXT, "stream_format": "sse", "response_format": "mp3"}
    with (
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120) as http,
        http.stream("POST", "/v1/audio/speech", json=body) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events_of(response)


def content(event: dict[str, Any]) -> bytes:
    assert event["type"] == "speech.audio.delta", event
    return base64.b64decode(event["audio"])


def test_events_have_openais_form(events: Iterator[dict[str, Any]], miner: ScriptedMiner) -> None:
    (lease,) = miner.poll()
    send(miner, lease, 0, 3000)
    assert content(next(events)) == SOUND[:3000]
    complete(miner, lease)
    *rest, done = list(events)
    assert b"".join(map(content, rest)) == SOUND[3000:]
    length = len(TEXT)
    usage = {"input_tokens": length, "output_tokens": 0, "total_tokens": length}
    assert done == {"type": "speech.audio.done", "usage": usage}


def test_lost_pieces_and_nonsense_are_made_up_for_at_the_end(
    events: Iterator[dict[str, Any]], miner: ScriptedMiner
) -> None:
    (lease,) = miner.poll()
    send(miner, lease, 0, 1000)
    for data in ({"offset": 1000, "audio": "no base64!"}, {"offset": 1000}, {"offset": "x", "audio": ""}):
        miner.job(lease, "events", events=[{"kind": "audio", "data": data}])
    send(miner, lease, 2000, 3000)
    complete(miner, lease)
    *pieces, _ = list(events)
    assert content(pieces[0]) == SOUND[:1000]
    assert b"".join(map(content, pieces)) == SOUND


def test_a_different_sound_of_another_miner_is_an_error(
    events: Iterator[dict[str, Any]], miner: ScriptedMiner
) -> None:
    (lease,) = miner.poll()
    send(miner, lease, 0, 1000)
    assert content(next(events)) == SOUND[:1000]
    complete(miner, lease, SOUND[::-1])
    (event,) = list(events)
    assert event["error"]["code"] == "TEXT_CHANGED"


def test_a_job_that_fails_before_its_first_sound_is_an_error_with_a_status(
    ai: OpenAI, miner: ScriptedMiner, pool: ThreadPoolExecutor
) -> None:
    answer = pool.submit(speak, ai)
    (lease,) = miner.poll()
    miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="It does not speak 'de'.")
    with pytest.raises(openai.UnprocessableEntityError, match="It does not speak 'de'"):
        answer.result(LIMIT_SECONDS)


def test_a_job_that_fails_later_breaks_the_answer_off(
    ai: OpenAI, miner: ScriptedMiner, pool: ThreadPoolExecutor
) -> None:
    """A complete answer would look like complete sound."""
    answer: Future[bytes] = pool.submit(speak, ai)
    (lease,) = miner.poll()
    send(miner, lease, 0, 1000)
    miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No.")
    with pytest.raises(openai.APIConnectionError):
        answer.result(LIMIT_SECONDS)


@pytest.mark.parametrize("early", [True, False])
def test_disconnecting_cancels_the_job(
    served: Served, miner: ScriptedMiner, client: httpx.Client, early: bool
) -> None:
    body = {"model": MODEL, "input": TEXT}
    with httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}) as http:
        request = http.build_request("POST", "/v1/audio/speech", json=body, timeout=3 if early else 120)
        with ThreadPoolExecutor(1) as pool:
            begun = pool.submit(http.send, request, stream=True)
            (lease,) = miner.poll()
            if not early:
                send(miner, lease, 0, 1000)
                begun.result(LIMIT_SECONDS).close()
            else:
                with pytest.raises(httpx.ReadTimeout):
                    begun.result(LIMIT_SECONDS)
    ended(client, lease["job_id"], "cancelled")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"voice": "af_hart"}, "has no such voice.*af_heart"),
        ({"instructions": "Whisper."}, "instructions"),
        ({"speed": 3}, "speaks at a speed from 0.5 to 2"),
        ({"response_format": "exe"}, "response_format"),
        ({"input": "..."}, "there is nothing to say"),
        ({"input": "x" * 100_001}, "100000"),
    ],
)
def test_what_is_not_possible_is_refused_before_it_costs_anything(
    ai: OpenAI, miner: ScriptedMiner, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=message):
        speak(ai, **fields)
    with pytest.raises(openai.NotFoundError, match="kokoro-82m"):
        speak(ai, model="kokoro-82")


def test_voices_are_listed_with_their_other_names(client: httpx.Client, miner: ScriptedMiner) -> None:
    listed = client.get("/v1/audio/voices").json()["voices"]
    by_name = {(voice["model"], voice["id"]): voice for voice in listed}
    heart, alloy = by_name[MODEL, "af_heart"], by_name[MODEL, "af_alloy"]
    assert (heart["aliases"], heart["available"], alloy["aliases"]) == ([], True, ["alloy"])
    joe = by_name["piper-en-us-joe", "joe"]
    assert (joe["name"], joe["available"]) == ("joe", False)
    alone = client.get("/v1/audio/voices", params={"model": "piper-de-thorsten"}).json()["voices"]
    assert [voice["id"] for voice in alone] == ["thorsten"]
    assert MODEL in {model["id"] for model in client.get("/v1/models").json()["data"]}
