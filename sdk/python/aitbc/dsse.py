"""DSSE 1.0.2 envelopes with one Ed25519 signature, which covers the payload and its type.

Source: https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
"""

from __future__ import annotations

from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from aitbc._shape import exact, items
from aitbc.canonical import b64decode, b64encode
from aitbc.errors import FormatError, VerificationError

PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding: the bytes that a DSSE signature covers."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_detached(payload_type: str, payload: bytes, signing_key: SigningKey) -> str:
    """Return the base64 Ed25519 signature over the PAE of `payload`."""
    return b64encode(signing_key.sign(pae(payload_type, payload)).signature)


def verify_detached(payload_type: str, payload: bytes, signature_b64: str, public_key: bytes) -> bool:
    """Return whether `signature_b64` is the Ed25519 signature of `public_key` (32 bytes) over the PAE of `payload`.

    A malformed signature or key is invalid; it raises nothing.
    """
    try:
        signature = b64decode(signature_b64)
    except FormatError:
        return False
    return verify_bytes(pae(payload_type, payload), signature, public_key)


def verify_bytes(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Return whether `signature` (64 bytes) is the Ed25519 signature of `public_key` (32 bytes) over `message` itself."""
    # PyNaCl raises another error for these, which would look like a mistake of the program.
    if len(signature) != SIGNATURE_SIZE or len(public_key) != PUBLIC_KEY_SIZE:
        return False
    try:
        VerifyKey(public_key).verify(message, signature)
    except BadSignatureError:
        return False
    return True


def sign_envelope(payload_type: str, payload: bytes, signing_key: SigningKey) -> dict[str, Any]:
    """Return the DSSE envelope of `payload` with one signature. Its `keyid` is "" because verifiers know the key from elsewhere."""
    return {
        "payloadType": payload_type,
        "payload": b64encode(payload),
        "signatures": [{"keyid": "", "sig": sign_detached(payload_type, payload, signing_key)}],
    }


def read_envelope(envelope: object, payload_type: str) -> tuple[bytes, str]:
    """Return the payload and the base64 signature of an envelope, NOT verified.

    Raises `FormatError` for any other shape: missing or additional fields, another payload type, not exactly one signature, or a
    `keyid` other than "".
    """
    fields = exact(envelope, ("payload", "payloadType", "signatures"), "The envelope")
    if fields["payloadType"] != payload_type:
        raise FormatError(f"The envelope's payloadType is not {payload_type}.")
    signatures = items(fields["signatures"], "The envelope's signatures")
    if len(signatures) != 1:
        raise FormatError("The envelope does not have exactly one signature.")
    signature = exact(signatures[0], ("keyid", "sig"), "The envelope's signature")
    # It is not signed, so anybody could have changed it, and two envelopes of the same statement would differ.
    if signature["keyid"] != "":
        raise FormatError("The envelope's signature has a keyid.")
    payload, sig = fields["payload"], signature["sig"]
    if not isinstance(payload, str) or not isinstance(sig, str):
        raise FormatError("The envelope's payload or signature is not a string.")
    # Here and not only when verifying: the leaf of the log contains the signature as it is.
    if len(b64decode(sig)) != SIGNATURE_SIZE:
        raise FormatError("The envelope's signature does not have 64 bytes.")
    return b64decode(payload), sig


def open_envelope(envelope: object, public_key: bytes, payload_type: str) -> bytes:
    """Return the payload of an envelope that `public_key` (32 bytes) signed.

    Raises `FormatError` for a wrong shape or type (see `read_envelope`), and `VerificationError` for a wrong signature.
    """
    payload, signature = read_envelope(envelope, payload_type)
    if not verify_detached(payload_type, payload, signature, public_key):
        raise VerificationError("The envelope's signature does not verify under the given key.")
    return payload
