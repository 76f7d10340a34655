"""OpenAI's own client streams text, also when the job is cancelled, retried or fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI, Stream
from openai.types.chat import ChatCompletionChunk

from agent.coordinator.features.client_apis import job_stream
from agent.coordinator.operations.context import Context
from support.clients.openai_jobs import ANSWER, LLM, QUESTION, TEXT, USAGE, register, send_tokens
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import ended, job
from support.server import Served, serve


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    return register(ScriptedMiner(served.url))


@pytest.fixture
def chat(ai: OpenAI) -> Iterator[Stream[ChatCompletionChunk]]:
    """A conversation whose answer is streamed, before any chunk is read."""
    options: Any = {"include_usage": True}
    stream = ai.chat.completions.create(model=LLM, messages=QUESTION, stream=True, stream_options=options)
    with closing(stream):
        yield stream


def text_of(chunk: ChatCompletionChunk) -> str:
    return chunk.choices[0].delta.content or ""


def test_a_conversation_is_streamed_as_it_is_generated(
    chat: Stream[ChatCompletionChunk], miner: ScriptedMiner
) -> None:
    """The role first, each piece at once, then the finish reason, then the usage."""
    assert chat.response.headers["content-type"].startswith("text/event-stream")
    first = next(chat)
    assert (first.choices[0].delta.role, text_of(first), first.object) == (
        "assistant",
        "",
        "chat.completion.chunk",
    )
    (lease,) = miner.poll()
    assert lease["job_id"] == first.id == chat.response.headers["x-job-id"]
    offset = 0
    for piece in ("The capital", " of France", " is Paris"):
        send_tokens(miner, lease, piece, offset=offset)
        offset += len(piece)
        assert text_of(next(chat)) == piece
    assert miner.complete(lease, TEXT).status_code == 200
    rest, last, usage = list(chat)
    assert text_of(rest) == "."
    assert (text_of(last), last.choices[0].finish_reason) == ("", "stop")
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.to_dict() == USAGE
    assert {chunk.id for chunk in (first, rest, last, usage)} == {lease["job_id"]}


def test_usage_is_sent_only_on_request(ai: OpenAI, miner: ScriptedMiner) -> None:
    with ai.chat.completions.create(model=LLM, messages=QUESTION, stream=True) as stream:
        (lease,) = miner.poll()
        miner.complete(lease, TEXT)
        chunks = list(stream)
    assert "".join(text_of(chunk) for chunk in chunks) == ANSWER
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_clients_own_helper_assembles_the_stream(ai: OpenAI, miner: ScriptedMiner) -> None:
    with ai.chat.completions.stream(model=LLM, messages=QUESTION) as stream:
        (lease,) = miner.poll()
        send_tokens(miner, lease, "The capital", " of France")
        miner.complete(lease, TEXT)
        assert stream.get_final_completion().choices[0].message.content == ANSWER


def test_a_continued_text_is_streamed(ai: OpenAI, miner: ScriptedMiner) -> None:
    options: Any = {"include_usage": True}
    with ai.completions.create(model=LLM, prompt="x", stream=True, stream_options=options) as stream:
        (lease,) = miner.poll()
        send_tokens(miner, lease, "The capital", " of France")
        miner.complete(lease, TEXT)
        *pieces, last, usage = list(stream)
    assert [chunk.choices[0].text for chunk in pieces] == ["The capital", " of France", " is Paris."]
    assert last.choices[0].finish_reason == "stop"
    assert usage.usage is not None
    assert usage.usage.total_tokens == USAGE["total_tokens"]


def test_the_stream_on_the_wire_ends_with_done(client: httpx.Client, miner: ScriptedMiner) -> None:
    """As clients in other languages require."""
    body = {"model": LLM, "messages": QUESTION, "stream": True}
    with client.stream("POST", "/api/v1/chat/completions", json=body) as answer:
        (lease,) = miner.poll()
        miner.complete(lease, TEXT)
        lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert '"finish_reason":null' in lines[0]
    assert lines[-1] == "data: [DONE]"


def test_a_job_that_fails_ends_the_stream_with_its_error(
    chat: Stream[ChatCompletionChunk], miner: ScriptedMiner
) -> None:
    next(chat)
    (lease,) = miner.poll()
    miner.job(lease, "fail", kind="fail", code="CONTEXT_OVERFLOW", message="Too long.")
    with pytest.raises(openai.APIError, match="Too long") as caught:
        list(chat)
    assert (caught.value.code, caught.value.type) == ("context_length_exceeded", "invalid_request_error")
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["details"] == {"job_id": lease["job_id"], "code": "CONTEXT_OVERFLOW"}
    assert caught.value.body["request_id"] == chat.response.headers["x-request-id"]


def test_disconnecting_from_a_stream_cancels_its_job(
    chat: Stream[ChatCompletionChunk], miner: ScriptedMiner, client: httpx.Client
) -> None:
    (lease,) = miner.poll()
    send_tokens(miner, lease, "The")
    assert [text_of(next(chat)) for _ in range(2)] == ["", "The"]
    chat.close()
    ended(client, lease["job_id"], "cancelled")
    assert miner.complete(lease, TEXT).status_code == 409


def test_disconnecting_from_a_stream_cancels_a_queued_job(
    chat: Stream[ChatCompletionChunk], client: httpx.Client
) -> None:
    job_id = next(chat).id
    chat.close()
    ended(client, job_id, "cancelled")


def test_text_that_another_miner_writes_again_is_sent_once(
    chat: Stream[ChatCompletionChunk], served: Served, miner: ScriptedMiner
) -> None:
    """The first miner releases the job in the middle of a sentence; the second miner's text has the same beginning."""
    next(chat)
    (lease,) = miner.poll()
    send_tokens(miner, lease, "The capital")
    assert text_of(next(chat)) == "The capital"
    miner.job(lease, "release", reason="stopping")
    second = register(ScriptedMiner(served.url))
    (again,) = second.poll()
    send_tokens(second, again, "The", " capital", " of")
    second.complete(again, TEXT)
    rest, last, _ = list(chat)
    assert text_of(rest) == " of France is Paris."
    assert last.choices[0].finish_reason == "stop"


