"""Speech by a real voice, transcribed by a real model, with OpenAI's own client."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from openai import OpenAI

from aitbc import AITBCClient
from aitbc.receipts import verify_bundle
from support.agents import Agent
from support.inputs.kokoro import assembled
from support.inputs.speech import STORY, similarity

pytestmark = [
    pytest.mark.system,
    pytest.mark.acceptance,
    pytest.mark.needs("openai"),
    pytest.mark.needs("speech"),
]

KOKORO = "kokoro-of-the-owner"
TEXT = (
    "The boats came back early in the morning. Nobody was waiting for them, and the market was still closed."
)
LEAST_ACCURACY = 0.9
"""The share of words that must be right."""


@pytest.fixture(scope="module")
def ai(agent: Agent) -> Iterator[OpenAI]:
    with OpenAI(
        api_key=agent.file["client_key"], base_url=f"{agent.url}/v1", max_retries=0, timeout=1000
    ) as ai:
        yield ai


def transcribed(ai: OpenAI, sound: bytes, name: str) -> str:
    return ai.audio.transcriptions.create(file=(name, sound), model="tiny.en").text


def test_speech_is_understood_and_has_a_receipt(agent: Agent, client: AITBCClient, ai: OpenAI) -> None:
    with ai.audio.speech.with_streaming_response.create(
        model="tts-1", input=TEXT, voice="alloy", response_format="mp3", speed=0.9
    ) as answer:
        job_id = answer.headers["x-job-id"]
        sound = b"".join(answer.iter_bytes())
    assert similarity(transcribed(ai, sound, "speech.mp3"), TEXT) >= LEAST_ACCURACY
    bundle = client.receipts.export(job_id)
    assert verify_bundle(bundle, agent.file["log_key"]).valid
    results = client.jobs.get_results(job_id).results
    assert (results["voice"], results["units"]) == ("joe", len(TEXT))


@pytest.mark.ship
def test_a_minute_of_speech_is_understood(
    agent: Agent, client: AITBCClient, ai: OpenAI, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Over 150 words by Kokoro, which the machine's owner adds while the agent runs."""
    folder = assembled(tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("kokoro"))
    entry = f"""
[[models]]
name = "{KOKORO}"
service = "speech_synthesis"
engines = ["kokoro-onnx"]
path = "{folder}"
memory = "1Gi"
licence = "Apache-2.0"
"""
    with (agent.data_dir / "models.toml").open("a") as models:
        models.write(entry)
    deadline = time.monotonic() + 300
    while KOKORO not in client.registry.get("speech_synthesis")["ready"]:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    answer = ai.audio.speech.create(model=KOKORO, input=STORY, voice="af_heart", response_format="opus")
    text = transcribed(ai, answer.read(), "speech.opus")
    assert similarity(text, STORY) >= LEAST_ACCURACY, text
