"""The messages that a job's changes owe to its webhook. They are stored in the transaction of the change, so none is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.coordinator.consequences import Change, labels_of
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
    for item in changes:
        record, life = item.before, item.life
        if not item.finished or record.webhook_url is None:
            continue
        body = message(life, record.service, labels_of(record), now)
        delivery = _delivery(record, webhook_id(life.job_id), event_type(life.state), body, now)
        store.enqueue(connection, delivery, record.created_at)


def job_waits(connection: Connection, record: JobRecord, codes: Sequence[str], now: float) -> None:
    """Store the message that a job waits, with the codes of the reasons."""
    if record.webhook_url is None:
        return
    body = waiting_message(record.job_id, record.service, labels_of(record), codes, now)
    delivery = _delivery(record, waiting_id(record.job_id), WAITING, body, now)
    store.enqueue(connection, delivery, record.created_at)


def _delivery(record: JobRecord, message_id: str, kind: str, body: str, now: float) -> Delivery:
    url = record.webhook_url or ""
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
