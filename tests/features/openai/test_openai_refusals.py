"""Unsupported parameters of OpenAI's client are refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from agent.coordinator.features.openai.audio import TranscriptionRequest, TranslationRequest
from agent.coordinator.features.openai.embeddings import EmbeddingsRequest
from agent.coordinator.features.openai.images import ImageRequest
from agent.coordinator.features.openai.responses import stored
from agent.coordinator.features.openai.responses.request import ResponseRequest
from agent.coordinator.features.openai.text.chat import ChatRequest
from agent.coordinator.features.openai.text.completions import CompletionRequest
from support.clients.openai_jobs import EMBEDDING, LLM, PICTURES, QUESTION
from support.server import Served, serve

GUIDE = (Path(__file__).parents[3] / "docs" / "reference" / "openai.md").read_text()


@pytest.fixture(scope="module")
def deserted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A coordinator without miners, where an accepted request would wait until its timeout."""
    with serve(tmp_path_factory.mktemp("deserted") / "data", answer_seconds=0.1) as served:
        yield served


@pytest.fixture(scope="module")
def nobody(deserted: Served) -> Iterator[OpenAI]:
    """OpenAI's client for the coordinator without miners."""
    with OpenAI(api_key=deserted.client_key, base_url=f"{deserted.url}/v1", max_retries=0) as nobody:
        yield nobody


@pytest.fixture(scope="module")
def bare(deserted: Served) -> Iterator[httpx.Client]:
    """A client that sends requests without validation."""
    with httpx.Client(base_url=deserted.url, headers={"X-API-Key": deserted.client_key}) as bare:
        yield bare


@pytest.mark.parametrize(
    "request_model",
    [
        ChatRequest,
        CompletionRequest,
        EmbeddingsRequest,
        ResponseRequest,
        TranscriptionRequest,
        TranslationRequest,
        ImageRequest,
    ],
)
def test_the_guide_documents_every_parameter(request_model: type[BaseModel]) -> None:
    """`docs/reference/openai.md` states for each whether it is supported, and with which values."""
    unnamed = [
        name for name in request_model.model_fields if f"`{name}`" not in GUIDE and f"`{name}[]`" not in GUIDE
    ]
    assert unnamed == []


def fields_of(error: openai.APIStatusError) -> dict[str, str]:
    """The fields that an error names."""
    assert error.code == "VALIDATION_ERROR"
    assert isinstance(error.body, dict)
    fields: dict[str, str] = error.body["details"]["fields"]
    return fields


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 9),
        ("top_logprobs", 21),
        ("tools", [{"type": "custom", "custom": {"name": "f"}}]),
        ("tool_choice", "any"),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("logit_bias", {"50256": -101}),
        ("logit_bias", {"the": 1}),
        ("store", True),
        ("metadata", {"a": 1}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("service_tier", "flex"),
        ("reasoning_effort", "enormous"),
        ("verbosity", "low"),
        ("prediction", {"type": "content", "content": "x"}),
        ("web_search_options", {}),
        ("moderation", {"model": "m"}),
        ("colour", "red"),
        ("temperature", 3),
        ("seed", -1),
        ("max_tokens", 0),
        ("stop", ["a"] * 9),
    ],
)
def test_unsupported_chat_parameters_are_refused_by_name(nobody: OpenAI, field: str, value: Any) -> None:
    """No parameter is silently ignored."""
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        nobody.chat.completions.create(model=LLM, messages=QUESTION, extra_body={field: value})
    assert any(name.split(".")[0] == field for name in fields_of(caught.value)), fields_of(caught.value)


def called(arguments: str) -> list[Any]:
    """Return a conversation with an earlier call."""
    function = {"name": "f", "arguments": arguments}
    calls = [{"id": "c", "type": "function", "function": function}]
    return [{"role": "user", "content": "Go"}, {"role": "assistant", "tool_calls": calls}]


@pytest.mark.parametrize("arguments", ["{", "[]", "null", '{"a": NaN}'])
def test_arguments_that_are_no_json_object_are_refused_before_a_miner_gets_them(
    nobody: OpenAI, bare: httpx.Client, arguments: str
) -> None:
    """Engines fail on them. An empty text stands for no arguments, as several models write it."""
    with pytest.raises(openai.UnprocessableEntityError, match="must be the text of a JSON object") as chat:
        nobody.chat.completions.create(model=LLM, messages=called(arguments))
    assert [*fields_of(chat.value)] == ["messages.1.tool_calls.0.function.arguments"]
    items: list[Any] = [{"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}]
    with pytest.raises(
        openai.UnprocessableEntityError, match="must be the text of a JSON object"
    ) as responses:
        nobody.responses.create(model=LLM, input=items)
    assert [*fields_of(responses.value)] == ["input.0.arguments"]
    calls = [{"id": "c", "name": "f", "arguments": arguments}]
    message = {"role": "assistant", "tool_calls": calls}
    answer = bare.post("/v1/services/llm/inference", json={"model": LLM, "messages": [message]})
    assert answer.status_code == 422
    (error,) = answer.json()["error"]["details"]["fields"].values()
    assert error.startswith("the arguments of f: must be the text of a JSON object")


def test_a_schema_is_refused_only_where_it_must_be_enforced(nobody: OpenAI) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}]
    with pytest.raises(
        openai.UnprocessableEntityError, match=r'a call of f cannot be enforced .*: "not"'
    ) as refused:
        nobody.chat.completions.create(model=LLM, messages=QUESTION, tools=tools, tool_choice="required")
    assert [*fields_of(refused.value)] == ["tool_choice"]
    with pytest.raises(openai.InternalServerError) as waited:
        nobody.chat.completions.create(model=LLM, messages=QUESTION, tools=tools)
    assert waited.value.code == "ANSWER_TIMEOUT"


