"""Clients of the running agent's coordinator: as its administrator, or as the owner of the agent's miner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from agent.cli import agent_file
from agent.core.errors import AgentError, ConfigurationError
from agent.settings import Settings
from aitbc import AITBCClient
from aitbc.errors import APIError, TransportError

TIMEOUT_SECONDS: Final = 10.0
PAGE: Final = 500
"""Entries of a page, the most that the coordinator returns."""


@contextmanager
def administrator(settings: Settings) -> Iterator[AITBCClient]:
    """Yield a client with the administrator's key. Raises `AgentError` with the server's error message."""
    agent = agent_file.read(settings)
    if agent.admin_key is None:
        raise ConfigurationError(
            "This agent has joined another coordinator. Run the command on the coordinator's machine, or ask its operator."
        )
    with _client(agent.url, agent.admin_key) as client:
        yield client


@contextmanager
def owner(settings: Settings) -> Iterator[AITBCClient]:
    """Yield a client with the key of the miner's owner, else an administrator's. Raises as `administrator`."""
    agent = agent_file.read(settings)
    key = agent.miner_key or agent.admin_key
    if key is None:
        raise ConfigurationError(
            "This agent runs neither a miner with an owner's key nor a coordinator. Run the command on the miner's machine."
        )
    with _client(agent.url, key) as client:
        yield client


@contextmanager
def _client(url: str, key: str) -> Iterator[AITBCClient]:
    # The coordinator is on this machine, so an error at once is better than a long wait.
    with AITBCClient(key, url, timeout=TIMEOUT_SECONDS, retries=0) as client:
        try:
            yield client
        except APIError as error:
            raise AgentError(error.message) from None
        except TransportError as error:
            raise AgentError(f"The agent at {url} did not respond: {error}") from None
