"""Language models in llama.cpp on a card without NVIDIA's driver, through an agent: Mesa's lavapipe, with the memory of a card."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path

from agent.miner.control import ask
from aitbc.receipts import verify_bundle
from support.agents import Agent, running
from support.inputs.language_models import NAME, PERSON
from support.inputs.media import make_video
from vulkan_shim.card import MEBIBYTE, Card

pytestmark = pytest.mark.acceptance

GIBIBYTE = 1024 * MEBIBYTE
TOTAL = 3 * GIBIBYTE // 2
RESERVE = 256 * MEBIBYTE
PLANNED = GIBIBYTE
"""The catalogue's figure for each model, which takes more than half of the card."""

CONTEXT = 65_536
"""Tokens whose keys and values exceed the card: as many as fit are used."""

WAIT_SECONDS = 1200
"""The driver compiles its programs at the first load, on a processor that has other work."""

MODELS = """
[[models]]
name = "wide"
service = "llm_inference"
engines = ["llama.cpp"]
path = "{path}"
vram = "1Gi"
vram_min = "128Mi"
memory = "1Gi"
licence = "Apache-2.0"
options = {{ template = "smollm2" }}

[[models]]
name = "second"
service = "llm_inference"
engines = ["llama.cpp"]
path = "{path}"
vram = "1Gi"
memory = "1Gi"
licence = "Apache-2.0"
options = {{ template = "smollm2" }}
"""


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    return Card(tmp_path_factory.mktemp("vulkan") / "card", TOTAL)