def test_a_call_cannot_be_required_without_functions(nobody: OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        nobody.chat.completions.create(model=LLM, messages=QUESTION, tool_choice="required")
    assert [*fields_of(refused.value)] == ["tool_choice"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("truncation", "auto"),
        ("max_tool_calls", 1),
        ("prompt", {"id": "pmpt_1"}),
        ("tools", [{"type": "web_search"}]),
        ("tool_choice", {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]}),
        ("tool_choice", "required"),
        ("text", {"verbosity": "low"}),
        ("text", {"format": {"type": "grammar"}}),
        ("reasoning", {"summary": "concise"}),
        ("include", ["file_search_call.results"]),
        ("stop", ["END"]),
        ("n", 2),
        ("max_tokens", 5),
        ("input", [{"type": "item_reference", "id": "msg_1"}]),
        ("input", [{"type": "web_search_call", "id": "ws_1"}]),
        ("input", [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]),
    ],
)
def test_unsupported_response_parameters_are_refused_by_name(nobody: OpenAI, field: str, value: Any) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        nobody.responses.create(model=LLM, input="Hello.", extra_body={field: value})
    fields = fields_of(caught.value)
    assert all(name.split(".")[0] == field for name in fields) or "tool_choice allows f" in str(fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("store", True),
        ("background", True),
    ],
)
def test_a_stored_conversation_is_refused_where_nothing_is_stored(
    nobody: OpenAI, monkeypatch: pytest.MonkeyPatch, field: str, value: Any
) -> None:
    """Without the feature that stores them."""
    monkeypatch.setattr(stored, "store_of", lambda _: None)
    with pytest.raises(
        openai.UnprocessableEntityError, match="send the whole conversation in input"
    ) as caught:
        nobody.responses.create(model=LLM, input="And?", extra_body={field: value})
    assert [*fields_of(caught.value)] == [field]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "function", "content": "4", "name": "f"}, "messages.0.role"),
        ({"role": "tool", "content": "4"}, "messages.0"),
        ({"role": "user", "content": None}, "messages.0"),
        ({"role": "user", "content": []}, "messages.0.content"),
        (
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
            },
            "messages.0.content.0.type",
        ),
        (
            {"role": "assistant", "content": "Hi", "tool_calls": [{"id": "1"}]},
            "messages.0.tool_calls.0.function",
        ),
    ],
)
def test_unsupported_messages_are_refused(nobody: OpenAI, message: dict[str, Any], field: str) -> None:
    messages: Any = [message]
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        nobody.chat.completions.create(model=LLM, messages=messages)
    assert field in fields_of(caught.value)


def test_an_unsupported_schema_is_refused_under_the_clients_name_of_the_field(nobody: OpenAI) -> None:
    schema = {"type": "array", "uniqueItems": True}
    form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        nobody.chat.completions.create(model=LLM, messages=QUESTION, response_format=form)
    assert (
        'cannot be enforced: "uniqueItems"' in fields_of(caught.value)["response_format.json_schema.schema"]
    )


@pytest.mark.parametrize(
    "more",
    [
        {"max_tokens": 5, "max_completion_tokens": 5},
        {"stop": "x", "response_format": {"type": "json_object"}},
        {"stream_options": {"include_usage": True}},
        {"top_logprobs": 2},
    ],
)
def test_exclusive_parameters_are_refused(nobody: OpenAI, more: dict[str, Any]) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        nobody.chat.completions.create(model=LLM, messages=QUESTION, extra_body=more)
    assert fields_of(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"echo": True, "logprobs": 1}, "echo cannot report the logprobs of the prompt"),
        ({"best_of": 2}, "best_of is supported only with the value of n"),
    ],
)
def test_what_no_engine_can_do_with_a_prompt_is_refused(
    nobody: OpenAI, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=words):
        nobody.completions.create(model=LLM, prompt="Once", extra_body=fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", [1, 2]),
        ("prompt", []),
        ("prompt", ""),
        ("suffix", 1),
        ("best_of", 9),
        ("logprobs", 6),
    ],
)
def test_unsupported_completion_parameters_are_refused_by_name(
    nobody: OpenAI, field: str, value: Any
) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        nobody.completions.create(**{"model": LLM, "prompt": "Once", field: value})
    assert any(name.split(".")[0] == field for name in fields_of(caught.value))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", [1, 2, 3]),
        ("input", [[1, 2]]),
        ("input", ["a", ""]),
        ("input", []),
        ("dimensions", 0),
        ("encoding_format", "int8"),
        ("colour", "red"),
    ],
)
def test_unsupported_embedding_parameters_are_refused_by_name(nobody: OpenAI, field: str, value: Any) -> None:
    asked = {"model": EMBEDDING, "input": "a"} | {field: value}
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        nobody.embeddings.create(model="", input="", extra_body=asked)
    assert any(name.split(".")[0] == field for name in fields_of(caught.value))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 9),
        ("size", "100x100"),
        ("size", "big"),
        ("quality", "ultra"),
        ("style", "loud"),
        ("background", "transparent"),
        ("moderation", "none"),
        ("user", 5),
        ("stream", True),
        ("partial_images", 2),
        ("output_format", "gif"),
        ("frame_count", 4),
        ("colour", "red"),
    ],
)
def test_unsupported_image_parameters_are_refused_by_name(nobody: OpenAI, field: str, value: Any) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        nobody.images.generate(prompt="a lighthouse", model=PICTURES, extra_body={field: value})
    assert "100x100" in str(caught.value) if value == "100x100" else field in fields_of(caught.value)


