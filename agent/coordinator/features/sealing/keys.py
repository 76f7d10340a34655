"""Miners' keys for sealed jobs: published as the miners signed them, and required to be valid when a job is sealed to one."""

from __future__ import annotations

from typing import Any, NamedTuple

from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import miners
from agent.coordinator.store.miners import MinerRecord
from agent.core.errors import NotFound, ValidationFailed
from agent.protocol.messages import Capabilities
from aitbc.answers.sealing import EncryptionKeyAnswer
from aitbc.canonical import b64encode
from aitbc.errors import VerificationError
from aitbc.sealing import EncryptionKey


class UsableKey(NamedTuple):
    """A valid key, the envelope that its miner signed, and the attestation of its machine."""

    key: EncryptionKey
    envelope: dict[str, Any]
    attestation: dict[str, Any] | None


def usable(context: Context, record: MinerRecord) -> list[UsableKey]:
    """Return a miner's keys that its identity key signed for this log and that have not expired, the newest first."""
    keys = []
    for published in Capabilities.model_validate_json(record.capabilities).encryption_keys:
        try:
            key = EncryptionKey.read(published.envelope, record.public_key)
        except VerificationError:
            continue  # it is the miner's fault, and no client would accept it
        # A key for another coordinator, or one that has expired, would be refused by the miner.
        if key.origin == context.signer.origin and not key.expired(context.clock()):
            keys.append(UsableKey(key, published.envelope, published.attestation))
    return sorted(keys, key=lambda item: item.key.created_at, reverse=True)


async def newest(context: Context, miner_id: str) -> EncryptionKeyAnswer:
    """Return the key to seal jobs to. Raises `NotFound` if the miner is unknown or accepts no sealed jobs."""
    record = await context.database.read(miners.find, miner_id)
    if record is None:
        raise NotFound(f"There is no miner {miner_id}.", {"miner_id": miner_id})
    keys = usable(context, record)
    if not keys:
        raise NotFound(
            f"The miner {miner_id} accepts no sealed jobs: it publishes no valid encryption key. Choose another miner.",
            {"miner_id": miner_id},
        )
    key, envelope, attestation = keys[0]
    return EncryptionKeyAnswer(
        miner_id=miner_id,
        key_id=key.key_id,
        public_key=b64encode(key.public_key),
        created_at=key.created_at,
        expires_at=key.expires_at,
        identity_key=b64encode(record.public_key),
        envelope=envelope,
        attestation=attestation,
    )


def require(connection: Connection, context: Context, miner_id: str, key_id: str) -> None:
    """Raise `ValidationFailed` unless the miner can still open what was sealed to its key."""
    record = miners.find(connection, miner_id)
    if record is None:
        return  # the job's miner is checked elsewhere
    # Otherwise, the miner could not read the job and would fail it.
    if key_id in {item.key.key_id for item in usable(context, record)}:
        return
    address = f"GET /v1/miners/{miner_id}/encryption-key"
    raise ValidationFailed(
        "The request is sealed to a key that its miner does not have, or no longer has.",
        {"sealed.key_id": f"fetch the key again ({address}), seal the request to it, and submit it again"},
    )
