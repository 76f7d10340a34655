"""`POST /v1/responses` for OpenAI's own client, and by the specification of Open Responses."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from support.clients.open_responses import INPUTS, WEATHER, check, checked, frames, message
from support.clients.openai_jobs import ANSWER, LLM, TEXT, answered, asking, register, send_tokens
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import ended
from support.server import Served

QUESTION = "Name the capital of France."
CALL = {"id": "call_1", "name": "get_weather", "arguments": '{"location": "Rome"}'}
CALLED = {**TEXT, "text": "", "finish_reason": "tool_calls", "tool_calls": [CALL]}
TOKEN = {"token": "The", "logprob": -0.5, "bytes": [84, 104, 101]}


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    return register(ScriptedMiner(served.url))


def part(miner: ScriptedMiner, lease: dict[str, Any], **data: Any) -> None:
    """Publish an addition to the answer that is not text."""
    events = [{"kind": "part", "data": {"index": 0, **data}}]
    assert miner.job(lease, "events", events=events).status_code == 204


def call_part(arguments: str, **first: Any) -> dict[str, Any]:
    """Return a part of the call, as the runner publishes it."""
    name = {"name": CALL["name"]} if first else {}
    return {"index": 0, **first, "function": {**name, "arguments": arguments}}


@pytest.mark.parametrize("name", INPUTS)
def test_answers_follow_the_specification(client: httpx.Client, miner: ScriptedMiner, name: str) -> None:
    """The answer to each text input of the compliance suite, whole and streamed."""
    body = {"model": LLM, "input": INPUTS[name]}
    answer, parameters = answered(miner, TEXT, lambda: client.post("/v1/responses", json=body))
    turns = [(turn["role"], turn["content"]) for turn in parameters["messages"]]
    assert turns == [(item["role"], item["content"]) for item in INPUTS[name]]
    response = answer.json()
    check("ResponseResource", response)
    assert (response["status"], response["output"][0]["content"][0]["text"]) == ("completed", ANSWER)
    with client.stream("POST", "/v1/responses", json=body | {"stream": True}) as stream:
        (lease,) = miner.poll()
        send_tokens(miner, lease, "The capital")
        assert miner.complete(lease, TEXT).status_code == 200
        events = checked(stream.iter_lines())
    assert [event["delta"] for event in events if event["type"].endswith("text.delta")] == [
        "The capital",
        " of France is Paris.",
    ]
    assert events[-1]["type"] == "response.completed"
    streamed = events[-1]["response"]
    assert streamed["output"][0]["content"] == response["output"][0]["content"]
    assert streamed["usage"] == response["usage"]


def test_a_called_function_follows_the_specification(client: httpx.Client, miner: ScriptedMiner) -> None:
    body = {"model": LLM, "input": INPUTS["basic"], "tools": [WEATHER]}
    answer, _ = answered(miner, CALLED, lambda: client.post("/v1/responses", json=body))
    check("ResponseResource", answer.json())
    with client.stream("POST", "/v1/responses", json=body | {"stream": True}) as stream:
        (lease,) = miner.poll()
        part(miner, lease, offset=0, tool_calls=[call_part("", id="call_1", type="function")])
        part(miner, lease, offset=1, tool_calls=[call_part('{"location"')])
        assert miner.complete(lease, CALLED).status_code == 200
        events = checked(stream.iter_lines())
    assert [event["type"].removeprefix("response.") for event in events[2:]] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert events[2]["item"]["type"] == "function_call"
    assert events[-1]["response"]["output"] == [events[-2]["item"]]
    (item,) = answer.json()["output"]
    assert item | {"id": ""} == events[-2]["item"] | {"id": ""}


def test_a_response_is_answered_with_a_receipt(
    ai: OpenAI, client: httpx.Client, miner: ScriptedMiner
) -> None:
    settings: dict[str, Any] = {"temperature": 0.1, "top_p": 0.5}
    described: dict[str, Any] = {
        "user": "ann", "metadata": {"team": "a"}, "safety_identifier": "ann", "prompt_cache_key": "k", "store": False,
        "truncation": "disabled", "service_tier": "auto", "include": ["reasoning.encrypted_content"],
    }  # fmt: skip
    answer, parameters = answered(
        miner,
        TEXT,
        lambda: ai.responses.create(
            model=LLM,
            input=QUESTION,
            instructions="Be brief.",
            max_output_tokens=50,
            extra_body={"seed": 7, "priority": 3},
            **settings,
            **described,
        ),
    )
    assert answer.output_text == ANSWER
    assert (answer.status, answer.metadata, answer.instructions) == ("completed", {"team": "a"}, "Be brief.")
    assert [(turn["role"], turn["content"]) for turn in parameters["messages"]] == [
        ("system", "Be brief."),
        ("user", QUESTION),
    ]
    assert {**settings, "max_tokens": 50, "seed": 7}.items() <= parameters.items()
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 8, 15)
    assert client.get(f"/v1/receipts/{answer.id}").json()["job_id"] == answer.id


def test_the_model_calls_a_function_and_reads_its_answer(ai: OpenAI, miner: ScriptedMiner) -> None:
    """The answer's items go back unchanged, as agents send them."""
    tools: Any = [WEATHER, WEATHER | {"name": "get_time"}]
    named: Any = {"type": "function", "name": "get_weather"}
    results = {**CALLED, "reasoning": "I need the weather."}
    answer, parameters = answered(
        miner,
        results,
        lambda: ai.responses.create(model=LLM, input=QUESTION, tools=tools, tool_choice=named),
    )
    tool = parameters["tools"][0] | {"parameters": json.loads(parameters["tools"][0]["parameters"])}
    assert tool == {key: WEATHER[key] for key in ("name", "description", "parameters")}
    assert (parameters["tool_choice"], parameters["parallel_tool_calls"]) == ({"name": "get_weather"}, True)
    thoughts, call = answer.output
    assert thoughts.type == "reasoning"
    assert thoughts.summary[0].text == "I need the weather."
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == tuple(CALL.values())
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "Snow."}
    items: Any = [message("user", QUESTION), *answer.output, output]
    allowed: Any = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "get_time"}],
    }
    answer, parameters = answered(
        miner,
        TEXT,
        lambda: ai.responses.create(
            model=LLM, input=items, tools=tools, tool_choice=allowed, parallel_tool_calls=False
        ),
    )
    _, asked, read = parameters["messages"]
    assert (asked["role"], asked["tool_calls"]) == ("assistant", [CALL])
    assert (read["role"], read["tool_call_id"], read["content"]) == ("tool", "call_1", "Snow.")
    assert [tool["name"] for tool in parameters["tools"]] == ["get_time"]
    assert (parameters["tool_choice"], parameters["parallel_tool_calls"]) == ("required", False)
    items = [*items, *answer.output, message("user", [{"type": "input_text", "text": "And?"}])]
    _, parameters = answered(miner, TEXT, lambda: ai.responses.create(model=LLM, input=items))
    assert [turn["content"] for turn in parameters["messages"]][-2:] == [ANSWER, "And?"]