def test_compression_without_a_compressed_format_is_refused(nobody: OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="no effect on png"):
        nobody.images.generate(prompt="a lighthouse", model=PICTURES, output_compression=50)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("language", "xx"),
        ("temperature", 2),
        ("response_format", "diarized_json"),
        ("stream", "soon"),
        ("chunking_strategy", "auto"),
        ("include", ["logprobs"]),
        ("languages", ["en", "de"]),
        ("keywords", ["Paris"]),
        ("known_speaker_names", ["Ann"]),
        ("colour", "red"),
        ("timestamp_granularities", ["word"]),
        ("timestamp_granularities", ["letter"]),
        ("pricing", {"max_cost": "much"}),
    ],
)
def test_unsupported_transcription_parameters_are_refused_by_name(
    nobody: OpenAI, field: str, value: Any
) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        nobody.audio.transcriptions.create(file=b"RIFF", model="base", extra_body={field: value})
    assert field in str(fields_of(caught.value))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_english_model_does_not_translate(nobody: OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="knows only English"):
        nobody.audio.translations.create(file=b"RIFF", model="tiny.en")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_parakeet_model_neither_translates_nor_reads_a_prompt(nobody: OpenAI) -> None:
    """OpenAI's fields are those of the service, so that it refuses them before a job is made."""
    with pytest.raises(openai.UnprocessableEntityError, match="does not translate; use a Whisper model"):
        nobody.audio.translations.create(file=b"RIFF", model="parakeet-tdt-0.6b-v3")
    with pytest.raises(openai.UnprocessableEntityError, match="has no prompt"):
        nobody.audio.transcriptions.create(file=b"RIFF", model="parakeet-tdt-0.6b-v3", prompt="Ann")


def form(*parts: tuple[str, bytes], boundary: str = "xyz", end: bool = True) -> dict[str, Any]:
    """A handmade form: the disposition after the name of each field, and its content."""
    lines = [
        b"--%s\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n"
        % (boundary.encode(), rest.encode(), content)
        for rest, content in parts
    ]
    last = b"--%s--\r\n" % boundary.encode() if end else b""
    return {
        "content": b"".join(lines) + last,
        "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    }


FILE = ('"file"; filename="a.wav"', b"RIFF")
MODEL = ('"model"', b"base")


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (form(MODEL), "file"),
        (form(FILE), "model"),
        (form(FILE, MODEL, MODEL), "model"),
        (form(FILE, MODEL, FILE), "file"),
        (form(FILE, MODEL, ('"picture"; filename="a.png"', b"")), "picture"),
        (form(FILE, MODEL, ('"pricing"', b"1"), ('"pricing[max_cost]"', b"1")), "pricing"),
        (form(FILE, MODEL, ('"prompt"', b"\xff")), "prompt"),
        (form(FILE, MODEL, end=False), "body"),
        (form(FILE, MODEL, ('""', b"x")), "body"),
        ({"content": b"nothing", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, "body"),
        ({"content": b"--x\r\n\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, "body"),
        ({"content": b"", "headers": {"Content-Type": f"multipart/form-data; boundary={'x' * 300}"}}, "body"),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data"}}, "body"),
        ({"json": {"model": "base"}}, "body"),
        ({}, "body"),
    ],
)  # fmt: skip
def test_malformed_forms_are_refused(bare: httpx.Client, sent: dict[str, Any], field: str) -> None:
    answer = bare.post("/v1/audio/transcriptions", **sent)
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["error"]["details"]["fields"]


@pytest.mark.parametrize("fields", [[('"prompt"', b"x" * 70_000)], [('"a"', b"")] * 70])
def test_long_fields_are_too_large(bare: httpx.Client, fields: list[tuple[str, bytes]]) -> None:
    """Fields are held in memory, so their size has its own limit."""
    named = [(rest.replace('a"', f'a{number}"'), content) for number, (rest, content) in enumerate(fields)]
    answer = bare.post("/v1/audio/transcriptions", **form(*named, FILE, MODEL))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
