"""OpenAI's own client: tools, several answers, log-probabilities and reasoning, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import OpenAI, UnprocessableEntityError

from support.clients.openai_jobs import ANSWER, LLM, QUESTION, TEXT, USAGE, answered, asking, register
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served

PARAMETERS = {
    "type": "object",
    "properties": {"unit": {"type": "string"}, "city": {"type": "string"}},
    "required": ["city"],
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather.", "parameters": PARAMETERS},
    }
]
CALL = {"id": "call_1", "name": "get_weather", "arguments": '{"city": "Rome"}'}
CALLED = {**TEXT, "text": "", "finish_reason": "tool_calls", "tool_calls": [CALL]}
TOKEN = {"token": "The", "logprob": -0.5, "bytes": [84, 104, 101]}
LOGPROBS = [{**TOKEN, "top_logprobs": [TOKEN, {"token": "A", "logprob": -2.0, "bytes": [65]}]}]


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    return register(ScriptedMiner(served.url))


def part(miner: ScriptedMiner, lease: dict[str, Any], **data: Any) -> None:
    """Publish an addition to an answer that is not the first answer's text."""
    events = [{"kind": "part", "data": data}]
    assert miner.job(lease, "events", events=events).status_code == 204


def test_the_model_calls_a_function_and_reads_its_answer(ai: OpenAI, miner: ScriptedMiner) -> None:
    answer, parameters = answered(
        miner,
        CALLED,
        lambda: ai.chat.completions.create(model=LLM, messages=QUESTION, tools=TOOLS, tool_choice="required"),
    )
    (tool,) = parameters["tools"]
    assert (tool["name"], tool["description"]) == ("get_weather", "Weather.")
    assert json.loads(tool["parameters"]) == PARAMETERS
    assert list(json.loads(tool["parameters"])["properties"]) == ["unit", "city"]
    assert (parameters["tool_choice"], parameters["parallel_tool_calls"]) == ("required", True)
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == tuple(CALL.values())
    messages: list[Any] = [
        *QUESTION,
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "Snow."},
    ]
    named: Any = {"type": "function", "function": {"name": "get_weather"}}
    _, parameters = answered(
        miner,
        TEXT,
        lambda: ai.chat.completions.create(
            model=LLM, messages=messages, tools=TOOLS, tool_choice=named, parallel_tool_calls=False
        ),
    )
    assert parameters["messages"][1]["tool_calls"] == [CALL]
    assert (parameters["messages"][2]["role"], parameters["messages"][2]["tool_call_id"]) == (
        "tool",
        "call_1",
    )
    assert (parameters["tool_choice"], parameters["parallel_tool_calls"]) == ({"name": "get_weather"}, False)


def test_functions_and_a_form_of_the_answer_in_one_request(ai: OpenAI, miner: ScriptedMiner) -> None:
    """A call that the token limit has cut off is sent as it is."""
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": PARAMETERS}}
    text: Any = {"format": {"type": "json_schema", "name": "answer", "schema": PARAMETERS}}
    cut = {**CALLED, "finish_reason": "length", "tool_calls": [{**CALL, "arguments": '{"ci'}]}
    answer, parameters = answered(
        miner,
        cut,
        lambda: ai.chat.completions.create(model=LLM, messages=QUESTION, tools=TOOLS, response_format=form),
    )
    assert json.loads(parameters["response_schema"]) == PARAMETERS
    assert (parameters["tool_choice"], answer.choices[0].finish_reason) == ("auto", "length")
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.arguments == '{"ci'
    tool: Any = {"type": "function", "name": "get_weather", "parameters": PARAMETERS}
    _, parameters = answered(
        miner, TEXT, lambda: ai.responses.create(model=LLM, input="Hello", tools=[tool], text=text)
    )
    assert (len(parameters["tools"]), json.loads(parameters["response_schema"])) == (1, PARAMETERS)


def test_a_call_is_streamed_in_parts(ai: OpenAI, miner: ScriptedMiner) -> None:
    """What the miner did not publish as an event comes at the end."""
    stream = ai.chat.completions.create(model=LLM, messages=QUESTION, tools=TOOLS, stream=True)
    (lease,) = miner.poll()
    first = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": ""},
    }
    part(miner, lease, index=0, offset=0, tool_calls=[first])
    part(miner, lease, index=0, offset=1, tool_calls=[{"index": 0, "function": {"arguments": '{"city"'}}])
    assert miner.complete(lease, CALLED).status_code == 200
    calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert (calls[0].id, calls[0].function and calls[0].function.name) == ("call_1", "get_weather")
    assert "".join((call.function and call.function.arguments) or "" for call in calls) == CALL["arguments"]
    assert len(calls) == 3


