"""`/v1/admin/miners/{miner_id}`: exclusion and removal of miners, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from agent.coordinator.features.exclusion import exclusion
from agent.coordinator.features.exclusion.answers import Removal
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Admin, ContextOf, RequestBody
from agent.coordinator.routes._declare import errors
from agent.core.errors import NotFound
from aitbc.answers import fields
from aitbc.answers.miners import Exclusion, Inclusion

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/admin/miners", tags=["Administration"])


class ExclusionRequest(RequestBody):
    """The reason for an exclusion, which the miner's owner sees."""

    reason: Annotated[str, Field(max_length=200, examples=["It returns results that were not computed."])] = (
        ""
    )


@router.post(
    "/{miner_id}/exclude",
    operation_id="admin_exclude_miner",
    responses=errors(NotFound),
    summary="Exclude a miner",
)
async def exclude_miner(
    context: ContextOf, _: Admin, miner_id: fields.MinerId, request: ExclusionRequest | None = None
) -> Exclusion:
    """Its session ends immediately, its running jobs go to other miners, and it can no longer register."""
    reason = request.reason if request is not None else ""
    return await exclusion.exclude(context, miner_id, reason)


@router.post(
    "/{miner_id}/include",
    operation_id="admin_include_miner",
    responses=errors(NotFound),
    summary="Readmit a miner",
)
async def include_miner(context: ContextOf, _: Admin, miner_id: fields.MinerId) -> Inclusion:
    """The miner can register again, which it attempts every few minutes."""
    return await exclusion.include(context, miner_id)


@router.delete(
    "/{miner_id}", operation_id="admin_remove_miner", responses=errors(NotFound), summary="Remove a miner"
)
async def remove_miner(context: ContextOf, _: Admin, miner_id: fields.MinerId) -> Removal:
    """Its session ends immediately, its running jobs go to other miners, and its offers end. Receipts, statistics and earnings stay.

    The miner can join again with an enrolment token. To keep it out, exclude it.
    """
    return await exclusion.remove(context, miner_id)
