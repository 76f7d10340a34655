"""Calls of commands to the running agent's coordinator, as its administrator."""

from __future__ import annotations

from typing import Any, Final

import httpx

from agent.cli import agent_file
from agent.core.errors import AgentError, ConfigurationError
from agent.settings import Settings

TIMEOUT_SECONDS: Final = 10.0


def call(settings: Settings, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON answer of `/v1/PATH`. Raises `AgentError` with the server's own words."""
    agent = agent_file.read(settings)
    if agent.admin_key is None:
        raise ConfigurationError("This agent has joined another coordinator; ask its operator.")
    try:
        answer = httpx.request(
            method,
            f"{agent.url}/v1/{path}",
            json=body,
            headers={"Authorization": f"Bearer {agent.admin_key}"},
            timeout=TIMEOUT_SECONDS,
        )
    except httpx.HTTPError as error:
        raise AgentError(f"The agent at {agent.url} does not answer: {error}") from None
    if answer.is_success:
        return answer.json() if answer.content else None
    raise AgentError(_words(answer))


def _words(answer: httpx.Response) -> str:
    """What the server says is wrong; its message names the fields."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"The agent at {answer.url.host} answered {answer.status_code} without saying why."
