"""Anthropic's client for Python and Claude Code, unchanged: with a running agent and a real model, and Claude Code with a miner that can use its tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runners.input_options import OPTIONS
from runners.llm.runner import DEFINITION
from support.agents import Agent, running
from support.clients.openai_jobs import LLM, TEXT
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served, serve

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("anthropic")]

FOLDER = Path(__file__).parent
ENVIRONMENTS = Path(__file__).parents[4] / "build" / "clients"
INSTALL_SECONDS = 600
LIMIT_SECONDS = 300
PRINTED = "the-shell-has-run"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("anthropic") / "data", "start", "--port", "0")
    with running(agent):
        yield agent


@pytest.fixture(scope="module")
def python() -> Path:
    """Install Anthropic's client. Returns the interpreter that has it."""
    uv, environment = Path(sys.executable).with_name("uv"), ENVIRONMENTS / "anthropic"
    for command in (
        ["venv", "--quiet", "--allow-existing", "--python", sys.executable, environment],
        ["pip", "install", "--quiet", "--python", environment, "-r", FOLDER / "requirements.txt"],
    ):
        subprocess.run([uv, *command], check=True, timeout=INSTALL_SECONDS)
    return environment / "bin" / "python"


@pytest.fixture(scope="module")
def claude_code() -> Path:
    """Install Claude Code. Returns its program."""
    folder = ENVIRONMENTS / "claude-code"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(FOLDER / "package.json", folder)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--silent"]
    subprocess.run(["npm", "install", *options], cwd=folder, check=True, timeout=INSTALL_SECONDS)
    # The script that its installation would run only copies this program.
    return next(folder.glob("node_modules/@anthropic-ai/claude-code-linux-*/claude"))


def test_anthropics_client_for_python(agent: Agent, python: Path) -> None:
    done = subprocess.run(
        [python, FOLDER / "messages_client.py", agent.url, agent.file["client_key"], LLM],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]


def ask(program: Path, home: Path, address: str, key: str, model: str) -> dict[str, Any]:
    """Return what Claude Code prints of a session. It has no other network, and may run commands."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": address,
        "ANTHROPIC_API_KEY": key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    options = ["--model", model, "--allowedTools", "Bash", "--output-format", "json"]
    done = subprocess.run(
        [program, "-p", "Run the command.", *options],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    printed = done.stdout.strip()
    assert printed.startswith("{"), f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    session: dict[str, Any] = json.loads(printed)
    return session


def test_claude_code_understands_that_its_prompt_is_too_long(
    agent: Agent, claude_code: Path, tmp_path: Path
) -> None:
    """The demo's model holds less than its instructions."""
    session = ask(claude_code, tmp_path, agent.url, agent.file["client_key"], LLM)
    assert session["is_error"]
    assert "too long" in session["result"].lower(), session["result"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data", open_enrolment=True, model_aliases={"claude-*": LLM}) as served:
        yield served


def test_claude_code_runs_a_tool_and_reads_its_output(
    served: Served, claude_code: Path, tmp_path: Path
) -> None:
    """By the model's usual name, with all its tools, in two streamed requests."""
    miner, offered = ScriptedMiner(served.url), capabilities()
    offered["services"]["llm_inference"] |= {
        "models": [LLM],
        "features": {OPTIONS: list(DEFINITION.input_options())},
    }
    assert miner.register(capabilities=offered).status_code == 200
    answered: list[dict[str, Any]] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for lease in miner.poll():
                answered.append(lease["spec"]["parameters"])
                assert miner.complete(lease, _results(answered[-1])).status_code == 200

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        session = ask(claude_code, tmp_path, served.url, served.client_key, "claude-sonnet-4-5")
    finally:
        stop.set()
        worker.join(LIMIT_SECONDS)
    assert (session["is_error"], session["result"]) == (False, f"It printed {PRINTED}.")
    assert "Bash" in {tool["name"] for tool in answered[0]["tools"]}
    assert answered[-1]["messages"][-1]["content"].startswith(PRINTED)


def _results(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of a model that calls Bash once, and then reports what it printed."""
    returned = [turn["content"] for turn in parameters["messages"] if turn["role"] == "tool"]
    if returned:
        return {**TEXT, "text": f"It printed {returned[0].split()[0]}."}
    arguments = json.dumps({"command": f"echo {PRINTED}", "description": "Prints a text"})
    call = {"id": "call_1", "name": "Bash", "arguments": arguments}
    return {**TEXT, "text": "", "finish_reason": "tool_calls", "tool_calls": [call]}
