"""Finds the coordinator and the key: from arguments, then the environment, then the agent on this machine.

No other module of this package reads the environment.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import platformdirs

from aitbc.errors import ConfigurationError
from aitbc.sealing.store import FILE

if sys.platform != "win32":
    import fcntl

AGENT_FILE = "agent.json"
LOCK_FILE = "agent.lock"


@dataclass(frozen=True, slots=True)
class LocalAgent:
    """The contents of a running agent's `agent.json`. `log_key` is its coordinator's public log key (a vkey)."""

    url: str
    client_key: str | None
    log_key: str | None


@dataclass(frozen=True, slots=True)
class Address:
    """A coordinator's URL and the API key to use."""

    base_url: str
    api_key: str | None

    @property
    def is_loopback(self) -> bool:
        """Whether the coordinator is on this machine, so that no proxy is used."""
        # Names other than `localhost` are not resolved: the answer could change between this question and the request.
        host = httpx.URL(self.base_url).host
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def data_directory() -> Path:
    """Return the data directory of this user's agent: `AITBC_DATA_DIR`, or the platform's default."""
    return Path(os.environ.get("AITBC_DATA_DIR") or platformdirs.user_data_path("aitbc-agent"))


def sealing_file() -> Path:
    """Return the file with this user's key pair for sealed jobs, in `AITBC_CONFIG_DIR` or the platform's configuration directory."""
    return Path(os.environ.get("AITBC_CONFIG_DIR") or platformdirs.user_config_path("aitbc")) / FILE


def local_agent() -> LocalAgent | None:
    """Return this user's agent, or None if none is running. Raises `ConfigurationError` if its file cannot be read."""
    path = data_directory() / AGENT_FILE
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        # No agent runs here, which is no error: most clients talk to a coordinator elsewhere.
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("url"), str):
        raise ConfigurationError(f"{path} does not contain the agent's URL.")
    return LocalAgent(content["url"], _text(content.get("client_key")), _text(content.get("log_key")))


def _is_starting() -> bool:
    """Return whether an agent has locked its data directory. Agents run on Linux only."""
    if sys.platform == "win32":
        return False
    try:
        # The lock, unlike a file with a process id, ends with its process.
        with (data_directory() / LOCK_FILE).open() as file:
            # Shared, so that two programs that ask at the same time do not take each other for the agent.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def find_address(base_url: str | None, api_key: str | None) -> Address:
    """Return the coordinator and key to use.

    The local agent's key is sent only to the local agent. Raises `ConfigurationError` if no coordinator is configured.
    """
    base_url = base_url or os.environ.get("AITBC_BASE_URL") or None
    api_key = api_key or os.environ.get("AITBC_API_KEY") or None
    if base_url is None:
        agent = local_agent()
        if agent is None and _is_starting():
            raise ConfigurationError("The agent on this machine is still starting. Try again in a moment.")
        if agent is None:
            raise ConfigurationError(
                "No coordinator is configured. Set AITBC_BASE_URL and AITBC_API_KEY (or pass base_url and api_key), "
                f"or start an agent on this machine with `aitbc-agent start` ({data_directory() / AGENT_FILE} does not exist)."
            )
        # Only in this branch: with any other URL, the local agent's key would go to a stranger.
        base_url, api_key = agent.url, api_key or agent.client_key
    return Address(_normal(base_url), api_key)


def _normal(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"The coordinator's URL {base_url!r} is malformed: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(
            f"The coordinator's URL {base_url!r} does not start with https:// or http://."
        )
    # People copy the URL with or without the version that every path here begins with.
    return base_url.rstrip("/").removesuffix("/v1")
