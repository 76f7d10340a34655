"""LiteLLM with the agent as an OpenAI-compatible server."""

import json

import litellm
from cells import CITY, KEY, MESSAGES, MODEL, QUESTION, SPEECH, TOOL, URL, cell, error_of, run

server = {
    "model": f"openai/{MODEL}",
    "api_base": f"{URL}/v1",
    "api_key": KEY,
    "temperature": 0,
    "max_tokens": 48,
}
FORM = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}


@cell
def chat():
    answer = litellm.completion(messages=MESSAGES, **server)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 3


@cell
def chat_streamed():
    chunks = list(litellm.completion(messages=MESSAGES, stream=True, **server))
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@cell
def chat_by_hosted_vllm():
    answer = litellm.completion(messages=MESSAGES, **(server | {"model": f"hosted_vllm/{MODEL}"}))
    assert "Paris" in answer.choices[0].message.content


@cell
def tools():
    called = litellm.completion(messages=MESSAGES, tools=[TOOL], tool_choice="required", **server)
    message = called.choices[0].message
    assert [*json.loads(message.tool_calls[0].function.arguments)] == ["country"]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "The capital of France is Paris."}
        for call in message.tool_calls
    ]
    assert litellm.completion(messages=[*MESSAGES, message, *results], **server).choices[0].message.content


@cell
def structured_output():
    answer = litellm.completion(messages=MESSAGES, response_format=FORM, **server)
    assert json.loads(answer.choices[0].message.content).keys() == {"city"}


@cell
def tools_with_a_form():
    litellm.completion(messages=MESSAGES, tools=[TOOL], response_format=FORM, **server)


@cell
def cache_control():
    content = [{"type": "text", "text": QUESTION, "cache_control": {"type": "ephemeral"}}]
    litellm.completion(messages=[{"role": "user", "content": content}], **server)


@cell
def prompt_that_is_too_long():
    messages = [{"role": "user", "content": "one two three " * 20_000}]
    error_of(litellm.ContextWindowExceededError, lambda: litellm.completion(messages=messages, **server))


@cell
def responses():
    response = litellm.responses(
        input=QUESTION, model=f"openai/{MODEL}", api_base=f"{URL}/v1", api_key=KEY, temperature=0
    )
    assert "Paris" in response.output[0].content[0].text


@cell
def messages():
    # Its own translation of Anthropic's API.
    answer = litellm.completion(
        messages=MESSAGES, model=f"anthropic/{MODEL}", api_base=URL, api_key=KEY, max_tokens=48, temperature=0
    )
    assert "Paris" in answer.choices[0].message.content


@cell
def ollama():
    answer = litellm.completion(
        messages=MESSAGES, model=f"ollama_chat/{MODEL}", api_base=URL, api_key=KEY, temperature=0
    )
    assert "Paris" in answer.choices[0].message.content


@cell
def embeddings():
    answer = litellm.embedding(
        model="openai/all-minilm-l6-v2", input=["Hi"], api_base=f"{URL}/v1", api_key=KEY
    )
    assert len(answer.data[0]["embedding"]) == 384


@cell
def reranking():
    answer = litellm.rerank(
        model="cohere/all-minilm-l6-v2",
        query="Is it warm?",
        documents=["He drove to the stadium.", "The weather is lovely and sunny."],
        api_base=f"{URL}/v1/rerank",
        api_key=KEY,
    )
    assert answer.results[0]["index"] == 1


@cell
def transcription():
    with SPEECH.open("rb") as file:
        answer = litellm.transcription(model="openai/tiny.en", file=file, api_base=f"{URL}/v1", api_key=KEY)
    assert "coordinator" in answer.text


@cell
def speech():
    answer = litellm.speech(
        model="openai/tts-1", voice="alloy", input=QUESTION, api_base=f"{URL}/v1", api_key=KEY
    )
    assert len(answer.content) > 1000


@cell
def images():
    answer = litellm.image_generation(
        model="openai/untrained-diffusion",
        prompt="A red square",
        size="64x64",
        api_base=f"{URL}/v1",
        api_key=KEY,
    )
    assert answer.data[0].b64_json


run()
