"""Anthropic's Messages API: whole answers, tools, images, thoughts, and errors in its words."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from support.clients.anthropic_jobs import CALL, CALLED, QUESTION, SEEING, WEATHER, body
from support.clients.openai_jobs import ANSWER, LLM, PICTURES, TEXT, answered, asking
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}


def ask(
    claude: httpx.Client, miner: ScriptedMiner, results: dict[str, Any] = TEXT, **fields: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the answer to a request whose job the miner completes, and the parameters of that job."""
    answer, parameters = answered(
        miner, results, lambda: claude.post("/messages?beta=true", json=body(**fields))
    )
    assert answer.status_code == 200, answer.text
    return answer.json(), parameters


def refused(answer: httpx.Response, status: int, kind: str) -> str:
    """Return the message of an error in Anthropic's form."""
    assert answer.status_code == status, answer.text
    error = answer.json()
    assert (error["type"], error["error"]["type"]) == ("error", kind)
    assert error["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]
    assert set(error) == {"type", "error", "request_id"}
    return str(error["error"]["message"])


def test_a_conversation_is_answered(claude: httpx.Client, miner: ScriptedMiner) -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "Be short.", **cached}, {"type": "text", "text": "Be kind."}]
    answer, parameters = ask(
        claude, miner, system=system, temperature=0.5, top_k=40, top_p=0.9, stop_sequences=["END"],
        metadata={"user_id": "ann"}, service_tier="auto", context_management={"edits": []},
    )  # fmt: skip
    assert parameters["messages"][0] == {
        "role": "system", "content": "Be short.\n\nBe kind.", "tool_calls": [], "tool_call_id": None,
    }  # fmt: skip
    assert [turn["content"] for turn in parameters["messages"][1:]] == ["Name the capital of France."]
    assert [parameters[name] for name in ("max_tokens", "temperature", "top_k", "top_p", "stop")] == [
        64, 0.5, 40, 0.9, ["END"],
    ]  # fmt: skip
    # Without `thinking`, a model that thinks must not, since its thoughts would use up `max_tokens`.
    assert parameters["reasoning_effort"] == "none"
    assert answer.pop("id").startswith("job_")
    usage = answer.pop("usage")
    assert (usage["input_tokens"] + usage["cache_read_input_tokens"], usage["output_tokens"]) == (7, 8)
    assert answer == {
        "type": "message",
        "role": "assistant",
        "model": LLM,
        "content": [{"type": "text", "text": ANSWER}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }


def test_a_bearer_key_is_accepted_and_a_cut_answer_is_named(served: Served, miner: ScriptedMiner) -> None:
    with httpx.Client(headers={"Authorization": f"Bearer {served.client_key}"}, timeout=180) as bearer:
        answer, _ = answered(
            miner,
            {**TEXT, "finish_reason": "length"},
            lambda: bearer.post(f"{served.url}/v1/messages", json=body(max_tokens=128_000)),
        )
    assert answer.json()["stop_reason"] == "max_tokens"
    assert answer.headers["x-job-id"] == answer.json()["id"]


def test_the_sequence_that_ended_the_text_is_named(claude: httpx.Client, miner: ScriptedMiner) -> None:
    results = {**TEXT, "stop_text": "END"}
    answer, _ = ask(claude, miner, results, stop_sequences=["END"])
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")
    with asking(lambda: claude.post("/messages", json=body(stream=True, stop_sequences=["END"]))) as response:
        (lease,) = miner.poll()
        assert miner.complete(lease, results).status_code == 200
        assert '"delta":{"stop_reason":"stop_sequence","stop_sequence":"END"}' in response.result(180).text


def test_the_model_calls_a_tool_and_reads_what_it_returned(
    claude: httpx.Client, miner: ScriptedMiner
) -> None:
    answer, parameters = ask(claude, miner, CALLED, tools=[WEATHER], tool_choice={"type": "any"})
    (tool,) = parameters["tools"]
    assert (tool["name"], tool["description"]) == ("get_weather", "Weather.")
    assert json.loads(tool["parameters"]) == WEATHER["input_schema"]
    assert (parameters["tool_choice"], parameters["parallel_tool_calls"]) == ("required", True)
    use = {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Rome"}}
    assert (answer["content"], answer["stop_reason"]) == ([use], "tool_use")
    thought = {"type": "thinking", "thinking": "Rome?", "signature": "s"}
    results = [
        {
            "type": "tool_result",
            "tool_use_id": "call_1",
            "content": [{"type": "text", "text": "Snow."}, IMAGE],
        },
        {"type": "tool_result", "tool_use_id": "call_2", "content": "No city.", "is_error": True},
        {"type": "text", "text": "Go on."},
    ]
    second = {**use, "id": "call_2", "input": {}}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": [thought, {"type": "text", "text": "I look."}, use, second]},
        {"role": "user", "content": results},
    ]
    named = {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}
    _, parameters = ask(claude, miner, model=SEEING, messages=messages, tools=[WEATHER], tool_choice=named)
    _, assistant, first, failed, user = parameters["messages"]
    assert assistant["content"] == "I look."
    assert [call["arguments"] for call in assistant["tool_calls"]] == ['{"city": "Rome"}', "{}"]
    assert (first["role"], first["tool_call_id"], first["content"]) == ("tool", "call_1", "Snow.")
    assert (failed["tool_call_id"], failed["content"]) == ("call_2", "Error: No city.")
    # Images are only in users' messages.
    assert [part["type"] for part in user["content"]] == ["image", "text"]
    assert user["content"][0]["image_url"].startswith("artifact:")
    assert (parameters["tool_choice"], parameters["parallel_tool_calls"]) == ({"name": "get_weather"}, False)


def test_turns_of_one_role_become_one(claude: httpx.Client, miner: ScriptedMiner) -> None:
    """Also a system's turn between others: the templates of most models accept one only at the beginning."""
    document = {
        "type": "document",
        "title": "Rules",
        "source": {"type": "text", "media_type": "text/plain", "data": "1."},
    }
    messages = [
        {"role": "user", "content": [document]},
        {"role": "system", "content": "The user is in a hurry."},
        {"role": "assistant", "content": "Yes?"},
        {"role": "assistant", "content": [{"type": "text", "text": "Well?"}]},
        *QUESTION,
    ]
    _, parameters = ask(claude, miner, messages=messages)
    assert [(turn["role"], turn["content"]) for turn in parameters["messages"]] == [
        ("user", "Rules\n1.\nThe user is in a hurry."),
        ("assistant", "Yes?\nWell?"),
        ("user", "Name the capital of France."),
    ]


def test_long_names_and_descriptions_of_tools_fit(claude: httpx.Client, miner: ScriptedMiner) -> None:
    """The service has half the length for a name, and a tenth for a description."""
    name = f"mcp__{'server' * 12}__read"
    tool = {**WEATHER, "name": name, "description": "d" * 10_000 + "end."}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": name, "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]},
    ]
    with asking(lambda: claude.post("/messages", json=body(messages=messages, tools=[tool]))) as response:
        (lease,) = miner.poll()
        parameters = lease["spec"]["parameters"]
        short = parameters["tools"][0]["name"]
        assert len(short) == 64
        assert parameters["messages"][2]["tool_calls"][0]["name"] == short
        assert parameters["messages"][0]["content"].endswith(f"{short} continues: end.")
        results = {**CALLED, "tool_calls": [{**CALL, "name": short}]}
        assert miner.complete(lease, results).status_code == 200
        assert response.result(180).json()["content"][0]["name"] == name


