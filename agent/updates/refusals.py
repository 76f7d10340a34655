"""Why an update is not made: now, or at all."""

from __future__ import annotations

from agent.core.errors import AgentError


class UpdateDelayed(AgentError):
    """The update cannot be done now. Another try may succeed."""


class Refused(AgentError):
    """The release must not or cannot be installed. Another try would end the same way."""
