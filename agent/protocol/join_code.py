"""The code with which a machine joins a coordinator: its address, its log key and an enrolment token, in one line to paste or to type.

The code is `AITBC`, the number of its form, and base32 text without padding. In form 1 its bytes are: flags (1: the address is HTTPS; 2: the
log has a name of its own), when the token expires (4 bytes, seconds since the epoch), the log's Ed25519 key (32), the token's secret (24), the log's name
after its length, if it has one of its own, the address without its scheme, and the first 4 bytes of the SHA-256 of `AITBC1` and all these.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from agent.core.errors import ConfigurationError
from aitbc.errors import FormatError
from aitbc.keys import format_vkey, parse_vkey

TOKEN_PREFIX: Final = "enrol_"  # noqa: S105 - what tokens begin with
_MARK: Final = "AITBC"
_FORM: Final = "1"
_HTTPS: Final = 1
_NAMED: Final = 2
_FLAGS: Final = _HTTPS | _NAMED
_TIME, _KEY, _SECRET, _CHECKSUM = 4, 32, 24, 4
_FIXED: Final = 1 + _TIME + _KEY + _SECRET
_MOST_CHARACTERS: Final = 2000
_MISREAD: Final = str.maketrans("018", "OIB")
"""Digits that base32 does not have, and the letters that they were before somebody typed them."""


class InvalidJoinCode(ConfigurationError):
    """The text is no join code, or a mistyped one. The message says what to do."""


@dataclass(frozen=True, slots=True)
class JoinCode:
    """What a code carries. `log_key` is a vkey, `expires_at` in seconds since the epoch."""

    url: str
    log_key: str
    enrolment_token: str = field(repr=False)
    expires_at: float

    def __str__(self) -> str:
        """Return the code, in capitals and digits, for which QR codes have a short form."""
        origin, public_key = parse_vkey(self.log_key)
        scheme, _, address = self.url.rstrip("/").partition("://")
        named = origin != default_origin(public_key)
        name = origin.encode()
        content = b"".join(
            (
                bytes([(_HTTPS if scheme == "https" else 0) | (_NAMED if named else 0)]),
                int(self.expires_at).to_bytes(_TIME),
                public_key,
                base64.urlsafe_b64decode(self.enrolment_token.removeprefix(TOKEN_PREFIX)),
                bytes([len(name)]) + name if named else b"",
                address.encode(),
            )
        )
        text = base64.b32encode(content + _checksum(content)).decode().rstrip("=")
        return f"{_MARK}{_FORM}{text}"


def parse_join_code(text: str) -> JoinCode:
    """Return what a code carries, however its letters and spaces are written. Raises `InvalidJoinCode`."""
    code = re.sub(r"[\s-]", "", text)
    if code.startswith(TOKEN_PREFIX):
        raise InvalidJoinCode(
            "This is an enrolment token, not a join code. Use it with the coordinator's address: "
            "aitbc-agent start --coordinator URL --enroll TOKEN"
        )
    code = code.upper()
    if not code.startswith(_MARK):
        raise InvalidJoinCode(
            f"This is no join code: one begins with {_MARK}{_FORM}. On the coordinator's machine, `aitbc-agent enroll` creates one."
        )
    form, encoded = code[len(_MARK) : len(_MARK) + 1], code[len(_MARK) + 1 :]
    if form != _FORM:
        raise InvalidJoinCode(f"This agent does not know join codes of the form {_MARK}{form}. Update it.")
    content = _decoded(encoded)
    try:
        return _read(content)
    except (ValueError, FormatError):
        # Its checksum agrees, so no typing mistake is the reason.
        raise InvalidJoinCode("This join code has a content that no coordinator writes.") from None


def _decoded(encoded: str) -> bytes:
    """Return the bytes of a code without their checksum. Raises `InvalidJoinCode`."""
    # What is longer than any code is cut, and so mistyped.
    letters = encoded[:_MOST_CHARACTERS].translate(_MISREAD)
    try:
        decoded = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except (ValueError, binascii.Error):
        decoded = b""
    content, checksum = decoded[:-_CHECKSUM], decoded[-_CHECKSUM:]
    if len(content) <= _FIXED or _checksum(content) != checksum:
        raise InvalidJoinCode(
            f"This join code is mistyped or incomplete ({len(encoded) + len(_MARK) + 1} characters). Copy it again, as a whole."
        )
    return content


def _read(content: bytes) -> JoinCode:
    flags, rest = content[0], content[1:]
    if flags & ~_FLAGS:
        raise ValueError(flags)
    expires_at, rest = int.from_bytes(rest[:_TIME]), rest[_TIME:]
    public_key, rest = rest[:_KEY], rest[_KEY:]
    secret, rest = rest[:_SECRET], rest[_SECRET:]
    if flags & _NAMED:
        length = rest[0]
        origin, rest = rest[1 : 1 + length].decode(), rest[1 + length :]
    else:
        origin = default_origin(public_key)
    scheme = "https" if flags & _HTTPS else "http"
    address = rest.decode()
    # Only what an address may contain: the code may come from anybody.
    if re.fullmatch(r"[A-Za-z0-9.\-_~:\[\]%/]+", address) is None:
        raise ValueError(address)
    return JoinCode(
        url=f"{scheme}://{address}",
        log_key=format_vkey(origin, public_key),
        enrolment_token=TOKEN_PREFIX + base64.urlsafe_b64encode(secret).decode(),
        expires_at=expires_at,
    )


def default_origin(public_key: bytes) -> str:
    """Return the name of a log whose operator has given it none."""
    return f"aitbc.local/{hashlib.sha256(public_key).hexdigest()[:16]}"


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(f"{_MARK}{_FORM}".encode() + content).digest()[:_CHECKSUM]
