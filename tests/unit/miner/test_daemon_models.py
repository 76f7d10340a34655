"""A whole miner that fetches models for its jobs, and by command of the coordinator, over real HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.miner.control import ask
from agent.miner.daemon import Daemon
from agent.miner.live_settings import FORBIDDEN, FOREIGN
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import running, settings_for
from miner_support.hub import Hub, running_hub
from miner_support.model_runner import HOST, ModelRunner
from support.agents import COMMAND

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_hosts")]

WEIGHTS = bytes(range(256)) * 4096 * 2
ADAPTER = b"small change"
FOREIGN_URL = "https://coordinator.example.org"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """The models `big` and `other` and the adapter `touch` of the owner's catalogue."""
    with running_hub() as hub:
        lines = []
        for name, content in (("big", WEIGHTS), ("other", WEIGHTS[::-1]), ("touch", ADAPTER)):
            hub.plain[f"{name}.pt"] = content
            kind = "adapter" if name == "touch" else "model"
            digest = hashlib.sha256(content).hexdigest()
            lines.append(
                f'[[models]]\nname = "{name}"\nservice = "scripted"\nengines = ["e"]\nlicence = "MIT"\nkind = "{kind}"\n'
                f'files = [{{name = "model.pt", url = "{hub.url}/plain/{name}.pt", sha256 = "{digest}"}}]\n'
            )
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "models.toml").write_text("\n".join(lines))
        yield hub


def daemon(directory: Path, coordinator: FakeCoordinator, /, **miner: Any) -> Daemon:
    settings = settings_for(directory, **miner)
    return Daemon(settings, coordinator.url, runners={"scripted": ModelRunner}, host_command=HOST)


def offered(coordinator: FakeCoordinator) -> list[str]:
    """Return the models in the miner's last heartbeat."""
    reported = [beat["capabilities"] for beat in coordinator.heartbeats if beat["capabilities"]]
    return reported[-1]["services"]["scripted"]["models"] if reported else []


def unavailable(coordinator: FakeCoordinator) -> list[str]:
    """Return the models that are unavailable in the miner's last heartbeat."""
    reported = [beat["capabilities"] for beat in coordinator.heartbeats if beat["capabilities"]]
    return reported[-1]["services"]["scripted"]["unavailable_models"] if reported else []


async def reaches(directory: Path, job_id: str, stage: str) -> None:
    """Wait until a run of the miner is at this stage."""
    async with asyncio.timeout(60):
        while True:
            leases = (await ask(directory / "data", "status"))["leases"]
            if (job_id, stage) in [(lease["job_id"], lease["stage"]) for lease in leases]:
                return


async def test_a_jobs_model_and_adapters_are_fetched_before_it_runs(
    coordinator: FakeCoordinator, hub: Hub, tmp_path: Path
) -> None:
    """The job's subscribers receive the progress, and the models are offered as on disk afterwards."""
    async with running(daemon(tmp_path, coordinator)):
        job_id = await coordinator.submit("read", model="big", adapters=["touch"])
        await coordinator.until(lambda: job_id in coordinator.results)
        await coordinator.until(lambda: offered(coordinator) == ["big", "touch"])
    assert coordinator.results[job_id]["results"] | {"processing_time": 0} == {
        "size": len(WEIGHTS), "adapters": {"touch": len(ADAPTER)}, "units": 1, "processing_time": 0,
    }  # fmt: skip
    model = coordinator.statements[job_id].model
    assert (model.name, model.sha256) == ("big", hashlib.sha256(WEIGHTS).hexdigest())
    reported = [
        event["data"] for _, _, events in coordinator.events for event in events if event["kind"] == "model"
    ]
    assert {"model": "big", "done": len(WEIGHTS), "total": len(WEIGHTS)} in reported
    assert hub.served["big.pt"] == len(WEIGHTS)


async def test_a_lease_is_renewed_while_its_model_is_fetched_and_cancels_at_once(
    coordinator: FakeCoordinator, hub: Hub, tmp_path: Path
) -> None:
    """The counter rises with the bytes, and the next job uses the partial files."""
    hub.hold["big.pt"] = 2**20
    async with running(daemon(tmp_path, coordinator)):
        job_id = await coordinator.submit("read", model="big")
        await asyncio.to_thread(hub.wait_served, "big.pt", 2**20)
        await coordinator.until(
            lambda: any(lease["counter"] > 1 for beat in coordinator.heartbeats for lease in beat["leases"])
        )
        await coordinator.cancel(job_id)
        await coordinator.until(lambda: not coordinator.heartbeats[-1]["leases"])
        hub.go_on.set()
        again = await coordinator.submit("read", model="big")
        await coordinator.until(lambda: again in coordinator.results)
    assert job_id not in coordinator.results
    assert hub.served["big.pt"] < len(WEIGHTS) + 2**19


