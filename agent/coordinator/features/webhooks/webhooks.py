"""Clients' webhooks: the secrets that sign them, and their delivery."""

from __future__ import annotations

from agent.coordinator.features.webhooks import store
from agent.coordinator.features.webhooks.sender import make_secret
from agent.coordinator.features.webhooks.settings import WebhookSettings
from agent.coordinator.features.webhooks.store import Secret, StoredDelivery
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import own_jobs
from agent.core.values.quantities import format_optional_time, format_time
from agent.sections import section_of
from aitbc.answers.webhooks import WebhookDelivery, WebhookList, WebhookSecret


async def secret(context: Context, caller: Caller) -> WebhookSecret:
    """Return the secret that signs the caller's webhooks, which the first call creates. Raises `Conflict`."""
    now = context.clock()
    current = await context.database.write(store.secret_of, caller.account_of("Webhooks"), make_secret(), now)
    return _secret(current, now)


async def rotate_secret(context: Context, caller: Caller) -> WebhookSecret:
    """Create a new secret. For a day the previous one signs webhooks too. Raises `Conflict`."""
    now = context.clock()
    until = now + section_of(context.settings, WebhookSettings).secret_overlap_seconds
    replacement = await context.database.write(
        store.rotate_secret, caller.account_of("Webhooks"), make_secret(), now, until
    )
    return _secret(replacement, now)


def _secret(current: Secret, now: float) -> WebhookSecret:
    until = current.previous_until
    return WebhookSecret(
        secret=current.secret,
        created_at=format_time(current.created_at),
        previous_valid_until=format_time(until) if until is not None and until > now else None,
    )


async def of_job(context: Context, caller: Caller, job_id: str) -> WebhookList:
    """Return the webhooks of a job and their delivery. Raises `JobNotFound`, also for another account's job."""
    await own_jobs.find(context, caller, job_id)
    return WebhookList(
        webhooks=[_delivery(item) for item in await context.database.read(store.of_job, job_id)]
    )


def _delivery(item: StoredDelivery) -> WebhookDelivery:
    return WebhookDelivery(
        webhook_id=item.webhook_id,
        type=item.type,
        url=item.url,
        status=item.state,
        attempts=item.attempts,
        created_at=format_time(item.created_at),
        last_attempt_at=format_optional_time(item.last_attempt_at),
        next_attempt_at=format_optional_time(item.next_attempt_at),
        finished_at=format_optional_time(item.finished_at),
        last_status_code=item.last_status,
        last_error=item.last_error,
    )
