"""OpenAI's own Python client with the coordinator: conversations, completions and errors."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from agent.coordinator.operations.jobs import own_jobs
from support.clients.openai_jobs import (
    ANSWER,
    EMBEDDING,
    LIMIT_SECONDS,
    LLM,
    PICTURES,
    QUESTION,
    SPEECH,
    TEXT,
    USAGE,
    answered,
    asking,
    register,
)
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import ended, job
from support.server import Served, serve


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    return register(ScriptedMiner(served.url))


def test_models_are_listed_and_found(ai: OpenAI, miner: ScriptedMiner) -> None:
    """The list has what can be used now, for the pickers of clients, and on request all that there is."""
    assert miner.miner_id
    models = {model.id: model for model in ai.models.list()}
    assert models.keys() == {LLM, EMBEDDING, SPEECH, PICTURES}
    every = {model.id for model in ai.models.list(extra_query={"all": True})}
    assert every > models.keys()
    assert ai.models.retrieve("large-v3").to_dict()["available"] is False
    assert ai.models.retrieve(SPEECH) == models[SPEECH]
    assert (models[SPEECH].object, models[SPEECH].owned_by) == ("model", "Systran")
    assert models[SPEECH].to_dict()["service_id"] == "whisper_transcription"


def test_an_unknown_model_is_not_found_and_a_similar_one_suggested(ai: OpenAI) -> None:
    for ask in (
        lambda: ai.models.retrieve("smollm2-135m-instrukt"),
        lambda: ai.chat.completions.create(model="smollm2-135m-instrukt", messages=QUESTION),
    ):
        with pytest.raises(openai.NotFoundError, match=f"Did you mean {LLM}"):
            ask()


def test_a_conversation_is_answered(ai: OpenAI, miner: ScriptedMiner, client: httpx.Client) -> None:
    """The answer names the job, which has a receipt."""
    raw, parameters = answered(
        miner,
        TEXT,
        lambda: ai.chat.completions.with_raw_response.create(model=LLM, messages=QUESTION),
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == ANSWER
    assert (answer.choices[0].message.role, answer.choices[0].finish_reason) == ("assistant", "stop")
    assert (answer.object, answer.model) == ("chat.completion", LLM)
    assert answer.usage is not None
    assert answer.usage.to_dict() == USAGE
    assert [turn["content"] for turn in parameters["messages"]] == [QUESTION[0]["content"]]
    assert parameters["max_tokens"] == 1024
    assert raw.headers["x-job-id"] == answer.id
    assert client.get(f"/v1/receipts/{answer.id}").json()["job_id"] == answer.id


def test_parameters_reach_the_runner(ai: OpenAI, miner: ScriptedMiner) -> None:
    """Text parts are joined, `developer` becomes `system`, and neutral values and job options are accepted."""
    wanted = {
        "temperature": 0.1, "top_p": 0.5, "seed": 7, "stop": ["END"], "presence_penalty": 0.5, "frequency_penalty": -0.5,
    }  # fmt: skip
    neutral: dict[str, Any] = {
        "n": 1, "logprobs": False, "tools": [], "tool_choice": "none", "logit_bias": {}, "store": False, "metadata": {},
        "modalities": ["text"], "service_tier": "auto", "parallel_tool_calls": True, "response_format": {"type": "text"},
        "prediction": None, "stream": False,
    }  # fmt: skip
    parts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "Three.", "refusal": None, "tool_calls": None},
        {"role": "user", "content": "And?"},
    ]
    ours = {"top_k": 5, "repetition_penalty": 1.1, "pricing": {"max_cost": "0.5"}, "priority": 3}
    _, parameters = answered(
        miner,
        TEXT,
        lambda: ai.chat.completions.create(
            model=LLM, messages=messages, max_completion_tokens=50, extra_body=ours, **wanted, **neutral
        ),
    )
    assert [(turn["role"], turn["content"]) for turn in parameters["messages"]] == [
        ("system", "Be brief."), ("user", "One.\nTwo."), ("assistant", "Three."), ("user", "And?"),
    ]  # fmt: skip
    expected = {**wanted, "max_tokens": 50, "top_k": 5, "repetition_penalty": 1.1}
    assert expected.items() <= parameters.items()


def test_an_answer_can_be_sent_back_unchanged(ai: OpenAI, miner: ScriptedMiner) -> None:
    answer, _ = answered(miner, TEXT, lambda: ai.chat.completions.create(model=LLM, messages=QUESTION))
    conversation: list[Any] = [
        *QUESTION,
        answer.choices[0].message,
        {"role": "user", "content": "And of Spain?"},
    ]
    _, parameters = answered(
        miner, TEXT, lambda: ai.chat.completions.create(model=LLM, messages=conversation)
    )
    assert (parameters["messages"][1]["role"], parameters["messages"][1]["content"]) == ("assistant", ANSWER)


class Capital(BaseModel):
    """The form of an answer."""

    city: str
    inhabitants: int | None


def test_a_pydantic_model_defines_the_form_of_the_answer(ai: OpenAI, miner: ScriptedMiner) -> None:
    """The client's own `parse` sends the model's JSON Schema, and the runner gets it."""
    text = {**TEXT, "text": '{"city": "Paris", "inhabitants": null}'}
    answer, parameters = answered(
        miner,
        text,
        lambda: ai.chat.completions.parse(model=LLM, messages=QUESTION, response_format=Capital),
    )
    assert answer.choices[0].message.parsed == Capital(city="Paris", inhabitants=None)
    assert list(json.loads(parameters["response_schema"])["properties"]) == ["city", "inhabitants"]
    _, parameters = answered(
        miner,
        text,
        lambda: ai.chat.completions.create(
            model=LLM, messages=QUESTION, response_format={"type": "json_object"}
        ),
    )
    assert parameters["json_object"] is True


def test_a_service_call_keeps_the_order_of_a_schema(served: Served, miner: ScriptedMiner) -> None:
    """It is signed in canonical JSON, which sorts the properties of objects. Its text is accepted like the object."""
    parts = {"reasoning": {"type": "string"}, "answer": {"type": "integer"}}
    schema = {"type": "object", "properties": parts, "required": list(parts)}
    key = {"authorization": f"Bearer {served.client_key}"}
    for given in (schema, json.dumps(schema)):
        body = {"model": LLM, "prompt": "How many?", "response_schema": given}
        answer = httpx.post(f"{served.url}/v1/services/llm/inference", json=body, headers=key)
        assert answer.status_code == 201, answer.text
        (lease,) = miner.poll()
        assert json.loads(lease["spec"]["parameters"]["response_schema"]) == schema
        assert list(json.loads(lease["spec"]["parameters"]["response_schema"])["properties"]) == list(parts)
        assert miner.complete(lease, TEXT).status_code == 200


@pytest.mark.parametrize("prompt", ["Once upon", ["Once upon"]])
def test_a_text_is_continued(ai: OpenAI, miner: ScriptedMiner, prompt: Any) -> None:
    """The model gets the unchanged prompt; a list of one is one prompt."""
    answer, parameters = answered(
        miner,
        TEXT,
        lambda: ai.completions.create(model=LLM, prompt=prompt, stop="\n", best_of=1, echo=False),
    )
    assert (answer.object, answer.choices[0].text, answer.choices[0].finish_reason) == (
        "text_completion",
        ANSWER,
        "stop",
    )
    assert (parameters["prompt"], parameters["raw"], parameters["max_tokens"]) == ("Once upon", True, 16)
    assert parameters["stop"] == "\n"


def test_errors_of_keys_and_balance_are_the_clients_own_classes(served: Served, ai: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="not valid"):
        ai.with_options(api_key="wrong").models.list()
    admin = {"X-API-Key": served.admin_key}
    account = httpx.post(f"{served.url}/v1/admin/accounts", json={"name": "poor"}, headers=admin).json()
    body = {"role": "client", "name": "poor", "account_id": account["account_id"]}
    key = httpx.post(f"{served.url}/v1/admin/keys", json=body, headers=admin).json()["key"]
    with pytest.raises(openai.APIStatusError) as caught:
        ai.with_options(api_key=key).chat.completions.create(model=LLM, messages=QUESTION)
    assert (caught.value.status_code, caught.value.code) == (402, "INSUFFICIENT_BALANCE")


def test_too_many_unfinished_jobs_are_a_rate_limit(tmp_path: Any) -> None:
    with serve(tmp_path / "data", max_jobs_per_account=1) as served:
        key = {"X-API-Key": served.client_key}
        body = {"model": LLM, "prompt": "x"}
        assert (
            httpx.post(f"{served.url}/v1/services/llm/inference", json=body, headers=key).status_code == 201
        )
        ai = OpenAI(api_key=served.client_key, base_url=f"{served.url}/api/v1", max_retries=0)
        with pytest.raises(openai.RateLimitError):
            ai.chat.completions.create(model=LLM, messages=QUESTION)


def test_a_fault_of_the_input_is_a_client_error(
    ai: OpenAI, miner: ScriptedMiner, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With OpenAI's code, by which clients recognise a prompt that is too long. The request is not repeated, although this client retries.

    A job that has ended is not cancelled.
    """
    monkeypatch.delattr(own_jobs, "cancel")
    patient = ai.with_options(max_retries=2)
    with asking(lambda: patient.chat.completions.create(model=LLM, messages=QUESTION)) as asked:
        (lease,) = miner.poll()
        miner.job(lease, "fail", kind="fail", code="CONTEXT_OVERFLOW", message="Too long.")
        with pytest.raises(openai.BadRequestError, match="Too long") as caught:
            asked.result(LIMIT_SECONDS)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.response.headers["x-job-id"] == lease["job_id"]
    assert client.get("/v1/jobs").json()["total"] == 1


