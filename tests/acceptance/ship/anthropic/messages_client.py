"""Anthropic's client for Python with the agent: answers, a stream, a tool, JSON, counting of tokens, and its exceptions.

python messages_client.py ADDRESS KEY MODEL
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anthropic

address, key, model = sys.argv[1:]
client = anthropic.Anthropic(base_url=address, api_key=key, max_retries=0, timeout=120)
asked: dict[str, Any] = {
    "model": model,
    "max_tokens": 64,
    # The client no longer knows it.
    "extra_body": {"temperature": 0},
    "messages": [{"role": "user", "content": "Name the capital of France."}],
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="

answer = client.messages.create(**asked, system="Answer in one sentence.")
assert "Paris" in answer.content[0].text, answer
assert answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0) > 10
assert answer._request_id

with client.messages.stream(**asked) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
assert "Paris" in text
assert final.content[0].text == text
assert (final.stop_reason, final.usage.output_tokens > 1) == ("end_turn", True)

short = client.messages.create(**{**asked, "max_tokens": 2})
assert short.stop_reason == "max_tokens"

ended = client.messages.create(**asked, stop_sequences=["zebra", "Paris"])
assert (ended.stop_reason, ended.stop_sequence) == ("stop_sequence", "Paris"), ended

weather = {
    "name": "get_weather",
    "description": "Returns the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
question = {"role": "user", "content": "What is the weather in Rome?"}
called = client.messages.create(
    **{**asked, "messages": [question]},
    tools=[weather],
    tool_choice={"type": "any", "disable_parallel_tool_use": True},
)
(use,) = [block for block in called.content if block.type == "tool_use"]
assert (called.stop_reason, use.name, list(use.input)) == ("tool_use", "get_weather", ["city"])
with client.messages.stream(
    **{**asked, "messages": [question]},
    tools=[weather],
    tool_choice={"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
) as stream:
    (streamed,) = [block for block in stream.get_final_message().content if block.type == "tool_use"]
assert list(streamed.input) == ["city"]
result = {"type": "tool_result", "tool_use_id": use.id, "content": "It snows."}
turns = [question, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
reply = client.messages.create(**{**asked, "messages": turns}, tools=[weather])
assert reply.content[0].type in {"text", "tool_use"}

schema = {
    "type": "object",
    "properties": {"capital": {"type": "string"}},
    "required": ["capital"],
    "additionalProperties": False,
}
form = {"format": {"type": "json_schema", "schema": schema}}
assert list(json.loads(client.messages.create(**asked, output_config=form).content[0].text)) == ["capital"]

counted = client.messages.count_tokens(model=model, messages=asked["messages"])
assert 5 < counted.input_tokens < 60, counted
assert model in [entry.id for entry in client.models.list()]

image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
refusals: list[tuple[type[anthropic.APIStatusError], dict[str, Any], str]] = [
    (anthropic.BadRequestError, {"messages": [{"role": "user", "content": [image]}]}, "image"),
    (anthropic.BadRequestError, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search"),
    (anthropic.NotFoundError, {"model": "no-such-model"}, "no-such-model"),
    (anthropic.BadRequestError, {"messages": [{"role": "user", "content": "word " * 40_000}]}, "prompt is too long"),
]  # fmt: skip
for kind, fields, words in refusals:
    for stream_fields in ({}, {"stream": True}):
        try:
            client.messages.create(**{**asked, **fields}, **stream_fields)
        except kind as refused:
            if words not in refused.message or refused.body["type"] != "error":
                raise
        else:
            raise AssertionError(f"{fields} was answered")
try:
    anthropic.Anthropic(base_url=address, api_key="wrong", max_retries=0).messages.create(**asked)
except anthropic.AuthenticationError as refused:
    if refused.body["error"]["type"] != "authentication_error":
        raise
else:
    raise AssertionError("a wrong key was accepted")