def test_the_clients_own_helper_assembles_the_stream(ai: OpenAI, miner: ScriptedMiner) -> None:
    """Thoughts, then text, then a call: three items, in this order."""
    results = {**CALLED, "text": ANSWER, "reasoning": "Paris is in France."}
    with ai.responses.stream(model=LLM, input=QUESTION, tools=[WEATHER]) as stream:  # type: ignore[list-item]
        (lease,) = miner.poll()
        part(miner, lease, offset=0, reasoning="Paris is in")
        part(miner, lease, offset=1, reasoning=" France.")
        send_tokens(miner, lease, "The capital", " of France")
        miner.complete(lease, results)
        events = list(stream)
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.output_text == ANSWER
    thoughts = [event.delta for event in events if event.type == "response.reasoning_summary_text.delta"]
    assert "".join(thoughts) == "Paris is in France."
    done = [event.item.type for event in events if event.type == "response.output_item.done"]
    assert done == ["reasoning", "message", "function_call"]
    order = [
        (event.type.rpartition(".")[2], event.output_index)
        for event in events
        if event.type in {"response.output_item.added", "response.output_item.done"}
    ]
    assert order == [("added", 0), ("done", 0), ("added", 1), ("done", 1), ("added", 2), ("done", 2)]


def test_the_parts_of_two_calls_may_alternate(ai: OpenAI, miner: ScriptedMiner) -> None:
    other = {"id": "call_2", "name": "get_time", "arguments": "{}"}
    with ai.responses.stream(model=LLM, input=QUESTION, tools=[WEATHER]) as stream:  # type: ignore[list-item]
        (lease,) = miner.poll()
        part(miner, lease, offset=0, tool_calls=[call_part('{"loc', id="call_1", type="function")])
        second = {"index": 1, "id": "call_2", "type": "function"}
        called = second | {"function": {"name": "get_time", "arguments": "{}"}}
        part(miner, lease, offset=1, tool_calls=[called])
        part(miner, lease, offset=2, tool_calls=[call_part('ation": "Rome"}')])
        miner.complete(lease, {**CALLED, "tool_calls": [CALL, other]})
        calls = [item for item in stream.get_final_response().output if item.type == "function_call"]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == [
        tuple(CALL.values()),
        tuple(other.values()),
    ]


