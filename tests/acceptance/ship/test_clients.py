"""Programs that people use with OpenAI's API, unchanged and in environments of their own, with a running agent and a real model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.agents import Agent, running
from support.clients.open_responses import INPUTS, WEATHER, check, checked

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("openai")]

ROOT = Path(__file__).parents[3]
SCRIPTS = Path(__file__).parent / "clients"
ENVIRONMENTS = ROOT / "build" / "clients"
MODEL = "smollm2-135m-instruct"
QUESTION = "Name the capital of France."
INSTALL_SECONDS = 300
LIMIT_SECONDS = 120


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("clients") / "data", "start", "--port", "0")
    with running(agent):
        yield agent


@pytest.fixture(scope="module")
def python_clients() -> Path:
    """Install the clients for Python. Returns the folder of their programs."""
    uv, environment = Path(sys.executable).with_name("uv"), ENVIRONMENTS / "python"
    wanted = SCRIPTS / "requirements.txt"
    for command in (
        ["venv", "--quiet", "--allow-existing", "--python", sys.executable, environment],
        ["pip", "install", "--quiet", "--python", environment, "--requirement", wanted],
    ):
        subprocess.run([uv, *command], check=True, timeout=INSTALL_SECONDS)
    return environment / "bin"


@pytest.fixture(scope="module")
def javascript_clients() -> Path:
    """Install the clients for JavaScript. Returns the folder with them and their scripts."""
    folder = ENVIRONMENTS / "javascript"
    folder.mkdir(parents=True, exist_ok=True)
    for file in (SCRIPTS / "package.json", *SCRIPTS.glob("*.mjs")):
        shutil.copy(file, folder)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--silent"]
    subprocess.run(["npm", "install", *options], cwd=folder, check=True, timeout=INSTALL_SECONDS)
    return folder


def run(*command: str | Path, cwd: Path | None = None, **environment: str | Path) -> str:
    """Run a client that must succeed; return its output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=inherited | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def arguments(agent: Agent) -> list[str]:
    """Return the arguments of a client's script."""
    return [agent.url, agent.file["client_key"], MODEL]


@pytest.mark.parametrize("client", ["langchain", "litellm"])
def test_clients_for_python(agent: Agent, python_clients: Path, client: str) -> None:
    """An answer, a stream, and an agent with a tool."""
    script = SCRIPTS / f"{client}_client.py"
    # LiteLLM would otherwise download its list of prices.
    run(python_clients / "python", script, *arguments(agent), LITELLM_LOCAL_MODEL_COST_MAP="True")


@pytest.mark.parametrize("client", ["openai", "ai_sdk"])
def test_clients_for_javascript(agent: Agent, javascript_clients: Path, client: str) -> None:
    """An answer, a stream, and an agent with a tool."""
    run("node", f"{client}_client.mjs", *arguments(agent), cwd=javascript_clients)


def test_the_llm_command(agent: Agent, python_clients: Path, tmp_path: Path) -> None:
    """As its documentation describes for OpenAI-compatible servers."""
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: demo\n  model_name: {MODEL}\n  api_base: {agent.url}/v1\n  api_key_name: agent\n"
        "  supports_tools: true\n  supports_schema: true\n"
    )

    def llm(*options: str) -> str:
        return run(python_clients / "llm", *options, LLM_USER_PATH=tmp_path)

    llm("keys", "set", "agent", "--value", agent.file["client_key"])
    exact = ["--option", "temperature", "0"]
    asked = ["--model", "demo", *exact, QUESTION]
    assert "Paris" in llm(*asked)
    assert "Paris" in llm("--no-stream", *asked)
    assert "Madrid" in llm("--continue", *exact, "And of Spain?")
    assert json.loads(llm("--schema", "city str", *asked)).keys() == {"city"}
    function = "def capital_of(country: str) -> str:\n    return 'Paris'\n"
    assert llm("--functions", function, *asked).strip()


@pytest.mark.parametrize("name", INPUTS)
def test_real_answers_follow_open_responses(agent: Agent, name: str) -> None:
    """Inputs like those of its compliance suite."""
    body = {"model": MODEL, "input": INPUTS[name], "temperature": 0}
    headers = {"Authorization": f"Bearer {agent.file['client_key']}"}
    with httpx.Client(base_url=agent.url, headers=headers, timeout=LIMIT_SECONDS) as http:
        whole = http.post("/v1/responses", json=body).json()
        with http.stream("POST", "/v1/responses", json=body | {"stream": True}) as stream:
            events = checked(stream.iter_lines())
    check("ResponseResource", whole)
    for response in (whole, events[-1]["response"]):
        assert response["status"] == "completed"
        assert response["output"][0]["content"][0]["text"]


def test_real_calls_follow_open_responses(agent: Agent) -> None:
    """The demo's model calls a tool only if it must."""
    body = {
        "model": MODEL,
        "input": INPUTS["basic"],
        "tools": [WEATHER],
        "tool_choice": "required",
        "temperature": 0,
    }
    headers = {"Authorization": f"Bearer {agent.file['client_key']}"}
    with httpx.Client(base_url=agent.url, headers=headers, timeout=LIMIT_SECONDS) as http:
        whole = http.post("/v1/responses", json=body).json()
        with http.stream("POST", "/v1/responses", json=body | {"stream": True}) as stream:
            events = checked(stream.iter_lines())
    check("ResponseResource", whole)
    for response in (whole, events[-1]["response"]):
        (call,) = response["output"]
        assert (call["type"], call["name"]) == ("function_call", "get_weather")
        assert "location" in json.loads(call["arguments"])
    assert "response.function_call_arguments.delta" in {event["type"] for event in events}
