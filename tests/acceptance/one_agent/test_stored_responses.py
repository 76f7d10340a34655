"""A stored conversation goes on with a real model, which reads the turns before."""

from __future__ import annotations

from typing import Any

import pytest
from openai import OpenAI

from aitbc import AITBCClient
from support.agents import Agent

pytestmark = [
    pytest.mark.system,
    pytest.mark.acceptance,
    pytest.mark.needs("openai"),
    pytest.mark.needs("conversations"),
]

MODEL = "smollm2-135m-instruct"
JOB_SECONDS = 180


def test_a_conversation_goes_on(agent: Agent, client: AITBCClient) -> None:
    """By the response before, which ran in the background, and by a conversation."""
    fields: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_output_tokens": 24}
    with OpenAI(api_key=agent.file["client_key"], base_url=f"{agent.url}/v1", timeout=120) as ai:
        first = ai.responses.create(**fields, input="Name the capital of France.", background=True)
        client.jobs.wait(first.id, timeout=JOB_SECONDS)
        first = ai.responses.retrieve(first.id)
        assert "Paris" in first.output_text
        second = ai.responses.create(**fields, input="And of Spain?", previous_response_id=first.id)
        assert "Madrid" in second.output_text
        conversation = ai.conversations.create(
            items=[
                {"role": "user", "content": "Name the capital of France."},
                {"role": "assistant", "content": "The capital of France is Paris."},
            ]
        )
        third = ai.responses.create(**fields, input="And of Spain?", conversation=conversation.id)
        assert "Madrid" in third.output_text
        assert len(list(ai.conversations.items.list(conversation.id))) == 4
