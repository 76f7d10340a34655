"""What a busy miner is asked to prepare meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, event

from agent.coordinator.operations.miners import commands
from agent.coordinator.store import queue
from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "WAITED_FOR_CACHE_SECONDS", 0.0)


def offering(**changes: Any) -> dict[str, Any]:
    offered = capabilities()
    offered["services"]["whisper_transcription"] |= {"models": ["base"], "downloadable": True, **changes}
    return offered


@pytest.fixture
def socket(served: Served) -> Iterator[Socket]:
    """A miner without a free slot, that can fetch models and has one."""
    miner = ScriptedMiner(served.url)
    miner.register(capabilities=offering())
    with Socket(miner) as socket:
        socket.slots(0)
        assert ordered(socket) == []
        yield socket


def ordered(socket: Socket, **changes: Any) -> list[dict[str, Any]]:
    """The commands in the answer to a heartbeat, after the offer has changed."""
    offered = offering(**changes)
    status, answer = socket.call("heartbeat", body={"leases": [], "capabilities": offered})
    assert status == 200
    return answer["commands"]


def test_a_busy_miner_fetches_the_model_that_most_jobs_wait_for(client: httpx.Client, socket: Socket) -> None:
    for model in ("base", "base", "base", "small", "tiny", "tiny"):
        submit(client, model=model)
    assert ordered(socket) == [{"command": "fetch_model", "model": "tiny"}]
    assert ordered(socket, models=["base", "tiny"]) == [{"command": "fetch_model", "model": "small"}]
    assert ordered(socket, models=["base", "tiny", "small"]) == []


def test_what_the_miner_withholds_or_cannot_fetch_is_not_ordered(
    client: httpx.Client, socket: Socket
) -> None:
    submit(client, model="tiny")
    assert ordered(socket, unavailable_models=["tiny"]) == []
    assert ordered(socket, downloadable=False) == []
    assert ordered(socket) == [{"command": "fetch_model", "model": "tiny"}]


def test_a_miner_with_a_free_slot_gets_the_job_instead(client: httpx.Client, socket: Socket) -> None:
    job_id = submit(client, model="tiny")
    socket.slots(1)
    assert socket.lease()["job_id"] == job_id
    assert ordered(socket) == []


def test_free_seats_of_another_batch_do_not_hold_back_an_order(client: httpx.Client, socket: Socket) -> None:
    submit(client, model="tiny")
    socket.slots(0, batch_capacity=[{"service": "whisper_transcription", "model": "base", "free": 3}])
    assert ordered(socket) == [{"command": "fetch_model", "model": "tiny"}]


def test_jobs_that_this_miner_could_not_take_order_nothing(
    client: httpx.Client, served: Served, socket: Socket
) -> None:
    """Those for another miner, those that ended, those of models that are in no catalogue, and other services' jobs."""
    owner = ScriptedMiner(served.url)
    owner.register(capabilities=offering(models=["private"]))
    submit(client, model="private")
    submit(client, model="tiny", miner_id=owner.miner_id)
    client.delete(f"/v1/jobs/{submit(client, model='small')}")
    video = {"input_url": "https://example.com/a.mp4", "output_format": "mp4"}
    assert client.post("/v1/services/ffmpeg/transcode", json=video).status_code == 201
    assert ordered(socket) == []


def test_a_paused_miner_is_ordered_nothing(client: httpx.Client, socket: Socket) -> None:
    submit(client, model="tiny")
    body = {"leases": [], "capabilities": offering(), "paused": "by hand"}
    assert socket.call("heartbeat", body=body)[1]["commands"] == []
    assert ordered(socket) != []


def test_a_miner_that_is_not_connected_is_ordered_nothing(client: httpx.Client, served: Served) -> None:
    """Its free slots are not known then."""
    submit(client, model="tiny")
    miner = ScriptedMiner(served.url)
    miner.register(capabilities=offering())
    assert miner.http.post("/heartbeat", json={"leases": []}).json()["commands"] == []


def test_what_is_waited_for_is_read_from_its_index_alone(served: Served) -> None:
    """However long the history is."""

    def plan(connection: Connection) -> list[str]:
        statements: list[tuple[str, Any]] = []
        event.listen(connection, "before_cursor_execute", lambda *call: statements.append((call[2], call[3])))
        queue.models_waited_for(connection, 10)
        statement, parameters = statements[-1]
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        return [row[3] for row in rows]

    steps = served.do(lambda context: context.database.read(plan))
    assert steps[0] == "SCAN jobs USING INDEX ix_jobs_waiting_for_models"
    assert not any("GROUP BY" in step for step in steps)
