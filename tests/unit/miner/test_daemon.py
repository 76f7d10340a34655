"""A whole miner against a coordinator that speaks the protocol over real sockets, with real child processes."""

# ruff: noqa: ASYNC110, ASYNC220 - processes have no events to wait on, and are started outside the loop under test

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.core.errors import ConfigurationError
from agent.miner.control import ask
from agent.miner.link.errors import RegistrationRefused, SessionSuperseded
from miner_support import sample
from miner_support.coordinator import FakeCoordinator, refusal
from miner_support.sample import make_daemon, running, settings_for
from runners.sandbox import mark

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The event loop that the agent uses."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def coordinator() -> AsyncIterator[FakeCoordinator]:
    fake = FakeCoordinator()
    await fake.start()
    yield fake
    await fake.stop()


async def until(condition: Any, limit: float = 20) -> None:
    """For what no event tells, such as processes."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.01)


async def test_job_becomes_a_signed_result(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("file", text="hello")
        await coordinator.until(lambda: job_id in coordinator.results)
    statement, body = coordinator.statements[job_id], coordinator.results[job_id]
    assert (statement.service, statement.runner_version, statement.unit) == ("sample", "1.0+engine", "letter")
    assert (statement.units, statement.price) == (Decimal(5), Decimal("0.05"))
    file = body["results"]["file"]
    assert file["url"] == f"/v1/artifacts/{file['artifact_id']}"
    assert file | {"artifact_id": "", "url": ""} == {
        "artifact_id": "", "url": "", "media_type": "text/plain", "size": 5, "name": "answer.txt", "lines": 1,
    }  # fmt: skip
    assert coordinator.artifacts[file["artifact_id"]] == b"hello"
    assert statement.subject[1].name == "answer.txt"
    assert not list((tmp_path / "data/miner/jobs").iterdir())


async def test_inputs_come_from_the_coordinator(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    coordinator.artifacts[f"sha256:{digest}"] = b"abc"
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("read", files={"source": f"artifact:sha256:{digest}"})
        missing = await coordinator.submit("read", files={"source": f"artifact:sha256:{'0' * 64}"})
        await coordinator.until(lambda: job_id in coordinator.results and missing in coordinator.failures)
    assert coordinator.results[job_id]["results"]["text"] == "abc"
    assert [(item.name, item.sha256) for item in coordinator.statements[job_id].inputs] == [
        ("source", digest)
    ]
    assert coordinator.failures[missing]["code"] == "INPUT_UNAVAILABLE"


@pytest.mark.parametrize(
    ("mode", "kind", "code"),
    [
        ("fail", "fail", "TEXT_WRONG"),
        ("retry", "retry", "MACHINE_FAULT"),
        ("forged", "fail", "RESULT_INVALID"),
        ("crash", "retry", "RUNNER_CRASHED"),
    ],
)
async def test_failures_say_whose_fault_they_are(
    coordinator: FakeCoordinator, tmp_path: Path, mode: str, kind: str, code: str
) -> None:
    """And the next job runs."""
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        bad = await coordinator.submit(mode)
        good = await coordinator.submit("echo", text="x")
        await coordinator.until(lambda: bad in coordinator.failures and good in coordinator.results)
    assert (coordinator.failures[bad]["kind"], coordinator.failures[bad]["code"]) == (kind, code)


async def test_changed_spec_is_refused(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        lease_of = coordinator._lease
        coordinator._lease = lambda job: lease_of(job) | {"spec": job["spec"] | {"name": "other"}}
        job_id = await coordinator.submit("echo")
        await coordinator.until(lambda: job_id in coordinator.failures)
    assert coordinator.failures[job_id]["code"] == "SPEC_MISMATCH"


async def test_deadline_ends_the_run(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with running(make_daemon(settings_for(tmp_path, cancel_seconds=0.1), coordinator.url)):
        job_id = await coordinator.submit("deaf", timeout=1)
        await coordinator.until(lambda: job_id in coordinator.failures)
    assert coordinator.failures[job_id]["code"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("transport", ["websocket", "poll"])
async def test_cancelled_job_ends_within_two_seconds(
    coordinator: FakeCoordinator, tmp_path: Path, transport: str
) -> None:
    """Also when all slots are busy, no heartbeat is due, and the runner ignores the cancellation."""
    coordinator.heartbeat_seconds = 60
    daemon = make_daemon(settings_for(tmp_path, slots=2, transport=transport), coordinator.url)
    async with running(daemon):
        deaf = await coordinator.submit("deaf")
        await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: len(coordinator.open) == 2)
        await until(lambda: sum(child["busy"] for child in daemon.status()["children"]) == 2)
        began = time.monotonic()
        await coordinator.cancel(deaf)
        await until(lambda: daemon.status()["slots"]["free"] == 1)
        assert time.monotonic() - began < 2
        next_job = await coordinator.submit("echo")
        await coordinator.until(lambda: next_job in coordinator.results)
        (tmp_path / "gate").touch()
    assert deaf not in coordinator.results | coordinator.failures


async def test_polls_when_the_websocket_is_refused(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    """And comes back to the WebSocket when it works again."""
    coordinator.websocket = False
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        for _ in range(3):
            job_id = await coordinator.submit("echo")
            await coordinator.until(lambda job_id=job_id: job_id in coordinator.results)
        assert daemon.status()["connection"] == "poll"
        coordinator.websocket = True
        await until(lambda: daemon.status()["connection"] == "websocket")
        job_id = await coordinator.submit("echo")
        await coordinator.until(lambda: job_id in coordinator.results, 5)


@pytest.mark.parametrize("transport", ["websocket", "poll"])
async def test_never_holds_more_leases_than_slots(
    coordinator: FakeCoordinator, tmp_path: Path, transport: str
) -> None:
    async with running(make_daemon(settings_for(tmp_path, slots=2, transport=transport), coordinator.url)):
        jobs = [await coordinator.submit("echo", text="x") for _ in range(30)]
        await coordinator.until(lambda: all(job_id in coordinator.results for job_id in jobs))
    # A result that waits in the outbox leaves its slot before its lease has ended, so up to two more may be open.
    assert coordinator.most_open <= 4
    assert not coordinator.releases


async def test_result_waits_for_a_coordinator_that_is_away(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        job_id = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: coordinator.open)
        await coordinator.stop()
        (tmp_path / "gate").touch()
        await until(lambda: daemon.status()["outbox"] == 1 and daemon.status()["connection"] == "offline")
        await coordinator.start()
        await coordinator.until(lambda: job_id in coordinator.results)


async def test_running_job_survives_a_forgotten_session(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: coordinator.open)
        coordinator.tokens.clear()
        await coordinator.until(lambda: len(coordinator.registrations) == 2)
        assert coordinator.registrations[1]["holding"] == [{"job_id": job_id, "fence": 1}]
        (tmp_path / "gate").touch()
        await coordinator.until(lambda: job_id in coordinator.results)


@pytest.mark.parametrize("transport", ["websocket", "poll"])
async def test_another_agent_with_the_key_ends_this_one(
    coordinator: FakeCoordinator, tmp_path: Path, transport: str
) -> None:
    daemon = make_daemon(settings_for(tmp_path, transport=transport), coordinator.url)
    async with running(daemon) as task:
        await coordinator.until(lambda: coordinator.heartbeats)
        coordinator.session += 1
        with pytest.raises(SessionSuperseded, match="Another agent"):
            await asyncio.wait_for(asyncio.shield(task), 10)


async def test_lost_lease_is_dropped(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        job_id = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: coordinator.open)
        coordinator.open.clear()
        await until(lambda: not daemon.status()["leases"])
        assert daemon.status()["slots"]["free"] == 1
    assert job_id not in coordinator.results | coordinator.failures | coordinator.releases


async def test_heartbeats_carry_progress(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        await coordinator.submit("wait", gate=str(tmp_path / "gate"))

        def counters() -> list[int]:
            return [lease["counter"] for beat in coordinator.heartbeats for lease in beat["leases"]]

        await coordinator.until(lambda: len(set(counters())) >= 3)
        (tmp_path / "gate").touch()
    assert counters() == sorted(counters())


async def test_events_are_gathered_and_progress_comes_about_once_a_second(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """However fast the runner talks; none of the events is lost, and the first does not wait."""
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("events", gate=str(tmp_path / "gate"))
        kinds = lambda: [event["kind"] for _, _, events in coordinator.events for event in events]  # noqa: E731
        await coordinator.until(lambda: kinds().count("progress") >= 3)
        (tmp_path / "gate").touch()
        await coordinator.until(lambda: job_id in coordinator.results)
    times = [moment for moment, _, _ in coordinator.events]
    assert all(later - earlier > 0.08 for earlier, later in pairwise(times))
    progress = [
        moment
        for moment, _, events in coordinator.events
        if any(event["kind"] == "progress" for event in events)
    ]
    assert all(later - earlier > 0.8 for earlier, later in pairwise(progress))
    tokens = [
        event["data"]["number"]
        for _, _, events in coordinator.events
        for event in events
        if event["kind"] == "token"
    ]
    assert tokens == list(range(100))


async def test_an_output_is_handed_over_while_the_run_goes_on(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """Stored first, then told."""
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("keep", text="half", gate=str(tmp_path / "gate"))
        outputs = lambda: [  # noqa: E731
            event["data"]
            for _, _, events in coordinator.events
            for event in events
            if event["kind"] == "output"
        ]
        [output] = await coordinator.until(outputs)
        assert coordinator.artifacts[output["artifact_id"]] == b"half"
        assert output | {"artifact_id": ""} == {
            "artifact_id": "", "name": "part.txt", "media_type": "text/plain", "size": 4, "extra": {"part": 1},
        }  # fmt: skip
        assert job_id not in coordinator.results
        (tmp_path / "gate").touch()
        await coordinator.until(lambda: job_id in coordinator.results)


async def test_a_run_finds_what_an_earlier_one_has_handed_over(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """What cannot be fetched, or is not what the service declares, is left out: the run can repeat that part."""
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    coordinator.artifacts[f"sha256:{digest}"] = b"abc"

    def handed_over(name: str, content: str = digest, **changes: Any) -> dict[str, Any]:
        made = {"artifact_id": f"sha256:{content}", "name": name, "media_type": "text/plain", "size": 3}
        return {**made, **changes}

    checkpoints = [
        handed_over("part.txt"),
        handed_over("../../identity.key"),
        handed_over("answer.txt"),
        handed_over("lost.txt", "0" * 64),
    ]
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("resume", checkpoints=checkpoints)
        wrong = [handed_over("part.txt", media_type="text/html"), handed_over("lost.txt", size=2)]
        none_id = await coordinator.submit("resume", checkpoints=wrong)
        undeclared = await coordinator.submit("resume", service="batch", checkpoints=checkpoints)
        await coordinator.until(lambda: {job_id, none_id, undeclared} <= coordinator.results.keys())
    assert coordinator.results[job_id]["results"]["resumed"] == {"part.txt": "abc"}
    assert coordinator.results[none_id]["results"]["resumed"] == {}
    assert coordinator.results[undeclared]["results"]["resumed"] == {}


async def test_a_miner_signs_only_what_its_own_run_wrote(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """The output directory begins empty: another miner's file does not stand where this run's output will."""
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    coordinator.artifacts[f"sha256:{digest}"] = b"abc"
    planted = {"artifact_id": f"sha256:{digest}", "name": "part.txt", "media_type": "text/plain", "size": 3}
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("pretend", checkpoints=[planted])
        await coordinator.until(lambda: job_id in coordinator.results or job_id in coordinator.failures)
    assert job_id not in coordinator.results
    assert coordinator.failures[job_id]["code"] == "RUNNER_CRASHED"


async def test_a_miner_takes_as_many_jobs_of_a_batch_as_it_has_seats(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """One slot, four batch_capacity: four jobs run, the fifth stays with the coordinator until one has ended."""
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        gates = [tmp_path / f"gate{number}" for number in range(5)]
        jobs = [await coordinator.submit("wait", service="batch", gate=str(gate)) for gate in gates]
        await coordinator.until(lambda: len(coordinator.open) == 4)
        status = await ask(tmp_path / "data", "status")
        assert (status["slots"], len(status["leases"])) == ({"total": 1, "free": 0}, 4)
        assert jobs[4] not in {job_id for job_id, _ in coordinator.open}
        gates[0].touch()
        await coordinator.until(lambda: jobs[0] in coordinator.results and len(coordinator.open) == 4)
        for gate in gates[1:]:
            gate.touch()
        await coordinator.until(lambda: all(job_id in coordinator.results for job_id in jobs))
    assert coordinator.most_open <= 5  # a result on its way still holds its lease
    assert {statement.runner_name for statement in coordinator.statements.values()} == {"batch"}


async def test_stop_waits_for_running_jobs(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon) as task:
        job_id = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: coordinator.open)
        assert await ask(tmp_path / "data", "stop", drain=True) == {"stopping": True, "running": 1}
        late = await coordinator.submit("echo")
        await coordinator.until(lambda: coordinator.heartbeats)
        (tmp_path / "gate").touch()
        await asyncio.wait_for(task, 10)
    assert job_id in coordinator.results
    assert late not in coordinator.results
    assert not psutil.Process().children()


@pytest.mark.parametrize("impatience", ["time", "second call"])
async def test_stop_hands_unfinished_jobs_back(
    coordinator: FakeCoordinator, tmp_path: Path, impatience: str
) -> None:
    drain_seconds = 0.2 if impatience == "time" else 60
    daemon = make_daemon(settings_for(tmp_path, drain_seconds=drain_seconds), coordinator.url)
    async with running(daemon) as task:
        job_id = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: coordinator.open)
        daemon.request_stop()
        if impatience == "second call":
            daemon.request_stop()
        await asyncio.wait_for(task, 10)
    assert coordinator.releases == {job_id: {"fence": 1, "reason": "shutdown"}}
    assert not list((tmp_path / "data/miner/jobs").iterdir())


async def test_three_machine_faults_pause_the_miner(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        for _ in range(3):
            job_id = await coordinator.submit("retry")
            await coordinator.until(lambda job_id=job_id: job_id in coordinator.failures)
        await coordinator.until(lambda: coordinator.heartbeats[-1]["paused"])
        assert daemon.status()["slots"]["free"] == 0
        assert "rests" in daemon.status()["paused"]


async def test_two_daemons_never_share_a_directory(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with running(make_daemon(settings, coordinator.url)):
        with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
            await make_daemon(settings, coordinator.url).start()
    async with running(make_daemon(settings, coordinator.url)):
        pass


async def test_enrolment_is_explained(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    coordinator.enrolment = "enrol_right"
    with pytest.raises(RegistrationRefused, match="An enrolment token is needed"):
        await make_daemon(settings_for(tmp_path), coordinator.url).start()
    daemon = make_daemon(settings_for(tmp_path), coordinator.url, "enrol_right")
    async with running(daemon):
        assert daemon.api_key == "aitbc_miner_key"
    async with running(daemon := make_daemon(settings_for(tmp_path), coordinator.url, "enrol_right")):
        assert daemon.api_key == "aitbc_miner_key", "the coordinator tells it only once"


async def test_waits_for_a_coordinator_that_is_not_there_yet(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    await coordinator.stop()
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    starting = asyncio.create_task(daemon.start())
    await until(lambda: daemon.miner_id)
    await coordinator.start()
    await asyncio.wait_for(starting, 10)
    daemon.request_stop()
    await asyncio.wait_for(daemon.run(), 10)


async def test_stop_while_the_coordinator_is_away(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    await coordinator.stop()
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    starting = asyncio.create_task(daemon.start())
    await until(lambda: daemon.miner_id)
    daemon.request_stop()
    await asyncio.wait_for(starting, 5)
    await asyncio.wait_for(daemon.run(), 5)


@pytest.mark.chaos
async def test_finished_work_survives_kill_9(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    """Killed between the outbox and the acknowledgement; the next life delivers it, under the lease it still holds."""
    coordinator.result_answers.extend([refusal(503, "SERVICE_UNAVAILABLE")] * 1000)
    process = subprocess.Popen([sys.executable, sample.__file__, str(tmp_path), coordinator.url])
    try:
        job_id = await coordinator.submit("file", text="kept")
        await coordinator.until(lambda: coordinator.result_calls)
        children = psutil.Process(process.pid).children()
        assert children
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive, "children die with their daemon"
    coordinator.result_answers.clear()
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        await coordinator.until(lambda: job_id in coordinator.results)
    assert {"job_id": job_id, "fence": 1} in coordinator.registrations[-1]["holding"]
    assert not list((tmp_path / "data/miner/jobs").iterdir())


@pytest.mark.chaos
async def test_restart_ends_orphans_and_removes_leftovers(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    directory = tmp_path / "data/miner"
    (directory / "jobs/job_old_1/work").mkdir(parents=True)
    orphan, stranger = (
        subprocess.Popen(["sleep", "60"], start_new_session=True, env={mark.VARIABLE: mark.make(of)})
        for of in (directory, tmp_path / "other/miner")
    )
    try:
        async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
            assert orphan.wait(5) == -signal.SIGKILL
            assert stranger.poll() is None, "another miner's is left alone"
            assert not list((directory / "jobs").iterdir())
    finally:
        for process in (orphan, stranger):
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.mark.chaos
async def test_what_a_killed_runner_was_just_starting_ends_with_it(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """Bubblewrap asks the kernel to end it with its parent only some time after its start, and would live on."""
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        await coordinator.submit("wait", gate=str(tmp_path / "never"))
        await until(lambda: any(child["busy"] and child["pid"] for child in daemon.status()["children"]))
        (runner,) = (child["pid"] for child in daemon.status()["children"] if child["busy"])
        environment = {mark.VARIABLE: psutil.Process(runner).environ()[mark.VARIABLE]}
        started = subprocess.Popen(["sleep", "60"], start_new_session=True, env=environment)
        try:
            os.kill(runner, signal.SIGKILL)
            assert await asyncio.to_thread(started.wait, 10) == -signal.SIGKILL
        finally:
            started.kill()
            started.wait()


async def test_full_outbox_stops_taking_work(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    coordinator.result_answers.extend([refusal(503, "SERVICE_UNAVAILABLE")] * 1000)
    daemon = make_daemon(settings_for(tmp_path, max_outbox=1), coordinator.url)
    async with running(daemon):
        first = await coordinator.submit("echo")
        await until(lambda: daemon.status()["outbox"] == 1)
        second = await coordinator.submit("echo")
        await coordinator.until(lambda: coordinator.result_calls >= 2)
        assert (second, 1) not in coordinator.given
        coordinator.result_answers.clear()
        await coordinator.until(lambda: first in coordinator.results and second in coordinator.results)
