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
from support.agents import Agent, running
from support.inputs.media import make_speech
from support.inputs.transducers import write_transducer

pytestmark = pytest.mark.acceptance

ENGINE = "llama.cpp"
PICTURES = "diffusers"
SPEECH = "onnx-asr"
WAIT_SECONDS = 180

MODEL = """
[[models]]
name = "transducer"
service = "whisper_transcription"
engines = ["onnx-asr"]
path = "{path}"
licence = "MIT"
"""
"""An owner's own model of speech."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent with an empty cache, whose own environment has the engine too, so that the settings must prefer the other one."""
    home = tmp_path_factory.mktemp("engines")
    environment = {
        "AITBC_CACHE_DIR": str(home / "cache"),
        "AITBC_ENGINES__PREFERRED": json.dumps([ENGINE, PICTURES, SPEECH]),
        "AITBC_MINER__GPU_POLL_SECONDS": "0.2",
    }
    agent = Agent(home / "data", "start", "--port", "0", **environment)
    agent.data_dir.mkdir(mode=0o700)
    model = write_transducer(home / "models" / "transducer")
    (agent.data_dir / "models.toml").write_text(MODEL.format(path=model))
    with running(agent):
        yield agent


def test_an_engine_installed_beside_a_running_agent_does_its_next_job(agent: Agent) -> None:
    """The child's program is the environment's interpreter, and its answer is right."""
    process = agent.file["pid"]
    assert "Paris" in answer(agent)
    assert [child["environment"] for child in children(agent)] == [None]
    done = agent.cli("engines", "install", ENGINE)
    assert f"{ENGINE} (" in done.stdout
    until(lambda: "engines_changed" in agent.log.read_text())
    assert "Paris" in answer(agent)
    (child,) = children(agent)
    listed = json.loads(agent.cli("engines", "list", "--json").stdout)
    environment = next(Path(engine["path"]) for engine in listed if engine["name"] == ENGINE)
    assert child["environment"] == ENGINE
    assert Process(child["pid"]).cmdline()[0] == str(environment / "bin/python")
    assert agent.file["pid"] == process, "the agent was not restarted"
    assert agent.cli("engines", "check", ENGINE).stdout == f"{ENGINE}: works\n"


def test_after_its_removal_the_agents_own_environment_serves_again(agent: Agent) -> None:
    seen = agent.log.read_text().count("engines_changed")
    agent.cli("engines", "remove", ENGINE)
    until(lambda: agent.log.read_text().count("engines_changed") > seen)
    assert "Paris" in answer(agent)
    assert [child["environment"] for child in children(agent)] == [None]


def test_pictures_are_drawn_in_an_environment_of_their_own(agent: Agent) -> None:
    """It has its own PyTorch, so that the agent's need none."""
    seen = agent.log.read_text().count("engines_changed")
    agent.cli("engines", "install", PICTURES, seconds=240)
    until(lambda: agent.log.read_text().count("engines_changed") > seen)
    asked = {"prompt": "a lighthouse", "model": "untrained-diffusion", "size": "64x64", "steps": 2, "seed": 1}
    with agent.client() as client:
        job = client.services.call("stable-diffusion/generate", asked)
        client.jobs.wait(job.job_id, WAIT_SECONDS)
        (picture,) = client.jobs.get_results(job.job_id)["results"]["images"]
        assert client.artifacts.get(picture["artifact_id"]).startswith(b"\x89PNG")
    assert [child["environment"] for child in children(agent, "image_generation")] == [PICTURES]


def test_speech_is_transcribed_in_an_environment_of_its_own(agent: Agent, tmp_path: Path) -> None:
    """It has no PyTorch, and the model is one that the owner has declared."""
    seen = agent.log.read_text().count("engines_changed")
    agent.cli("engines", "install", SPEECH, seconds=240)
    until(lambda: agent.log.read_text().count("engines_changed") > seen)
    recording = make_speech(tmp_path / "recording.wav", "Good morning. How are you?")
    with agent.client() as client:
        job = client.services.transcribe(recording, model="transducer", word_timestamps=True)
        client.jobs.wait(job.job_id, WAIT_SECONDS)
        results = client.jobs.get_results(job.job_id)["results"]
    assert results["text"].startswith("Word0, Word1.")
    assert results["segments"][0]["words"][0]["end"] > 0
    assert [child["environment"] for child in children(agent, "whisper_transcription")] == [SPEECH]


def answer(agent: Agent) -> str:
    """Return what the demo model continues a sentence with."""
    prompt = {"raw": True, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    body = {"model": "smollm2-135m-instruct", **prompt}
    with agent.client() as client:
        job = client.services.call("llm/inference", body)
        client.jobs.wait(job.job_id, WAIT_SECONDS)
        return str(client.jobs.get_results(job.job_id)["results"]["text"])


def children(agent: Agent, service: str = "llm_inference") -> list[dict[str, Any]]:
    """Return the children of a service that have loaded a model."""
    status = asyncio.run(ask(agent.data_dir, "status"))
    return [child for child in status["children"] if child["service"] == service and child["model"]]


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
