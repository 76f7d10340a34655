"""What a webhook says, and when it is tried again (Standard Webhooks 1.0.0)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from agent.core.jobs import Job, JobState
from agent.core.values.quantities import format_time

JITTER: Final = 0.2
"""By how much a pause may be longer than planned, so that what failed together is not tried again together."""
LONGEST_PAUSE: Final = 86_400.0
GONE: Final = 410


class DeliveryState(StrEnum):
    """Where a message is. `GONE`: its receiver answered 410 and wants no more."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"


def webhook_id(job_id: str) -> str:
    """The id of the message about a job's end: the same however often it is sent."""
    return f"msg_{job_id.removeprefix('job_')}"


def event_type(state: JobState) -> str:
    """What a message about a job in this state is called."""
    return f"job.{state.value}"


def lane(account_id: str, url: str) -> str:
    """What is sent one after the other, up to a few at a time: an account's messages to one host."""
    parts = urlsplit(url)
    return f"{account_id} {parts.scheme}://{parts.netloc}"


def message(life: Job, service_id: str, now: float) -> str:
    """The body of the message about a job's end. Thin: who wants results asks for them, with a key."""
    data: dict[str, Any] = {"job_id": life.job_id, "status": life.state.value, "service_id": service_id}
    if life.state is JobState.FAILED and life.failure is not None:
        data["error"] = {"code": life.failure.code}
    body = {"type": event_type(life.state), "timestamp": format_time(now), "data": data}
    return json.dumps(body, separators=(",", ":"))


def state_after(status: int | None) -> DeliveryState:
    """What an answer's status makes of a message; None stands for no answer."""
    if status is not None and 200 <= status < 300:  # noqa: PLR2004 - the statuses of success
        return DeliveryState.DELIVERED
    return DeliveryState.GONE if status == GONE else DeliveryState.PENDING


def next_attempt(
    attempts: int, delays: Sequence[float], now: float, jitter: float, asked: float | None
) -> float | None:
    """When to try again after so many attempts, None if that was the last one.

    `jitter` is a random number from 0 to 1, `asked` the pause that the receiver asked for, in seconds.
    """
    if attempts > len(delays):
        return None
    pause = delays[attempts - 1] * (1 + JITTER * jitter)
    return now + max(pause, min(asked or 0.0, LONGEST_PAUSE))


def asked_pause(retry_after: str | None, now: float) -> float | None:
    """The seconds of a `Retry-After` header (RFC 9110, 10.2.3), None without one that can be read."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
