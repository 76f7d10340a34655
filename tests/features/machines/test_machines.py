"""The pages of machines for owners and operators, and the commands of owners."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent import __version__
from support.clients.miner_socket import Socket
from support.clients.scripted_miner import GPU, ScriptedMiner
from support.jobs import submit
from support.server import Served, serve

TELEMETRY = {
    "uuid": "GPU-1",
    "memory_free": 2**30,
    "memory_total": 24 * 2**30,
    "utilization": 97,
    "temperature": 71,
    "power": 310.5,
    "power_limit": 450,
    "paused": "a game runs on it",
}
ACTIVITY = {
    "idle": [{"reason": "working", "share": 0.25}, {"reason": "no jobs for this machine", "share": 0.75}],
    "downloads": [{"model": "tiny", "done": 5, "total": None}],
}


@pytest.fixture
def owner(served: Served, miner: ScriptedMiner) -> Iterator[httpx.Client]:
    """A client with the key of the miner's owner."""
    with client_of(served, miner.registration["api_key"]) as owner:
        yield owner


def client_of(served: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=120)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def beat(miner: ScriptedMiner, **fields: Any) -> list[dict[str, Any]]:
    """Send a heartbeat and return the commands in the response."""
    answer = miner.http.post("/heartbeat", json={"leases": [], **fields})
    assert answer.status_code == 200, answer.text
    commands: list[dict[str, Any]] = answer.json()["commands"]
    return commands


