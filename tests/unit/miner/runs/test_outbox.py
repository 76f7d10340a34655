"""The outbox, with a link whose answers the test determines."""

# ruff: noqa: ARG002, ASYNC240 - the scripted link has the signature of the real one

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.core.errors import ConfigurationError
from agent.miner.link.refusals import Unreachable
from agent.miner.runs.outbox import SENDERS, Outbox
from agent.miner.runs.outbox_database import OutboxArtifact, OutboxEntry

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "no"}}


class ScriptedLink:
    """Answers calls with `answer(name, job_id, body)`. An exception in place of an answer is raised."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        self.answer = answer
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.uploads: list[Path] = []
        self.leases: list[tuple[str, int]] = []
        self.upload_answer: Any = None
        self.running = self.most_running = 0
        self.called = asyncio.Event()

    async def call(self, name: str, job_id: str, body: dict[str, Any], *, limit: float) -> tuple[int, Any]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        self.calls.append((name, job_id, body))
        self.called.set()
        return self._given(self.answer(name, job_id, body))

    async def upload(
        self, path: Path, media_type: str, size: int, *, artifact_id: str, lease: tuple[str, int]
    ) -> tuple[int, Any]:
        self.uploads.append(path)
        self.leases.append(lease)
        path.read_bytes()
        return self._given(self.upload_answer or (201, {"artifact_id": f"sha256:{path.name}"}))

    def _given(self, answer: Any) -> tuple[int, Any]:
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def sending(path: Path, link: Any) -> AsyncIterator[Outbox]:
    outbox = Outbox(path / "outbox.db", link)
    await outbox.open()
    task = asyncio.create_task(outbox.run())
    try:
        yield outbox
    finally:
        task.cancel()
        await asyncio.wait([task])
        await outbox.close()


def result(number: int = 1, **fields: Any) -> OutboxEntry:
    return OutboxEntry(f"job_{number}", 1, "result", {"fence": 1, "results": {"number": number}}, **fields)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}),
        (404, error("JOB_NOT_FOUND")),
        (409, error("STALE_LEASE")),
        (422, error("RECEIPT_INVALID")),
        (413, None),
    ],
)
async def test_a_final_answer_removes_the_entry(tmp_path: Path, answer: Any) -> None:
    link = ScriptedLink(lambda *_: answer)
    async with sending(tmp_path, link) as outbox:
        await outbox.put(result())
        assert await outbox.flush(5)
        assert len(outbox) == 0
    assert link.calls == [("result", "job_1", {"fence": 1, "results": {"number": 1}})]


@pytest.mark.parametrize(
    "answer",
    [
        (500, None),
        (503, None),
        (429, None),
        (408, None),
        (401, error("UNAUTHORIZED")),
        (409, error("STALE_SESSION")),
    ],
)
async def test_other_answers_keep_the_entry(tmp_path: Path, answer: Any) -> None:
    """The entry is sent again here, and by the next daemon."""
    link = ScriptedLink(lambda *_: answer if len(link.calls) < 2 else (500, None))
    async with sending(tmp_path, link) as outbox:
        await outbox.put(result())
        async with asyncio.timeout(60):
            while len(link.calls) < 2:
                link.called.clear()
                await link.called.wait()
        assert outbox.holding() == [{"job_id": "job_1", "fence": 1}]
    link = ScriptedLink(lambda *_: (200, {}))
    async with sending(tmp_path, link) as outbox:
        assert await outbox.flush(5)
    assert link.calls == [("result", "job_1", {"fence": 1, "results": {"number": 1}})]


async def test_nothing_is_lost_while_the_coordinator_is_down(tmp_path: Path) -> None:
    """Few attempts are made while it is down. After `kick`, all entries are sent at once."""
    away = True
    link = ScriptedLink(lambda *_: Unreachable("away") if away else (200, {}))
    async with sending(tmp_path, link) as outbox:
        for number in range(20):
            await outbox.put(result(number))
        assert not await outbox.flush(0.3)
        assert len(link.calls) < 20
        away = False
        outbox.kick()
        assert await outbox.flush(0.4)
    assert {job_id for _, job_id, _ in link.calls[-20:]} == {f"job_{number}" for number in range(20)}
    assert link.most_running <= SENDERS


async def test_artifacts_are_sent_first_and_once(tmp_path: Path) -> None:
    directory = tmp_path / "job"
    directory.mkdir()
    for name in ("a", "b"):
        (directory / name).write_text(name)
    files = tuple(
        OutboxArtifact(f"sha256:{name}", directory / name, name, "text/plain", 1) for name in ("a", "b")
    )
    answers = iter([(500, None), (200, {})])
    link = ScriptedLink(lambda *_: next(answers))
    async with sending(tmp_path, link) as outbox:
        await outbox.put(result(artifacts=files, directory=directory))
        assert await outbox.flush(5)
    assert link.uploads == [directory / "a", directory / "b"]
    assert link.leases == [("job_1", 1)] * 2
    assert len(link.calls) == 2
    assert not directory.exists()


@pytest.mark.parametrize(
    ("upload", "code"),
    [
        ((413, None), "OUTPUT_REFUSED"),
        ((201, {"artifact_id": "sha256:other"}), "OUTPUT_LOST"),
        (None, "OUTPUT_LOST"),
    ],
)
async def test_an_undeliverable_output_fails_the_job(tmp_path: Path, upload: Any, code: str) -> None:
    """It may be too large for the coordinator, changed, or missing on the disk."""
    file = tmp_path / "a"
    if upload is not None:
        file.write_text("a")
    link = ScriptedLink(lambda *_: (200, {}))
    link.upload_answer = upload
    async with sending(tmp_path, link) as outbox:
        await outbox.put(result(artifacts=(OutboxArtifact("sha256:a", file, "a", "text/plain", 1),)))
        assert await outbox.flush(5)
    [(name, _, body)] = link.calls
    assert (name, body["code"]) == ("fail", code)


async def test_outputs_of_a_lost_lease_are_dropped(tmp_path: Path) -> None:
    """The job has another run, so neither a result nor a failure is sent."""
    file = tmp_path / "a"
    file.write_text("a")
    link = ScriptedLink(lambda *_: (200, {}))
    link.upload_answer = (409, {"error": {"code": "STALE_LEASE"}})
    async with sending(tmp_path, link) as outbox:
        await outbox.put(result(artifacts=(OutboxArtifact("sha256:a", file, "a", "text/plain", 1),)))
        assert await outbox.flush(5)
    assert link.calls == []


async def test_a_full_disk_at_the_coordinator_delays_the_result(tmp_path: Path) -> None:
    """The outbox retries until there is free space. Nothing is lost."""
    file = tmp_path / "a"
    file.write_text("a")
    link = ScriptedLink(lambda *_: (200, {}))
    link.upload_answer = (507, {"error": {"code": "INSUFFICIENT_STORAGE"}})
    async with sending(tmp_path, link) as outbox:
        await outbox.put(result(artifacts=(OutboxArtifact("sha256:a", file, "a", "text/plain", 1),)))
        assert not await outbox.flush(0.2)
        assert link.calls == []
        link.upload_answer = None
        assert await outbox.flush(5)
    assert [name for name, *_ in link.calls] == ["result"]


async def test_a_damaged_outbox_is_explained(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError, match="move it away"):
        await Outbox(tmp_path / "outbox.db", ScriptedLink(lambda *_: None)).open()


async def test_an_entry_is_on_disk_when_put_returns(tmp_path: Path) -> None:
    """Another connection reads it, and every commit syncs the file."""
    outbox = Outbox(tmp_path / "outbox.db", ScriptedLink(lambda *_: None))
    await outbox.open()
    await outbox.put(result())
    with sqlite3.connect(tmp_path / "outbox.db") as reader:
        assert reader.execute("SELECT job_id, fence FROM entries").fetchall() == [("job_1", 1)]
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    synchronous = await outbox._in_thread(
        lambda: outbox._database._connection.execute("PRAGMA synchronous").fetchone()
    )
    assert synchronous == (2,)
    await outbox.close()