def test_a_deferred_tool_is_shown_after_a_reference_to_it(claude: httpx.Client, miner: ScriptedMiner) -> None:
    tools = [WEATHER, {**WEATHER, "name": "hidden", "defer_loading": True}]
    _, parameters = ask(claude, miner, tools=tools)
    assert [tool["name"] for tool in parameters["tools"]] == ["get_weather"]
    use = {"type": "tool_use", "id": "c", "name": "get_weather", "input": {}}
    reference = {"type": "tool_reference", "tool_name": "hidden"}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [reference]}]},
    ]
    _, parameters = ask(claude, miner, tools=tools, messages=messages)
    assert [tool["name"] for tool in parameters["tools"]] == ["get_weather", "hidden"]


@pytest.mark.parametrize(
    ("options", "effort", "shown"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low", "Well."),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 31_999, "display": "omitted"}},
            "high",
            "",
        ),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "high", "Well."),
        ({"thinking": {"type": "adaptive"}}, None, "Well."),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, "none", None),
    ],
)
def test_a_model_thinks_as_long_as_requested(
    claude: httpx.Client,
    miner: ScriptedMiner,
    options: dict[str, Any],
    effort: str | None,
    shown: str | None,
) -> None:
    answer, parameters = ask(claude, miner, {**TEXT, "reasoning": "Well."}, **options)
    assert parameters["reasoning_effort"] == effort
    thoughts = [block["thinking"] for block in answer["content"] if block["type"] == "thinking"]
    assert thoughts == ([] if shown is None else [shown])


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_the_answer_follows_a_schema(claude: httpx.Client, miner: ScriptedMiner, field: str) -> None:
    schema = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}
    form: dict[str, Any] = {"type": "json_schema", "schema": schema}
    options = {field: form if field == "output_format" else {"format": form}}
    _, parameters = ask(claude, miner, {**TEXT, "text": "{}"}, **options)
    assert json.loads(parameters["response_schema"])["properties"] == schema["properties"]


