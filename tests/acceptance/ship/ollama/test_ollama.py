"""Ollama's own packages, unchanged and in environments of their own, with a running agent and real models."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.agents import Agent, running

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("ollama"), pytest.mark.timeout(1200)]

CLIENTS = Path(__file__).parent
ENVIRONMENT = Path(__file__).parents[4] / "build" / "clients" / "ollama"
LIMIT_SECONDS = 600


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent whose own account programs of this machine use."""
    data_dir = tmp_path_factory.mktemp("ollama") / "data"
    agent = Agent(data_dir, "start", "--port", "0", AITBC_COORDINATOR__OLLAMA_ACCOUNT="local")
    with running(agent):
        yield agent


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program that must succeed; return its output."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AITBC_", "OLLAMA_"))
    }
    process = subprocess.run(
        command, cwd=cwd, env=inherited, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert process.returncode == 0, f"{process.stdout[-2000:]}\n{process.stderr[-6000:]}"
    return process.stdout


def test_ollamas_package_for_python(agent: Agent) -> None:
    uv, environment = Path(sys.executable).with_name("uv"), ENVIRONMENT / "python"
    run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, environment)
    run(uv, "pip", "sync", "--quiet", "--python", environment, CLIENTS / "requirements.txt")
    program = (environment / "bin" / "python", "-W", "ignore", CLIENTS / "ollama_client.py")
    assert run(*program, agent.url, agent.file["client_key"]).endswith("done\n")


def test_ollamas_package_for_javascript(agent: Agent) -> None:
    folder = ENVIRONMENT / "javascript"
    folder.mkdir(parents=True, exist_ok=True)
    for file in (CLIENTS / "package.json", CLIENTS / "ollama_client.mjs"):
        shutil.copy(file, folder)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--silent"]
    run("npm", "install", *options, cwd=folder)
    assert run("node", "ollama_client.mjs", agent.url, agent.file["client_key"], cwd=folder).endswith(
        "done\n"
    )
