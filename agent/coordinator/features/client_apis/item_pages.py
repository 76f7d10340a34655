"""Lists of the items of a conversation or a response, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from agent.coordinator.features.client_apis.conversation_store import StoredItem
from agent.core.errors import NotFound
from aitbc.answers.fields import example


class ItemPage(BaseModel, defer_build=True):
    """Items in the requested order. `first_id` and `last_id` are empty if there are none, since OpenAI's document allows no null."""

    model_config = example(
        {
            "object": "list",
            "data": [{"type": "message", "id": "msg_1", "role": "user", "content": []}],
            "first_id": "msg_1",
            "last_id": "msg_1",
            "has_more": False,
        }
    )

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


def page(items: Sequence[StoredItem], *, order: str = "asc", after: str | None, limit: int) -> ItemPage:
    """Return a page of items after the one of this id. Raises `NotFound` if there is none."""
    ordered = [dict(item) for item in (items if order == "asc" else reversed(items))]
    if after is not None:
        position = next((number for number, item in enumerate(ordered) if item["id"] == after), None)
        if position is None:
            raise NotFound(f"There is no item {after[:100]!r}.")
        ordered = ordered[position + 1 :]
    shown = ordered[:limit]
    return ItemPage(
        data=shown,
        first_id=shown[0]["id"] if shown else "",
        last_id=shown[-1]["id"] if shown else "",
        has_more=len(ordered) > limit,
    )