SEARCH = {"type": "web_search_20250305", "name": "web_search"}
FILE = {"type": "image", "source": {"type": "file", "file_id": "f"}}
PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": 0}, "max_tokens: must be at least 1"),
        ({"temperature": 1.5}, "temperature: must be at most 1"),
        ({"messages": []}, "messages: must have at least 1 entry"),
        ({"messages": [{"role": "user", "content": ""}]}, "the content is empty"),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "It is"}]}, "must end with a user's message"),
        ({"messages": [{"role": "user", "content": [FILE]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [PDF]}]}, "messages.0.content"),
        ({"tools": [SEARCH]}, "'web_search_20250305' is a tool of Anthropic's"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice"),
        ({"mcp_servers": [{"type": "url", "url": "https://a.example", "name": "a"}]}, "mcp_servers: only [] is supported"),
        ({"container": "c"}, "container: this parameter is not supported"),
        ({"stop_sequences": ["a"] * 9}, "stop_sequences: must have at most 8 entries"),
        ({"output_format": {"type": "json_schema", "schema": {"not": {}}}}, "output_config.format.schema"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_the_words_of_this_api(
    claude: httpx.Client, fields: dict[str, Any], words: str
) -> None:
    message = refused(claude.post("/messages", json=body(**fields)), 400, "invalid_request_error")
    assert words in message
    assert "The request is not valid" not in message


def test_every_error_has_this_form(claude: httpx.Client, miner: ScriptedMiner, served: Served) -> None:
    keyless = httpx.post(f"{served.url}/v1/messages", json=body(), headers={"X-API-Key": "wrong"})
    refused(keyless, 401, "authentication_error")
    message = refused(claude.post("/messages", json=body(model=f"{LLM}s")), 404, "not_found_error")
    assert LLM in message
    refused(claude.post("/messages", json=body(model=PICTURES)), 404, "not_found_error")
    refused(claude.post("/messages", content=b"{", headers={"Content-Type": "application/json"}), 400, "invalid_request_error")  # fmt: skip
    refused(claude.get("/messages"), 405, "invalid_request_error")
    refused(claude.get("/messages/batches"), 404, "not_found_error")
    with asking(lambda: claude.post("/messages", json=body())) as response:
        (lease,) = miner.poll()
        miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No eyes.")
        assert refused(response.result(180), 400, "invalid_request_error") == "No eyes."


OVERFLOW = "The prompt has {} tokens and max_tokens is 64; the model 'smollm2-135m-instruct' holds 2048 together. Shorten one of them."


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("said", "words"),
    [
        (OVERFLOW.format(2000), "input length and `max_tokens` exceed context limit: 2000 + 64 > 2048"),
        (OVERFLOW.format(3000), "prompt is too long: 3000 tokens > 2048 maximum"),
        (OVERFLOW.format("more than 4096"), "prompt is too long: 4096 tokens > 2048 maximum"),
        ("It does not fit.", "prompt is too long: It does not fit."),
    ],
)
def test_a_conversation_that_is_too_long_is_an_error_that_clients_act_upon(
    claude: httpx.Client, miner: ScriptedMiner, stream: bool, said: str, words: str
) -> None:
    """Claude Code shortens the conversation, or asks for a shorter answer. Of a stream it reads only an error with a status."""
    with asking(lambda: claude.post("/messages", json=body(stream=stream))) as response:
        (lease,) = miner.poll()
        miner.job(lease, "fail", kind="fail", code="CONTEXT_OVERFLOW", message=said)
        assert refused(response.result(180), 400, "invalid_request_error").startswith(words)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_cannot_be_so_long_becomes_shorter(
    claude: httpx.Client, miner: ScriptedMiner, stream: bool
) -> None:
    """Clients name what large models can write; only the engine knows how much a prompt leaves."""
    request = body(stream=stream, max_tokens=32_000)
    headers = {"Idempotency-Key": "one"}
    with asking(lambda: claude.post("/messages", json=request, headers=headers)) as response:
        (lease,) = miner.poll()
        miner.job(lease, "fail", kind="fail", code="CONTEXT_OVERFLOW", message=OVERFLOW.format(1500))
        (again,) = miner.poll()
        assert again["spec"]["parameters"]["max_tokens"] == 548
        assert miner.complete(again, TEXT).status_code == 200
        answer = response.result(180)
    assert (answer.status_code, answer.headers["x-job-id"]) == (200, again["job_id"])
    assert ANSWER in answer.text or stream


def test_models_are_listed_in_the_form_of_the_client(claude: httpx.Client, served: Served, miner: ScriptedMiner) -> None:  # fmt: skip
    listed = claude.get("/models?limit=1000").json()
    assert LLM in [model["id"] for model in listed["data"]]
    assert PICTURES not in [model["id"] for model in listed["data"]]
    assert (listed["first_id"], listed["has_more"]) == (listed["data"][0]["id"], False)
    assert claude.get(f"/models/{LLM}").json()["type"] == "model"
    refused(claude.get("/models/no-such-model"), 404, "not_found_error")
    other = httpx.get(f"{served.url}/v1/models", headers={"X-API-Key": served.client_key}).json()
    assert other["object"] == "list"


def test_tokens_are_counted(claude: httpx.Client, miner: ScriptedMiner) -> None:
    """As the model reads them, with the tools, and without generating any."""
    # Those of images cannot be counted.
    messages = [{"role": "user", "content": [IMAGE, {"type": "text", "text": "What is it?"}]}]
    request = {"model": LLM, "messages": messages, "system": "Be short.", "tools": [WEATHER]}
    results = {
        "text": "",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 21},
    }
    results |= {"units": 0.21, "processing_time": 0.1}
    answer, parameters = answered(miner, results, lambda: claude.post("/messages/count_tokens", json=request))
    assert (answer.status_code, answer.json()) == (200, {"input_tokens": 21}), answer.text
    assert (parameters["only_tokens"], parameters["tools"][0]["name"]) == ("count", "get_weather")
    assert [turn["content"] for turn in parameters["messages"]] == ["Be short.", "What is it?"]
