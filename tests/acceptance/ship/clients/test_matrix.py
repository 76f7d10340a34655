"""Programs that people use with OpenAI's API, unchanged and in environments of their own, with a running agent and a real model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest
from PIL import Image

from support.agents import Agent, running
from support.clients.open_responses import INPUTS, WEATHER, check, checked

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("openai"), pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[4]
SCRIPTS = Path(__file__).parent
ENVIRONMENTS = ROOT / "build" / "clients"
MODEL = "smollm2-135m-instruct"
QUESTION = "Name the capital of France."
SPOKEN = (
    "Please transcribe this short message and send the result back to the coordinator before noon on Friday."
)
INSTALL_SECONDS = 600
LIMIT_SECONDS = 120
ROW_SECONDS = 900
"""For all features of a client together."""

MATRIX = tomllib.loads((SCRIPTS / "matrix.toml").read_text())
CELLS = {
    f"{client}-{feature}": (client, feature, sentence)
    for client, row in MATRIX.items()
    for feature, sentence in [*((name, None) for name in row["works"]), *row.get("refused", {}).items()]
}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("clients") / "data", "start", "--port", "0")
    with running(agent):
        yield agent


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with speech and a picture, for clients to send."""
    folder = tmp_path_factory.mktemp("files")
    speech = ["espeak-ng", "-v", "en-us", "-s", "150", "-w", str(folder / "speech.wav"), SPOKEN]
    subprocess.run(speech, check=True, timeout=LIMIT_SECONDS)
    Image.new("RGB", (64, 64), "red").save(folder / "picture.png")
    return folder


@cache
def installed(name: str) -> Path:
    """Install the clients of an environment, each at the version that its lock names. Returns the environment's folder."""
    environment = ENVIRONMENTS / name
    if name == "javascript":
        environment.mkdir(parents=True, exist_ok=True)
        for file in (SCRIPTS / "package.json", SCRIPTS / "package-lock.json", *SCRIPTS.glob("*.mjs")):
            shutil.copy(file, environment)
        command = [
            "npm",
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
            "--silent",
        ]
        subprocess.run(command, cwd=environment, check=True, timeout=INSTALL_SECONDS)
        return environment
    uv = Path(sys.executable).with_name("uv")
    for command in (
        ["venv", "--quiet", "--allow-existing", "--python", sys.executable, environment],
        ["pip", "sync", "--quiet", "--python", environment, SCRIPTS / f"{name}.txt"],
    ):
        subprocess.run([uv, *command], check=True, timeout=INSTALL_SECONDS)
    return environment


def run(
    *command: str | Path, cwd: Path | None = None, seconds: float = LIMIT_SECONDS, **environment: str | Path
) -> str:
    """Run a client that must succeed; return its output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=inherited | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def outcomes(agent: Agent, files: Path) -> Callable[[str], dict[str, str | None]]:
    """Runs all features of a client, once. The function returns what came of each: None, or the error."""

    @cache
    def row(client: str) -> dict[str, str | None]:
        environment = MATRIX[client]["environment"]
        folder = installed(environment)
        arguments = [agent.url, agent.file["client_key"], MODEL, str(files)]
        if environment == "javascript":
            output = run("node", f"{client}_cells.mjs", *arguments, cwd=folder, seconds=ROW_SECONDS)
        else:
            # LiteLLM would otherwise download its list of prices.
            program = [folder / "bin" / "python", "-W", "ignore", SCRIPTS / f"{client}_cells.py"]
            output = run(*program, *arguments, seconds=ROW_SECONDS, LITELLM_LOCAL_MODEL_COST_MAP="True")
        cells: dict[str, str | None] = json.loads(output.splitlines()[-1])
        return cells

    return row


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_of_the_matrix(outcomes: Callable[[str], dict[str, str | None]], cell: str) -> None:
    """A feature works with a client, unchanged, or is refused by a sentence."""
    client, feature, sentence = CELLS[cell]
    outcome = outcomes(client)[feature]
    if sentence is None:
        assert outcome is None
    else:
        assert sentence in (outcome or "it worked")


@pytest.mark.parametrize("client", MATRIX)
def test_every_feature_of_a_client_is_in_the_matrix(
    outcomes: Callable[[str], dict[str, str | None]], client: str
) -> None:
    """What a client's program tries, and what is written down, are the same."""
    assert outcomes(client).keys() == {*MATRIX[client]["works"], *MATRIX[client].get("refused", ())}


def test_aider(agent: Agent, tmp_path: Path) -> None:
    """In a Git repository, as a person asks about a file. The smallest models edit nothing useful."""
    (tmp_path / "program.py").write_text("def answer():\n    return 42\n")
    run("git", "init", "--quiet", cwd=tmp_path)
    program = installed("aider") / "bin" / "aider"
    options = [
        "--model", f"openai/{MODEL}", "--edit-format", "ask", "--message", QUESTION, "--map-tokens", "0", "--yes-always", "--no-pretty",
        "--no-show-model-warnings", "--no-check-update", "--analytics-disable", "--no-auto-commits", "--no-gitignore",
    ]  # fmt: skip
    output = run(
        program,
        *options,
        "program.py",
        cwd=tmp_path,
        seconds=ROW_SECONDS,
        OPENAI_API_BASE=f"{agent.url}/v1",
        OPENAI_API_KEY=agent.file["client_key"],
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        HOME=tmp_path,
    )
    assert "Paris" in output


def test_the_llm_command(agent: Agent, tmp_path: Path) -> None:
    """As its documentation describes for OpenAI-compatible servers."""
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: demo\n  model_name: {MODEL}\n  api_base: {agent.url}/v1\n  api_key_name: agent\n"
        "  supports_tools: true\n  supports_schema: true\n"
    )

    def llm(*options: str) -> str:
        return run(installed("modern") / "bin" / "llm", *options, LLM_USER_PATH=tmp_path)

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
        "parallel_tool_calls": False,
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
