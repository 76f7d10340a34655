"""The messages that a job's changes owe to its webhook. They are stored in the transaction of the change, so none is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.coordinator import hooks
from agent.coordinator.consequences import Change
from agent.coordinator.features.webhooks import store
from agent.coordinator.features.webhooks.rules import (
    WAITING,
    event_type,
    lane,
    message,
    waiting_id,
    waiting_message,
    webhook_id,
)
from agent.coordinator.features.webhooks.store import StoredDelivery
from agent.coordinator.hooks import View
from agent.coordinator.store.database import Connection
from agent.coordinator.store.jobs import JobRecord
from agent.core.market.ledger import JobSettlement


def jobs_changed(
    connection: Connection, changes: Sequence[Change], _: Mapping[str, JobSettlement], now: float
) -> None:
    """Store the messages about jobs that have ended, or wait."""
    due = {change.life.job_id: change for change in changes if change.finished or change.waits_for}
    urls = store.urls_of(connection, list(due))
    # Labels belong to another feature, which is asked for all jobs at once.
    described = hooks.describe_jobs(connection, [due[job_id].before for job_id in urls], View.STATUS)
    for job_id, url in urls.items():
        change, labels = due[job_id], described[job_id].get("labels", {})
        record, life = change.before, change.life
        # One id for each message, so that a receiver recognises a repetition.
        if change.finished:
            body = message(life, record.service, labels, now)
            delivery = _delivery(record, url, webhook_id(job_id), event_type(life.state), body, now)
        else:
            body = waiting_message(job_id, record.service, labels, change.waits_for, now)
            delivery = _delivery(record, url, waiting_id(job_id), WAITING, body, now)
        store.enqueue(connection, delivery, record.created_at)


def _delivery(
    record: JobRecord, url: str, message_id: str, kind: str, body: str, now: float
) -> StoredDelivery:
    return StoredDelivery(
        webhook_id=message_id,
        job_id=record.job_id,
        account_id=record.account_id,
        url=url,
        lane=lane(record.account_id, url),
        type=kind,
        body=body,
        created_at=now,
    )
