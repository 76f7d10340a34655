"""The JavaScript SDK with a real agent: its own tests, and the reference's examples in both languages, unchanged."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

import aitbc
from aitbc import AITBCClient
from support.agents import Agent

ROOT = Path(__file__).parents[3]
SDK = ROOT / "sdk" / "js"
LIMIT_SECONDS = 360

pytestmark = [pytest.mark.system, pytest.mark.acceptance]


def environment(agent: Agent) -> dict[str, str]:
    """The variables with the agent's URL and keys."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    file = agent.file
    return {
        **inherited,
        "AITBC_BASE_URL": agent.url,
        "AITBC_API_KEY": file["client_key"],
        "AITBC_TEST_MINER_KEY": file["miner_key"],
        "AITBC_TEST_ADMIN_KEY": file["admin_key"],
        "AITBC_TEST_MINER_ID": file["miner_id"],
    }


@pytest.mark.ship
def test_the_sdks_calls_to_an_agent_succeed(agent: Agent) -> None:
    run_vitest(agent, "tests/live.test.ts")


def test_the_sdks_own_tests_pass(agent: Agent) -> None:
    """The vectors, and the behaviour with a failing server."""
    run_vitest(agent, "--exclude", "tests/live.test.ts")


def run_vitest(agent: Agent, *selection: str) -> None:
    """Run some of the SDK's tests; none may be skipped."""
    done = subprocess.run(
        [ROOT / "node_modules/.bin/vitest", "run", *selection, "--reporter=default", "--no-color"],
        cwd=SDK,
        env=environment(agent),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert "skipped" not in done.stdout, done.stdout[-1000:]


def example(language: str) -> str:
    """Return the reference's example of an SDK."""
    text = (ROOT / "docs" / "reference" / "contract.md").read_text().partition("## SDKs")[2]
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


DOTS = """"model": {"type": "python", "entrypoint": "model.py", "source": {"inline":
    "def predict(input): return {'prediction': 'cat'}"}}"""
"""Replaces the three dots in the example by a program, in the syntax of both languages."""


def filled(code: str, key: str) -> str:
    """Return the example with a key and with the three dots replaced."""
    return code.replace("your_key", key).replace("...", DOTS)


def test_the_example_in_python_runs_as_written(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AITBC_BASE_URL", agent.url)
    code = filled(example("python"), agent.file["client_key"])
    variables: dict[str, object] = {}
    exec(code, variables)  # noqa: S102 - code of the documentation
    client, results = variables["client"], variables["results"]
    assert isinstance(client, AITBCClient)
    client.close()
    assert isinstance(results, aitbc.JobResults)
    assert (results["status"], results["results"]["prediction"]) == ("completed", "cat")


def test_the_example_in_javascript_runs_as_written(agent: Agent, tmp_path: Path) -> None:
    """In Node, with the built package under its published name."""
    code = filled(example("javascript"), agent.file["client_key"])
    script = tmp_path / "example.mjs"
    script.write_text(code + "console.log(results.status, results.results.prediction);\n")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    done = subprocess.run(
        ["node", script], env=environment(agent), capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "completed cat\n"), done.stderr
