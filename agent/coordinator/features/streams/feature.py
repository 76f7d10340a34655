"""Streams of messages about events as they happen: the WebSocket, and server-sent events of one job."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.streams.routes import job_events, socket
from agent.coordinator.features.streams.streams import OpenStreams, check_keys, check_seconds

FEATURE: Final = Feature(
    name="streams",
    routers=(job_events.router, socket.router),
    tasks=(Task("keys", check_seconds, check_keys, everywhere=True),),
    part=OpenStreams,
    open=lambda _: OpenStreams(),
)
