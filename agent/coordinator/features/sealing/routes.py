"""`/v1/miners/{miner_id}/encryption-key`: the key to which clients seal jobs."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.features.sealing import keys
from agent.coordinator.routes._callers import AnyCaller, ContextOf
from agent.coordinator.routes._declare import errors
from agent.core.errors import NotFound
from aitbc.answers import fields
from aitbc.answers.sealing import EncryptionKeyAnswer

router = APIRouter(prefix="/v1/miners", tags=["Miners"])


@router.get(
    "/{miner_id}/encryption-key",
    operation_id="encryption_keys_encryption_key",
    responses=errors(NotFound),
    summary="A miner's key for sealed jobs",
)
async def encryption_key(context: ContextOf, _: AnyCaller, miner_id: fields.MinerId) -> EncryptionKeyAnswer:
    """Returns the newest key to which jobs can be sealed. Check the envelope before you use it (docs/reference/sealed-jobs.md)."""
    return await keys.newest(context, miner_id)
