"""Commands to a busy miner to download the models that jobs wait for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, event

from agent.coordinator.features.machines import commands, store
from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "AWAITED_CACHE_SECONDS", 0.0)


def offering(**changes: Any) -> dict[str, Any]:
    offered = capabilities()
    offered["services"]["whisper_transcription"] |= {"models": ["base"], "downloadable": True, **changes}
    return offered


@pytest.fixture
def socket(served: Served) -> Iterator[Socket]:
    """A miner with one model and no free slot, which can download other models."""
    miner = ScriptedMiner(served.url)
    miner.register(capabilities=offering())
    with Socket(miner) as socket:
        socket.slots(0)
        assert commands_of(socket) == []
        yield socket


def commands_of(socket: Socket, **changes: Any) -> list[dict[str, Any]]:
    """Return the commands in the response to a heartbeat that changes the capabilities."""
    offered = offering(**changes)
    status, answer = socket.call("heartbeat", body={"leases": [], "capabilities": offered})
    assert status == 200
    return answer["commands"]


def test_a_busy_miner_downloads_the_model_that_most_jobs_wait_for(
    client: httpx.Client, socket: Socket
) -> None:
    for model in ("base", "base", "base", "small", "tiny", "tiny"):
        submit(client, model=model)
    assert commands_of(socket) == [{"command": "fetch_model", "model": "tiny"}]
    assert commands_of(socket, models=["base", "tiny"]) == [{"command": "fetch_model", "model": "small"}]
    assert commands_of(socket, models=["base", "tiny", "small"]) == []


def test_models_that_are_unavailable_or_not_downloadable_cause_no_command(
    client: httpx.Client, socket: Socket
) -> None:
    submit(client, model="tiny")
    assert commands_of(socket, unavailable_models=["tiny"]) == []
    assert commands_of(socket, downloadable=False) == []
    assert commands_of(socket) == [{"command": "fetch_model", "model": "tiny"}]


def test_a_miner_with_a_free_slot_gets_the_job_instead_of_a_command(
    client: httpx.Client, socket: Socket
) -> None:
    job_id = submit(client, model="tiny")
    socket.slots(1)
    assert socket.lease()["job_id"] == job_id
    assert commands_of(socket) == []


def test_batch_capacity_of_another_model_does_not_prevent_a_command(
    client: httpx.Client, socket: Socket
) -> None:
    submit(client, model="tiny")
    socket.slots(0, batch_capacity=[{"service": "whisper_transcription", "model": "base", "free": 3}])
    assert commands_of(socket) == [{"command": "fetch_model", "model": "tiny"}]


def test_jobs_that_the_miner_cannot_run_cause_no_command(
    client: httpx.Client, served: Served, socket: Socket
) -> None:
    """These are jobs for another miner, ended jobs, jobs of models in no catalogue, and jobs of other services."""
    owner = ScriptedMiner(served.url)
    owner.register(capabilities=offering(models=["private"]))
    submit(client, model="private")
    submit(client, model="tiny", miner_id=owner.miner_id)
    client.delete(f"/v1/jobs/{submit(client, model='small')}")
    video = {"input_url": "https://example.com/a.mp4", "output_format": "mp4"}
    assert client.post("/v1/services/ffmpeg/transcode", json=video).status_code == 201
    assert commands_of(socket) == []


def test_a_paused_miner_gets_no_command(client: httpx.Client, socket: Socket) -> None:
    submit(client, model="tiny")
    body = {"leases": [], "capabilities": offering(), "paused": "by hand"}
    assert socket.call("heartbeat", body=body)[1]["commands"] == []
    assert commands_of(socket) != []


def test_a_miner_that_is_not_connected_gets_no_command(client: httpx.Client, served: Served) -> None:
    """The coordinator does not know its free slots."""
    submit(client, model="tiny")
    miner = ScriptedMiner(served.url)
    miner.register(capabilities=offering())
    assert miner.http.post("/heartbeat", json={"leases": []}).json()["commands"] == []


@pytest.mark.sqlite
def test_models_waited_for_are_read_from_an_index(served: Served) -> None:
    """The length of the history does not matter."""

    def plan(connection: Connection) -> list[str]:
        statements: list[tuple[str, Any]] = []
        event.listen(connection, "before_cursor_execute", lambda *call: statements.append((call[2], call[3])))
        store.awaited_models(connection, 10)
        statement, parameters = statements[-1]
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        return [row[3] for row in rows]

    steps = served.do(lambda context: context.database.read(plan))
    assert steps[0] == "SCAN jobs USING INDEX ix_jobs_waiting_for_models"
    assert not any("GROUP BY" in step for step in steps)
