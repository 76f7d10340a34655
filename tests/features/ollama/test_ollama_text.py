"""Ollama's paths for text and vectors: requests as its own programs send them."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from support.clients.openai_jobs import ANSWER, EMBEDDING, LLM, QUESTION, TEXT, answered, asking, send_tokens
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served

PARAMETERS = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather.", "parameters": PARAMETERS},
    }
]
CALL = {"id": "call_1", "name": "get_weather", "arguments": '{"city": "Rome"}'}
SEEING = "seeing-model"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and the rest").decode()


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the chunks of a streamed answer."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_conversation_is_answered_in_one_piece(ollama: httpx.Client, miner: ScriptedMiner) -> None:
    options = {
        "temperature": 0.1, "top_p": 0.9, "top_k": 5, "seed": 7, "stop": ["\n"], "num_predict": 9, "repeat_penalty": 1.1,
        "presence_penalty": 0.5, "frequency_penalty": 0.25, "num_ctx": 4096, "num_gpu": 99, "use_mmap": True,
        "min_p": 0.05, "typical_p": 0.9, "mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.2,
    }  # fmt: skip
    body = {
        "model": f"{LLM}:latest", "messages": QUESTION, "stream": False, "options": options, "keep_alive": "5m", "think": False,
    }  # fmt: skip
    answer, parameters = answered(miner, TEXT, lambda: ollama.post("/api/chat", json=body))
    assert answer.status_code == 200
    content = answer.json()
    assert content["model"] == f"{LLM}:latest"
    assert content["message"] == {"role": "assistant", "content": ANSWER}
    assert (content["done"], content["done_reason"]) == (True, "stop")
    assert (content["prompt_eval_count"], content["eval_count"]) == (7, 8)
    assert content["eval_duration"] == 500_000_000
    assert content["total_duration"] == content["load_duration"] + content["eval_duration"]
    given = {
        "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty",
        "min_p", "typical_p", "mirostat", "mirostat_tau", "mirostat_eta",
    }  # fmt: skip
    assert {name: parameters[name] for name in given} == {name: options[name] for name in given}
    assert (parameters["model"], parameters["messages"][0]["content"]) == (LLM, QUESTION[0]["content"])
    assert (parameters["max_tokens"], parameters["repetition_penalty"]) == (9, 1.1)
    assert (parameters["stop"], parameters["reasoning_effort"]) == (["\n"], "none")


def test_a_conversation_is_streamed_unless_a_client_wants_otherwise(
    ollama: httpx.Client, miner: ScriptedMiner
) -> None:
    with asking(lambda: ollama.post("/api/chat", json={"model": LLM, "messages": QUESTION})) as response:
        (lease,) = miner.poll()
        send_tokens(miner, lease, ANSWER[:10], ANSWER[10:20])
        assert miner.complete(lease, TEXT).status_code == 200
        chunks = lines(response.result(120))
    assert [chunk["done"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert "".join(chunk["message"]["content"] for chunk in chunks) == ANSWER
    assert len(chunks) >= 3
    assert (chunks[-1]["done_reason"], chunks[-1]["eval_count"]) == ("stop", 8)
    assert chunks[-1]["total_duration"] >= chunks[-1]["eval_duration"] > 0


def test_a_called_function_is_streamed_whole_with_its_arguments_as_an_object(
    ollama: httpx.Client, miner: ScriptedMiner
) -> None:
    called = {**TEXT, "text": "", "finish_reason": "tool_calls", "tool_calls": [CALL]}
    body = {"model": LLM, "messages": QUESTION, "tools": TOOLS}
    answer, parameters = answered(miner, called, lambda: ollama.post("/api/chat", json=body))
    (tool,) = parameters["tools"]
    assert (tool["name"], json.loads(tool["parameters"])) == ("get_weather", PARAMETERS)
    calling, end = lines(answer)
    function = {"index": 0, "name": "get_weather", "arguments": {"city": "Rome"}}
    assert calling["message"]["tool_calls"] == [{"id": "call_1", "function": function}]
    assert (end["done"], end["done_reason"], end["message"]["content"]) == (True, "stop", "")


def test_answers_of_functions_belong_to_their_calls_without_ids(
    ollama: httpx.Client, miner: ScriptedMiner
) -> None:
    def call(name: str, city: str) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": {"city": city}}}

    messages = [
        *QUESTION,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [call("a", "Rome"), call("b", "Oslo"), call("a", "Bonn")],
        },
        {"role": "tool", "content": "snow", "tool_name": "b"},
        {"role": "tool", "content": "sun", "tool_name": "a"},
        {"role": "tool", "content": "rain"},
    ]
    body = {"model": LLM, "messages": messages, "stream": False}
    _, parameters = answered(miner, TEXT, lambda: ollama.post("/api/chat", json=body))
    sent = parameters["messages"]
    ids = [call["id"] for call in sent[1]["tool_calls"]]
    assert len(set(ids)) == 3
    assert json.loads(sent[1]["tool_calls"][1]["arguments"]) == {"city": "Oslo"}
    assert [turn["tool_call_id"] for turn in sent[2:]] == [ids[1], ids[0], ids[2]]
    refused = ollama.post("/api/chat", json={**body, "messages": [*messages, messages[-1]]})
    assert refused.status_code == 400
    assert "answers none of the calls" in refused.json()["error"]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("json", ("json_object", True)), (PARAMETERS, ("response_schema", PARAMETERS)), ("", None)],
)
def test_the_form_of_an_answer(ollama: httpx.Client, miner: ScriptedMiner, form: Any, expected: Any) -> None:
    body = {"model": LLM, "messages": QUESTION, "stream": False, "format": form}
    _, parameters = answered(miner, TEXT, lambda: ollama.post("/api/chat", json=body))
    sent = {name: parameters.get(name) for name in ("json_object", "response_schema")}
    if isinstance(sent["response_schema"], str):
        sent["response_schema"] = json.loads(sent["response_schema"])
    assert {name: value for name, value in sent.items() if value} == (dict([expected]) if expected else {})


def test_thoughts_and_log_probabilities(ollama: httpx.Client, miner: ScriptedMiner) -> None:
    token = {"token": "The", "logprob": -0.5, "bytes": [84, 104, 101]}
    results = {**TEXT, "reasoning": "Hm.", "logprobs": [{**token, "top_logprobs": [token]}]}
    body = {
        "model": LLM,
        "messages": QUESTION,
        "stream": False,
        "think": "high",
        "logprobs": True,
        "top_logprobs": 1,
    }
    answer, parameters = answered(miner, results, lambda: ollama.post("/api/chat", json=body))
    assert (parameters["reasoning_effort"], parameters["top_logprobs"]) == ("high", 1)
    assert answer.json()["message"]["thinking"] == "Hm."
    assert answer.json()["logprobs"] == [{**token, "top_logprobs": [token]}]


def test_images_become_files_of_the_job(served: Served, ollama: httpx.Client) -> None:
    offered = capabilities()
    offered["services"]["llm_inference"]["models"] = [SEEING]
    miner = ScriptedMiner(served.url)
    assert miner.register(capabilities=offered).status_code == 200
    body = {"model": SEEING, "prompt": "What is it?", "images": [PNG], "stream": False}
    _, parameters = answered(miner, TEXT, lambda: ollama.post("/api/generate", json=body))
    text, image = parameters["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert image["type"] == "image"
    refused = ollama.post("/api/generate", json={**body, "images": ["bm90IGFuIGltYWdl"]})
    assert (refused.status_code, "PNG" in refused.json()["error"]) == (400, True)


def test_a_prompt_is_answered_and_raw_continued(ollama: httpx.Client, miner: ScriptedMiner) -> None:
    body = {"model": LLM, "prompt": "Hello", "system": "Be brief.", "stream": False}
    answer, parameters = answered(miner, TEXT, lambda: ollama.post("/api/generate", json=body))
    assert (answer.json()["response"], answer.json()["done_reason"]) == (ANSWER, "stop")
    assert [turn["role"] for turn in parameters["messages"]] == ["system", "user"]
    raw = {"model": LLM, "prompt": "Once", "raw": True, "stream": False, "options": {"num_predict": -1}}
    _, parameters = answered(miner, TEXT, lambda: ollama.post("/api/generate", json=raw))
    assert (parameters["prompt"], parameters["raw"], parameters["max_tokens"]) == ("Once", True, 1024)
    filled = {"model": LLM, "prompt": "def f():", "suffix": "return x", "stream": False}
    _, parameters = answered(miner, TEXT, lambda: ollama.post("/api/generate", json=filled))
    assert (parameters["prompt"], parameters["suffix"], parameters["raw"]) == ("def f():", "return x", True)
    cut = {**TEXT, "finish_reason": "length"}
    answer, _ = answered(miner, cut, lambda: ollama.post("/api/generate", json=raw))
    assert answer.json()["done_reason"] == "length"


def test_the_requests_of_ollama_run(ollama: httpx.Client, miner: ScriptedMiner) -> None:
    """The fields are those that its Go client writes, with empty values for what nobody has set."""
    shown = ollama.post(
        "/api/show",
        json={"model": LLM, "system": "", "template": "", "verbose": False, "options": None, "name": ""},
    )
    assert (shown.status_code, shown.json()["capabilities"][0]) == (200, "completion")
    load = {"model": LLM, "prompt": "", "system": "", "template": "", "suffix": "", "options": {}, "keep_alive": "5m0s", "_debug_render_only": False}  # fmt: skip
    (loaded,) = lines(ollama.post("/api/generate", json=load))
    assert (loaded["response"], loaded["done"], loaded["done_reason"]) == ("", True, "load")
    unloaded = ollama.post(
        "/api/chat", json={"model": LLM, "messages": [], "keep_alive": 0, "stream": False}
    ).json()
    assert unloaded["done_reason"] == "unload"
    asked = {**load, "prompt": "Hello", "context": None, "images": []}
    answer, _ = answered(miner, TEXT, lambda: ollama.post("/api/generate", json=asked))
    assert "".join(chunk["response"] for chunk in lines(answer)) == ANSWER


def test_curl_as_ollamas_documentation_shows_it(ollama: httpx.Client, miner: ScriptedMiner) -> None:
    """`curl -d` names the media type of a form."""
    body = json.dumps({"model": LLM, "prompt": "Hello", "stream": False})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer, _ = answered(miner, TEXT, lambda: ollama.post("/api/generate", content=body, headers=headers))
    assert answer.json()["response"] == ANSWER


def test_texts_are_embedded(ollama: httpx.Client, miner: ScriptedMiner) -> None:
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    results = {"embeddings": [[0.5, 1.0], [0.25, 0.0]], "usage": usage, "units": 5, "processing_time": 0.5}
    body = {"model": EMBEDDING, "input": ["a", "b"], "truncate": True, "dimensions": 2}
    answer, parameters = answered(miner, results, lambda: ollama.post("/api/embed", json=body))
    assert (answer.json()["embeddings"], answer.json()["prompt_eval_count"]) == ([[0.5, 1.0], [0.25, 0.0]], 5)
    assert (parameters["input"], parameters["dimensions"]) == (["a", "b"], 2)
    first = {**results, "embeddings": [[0.5, 1.0]]}
    old = {"model": EMBEDDING, "prompt": "a"}
    answer, parameters = answered(miner, first, lambda: ollama.post("/api/embeddings", json=old))
    assert (answer.json(), parameters["input"]) == ({"embedding": [0.5, 1.0]}, ["a"])
    assert ollama.post("/api/embed", json={"model": EMBEDDING, "input": []}).json()["embeddings"] == []


def test_a_failure_in_a_stream_is_its_last_line(ollama: httpx.Client, miner: ScriptedMiner) -> None:
    with asking(lambda: ollama.post("/api/chat", json={"model": LLM, "messages": QUESTION})) as response:
        (lease,) = miner.poll()
        send_tokens(miner, lease, ANSWER[:10])
        assert miner.job(
            lease, "fail", kind="fail", code="INPUT_INVALID", message="The prompt is strange."
        ).is_success
        chunks = lines(response.result(120))
    assert chunks[0]["message"]["content"] == ANSWER[:10]
    assert chunks[-1] == {"error": "The prompt is strange."}