def test_a_fault_of_the_machine_is_a_server_error(
    ai: OpenAI, miner: ScriptedMiner, client: httpx.Client
) -> None:
    """The network has retried, so the client must not: it would submit a second job again and again."""
    patient = ai.with_options(max_retries=2)
    once = {"max_attempts": 1}
    with asking(
        lambda: patient.chat.completions.create(model=LLM, messages=QUESTION, extra_body=once)
    ) as asked:
        (lease,) = miner.poll()
        miner.job(lease, "fail", kind="retry", code="OUT_OF_MEMORY", message="Out of memory.")
        with pytest.raises(openai.InternalServerError, match="Out of memory") as caught:
            asked.result(LIMIT_SECONDS)
    assert (caught.value.status_code, caught.value.code) == (502, "OUT_OF_MEMORY")
    assert client.get("/v1/jobs").json()["total"] == 1


def test_a_cancelled_job_is_a_conflict(ai: OpenAI, miner: ScriptedMiner, client: httpx.Client) -> None:
    with asking(lambda: ai.chat.completions.create(model=LLM, messages=QUESTION)) as asked:
        (lease,) = miner.poll()
        assert client.delete(f"/v1/jobs/{lease['job_id']}").status_code == 200
        with pytest.raises(openai.ConflictError) as caught:
            asked.result(LIMIT_SECONDS)
    assert caught.value.code == "JOB_CANCELLED"


