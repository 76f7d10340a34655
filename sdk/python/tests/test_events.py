"""Following a job to its end, over connections that break. Both clients run every test, over real HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import Response

import aitbc
from aitbc import Job, JobEvent, errors
from aitbc._http.sse import EventReader

from .conftest import Calls
from .support.stand_in import CUT, HOLD, error

KEEP_ALIVE = b": still here\n\n"


def event(name: str, **data: Any) -> bytes:
    body = json.dumps({"job_id": "job_1", **data})
    return f"event: {name}\ndata: {body}\n\n".encode()


def update(status: str, **data: Any) -> bytes:
    return event("job_update", status=status, **data)


def token(text: str, **more: Any) -> bytes:
    return event("job_event", kind="token", text=text, **more)


RUNNING = update("running", progress=0, started_at="2026-11-24T15:00:00Z")
COMPLETED = update("completed", progress=100, started_at="2026-11-24T15:00:00Z")


def shown(events: list[JobEvent]) -> list[str]:
    return [event.job.status if event.job else event.data["text"] for event in events]


def test_events_of_a_job_until_it_ends(calls, coordinator) -> None:
    segment = event("job_event", kind="segment", text="Hello.", start=0.5)
    coordinator.streams.append([update("submitted"), KEEP_ALIVE, RUNNING + segment, COMPLETED, HOLD])
    events = calls.items(lambda client: client.jobs.events("job_1"))
    assert [event.kind for event in events] == ["job_update", "job_update", "segment", "job_update"]
    assert isinstance(events[0].data, Job)
    assert events[1].job.status == events[1].data["status"] == "running"
    assert (events[2].job, dict(events[2].data)) == (
        None,
        {"job_id": "job_1", "kind": "segment", "text": "Hello.", "start": 0.5},
    )
    assert coordinator.seen[0][2]["accept"] == "text/event-stream"
    assert coordinator.left.wait(120)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_following_ends_with_a_failed_or_cancelled_job(calls, coordinator, end: str) -> None:
    coordinator.streams.append([update(end), HOLD])
    assert shown(calls.items(lambda client: client.jobs.events("job_1"))) == [end]


@pytest.mark.parametrize("how", [[CUT], []], ids=["cut", "ended"])
def test_a_broken_connection_is_replaced(calls, coordinator, no_pauses, how: list[bytes]) -> None:
    """A connection may break, or end normally as when the coordinator restarts."""
    coordinator.streams.append([update("submitted"), *how])
    coordinator.streams.append([RUNNING, token("a"), b"event: job_upd", *how])
    coordinator.streams.append([RUNNING, COMPLETED])
    events = calls.items(lambda client: client.jobs.events("job_1"))
    assert shown(events) == ["submitted", "running", "a", "running", "completed"]
    assert len(no_pauses) == 2


def numbered(number: int, piece: bytes) -> bytes:
    return b"id: %d\n%s" % (number, piece)


def test_a_new_connection_resumes_after_the_last_event(calls, coordinator, no_pauses) -> None:
    coordinator.streams.append([numbered(5, RUNNING), numbered(6, token("a")), CUT])
    coordinator.streams.append([numbered(7, token("b")), token("c"), CUT])
    coordinator.streams.append([numbered(8, COMPLETED)])
    events = calls.items(lambda client: client.jobs.events("job_1", after=4))
    assert [event.seq for event in events] == [5, 6, 7, None, 8]
    assert [headers.get("last-event-id") for _, _, headers in coordinator.seen] == ["4", "6", "7"]


def test_a_gap_is_reported(calls, coordinator) -> None:
    coordinator.streams.append([RUNNING, numbered(5, event("resync", reason="slow")), COMPLETED])
    events = calls.items(lambda client: client.jobs.events("job_1"))
    assert [(event.kind, event.seq) for event in events][1] == ("resync", 5)


def test_reconnections_are_limited(calls, coordinator, no_pauses) -> None:
    coordinator.streams.extend([[RUNNING, CUT], *([CUT] for _ in range(10))])
    with pytest.raises(aitbc.TransportError, match="GET /v1/jobs/job_1/events"):
        calls.items(lambda client: client.jobs.events("job_1"))
    assert len(coordinator.seen) == 5


def test_each_event_resets_the_count_of_retries(calls, coordinator, no_pauses) -> None:
    """A connection that delivers events may break any number of times."""
    coordinator.streams.extend([RUNNING, CUT] for _ in range(10))
    coordinator.streams.append([COMPLETED])
    assert len(calls.items(lambda client: client.jobs.events("job_1"))) == 11


def test_a_busy_coordinator_is_retried(calls, coordinator, no_pauses) -> None:
    coordinator.faults.append(error(503, "SERVICE_UNAVAILABLE", "Restarting.", **{"Retry-After": "3"}))
    coordinator.streams.append([COMPLETED])
    assert shown(calls.items(lambda client: client.jobs.events("job_1"))) == ["completed"]
    assert no_pauses == [3.0]


def test_an_unknown_job_is_an_error(calls, coordinator) -> None:
    coordinator.faults.append(error(404, "JOB_NOT_FOUND", "There is no such job."))
    with pytest.raises(errors.JobNotFound):
        calls.items(lambda client: client.jobs.events("job_1"))


def test_leaving_the_loop_closes_the_connection(calls, coordinator) -> None:
    coordinator.streams.append([update("submitted"), RUNNING, HOLD])
    assert len(calls.items(lambda client: client.jobs.events("job_1"), most=1)) == 1
    assert coordinator.left.wait(120)


@pytest.mark.parametrize(
    "pieces", [[RUNNING, HOLD], [RUNNING, CUT], [HOLD]], ids=["silent", "broken", "nothing"]
)
def test_following_ends_after_its_timeout(calls, coordinator, pieces: list[bytes]) -> None:
    coordinator.streams.extend(pieces for _ in range(50))
    with pytest.raises(TimeoutError, match="job_1 did not end within"):
        calls.items(lambda client: client.jobs.events("job_1", timeout=0.2))


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_silent_connection_is_replaced(kind, base_url, coordinator, no_pauses, monkeypatch) -> None:
    """A coordinator sends something at least every 15 seconds."""
    monkeypatch.setattr("aitbc._http.events._KEEP_ALIVE", 0.2)
    coordinator.streams.extend([[RUNNING, HOLD], [COMPLETED]])
    calls = Calls(kind, base_url, timeout=0.3)
    assert shown(calls.items(lambda client: client.jobs.events("job_1"))) == ["running", "completed"]
    calls.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [event("job_update", status=3)],
        [b"event: job_update\ndata: {\n\n"],
        [b"event: job_update\ndata: \xff\n\n"],
        [b"data: " + b"x" * 2**19] * 3,
        [b"data: " + b"x" * 2**19 + b"\n"] * 3,
    ],
    ids=["no job", "no JSON", "no UTF-8", "too long", "too many lines"],
)
def test_foreign_events_are_an_error(calls, coordinator, pieces: list[bytes]) -> None:
    coordinator.streams.append([*pieces, HOLD])
    with pytest.raises(aitbc.TransportError):
        calls.items(lambda client: client.jobs.events("job_1"))
    assert len(coordinator.seen) == 1


def test_a_web_page_is_not_an_event_stream(calls, coordinator) -> None:
    coordinator.faults.append(Response("<html>", media_type="text/html"))
    with pytest.raises(aitbc.TransportError, match="not an event stream"):
        calls.items(lambda client: client.jobs.events("job_1"))


def test_unknown_events_are_ignored(calls, coordinator) -> None:
    coordinator.streams.append([event("weather", sun=1), event("job_event", text="no kind"), COMPLETED])
    assert shown(calls.items(lambda client: client.jobs.events("job_1"))) == ["completed"]


def test_events_are_parsed_from_any_pieces() -> None:
    """Byte by byte, with CR LF, comments, other fields, and several lines of data with any characters."""
    stream = b": comment\n\nid: 1\r\nevent: a\r\ndata: 1\r\ndata:2\r\n\r\n\ndata: \xc3\xa9\xe2\x80\xa8\n\nevent: b\n\ndata\n\n"
    expected = [("a", "1\n2", "1"), ("message", "\xe9\u2028", ""), ("message", "", "")]
    assert EventReader().feed(stream) == expected
    reader = EventReader()
    assert [event for byte in stream for event in reader.feed(bytes([byte]))] == expected


def written(calls: Calls, coordinator, text: str = "Paris is it.") -> tuple[list[str], Any]:
    """Return the pieces of a text, and their stream."""
    coordinator.results = {"text": text, "finish_reason": "stop"}
    messages = [{"role": "user", "content": "Name the capital of France."}]
    stream = calls(lambda client: client.services.stream(messages=messages, model="m", temperature=0))
    assert coordinator.bodies == [{"messages": messages, "model": "m", "temperature": 0}]
    assert (stream.job.job_id, stream.results) == ("job_1", None)
    try:
        return calls.items(lambda _: stream), stream
    except aitbc.AITBCError as error:
        return [type(error).__name__], stream


def test_text_is_streamed(calls, coordinator) -> None:
    coordinator.streams.append([RUNNING, token("Paris"), token(" is"), token(" it."), COMPLETED])
    pieces, stream = written(calls, coordinator)
    assert pieces == ["Paris", " is", " it."]
    assert stream.results.results == {"text": "Paris is it.", "finish_reason": "stop"}


def test_missed_text_follows_at_the_end(calls, coordinator, no_pauses) -> None:
    """After a connection that could not resume, pieces may be missing, so the rest follows with the results."""
    coordinator.streams.append([RUNNING, token("Paris"), CUT])
    coordinator.streams.append([RUNNING, token("it"), token("."), COMPLETED])
    assert written(calls, coordinator)[0] == ["Paris", " is it."]


def test_text_continues_after_a_broken_connection(calls, coordinator, no_pauses) -> None:
    """The new connection resumes after the last event, so nothing is missing."""
    coordinator.streams.append([numbered(1, RUNNING), numbered(2, token("Paris")), CUT])
    coordinator.streams.append(
        [numbered(3, token(" is")), numbered(4, token(" it.")), numbered(5, COMPLETED)]
    )
    assert written(calls, coordinator)[0] == ["Paris", " is", " it."]


def test_text_after_a_gap_follows_at_the_end(calls, coordinator) -> None:
    gap = event("resync", reason="slow")
    coordinator.streams.append([RUNNING, token("Paris"), gap, token("it"), token("."), COMPLETED])
    assert written(calls, coordinator)[0] == ["Paris", " is it."]


@pytest.mark.parametrize(
    ("before", "shown_then"), [([], ["Paris is it."]), ([token("Paris", offset=0)], ["Paris", " is it."])]
)
def test_a_missing_piece_is_detected(calls, coordinator, before, shown_then: list[str]) -> None:
    """It may be the first piece, published before the client subscribed."""
    coordinator.streams.append([RUNNING, *before, token("it", offset=9), token(".", offset=11), COMPLETED])
    assert written(calls, coordinator)[0] == shown_then


def test_text_of_a_finished_job(calls, coordinator) -> None:
    coordinator.streams.append([COMPLETED])
    assert written(calls, coordinator)[0] == ["Paris is it."]


@pytest.mark.parametrize(
    "again", [[update("submitted")], [update("running", started_at="2026-11-24T15:07:00Z")]]
)
def test_text_that_another_miner_generates_again(calls, coordinator, again: list[bytes]) -> None:
    coordinator.streams.append([RUNNING, token("Paris"), *again, token("Paris"), token(" is it."), COMPLETED])
    assert written(calls, coordinator)[0] == ["Paris", " is it."]


def test_text_that_differs_from_the_results_is_an_error(calls, coordinator) -> None:
    """The stream never ends normally with a wrong text."""
    coordinator.streams.append([RUNNING, token(" is"), COMPLETED])
    outcome, stream = written(calls, coordinator)
    assert outcome == ["TransportError"]
    assert stream.results.results["text"] == "Paris is it."


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_text_of_a_failed_job_is_an_error(calls, coordinator, status: str) -> None:
    coordinator.streams.append([RUNNING, token("Paris"), update(status)])
    assert written(calls, coordinator)[0] == ["JobFailed"]


def test_closing_a_text_closes_the_connection(calls, coordinator) -> None:
    coordinator.streams.append([RUNNING, token("Paris"), HOLD])
    stream = calls(lambda client: client.services.stream("Hello"))
    assert calls.items(lambda _: stream, most=1) == ["Paris"]
    if calls.kind == "blocking":
        assert not coordinator.left.is_set()
        with stream:
            pass
    assert coordinator.left.wait(120)
