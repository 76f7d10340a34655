"""When a replica scans for unfinished jobs, and how much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agent.coordinator.features.replicas.feature import FEATURE
from agent.coordinator.features.replicas.store import unfinished
from agent.coordinator.features.replicas.store.unfinished import SHARE, Unfinished, UnfinishedJobs


class Database:
    """A database whose whole scans take `seconds`, and which answers with `older` jobs, or None: too many."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.older: tuple[str, ...] | None = ()
        self.time = 1000.0
        self.wall = 1000.0
        self.scans: list[str] = []

    async def read(self, _: Any, since: str, known: Unfinished | None) -> Unfinished | None:
        self.scans.append("whole" if known is None else "changes")
        self.time += self.seconds if known is None else 0.0
        return None if self.older is None else Unfinished(self.older, since)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    made = Database()
    monkeypatch.setattr(unfinished.time, "monotonic", lambda: made.time)
    return made


async def scan(database: Any, known: UnfinishedJobs) -> list[str]:
    """Scan a second later. Return the scans that this took."""
    database.time += 1
    database.wall += 1
    database.scans.clear()
    await known.scan(database, database.wall)
    return list(database.scans)


@pytest.mark.anyio
async def test_a_slow_whole_scan_is_followed_by_scans_of_what_has_changed(database: Database) -> None:
    known = UnfinishedJobs()
    assert await scan(database, known) == ["whole"]
    assert await scan(database, known) == ["whole"]
    database.seconds = 3.5 * SHARE
    assert await scan(database, known) == ["whole"]
    assert [await scan(database, known) for _ in range(3)] == [["changes"]] * 3
    assert await scan(database, known) == ["whole"]


@pytest.mark.anyio
async def test_too_many_unfinished_jobs_are_not_scanned_more_often(database: Database) -> None:
    known = UnfinishedJobs()
    database.seconds, database.older = 2.5 * SHARE, None
    assert await scan(database, known) == ["whole"]
    assert known.known is None
    assert [await scan(database, known) for _ in range(2)] == [[], []]
    database.older = ("job_1",)
    assert await scan(database, known) == ["whole"]
    assert known.known is not None


@pytest.mark.anyio
async def test_a_clock_that_was_set_back_leads_to_a_whole_scan(database: Database) -> None:
    """Otherwise a job would be both an older and a recent one."""
    known = UnfinishedJobs()
    database.seconds = 100 * SHARE
    assert await scan(database, known) == ["whole"]
    assert await scan(database, known) == ["changes"]
    database.wall -= 10
    assert await scan(database, known) == ["whole"]


@pytest.mark.anyio
async def test_nothing_is_scanned_on_sqlite(database: Database) -> None:
    (task,) = FEATURE.tasks
    await task.step(SimpleNamespace(database=database, clock=lambda: 0.0))
    assert database.scans == []
