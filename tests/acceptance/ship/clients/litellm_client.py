"""LiteLLM with the agent as an OpenAI-compatible server: an answer, a stream, a called tool, and a response."""

import json
import sys

import litellm

URL, KEY, MODEL = sys.argv[1:]
QUESTION = [{"role": "user", "content": "Name the capital of France."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "capital_of",
        "description": "The capital of a country.",
        "parameters": {
            "type": "object",
            "properties": {"country": {"type": "string"}},
            "required": ["country"],
        },
    },
}
server = {"model": f"openai/{MODEL}", "api_base": f"{URL}/v1", "api_key": KEY, "temperature": 0}

answer = litellm.completion(messages=QUESTION, max_tokens=64, **server)
text = answer.choices[0].message.content
assert "Paris" in text, answer
assert answer.usage.completion_tokens > 3, answer
chunks = list(litellm.completion(messages=QUESTION, max_tokens=64, stream=True, **server))
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text, chunks
called = litellm.completion(messages=QUESTION, tools=[TOOL], tool_choice="required", **server)
(call,) = called.choices[0].message.tool_calls
assert call.function.name == "capital_of", called
assert [*json.loads(call.function.arguments)] == ["country"], called
conversation = [
    *QUESTION,
    called.choices[0].message,
    {"role": "tool", "tool_call_id": call.id, "content": "The capital of France is Paris."},
]
assert (
    "Paris" in litellm.completion(messages=conversation, max_tokens=64, **server).choices[0].message.content
)
response = litellm.responses(input=QUESTION[0]["content"], max_output_tokens=64, **server)
assert response.output[0].content[0].text == text, response
