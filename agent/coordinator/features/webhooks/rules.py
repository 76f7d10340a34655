"""The content of webhooks and the times of their attempts (Standard Webhooks 1.0.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from agent.core.jobs import Job, JobState
from agent.core.values.quantities import format_time

JITTER: Final = 0.2
"""Maximum share by which a pause is lengthened at random, so that messages that failed together are not retried together."""
LONGEST_PAUSE: Final = 86_400.0
HTTP_GONE: Final = 410


class DeliveryState(StrEnum):
    """The state of a message. `GONE`: the receiver answered 410 and unsubscribed."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"


def webhook_id(job_id: str) -> str:
    """Return the id of the message about a job's end, which is the same for every attempt."""
    return f"msg_{job_id.removeprefix('job_')}"


def waiting_id(job_id: str) -> str:
    """Return the id of the notice that a job waits."""
    return f"{webhook_id(job_id)}_waiting"


def event_type(state: JobState) -> str:
    """Return the type of a message about a job in this state."""
    return f"job.{state.value}"


WAITING: Final = "job.waiting"
"""The type of the notice that a job waits for long."""


def lane(account_id: str, url: str) -> str:
    """Return the lane of a message: an account's messages to one host, of which only a few are sent at a time."""
    parts = urlsplit(url)
    return f"{account_id} {parts.scheme}://{parts.netloc}"


def message(life: Job, service_id: str, labels: Mapping[str, str], now: float) -> str:
    """Return the body of the message about a job's end. It contains no results; receivers fetch them with a key."""
    data: dict[str, Any] = {"job_id": life.job_id, "status": life.state.value, "service_id": service_id}
    if labels:
        data["labels"] = dict(labels)
    if life.state is JobState.FAILED and life.failure is not None:
        # The code only: messages may quote the client's input, and receivers can fetch them with a key.
        data["error"] = {"code": life.failure.code}
    body = {"type": event_type(life.state), "timestamp": format_time(now), "data": data}
    return json.dumps(body, separators=(",", ":"))


def waiting_message(
    job_id: str, service_id: str, labels: Mapping[str, str], codes: Sequence[str], now: float
) -> str:
    """Return the body of the notice that a job waits, with the reasons' codes."""
    data = {
        "job_id": job_id,
        "status": JobState.SUBMITTED.value,
        "service_id": service_id,
        **({"labels": dict(labels)} if labels else {}),
        "reasons": list(codes),
    }
    body = {"type": WAITING, "timestamp": format_time(now), "data": data}
    return json.dumps(body, separators=(",", ":"))


def state_after(status: int | None) -> DeliveryState:
    """Return a message's state after an answer with this status, or after no answer (None)."""
    if status is not None and 200 <= status < 300:  # noqa: PLR2004 - the statuses of success
        return DeliveryState.DELIVERED
    return DeliveryState.GONE if status == HTTP_GONE else DeliveryState.PENDING


def next_attempt(
    attempts: int, delays: Sequence[float], now: float, jitter: float, requested: float | None
) -> float | None:
    """Return the time of the next attempt after `attempts` of them, or None if that was the last one.

    `jitter` is a random number from 0 to 1, and `requested` the pause in seconds that the receiver requested.
    """
    if attempts > len(delays):
        return None
    pause = delays[attempts - 1] * (1 + JITTER * jitter)
    # A receiver may ask for a longer pause, but neither for a shorter one nor for one without end.
    return now + max(pause, min(requested or 0.0, LONGEST_PAUSE))


def requested_pause(retry_after: str | None, now: float) -> float | None:
    """Return the seconds of a `Retry-After` header (RFC 9110, 10.2.3), or None if it is absent or unreadable."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdecimal():
        # Enough digits for thirty years; more could overflow.
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
