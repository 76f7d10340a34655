"""Responses that are stored: continued, read, run in the background, cancelled, deleted, and only by their account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from agent.coordinator.features.conversations import storing
from agent.coordinator.operations.context import Context
from support.clients.openai_jobs import ANSWER, LLM, TEXT, answered, asking, send_tokens
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve

pytestmark = pytest.mark.needs("openai")

QUESTION = "Name the capital of France."
NEXT = "And of Spain?"


def ask(ai: OpenAI, miner: ScriptedMiner, **fields: Any) -> tuple[Any, list[tuple[str, str]]]:
    """Return a response, and the roles and texts that the miner got."""
    response, parameters = answered(
        miner, TEXT, lambda: ai.responses.create(**{"model": LLM, "input": QUESTION, **fields})
    )
    return response, [(turn["role"], turn["content"]) for turn in parameters["messages"]]


def delete_old(served: Served, days: float) -> None:
    """Delete what is too old, as if so many days had passed."""

    async def later(context: Context) -> None:
        now = context.clock()
        # Contexts are frozen, so its clock is replaced beneath.
        object.__setattr__(context, "clock", lambda: now + days * 86_400)
        try:
            await storing.delete_old(context)
        finally:
            object.__setattr__(context, "clock", lambda: now)

    served.do(later)


def test_a_stored_response_is_continued(ai: OpenAI, miner: ScriptedMiner) -> None:
    """Its instructions are not: each request has its own."""
    first, _ = ask(ai, miner, store=True, instructions="Be short.")
    assert first.store
    second, turns = ask(ai, miner, input=NEXT, previous_response_id=first.id)
    assert turns == [("user", QUESTION), ("assistant", ANSWER), ("user", NEXT)]
    # What continues a stored response is stored, unless the request says otherwise.
    assert (second.previous_response_id, second.store) == (first.id, True)
    third, turns = ask(ai, miner, input="And?", previous_response_id=second.id, store=False)
    assert [text for _, text in turns] == [QUESTION, ANSWER, NEXT, ANSWER, "And?"]
    assert not third.store
    with pytest.raises(openai.NotFoundError, match="There is no stored response"):
        ai.responses.retrieve(third.id)


def test_nothing_is_stored_unasked(ai: OpenAI, miner: ScriptedMiner) -> None:
    response, _ = ask(ai, miner)
    assert not response.store
    with pytest.raises(openai.NotFoundError):
        ai.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError):
        ai.responses.create(model=LLM, input=NEXT, previous_response_id=response.id)


def test_the_operator_may_store_all(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True, store_responses=True) as served:
        miner = ScriptedMiner(served.url)
        miner.register()
        with OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0) as ai:
            # The job stays, since no miner has the model, and the response is there before it ends.
            response = ai.responses.create(
                model=LLM, input=QUESTION, background=True, extra_body={"wait": True}
            )
            assert ai.responses.retrieve(response.id).status == "queued"
            assert response.store


def test_a_streamed_response_is_stored_when_its_last_event_comes(ai: OpenAI, miner: ScriptedMiner) -> None:
    """And is part of its conversation then, before anybody reads it."""
    conversation = ai.conversations.create()
    fields: dict[str, Any] = {"model": LLM, "input": QUESTION, "conversation": conversation.id}
    with asking(lambda: list(ai.responses.create(**fields, stream=True))) as events:
        (lease,) = miner.poll()
        send_tokens(miner, lease, "The capital")
        assert miner.complete(lease, TEXT).status_code == 200
        last: Any = events.result(180)[-1]
    assert last.type == "response.completed"
    items: list[Any] = list(ai.conversations.items.list(conversation.id, order="asc"))
    assert [item.role for item in items] == ["user", "assistant"]
    read = ai.responses.retrieve(last.response.id)
    assert (read.output_text, read.output[0].id) == (ANSWER, last.response.output[0].id)


def test_a_response_in_the_background_is_read_when_it_is_done(ai: OpenAI, miner: ScriptedMiner) -> None:
    """Its answer is made then, and nobody waits for it before."""
    begun = ai.responses.create(model=LLM, input=QUESTION, background=True)
    assert (begun.status, begun.background, begun.output) == ("queued", True, [])
    assert ai.responses.retrieve(begun.id).status == "queued"
    (lease,) = miner.poll()
    assert ai.responses.retrieve(begun.id).status == "in_progress"
    assert miner.complete(lease, TEXT).status_code == 200
    done = ai.responses.retrieve(begun.id)
    assert (done.status, done.output_text) == ("completed", ANSWER)
    assert done.usage is not None
    assert done.usage.output_tokens == 8
    _, turns = ask(ai, miner, input=NEXT, previous_response_id=begun.id)
    assert [text for _, text in turns] == [QUESTION, ANSWER, NEXT]


def test_an_unread_response_of_the_background_is_continued(ai: OpenAI, miner: ScriptedMiner) -> None:
    begun = ai.responses.create(model=LLM, input=QUESTION, background=True)
    (lease,) = miner.poll()
    assert miner.complete(lease, TEXT).status_code == 200
    _, turns = ask(ai, miner, input=NEXT, previous_response_id=begun.id)
    assert [text for _, text in turns] == [QUESTION, ANSWER, NEXT]


def test_a_response_that_has_not_ended_cannot_be_continued(ai: OpenAI, miner: ScriptedMiner) -> None:
    begun = ai.responses.create(model=LLM, input=QUESTION, background=True)
    with pytest.raises(openai.APIStatusError, match="this response is still queued"):
        ai.responses.create(model=LLM, input=NEXT, previous_response_id=begun.id)


def test_a_response_in_the_background_is_cancelled_or_fails(ai: OpenAI, miner: ScriptedMiner) -> None:
    begun = ai.responses.create(model=LLM, input=QUESTION, background=True)
    assert ai.responses.cancel(begun.id).status == "cancelled"
    assert ai.responses.retrieve(begun.id).status == "cancelled"
    other = ai.responses.create(model=LLM, input=QUESTION, background=True)
    (lease,) = miner.poll()
    miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No.")
    failed = ai.responses.retrieve(other.id)
    assert failed.error is not None
    assert (failed.status, failed.error.message) == ("failed", "No.")
    # It has ended, so there is nothing to cancel.
    assert ai.responses.cancel(other.id).status == "failed"


def test_its_input_is_listed(ai: OpenAI, miner: ScriptedMiner) -> None:
    items: list[Any] = [
        {"role": "user", "content": QUESTION},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "Paris."},
    ]
    response, _ = ask(ai, miner, input=items, store=True)
    listed = ai.responses.input_items.list(response.id, order="asc", limit=2)
    assert [item.type for item in listed.data] == ["message", "function_call"]
    assert listed.has_more
    assert [item.type for item in ai.responses.input_items.list(response.id)] == [
        "function_call_output",
        "function_call",
        "message",
    ]


def test_a_deleted_response_cannot_be_read_or_continued(
    ai: OpenAI, miner: ScriptedMiner, served: Served
) -> None:
    """Nor one whose job's data the client deletes."""
    first, _ = ask(ai, miner, store=True)
    ai.responses.delete(first.id)
    for call in (ai.responses.retrieve, ai.responses.delete, ai.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call(first.id)
    second, _ = ask(ai, miner, store=True)
    ai.delete(f"/jobs/{second.id}/data", cast_to=object)
    with pytest.raises(openai.NotFoundError):
        ai.responses.retrieve(second.id)


def test_another_account_sees_none(ai: OpenAI, stranger: OpenAI, miner: ScriptedMiner) -> None:
    response, _ = ask(ai, miner, store=True)
    for call in (stranger.responses.retrieve, stranger.responses.delete, stranger.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call(response.id)
    with pytest.raises(openai.NotFoundError):
        list(stranger.responses.input_items.list(response.id))
    with pytest.raises(openai.NotFoundError):
        stranger.responses.create(model=LLM, input=NEXT, previous_response_id=response.id)
    assert ai.responses.retrieve(response.id).output_text == ANSWER


def test_responses_and_conversations_are_deleted_after_their_time(
    ai: OpenAI, miner: ScriptedMiner, served: Served
) -> None:
    response, _ = ask(ai, miner, store=True)
    conversation = ai.conversations.create(items=[{"role": "user", "content": "Hello."}])
    delete_old(served, 29)
    assert ai.responses.retrieve(response.id).output_text == ANSWER
    assert ai.conversations.retrieve(conversation.id).id == conversation.id
    delete_old(served, 31)
    with pytest.raises(openai.NotFoundError):
        ai.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError):
        ai.conversations.retrieve(conversation.id)


def test_an_account_stores_only_so_much(tmp_path: Path) -> None:
    """A response that finds no space is refused, and its job is cancelled."""
    with serve(tmp_path / "data", open_enrolment=True, conversation_bytes="8Ki") as served:
        miner = ScriptedMiner(served.url)
        assert miner.register().status_code == 200
        with OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0) as ai:
            with pytest.raises(openai.APIStatusError, match="may have 8192 bytes together") as caught:
                ai.responses.create(model=LLM, input="x" * 9000, background=True, extra_body={"wait": True})
            assert caught.value.status_code == 413
            jobs: Any = ai.get("/jobs", cast_to=object)
            assert [job["status"] for job in jobs["jobs"]] == ["cancelled"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"conversation": "conv_1", "previous_response_id": "job_1"}, "either conversation or previous_response_id"),
        ({"conversation": "conv_1", "store": False}, "need a stored response"),
        ({"background": True, "store": False}, "need a stored response"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(ai: OpenAI, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.APIStatusError, match=words):
        ai.responses.create(model=LLM, input=QUESTION, extra_body=fields)
