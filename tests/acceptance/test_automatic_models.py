"""A real agent fetches the model that is asked for and paid on the network that it joined."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from support.agents import Agent, running
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served, serve

pytestmark = [pytest.mark.acceptance, pytest.mark.ship]

WANTED, OTHER = "wanted-embedder", "other-embedder"
LIMIT_SECONDS = 180


@contextmanager
def files(directory: Path) -> Iterator[str]:
    """Serve the files of a directory, as the servers of models do."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def catalogue(url: str, directory: Path) -> str:
    """Return the owner's catalogue: two models, each of one file."""
    entries = []
    for name in (WANTED, OTHER):
        content = name.encode() * 1000
        (directory / f"{name}.gguf").write_bytes(content)
        entries.append(
            f'[[models]]\nname = "{name}"\nservice = "text_embedding"\nengines = ["llama-cpp"]\nlicence = "MIT"\n'
            f'files = [{{name = "model.gguf", url = "{url}/{name}.gguf", size = {len(content)}, '
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"}}]\n'
        )
    return "\n".join(entries)


def earn(served: Served, model: str, jobs: int, units: int) -> None:
    """Have another miner be paid for jobs with a model."""
    miner = ScriptedMiner(served.url)
    offered = capabilities()
    offered["services"]["text_embedding"]["models"] = [model]
    miner.register(capabilities=offered).raise_for_status()
    for _ in range(jobs):
        body = {"type": "text_embedding", "parameters": {"model": model, "input": ["text"]}}
        httpx.post(
            f"{served.url}/v1/jobs", json=body, headers={"X-API-Key": served.client_key}
        ).raise_for_status()
        (lease,) = miner.poll()
        results = {"embeddings": [[1.0]], "usage": {"prompt_tokens": units, "total_tokens": units}}
        miner.complete(lease, {**results, "units": units, "processing_time": 0.1}).raise_for_status()


@pytest.mark.parametrize("auto", ["on", "show"])
def test_the_best_paid_model_is_fetched_without_anybodys_command(tmp_path: Path, auto: str) -> None:
    """With `show`, the owner only reads which it would be."""
    (tmp_path / "hub").mkdir()
    data, models = tmp_path / "miner", tmp_path / "models"
    data.mkdir()
    environment = {
        "AITBC_MODELS_DIR": str(models),
        "AITBC_MINER__MODELS__AUTO": auto,
        "AITBC_MINER__MODELS__LEAST_JOBS": "2",
    }
    with (
        files(tmp_path / "hub") as hub,
        serve(tmp_path / "coordinator", open_enrolment=True) as served,
    ):
        (data / "models.toml").write_text(catalogue(hub, tmp_path / "hub"))
        earn(served, OTHER, jobs=3, units=10)
        earn(served, WANTED, jobs=2, units=900)
        agent = Agent(data, "start", "--coordinator", served.url, **environment)
        with running(agent):
            limit = time.monotonic() + LIMIT_SECONDS
            while (choice := agent.status()["miner"]["model_choice"])["model"] is None or (
                auto == "on" and not (models / WANTED).is_dir()
            ):
                assert time.monotonic() < limit, (choice, agent.log.read_text()[-3000:])
                time.sleep(0.5)
            assert (choice["model"], choice["removals"]) == (WANTED, [])
            assert choice["reason"].startswith("2 jobs in 7 days, about ")
            assert not (models / OTHER).exists()
            assert (models / WANTED).is_dir() == (auto == "on")
            verb = "fetches" if auto == "on" else "would fetch"
            assert f"{verb} {WANTED}: 2 jobs in 7 days" in " ".join(agent.cli("status").stdout.split())
            assert f"{verb} {WANTED}" in agent.cli("models", "list").stderr
