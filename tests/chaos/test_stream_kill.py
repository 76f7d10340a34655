"""`kill -9` of the coordinator during an event stream."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from agent.coordinator.feed.feed import NUMBER_BITS
from aitbc import AITBCClient, StreamEvent
from support.agents import Agent, running
from support.jobs import WHISPER
from support.servers.ports import reserved_port

pytestmark = pytest.mark.chaos

JOBS = 120
KILLS = 2
LIMIT_SECONDS = 180


def patient(coordinator: Agent) -> AITBCClient:
    """A client whose retries outlast a restart."""
    return AITBCClient(coordinator.file["client_key"], coordinator.url, retries=10)


def submit_and_cancel(coordinator: Agent) -> None:
    with patient(coordinator) as client:
        for number in range(JOBS):
            body = {"type": "whisper-transcription", "parameters": WHISPER}
            job = client.jobs.create(body, idempotency_key=f"job-{number}")
            if number == JOBS - 1:
                client.jobs.cancel(job.job_id)


def listen(coordinator: Agent, received: list[StreamEvent]) -> None:
    """Receive events until the last job is cancelled and refunded."""
    with patient(coordinator) as client:
        for event in client.events(after=0, timeout=LIMIT_SECONDS):
            received.append(event)
            if event.data.get("status") == "refunded":
                return


def history(coordinator: Agent) -> list[StreamEvent]:
    database = sqlite3.connect(coordinator.data_dir / "coordinator" / "coordinator.db")
    rows = database.execute("SELECT type, data, seq FROM events WHERE type != 'mark' ORDER BY seq").fetchall()
    database.close()
    return [StreamEvent(kind, json.loads(data), seq << NUMBER_BITS) for kind, data, seq in rows]


def test_a_subscriber_receives_every_event_exactly_once(tmp_path: Path) -> None:
    """No published event is lost, and the SDK resumes automatically."""
    received: list[StreamEvent] = []
    # The same port after a kill, as in a real installation.
    with (
        reserved_port() as port,
        running(coordinator := Agent(tmp_path / "coordinator", "coordinator", "--port", str(port))),
    ):
        threads = [
            threading.Thread(target=listen, args=(coordinator, received), daemon=True),
            threading.Thread(target=submit_and_cancel, args=(coordinator,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + LIMIT_SECONDS
        for kill in range(1, KILLS + 1):
            while len(received) < kill * JOBS // (KILLS + 1):
                assert time.monotonic() < end
                time.sleep(0.005)
            coordinator.kill()
            coordinator.start()
        for thread in threads:
            thread.join(LIMIT_SECONDS)
            assert not thread.is_alive()
    # The credit of the local account, the jobs, and the end of the last one.
    assert received == history(coordinator)
    assert len([event for event in received if event.data.get("status") == "submitted"]) == JOBS
