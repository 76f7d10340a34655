"""Lists in the form of OpenAI's API, page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Literal, Self

from pydantic import BaseModel

from agent.coordinator.features.client_apis.conversation_store import StoredItem
from agent.core.errors import NotFound
from aitbc.answers.fields import example


class ObjectPage(BaseModel, defer_build=True):
    """A page of a list. `first_id` and `last_id` are empty if nothing is on it, since OpenAI's document allows no null."""

    object: Literal["list"] = "list"
    data: list[Any]
    first_id: str
    last_id: str
    has_more: bool

    @classmethod
    def of(cls, data: Sequence[Any], limit: int, id_of: Callable[[Any], str] = attrgetter("id")) -> Self:
        """Return the page with the first `limit` of these objects."""
        shown = list(data[:limit])
        first_id, last_id = (id_of(shown[0]), id_of(shown[-1])) if shown else ("", "")
        return cls(data=shown, first_id=first_id, last_id=last_id, has_more=len(data) > limit)


class ItemPage(ObjectPage):
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

    data: list[dict[str, Any]]


def page(items: Sequence[StoredItem], *, order: str = "asc", after: str | None, limit: int) -> ItemPage:
    """Return a page of items after the one of this id. Raises `NotFound` if there is none."""
    ordered = [dict(item) for item in (items if order == "asc" else reversed(items))]
    if after is not None:
        position = next((number for number, item in enumerate(ordered) if item["id"] == after), None)
        if position is None:
            raise NotFound(f"There is no item {after[:100]!r}.")
        ordered = ordered[position + 1 :]
    return ItemPage.of(ordered, limit, itemgetter("id"))