def test_a_call_that_another_miner_repeats_is_sent_once(ai: OpenAI, miner: ScriptedMiner) -> None:
    """Its parts begin again at 0, so they are held back, and the end brings what is missing."""
    stream = ai.chat.completions.create(model=LLM, messages=QUESTION, tools=TOOLS, stream=True)
    (lease,) = miner.poll()
    half = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"ci'},
    }
    for _ in range(2):
        part(miner, lease, index=0, offset=0, tool_calls=[half])
    assert miner.complete(lease, CALLED).status_code == 200
    calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert "".join((call.function and call.function.arguments) or "" for call in calls) == CALL["arguments"]


def test_cached_tokens_are_part_of_the_usage(ai: OpenAI, miner: ScriptedMiner) -> None:
    """An engine that does not report them leaves them out."""
    cached = 6
    results = {**TEXT, "usage": {**USAGE, "cached_tokens": cached}}
    answer, _ = answered(miner, results, lambda: ai.chat.completions.create(model=LLM, messages=QUESTION))
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == cached
    plain, _ = answered(miner, TEXT, lambda: ai.chat.completions.create(model=LLM, messages=QUESTION))
    assert plain.usage is not None
    assert plain.usage.to_dict() == USAGE
    completed, _ = answered(miner, results, lambda: ai.completions.create(model=LLM, prompt="A"))
    assert completed.usage is not None
    assert completed.usage.prompt_tokens_details is not None
    assert completed.usage.prompt_tokens_details.cached_tokens == cached
    response, _ = answered(miner, results, lambda: ai.responses.create(model=LLM, input="Hello"))
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == cached


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"guided_regex": "[0-9]+"}, "grammar"),
        ({"guided_choice": ["yes", "no"]}, "grammar"),
        ({"grammar": 'root ::= "yes"'}, "grammar"),
        ({"guided_grammar": 'root ::= "yes"'}, "grammar"),
        ({"guided_json": PARAMETERS}, "response_schema"),
        ({"guided_json": json.dumps(PARAMETERS)}, "response_schema"),
        ({"json_schema": PARAMETERS}, "response_schema"),
        ({"structured_outputs": {"json": PARAMETERS}}, "response_schema"),
        ({"structured_outputs": {"choice": ["yes"]}}, "grammar"),
        ({"structured_outputs": {"json_object": True}}, "json_object"),
        ({"min_p": 0.1}, "min_p"),
        ({"mirostat": 2}, "mirostat"),
        ({"repeat_penalty": 1.2}, "repetition_penalty"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "template_options"),
    ],
)
def test_the_extensions_of_other_servers(
    ai: OpenAI, miner: ScriptedMiner, fields: dict[str, Any], parameter: str
) -> None:
    _, usual = answered(miner, TEXT, lambda: ai.chat.completions.create(model=LLM, messages=QUESTION))
    _, parameters = answered(
        miner, TEXT, lambda: ai.chat.completions.create(model=LLM, messages=QUESTION, extra_body=fields)
    )
    assert {name for name in parameters if parameters[name] != usual.get(name)} == {parameter}


def test_what_clients_send_back_has_no_effect(ai: OpenAI, miner: ScriptedMiner) -> None:
    """Nor has what marks a prompt for the caches of other servers."""
    marked = {"cache_control": {"type": "ephemeral"}}
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": "Hello", **marked}], **marked},
        {
            "role": "assistant",
            "content": "Hi",
            "refusal": "no",
            "annotations": [{"type": "url_citation"}],
            "reasoning": "thoughts",
            "reasoning_details": [{}],
            "thinking_blocks": None,
            "provider_specific_fields": {"a": 1},
            "tool_calls": None,
        },
        *QUESTION,
    ]
    tools: Any = [{**TOOLS[0], **marked}]
    _, parameters = answered(
        miner, TEXT, lambda: ai.chat.completions.create(model=LLM, messages=messages, tools=tools)
    )
    assert [turn["content"] for turn in parameters["messages"]] == ["Hello", "Hi", QUESTION[0]["content"]]
    assert parameters["tools"][0].keys() == {"name", "description", "parameters"}


def test_a_completion_repeats_its_prompt_and_fills_in(ai: OpenAI, miner: ScriptedMiner) -> None:
    """`suffix` goes to the model."""
    prompt = "Name the capital of France."
    answer, parameters = answered(
        miner,
        TEXT,
        lambda: ai.completions.create(model=LLM, prompt=prompt, echo=True, suffix=" the end", best_of=1),
    )
    assert answer.choices[0].text == prompt + ANSWER
    assert (parameters["prompt"], parameters["suffix"]) == (prompt, " the end")
    stream = ai.completions.create(model=LLM, prompt=prompt, echo=True, stream=True)
    (lease,) = miner.poll()
    assert miner.complete(lease, TEXT).status_code == 200
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == prompt + ANSWER


