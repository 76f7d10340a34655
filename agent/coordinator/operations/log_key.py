"""The log's signing key: made once, kept at mode 0600, named by its origin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from agent.coordinator.operations.context import LogSigner
from agent.coordinator.operations.secret_file import load_secret
from agent.core.errors import ConfigurationError
from aitbc.canonical import sha256_hex

_ORIGIN: Final = re.compile(r"[^\s+]{1,200}")


def load_signer(path: Path, origin: str | None) -> LogSigner:
    """The key at `path`, made if there is none. Raises `ConfigurationError` if others can read it, or for a bad origin."""
    key = SigningKey(load_secret(path))
    if origin is None:
        origin = f"aitbc.local/{sha256_hex(bytes(key.verify_key))[:16]}"
    if _ORIGIN.fullmatch(origin) is None:
        raise ConfigurationError(
            "coordinator.origin: use a name without spaces and without +, like log.example.org."
        )
    return LogSigner(origin, key)
