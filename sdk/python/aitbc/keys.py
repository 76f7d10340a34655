"""Public keys: a miner's id, the vkeys of logs and witnesses, and the payload that a miner signs to register."""

from __future__ import annotations

import base64
import hashlib
import re

from aitbc.canonical import b64decode, b64encode, canonical_json
from aitbc.dsse import PUBLIC_KEY_SIZE
from aitbc.errors import FormatError

ED25519_TYPE = b"\x01"
"""The signature type of a log's Ed25519 key in C2SP signed notes."""
COSIGNATURE_TYPE = b"\x04"
"""The signature type of a witness's Ed25519 key: timestamped cosignatures (https://c2sp.org/tlog-cosignature)."""

_MINER_ID_CHARACTERS = 26
_ORIGIN = re.compile(r"[^\s+\x00-\x1f\x7f\ud800-\udfff]{1,255}")
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_VKEY_PARTS = 3
_KIND_WORDS = {
    ED25519_TYPE: "it signs notes, as logs do (type 1)",
    COSIGNATURE_TYPE: "it cosigns checkpoints, as witnesses do (type 4)",
}


def miner_id(public_key: bytes) -> str:
    """Return `miner_` and the first 26 characters of the lower-case base32 of the key's SHA-256."""
    _check_size(public_key)
    # Base32 has no characters that shells, URLs or file names treat in a special way. 26 of them are 130 bits.
    digest = base64.b32encode(hashlib.sha256(public_key).digest()).decode("ascii").lower()
    return f"miner_{digest[:_MINER_ID_CHARACTERS]}"


def key_id(name: str, public_key: bytes, kind: bytes = ED25519_TYPE) -> bytes:
    """Return the four bytes that identify an Ed25519 key called `name` in a signed note."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public_key).digest()[:4]


def format_vkey(origin: str, public_key: bytes, kind: bytes = ED25519_TYPE) -> str:
    """Return a public key as a C2SP vkey: `origin+<8 hex of key id>+<base64 of kind || public key>`.

    `kind` is `ED25519_TYPE` for a log's key, whose name is the log's origin, and `COSIGNATURE_TYPE` for a witness's key.
    Source: https://c2sp.org/signed-note. Raises `FormatError` for an origin with white space or a plus sign.
    """
    _check_size(public_key)
    if _ORIGIN.fullmatch(origin) is None:
        raise FormatError("An origin has 1 to 255 characters without white space and plus signs.")
    return f"{origin}+{key_id(origin, public_key, kind).hex()}+{b64encode(kind + public_key)}"


def parse_vkey(text: str, kind: bytes = ED25519_TYPE) -> tuple[str, bytes]:
    """Return the name (a log's origin) and the public key (32 bytes) of a vkey.

    Raises `FormatError`, also if the key id does not match, or for a key of another `kind`.
    """
    role = "log" if kind == ED25519_TYPE else "witness"
    # Base64 may contain plus signs too, so only the first two separate.
    parts = text.split("+", _VKEY_PARTS - 1)
    if len(parts) != _VKEY_PARTS:
        raise FormatError(f"A {role} key has the form name+keyid+base64.")
    name, identifier, encoded = parts
    if _ORIGIN.fullmatch(name) is None or _KEY_ID.fullmatch(identifier) is None:
        raise FormatError(f"The {role} key's name or key id is malformed.")
    data = b64decode(encoded)
    if len(data) != 1 + PUBLIC_KEY_SIZE or data[:1] not in {ED25519_TYPE, COSIGNATURE_TYPE}:
        raise FormatError(f"The {role} key is not an Ed25519 key.")
    # A witness's key in place of a log's is a common mistake, which deserves its own message.
    if data[:1] != kind:
        raise FormatError(f"{name} is not the key of a {role}: {_KIND_WORDS[data[:1]]}.")
    public_key = data[1:]
    # The id is short and only finds a key among others; what it protects from are typing errors.
    if key_id(name, public_key, kind).hex() != identifier:
        raise FormatError(
            f"The {role} key's id does not agree with its name and key: it was changed or mistyped."
        )
    return name, public_key


def registration_payload(nonce: str, origin: str, public_key: bytes) -> bytes:
    """Return the payload that a miner signs to register. It names the coordinator, so it cannot be relayed to another one."""
    _check_size(public_key)
    return canonical_json({"nonce": nonce, "origin": origin, "public_key": b64encode(public_key)})


def login_payload(nonce: str, log_key: str, public_key: bytes) -> bytes:
    """Return the payload that a miner signs for a link to the dashboard. It names the key of the coordinator's log, so it is of use to no other one."""
    _check_size(public_key)
    return canonical_json({"log_key": log_key, "nonce": nonce, "public_key": b64encode(public_key)})


def _check_size(public_key: bytes) -> None:
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise FormatError("An Ed25519 public key has 32 bytes.")
