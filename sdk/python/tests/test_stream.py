"""The stream of all events, over connections that break. Both clients run every test, over real WebSockets."""

from __future__ import annotations

from typing import Any

import pytest

import aitbc
from aitbc import StreamEvent, errors

from .conftest import Calls
from .support.stand_in import HOLD, error

BEGUN = {"type": "subscribed", "data": {"types": ["job_update"], "job_ids": None, "after": 10}}


def update(seq: int, status: str = "running", kind: str = "job_update") -> dict[str, Any]:
    return {"type": kind, "data": {"job_id": "job_1", "status": status}, "seq": seq}


def heartbeat(after: int) -> dict[str, Any]:
    return {"type": "heartbeat", "data": {"after": after}}


def refusal(code: str, status: int) -> dict[str, Any]:
    body = {"code": code, "message": "No.", "details": {}, "request_id": "req_1"}
    return {"type": "error", "status": status, "error": body}


def numbers(events: list[StreamEvent]) -> list[int]:
    return [event.seq for event in events]


def test_events_arrive_as_they_happen(calls, coordinator) -> None:
    """The key is sent with the connection, and the filters with the first message; events before the confirmation are ignored."""
    coordinator.sockets.append([update(9), BEGUN, update(11), heartbeat(12), update(13, "completed"), HOLD])
    filters = {"types": ["job_update"], "job_ids": ("job_1",), "after": 10}
    events = calls.items(lambda client: client.events(**filters), most=2)
    assert events == [
        StreamEvent("job_update", {"job_id": "job_1", "status": "running"}, 11),
        StreamEvent("job_update", {"job_id": "job_1", "status": "completed"}, 13),
    ]
    assert coordinator.bodies == [
        {"type": "subscribe", "types": ["job_update"], "job_ids": ["job_1"], "after": 10}
    ]
    assert coordinator.seen[0][2]["authorization"] == "Bearer key_1"
    assert coordinator.left.wait(120)


def test_a_broken_connection_resumes_where_it_ended(calls, coordinator, no_pauses) -> None:
    """It resumes after the last event, or after the newest position in a heartbeat."""
    coordinator.sockets.extend(
        [
            [BEGUN],
            [BEGUN, update(11), update(12)],
            [BEGUN, heartbeat(20)],
            [BEGUN, update(21), HOLD],
        ]
    )
    assert numbers(calls.items(lambda client: client.events(), most=3)) == [11, 12, 21]
    assert [body.get("after") for body in coordinator.bodies] == [None, 10, 12, 20]
    assert len(no_pauses) == 3


def test_reconnections_are_limited(calls, coordinator, no_pauses) -> None:
    coordinator.sockets.extend([BEGUN] for _ in range(10))
    with pytest.raises(aitbc.TransportError):
        calls.items(lambda client: client.events(after=10))
    assert len(coordinator.seen) == 5


def test_a_gap_is_reported(calls, coordinator) -> None:
    gap = {"type": "resync", "data": {"reason": "pruned"}, "seq": 20}
    coordinator.sockets.append([BEGUN, gap, update(21), HOLD])
    events = calls.items(lambda client: client.events(after=1), most=2)
    assert [(event.type, event.seq) for event in events] == [("resync", 20), ("job_update", 21)]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("UNAUTHORIZED", 401, errors.Unauthorized),
        ("VALIDATION_ERROR", 422, errors.ValidationFailed),
    ],
)
def test_a_refusal_is_an_error(calls, coordinator, code: str, status: int, kind: type[Exception]) -> None:
    """It is not retried. It may also come later, such as when a key is revoked."""
    for pieces in ([refusal(code, status)], [BEGUN, update(11), refusal(code, status)]):
        coordinator.sockets.append(pieces)
        with pytest.raises(kind):
            calls.items(lambda client: client.events())
    assert len(coordinator.seen) == 2


def test_a_busy_coordinator_is_retried(calls, coordinator, no_pauses) -> None:
    coordinator.faults.append(error(503, "SERVICE_UNAVAILABLE", "Restarting.", **{"Retry-After": "3"}))
    coordinator.sockets.append([refusal("RATE_LIMIT_EXCEEDED", 429)])
    coordinator.sockets.append([BEGUN, update(11), HOLD])
    assert numbers(calls.items(lambda client: client.events(), most=1)) == [11]
    assert no_pauses[0] == 3.0


def test_a_coordinator_without_the_stream_is_an_error(calls, coordinator) -> None:
    coordinator.faults.append(error(404, "NOT_FOUND", "There is nothing at /v1/ws."))
    with pytest.raises(errors.NotFound):
        calls.items(lambda client: client.events())


@pytest.mark.parametrize("pieces", [[BEGUN, HOLD], [BEGUN, update(11), HOLD], [HOLD], [BEGUN]])
def test_listening_ends_after_its_timeout(calls, coordinator, pieces: list[Any]) -> None:
    coordinator.sockets.extend(pieces for _ in range(50))
    with pytest.raises(TimeoutError, match="time limit of"):
        calls.items(lambda client: client.events(timeout=0.3))


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_silent_connection_is_replaced(kind, base_url, coordinator, no_pauses, monkeypatch) -> None:
    monkeypatch.setattr("aitbc._http.stream._HEARTBEAT", 0.2)
    coordinator.sockets.extend([[BEGUN, HOLD], [BEGUN, update(11), HOLD]])
    calls = Calls(kind, base_url, timeout=0.3)
    assert numbers(calls.items(lambda client: client.events(), most=1)) == [11]
    calls.close()


@pytest.mark.parametrize(
    "piece", ["{", "5", "{}", '{"type": "job_update", "data": {}, "seq": "x"}', '{"type": "subscribed"}']
)
def test_a_foreign_message_is_an_error(calls, coordinator, piece: str) -> None:
    coordinator.sockets.append([BEGUN, piece, HOLD])
    with pytest.raises(aitbc.TransportError, match="form of a coordinator"):
        calls.items(lambda client: client.events())
    assert len(coordinator.seen) == 1
