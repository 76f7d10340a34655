"""`/v1/conversations`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict

from agent.coordinator.features.client_apis.item_pages import ItemPage, page
from agent.coordinator.features.client_apis.routes.item_pages import After, Order, PageSize
from agent.coordinator.features.conversations import conversations
from agent.coordinator.features.conversations.conversations import (
    ConversationDeleted,
    ConversationLabels,
    ConversationView,
    ItemType,
    NewConversation,
    NewItems,
)
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Client, ContextOf
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, NotFound, PayloadTooLarge
from aitbc.answers.fields import example

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/conversations", tags=["OpenAI-compatible"])

ConversationId = Annotated[str, Path(max_length=100, examples=["conv_1234567890"])]
ItemId = Annotated[str, Path(max_length=200, examples=["msg_1234567890_0"])]


class ConversationItem(BaseModel, defer_build=True):
    """An item, with the fields of its type."""

    model_config = ConfigDict(
        extra="allow",
        **example({"type": "message", "id": "msg_1234567890_0", "role": "user", "content": "Hello."}),
    )

    type: ItemType
    id: str


@router.post("", responses=errors(Conflict, PayloadTooLarge), summary="Create a conversation")
async def create(context: ContextOf, caller: Client, body: NewConversation) -> ConversationView:
    """It is stored until it has not changed for `coordinator.conversation_days`. `/v1/responses` continues it with `conversation`."""
    return await conversations.create(context, caller, body)


@router.get("/{conversation_id}", responses=errors(NotFound), summary="A conversation")
async def get(context: ContextOf, caller: Client, conversation_id: ConversationId) -> ConversationView:
    """Returns its metadata; its items have a path of their own."""
    return await conversations.get(context, caller, conversation_id)


@router.post("/{conversation_id}", responses=errors(NotFound), summary="Replace a conversation's metadata")
async def change(
    context: ContextOf, caller: Client, conversation_id: ConversationId, body: ConversationLabels
) -> ConversationView:
    """Replaces all of the metadata."""
    return await conversations.relabel(context, caller, conversation_id, body)


@router.delete("/{conversation_id}", responses=errors(NotFound), summary="Delete a conversation")
async def delete(context: ContextOf, caller: Client, conversation_id: ConversationId) -> ConversationDeleted:
    """Deletes its items too. Stored responses and the data of their jobs remain."""
    return await conversations.delete(context, caller, conversation_id)


@router.get("/{conversation_id}/items", responses=errors(NotFound), summary="List a conversation's items")
async def list_items(
    context: ContextOf,
    caller: Client,
    conversation_id: ConversationId,
    after: After = None,
    order: Order = "desc",
    limit: PageSize = 20,
) -> ItemPage:
    """Returns messages, calls, what functions returned, and thoughts."""
    items = await conversations.items_of(context, caller, conversation_id)
    return page(items, order=order, after=after, limit=limit)


@router.post(
    "/{conversation_id}/items",
    responses=errors(NotFound, PayloadTooLarge),
    summary="Add items to a conversation",
)
async def add_items(
    context: ContextOf, caller: Client, conversation_id: ConversationId, body: NewItems
) -> ItemPage:
    """Adds them to the end."""
    return await conversations.add(context, caller, conversation_id, body)


@router.get(
    "/{conversation_id}/items/{item_id}", responses=errors(NotFound), summary="An item of a conversation"
)
async def get_item(
    context: ContextOf, caller: Client, conversation_id: ConversationId, item_id: ItemId
) -> ConversationItem:
    """Returns the item as it was added."""
    fields: dict[str, Any] = await conversations.find_item(context, caller, conversation_id, item_id)
    return ConversationItem(**fields)


@router.delete(
    "/{conversation_id}/items/{item_id}",
    responses=errors(NotFound),
    summary="Delete an item of a conversation",
)
async def delete_item(
    context: ContextOf, caller: Client, conversation_id: ConversationId, item_id: ItemId
) -> ConversationView:
    """Returns the conversation, which no longer has the item."""
    return await conversations.delete_item(context, caller, conversation_id, item_id)
