"""Stored responses and conversations: rows and queries."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from agent.coordinator.features.client_apis.conversation_store import StoredItem, StoredResponse
from agent.coordinator.features.conversations.tables import (
    conversation_items,
    conversations,
    stored_responses,
)

PRUNED_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation without its items. `labels` are the client's pairs of name and value."""

    conversation_id: str
    account_id: str
    created_at: float
    labels: Mapping[str, str]


def used(connection: Connection, account_id: str) -> int:
    """Return the bytes of an account's stored responses and conversations."""
    sums = [
        select(func.coalesce(func.sum(table.c.size), 0)).where(table.c.account_id == account_id)
        for table in (stored_responses, conversations)
    ]
    return sum(int(connection.execute(query).scalar_one()) for query in sums)


def add_response(connection: Connection, response: StoredResponse, now: float) -> None:
    """Store a response, unless it is stored."""
    if find_response(connection, response.response_id) is not None:
        return
    input_text, answer = json.dumps(list(response.input_items)), json.dumps(dict(response.answer))
    values = {
        "response_id": response.response_id,
        "account_id": response.account_id,
        "conversation_id": response.conversation_id,
        "previous_id": response.previous_id,
        "created_at": now,
        "finished": False,
        "input": input_text,
        "answer": answer,
        "size": len(input_text) + len(answer),
    }
    connection.execute(insert(stored_responses).values(values))


def finish_response(connection: Connection, response: StoredResponse, answer: Mapping[str, Any]) -> bool:
    """Replace the answer of a response that is not finished. Return whether there is one."""
    text = json.dumps(dict(answer))
    row = stored_responses.c
    size = len(json.dumps(list(response.input_items))) + len(text)
    changed = connection.execute(
        update(stored_responses)
        .where(row.response_id == response.response_id, row.finished.is_(False))
        .values(answer=text, finished=True, size=size)
    )
    return changed.rowcount > 0


def find_response(connection: Connection, response_id: str) -> StoredResponse | None:
    """Return a response."""
    query = select(stored_responses).where(stored_responses.c.response_id == response_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _response(row)


def unfinished(connection: Connection, conversation_id: str) -> list[str]:
    """Return the ids of a conversation's responses that are not finished, oldest first."""
    row = stored_responses.c
    query = select(row.response_id).where(row.conversation_id == conversation_id, row.finished.is_(False))
    return list(connection.execute(query.order_by(row.created_at, row.response_id)).scalars())


def delete_responses(connection: Connection, response_ids: Collection[str]) -> None:
    """Delete responses."""
    connection.execute(delete(stored_responses).where(stored_responses.c.response_id.in_(response_ids)))


def prune_responses(connection: Connection, created_before: float) -> int:
    """Delete the oldest responses that are older, at most `PRUNED_AT_ONCE`. Return how many."""
    row = stored_responses.c
    oldest = select(row.response_id).where(row.created_at < created_before).order_by(row.created_at)
    response_ids = connection.execute(oldest.limit(PRUNED_AT_ONCE)).scalars().all()
    delete_responses(connection, response_ids)
    return len(response_ids)


def add_conversation(connection: Connection, record: ConversationRecord) -> None:
    """Store a new conversation without items."""
    connection.execute(
        insert(conversations).values(
            conversation_id=record.conversation_id,
            account_id=record.account_id,
            created_at=record.created_at,
            changed_at=record.created_at,
            metadata=json.dumps(dict(record.labels)),
            size=0,
        )
    )


def find_conversation(connection: Connection, conversation_id: str) -> ConversationRecord | None:
    """Return a conversation."""
    query = select(conversations).where(conversations.c.conversation_id == conversation_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return ConversationRecord(row.conversation_id, row.account_id, row.created_at, json.loads(row.metadata))


def label(connection: Connection, conversation_id: str, labels: Mapping[str, str]) -> None:
    """Replace the client's names and values."""
    row = conversations.c.conversation_id == conversation_id
    connection.execute(update(conversations).where(row).values(metadata=json.dumps(dict(labels))))


def delete_conversations(connection: Connection, conversation_ids: Collection[str]) -> None:
    """Delete conversations with their items. The responses in them remain."""
    for table in (conversation_items, conversations):
        connection.execute(delete(table).where(table.c.conversation_id.in_(conversation_ids)))


def prune_conversations(connection: Connection, changed_before: float) -> int:
    """Delete conversations that have not changed since, at most `PRUNED_AT_ONCE`. Return how many."""
    row = conversations.c
    oldest = select(row.conversation_id).where(row.changed_at < changed_before).order_by(row.changed_at)
    conversation_ids = connection.execute(oldest.limit(PRUNED_AT_ONCE)).scalars().all()
    delete_conversations(connection, conversation_ids)
    return len(conversation_ids)


def items(connection: Connection, conversation_id: str) -> list[StoredItem]:
    """Return the items of a conversation, oldest first."""
    row = conversation_items.c
    query = select(row.body).where(row.conversation_id == conversation_id).order_by(row.position)
    return [json.loads(body) for body in connection.execute(query).scalars()]


def add_items(connection: Connection, conversation_id: str, added: Sequence[StoredItem], now: float) -> None:
    """Add items to the end of a conversation, in a transaction that holds the account's lock."""
    row = conversation_items.c
    last = select(func.coalesce(func.max(row.position), -1)).where(row.conversation_id == conversation_id)
    first = int(connection.execute(last).scalar_one()) + 1
    rows = [
        {
            "conversation_id": conversation_id,
            "position": first + offset,
            "item_id": item["id"],
            "body": json.dumps(dict(item)),
        }
        for offset, item in enumerate(added)
    ]
    if rows:
        connection.execute(insert(conversation_items), rows)
    _changed(connection, conversation_id, now)


def delete_item(connection: Connection, conversation_id: str, item_id: str, now: float) -> bool:
    """Delete the items of this id. Return whether there was one."""
    row = conversation_items.c
    mine = (row.conversation_id == conversation_id, row.item_id == item_id)
    deleted = connection.execute(delete(conversation_items).where(*mine)).rowcount > 0
    _changed(connection, conversation_id, now)
    return deleted


def _changed(connection: Connection, conversation_id: str, now: float) -> None:
    row = conversation_items.c
    size = (
        select(func.coalesce(func.sum(func.length(row.body)), 0))
        .where(row.conversation_id == conversation_id)
        .scalar_subquery()
    )
    conversation = conversations.c.conversation_id == conversation_id
    connection.execute(update(conversations).where(conversation).values(changed_at=now, size=size))


def _response(row: Row[Any]) -> StoredResponse:
    return StoredResponse(
        response_id=row.response_id,
        account_id=row.account_id,
        input_items=json.loads(row.input),
        answer=json.loads(row.answer),
        previous_id=row.previous_id,
        conversation_id=row.conversation_id,
        finished=row.finished,
    )
