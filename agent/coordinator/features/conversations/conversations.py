"""`/v1/conversations`: what clients read and change of their conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator.features.client_apis.conversation_store import StoredItem, as_listed
from agent.coordinator.features.client_apis.item_pages import ItemPage, page
from agent.coordinator.features.conversations import store, storing
from agent.coordinator.features.conversations.store import ConversationRecord
from agent.coordinator.features.conversations.storing import check_space, own_conversation
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import locks
from agent.core.errors import NotFound
from aitbc.answers.fields import example

Labels = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
ItemType = Literal["message", "function_call", "function_call_output", "reasoning"]


class NewItem(BaseModel, defer_build=True):
    """An item of a conversation, in the form of the input of `/v1/responses`. Its other fields are checked when a request uses it."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    type: ItemType = "message"
    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class NewItems(BaseModel, defer_build=True):
    """Items to add to the end of a conversation."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        **example({"items": [{"role": "user", "content": "Hello."}]}),
    )

    items: Annotated[list[NewItem], Field(min_length=1, max_length=20)]


class NewConversation(BaseModel, defer_build=True):
    """A conversation, with its first items."""

    model_config = ConfigDict(extra="forbid", strict=True, **example({"metadata": {"topic": "demo"}}))

    items: Annotated[list[NewItem], Field(max_length=20)] | None = None
    metadata: Labels | None = None


class ConversationLabels(BaseModel, defer_build=True):
    """The new pairs of name and value, which replace the old ones."""

    model_config = ConfigDict(extra="forbid", strict=True, **example({"metadata": {"topic": "demo"}}))

    metadata: Labels | None


class ConversationView(BaseModel, defer_build=True):
    """A conversation."""

    model_config = example(
        {
            "id": "conv_1234567890",
            "object": "conversation",
            "created_at": 1704110400,
            "metadata": {"topic": "demo"},
        }
    )

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str]


class ConversationDeleted(BaseModel, defer_build=True):
    """The conversation no longer exists."""

    model_config = example({"id": "conv_1234567890", "object": "conversation.deleted", "deleted": True})

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


async def create(context: Context, caller: Caller, creation: NewConversation) -> ConversationView:
    """Store a conversation. Raises `PayloadTooLarge` for an account that has stored too much."""
    account_id = caller.account_of("Conversations")
    record = ConversationRecord(context.new_id("conv"), account_id, context.clock(), creation.metadata or {})
    items = _identified(context, creation.items or ())
    await context.database.write(_create, context, record, items)
    return _shown(record)


async def get(context: Context, caller: Caller, conversation_id: str) -> ConversationView:
    """Return a conversation. Raises `NotFound`."""
    return _shown(await context.database.read(own_conversation, caller, conversation_id))


async def relabel(
    context: Context, caller: Caller, conversation_id: str, labels: ConversationLabels
) -> ConversationView:
    """Replace the client's names and values. Raises `NotFound`."""
    await context.database.write(_relabel, caller, conversation_id, labels.metadata or {})
    return await get(context, caller, conversation_id)


async def delete(context: Context, caller: Caller, conversation_id: str) -> ConversationDeleted:
    """Delete a conversation with its items. Raises `NotFound`."""
    await context.database.write(_delete, caller, conversation_id)
    return ConversationDeleted(id=conversation_id)


async def items_of(context: Context, caller: Caller, conversation_id: str) -> list[StoredItem]:
    """Return the items, oldest first. Raises `NotFound`."""
    return await context.database.read(storing.items_of, caller, conversation_id)


async def add(context: Context, caller: Caller, conversation_id: str, addition: NewItems) -> ItemPage:
    """Add items to the end. Raises `NotFound`, and `PayloadTooLarge` for an account that has stored too much."""
    items = _identified(context, addition.items)
    await context.database.write(_add, context, caller, conversation_id, items)
    return page(items, after=None, limit=len(items))


async def find_item(context: Context, caller: Caller, conversation_id: str, item_id: str) -> dict[str, Any]:
    """Return an item. Raises `NotFound`."""
    for stored in await items_of(context, caller, conversation_id):
        if stored["id"] == item_id:
            return dict(stored)
    raise NotFound(f"There is no item {item_id[:100]!r} in this conversation.")


async def delete_item(
    context: Context, caller: Caller, conversation_id: str, item_id: str
) -> ConversationView:
    """Delete an item. Raises `NotFound`."""
    await context.database.write(_delete_item, caller, conversation_id, item_id, context.clock())
    return await get(context, caller, conversation_id)


def _shown(record: ConversationRecord) -> ConversationView:
    return ConversationView(
        id=record.conversation_id, created_at=int(record.created_at), metadata=dict(record.labels)
    )


def _identified(context: Context, items: Sequence[NewItem]) -> list[StoredItem]:
    return [
        as_listed(
            {**item.model_dump(mode="json", exclude_none=True), "id": item.id or context.new_id("item")}
        )
        for item in items
    ]


def _create(
    connection: Connection, context: Context, record: ConversationRecord, items: Sequence[StoredItem]
) -> None:
    locks.account(connection, record.account_id)
    check_space(connection, context, record.account_id, len(str(items)))
    store.add_conversation(connection, record)
    store.add_items(connection, record.conversation_id, items, record.created_at)


def _relabel(connection: Connection, caller: Caller, conversation_id: str, labels: dict[str, str]) -> None:
    own_conversation(connection, caller, conversation_id)
    store.label(connection, conversation_id, labels)


def _delete(connection: Connection, caller: Caller, conversation_id: str) -> None:
    locks.account(connection, own_conversation(connection, caller, conversation_id).account_id)
    store.delete_conversations(connection, [conversation_id])


def _add(
    connection: Connection,
    context: Context,
    caller: Caller,
    conversation_id: str,
    items: Sequence[StoredItem],
) -> None:
    account_id = own_conversation(connection, caller, conversation_id).account_id
    locks.account(connection, account_id)
    check_space(connection, context, account_id, len(str(items)))
    store.add_items(connection, conversation_id, items, context.clock())


def _delete_item(
    connection: Connection, caller: Caller, conversation_id: str, item_id: str, now: float
) -> None:
    locks.account(connection, own_conversation(connection, caller, conversation_id).account_id)
    if not store.delete_item(connection, conversation_id, item_id, now):
        raise NotFound(f"There is no item {item_id[:100]!r} in this conversation.")
