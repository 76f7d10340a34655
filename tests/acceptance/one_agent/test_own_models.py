"""Models that an owner adds while the agent runs: by the path of a file, and by the name of a repository of a hub."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import NotFoundError, OpenAI
from openai.types.chat import ChatCompletion
from platformdirs import user_cache_path

from agent.catalogue import load_owners_catalogue
from agent.miner.control import ask
from aitbc import AITBCClient
from aitbc.receipts import verify_bundle
from miner_support.hub import running_hub
from support.agents import Agent
from support.inputs.gguf_models import write_adapter

pytestmark = [pytest.mark.system, pytest.mark.acceptance, pytest.mark.needs("openai")]

BY_PATH, PULLED, ADAPTED = "one-agents-own-model", "somebody-smollm2-135m-instruct-q4_1", "one-agents-adapter"
BASE = "smollm2-135m-instruct"
MIB = 2**20


@pytest.fixture(scope="module")
def weights() -> Path:
    """The GGUF file of the demo's language model."""
    directory = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models")
    return directory / BASE / "model.gguf"


@pytest.fixture(autouse=True)
def _removed_afterwards(agent: Agent) -> Iterator[None]:
    """Remove the models: their directory is that of all tests."""
    yield
    for name in (BY_PATH, PULLED, ADAPTED):
        agent.cli("models", "remove", name, check=False)


def answer(agent: Agent, model: str) -> str:
    """Return the model's answer, as soon as the coordinator knows the model."""
    return ask_about_france(agent, model).choices[0].message.content or ""


def ask_about_france(agent: Agent, model: str) -> ChatCompletion:
    deadline = time.monotonic() + 100
    with OpenAI(
        api_key=agent.file["client_key"], base_url=f"{agent.url}/v1", max_retries=0, timeout=200
    ) as ai:
        while True:
            try:
                return ai.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": "Name the capital of France."}],
                    temperature=0,
                    max_tokens=16,
                )
            except NotFoundError:
                assert time.monotonic() < deadline
                time.sleep(0.1)


def test_a_file_answers_without_a_restart_in_about_the_memory_that_was_planned(
    agent: Agent, weights: Path
) -> None:
    process = agent.process
    added = agent.cli("models", "add", str(weights.resolve()), "--name", BY_PATH, "--option", "context=4096")
    assert "was added" in added.stdout
    assert "Paris" in answer(agent, BY_PATH)
    assert agent.process is process
    while (taken := agent.memory_of(BY_PATH)) is None:
        answer(agent, BY_PATH)
    planned = load_owners_catalogue(agent.data_dir)[BY_PATH].memory
    assert abs(taken - planned) < planned / 10, (taken // MIB, planned // MIB)


def test_a_repository_of_a_hub_answers_by_its_name_there(
    agent: Agent, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_hub() as hub:
        hub.repositories["somebody/SmolLM2-135M-Instruct-GGUF"] = {
            "SmolLM2-135M-Instruct-Q4_1.gguf": weights.read_bytes()
        }
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        agent.cli("models", "pull", "hf.co/somebody/SmolLM2-135M-Instruct-GGUF:Q4_1", seconds=120)
    assert "Paris" in answer(agent, "hf.co/somebody/SmolLM2-135M-Instruct-GGUF:Q4_1")


@pytest.mark.ship
def test_an_adapter_answers_by_its_own_name_in_the_process_of_its_base(
    agent: Agent, client: AITBCClient, weights: Path, tmp_path: Path
) -> None:
    """It is added while its base is loaded, and changes nothing for those who ask the base. The receipt names its weights, too."""
    before = answer(agent, BASE)
    file = write_adapter(tmp_path / "lora.gguf", weights)
    refused = agent.cli("models", "add", str(file), check=False)
    assert "Add it with --adapter and --base" in refused.stderr
    agent.cli("models", "add", str(file), "--adapter", "--base", BASE, "--name", ADAPTED)
    changed = answer(agent, ADAPTED)
    assert changed != before
    assert answer(agent, BASE) == before
    assert answer(agent, ADAPTED) == changed
    loaded = [child["model"] for child in asyncio.run(ask(agent.data_dir, "status"))["children"]]
    assert (loaded.count(BASE), ADAPTED in loaded) == (1, False)
    digests = set()
    for model in (BASE, ADAPTED):
        bundle = client.receipts.export(ask_about_france(agent, model).id)
        report = verify_bundle(bundle, agent.file["log_key"])
        assert report.valid, report.failures
        assert report.statement is not None
        assert report.statement.model is not None
        assert report.statement.model.name == model
        digests.add(report.statement.model.sha256)
    assert len(digests) == 2
