"""How public keys are named and written: a miner's id, a log's vkey, and what a miner signs to register."""

from __future__ import annotations

import base64
import hashlib
import re

from aitbc.canonical import b64decode, b64encode, canonical_json
from aitbc.dsse import PUBLIC_KEY_SIZE
from aitbc.errors import FormatError

ED25519_TYPE = b"\x01"
"""The signature type of Ed25519 in C2SP signed notes."""

_MINER_ID_CHARACTERS = 26
_ORIGIN = re.compile(r"[^\s+\x00-\x1f\x7f\ud800-\udfff]{1,255}")
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_VKEY_PARTS = 3


def miner_id(public_key: bytes) -> str:
    """`miner_` and the first 26 characters of the lower-case base32 of the key's SHA-256."""
    _check_size(public_key)
    digest = base64.b32encode(hashlib.sha256(public_key).digest()).decode("ascii").lower()
    return f"miner_{digest[:_MINER_ID_CHARACTERS]}"


def key_id(origin: str, public_key: bytes) -> bytes:
    """The four bytes that name an Ed25519 key in a signed note of `origin`."""
    return hashlib.sha256(origin.encode() + b"\n" + ED25519_TYPE + public_key).digest()[:4]


def format_vkey(origin: str, public_key: bytes) -> str:
    """A log's public key as C2SP vkey: `origin+<8 hex of key id>+<base64 of 0x01 || public key>`.

    Source: https://c2sp.org/signed-note. Raises `FormatError` for an origin with white space or a plus sign.
    """
    _check_size(public_key)
    if _ORIGIN.fullmatch(origin) is None:
        raise FormatError("An origin has 1 to 255 characters without white space and plus signs.")
    return f"{origin}+{key_id(origin, public_key).hex()}+{b64encode(ED25519_TYPE + public_key)}"


def parse_vkey(text: str) -> tuple[str, bytes]:
    """The origin and the public key (32 bytes) of a vkey. Raises `FormatError`, also when the key id does not agree."""
    parts = text.split("+", _VKEY_PARTS - 1)
    if len(parts) != _VKEY_PARTS:
        raise FormatError("A log key has the form origin+keyid+base64.")
    origin, identifier, encoded = parts
    if _ORIGIN.fullmatch(origin) is None or _KEY_ID.fullmatch(identifier) is None:
        raise FormatError("The log key's origin or key id is malformed.")
    data = b64decode(encoded)
    if len(data) != 1 + PUBLIC_KEY_SIZE or data[:1] != ED25519_TYPE:
        raise FormatError("The log key is not an Ed25519 key.")
    public_key = data[1:]
    if key_id(origin, public_key).hex() != identifier:
        raise FormatError(
            "The log key's id does not agree with its origin and key: it was changed or mistyped."
        )
    return origin, public_key


def registration_payload(nonce: str, origin: str, public_key: bytes) -> bytes:
    """What a miner signs to register, so that nobody can relay its answer to another coordinator."""
    _check_size(public_key)
    return canonical_json({"nonce": nonce, "origin": origin, "public_key": b64encode(public_key)})


def _check_size(public_key: bytes) -> None:
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise FormatError("An Ed25519 public key has 32 bytes.")
