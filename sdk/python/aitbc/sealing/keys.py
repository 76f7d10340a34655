"""The keys of sealed jobs: a miner's, signed by its identity, and the client's, with which it opens answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from aitbc._shape import MINER_ID, exact, text, utc_time
from aitbc.canonical import b64decode, b64encode, canonical_json, parse_json
from aitbc.dsse import open_envelope
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import miner_id as miner_id_of
from aitbc.sealing.suite import PUBLIC_KEY_SIZE, SECRET_SIZE, derive, key_id

PAYLOAD_TYPE: Final = "application/vnd.aitbc.encryption-key+json"
_FIELDS: Final = ("created_at", "expires_at", "key_id", "miner_id", "origin", "public_key")


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A miner's public key for sealed jobs. Times are RFC 3339 in UTC."""

    miner_id: str
    key_id: str
    public_key: bytes
    created_at: str
    expires_at: str
    origin: str

    def to_payload(self) -> bytes:
        """Return the bytes that the miner signs."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return canonical_json({**fields, "public_key": b64encode(self.public_key)})

    @classmethod
    def read(cls, envelope: object, identity_key: bytes) -> Self:
        """Return the key in an envelope that a miner's identity key signed. Raises `VerificationError`."""
        fields = exact(
            parse_json(open_envelope(envelope, identity_key, PAYLOAD_TYPE)), _FIELDS, "The encryption key"
        )
        key = cls(
            miner_id=text(fields["miner_id"], "The encryption key's miner_id", MINER_ID),
            key_id=text(fields["key_id"], "The encryption key's key_id"),
            public_key=b64decode(text(fields["public_key"], "The encryption key's public_key")),
            created_at=utc_time(fields["created_at"], "The encryption key's created_at"),
            expires_at=utc_time(fields["expires_at"], "The encryption key's expires_at"),
            origin=text(fields["origin"], "The encryption key's origin"),
        )
        # The id is what requests name, so it must not stand for two keys.
        if len(key.public_key) != PUBLIC_KEY_SIZE or key.key_id != key_id(key.public_key):
            raise FormatError("The encryption key's key_id is not the digest of its public key.")
        if key.miner_id != miner_id_of(identity_key):
            raise VerificationError("The encryption key names another miner than the one that signed it.")
        return key

    def expired(self, now: float) -> bool:
        """Return whether the key must no longer be used at `now`, in seconds since the epoch."""
        return datetime.fromisoformat(self.expires_at) <= datetime.fromtimestamp(now, UTC)


def read_answer(answer: Mapping[str, Any], miner_id: str, now: float) -> EncryptionKey:
    """Return the key in an answer of `GET /v1/miners/{miner_id}/encryption-key`. Raises `VerificationError`.

    Nothing in the answer is trusted: the miner's id follows from its identity key, which signs the encryption key.
    """
    identity = b64decode(text(answer.get("identity_key"), "The answer's identity_key"))
    if len(identity) != PUBLIC_KEY_SIZE or miner_id_of(identity) != miner_id:
        raise VerificationError(
            f"The coordinator returned the key of another miner than {miner_id}. Do not use it."
        )
    key = EncryptionKey.read(answer.get("envelope"), identity)
    if key.expired(now):
        raise VerificationError(f"The encryption key of {miner_id} expired at {key.expires_at}.")
    return key


class ReplyKey:
    """The client's key pair. Who has it can open the answers to all requests that were sealed with it."""

    def __init__(self, private_key: bytes | None = None) -> None:
        """Use a private key of 32 bytes, or make a new one."""
        self._private = (
            X25519PrivateKey.generate()
            if private_key is None
            else X25519PrivateKey.from_private_bytes(private_key)
        )

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    @property
    def private(self) -> X25519PrivateKey:
        """The private key."""
        return self._private

    def private_bytes(self) -> bytes:
        """Return the private key, 32 bytes, to store it."""
        return self._private.private_bytes_raw()

    def request_secret(self, request_id: bytes) -> bytes:
        """Return the secret of the request with this id, which only this key's holder can compute."""
        # An exchange with itself: so the secret follows from the stored key and the request's id, and needs no storage of its own.
        shared = self._private.exchange(X25519PublicKey.from_public_bytes(self.public))
        return derive(shared, "request secret", salt=request_id, size=SECRET_SIZE)


def new_request_id() -> bytes:
    """Return a new id for a request, 16 bytes."""
    return os.urandom(16)
