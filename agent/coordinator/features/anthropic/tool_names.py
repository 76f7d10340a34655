"""The names of tools, of which this API allows longer ones than the service."""

from __future__ import annotations

import hashlib
from typing import Final

from agent.coordinator.features.anthropic.request import MessagesRequest

LONGEST_NAME: Final = 64
"""Characters of a tool's name in the service."""


def short_name(name: str) -> str:
    """Return a tool's name for the service, whose names are half as long as this API's."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 13]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def names_of(request: MessagesRequest) -> dict[str, str]:
    """Return the tools' names by those in the service."""
    return {short_name(tool.name): tool.name for tool in request.tools or ()}