def test_a_different_text_of_another_miner_is_an_error(
    chat: Stream[ChatCompletionChunk], miner: ScriptedMiner, client: httpx.Client
) -> None:
    """Sent text cannot be withdrawn, so no text is added that does not continue it."""
    next(chat)
    (lease,) = miner.poll()
    send_tokens(miner, lease, "Perhaps")
    assert text_of(next(chat)) == "Perhaps"
    miner.complete(lease, TEXT)
    with pytest.raises(openai.APIError) as caught:
        list(chat)
    assert caught.value.code == "TEXT_CHANGED"
    assert client.get(f"/v1/jobs/{lease['job_id']}/results").json()["results"]["text"] == ANSWER


def test_a_slow_client_gets_the_whole_text(
    ai: OpenAI, served: Served, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces are lost while the coordinator is busy; the last piece has the missing text."""
    monkeypatch.setattr(served.context.feed.hub, "_limits", (4, 2**20))
    letters = list(ANSWER)
    with ai.chat.completions.create(model=LLM, messages=QUESTION, stream=True) as stream:
        next(stream)
        (lease,) = miner.poll()

        async def all_at_once(context: Context) -> None:
            for offset, letter in enumerate(letters):
                data = {"kind": "token", "text": letter, "offset": offset}
                context.feed.hub.publish({"type": "job_event", "data": data}, lease["job_id"])

        served.do(all_at_once)
        miner.complete(lease, TEXT)
        chunks = list(stream)
    assert "".join(text_of(chunk) for chunk in chunks) == ANSWER
    assert len(chunks) < len(letters)


def test_a_piece_with_a_lone_surrogate_does_not_break_the_stream(
    chat: Stream[ChatCompletionChunk], miner: ScriptedMiner
) -> None:
    next(chat)
    (lease,) = miner.poll()
    body = b'{"fence": 1, "events": [{"kind": "token", "data": {"text": "\\ud800", "offset": 0}}]}'
    headers = {"Content-Type": "application/json"}
    answer = miner.http.post(f"/jobs/{lease['job_id']}/events", content=body, headers=headers)
    assert answer.status_code == 204, answer.text
    assert text_of(next(chat)) == "\ud800"
    miner.complete(lease, TEXT)
    with pytest.raises(openai.APIError) as caught:
        list(chat)
    assert caught.value.code == "TEXT_CHANGED"


def test_an_idle_stream_sends_keep_alive_comments(
    client: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_stream, "KEEP_ALIVE_SECONDS", 0.01)
    body = {"model": LLM, "messages": QUESTION, "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        assert any(line == ": still here" for line in lines)
        (lease,) = miner.poll()
        miner.complete(lease, TEXT)
        assert "data: [DONE]" in list(lines)


def test_a_stream_without_a_miner_times_out(tmp_path: Any) -> None:
    with serve(tmp_path / "data", answer_seconds=0.2) as served:
        ai = OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0)
        stream = ai.chat.completions.create(model=LLM, messages=QUESTION, stream=True)
        job_id = next(stream).id
        with pytest.raises(openai.APIError, match="No online miner offers llm_inference") as caught:
            list(stream)
        assert caught.value.code == "ANSWER_TIMEOUT"
        with httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}) as client:
            assert job(client, job_id)["status"] == "cancelled"
