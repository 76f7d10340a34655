"""Requests to `/v1/messages`, and results of a miner that calls a tool."""

from __future__ import annotations

from typing import Any

from support.clients.openai_jobs import LLM, TEXT

QUESTION: list[Any] = [{"role": "user", "content": "Name the capital of France."}]
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CALL = {"id": "call_1", "name": "get_weather", "arguments": '{"city": "Rome"}'}
CALLED = {**TEXT, "text": "", "finish_reason": "tool_calls", "tool_calls": [CALL]}
SEEING = "seeing-model"
"""A model of the miner's owner, of which the catalogue knows nothing."""


def body(**fields: Any) -> dict[str, Any]:
    """Return a request."""
    return {"model": LLM, "max_tokens": 64, "messages": QUESTION, **fields}
