"""The addresses to which clients want messages about their jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from agent.coordinator.features.webhooks import store
from agent.coordinator.features.webhooks.settings import WebhookSettings
from agent.coordinator.hooks import Errors, NewJob, RequestedJob
from agent.coordinator.operations.context import Connection
from agent.coordinator.operations.jobs.addresses import WORDS, parsed
from agent.core.values.addresses import AddressRefusal
from agent.sections import section_of

_WORDS: Final = {
    **WORDS,
    AddressRefusal.PRIVATE: "webhooks are not sent to private, loopback or link-local addresses",
}


def check_options(request: RequestedJob, errors: Errors) -> None:
    """Report an address to which no message would be sent."""
    address = request.options.webhook_url
    if address is None:
        return
    settings = section_of(request.settings, WebhookSettings)
    url = parsed(address, allow_http=settings.allow_http, allow_private=settings.allow_private)
    if isinstance(url, AddressRefusal):
        errors["webhook_url"] = _WORDS.get(url, "use an address that begins with https://")


def jobs_submitted(connection: Connection, jobs: Sequence[NewJob], _: float) -> None:
    """Store the addresses of new jobs."""
    urls = {
        job.record.job_id: str(httpx.URL(job.options.webhook_url).copy_with(fragment=None))
        for job in jobs
        if job.options.webhook_url is not None
    }
    store.add_urls(connection, urls)


def options_of(connection: Connection, job_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return the addresses of jobs as options for other jobs."""
    return {job_id: {"webhook_url": url} for job_id, url in store.urls_of(connection, job_ids).items()}
