"""Tokens in the forms of llama.cpp and vLLM."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.clients.openai_jobs import LLM, answered
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served

TOKENS, PIECES = [19556, 665, 30], ["Hello", " there", "."]
RESULTS = {
    "text": "",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3},
    "tokens": TOKENS,
    "units": 1,
    "processing_time": 0.5,
}
WITH_PIECES = {**RESULTS, "pieces": PIECES}
ASKED = {"model": LLM, "max_tokens": 1}
TEXT = "Hello there."


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    miner, offered = ScriptedMiner(served.url), capabilities()
    offered["services"]["llm_inference"] |= {
        "models": [LLM],
        "features": {
            "options": ["only_tokens", "special_tokens", "token_ids"],
            "tools": ["a call of a function"],
        },
    }
    assert miner.register(capabilities=offered).status_code == 200
    return miner


def converted(
    client: httpx.Client, miner: ScriptedMiner, path: str, body: dict[str, Any], results: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the answer to a request whose job the miner completes, and those parameters of the job that its model reads."""
    answer, parameters = answered(miner, results, lambda: client.post(path, json=body, timeout=120))
    assert answer.status_code == 200, answer.text
    names = ("only_tokens", "special_tokens", "token_ids", "raw", "prompt", "messages", "tools")
    sent = {name: parameters[name] for name in names if parameters.get(name) not in (None, [])}
    return answer.json(), sent if sent.pop("raw") is False else {**sent, "raw": True}


@pytest.mark.parametrize("path", ["/v1/tokenize", "/tokenize"])
def test_tokens_in_the_form_of_llama_cpp(client: httpx.Client, miner: ScriptedMiner, path: str) -> None:
    """Without the token that begins a text, unless it is requested. A single model needs no name."""
    answer, parameters = converted(client, miner, path, {"content": TEXT}, RESULTS)
    assert answer == {"tokens": TOKENS}
    assert parameters == {"only_tokens": "tokens", "special_tokens": False, "raw": True, "prompt": TEXT}
    body = {"model": LLM, "content": TEXT, "with_pieces": True, "add_special": True}
    answer, parameters = converted(client, miner, path, body, WITH_PIECES)
    assert answer["tokens"][1] == {"id": 665, "piece": " there"}
    assert parameters == {"only_tokens": "pieces", "raw": True, "prompt": TEXT}


def test_tokens_in_the_form_of_vllm(client: httpx.Client, miner: ScriptedMiner) -> None:
    body = {"model": LLM, "prompt": TEXT, "return_token_strs": True}
    answer, parameters = converted(client, miner, "/tokenize", body, WITH_PIECES)
    assert answer == {"tokens": TOKENS, "count": 3, "token_strs": PIECES}
    assert parameters == {"only_tokens": "pieces", "raw": True, "prompt": TEXT}
    body = {"model": LLM, "prompt": TEXT, "add_special_tokens": False}
    _, parameters = converted(client, miner, "/tokenize", body, RESULTS)
    assert parameters["special_tokens"] is False


def test_the_tokens_of_a_conversation_with_tools(client: httpx.Client, miner: ScriptedMiner) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    body = {
        "model": LLM,
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}],
            },
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "nothing"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": "Looks."}}],
    }
    answer, parameters = converted(client, miner, "/v1/tokenize", body, RESULTS)
    assert answer["count"] == 3
    user, assistant, tool = parameters["messages"]
    assert user["content"] == "Hello\nthere"
    assert assistant["tool_calls"] == [{"id": "a", "name": "look", "arguments": "{}"}]
    assert tool["tool_call_id"] == "a"
    assert parameters["tools"][0]["name"] == "look"


@pytest.mark.parametrize("path", ["/v1/detokenize", "/detokenize"])
def test_the_text_of_tokens(client: httpx.Client, miner: ScriptedMiner, path: str) -> None:
    results = {**RESULTS, "text": TEXT, "tokens": None}
    answer, parameters = converted(client, miner, path, {"model": LLM, "tokens": TOKENS}, results)
    assert answer == {"content": TEXT, "prompt": TEXT}
    assert parameters == {"only_tokens": "text", "token_ids": TOKENS}


def test_results_without_tokens_are_refused(client: httpx.Client, miner: ScriptedMiner) -> None:
    for body, results in (
        ({"content": TEXT}, {**RESULTS, "tokens": None}),
        ({"content": TEXT, "with_pieces": True}, {**WITH_PIECES, "pieces": ["Hello"]}),
    ):
        answer, _ = answered(miner, results, lambda: client.post("/tokenize", json=body, timeout=120))  # noqa: B023 - awaited
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "RESULT_INVALID")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": TEXT, "content": TEXT}, "one of content, prompt and messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "remove the other parts"),
        ({"content": TEXT, "parse_special": False}, "parse_special"),
    ],
)
def test_refusals_name_the_fields_of_the_client(
    client: httpx.Client, miner: ScriptedMiner, body: dict[str, Any], words: str
) -> None:
    answer = client.post("/v1/tokenize", json={"model": LLM, **body})
    assert answer.status_code == 422
    assert words in answer.text


def test_a_model_must_be_named_if_there_is_not_exactly_one(client: httpx.Client) -> None:
    answer = client.post("/tokenize", json={"content": TEXT})
    assert answer.status_code == 422
    assert "name the model" in answer.json()["error"]["details"]["fields"]["model"]


def test_an_older_miner_gets_no_such_job(client: httpx.Client, served: Served) -> None:
    old, offered = ScriptedMiner(served.url), capabilities()
    offered["services"]["llm_inference"]["models"] = [LLM]
    assert old.register(capabilities=offered).status_code == 200
    answer = client.post("/tokenize", json={"model": LLM, "content": TEXT})
    assert answer.status_code == 422
    assert "older version of the agent" in answer.text
