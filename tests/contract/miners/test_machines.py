"""Machines as their owners and the operator see them, and what their owners command them to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

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
    "idle": [{"reason": "working", "share": 0.25}, {"reason": "no job that fits is waiting", "share": 0.75}],
    "downloads": [{"model": "tiny", "done": 5, "total": None}],
}


@pytest.fixture
def owner(served: Served, miner: ScriptedMiner) -> Iterator[httpx.Client]:
    """The miner's owner."""
    with asking(served, miner.registration["api_key"]) as owner:
        yield owner


def asking(served: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=30)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def beat(miner: ScriptedMiner, **said: Any) -> list[dict[str, Any]]:
    """Send a heartbeat. Returns the commands in its answer."""
    answer = miner.http.post("/heartbeat", json={"leases": [], **said})
    assert answer.status_code == 200, answer.text
    commands: list[dict[str, Any]] = answer.json()["commands"]
    return commands


def command(caller: httpx.Client, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = caller.post(path, json=body) if body is not None else caller.post(path)
    assert answer.status_code == 202, answer.text
    given: dict[str, Any] = answer.json()
    return given


def test_a_machine_is_shown_as_its_heartbeat_said(
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
    assert (shown["agent_version"], shown["slots"], shown["online"]) == ("0", 4, True)
    whisper = next(s for s in shown["services"] if s["service_id"] == "whisper_transcription")
    assert (whisper["models"], whisper["unit_price"], whisper["unit"]) == (
        ["tiny.en", "base"],
        "0.001",
        "audio second",
    )


def test_an_agent_that_says_less_is_shown_too(miner: ScriptedMiner, owner: httpx.Client) -> None:
    """As older ones do: no memory in all, no power limit, nothing of its time."""
    said = {name: TELEMETRY[name] for name in ("uuid", "memory_free", "utilization", "temperature", "power")}
    beat(miner, gpus=[said, {"uuid": "GPU-unknown"}])
    shown = owner.get(f"/v1/miners/{miner.miner_id}").json()
    (gpu,) = shown["gpus"]
    assert (gpu["memory_total"], gpu["power_limit"], gpu["paused"]) == (GPU["memory_total"], None, None)
    assert (shown["idle"], shown["downloads"]) == ([], [])


@pytest.mark.parametrize(
    "said",
    [
        {"activity": {"idle": [{"reason": "x", "share": 1.5}]}},
        {"activity": {"idle": [{"reason": "x" * 201, "share": 0.5}]}},
        {"activity": {"downloads": [{"model": "m", "done": 0}] * 65}},
        {"gpus": [{"uuid": "GPU-1", "paused": "x" * 201}]},
        {"gpus": [{"memory_free": 1}]},
        {"executed": ["command_1"] * 1001},
    ],
    ids=lambda said: next(iter(said)),
)
def test_what_a_miner_says_of_itself_is_bounded(miner: ScriptedMiner, said: dict[str, Any]) -> None:
    assert code(miner.http.post("/heartbeat", json={"leases": [], **said})) == (422, "VALIDATION_ERROR")


def test_an_owner_sees_the_own_miner_and_an_administrator_all(
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


def test_orders_are_repeated_until_obeyed_also_to_a_miner_that_pauses(
    miner: ScriptedMiner, owner: httpx.Client
) -> None:
    path = f"/v1/miners/{miner.miner_id}"
    pause = command(owner, f"{path}/pause", {"gpu": "GPU-1", "seconds": 3600})
    fetch = command(owner, f"{path}/models", {"model": "tiny"})
    removed = owner.delete(f"{path}/models/base").json()
    wanted = [
        {"command_id": pause["command_id"], "command": "pause", "gpu": "GPU-1", "seconds": 3600},
        {"command_id": fetch["command_id"], "command": "fetch_model", "model": "tiny"},
        {"command_id": removed["command_id"], "command": "remove_model", "model": "base"},
    ]
    assert beat(miner) == wanted
    assert beat(miner, paused="by hand") == wanted
    waiting = owner.get(path).json()["commands"]
    assert [each["command_id"] for each in waiting] == [each["command_id"] for each in wanted]
    assert beat(miner, paused="by hand", executed=[pause["command_id"], removed["command_id"]]) == [wanted[1]]
    assert beat(miner, executed=[fetch["command_id"], "command_unknown"]) == []
    assert owner.get(path).json()["commands"] == []


def test_nobody_obeys_another_miners_orders(
    served: Served, miner: ScriptedMiner, owner: httpx.Client
) -> None:
    stranger = ScriptedMiner(served.url)
    stranger.register()
    given = command(owner, f"/v1/miners/{miner.miner_id}/pause")
    assert beat(stranger, executed=[given["command_id"]]) == []
    assert [each["command_id"] for each in beat(miner)] == [given["command_id"]]


def test_a_newer_order_takes_the_place_of_one_about_the_same(
    miner: ScriptedMiner, owner: httpx.Client
) -> None:
    path = f"/v1/miners/{miner.miner_id}"
    command(owner, f"{path}/pause")
    one_card = command(owner, f"{path}/pause", {"gpu": "GPU-1"})
    command(owner, f"{path}/models", {"model": "tiny"})
    resumed = command(owner, f"{path}/resume", {})
    removed = owner.delete(f"{path}/models/tiny").json()
    left = [one_card["command_id"], resumed["command_id"], removed["command_id"]]
    assert [each["command_id"] for each in beat(miner)] == left


def test_an_order_that_makes_no_sense_is_refused(miner: ScriptedMiner, owner: httpx.Client) -> None:
    path = f"/v1/miners/{miner.miner_id}"
    answer = owner.post(f"{path}/pause", json={"gpu": "GPU-7"})
    assert code(answer) == (422, "VALIDATION_ERROR")
    assert "GPU-1" in answer.json()["error"]["message"]
    assert code(owner.post(f"{path}/pause", json={"seconds": 0})) == (422, "VALIDATION_ERROR")
    assert code(owner.post(f"{path}/models", json={"model": ""})) == (422, "VALIDATION_ERROR")


def test_not_more_orders_wait_than_may(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True, max_commands_per_miner=2) as served:
        miner = ScriptedMiner(served.url)
        miner.register()
        path = f"/v1/miners/{miner.miner_id}"
        with asking(served, miner.registration["api_key"]) as owner:
            for model in ("a", "b"):
                command(owner, f"{path}/models", {"model": model})
            assert code(owner.post(f"{path}/models", json={"model": "c"})) == (409, "CONFLICT")
            command(owner, f"{path}/models", {"model": "b"})  # the same again waits once


def test_orders_survive_a_restart_of_the_coordinator(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True) as served:
        miner = ScriptedMiner(served.url)
        miner.register()
        with asking(served, miner.registration["api_key"]) as owner:
            given = command(owner, f"/v1/miners/{miner.miner_id}/pause", {"seconds": 60})
    with serve(tmp_path / "data", open_enrolment=True) as served:
        again = ScriptedMiner(served.url, miner.key)
        again.register()
        assert [each["command_id"] for each in beat(again)] == [given["command_id"]]


def test_an_order_is_pushed_to_a_connected_miner(miner: ScriptedMiner, owner: httpx.Client) -> None:
    """So that it sends a heartbeat now, and not at its next time."""
    with Socket(miner) as socket:
        socket.slots(0)
        assert socket.nothing_comes()
        command(owner, f"/v1/miners/{miner.miner_id}/pause")
        assert socket.push("heartbeat") == {"push": "heartbeat"}


def test_an_order_ends_a_poll_that_waits(miner: ScriptedMiner, owner: httpx.Client) -> None:
    """Also one that begins only after the command was given, once."""
    path = f"/v1/miners/{miner.miner_id}/pause"
    command(owner, path)
    answer = miner.http.post("/poll", json={"slots": 0, "wait": 10})
    assert answer.json() == {"leases": [], "cancelled": [], "heartbeat": True}
    answers: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(miner.http.post("/poll", json={"slots": 0, "wait": 20}))
    )
    waiting.start()
    # Whether this finds the poll waiting or comes before it, the poll ends by it.
    command(owner, path)
    waiting.join(15)
    assert [each.json()["heartbeat"] for each in answers] == [True]


def test_earnings_are_told_by_days(client: httpx.Client, miner: ScriptedMiner, owner: httpx.Client) -> None:
    for _ in range(2):
        submit(client)
        (lease,) = miner.poll()
        assert miner.complete(lease, {"text": "hello", "units": 10}).status_code == 200
    submit(client)
    (failed,) = miner.poll()
    miner.job(failed, "fail", kind="fail", code="INPUT_INVALID", message="no sound")
    told = owner.get(f"/v1/miners/{miner.miner_id}/earnings", params={"days": 3}).json()
    today = datetime.now(UTC).date().isoformat()
    assert told["days"][-1] == {"date": today, "amount": "0.02", "jobs": 2}
    assert [day["amount"] for day in told["days"][:-1]] == ["0", "0"]
    assert told["total"] == "0.02"
    assert owner.get(f"/v1/miners/{miner.miner_id}").json()["total_earned"] == "0.02"
    assert len(owner.get(f"/v1/miners/{miner.miner_id}/earnings").json()["days"]) == 30
