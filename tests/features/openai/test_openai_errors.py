"""Errors as clients of OpenAI's API understand them: `type`, `param`, its codes, and words of that API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import httpx
import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, ValidationError

from agent.coordinator.features.client_apis import models
from agent.coordinator.features.client_apis.openai_errors import reform, stream_error
from agent.coordinator.features.openai.audio import TranscriptionRequest, TranslationRequest
from agent.coordinator.features.openai.embeddings import EmbeddingsRequest
from agent.coordinator.features.openai.images import ImageRequest
from agent.coordinator.features.openai.responses.request import ResponseRequest
from agent.coordinator.features.openai.text.chat import ChatRequest
from agent.coordinator.features.openai.text.completions import CompletionRequest
from agent.core.errors import error_body
from runners.registry import installed
from runners.validation_errors import field_errors
from support.clients.openai_jobs import LLM, PICTURES
from support.server import Served

REQUESTS: Final[Sequence[type[BaseModel]]] = (
    ChatRequest, CompletionRequest, EmbeddingsRequest, ResponseRequest, TranscriptionRequest, TranslationRequest,
    ImageRequest,
)  # fmt: skip
WRONG: Final[Sequence[Any]] = (
    None, True, -1, 10**30, "no such value", [], [1], {}, {"type": "nothing"}, [{"type": "nothing"}],
    [{"type": "function"}], [{"role": "nobody"}], [{"role": "user", "content": [{"type": "input_audio"}]}],
    [{"role": "user", "content": [{"text": "x"}]}], {"type": "json_schema", "json_schema": {"schem": {}}},
    {"format": {"type": "nothing"}},
)  # fmt: skip


def message_of(fields: dict[str, str]) -> str:
    """The message of the answer to a request with these errors."""
    error = error_body("VALIDATION_ERROR", "The request is not valid.", {"fields": fields}, "1")["error"]
    message: str = reform(422, error)[1]["error"]["message"]
    return message


def refusals(request: type[BaseModel]) -> Iterator[str]:
    """The messages for each field with wrong values, and with an unknown name."""
    documents = [json.dumps({name: value}) for name in request.model_fields for value in WRONG]
    for document in [*documents, '{"min_p": 0.1}', '{"vad_filter": true}', '{"hotwords": "x"}']:
        try:
            request.model_validate_json(document, strict=True)
        except ValidationError as error:
            # One by one, since a message has only the first.
            for name, sentence in field_errors(error, model=request).items():
                yield message_of({name: sentence})


@pytest.mark.parametrize("request_model", REQUESTS)
def test_no_message_has_words_that_a_client_does_not_know(request_model: type[BaseModel]) -> None:
    """Those of pydantic, of our names in Python, of the services' fields, and of job options that were not meant."""
    own = {name for model in REQUESTS for name in model.model_fields}
    services = {
        name
        for runner in installed().values()
        for name in runner.definition.input_model.model_fields
        if "_" in name and name not in own
    } - {"image_url", "json_object"}  # which are values of OpenAI's API too
    internal = {"body:", "Input tag", "discriminator", "schema_?", "_type()", "mean miner_id", "Value error"}
    messages = list(refusals(request_model))
    assert len(messages) > len(WRONG)
    wrong = {word: message for message in messages for word in internal | services if word in message}
    assert wrong == {}


def test_a_part_of_a_kind_that_is_not_supported_is_named() -> None:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate(
            {"model": LLM, "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}
        )
    assert field_errors(caught.value, model=ChatRequest) == {
        "messages.0.content.0.type": 'must be text or image_url, not "input_audio"'
    }
    with pytest.raises(ValidationError) as unknown:
        ResponseRequest.model_validate({"model": LLM, "input": "x", "tool_choice": "maybe"})
    assert list(field_errors(unknown.value, model=ResponseRequest)) == ["tool_choice"]


def test_an_error_of_the_whole_request_is_one_sentence() -> None:
    assert message_of({"body": "must be an object"}) == "The request is not valid: must be an object."


def test_a_misspelt_option_of_a_job_is_still_suggested() -> None:
    assert "did you mean priority?" in message_of({"priorty": "is unknown; did you mean priority?"})


def test_errors_name_their_type_and_the_first_wrong_field(ai: OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as invalid:
        ai.chat.completions.create(model=LLM, messages=[{"role": "user", "content": 5}])  # type: ignore[typeddict-item]
    assert (invalid.value.type, invalid.value.param) == ("invalid_request_error", "messages[0].content")
    assert invalid.value.code == "VALIDATION_ERROR"
    with pytest.raises(openai.NotFoundError) as unknown:
        ai.embeddings.create(model="nothing", input="Hello.")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert isinstance(unknown.value.body, dict)
    assert unknown.value.body["details"]["code"] == "NOT_FOUND"
    with pytest.raises(openai.AuthenticationError) as denied:
        ai.with_options(api_key="wrong").models.list()
    assert (denied.value.type, denied.value.param) == ("authentication_error", None)


def test_an_unknown_lora_is_named_as_the_client_calls_it(ai: OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        ai.images.generate(prompt="x", model=PICTURES, extra_body={"loras": [{"name": "nothing"}]})
    assert caught.value.param == "loras"


def test_paths_that_are_not_served_answer_in_the_same_form(served: Served) -> None:
    """A client of a part of OpenAI's API that is not here must find the reason where it looks for it."""
    headers = {"X-API-Key": served.client_key}
    for path in ("moderations", "fine_tuning/jobs", "assistants"):
        answer = httpx.post(f"{served.url}/v1/{path}", json={}, headers=headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (404, "invalid_request_error")
        assert f"/v1/{path} does not exist" in error["message"]
    assert httpx.head(f"{served.url}/v1/models", headers=headers).status_code == 405
    # Other paths keep their form.
    assert "type" not in httpx.get(f"{served.url}/v1/jobs/nothing", headers=headers).json()["error"]


def test_a_failure_of_the_server_has_a_type(ai: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every other error on these paths, though no route answers it."""

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(models, "find_all", fail)
    with pytest.raises(openai.InternalServerError) as caught:
        ai.models.list()
    assert (caught.value.status_code, caught.value.code) == (500, "INTERNAL_ERROR")
    assert caught.value.type == "server_error"


def test_a_prompt_that_is_too_long_is_recognised_by_libraries() -> None:
    """LiteLLM looks for a phrase of the message, LangChain for the code, or in a stream for another phrase."""
    error = error_body("CONTEXT_OVERFLOW", "The prompt has 9 tokens.", {"job_id": "job_1"}, "1")["error"]
    status, body = reform(422, error)
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    for message in (body["error"]["message"], stream_error(error)["message"]):
        assert "prompt is too long" in message
        assert "exceeds the context window" in message
        assert message.endswith("The prompt has 9 tokens.")
    assert stream_error({**error, "code": "OUT_OF_MEMORY"})["type"] == "server_error"


def test_errors_of_jobs_speak_of_the_clients_fields() -> None:
    """Miners write them, and know only the service."""
    sentence = "The model's engine cannot enforce this form of the answer; simplify response_schema."
    error = error_body("INPUT_INVALID", sentence, {}, "1")["error"]
    assert reform(422, error)[1]["error"]["message"].endswith("simplify the JSON schema.")