def command(caller: httpx.Client, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = caller.post(path, json=body) if body is not None else caller.post(path)
    assert answer.status_code == 202, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


def test_a_machine_is_shown_as_its_heartbeat_reports_it(
    client: httpx.Client, miner: ScriptedMiner, owner: httpx.Client
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    held = {"job_id": job_id, "fence": lease["fence"], "progress": 41}
    beat(miner, leases=[held], gpus=[TELEMETRY], activity=ACTIVITY, paused=None)
    shown = owner.get(f"/v1/miners/{miner.miner_id}").json()
    (gpu,) = shown["gpus"]
    assert gpu == {
        **{name: GPU[name] for name in ("index", "name", "driver", "compute_capability")},
        **TELEMETRY,
    }
    assert shown["idle"] == ACTIVITY["idle"]
    assert shown["downloads"] == ACTIVITY["downloads"]
    (job,) = shown["jobs"]
    assert (job["job_id"], job["service_id"], job["progress"]) == (job_id, "whisper_transcription", 41)
    assert (shown["agent_version"], shown["slots"], shown["online"]) == (__version__, 4, True)
    whisper = next(s for s in shown["services"] if s["service_id"] == "whisper_transcription")
    assert (whisper["models"], whisper["unit_price"], whisper["unit"]) == (
        ["tiny.en", "base"],
        "0.001",
        "audio second",
    )


def test_an_agent_that_reports_fewer_fields_is_shown(miner: ScriptedMiner, owner: httpx.Client) -> None:
    """Older agents report no total memory, power limit or activity."""
    reported = {
        name: TELEMETRY[name] for name in ("uuid", "memory_free", "utilization", "temperature", "power")
    }
    beat(miner, gpus=[reported, {"uuid": "GPU-unknown"}])
    shown = owner.get(f"/v1/miners/{miner.miner_id}").json()
    (gpu,) = shown["gpus"]
    assert (gpu["memory_total"], gpu["power_limit"], gpu["paused"]) == (GPU["memory_total"], None, None)
    assert (shown["idle"], shown["downloads"]) == ([], [])


@pytest.mark.parametrize(
    "reported",
    [
        {"activity": {"idle": [{"reason": "x", "share": 1.5}]}},
        {"activity": {"idle": [{"reason": "x" * 201, "share": 0.5}]}},
        {"activity": {"downloads": [{"model": "m", "done": 0}] * 65}},
        {"gpus": [{"uuid": "GPU-1", "paused": "x" * 201}]},
        {"gpus": [{"memory_free": 1}]},
        {"executed": ["command_1"] * 1001},
    ],
    ids=lambda reported: next(iter(reported)),
)
def test_the_fields_of_a_heartbeat_are_bounded(miner: ScriptedMiner, reported: dict[str, Any]) -> None:
    assert code(miner.http.post("/heartbeat", json={"leases": [], **reported})) == (422, "VALIDATION_ERROR")


def test_owners_see_only_their_own_miner_and_administrators_see_all(
    served: Served, client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner, owner: httpx.Client
) -> None:
    other = ScriptedMiner(served.url)
    other.register()
    assert [shown["miner_id"] for shown in owner.get("/v1/miners").json()["miners"]] == [miner.miner_id]
    listed = admin.get("/v1/miners").json()
    assert [shown["miner_id"] for shown in listed["miners"]] == [other.miner_id, miner.miner_id]
    second = admin.get("/v1/miners", params={"limit": 1, "offset": 1}).json()
    assert ([shown["miner_id"] for shown in second["miners"]], second["total"]) == ([miner.miner_id], 2)
    assert owner.get("/v1/miners", params={"offset": 1}).json()["miners"] == []
    for call, path in (
        ("GET", ""), ("GET", "/earnings"), ("POST", "/pause"), ("POST", "/resume"), ("DELETE", "/models/tiny"),
    ):  # fmt: skip
        assert code(owner.request(call, f"/v1/miners/{other.miner_id}{path}")) == (404, "NOT_FOUND")
        assert code(client.request(call, f"/v1/miners/{miner.miner_id}{path}")) == (403, "FORBIDDEN")
        assert admin.request(call, f"/v1/miners/{other.miner_id}{path}").is_success


def test_commands_are_repeated_until_executed_also_to_a_paused_miner(
    miner: ScriptedMiner, owner: httpx.Client
) -> None:
    path = f"/v1/miners/{miner.miner_id}"
    pause = command(owner, f"{path}/pause", {"gpu": "GPU-1", "seconds": 3600})
    fetch = command(owner, f"{path}/models", {"model": "tiny"})
    removed = owner.delete(f"{path}/models/base").json()
    expected = [
        {"command_id": pause["command_id"], "command": "pause", "gpu": "GPU-1", "seconds": 3600},
        {"command_id": fetch["command_id"], "command": "fetch_model", "model": "tiny"},
        {"command_id": removed["command_id"], "command": "remove_model", "model": "base"},
    ]
    assert beat(miner) == expected
    assert beat(miner, paused="by hand") == expected
    waiting = owner.get(path).json()["commands"]
    assert [each["command_id"] for each in waiting] == [each["command_id"] for each in expected]
    assert beat(miner, paused="by hand", executed=[pause["command_id"], removed["command_id"]]) == [
        expected[1]
    ]
    assert beat(miner, executed=[fetch["command_id"], "command_unknown"]) == []
    assert owner.get(path).json()["commands"] == []


def test_a_miner_neither_gets_nor_ends_another_miners_commands(
    served: Served, miner: ScriptedMiner, owner: httpx.Client
) -> None:
    stranger = ScriptedMiner(served.url)
    stranger.register()
    pause = command(owner, f"/v1/miners/{miner.miner_id}/pause")
    assert beat(stranger, executed=[pause["command_id"]]) == []
    assert [each["command_id"] for each in beat(miner)] == [pause["command_id"]]


def test_a_newer_command_replaces_one_for_the_same_device_or_model(
    miner: ScriptedMiner, owner: httpx.Client
) -> None:
    path = f"/v1/miners/{miner.miner_id}"
    command(owner, f"{path}/pause")
    one_gpu = command(owner, f"{path}/pause", {"gpu": "GPU-1"})
    command(owner, f"{path}/models", {"model": "tiny"})
    resumed = command(owner, f"{path}/resume", {})
    removed = owner.delete(f"{path}/models/tiny").json()
    remaining = [one_gpu["command_id"], resumed["command_id"], removed["command_id"]]
    assert [each["command_id"] for each in beat(miner)] == remaining


def test_an_invalid_command_is_refused(miner: ScriptedMiner, owner: httpx.Client) -> None:
    path = f"/v1/miners/{miner.miner_id}"
    answer = owner.post(f"{path}/pause", json={"gpu": "GPU-7"})
    assert code(answer) == (422, "VALIDATION_ERROR")
    assert "GPU-1" in answer.json()["error"]["message"]
    assert code(owner.post(f"{path}/pause", json={"seconds": 0})) == (422, "VALIDATION_ERROR")
    assert code(owner.post(f"{path}/models", json={"model": ""})) == (422, "VALIDATION_ERROR")


def test_the_number_of_waiting_commands_is_limited(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True, max_commands_per_miner=2) as served:
        miner = ScriptedMiner(served.url)
        miner.register()
        path = f"/v1/miners/{miner.miner_id}"
        with client_of(served, miner.registration["api_key"]) as owner:
            for model in ("a", "b"):
                command(owner, f"{path}/models", {"model": model})
            assert code(owner.post(f"{path}/models", json={"model": "c"})) == (409, "CONFLICT")
            command(owner, f"{path}/models", {"model": "b"})  # the same command again waits once


def test_commands_survive_a_restart_of_the_coordinator(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True) as served:
        miner = ScriptedMiner(served.url)
        miner.register()
        with client_of(served, miner.registration["api_key"]) as owner:
            pause = command(owner, f"/v1/miners/{miner.miner_id}/pause", {"seconds": 60})
    with serve(tmp_path / "data", open_enrolment=True) as served:
        again = ScriptedMiner(served.url, miner.key)
        again.register()
        assert [each["command_id"] for each in beat(again)] == [pause["command_id"]]


def test_a_command_makes_a_connected_miner_send_a_heartbeat(
    miner: ScriptedMiner, owner: httpx.Client
) -> None:
    """The push makes it send one immediately instead of at the next interval."""
    with Socket(miner) as socket:
        socket.slots(0)
        assert socket.nothing_comes()
        command(owner, f"/v1/miners/{miner.miner_id}/pause")
        assert socket.push("heartbeat") == {"push": "heartbeat"}


def test_a_command_ends_a_waiting_poll(miner: ScriptedMiner, owner: httpx.Client) -> None:
    """It also ends, once, a poll that begins after the command."""
    path = f"/v1/miners/{miner.miner_id}/pause"
    command(owner, path)
    answer = miner.http.post("/poll", json={"slots": 0, "wait": 10})
    assert answer.json() == {"leases": [], "cancelled": [], "heartbeat": True}
    answers: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(miner.http.post("/poll", json={"slots": 0, "wait": 20}))
    )
    waiting.start()
    # The command ends the poll, whether the poll is already waiting or begins later.
    command(owner, path)
    waiting.join(60)
    assert [each.json()["heartbeat"] for each in answers] == [True]


def test_earnings_are_listed_by_day(client: httpx.Client, miner: ScriptedMiner, owner: httpx.Client) -> None:
    for _ in range(2):
        submit(client)
        (lease,) = miner.poll()
        assert miner.complete(lease, {"text": "hello", "units": 10}).status_code == 200
    submit(client)
    (failed,) = miner.poll()
    miner.job(failed, "fail", kind="fail", code="INPUT_INVALID", message="no sound")
    earnings = owner.get(f"/v1/miners/{miner.miner_id}/earnings", params={"days": 3}).json()
    today = datetime.now(UTC).date().isoformat()
    assert earnings["days"][-1] == {"date": today, "amount": "0.02", "jobs": 2}
    assert [day["amount"] for day in earnings["days"][:-1]] == ["0", "0"]
    assert earnings["total"] == "0.02"
    assert owner.get(f"/v1/miners/{miner.miner_id}").json()["total_earned"] == "0.02"
    assert len(owner.get(f"/v1/miners/{miner.miner_id}/earnings").json()["days"]) == 30
