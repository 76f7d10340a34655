"""Stores the responses of the Responses API, and the conversations to which they belong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.coordinator.features.client_apis.conversation_store import (
    ConversationStore,
    StoredItem,
    StoredResponse,
)
from agent.coordinator.features.conversations import store
from agent.coordinator.features.conversations.settings import ConversationSettings
from agent.coordinator.features.conversations.store import ConversationRecord
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import locks
from agent.core.errors import NotFound, PayloadTooLarge
from agent.sections import section_of
from aitbc.answers.accounts import Role

LONGEST_CHAIN: Final = 1000
"""Responses before one, each the previous of the next."""
SECONDS_OF_DAY: Final = 86_400


class StoredConversations(ConversationStore):
    """See `ConversationStore`."""

    async def close(self) -> None:
        """See `Part.close`. It holds nothing."""

    def stores_all(self, context: Context) -> bool:
        """See `ConversationStore.stores_all`."""
        return section_of(context.settings, ConversationSettings).store_responses

    def history(
        self, connection: Connection, caller: Caller, previous_id: str | None, conversation_id: str | None
    ) -> list[StoredItem]:
        """See `ConversationStore.history`."""
        if conversation_id is not None:
            return items_of(connection, caller, conversation_id)
        chain: list[StoredItem] = []
        response_id = previous_id
        for _ in range(LONGEST_CHAIN):
            if response_id is None:
                break
            response = self.find(connection, caller, response_id)
            chain = [*response.input_items, *response.answer.get("output", ()), *chain]
            response_id = response.previous_id
        return chain

    def unfinished(self, connection: Connection, caller: Caller, conversation_id: str) -> list[str]:
        """See `ConversationStore.unfinished`."""
        own_conversation(connection, caller, conversation_id)
        return store.unfinished(connection, conversation_id)

    def add(self, connection: Connection, context: Context, response: StoredResponse) -> None:
        """See `ConversationStore.add`."""
        locks.account(connection, response.account_id)
        size = sum(len(str(item)) for item in (*response.input_items, response.answer))
        check_space(connection, context, response.account_id, size)
        store.add_response(connection, response, context.clock())

    def finish(
        self, connection: Connection, response: StoredResponse, answer: Mapping[str, Any], now: float
    ) -> None:
        """See `ConversationStore.finish`."""
        locks.account(connection, response.account_id)
        if not store.finish_response(connection, response, answer):
            return
        conversation_id = response.conversation_id
        # The conversation may have been deleted in the meantime.
        if conversation_id is not None and store.find_conversation(connection, conversation_id) is not None:
            added = [*response.input_items, *answer.get("output", ())]
            store.add_items(connection, conversation_id, added, now)

    def find(self, connection: Connection, caller: Caller, response_id: str) -> StoredResponse:
        """See `ConversationStore.find`."""
        response = store.find_response(connection, response_id)
        if response is None or not _is_own(caller, response.account_id):
            raise NotFound(
                f"There is no stored response {response_id[:100]!r}. It was not stored (`store`), was deleted, or is too old."
            )
        return response

    def delete(self, connection: Connection, caller: Caller, response_id: str) -> None:
        """See `ConversationStore.delete`."""
        self.find(connection, caller, response_id)
        store.delete_responses(connection, [response_id])


def own_conversation(connection: Connection, caller: Caller, conversation_id: str) -> ConversationRecord:
    """Return a conversation of the caller. Raises `NotFound`."""
    conversation = store.find_conversation(connection, conversation_id)
    if conversation is None or not _is_own(caller, conversation.account_id):
        raise NotFound(
            f"There is no conversation {conversation_id[:100]!r}. It was deleted, is too old, or has never existed."
        )
    return conversation


def items_of(connection: Connection, caller: Caller, conversation_id: str) -> list[StoredItem]:
    """Return the items of a conversation of the caller, oldest first. Raises `NotFound`."""
    own_conversation(connection, caller, conversation_id)
    return store.items(connection, conversation_id)


def check_space(connection: Connection, context: Context, account_id: str, size: int) -> None:
    """Raise `PayloadTooLarge` if an account may not store so many bytes more. The transaction holds the account's lock."""
    limit = section_of(context.settings, ConversationSettings).conversation_bytes
    if store.used(connection, account_id) + size > limit:
        raise PayloadTooLarge(
            f"The account's stored responses and conversations may have {limit} bytes together. Delete some of them, or send "
            "requests without `store`.",
            {"limit": int(limit)},
        )


async def delete_old(context: Context) -> None:
    """Delete what is older than its retention period."""
    days = section_of(context.settings, ConversationSettings).conversation_days
    oldest = context.clock() - days * SECONDS_OF_DAY
    for prune in (store.prune_responses, store.prune_conversations):
        while await context.database.write(prune, oldest) == store.PRUNED_AT_ONCE:
            pass


def forget(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the responses of jobs whose data is deleted."""
    store.delete_responses(connection, job_ids)


def _is_own(caller: Caller, account_id: str) -> bool:
    return caller.role is Role.ADMIN or caller.account_id == account_id