def test_one_form_in_a_request(ai: OpenAI) -> None:
    """Two forms contradict each other, also with the names of different servers."""
    form = {"response_format": {"type": "json_object"}, "guided_choice": ["a"]}
    for fields, words in (
        (form, "give only one of response_format, guided_choice"),
        ({"grammar": 'root ::= "a"', "guided_regex": "a"}, "give only one of grammar, guided_regex"),
        ({"guided_regex": "(?=a)"}, "look-around"),
        ({"chat_template_kwargs": {"messages": "a"}}, "the agent sets this variable"),
    ):
        with pytest.raises(UnprocessableEntityError, match=words):
            ai.chat.completions.create(model=LLM, messages=QUESTION, extra_body=fields)
    text: Any = {"format": {"type": "json_object"}}
    with pytest.raises(UnprocessableEntityError, match=r"give only one of text\.format, guided_regex"):
        ai.responses.create(model=LLM, input="a", text=text, extra_body={"guided_regex": "a"})


def test_several_answers(ai: OpenAI, miner: ScriptedMiner) -> None:
    answers = [{"text": text, "finish_reason": "stop"} for text in (ANSWER, "Paris.")]
    results = {**TEXT, "answers": answers}
    answer, parameters = answered(
        miner, results, lambda: ai.chat.completions.create(model=LLM, messages=QUESTION, n=2)
    )
    assert parameters["n"] == 2
    assert [(choice.index, choice.message.content) for choice in answer.choices] == [
        (0, ANSWER),
        (1, "Paris."),
    ]
    stream = ai.chat.completions.create(model=LLM, messages=QUESTION, n=2, stream=True)
    (lease,) = miner.poll()
    part(miner, lease, index=1, offset=0, text="Par")
    assert miner.complete(lease, results).status_code == 200
    texts = {0: "", 1: ""}
    for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == {0: ANSWER, 1: "Paris."}


def test_log_probabilities(ai: OpenAI, miner: ScriptedMiner) -> None:
    results = {**TEXT, "text": "The", "logprobs": LOGPROBS}
    answer, parameters = answered(
        miner,
        results,
        lambda: ai.chat.completions.create(model=LLM, messages=QUESTION, logprobs=True, top_logprobs=2),
    )
    assert parameters["top_logprobs"] == 2
    assert answer.choices[0].logprobs is not None
    (token,) = answer.choices[0].logprobs.content or []
    assert (token.token, token.logprob, [other.token for other in token.top_logprobs]) == (
        "The",
        -0.5,
        ["The", "A"],
    )
    text, parameters = answered(
        miner, results, lambda: ai.completions.create(model=LLM, prompt="Once", logprobs=2)
    )
    older = text.choices[0].logprobs
    assert older is not None
    assert (older.tokens, older.token_logprobs, older.text_offset) == (["The"], [-0.5], [0])
    assert older.top_logprobs == [{"The": -0.5, "A": -2.0}]
    stream = ai.chat.completions.create(model=LLM, messages=QUESTION, logprobs=True, stream=True)
    (lease,) = miner.poll()
    token_event = {"text": "The", "offset": 0, "logprobs": LOGPROBS}
    events = [{"kind": "token", "data": token_event}]
    assert miner.job(lease, "events", events=events).status_code == 204
    assert miner.complete(lease, results).status_code == 200
    found = [
        entry for chunk in stream if (given := chunk.choices[0].logprobs) for entry in given.content or []
    ]
    assert [entry.token for entry in found] == ["The"]


def test_reasoning_is_apart_from_the_answer(ai: OpenAI, miner: ScriptedMiner) -> None:
    results = {**TEXT, "reasoning": "Paris is in France."}
    answer, parameters = answered(
        miner,
        results,
        lambda: ai.chat.completions.create(model=LLM, messages=QUESTION, reasoning_effort="minimal"),
    )
    assert parameters["reasoning_effort"] == "low"
    message = answer.choices[0].message
    assert (message.content, message.to_dict()["reasoning_content"]) == (ANSWER, "Paris is in France.")
    with asking(lambda: [*ai.chat.completions.create(model=LLM, messages=QUESTION, stream=True)]) as response:
        (lease,) = miner.poll()
        part(miner, lease, index=0, offset=0, reasoning="Paris is")
        assert miner.complete(lease, results).status_code == 200
        deltas = [chunk.choices[0].delta.to_dict() for chunk in response.result(60)]
    assert "".join(str(delta.get("reasoning_content", "")) for delta in deltas) == "Paris is in France."


def test_what_only_describes_the_request_is_accepted(ai: OpenAI, miner: ScriptedMiner) -> None:
    described: dict[str, Any] = {
        "user": "ann", "metadata": {"team": "a"}, "safety_identifier": "ann", "prompt_cache_key": "k", "store": False,
        "logit_bias": {"504": -5},
    }  # fmt: skip
    _, parameters = answered(
        miner, TEXT, lambda: ai.chat.completions.create(model=LLM, messages=QUESTION, **described)
    )
    assert parameters["logit_bias"] == {"504": -5}
