"""The SDK for JavaScript against a real agent: its own tests, and the reference's examples in both languages as they are written."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

import aitbc
from aitbc import AITBCClient
from support.agents import Agent

ROOT = Path(__file__).parents[2]
SDK = ROOT / "sdk" / "js"
LIMIT_SECONDS = 170

pytestmark = pytest.mark.acceptance


def environment(agent: Agent) -> dict[str, str]:
    """What finds the agent, and its keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    file = agent.file
    return {
        **kept,
        "AITBC_BASE_URL": agent.url,
        "AITBC_API_KEY": file["client_key"],
        "AITBC_TEST_MINER_KEY": file["miner_key"],
        "AITBC_TEST_ADMIN_KEY": file["admin_key"],
        "AITBC_TEST_MINER_ID": file["miner_id"],
    }


def test_the_sdks_own_tests_pass(agent: Agent) -> None:
    """Vectors, the behaviour towards a server that fails, and everything against this agent."""
    done = subprocess.run(
        [ROOT / "node_modules" / ".bin" / "vitest", "run", "--reporter=default", "--no-color"],
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
    """The reference's example of an SDK."""
    text = (ROOT / "docs" / "reference" / "contract.md").read_text().partition("## SDKs")[2]
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


DOTS = """"model": {"type": "python", "entrypoint": "model.py", "source": {"inline":
    "def predict(input): return {'prediction': 'cat'}"}}"""
"""What stands in the example for three dots: a program, in words of both languages."""


def filled(code: str, key: str) -> str:
    """The example with a key, and the three dots filled in."""
    return code.replace("your_key", key).replace("...", DOTS)


def test_the_example_in_python_runs_as_written(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AITBC_BASE_URL", agent.url)
    code = filled(example("python"), agent.file["client_key"])
    variables: dict[str, object] = {}
    exec(code, variables)  # noqa: S102 - the documentation's own words
    client, results = variables["client"], variables["results"]
    assert isinstance(client, AITBCClient)
    client.close()
    assert isinstance(results, aitbc.JobResults)
    assert (results["status"], results["results"]["prediction"]) == ("completed", "cat")


def test_the_example_in_javascript_runs_as_written(agent: Agent, tmp_path: Path) -> None:
    """In Node, with the built package under its own name."""
    code = filled(example("javascript"), agent.file["client_key"])
    script = tmp_path / "example.mjs"
    script.write_text(code + "console.log(results.status, results.results.prediction);\n")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    done = subprocess.run(
        ["node", script], env=environment(agent), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "completed cat\n"), done.stderr
