"""Calls the API of the running agent's coordinator, as its administrator or as the owner of the agent's miner."""

from __future__ import annotations

from typing import Any, Final

import httpx

from agent.cli import agent_file
from agent.core.errors import AgentError, ConfigurationError
from agent.settings import Settings

TIMEOUT_SECONDS: Final = 10.0


def call(settings: Settings, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Call `/v1/PATH` as administrator and return its JSON. Raises `AgentError` with the server's error message."""
    agent = agent_file.read(settings)
    if agent.admin_key is None:
        raise ConfigurationError(
            "This agent has joined another coordinator. Run the command on the coordinator's machine, or ask its operator."
        )
    return _call(agent.url, agent.admin_key, method, path, body)


def call_as_owner(settings: Settings, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Call `/v1/PATH` with the key of the miner's owner, else an administrator's. Raises as `call`."""
    agent = agent_file.read(settings)
    key = agent.miner_key or agent.admin_key
    if key is None:
        raise ConfigurationError(
            "This agent runs neither a miner with an owner's key nor a coordinator. Run the command on the miner's machine."
        )
    return _call(agent.url, key, method, path, body)


def _call(url: str, key: str, method: str, path: str, body: dict[str, Any] | None) -> Any:
    try:
        answer = httpx.request(
            method,
            f"{url}/v1/{path}",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_SECONDS,
        )
    except httpx.HTTPError as error:
        raise AgentError(f"The agent at {url} did not respond: {error}") from None
    if answer.is_success:
        return answer.json() if answer.content else None
    raise AgentError(_message(answer))


def _message(answer: httpx.Response) -> str:
    """Return the server's error message, which names the invalid fields."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return (
            f"The agent at {answer.url.host} responded with status {answer.status_code} and no error message."
        )