@pytest.fixture(scope="module")
def agent(card: Card, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent on a machine with this card only, and with the engine that an owner installs for it."""
    home = tmp_path_factory.mktemp("agent")
    write_wide_model(home / "model")
    agent = Agent(
        home / "data",
        "start",
        *("--port", "0"),
        **card.environment,
        AITBC_CACHE_DIR=str(home / "cache"),
        AITBC_ENGINES__VARIANT="vulkan",
        AITBC_ENGINES__SOFTWARE_DEVICES="true",
        AITBC_MINER__VRAM_RESERVE=str(RESERVE),
        AITBC_MINER__STALL_SECONDS=str(WAIT_SECONDS),
        AITBC_MINER__LOAD_SECONDS=str(WAIT_SECONDS),
        AITBC_MINER__IDLE_SECONDS=str(WAIT_SECONDS),
        AITBC_MINER__PLACEMENT_WAIT_SECONDS="60",
    )
    agent.data_dir.mkdir(mode=0o700)
    (agent.data_dir / "models.toml").write_text(MODELS.format(path=home / "model"))
    assert "llama.cpp (vulkan)" in agent.cli("engines", "install", "llama.cpp", seconds=600).stdout
    with running(agent):
        yield agent


def write_wide_model(directory: Path) -> None:
    """Write the demo's model, as if it had been trained with a context that no card of this size can hold."""
    models = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models")
    content = bytearray((models / NAME / "model.gguf").read_bytes())
    key = b"llama.context_length" + struct.pack("<I", 4)  # an unsigned number of 32 bits
    position = content.index(key) + len(key)
    content[position : position + 4] = struct.pack("<I", CONTEXT)
    directory.mkdir()
    (directory / "model.gguf").write_bytes(content)


def test_language_models_are_offered_on_the_card_and_nothing_else(agent: Agent, tmp_path: Path) -> None:
    """The owner and clients see the card. Other services run on the processor, as their receipts say."""
    with agent.client() as client:
        (miner,) = client.marketplace.miners().miners
        assert [name.partition(" ")[0] for name in miner.gpus] == ["llvmpipe"]
        assert "llm_inference" in [service.service_id for service in miner.services]
        job = client.services.transcode(make_video(tmp_path / "clip.mp4", seconds=1), codec="h264")
        client.jobs.wait(job.job_id, WAIT_SECONDS)
        assert device(agent, job.job_id)["kind"] == "cpu"


def test_a_model_fills_the_memory_that_was_planned_for_it_and_answers_rightly(
    agent: Agent, card: Card
) -> None:
    """All of its layers are on the card; its context is as long as the rest of that memory allows."""
    job_id, text = answer(agent, "wide")
    assert "Paris" in text
    (child,) = loaded(agent)
    assert child["footprint"] == PLANNED
    assert 0.9 * PLANNED < card.used() < 1.1 * PLANNED
    assert device(agent, job_id)["kind"] == "vulkan"
    assert device(agent, job_id)["name"].startswith("llvmpipe")


def test_a_schema_is_enforced(agent: Agent) -> None:
    _, text = answer(
        agent, "wide", prompt="Describe a person.", max_tokens=120, response_schema=PERSON, raw=False
    )
    person = json.loads(text)
    assert set(person) == set(PERSON["properties"])
    assert person["colour"] in ("red", "green")


def test_a_second_model_evicts_the_first(agent: Agent, card: Card) -> None:
    assert "Paris" in answer(agent, "second")[1]
    (child,) = loaded(agent)
    assert child["model"] == "second"
    assert card.used() < 1.1 * PLANNED


def test_another_program_gets_its_memory_and_the_model_returns_with_what_is_left(
    agent: Agent, card: Card
) -> None:
    """The idle model leaves. Later, a part of its layers fits on the card, and the answer is the same."""
    part = 150 * MEBIBYTE
    answer(agent, "second")
    card.another_program_uses(TOTAL - RESERVE - part)
    until(lambda: not loaded(agent) and not card.used())
    assert "Paris" in answer(agent, "wide")[1]
    (child,) = loaded(agent)
    assert child["footprint"] <= part
    assert 0.9 * child["footprint"] < card.used() < 1.1 * child["footprint"]
    assert child["limited"]


def test_a_program_that_takes_the_memory_during_a_load_delays_the_job_and_harms_nothing(
    agent: Agent, card: Card
) -> None:
    """The load ends with OUT_OF_MEMORY, which is nobody's fault: the job is tried again, and the model is not refused later."""
    answer(agent, "wide")
    card.another_program_uses(TOTAL)
    until(lambda: not loaded(agent) and not card.used())
    card.another_program_uses(0)
    card.another_program_will_use(TOTAL)
    job_id = submit(agent, "second")
    until(lambda: "OUT_OF_MEMORY" in agent.log.read_text())
    card.another_program_uses(0)
    assert "Paris" in text_of(agent, job_id)
    with agent.client() as client:
        assert client.jobs.get(job_id).attempts > 1
        (miner,) = client.marketplace.miners().miners
        assert miner.available


def submit(agent: Agent, model: str, **fields: Any) -> str:
    """Submit a request to a model; by default, to continue a sentence."""
    prompt = {"raw": True, "prompt": "The capital of France is", "max_tokens": 6, "temperature": 0}
    with agent.client() as client:
        body = {
            "type": "llm_inference",
            "parameters": {"model": model, **prompt, **fields},
            "timeout_seconds": WAIT_SECONDS,
            "max_attempts": 10,
        }
        return client.jobs.create(body).job_id


def text_of(agent: Agent, job_id: str) -> str:
    with agent.client() as client:
        client.jobs.wait(job_id, WAIT_SECONDS)
        return str(client.jobs.get_results(job_id)["results"]["text"])


def answer(agent: Agent, model: str, **fields: Any) -> tuple[str, str]:
    job_id = submit(agent, model, **fields)
    return job_id, text_of(agent, job_id)


def device(agent: Agent, job_id: str) -> dict[str, Any]:
    """Return the device that a job's statement names."""
    with agent.client() as client:
        bundle = client.receipts.export(job_id)
    assert verify_bundle(bundle, agent.file["log_key"]).valid
    statement: dict[str, Any] = json.loads(b64decode(bundle["receipt"]["envelope"]["payload"]))
    named: dict[str, Any] = statement["predicate"]["device"]
    return named


def loaded(agent: Agent) -> list[dict[str, Any]]:
    """Return the children with a language model."""
    status = asyncio.run(ask(agent.data_dir, "status"))
    return [child for child in status["children"] if child["model"]]


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
