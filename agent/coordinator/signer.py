"""The coordinator's signing key, which is created once, stored with mode 0600, and named by its origin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from agent.coordinator.secret_file import load_secret
from agent.core.errors import ConfigurationError
from agent.protocol.join_code import default_origin
from aitbc.keys import format_vkey

_ORIGIN: Final = re.compile(r"[^\s+]{1,200}")


@dataclass(frozen=True, slots=True)
class Signer:
    """The coordinator's key and name. What it signs contains `origin`, and clients verify with `vkey`."""

    origin: str
    key: SigningKey

    @property
    def vkey(self) -> str:
        """The public key in the format of signed notes."""
        return format_vkey(self.origin, bytes(self.key.verify_key))


def load_signer(path: Path, origin: str | None) -> Signer:
    """Return the key at `path`, creating it if needed. Raises `ConfigurationError` if others can read it, or for a bad origin."""
    key = SigningKey(load_secret(path))
    if origin is None:
        origin = default_origin(bytes(key.verify_key))
    if _ORIGIN.fullmatch(origin) is None:
        raise ConfigurationError(
            "coordinator.origin: use a name without spaces and without +, like log.example.org."
        )
    return Signer(origin, key)
