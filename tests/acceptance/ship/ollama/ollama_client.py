"""Ollama's package for Python: the models, a chat whole and streamed, a called tool, forms of answers, a prompt, vectors, refusals."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable

import ollama

MODEL, EMBEDDER = "smollm2-135m-instruct", "all-minilm-l6-v2"
QUESTION = [{"role": "user", "content": "Name the capital of France."}]
OPTIONS = {"temperature": 0, "num_predict": 32, "num_ctx": 2048}


def get_weather(city: str) -> str:
    """Get the weather of a city.

    Args:
        city: The name of the city
    """
    return f"It snows in {city}."


def models(client: ollama.Client) -> None:
    names = [model.model for model in client.list().models]
    assert f"{MODEL}:latest" in names, names
    shown = client.show(names[names.index(f"{MODEL}:latest")])
    assert "completion" in (shown.capabilities or []), shown
    assert client.pull(MODEL).status == "success"
    assert [step.status for step in client.pull(MODEL, stream=True)][-1] == "success"


def chats(client: ollama.Client) -> None:
    answer = client.chat(MODEL, QUESTION, options=OPTIONS, keep_alive="5m")
    assert "Paris" in (answer.message.content or ""), answer
    assert answer.done_reason == "stop"
    assert min(answer.eval_count or 0, answer.eval_duration or 0, answer.prompt_eval_count or 0) > 0, answer
    chunks = list(client.chat(MODEL, QUESTION, options=OPTIONS, stream=True))
    assert "".join(chunk.message.content or "" for chunk in chunks) == answer.message.content
    assert len(chunks) > 2
    assert chunks[-1].done
    assert (chunks[-1].eval_duration or 0) > 0
    assert [model.model for model in client.ps().models] == [f"{MODEL}:latest"]


def tools(client: ollama.Client) -> None:
    messages: list[object] = [{"role": "user", "content": "What is the weather in Rome? Use the tool."}]
    answer = client.chat(MODEL, messages, tools=[get_weather], options={**OPTIONS, "num_predict": 100})
    assert answer.message.content or answer.message.tool_calls
    # The model may do without; a conversation with a call must be understood in any case.
    call = {"function": {"name": "get_weather", "arguments": {"city": "Rome"}}}
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": get_weather("Rome"), "tool_name": "get_weather"},
    ]
    assert client.chat(MODEL, messages, tools=[get_weather], options=OPTIONS).message.content


def forms(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    for form in ("json", schema):
        answer = client.chat(MODEL, QUESTION, format=form, options={**OPTIONS, "num_predict": 200})
        assert isinstance(json.loads(answer.message.content or ""), dict), answer


def prompts(client: ollama.Client) -> None:
    answer = client.generate(MODEL, "Name the capital of France.", system="Be brief.", options=OPTIONS)
    assert "Paris" in answer.response, answer
    assert client.generate(MODEL, "One, two, three,", raw=True, options=OPTIONS).response
    assert client.generate(MODEL, "").done_reason == "load"
    assert list(client.generate(MODEL, "Count.", stream=True, options=OPTIONS))[-1].done


def vectors(client: ollama.Client) -> None:
    embeddings = client.embed(
        EMBEDDER, ["The weather is lovely.", "It is sunny.", "He plays chess."]
    ).embeddings
    near, far = (sum(a * b for a, b in zip(embeddings[0], other, strict=True)) for other in embeddings[1:])
    assert near > far, (near, far)
    assert len(client.embeddings(EMBEDDER, "One text").embedding) == len(embeddings[0])


def refusals(client: ollama.Client) -> None:
    for call, status in (
        (lambda: client.chat("no-such-model", QUESTION), 404),
        (lambda: client.delete(MODEL), 403),
        (lambda: client.copy(MODEL, "other"), 403),
        (lambda: client.create("other", from_=MODEL), 403),
        (lambda: client.push(MODEL), 403),
        (lambda: client.generate(MODEL, "Hi", template="{{ .Prompt }}"), 400),
    ):
        error = error_of(call)
        assert (error.status_code, " " in error.error) == (status, True), error


def error_of(call: Callable[[], object]) -> ollama.ResponseError:
    try:
        call()
    except ollama.ResponseError as error:
        return error
    raise AssertionError("it was not refused")


async def asynchronously(url: str, key: str) -> None:
    client = ollama.AsyncClient(url, headers={"Authorization": f"Bearer {key}"})
    texts = [
        chunk.message.content
        async for chunk in await client.chat(MODEL, QUESTION, options=OPTIONS, stream=True)
    ]
    assert "Paris" in "".join(text or "" for text in texts), texts


url, key = sys.argv[1:]
with_key = ollama.Client(url, headers={"Authorization": f"Bearer {key}"})
for check in (models, chats, tools, forms, prompts, vectors, refusals):
    check(with_key)
asyncio.run(asynchronously(url, key))
# Without a key, as programs for Ollama are.
assert "Paris" in (ollama.Client(url).chat(MODEL, QUESTION, options=OPTIONS).message.content or "")
sys.stdout.write("done\n")
