"""Sealed requests: what a client sends in place of a job's parameters, and how a miner opens the capsule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from aitbc.canonical import b64decode, b64encode, canonical_json
from aitbc.errors import FormatError
from aitbc.sealing.keys import EncryptionKey, ReplyKey, new_request_id
from aitbc.sealing.suite import (
    PUBLIC_KEY_SIZE,
    SECRET_SIZE,
    VERSION,
    derive,
    encrypt,
    hpke_open,
    hpke_seal,
    padded,
)

REQUEST_TYPE: Final = "https://aitbc.bubuit.net/sealed-request/v1"


@dataclass(frozen=True, slots=True)
class SealedInput:
    """A sealed input file: its field's dotted path, the artifact with the ciphertext, and what it is. `size` is the plaintext's."""

    field: str
    artifact_id: str
    size: int
    media_type: str
    name: str

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the sealed list of files."""
        return {name: getattr(self, name) for name in ("field", "artifact_id", "size", "media_type", "name")}


class RequestSealer:
    """Seals one request to a miner's key: first its files, then its parameters.

    `service` is the service's id; `model` and `adapters` are names in the catalogue, which stay in clear.
    """

    def __init__(
        self,
        key: EncryptionKey,
        reply_key: ReplyKey,
        *,
        service: str,
        model: str | None = None,
        adapters: Sequence[str] = (),
        request_id: bytes | None = None,
    ) -> None:
        self._key = key
        self._reply_key = reply_key
        self._id = request_id or new_request_id()
        self._fields = {
            "version": VERSION,
            "key_id": key.key_id,
            "request_id": self._id.hex(),
            "reply_key": b64encode(reply_key.public),
            "model": model,
            "adapters": list(adapters),
        }
        self._service = service
        self.secret = reply_key.request_secret(self._id)

    def file_key(self, number: int) -> bytes:
        """Return the key of input file `number`, counted from 0."""
        return derive(self.secret, f"input:{number}")

    def seal(self, parameters: Mapping[str, Any], files: Sequence[SealedInput] = ()) -> dict[str, Any]:
        """Return the field `sealed` of the job's body. `parameters` are the service's whole input."""
        # All that is in clear and matters is bound to the capsule, so the coordinator cannot change it unnoticed.
        info = request_info(self._fields, miner_id=self._key.miner_id, service=self._service)
        content = padded({"parameters": parameters, "files": [file.to_json() for file in files]})
        return {
            **self._fields,
            "capsule": b64encode(hpke_seal(self._key.public_key, info, self.secret)),
            "ciphertext": b64encode(encrypt(derive(self.secret, "request"), content)),
            # In clear too: the coordinator must know which files the job needs, and keep them.
            "files": [f"artifact:{file.artifact_id}" for file in files],
        }


def request_info(sealed: Mapping[str, Any], *, miner_id: str, service: str) -> bytes:
    """Return what a request's capsule is bound to."""
    return canonical_json(
        {
            "type": REQUEST_TYPE,
            "miner_id": miner_id,
            "service": service,
            **{name: sealed[name] for name in ("adapters", "key_id", "model", "reply_key", "request_id")},
        }
    )


def open_request(
    private_key: X25519PrivateKey, sealed: Mapping[str, Any], *, miner_id: str, service: str
) -> bytes:
    """Return the secret of a request that was sealed to this key. Raises `VerificationError`."""
    try:
        info = request_info(sealed, miner_id=miner_id, service=service)
        secret = hpke_open(private_key, info, b64decode(sealed["capsule"]))
        reply_key, version = b64decode(sealed["reply_key"]), sealed["version"]
    except (KeyError, TypeError) as error:
        raise FormatError("The sealed request lacks a field.") from error
    if len(secret) != SECRET_SIZE or len(reply_key) != PUBLIC_KEY_SIZE or version != VERSION:
        raise FormatError("The sealed request is not of a version that this program knows.")
    return secret
