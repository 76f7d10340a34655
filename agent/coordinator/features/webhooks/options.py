"""The addresses to which clients want messages about their jobs, and the messages that a change of a job owes to them.

They are stored in the transaction of the change, so none is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import httpx

from agent.coordinator import hooks
from agent.coordinator.consequences import Change
from agent.coordinator.features.webhooks import store
from agent.coordinator.features.webhooks.fields import WebhookOptions
from agent.coordinator.features.webhooks.rules import (
    WAITING,
    event_type,
    lane,
    message,
    waiting_id,
    waiting_message,
    webhook_id,
)
from agent.coordinator.features.webhooks.settings import WebhookSettings
from agent.coordinator.features.webhooks.store import StoredDelivery
from agent.coordinator.hooks import CheckedRequest, JobFields, NewJob, View
from agent.coordinator.job_fields import fields_of
from agent.coordinator.operations.context import Connection
from agent.coordinator.operations.jobs.addresses import WORDS, parsed
from agent.coordinator.store.jobs import JobRecord
from agent.core.market.ledger import JobSettlement
from agent.core.values.addresses import AddressRefusal
from agent.sections import section_of

_WORDS: Final = {
    **WORDS,
    AddressRefusal.SCHEME: "use an address that begins with https://; "
    "on a coordinator of your own, the setting coordinator.webhooks.allow_http also allows http://",
    AddressRefusal.PRIVATE: "webhooks are not sent to private, loopback or link-local addresses; "
    "on a coordinator of your own, the setting coordinator.webhooks.allow_private allows them",
}
_HTTPS: Final = "use an address that begins with https://"


def check_request(request: CheckedRequest) -> None:
    """Report an address to which no message would be sent."""
    address = fields_of(request.options, WebhookOptions).webhook_url
    if address is None:
        return
    settings = section_of(request.settings, WebhookSettings)
    # Checked when the job is submitted, so that its client learns of a mistake at once instead of waiting for a message.
    url = parsed(address, allow_http=settings.allow_http, allow_private=settings.allow_private)
    if isinstance(url, AddressRefusal):
        request.errors["webhook_url"] = _WORDS.get(url, _HTTPS)


def jobs_submitted(connection: Connection, jobs: Sequence[NewJob], _: float) -> None:
    """Store the addresses of new jobs."""
    urls = {
        # The part after # is never sent to a server.
        job.record.job_id: str(httpx.URL(address).copy_with(fragment=None))
        for job in jobs
        if (address := fields_of(job.options, WebhookOptions).webhook_url) is not None
    }
    store.add_urls(connection, urls)


def describe_jobs(connection: Connection, records: Sequence[JobRecord], view: View) -> JobFields:
    """Return the addresses of jobs as options for other jobs."""
    if view is not View.OPTIONS:
        return {}
    job_ids = [record.job_id for record in records]
    return {job_id: {"webhook_url": url} for job_id, url in store.urls_of(connection, job_ids).items()}


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