def test_items_become_turns(client: httpx.Client, miner: ScriptedMiner) -> None:
    """Calls belong to the message before them, also if it has text; the type of a message may be missing."""
    items = [
        {"role": "developer", "content": "Be brief."},
        message("user", [{"type": "input_text", "text": "One."}, {"type": "input_text", "text": "Two."}]),
        message("assistant", [{"type": "output_text", "text": "I ask.", "annotations": []}], id="msg_1"),
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_2", "name": "get_time", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "Snow."},
        {"type": "function_call_output", "call_id": "call_2", "output": "Noon."},
    ]
    body = {"model": LLM, "input": items}
    _, parameters = answered(miner, TEXT, lambda: client.post("/v1/responses", json=body))
    turns = parameters["messages"]
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("system", "Be brief."),
        ("user", "One.\nTwo."),
        ("assistant", "I ask."),
        ("tool", "Snow."),
        ("tool", "Noon."),
    ]
    assert [call["id"] for call in turns[2]["tool_calls"]] == ["call_1", "call_2"]


class Capital(BaseModel):
    """The form of an answer: first the reasons, then the answer."""

    reasoning: str
    city: str


def test_an_answer_follows_a_schema(ai: OpenAI, miner: ScriptedMiner) -> None:
    results = {**TEXT, "text": '{"reasoning": "It is.", "city": "Paris"}'}
    answer, parameters = answered(
        miner, results, lambda: ai.responses.parse(model=LLM, input=QUESTION, text_format=Capital)
    )
    assert answer.output_parsed == Capital(reasoning="It is.", city="Paris")
    assert list(json.loads(parameters["response_schema"])["properties"]) == ["reasoning", "city"]
    loose: Any = {"format": {"type": "json_object"}}
    _, parameters = answered(
        miner, results, lambda: ai.responses.create(model=LLM, input=QUESTION, text=loose)
    )
    assert parameters["json_object"] is True


def test_an_answer_that_the_token_limit_ends_is_incomplete(ai: OpenAI, miner: ScriptedMiner) -> None:
    results = {**TEXT, "finish_reason": "length"}
    answer, _ = answered(miner, results, lambda: ai.responses.create(model=LLM, input=QUESTION))
    assert (answer.status, answer.output[0].to_dict()["status"]) == ("incomplete", "incomplete")
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    with ai.responses.create(model=LLM, input=QUESTION, stream=True) as stream:
        (lease,) = miner.poll()
        miner.complete(lease, results)
        *_, last = list(stream)
    assert last.type == "response.incomplete"


def test_log_probabilities_and_effort(ai: OpenAI, miner: ScriptedMiner) -> None:
    logprobs = [{**TOKEN, "top_logprobs": [{"token": "é", "logprob": -2.0, "bytes": None}]}]
    results = {**TEXT, "text": "The", "logprobs": logprobs}
    answer, parameters = answered(
        miner,
        results,
        lambda: ai.responses.create(
            model=LLM,
            input=QUESTION,
            top_logprobs=1,
            include=["message.output_text.logprobs"],
            reasoning={"effort": "minimal", "summary": "auto"},
        ),
    )
    assert (parameters["top_logprobs"], parameters["reasoning_effort"]) == (1, "low")
    text = answer.output[0].to_dict()["content"][0]  # type: ignore[index]
    assert text["logprobs"] == [
        {**TOKEN, "top_logprobs": [{"token": "é", "logprob": -2.0, "bytes": [195, 169]}]}
    ]


def test_a_job_that_fails_ends_the_stream_with_its_error(ai: OpenAI, miner: ScriptedMiner) -> None:
    with ai.responses.create(model=LLM, input=QUESTION, stream=True) as stream:
        (lease,) = miner.poll()
        miner.job(lease, "fail", kind="fail", code="CONTEXT_OVERFLOW", message="Too long.")
        with pytest.raises(openai.APIError, match="Too long") as caught:
            list(stream)
    assert caught.value.code == "context_length_exceeded"


def test_the_event_of_an_error_follows_the_specification(client: httpx.Client, miner: ScriptedMiner) -> None:
    body = {"model": LLM, "input": QUESTION, "stream": True}
    with client.stream("POST", "/v1/responses", json=body) as stream:
        (lease,) = miner.poll()
        miner.job(lease, "fail", kind="fail", code="CONTEXT_OVERFLOW", message="Too long.")
        *_, (name, data) = frames(stream.iter_lines())
    error = json.loads(data)
    check("ErrorStreamingEvent", error)
    assert (name, error["code"]) == ("error", "context_length_exceeded")
    assert error["message"].endswith("Too long.")
    assert error["error"]["details"] == {"job_id": lease["job_id"], "code": "CONTEXT_OVERFLOW"}


def test_disconnecting_cancels_the_job(ai: OpenAI, client: httpx.Client, miner: ScriptedMiner) -> None:
    with closing(ai.responses.create(model=LLM, input=QUESTION, stream=True)) as stream:
        first = next(stream)
        assert first.type == "response.created"
    with asking(lambda: ended(client, first.response.id, "cancelled")) as done:
        done.result(60)
