"""The answer about the coordinator's health."""

from __future__ import annotations

from typing import Literal

from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.record import Record


class Health(Record):
    """The health of the coordinator. `oldest_client` is the oldest minor version of client libraries that it serves; `checked_at` is when the database was last known to answer, or not to; `log_key` verifies receipts."""

    model_config = example(
        {
            "status": "ok",
            "version": "1.0.0",
            "oldest_client": "0.2",
            "environment": "production",
            "timestamp": "2024-01-01T12:00:00Z",
            "services": {"database": "healthy", "blockchain": "healthy", "marketplace": "healthy"},
            "checked_at": "2024-01-01T11:59:57Z",
            "log_key": "log.example.org+3f1c9a02+AQ==",
        }
    )

    needs = ("status", "version")

    status: Literal["ok", "degraded"]
    version: str
    oldest_client: str
    environment: str
    timestamp: fields.Time
    services: dict[str, Literal["healthy", "unhealthy"]]
    checked_at: fields.Time
    log_key: str
