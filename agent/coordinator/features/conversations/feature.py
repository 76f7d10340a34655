"""Responses and conversations that are stored for their accounts."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.conversations import routes, storing
from agent.coordinator.hooks import Hooks

SECONDS: Final = 600.0
"""Pause between deletions of what is too old."""

FEATURE: Final = Feature(
    name="conversations",
    routers=(routes.router,),
    part=storing.StoredConversations,
    open=lambda _: storing.StoredConversations(),
    tasks=(Task("old_conversations", SECONDS, storing.delete_old),),
    hooks=Hooks(data_deleted=storing.forget),
)
"""`/v1/conversations`, and what the Responses API stores (docs/reference/openai.md)."""
