"""The witnesses whose cosignatures of checkpoints are accepted."""

from __future__ import annotations

from collections.abc import Sequence

from agent.core.errors import ConfigurationError
from aitbc.errors import FormatError
from aitbc.keys import COSIGNATURE_TYPE, parse_vkey


def load_witnesses(vkeys: Sequence[str]) -> tuple[str, ...]:
    """Return the witnesses' public keys. Raises `ConfigurationError` for a malformed or repeated key."""
    names = set()
    for vkey in vkeys:
        try:
            _, public_key = parse_vkey(vkey, COSIGNATURE_TYPE)
        except FormatError as error:
            raise ConfigurationError(f"coordinator.witnesses: {error}") from None
        # Two names with one key would count as two witnesses.
        if public_key in names:
            raise ConfigurationError(f"coordinator.witnesses: the key of {vkey} is given twice.")
        names.add(public_key)
    return tuple(vkeys)
