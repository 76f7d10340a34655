"""The primitives of sealed jobs: HPKE, key derivation, AES-GCM and padded JSON. docs/reference/sealed-jobs.md fixes the bytes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from aitbc.canonical import parse_json
from aitbc.errors import FormatError, VerificationError

VERSION: Final = 1
PUBLIC_KEY_SIZE: Final = 32
SECRET_SIZE: Final = 32
MEDIA_TYPE: Final = "application/vnd.aitbc.sealed"
"""Of the artifacts that hold sealed files."""

HPKE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)
LABEL: Final = "aitbc.net/sealed/v1 "
_KEY_SIZE: Final = 16
_SALT_SIZE: Final = 32
_ZERO: Final = bytes(12)
_PADDING: Final = 256


def key_id(public_key: bytes) -> str:
    """Return the id of an X25519 public key: the hex of the first 16 bytes of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:32]


def derive(secret: bytes, label: str, *, salt: bytes = b"", size: int = _KEY_SIZE) -> bytes:
    """Return a key of `size` bytes that follows from a secret."""
    # A key for each purpose, so that no nonce is ever used twice with the same key.
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=(LABEL + label).encode()).derive(secret)


def salted(secret: bytes, label: str, plaintext: bytes) -> str:
    """Return the hex of a statement's salted digest. `secret` is the request's."""
    return salted_digest(secret, label, plaintext).hexdigest()


def salted_digest(secret: bytes, label: str, beginning: bytes = b"") -> hmac.HMAC:
    """Return a salted digest to which the rest of a plaintext can be added."""
    return hmac.new(derive(secret, f"salt:{label}", size=_SALT_SIZE), beginning, hashlib.sha256)


def hpke_seal(public_key: bytes, info: bytes, message: bytes) -> bytes:
    """Return `enc || ct` for the holder of the private key. Raises `FormatError` for a key that is none."""
    try:
        return HPKE.encrypt(message, X25519PublicKey.from_public_bytes(public_key), info=info)
    except ValueError as error:
        raise FormatError("A public key is not a valid X25519 key.") from error


def hpke_open(private_key: X25519PrivateKey, info: bytes, sealed: bytes) -> bytes:
    """Return the message of `hpke_seal`. Raises `VerificationError` if anything differs from what was sealed."""
    try:
        return HPKE.decrypt(sealed, private_key, info=info)
    except (InvalidTag, ValueError) as error:
        raise VerificationError("A capsule does not open: it was made for another key or job.") from error


def encrypt(key: bytes, plaintext: bytes, nonce: bytes = _ZERO) -> bytes:
    """Return AES-128-GCM of `plaintext`, with the tag at its end."""
    # The fixed nonce is safe for keys that encrypt a single text; events and files number theirs.
    return AESGCM(key).encrypt(nonce, plaintext, None)


def decrypt(key: bytes, ciphertext: bytes, nonce: bytes = _ZERO) -> bytes:
    """Return the plaintext. Raises `VerificationError` if a bit differs."""
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, None)
    except (InvalidTag, ValueError) as error:
        raise VerificationError(
            "A sealed part does not open: it was changed, or belongs elsewhere."
        ) from error


def padded(value: Any) -> bytes:
    """Return JSON with spaces up to a multiple of 256 bytes, so that its length says little about its content."""
    text = orjson.dumps(value)
    return text + b" " * (-len(text) % _PADDING)


def unpadded(plaintext: bytes) -> Mapping[str, Any]:
    """Return the object that padded JSON holds. Raises `FormatError`."""
    # JSON ends with a bracket, so spaces at the end are only padding.
    value = parse_json(plaintext.rstrip(b" "))
    if not isinstance(value, Mapping):
        raise FormatError("A sealed part is not a JSON object.")
    return value
