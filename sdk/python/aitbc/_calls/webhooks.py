"""The flows of `client.webhooks`: the secret that signs messages about jobs, and their delivery."""

from __future__ import annotations

from aitbc._http.flow import Flow, Session, fetch, post_json, query, segment
from aitbc.answers.webhooks import WebhookList, WebhookSecret


def secret(session: Session, /) -> Flow[WebhookSecret]:
    """Return the secret that signs the account's webhooks, for any library of Standard Webhooks. The first call creates it."""
    return query(session, "/v1/webhooks/secret", WebhookSecret)


def rotate_secret(session: Session, /) -> Flow[WebhookSecret]:
    """Create a new secret. Until `previous_valid_until`, the previous one signs webhooks too."""
    return fetch(session, post_json("/v1/webhooks/secret/rotate", {}), WebhookSecret)


def of_job(session: Session, /, job_id: str) -> Flow[WebhookList]:
    """Return the messages about a job and their delivery. The list is empty until the job has ended."""
    return query(session, f"/v1/jobs/{segment(job_id)}/webhooks", WebhookList)