async def test_a_job_whose_model_cannot_be_fetched_is_retried_elsewhere(
    coordinator: FakeCoordinator, hub: Hub, tmp_path: Path
) -> None:
    hub.plain.clear()
    async with running(daemon(tmp_path, coordinator)):
        job_id = await coordinator.submit("read", model="big")
        await coordinator.until(lambda: job_id in coordinator.failures)
    failure = coordinator.failures[job_id]
    assert (failure["kind"], failure["code"]) == ("retry", "MODEL_UNAVAILABLE")
    assert "answers 404 for model.pt" in failure["message"]


async def test_a_model_that_is_being_downloaded_occupies_no_slot(
    coordinator: FakeCoordinator, hub: Hub, tmp_path: Path
) -> None:
    """Its miner reports the model as unavailable, so that no more jobs wait for it here, and goes on with others."""
    async with running(daemon(tmp_path, coordinator, slots=1)):
        first = await coordinator.submit("read", model="other")
        await coordinator.until(lambda: first in coordinator.results)
        hub.hold["big.pt"] = 2**20
        slow = await coordinator.submit("read", model="big")
        await asyncio.to_thread(hub.wait_served, "big.pt", 2**20)
        await coordinator.until(lambda: unavailable(coordinator) == ["big"])
        for _ in range(3):
            quick = await coordinator.submit("read", model="other")
            await coordinator.until(lambda job_id=quick: job_id in coordinator.results)
        assert slow not in coordinator.results
        hub.go_on.set()
        await coordinator.until(lambda: slow in coordinator.results)
        await coordinator.until(lambda: unavailable(coordinator) == [])


async def test_a_job_whose_model_has_arrived_waits_for_a_slot(
    coordinator: FakeCoordinator, hub: Hub, tmp_path: Path
) -> None:
    """And it gets the next free one, before jobs that came later."""
    hub.hold["big.pt"] = 2**20
    gate = tmp_path / "gate"
    async with running(daemon(tmp_path, coordinator, slots=1)):
        slow = await coordinator.submit("read", model="big")
        await asyncio.to_thread(hub.wait_served, "big.pt", 2**20)
        busy = await coordinator.submit("read", model="other", gate=str(gate))
        await reaches(tmp_path, busy, "running")
        hub.go_on.set()
        await reaches(tmp_path, slow, "waiting")
        later = await coordinator.submit("read", model="other")
        gate.touch()
        await coordinator.until(lambda: later in coordinator.results)
    assert list(coordinator.results) == [busy, slow, later]


@pytest.mark.parametrize("fault", ["dead", "silent"])
async def test_an_unreachable_server_fails_the_job_soon_and_others_at_once(
    coordinator: FakeCoordinator, hub: Hub, tmp_path: Path, fault: str
) -> None:
    """Three connections fail, or bring nothing; a moment later no job waits for the same server again."""
    (tmp_path / "data" / "models.toml").write_text(
        (tmp_path / "data" / "models.toml").read_text().replace(f":{hub.port}/plain/big", ":9/plain/big")
        if fault == "dead"
        else (tmp_path / "data" / "models.toml").read_text()
    )
    hub.hold["big.pt"] = 0
    async with running(daemon(tmp_path, coordinator, slots=1, download_stall_seconds=0.3)):
        began = time.monotonic()
        job_id = await coordinator.submit("read", model="big")
        await coordinator.until(lambda: job_id in coordinator.failures)
        assert time.monotonic() - began < 60
        failure = coordinator.failures[job_id]
        assert (failure["kind"], failure["code"]) == ("retry", "MODEL_UNAVAILABLE")
        assert "could not be fetched from 127.0.0.1" in failure["message"]
        again = await coordinator.submit("read", model="big")
        began = time.monotonic()
        await coordinator.until(lambda: again in coordinator.failures)
        assert time.monotonic() - began < 30
        assert "the next attempt is in" in coordinator.failures[again]["message"]
        if fault == "dead":
            quick = await coordinator.submit("read", model="other")
            await coordinator.until(lambda: quick in coordinator.results)
    hub.go_on.set()


