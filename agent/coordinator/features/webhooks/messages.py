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
from agent.coordinator.features.webhooks.store import Delivery
from agent.coordinator.store.database import Connection
from agent.coordinator.store.jobs import JobRecord
from agent.core.market.ledger import Settlement


def jobs_changed(
    connection: Connection, changes: Sequence[Change], _: Mapping[str, Settlement], now: float
) -> None:
    """Store the messages about jobs that have ended."""
    finished = {item.life.job_id: item for item in changes if item.finished}
    urls = store.urls_of(connection, list(finished))
    described = hooks.describe_jobs(connection, list(urls))
    for job_id, url in urls.items():
        record, life = finished[job_id].before, finished[job_id].life
        body = message(life, record.service, described[job_id].get("labels", {}), now)
        delivery = _delivery(record, url, webhook_id(job_id), event_type(life.state), body, now)
        store.enqueue(connection, delivery, record.created_at)


def job_waits(connection: Connection, record: JobRecord, codes: Sequence[str], now: float) -> None:
    """Store the message that a job waits, with the codes of the reasons."""
    job_id = record.job_id
    url = store.urls_of(connection, (job_id,)).get(job_id)
    if url is None:
        return
    labels = hooks.describe_jobs(connection, (job_id,))[job_id].get("labels", {})
    body = waiting_message(job_id, record.service, labels, codes, now)
    delivery = _delivery(record, url, waiting_id(job_id), WAITING, body, now)
    store.enqueue(connection, delivery, record.created_at)


def _delivery(record: JobRecord, url: str, message_id: str, kind: str, body: str, now: float) -> Delivery:
    return Delivery(
        webhook_id=message_id,
        job_id=record.job_id,
        account_id=record.account_id,
        url=url,
        lane=lane(record.account_id, url),
        type=kind,
        body=body,
        created_at=now,
    )
