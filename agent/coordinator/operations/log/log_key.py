"""The log's signing key, which is created once, stored with mode 0600, and named by its origin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from agent.coordinator.operations.log.secret_file import load_secret
from agent.coordinator.sequencer import LogSigner
from agent.core.errors import ConfigurationError
from aitbc.canonical import sha256_hex
from aitbc.errors import FormatError
from aitbc.keys import COSIGNATURE_TYPE, parse_vkey

_ORIGIN: Final = re.compile(r"[^\s+]{1,200}")


def load_signer(path: Path, origin: str | None) -> LogSigner:
    """Return the key at `path`, creating it if needed. Raises `ConfigurationError` if others can read it, or for a bad origin."""
    key = SigningKey(load_secret(path))
    if origin is None:
        origin = f"aitbc.local/{sha256_hex(bytes(key.verify_key))[:16]}"
    if _ORIGIN.fullmatch(origin) is None:
        raise ConfigurationError(
            "coordinator.origin: use a name without spaces and without +, like log.example.org."
        )
    return LogSigner(origin, key)


def load_witnesses(vkeys: Sequence[str]) -> tuple[str, ...]:
    """Return the witnesses' public keys. Raises `ConfigurationError` for a malformed or repeated key."""
    seen = set()
    for vkey in vkeys:
        try:
            _, public_key = parse_vkey(vkey, COSIGNATURE_TYPE)
        except FormatError as error:
            raise ConfigurationError(f"coordinator.witnesses: {error}") from None
        if public_key in seen:
            raise ConfigurationError(f"coordinator.witnesses: the key of {vkey} is given twice.")
        seen.add(public_key)
    return tuple(vkeys)
