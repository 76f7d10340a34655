"""What commands need to check a log without its coordinator."""

from __future__ import annotations

from typing import Final

from agent.coordinator.signer import load_signer
from agent.core.errors import ConfigurationError
from agent.settings import Settings

NOT_VALID: Final = 3
"""The exit code if something is not as the log says."""


def own_log_key(settings: Settings) -> str:
    """Return the public key of this agent's own log. Raises `ConfigurationError` if it has none."""
    path = settings.data_dir / "coordinator" / "log.key"
    if not path.exists():
        raise ConfigurationError(
            "This agent has no log. Give the public key of the coordinator's log with --log-key."
        )
    return load_signer(path, settings.coordinator.origin).vkey
