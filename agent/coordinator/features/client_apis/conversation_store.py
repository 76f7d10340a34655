"""Where responses and conversations of the Responses API are stored: by a feature's part, if there is such a feature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context

StoredItem = Mapping[str, Any]
"""A message, a call, what a function returned, or thoughts, as JSON in the form of the API, with an `id`."""


_OF_PARTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "output_text": {"annotations": [], "logprobs": []},
    "input_image": {"detail": "auto"},
}
"""What parts of a type have in lists, also if the client has not sent it."""


def as_listed(item: StoredItem) -> StoredItem:
    """Return an item as clients expect it in lists: with a status, and its text as a part, with all fields of parts and none of them null."""
    listed = dict(item)
    if isinstance(content := item.get("content"), str):
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        listed["content"] = [{"type": kind, "text": content}]
    for field in ("content", "output"):
        if isinstance(parts := listed.get(field), list):
            listed[field] = [
                {**_OF_PARTS.get(part.get("type", ""), {}), **_without_nulls(part)} for part in parts
            ]
    if item.get("type") in ("message", "function_call", "function_call_output"):
        listed.setdefault("status", "completed")
    return listed


def _without_nulls(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if value is not None}


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
    """Stores responses and conversations, in transactions. Those of another account do not exist for a caller: `NotFound`."""

    @abstractmethod
    def stores_all(self, context: Context) -> bool:
        """Return whether responses are stored whose requests do not say so."""

    @abstractmethod
    def history(
        self, connection: Connection, caller: Caller, previous_id: str | None, conversation_id: str | None
    ) -> list[StoredItem]:
        """Return the items of a conversation, or those up to a response with its output, oldest first. Raises `NotFound`."""

    @abstractmethod
    def unfinished(self, connection: Connection, caller: Caller, conversation_id: str) -> list[str]:
        """Return the ids of those responses in a conversation that are not finished, oldest first. Raises `NotFound`."""

    @abstractmethod
    def add(self, connection: Connection, context: Context, response: StoredResponse) -> None:
        """Store a response that has begun. Raises `PayloadTooLarge` for an account that has stored too much."""

    @abstractmethod
    def finish(
        self, connection: Connection, response: StoredResponse, answer: Mapping[str, Any], now: float
    ) -> None:
        """Store the whole answer, and add input and output to the conversation. May be repeated."""

    @abstractmethod
    def find(self, connection: Connection, caller: Caller, response_id: str) -> StoredResponse:
        """Return a response. Raises `NotFound`."""

    @abstractmethod
    def delete(self, connection: Connection, caller: Caller, response_id: str) -> None:
        """Delete a response. Raises `NotFound`."""


def store_of(context: Context) -> ConversationStore | None:
    """Return where responses are stored; None if they cannot be."""
    parts = context.features.parts.values()
    return next((part for part in parts if isinstance(part, ConversationStore)), None)
