"""`agent.json`, by which commands and the SDK find a running agent, and the lock that allows one agent per data directory."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.atomic_file import replace_file
from agent.core.errors import ConfigurationError
from agent.file_lock import try_lock
from agent.settings import Settings


@dataclass(frozen=True, slots=True)
class AgentFile:
    """The URL, process and keys of a running agent. Keys that the agent does not have are None.

    `public_url` is the setting, the coordinator's address for other machines.
    """

    url: str
    pid: int
    miner_id: str | None
    log_key: str
    client_key: str | None
    miner_key: str | None
    admin_key: str | None
    public_url: str | None = None

    @property
    def shown_url(self) -> str:
        """The address to show to people, who may be on other machines."""
        return self.public_url or self.url


class StillStarting(ConfigurationError):
    """The agent runs, and has not joined its coordinator yet."""


def write(settings: Settings, content: AgentFile) -> None:
    """Write the file atomically, readable by its owner only."""
    write_private(settings.agent_file, asdict(content))


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Write JSON to a file atomically, with mode 0600."""
    replace_file(path, json.dumps(content, indent=1).encode(), 0o600)


def remove(settings: Settings) -> None:
    """Remove the file when the agent stops."""
    settings.agent_file.unlink(missing_ok=True)


def read(settings: Settings) -> AgentFile:
    """Read the file of the running agent. Raises `ConfigurationError` if none runs with this data directory, `StillStarting`."""
    if not is_running(settings):
        raise ConfigurationError(
            f"No agent is running with the data directory {settings.data_dir}. Start one with `aitbc-agent start`, "
            "or give another directory with --data-dir."
        )
    try:
        return AgentFile(**json.loads(settings.agent_file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise StillStarting("The agent is still starting. Try again in a moment.") from None
    except (ValueError, TypeError):
        raise ConfigurationError(f"{settings.agent_file} cannot be read. Restart the agent.") from None


def is_running(settings: Settings) -> bool:
    """Return whether an agent holds the lock of this data directory."""
    try:
        with _lock_file(settings).open("r+b") as file:
            # A shared lock, so that two concurrent checks do not mistake each other for an agent.
            return not try_lock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Lock the data directory. Raises `ConfigurationError` if another agent has locked it."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    _lock_file(settings).touch(mode=0o600)
    with _lock_file(settings).open("r+b") as file:
        if not try_lock(file):
            raise ConfigurationError(
                f"Another agent is running with the data directory {settings.data_dir}. Stop it with `aitbc-agent stop`, or give "
                "another directory with --data-dir."
            )
        # The file of a killed agent names another process.
        remove(settings)
        yield


def _lock_file(settings: Settings) -> Path:
    return settings.data_dir / "agent.lock"
