"""The content of webhooks, and the times of their attempts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.coordinator.features.webhooks.rules import (
    LONGEST_PAUSE,
    DeliveryState,
    lane,
    message,
    next_attempt,
    requested_pause,
    state_after,
    webhook_id,
)
from agent.core.jobs import Failure, Job, JobState

DELAYS = (5.0, 300.0, 1800.0)


def test_pauses_grow_and_the_last_attempt_has_none() -> None:
    assert [next_attempt(tried, DELAYS, 100.0, 0.0, None) for tried in (1, 2, 3, 4)] == [105, 400, 1900, None]
    assert next_attempt(1, DELAYS, 100.0, 1.0, None) == 106
    assert next_attempt(1, (), 100.0, 0.5, None) is None


@given(st.integers(1, 3), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_a_requested_pause_never_shortens_the_planned_one_and_is_capped_at_a_day(
    tried: int, jitter: float, requested: float | None
) -> None:
    again = next_attempt(tried, DELAYS, 0.0, jitter, requested)
    assert again is not None
    assert DELAYS[tried - 1] <= again <= LONGEST_PAUSE
    if requested is not None:
        assert again >= min(requested, LONGEST_PAUSE)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("Thu, 01 Jan 1970 00:17:20 GMT", 40),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:17:20 -0000", 40),
        ("soon", None),
        ("-5", None),
        ("\u0663", None),
        ("9" * 5000, 999_999_999),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert requested_pause(header, now=1000.0) == seconds


@pytest.mark.parametrize(
    ("status", "state"),
    [(200, "delivered"), (204, "delivered"), (299, "delivered"), (410, "gone")]
    + [(status, "pending") for status in (100, 199, 300, 302, 400, 404, 429, 500, None)],
)
def test_only_a_2xx_status_delivers_a_message(status: int | None, state: str) -> None:
    assert state_after(status) is DeliveryState(state)


def test_a_failure_is_reported_by_its_code_alone() -> None:
    failed = Job("job_1", JobState.FAILED, 60, 3, failure=Failure("INPUT_BAD", "the file's content"))
    assert json.loads(message(failed, "llm_inference", {}, 0.0)) == {
        "type": "job.failed",
        "timestamp": "1970-01-01T00:00:00.000Z",
        "data": {
            "job_id": "job_1",
            "status": "failed",
            "service_id": "llm_inference",
            "error": {"code": "INPUT_BAD"},
        },
    }
    assert webhook_id("job_1") == "msg_1"


def test_a_lane_contains_one_accounts_messages_to_one_host() -> None:
    assert lane("account_1", "https://a.example/x?y") == lane("account_1", "https://a.example/z")
    lanes = {
        lane(account, url)
        for account in ("account_1", "account_2")
        for url in (
            "https://a.example/",
            "https://b.example/",
            "https://a.example:8443/",
            "http://a.example/",
        )
    }
    assert len(lanes) == 8
