"""`/v1/admin/trail`: what administrators have done, for administrators."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.features.trail import store
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Admin, Before, ContextOf, Limit
from agent.core.values.quantities import format_time
from aitbc.answers.trail import TrailEntry, TrailPage

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/admin/trail", tags=["Administration"])


@router.get("", operation_id="admin_trail", summary="What administrators have done")
async def trail(context: ContextOf, _: Admin, limit: Limit = 50, before: Before = None) -> TrailPage:
    """Returns the calls of administrators that changed something, newest first: who credited whom, created keys, removed miners.

    Nobody can change or delete an entry through the API.
    """
    records = await context.database.read(
        lambda connection: store.page(connection, limit=limit + 1, before_id=before)
    )
    entries = records[:limit]
    return TrailPage(
        entries=[
            TrailEntry(
                entry_id=record.entry_id,
                at=format_time(record.at),
                key_id=record.key_id,
                key_name=record.key_name,
                action=record.action,
                method=record.method,
                path=record.path,
                details=dict(record.details),
            )
            for record in entries
        ],
        next=entries[-1].entry_id if len(records) > limit else None,
    )