async def test_a_command_fetches_a_model_in_advance(
    coordinator: FakeCoordinator, hub: Hub, tmp_path: Path
) -> None:
    coordinator.commands = [{"command": "fetch_model", "model": "other"}, {"command": "from the future"}]
    async with running(daemon(tmp_path, coordinator)):
        await coordinator.until(lambda: offered(coordinator) == ["other"])
        status = await ask(tmp_path / "data", "status")
    assert status["miner_id"]
    assert hub.served["other.pt"] == len(WEIGHTS)


@pytest.mark.parametrize(
    ("miner", "fetch_refusal", "removal_refusal"),
    [
        ({}, None, None),
        ({"coordinator": FOREIGN_URL}, None, FOREIGN),
        ({"coordinator": FOREIGN_URL, "remote_settings": True}, None, None),
        ({"coordinator": FOREIGN_URL, "remote_settings": False}, FORBIDDEN, FORBIDDEN),
        ({"remote_settings": False}, FORBIDDEN, FORBIDDEN),
    ],
)
async def test_attack_a_foreign_coordinator_removes_no_model(
    coordinator: FakeCoordinator,
    hub: Hub,
    tmp_path: Path,
    miner: dict[str, Any],
    fetch_refusal: str | None,
    removal_refusal: str | None,
) -> None:
    """Only the agent's own coordinator may, by default; fetching in advance is allowed unless the owner forbids it. Jobs' models are always fetched."""
    async with running(daemon(tmp_path, coordinator, **miner)):
        fetch = {"command": "fetch_model", "model": "big"}
        coordinator.commands = [fetch]  # without an id: a hint
        assert await refusal_of(coordinator, "command_1", **fetch) == fetch_refusal
        assert (hub.served["big.pt"] > 0) == (fetch_refusal is None)
        coordinator.commands = []
        job_id = await coordinator.submit("read", model="big")
        await coordinator.until(lambda: job_id in coordinator.results)
        assert (
            await refusal_of(coordinator, "command_2", command="remove_model", model="big") == removal_refusal
        )
    assert (tmp_path / "models" / "big").exists() == (removal_refusal is not None)


async def refusal_of(coordinator: FakeCoordinator, command_id: str, **command: Any) -> str | None:
    """Send a command. Return the reason if the miner refused it."""
    await coordinator.command(command_id=command_id, **command)
    await coordinator.until(lambda: command_id in coordinator.executed)
    beat = next(beat for beat in coordinator.heartbeats if command_id in beat["executed"])
    reasons = {refused["command_id"]: refused["reasons"] for refused in beat["refused"]}.get(command_id, [])
    return reasons[0] if reasons else None


async def test_a_loaded_model_that_no_job_uses_is_unloaded_and_removed_by_its_owner(
    coordinator: FakeCoordinator, hub: Hub, tmp_path: Path
) -> None:
    """It no longer is in the catalogue either, so that no job can have it fetched again."""
    directories = {"AITBC_DATA_DIR": str(tmp_path / "data"), "AITBC_MODELS_DIR": str(tmp_path / "models")}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, "models", *words], env={**os.environ, **directories}, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    async with running(daemon(tmp_path, coordinator)):
        job_id = await coordinator.submit("read", model="big")
        await coordinator.until(lambda: job_id in coordinator.results)
        listed = json.loads((await asyncio.to_thread(command, "list", "--on-disk", "--json")).stdout)
        assert [(model["name"], model["loaded"]) for model in listed] == [("big", True)]
        removed = await asyncio.to_thread(command, "remove", "big")
        assert removed.returncode == 0, removed.stderr
        await coordinator.until(lambda: offered(coordinator) == [])
        again = await coordinator.submit("read", model="big")
        await coordinator.until(lambda: again in coordinator.failures)
    assert coordinator.failures[again]["code"] == "MODEL_UNKNOWN"
    assert not (tmp_path / "models" / "big").exists()


async def test_the_least_recently_used_model_is_removed_to_meet_the_quota(
    coordinator: FakeCoordinator, hub: Hub, tmp_path: Path
) -> None:
    async with running(daemon(tmp_path, coordinator, models_quota=3 * 2**20)):
        for name in ("big", "other"):
            job_id = await coordinator.submit("read", model=name)
            await coordinator.until(lambda job_id=job_id: job_id in coordinator.results)
        await coordinator.until(lambda: offered(coordinator) == ["other"])
    assert not (tmp_path / "models" / "big").exists()
