"""Answers about sealed jobs (docs/reference/sealed-jobs.md)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.record import Record


class EncryptionKeyAnswer(Record):
    """A miner's newest key for sealed jobs. Only `envelope`, which the miner's identity key signs, is proof; the rest are copies."""

    needs = ("envelope", "identity_key")

    miner_id: fields.MinerId
    key_id: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015"])
    public_key: str = Field(description="X25519, base64", examples=["base64_public_key"])
    created_at: fields.Time
    expires_at: fields.Time
    identity_key: str = Field(
        description="The miner's Ed25519 key, from which its id derives, base64",
        examples=["base64_identity_key"],
    )
    envelope: dict[str, Any] = Field(
        description="DSSE, of the type `application/vnd.aitbc.encryption-key+json`",
        examples=[
            {
                "payloadType": "application/vnd.aitbc.encryption-key+json",
                "payload": "base64_key",
                "signatures": [{"keyid": "", "sig": "base64_signature"}],
            }
        ],
    )
    attestation: dict[str, Any] | None = Field(
        description="What the machine attests about itself and this key; null: nothing", examples=[None]
    )
