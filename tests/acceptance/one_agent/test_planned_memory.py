"""What a model takes is planned from the header of its file, for models of several shapes and forms of weights."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Form
from platformdirs import user_cache_path

from agent.catalogue import load_owners_catalogue
from support.agents import Agent, running
from support.inputs.gguf_models import write_gguf

pytestmark = [pytest.mark.acceptance, pytest.mark.ship]

MIB = 2**20
SHAPES = {
    "grouped": {"width": 1024, "layers": 8, "heads": 16, "groups": 4, "inner": 4096, "form": Form.F16},
    "wide-cache": {
        "architecture": "qwen3", "width": 512, "layers": 20, "heads": 8, "groups": 8, "length": 128, "inner": 1536, "form": Form.Q8_0,
    },
    "windowed": {
        "architecture": "gemma3", "width": 640, "layers": 12, "heads": 4, "groups": 1, "length": 256, "inner": 2048, "window": 512,
        "form": Form.Q4_0,
    },
}  # fmt: skip
"""The last one has layers that see a window of the context, and weights of which llama.cpp makes a second copy."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    directory = tmp_path_factory.mktemp("planned")
    agent = Agent(directory / "data", "start", "--port", "0", AITBC_MODELS_DIR=str(directory / "models"))
    with running(agent):
        yield agent


@pytest.mark.parametrize("name", SHAPES)
def test_a_loaded_model_takes_the_memory_that_was_planned(agent: Agent, tmp_path: Path, name: str) -> None:
    models = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models")
    shape = {"context": 32_768, **SHAPES[name]}
    file = write_gguf(tmp_path / f"{name}.gguf", models / "smollm2-135m-instruct" / "model.gguf", **shape)
    agent.cli("models", "add", str(file))
    client = agent.client()
    deadline = time.monotonic() + 300
    # A probe that took long may just have had the miner rebuilt, which unloads the model.
    taken = None
    while taken is None:
        assert time.monotonic() < deadline
        job = client.services.infer("word " * 500, model=name, max_tokens=4)
        client.jobs.wait(job.job_id, timeout=200)
        taken = agent.memory_of(name)
    planned = load_owners_catalogue(agent.data_dir)[name].memory
    assert abs(taken - planned) < planned / 10, (taken // MIB, planned // MIB)
