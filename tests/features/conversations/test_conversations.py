"""Conversations: made, continued by responses, listed, changed and deleted, and only by their account."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI

from agent.coordinator.features.conversations.storing import StoredConversations
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from aitbc.answers.accounts import Role
from support.clients.openai_jobs import ANSWER, LLM, TEXT, answered
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served

pytestmark = pytest.mark.needs("openai")


def ask(ai: OpenAI, miner: ScriptedMiner, text: str, conversation: Any) -> list[tuple[str, str]]:
    """Continue a conversation; return the roles and texts that the miner got."""
    _, parameters = answered(
        miner, TEXT, lambda: ai.responses.create(model=LLM, input=text, conversation=conversation)
    )
    return [(turn["role"], turn["content"]) for turn in parameters["messages"]]


def test_a_conversation_grows_by_its_responses(ai: OpenAI, miner: ScriptedMiner) -> None:
    rules: Any = [{"type": "message", "role": "system", "content": "Be short."}]
    conversation = ai.conversations.create(items=rules, metadata={"topic": "demo"})
    assert conversation.id.startswith("conv_")
    assert conversation.metadata == {"topic": "demo"}
    assert ask(ai, miner, "One?", conversation.id) == [("system", "Be short."), ("user", "One?")]
    turns = ask(ai, miner, "Two?", {"id": conversation.id})
    assert [text for _, text in turns] == ["Be short.", "One?", ANSWER, "Two?"]
    listed: list[Any] = list(ai.conversations.items.list(conversation.id, order="asc", limit=2))
    assert [item.role for item in listed] == ["system", "user", "assistant", "user", "assistant"]
    newest: Any = ai.conversations.items.list(conversation.id).data[0]
    assert newest.content[0].text == ANSWER
    one: Any = ai.conversations.items.retrieve(newest.id, conversation_id=conversation.id)
    assert one.content[0].text == ANSWER


def test_a_failed_response_is_no_part_of_it(ai: OpenAI, miner: ScriptedMiner) -> None:
    conversation = ai.conversations.create()
    response = ai.responses.create(model=LLM, input="One?", conversation=conversation.id, background=True)
    (lease,) = miner.poll()
    miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No.")
    assert ai.responses.retrieve(response.id).status == "failed"
    assert list(ai.conversations.items.list(conversation.id)) == []


def test_a_response_of_the_background_joins_it_once(ai: OpenAI, miner: ScriptedMiner, served: Served) -> None:
    """Also if two read it at the same time, and each of them makes its answer."""
    conversation = ai.conversations.create()
    response = ai.responses.create(model=LLM, input="One?", conversation=conversation.id, background=True)
    (lease,) = miner.poll()
    assert miner.complete(lease, TEXT).status_code == 200
    answer = ai.responses.retrieve(response.id)
    assert answer.status == "completed"

    async def again(context: Context) -> None:
        store, database = context.part(StoredConversations), context.database
        stored_response = await database.read(store.find, Caller(Role.ADMIN), response.id)
        await database.write(store.finish, stored_response, stored_response.answer, context.clock())

    served.do(again)
    items: list[Any] = list(ai.conversations.items.list(conversation.id, order="asc"))
    assert [item.role for item in items] == ["user", "assistant"]


def test_an_unread_response_of_the_background_is_continued(ai: OpenAI, miner: ScriptedMiner) -> None:
    conversation = ai.conversations.create()
    ai.responses.create(model=LLM, input="One?", conversation=conversation.id, background=True)
    (lease,) = miner.poll()
    assert miner.complete(lease, TEXT).status_code == 200
    assert [text for _, text in ask(ai, miner, "Two?", conversation.id)] == ["One?", ANSWER, "Two?"]


def test_items_and_metadata_are_changed(ai: OpenAI, miner: ScriptedMiner) -> None:
    conversation = ai.conversations.create()
    added: Any = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two."}]
    page: Any = ai.conversations.items.create(conversation.id, items=added)
    assert [item.role for item in page.data] == ["user", "assistant"]
    # Clients expect parts.
    assert [item.content[0].type for item in page.data] == ["input_text", "output_text"]
    ai.conversations.items.delete(page.data[0].id, conversation_id=conversation.id)
    assert ask(ai, miner, "Three?", conversation.id) == [("assistant", "Two."), ("user", "Three?")]
    with pytest.raises(openai.NotFoundError):
        ai.conversations.items.retrieve(page.data[0].id, conversation_id=conversation.id)
    changed = ai.conversations.update(conversation.id, metadata={"a": "b"})
    assert changed.metadata == {"a": "b"}
    assert ai.conversations.delete(conversation.id).deleted
    for call in (ai.conversations.retrieve, ai.conversations.delete):
        with pytest.raises(openai.NotFoundError):
            call(conversation.id)
    with pytest.raises(openai.NotFoundError):
        ai.responses.create(model=LLM, input="Four?", conversation=conversation.id)


def test_an_item_that_cannot_be_used_is_named(ai: OpenAI) -> None:
    items: Any = [{"id": "item_1", "type": "message", "role": "nobody", "content": "x"}]
    conversation = ai.conversations.create(items=items)
    with pytest.raises(openai.APIStatusError, match="its item item_1 cannot be used"):
        ai.responses.create(model=LLM, input="One?", conversation=conversation.id)


def test_another_account_sees_none(ai: OpenAI, stranger: OpenAI) -> None:
    conversation = ai.conversations.create(items=[{"role": "user", "content": "x"}])
    item = ai.conversations.items.list(conversation.id).data[0]
    calls: list[Any] = [
        lambda: stranger.conversations.retrieve(conversation.id),
        lambda: stranger.conversations.update(conversation.id, metadata={}),
        lambda: stranger.conversations.delete(conversation.id),
        lambda: list(stranger.conversations.items.list(conversation.id)),
        lambda: stranger.conversations.items.create(
            conversation.id, items=[{"role": "user", "content": "y"}]
        ),
        lambda: stranger.conversations.items.delete(str(item.id), conversation_id=conversation.id),
        lambda: stranger.responses.create(model=LLM, input="y", conversation=conversation.id),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            call()
    assert len(list(ai.conversations.items.list(conversation.id))) == 1
