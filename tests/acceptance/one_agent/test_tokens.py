"""Tokens with a real agent and a real tokenizer."""

from __future__ import annotations

import httpx
import pytest

from aitbc import AITBCClient
from support.agents import Agent

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("tokens")]

TEXT = "Der Zug fährt um zwölf."


def test_a_text_becomes_tokens_and_a_text_again(agent: Agent, client: AITBCClient) -> None:
    """The agent has one language model, which needs no name. The job costs a hundredth of its tokens, at least one."""
    key = {"Authorization": f"Bearer {agent.file['client_key']}"}
    with httpx.Client(base_url=agent.url, headers=key, timeout=200) as http:
        answer = http.post("/tokenize", json={"content": TEXT, "with_pieces": True})
        assert answer.status_code == 200, answer.text
        pieces = answer.json()["tokens"]
        text = http.post("/detokenize", json={"tokens": [piece["id"] for piece in pieces]})
        assert text.json()["content"] == TEXT
        assert TEXT.startswith(pieces[0]["piece"])
        assert client.jobs.get_results(answer.headers["X-Job-ID"]).results["units"] == 1
        talk = [{"role": "user", "content": TEXT}]
        counted = http.post("/v1/tokenize", json={"messages": talk}).json()["count"]
        assert counted > len(pieces)
