"""`kill -9` of the coordinator while somebody listens."""

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

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

JOBS = 120
KILLS = 2
LIMIT_SECONDS = 60


def patient(coordinator: Agent) -> AITBCClient:
    """A client whose patience outlasts a restart."""
    return AITBCClient(coordinator.file["client_key"], coordinator.url, retries=10)


def submit_and_cancel(coordinator: Agent) -> None:
    with patient(coordinator) as client:
        for number in range(JOBS):
            body = {"type": "whisper-transcription", "parameters": WHISPER}
            job = client.jobs.create(body, idempotency_key=f"job-{number}")
            if number == JOBS - 1:
                client.jobs.cancel(job.job_id)


def listen(coordinator: Agent, heard: list[StreamEvent]) -> None:
    """Until the last job has been cancelled and paid back."""
    with patient(coordinator) as client:
        for event in client.events(after=0, timeout=LIMIT_SECONDS):
            heard.append(event)
            if event.data.get("status") == "refunded":
                return


def history(coordinator: Agent) -> list[StreamEvent]:
    database = sqlite3.connect(coordinator.data_dir / "coordinator" / "coordinator.db")
    rows = database.execute("SELECT type, data, seq FROM events WHERE type != 'mark' ORDER BY seq").fetchall()
    database.close()
    return [StreamEvent(kind, json.loads(data), seq << NUMBER_BITS) for kind, data, seq in rows]


def test_who_listens_misses_nothing_and_hears_nothing_twice(tmp_path: Path) -> None:
    """Not a change that was told was forgotten, and the SDK goes on by itself."""
    coordinator = Agent(tmp_path / "coordinator", "coordinator", "--port", "0")
    heard: list[StreamEvent] = []
    with running(coordinator):
        coordinator.options[-1] = str(
            coordinator.port
        )  # the same after a kill, as a real installation has it
        threads = [
            threading.Thread(target=listen, args=(coordinator, heard), daemon=True),
            threading.Thread(target=submit_and_cancel, args=(coordinator,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + LIMIT_SECONDS
        for kill in range(1, KILLS + 1):
            while len(heard) < kill * JOBS // (KILLS + 1):
                assert time.monotonic() < end
                time.sleep(0.005)
            coordinator.kill()
            coordinator.start()
        for thread in threads:
            thread.join(LIMIT_SECONDS)
            assert not thread.is_alive()
    # A credit of the local account, the jobs, and the end of the last.
    assert heard == history(coordinator)
    assert len([event for event in heard if event.data.get("status") == "submitted"]) == JOBS
