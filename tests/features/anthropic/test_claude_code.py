"""Requests in the form in which Claude Code 2.1 sends them: all of them are answered.

`claude_code.json` has their fields with texts of our own. `tests/acceptance/ship/anthropic` runs the program itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.clients.openai_jobs import TEXT, answered
from support.clients.scripted_miner import ScriptedMiner

REQUESTS = json.loads(Path(__file__).with_name("claude_code.json").read_text())
BETAS = {
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27"
}


def ask(claude: httpx.Client, miner: ScriptedMiner, name: str) -> dict[str, Any]:
    """Return the parameters of the job of a request, which is answered."""
    results = {**TEXT, "text": '{"title": "Hi"}'}
    answer, parameters = answered(
        miner, results, lambda: claude.post("/messages?beta=true", json=REQUESTS[name], headers=BETAS)
    )
    assert answer.status_code == 200, answer.text
    assert ("event: message_stop" in answer.text) == REQUESTS[name]["stream"]
    return parameters


@pytest.mark.parametrize("name", REQUESTS)
def test_its_requests_are_answered(claude: httpx.Client, miner: ScriptedMiner, name: str) -> None:
    parameters = ask(claude, miner, name)
    tools = [tool["name"] for tool in REQUESTS[name]["tools"] if "defer_loading" not in tool]
    assert [tool["name"] for tool in parameters["tools"]] == tools


def test_its_note_for_accounting_is_left_out(claude: httpx.Client, miner: ScriptedMiner) -> None:
    """It changes, and the prompt would no longer begin with what the engine has cached."""
    system = ask(claude, miner, "first")["messages"][0]
    assert system["content"] == "You help with programs.\n\nWork in small steps, and say what you have done."


def test_it_finds_out_whether_there_is_a_connection(claude: httpx.Client) -> None:
    address = str(claude.base_url).removesuffix("/v1/")
    assert httpx.head(f"{address}/api/hello").status_code == 200