def test_invalid_results_are_a_server_error(ai: OpenAI, miner: ScriptedMiner) -> None:
    with asking(lambda: ai.chat.completions.create(model=LLM, messages=QUESTION)) as asked:
        (lease,) = miner.poll()
        miner.complete(lease, {"text": 5, "units": 1, "processing_time": 1})
        with pytest.raises(openai.InternalServerError) as caught:
            asked.result(LIMIT_SECONDS)
    assert (caught.value.status_code, caught.value.code) == (502, "RESULT_INVALID")


def test_an_answer_that_takes_too_long_times_out_and_cancels_its_job(tmp_path: Any) -> None:
    """The error also states that no miner offers the service."""
    with serve(tmp_path / "data", answer_seconds=0.2) as served:
        ai = OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=2)
        with pytest.raises(
            openai.InternalServerError, match="No online miner offers llm_inference"
        ) as caught:
            ai.chat.completions.create(model=LLM, messages=QUESTION)
        assert (caught.value.status_code, caught.value.code) == (504, "ANSWER_TIMEOUT")
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        (only,) = client.get("/v1/jobs").json()["jobs"]
        assert only["status"] == "cancelled"


def test_disconnecting_while_waiting_cancels_the_job(
    ai: OpenAI, miner: ScriptedMiner, client: httpx.Client
) -> None:
    """The miner's next call about the job is refused."""
    hasty = ai.with_options(timeout=0.5)
    with asking(lambda: hasty.chat.completions.create(model=LLM, messages=QUESTION)) as asked:
        (lease,) = miner.poll()
        with pytest.raises(openai.APITimeoutError):
            asked.result(LIMIT_SECONDS)
    ended(client, lease["job_id"], "cancelled")
    assert miner.complete(lease, TEXT).status_code == 409


def test_with_an_idempotency_key_the_answer_can_be_fetched_later(
    ai: OpenAI, miner: ScriptedMiner, client: httpx.Client
) -> None:
    """Disconnecting does not cancel the job, and the repeated request gets its answer."""
    key = {"Idempotency-Key": "question-1"}
    hasty = ai.with_options(timeout=0.5)
    with asking(
        lambda: hasty.chat.completions.create(model=LLM, messages=QUESTION, extra_headers=key)
    ) as asked:
        (lease,) = miner.poll()
        with pytest.raises(openai.APITimeoutError):
            asked.result(LIMIT_SECONDS)
    assert job(client, lease["job_id"])["status"] == "running"
    assert miner.complete(lease, TEXT).status_code == 200
    answer = ai.chat.completions.create(model=LLM, messages=QUESTION, extra_headers=key)
    assert (answer.id, answer.choices[0].message.content) == (lease["job_id"], ANSWER)
    assert client.get("/v1/jobs").json()["total"] == 1


@pytest.mark.parametrize("form", ["float", "base64"])
def test_texts_are_embedded(ai: OpenAI, miner: ScriptedMiner, form: Any) -> None:
    """The client asks for base64 by default."""
    vectors = [[0.5, -0.25, 0.125], [1.0, 0.0, 0.0]]
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    results = {"embeddings": vectors, "usage": usage, "units": 6, "processing_time": 0.1}
    options: dict[str, Any] = {} if form == "base64" else {"encoding_format": form}
    answer, parameters = answered(
        miner,
        results,
        lambda: ai.embeddings.create(model=EMBEDDING, input=["one", "two"], user="ann", **options),
    )
    assert parameters["input"] == ["one", "two"]
    assert [(entry.index, entry.embedding) for entry in answer.data] == [*enumerate(vectors)]
    assert (answer.model, answer.usage.to_dict()) == (EMBEDDING, usage)
