"""Where responses and conversations of the Responses API are stored: by a feature's part, if there is such a feature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context

StoredItem = Mapping[str, Any]
"""A message, a call, what a function returned, or thoughts, as JSON in the form of the API, with an `id`."""


def in_parts(item: StoredItem) -> StoredItem:
    """Return an item whose text is a part of its content, as clients expect it in lists."""
    content = item.get("content")
    if not isinstance(content, str):
        return item
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    return {**item, "content": [{"type": kind, "text": content}]}


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response with its own input. `answer` is the API's; until it is `finished`, the one with which it began."""

    response_id: str
    account_id: str
    input_items: Sequence[StoredItem]
    answer: Mapping[str, Any]
    previous_id: str | None = None
    conversation_id: str | None = None
    finished: bool = False


class ConversationStore(ABC):
    """Stores responses and conversations. Those of another account do not exist for a caller: `NotFound`."""

    @abstractmethod
    def stores_all(self, context: Context) -> bool:
        """Return whether responses are stored whose requests do not say so."""

    @abstractmethod
    async def history(
        self, context: Context, caller: Caller, *, previous_id: str | None, conversation_id: str | None
    ) -> list[StoredItem]:
        """Return the items of a conversation, or those up to a response with its output, oldest first. Raises `NotFound`."""

    @abstractmethod
    async def unfinished(self, context: Context, caller: Caller, conversation_id: str) -> list[str]:
        """Return the ids of those responses in a conversation that are not finished, oldest first. Raises `NotFound`."""

    @abstractmethod
    async def add(self, context: Context, response: StoredResponse) -> None:
        """Store a response that has begun. Raises `PayloadTooLarge` for an account that has stored too much."""

    @abstractmethod
    async def finish(self, context: Context, response: StoredResponse, answer: Mapping[str, Any]) -> None:
        """Store the whole answer, and add input and output to the conversation. May be repeated."""

    @abstractmethod
    async def find(self, context: Context, caller: Caller, response_id: str) -> StoredResponse:
        """Return a response. Raises `NotFound`."""

    @abstractmethod
    async def delete(self, context: Context, caller: Caller, response_id: str) -> None:
        """Delete a response. Raises `NotFound`."""


def store_of(context: Context) -> ConversationStore | None:
    """Return where responses are stored; None if they cannot be."""
    parts = context.features.parts.values()
    return next((part for part in parts if isinstance(part, ConversationStore)), None)
