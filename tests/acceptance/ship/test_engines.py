"""A real engine from the package index, installed beside a running agent that then does a real job with it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psutil import Process

from agent.miner.control import ask
from aitbc import AITBCClient
from support.agents import Agent, running
from support.media import make_speech
from support.speech import SENTENCE

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

SERVICE = "whisper_transcription"
ENGINE = "faster-whisper"
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent with an empty cache, whose own environment has the engine too, so that the settings must prefer the other one."""
    home = tmp_path_factory.mktemp("engines")
    environment = {
        "AITBC_CACHE_DIR": str(home / "cache"),
        "AITBC_ENGINES__PREFERRED": json.dumps([ENGINE]),
        "AITBC_MINER__GPU_POLL_SECONDS": "0.2",
    }
    agent = Agent(home / "data", "start", "--port", "0", **environment)
    with running(agent):
        yield agent


def test_an_engine_installed_beside_a_running_agent_does_its_next_job(agent: Agent, tmp_path: Path) -> None:
    """The child's program is the environment's interpreter, the text is right, and the receipt holds."""
    recording = make_speech(tmp_path / "speech.wav")
    process = agent.file["pid"]
    done = agent.cli("engines", "install", ENGINE)
    assert f"{ENGINE} (" in done.stdout
    until(lambda: "engines_changed" in agent.log.read_text())
    with agent.client() as client:
        job = transcribe(client, recording)
        assert SENTENCE in job["text"]
    children = [
        child
        for child in asyncio.run(ask(agent.data_dir, "status"))["children"]
        if child["service"] == SERVICE
    ]
    environment = Path(json.loads(agent.cli("engines", "list", "--json").stdout)[0]["path"])
    assert [child["environment"] for child in children] == [ENGINE]
    assert Process(children[0]["pid"]).cmdline()[0] == str(environment / "bin/python")
    assert agent.file["pid"] == process, "the agent was not restarted"
    assert agent.cli("engines", "check", ENGINE).stdout == f"{ENGINE}: works\n"


def test_after_its_removal_the_agents_own_environment_serves_again(agent: Agent, tmp_path: Path) -> None:
    recording = make_speech(tmp_path / "speech.wav")
    seen = agent.log.read_text().count("engines_changed")
    agent.cli("engines", "remove", ENGINE)
    until(lambda: agent.log.read_text().count("engines_changed") > seen)
    with agent.client() as client:
        assert SENTENCE in transcribe(client, recording)["text"]
    children = [
        child
        for child in asyncio.run(ask(agent.data_dir, "status"))["children"]
        if child["service"] == SERVICE
    ]
    assert [child["environment"] for child in children] == [None]


def transcribe(client: AITBCClient, recording: Path) -> dict[str, Any]:
    """Return the results of a job with the demo's model."""
    stored = client.artifacts.upload(recording)
    body = {
        "audio_url": f"artifact:{stored.artifact_id}",
        "model": "tiny.en",
        "language": "en",
        "engine": ENGINE,
    }
    job = client.services.call("whisper/transcribe", body)
    client.jobs.wait(job.job_id, WAIT_SECONDS)
    return dict(client.jobs.get_results(job.job_id)["results"])


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
