"""What clients ask about webhooks: what their messages are signed with, and what has come of them."""

from __future__ import annotations

from typing import Any

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import jobs
from agent.coordinator.store import webhooks as store
from agent.coordinator.store.webhooks import Delivery, Secret
from agent.coordinator.webhook_sender import make_secret
from agent.core.errors import Conflict
from agent.core.values.quantities import format_time

View = dict[str, Any]


async def secret(context: Context, caller: Caller) -> View:
    """The secret that the caller's messages are signed with; made when it is first asked for."""
    now = context.clock()
    found = await context.database.write(store.secret_of, _account(caller), make_secret(), now)
    return _secret_view(found, now)


async def rotate_secret(context: Context, caller: Caller) -> View:
    """A new secret; the old one is used beside it for a day."""
    now = context.clock()
    until = now + context.settings.webhooks.secret_overlap_seconds
    made = await context.database.write(store.rotate_secret, _account(caller), make_secret(), now, until)
    return _secret_view(made, now)


def _account(caller: Caller) -> str:
    if caller.account_id is None:
        raise Conflict("Webhooks belong to an account; use a client's key.")
    return caller.account_id


def _secret_view(found: Secret, now: float) -> View:
    view: View = {"secret": found.secret, "created_at": format_time(found.created_at)}
    if found.previous_until is not None and found.previous_until > now:
        view["previous_valid_until"] = format_time(found.previous_until)
    return view


async def of_job(context: Context, caller: Caller, job_id: str) -> View:
    """The messages about a job and what has come of them. Raises `JobNotFound`, also for somebody else's."""
    await jobs.get(context, caller, job_id)
    return {"webhooks": [_view(item) for item in await context.database.read(store.of_job, job_id)]}


def _view(item: Delivery) -> View:
    view: View = {
        "webhook_id": item.webhook_id,
        "type": item.type,
        "url": item.url,
        "status": item.state,
        "attempts": item.attempts,
        "created_at": format_time(item.created_at),
    }
    times = {
        "last_attempt_at": item.last_attempt_at,
        "next_attempt_at": item.next_attempt_at,
        "finished_at": item.finished_at,
    }
    view |= {name: format_time(moment) for name, moment in times.items() if moment is not None}
    if item.last_status is not None:
        view["last_status_code"] = item.last_status
    if item.last_error is not None:
        view["last_error"] = item.last_error
    return view
