"""The log's signing key: made once, kept at mode 0600, named by its origin."""

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
    """The key at `path`, made if there is none. Raises `ConfigurationError` if others can read it, or for a bad origin."""
    key = SigningKey(load_secret(path))
    if origin is None:
        origin = f"aitbc.local/{sha256_hex(bytes(key.verify_key))[:16]}"
    if _ORIGIN.fullmatch(origin) is None:
        raise ConfigurationError(
            "coordinator.origin: use a name without spaces and without +, like log.example.org."
        )
    return LogSigner(origin, key)


def load_witnesses(vkeys: Sequence[str]) -> tuple[str, ...]:
    """The witnesses' public keys. Raises `ConfigurationError` for one that is malformed or named twice."""
    seen = set()
    for vkey in vkeys:
        try:
            _, public_key = parse_vkey(vkey, COSIGNATURE_TYPE)
        except FormatError as error:
            raise ConfigurationError(f"coordinator.witnesses: {error}") from None
        if public_key in seen:
            raise ConfigurationError(f"coordinator.witnesses: the key of {vkey} is named twice.")
        seen.add(public_key)
    return tuple(vkeys)
