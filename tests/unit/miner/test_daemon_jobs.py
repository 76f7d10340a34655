"""Jobs through a whole miner, whose coordinator speaks the protocol over real sockets, with real child processes."""

from __future__ import annotations

import time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent import __version__
from agent.miner.control import ask
from miner_support.coordinator import FakeCoordinator, refusal
from miner_support.daemons import make_daemon, running, settings_for, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_hosts")]


async def test_a_job_becomes_a_signed_result(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("file", text="hello")
        await coordinator.until(lambda: job_id in coordinator.results)
    statement, body = coordinator.statements[job_id], coordinator.results[job_id]
    assert (statement.service, statement.runner_version, statement.unit) == (
        "scripted",
        "1.0+engine",
        "letter",
    )
    assert (statement.units, statement.price) == (Decimal(5), Decimal("0.05"))
    file = body["results"]["file"]
    assert file["url"] == f"/v1/artifacts/{file['artifact_id']}"
    assert file | {"artifact_id": "", "url": ""} == {
        "artifact_id": "", "url": "", "media_type": "text/plain", "size": 5, "name": "answer.txt", "lines": 1,
    }  # fmt: skip
    assert coordinator.artifacts[file["artifact_id"]] == b"hello"
    assert statement.subject[1].name == "answer.txt"
    assert not list((tmp_path / "data/miner/jobs").iterdir())


@pytest.mark.parametrize(
    ("coordinators", "stated"), [({"engine_versions": True}, "1.0+second engine"), ({}, "1.0+engine")]
)
async def test_a_statement_names_the_engine_that_ran_unless_the_coordinator_is_too_old(
    coordinator: FakeCoordinator, tmp_path: Path, coordinators: dict[str, Any], stated: str
) -> None:
    coordinator.registered = coordinators
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("second_engine")
        await coordinator.until(lambda: job_id in coordinator.results)
    (offer,) = coordinator.registrations
    assert offer["capabilities"]["services"]["scripted"]["versions"] == ["1.0+engine", "1.0+second engine"]
    assert coordinator.statements[job_id].runner_version == stated


async def test_a_run_of_an_engine_that_was_replaced_is_not_signed(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    coordinator.registered = {"engine_versions": True}
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("second_engine", text="newer")
        await coordinator.until(lambda: job_id in coordinator.failures)
    assert coordinator.failures[job_id]["code"] == "RUNNER_REPLACED"


async def test_each_service_has_a_child_before_its_first_job(
    coordinator: FakeCoordinator, tmp_path: Path, prestarted: pytest.MonkeyPatch
) -> None:
    prestarted.undo()
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        await until(lambda: len(daemon.status()["children"]) == 2)
        children = daemon.status()["children"]
    assert {child["service"] for child in children} == {"scripted", "batch"}
    assert not any(child["busy"] or child["runs"] for child in children)


async def test_inputs_are_fetched_from_the_coordinator(coordinator: FakeCoordinator, tmp_path: Path) -> None:
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
        ("poison", "retry", "ENGINE_DIED"),
    ],
)
async def test_failures_state_whether_the_client_or_the_machine_caused_them(
    coordinator: FakeCoordinator, tmp_path: Path, mode: str, kind: str, code: str
) -> None:
    """The next job runs nevertheless."""
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        bad = await coordinator.submit(mode)
        good = await coordinator.submit("echo", text="x")
        await coordinator.until(lambda: bad in coordinator.failures and good in coordinator.results)
    assert (coordinator.failures[bad]["kind"], coordinator.failures[bad]["code"]) == (kind, code)


async def test_a_long_reason_reaches_the_client_to_its_end(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """Such as a traceback, whose last lines are those that matter. Its lines stay lines."""
    reason = "predict failed\n\n" + "  a line of the traceback\n" * 130 + "ValueError: no share"
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("fail", text=reason)
        await coordinator.until(lambda: job_id in coordinator.failures)
    assert coordinator.failures[job_id]["message"] == reason


async def test_a_process_whose_engine_died_gets_no_other_job(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    pids = []
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        for mode in ("echo", "echo", "poison", "echo"):
            job_id = await coordinator.submit(mode)
            await coordinator.until(lambda: job_id in coordinator.failures | coordinator.results)  # noqa: B023 - awaited here
            if mode == "echo":
                pids.append(coordinator.results[job_id]["results"]["pid"])
    assert pids[0] == pids[1] != pids[2]


async def test_a_changed_spec_is_refused(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        lease_of = coordinator._lease
        coordinator._lease = lambda job: lease_of(job) | {"spec": job["spec"] | {"name": "other"}}
        job_id = await coordinator.submit("echo")
        await coordinator.until(lambda: job_id in coordinator.failures)
    assert coordinator.failures[job_id]["code"] == "SPEC_MISMATCH"


async def test_a_lease_that_is_not_understood_fails_with_a_reason(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """It is answered, so that its attempt counts, and the owner sees it. One without a job can only be shown."""
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        lease_of = coordinator._lease
        coordinator._lease = lambda job: {
            name: value for name, value in lease_of(job).items() if name != "checkpoints"
        }
        job_id = await coordinator.submit("echo")
        await coordinator.until(lambda: job_id in coordinator.failures)
        shown = daemon.status()["malformed_leases"]
        coordinator._lease = lambda job: {"lease": lease_of(job)}
        await coordinator.submit("echo")
        await until(lambda: daemon.status()["malformed_leases"]["count"] == 2)
        coordinator._lease = lease_of
        good = await coordinator.submit("echo")
        await coordinator.until(lambda: good in coordinator.results)
        unknown = daemon.status()["malformed_leases"]
    failure = coordinator.failures[job_id]
    assert (failure["kind"], failure["code"]) == ("retry", "LEASE_MALFORMED")
    assert "(Lease: checkpoints)" in failure["message"]
    assert (shown["count"], shown["job_id"], shown["reason"]) == (1, job_id, "Lease: checkpoints")
    assert unknown["job_id"] is None


async def test_parameters_that_are_not_understood_are_no_fault_of_the_client(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """A coordinator of another version has accepted them. The owner sees it, and the service goes on."""
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        job_id = await coordinator.submit("echo", newer_field=1)
        await coordinator.until(lambda: job_id in coordinator.failures)
        await until(lambda: daemon.status()["malformed_leases"] is not None)
        shown = daemon.status()["malformed_leases"]
        good = await coordinator.submit("echo")
        await coordinator.until(lambda: good in coordinator.results)
    failure = coordinator.failures[job_id]
    assert (failure["kind"], failure["code"]) == ("retry", "LEASE_MALFORMED")
    assert "newer_field" in failure["message"]
    assert (shown["count"], shown["job_id"], shown["reason"]) == (1, job_id, "the parameters of scripted")


async def test_a_miner_of_another_version_keeps_its_results_and_waits_for_an_update(
    coordinator: FakeCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why it is not connected; when the coordinator has been updated, it registers and sends them."""
    monkeypatch.setattr("agent.miner.link.client._INCOMPATIBLE_SECONDS", 0.05)
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        job_id = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: coordinator.open)
        coordinator.version_problem = "Update the miner's agent."
        coordinator.tokens.clear()
        await coordinator.until(lambda: coordinator.refused_registrations >= 2)
        (tmp_path / "gate").touch()
        await until(lambda: daemon.status()["outbox"] == 1)
        status = daemon.status()
        assert (status["connection"], status["refusal"]) == ("offline", "Update the miner's agent.")
        assert job_id not in coordinator.results
        coordinator.version_problem = None
        await coordinator.until(lambda: job_id in coordinator.results)
        await until(lambda: daemon.status()["refusal"] is None)


async def test_a_miner_of_an_older_version_shows_its_owner_that_it_should_be_updated(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """While it still gets jobs."""
    major, minor, _ = __version__.split(".", 2)
    newer = f"{major}.{int(minor) + 1}.0"
    coordinator.registered = {"version": newer}
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        job_id = await coordinator.submit("echo")
        await coordinator.until(lambda: job_id in coordinator.results)
        advice = daemon.status()["version_advice"]
    assert f"is older than the coordinator's, {newer}" in advice
    assert "Update its agent" in advice


async def test_the_deadline_ends_the_run(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with running(make_daemon(settings_for(tmp_path, cancel_seconds=0.1), coordinator.url)):
        job_id = await coordinator.submit("deaf", timeout=1)
        await coordinator.until(lambda: job_id in coordinator.failures)
    assert coordinator.failures[job_id]["code"] == "DEADLINE_EXCEEDED"


async def test_a_lost_run_that_every_heartbeat_reports_again_leaves_the_others_in_its_process(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    coordinator.heartbeat_seconds = 0.3
    daemon = make_daemon(settings_for(tmp_path, slots=2, cancel_seconds=0.1), coordinator.url)
    async with running(daemon):
        other = await coordinator.submit("wait", service="batch", gate=str(tmp_path / "gate"))
        deaf = await coordinator.submit("deaf", service="batch")
        await until(lambda: [lease["stage"] for lease in daemon.status()["leases"]] == ["running"] * 2)
        await coordinator.cancel(deaf)
        heartbeats = len(coordinator.heartbeats)
        await coordinator.until(lambda: len(coordinator.heartbeats) > heartbeats + 3)
        (tmp_path / "gate").touch()
        await coordinator.until(lambda: other in coordinator.results | coordinator.failures)
    assert other in coordinator.results


@pytest.mark.parametrize("transport", ["websocket", "poll"])
async def test_a_cancelled_job_ends_without_a_heartbeat(
    coordinator: FakeCoordinator, tmp_path: Path, transport: str
) -> None:
    """Even if all slots are busy, no heartbeat is due, and the runner ignores the cancellation."""
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
        assert time.monotonic() - began < 30
        next_job = await coordinator.submit("echo")
        await coordinator.until(lambda: next_job in coordinator.results)
        (tmp_path / "gate").touch()
    assert deaf not in coordinator.results | coordinator.failures


async def test_the_miner_polls_when_the_websocket_is_refused(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """It returns to the WebSocket when that works again."""
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
        await coordinator.until(lambda: job_id in coordinator.results)


@pytest.mark.parametrize("transport", ["websocket", "poll"])
async def test_a_miner_never_holds_more_leases_than_slots(
    coordinator: FakeCoordinator, tmp_path: Path, transport: str
) -> None:
    async with running(make_daemon(settings_for(tmp_path, slots=2, transport=transport), coordinator.url)):
        jobs = [await coordinator.submit("echo", text="x") for _ in range(30)]
        await coordinator.until(lambda: all(job_id in coordinator.results for job_id in jobs))
    # A result in the outbox frees its slot before its lease ends, so up to two more leases may be open.
    assert coordinator.most_open <= 4
    assert not coordinator.releases


async def test_a_result_waits_for_a_coordinator_that_is_down(
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


async def test_a_running_job_survives_a_forgotten_session(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: coordinator.open)
        coordinator.tokens.clear()
        await coordinator.until(lambda: len(coordinator.registrations) == 2)
        assert coordinator.registrations[1]["holding"] == [{"job_id": job_id, "fence": 1}]
        (tmp_path / "gate").touch()
        await coordinator.until(lambda: job_id in coordinator.results)


async def test_the_run_of_a_lost_lease_is_dropped(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        job_id = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: coordinator.open)
        coordinator.open.clear()
        await until(lambda: not daemon.status()["leases"])
        assert daemon.status()["slots"]["free"] == 1
    assert job_id not in coordinator.results | coordinator.failures | coordinator.releases


async def test_heartbeats_contain_progress(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        await coordinator.submit("wait", gate=str(tmp_path / "gate"))

        def counters() -> list[int]:
            return [lease["counter"] for beat in coordinator.heartbeats for lease in beat["leases"]]

        await coordinator.until(lambda: len(set(counters())) >= 3)
        (tmp_path / "gate").touch()
    assert counters() == sorted(counters())


async def test_events_are_batched_and_progress_is_sent_about_once_a_second(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """However fast the runner emits them. No event is lost, and the first is sent at once."""
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


@pytest.mark.parametrize("error", ["", "The text is wrong."])
async def test_what_a_run_writes_is_sent_to_the_coordinator_and_to_no_log_of_the_machine(
    coordinator: FakeCoordinator, tmp_path: Path, error: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """While the job runs, and whole with its outcome: the beginning and the end of a long log. Times are the coordinator's."""
    coordinator.clock_ahead = 3600.0
    async with running(make_daemon(settings_for(tmp_path, max_job_log=8192), coordinator.url)):
        job_id = await coordinator.submit("log", gate=str(tmp_path / "gate"), text=error)
        await coordinator.until(lambda: coordinator.lines == ["the first line"])
        (tmp_path / "gate").touch()
        ended = coordinator.failures if error else coordinator.results
        await coordinator.until(lambda: job_id in ended)
    log = ended[job_id]["log"]
    lines = [line["text"] for line in log["entries"]]
    assert log["truncated"]
    assert lines[:3] == ["the first line", "line 0", "line 1"]
    assert lines[-2:] == ["line 4998", "line 4999"]
    assert sum(len(line) + 32 for line in lines) <= 8192
    assert {line["source"] for line in log["entries"]} == {"stdout", "stderr"}
    assert all(abs(line["time"] - time.time() - 3600) < 60 for line in log["entries"])
    written = [path.read_text() for path in (tmp_path / "data").rglob("*.log*")]
    assert not any("the first line" in text for text in (*written, *capfd.readouterr()))


async def test_a_run_that_writes_nothing_sends_no_log(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("echo", text="x")
        await coordinator.until(lambda: job_id in coordinator.results)
    assert "log" not in coordinator.results[job_id]


async def test_a_checkpoint_is_uploaded_while_the_run_continues(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """The file is stored before the event is sent."""
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


async def test_a_run_gets_the_checkpoints_of_an_earlier_one(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """Checkpoints that cannot be fetched, or that the service does not declare, are omitted."""
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    coordinator.artifacts[f"sha256:{digest}"] = b"abc"

    def checkpoint(name: str, content: str = digest, **changes: Any) -> dict[str, Any]:
        made = {
            "artifact_id": f"sha256:{content}",
            "name": name,
            "media_type": "text/plain",
            "size": 3,
            "extra": {},
        }
        return {**made, **changes}

    checkpoints = [
        checkpoint("part.txt"),
        checkpoint("../../identity.key"),
        checkpoint("answer.txt"),
        checkpoint("lost.txt", "0" * 64),
    ]
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("resume", checkpoints=checkpoints)
        wrong = [checkpoint("part.txt", media_type="text/html"), checkpoint("lost.txt", size=2)]
        none_id = await coordinator.submit("resume", checkpoints=wrong)
        undeclared = await coordinator.submit("resume", service="batch", checkpoints=checkpoints)
        await coordinator.until(lambda: {job_id, none_id, undeclared} <= coordinator.results.keys())
    assert coordinator.results[job_id]["results"]["resumed"] == {"part.txt": "abc"}
    assert coordinator.results[none_id]["results"]["resumed"] == {}
    assert coordinator.results[undeclared]["results"]["resumed"] == {}


async def test_a_miner_signs_only_files_of_its_own_run(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    """The output directory is empty at first: it contains no file of another miner."""
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    coordinator.artifacts[f"sha256:{digest}"] = b"abc"
    planted = {
        "artifact_id": f"sha256:{digest}",
        "name": "part.txt",
        "media_type": "text/plain",
        "size": 3,
        "extra": {},
    }
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("pretend", checkpoints=[planted])
        await coordinator.until(lambda: job_id in coordinator.results or job_id in coordinator.failures)
    assert job_id not in coordinator.results
    assert coordinator.failures[job_id]["code"] == "RUNNER_CRASHED"


async def test_a_miner_accepts_jobs_up_to_its_batch_capacity(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """With one slot and a batch capacity of four, four jobs run, and the coordinator holds the fifth until one has ended."""
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
    assert coordinator.most_open <= 5  # the lease of a result in transit is still open
    assert {statement.runner_name for statement in coordinator.statements.values()} == {"batch"}


async def test_machine_faults_of_three_jobs_pause_their_service_only(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        for _ in range(3):
            job_id = await coordinator.submit("retry")
            await coordinator.until(lambda job_id=job_id: job_id in coordinator.failures)
        await coordinator.until(
            lambda: any(
                offer.get("paused")
                for beat in coordinator.heartbeats
                for offer in ((beat["capabilities"] or {}).get("services") or {}).values()
            )
        )
        (paused,) = daemon.status()["paused_services"]
        assert (daemon.status()["paused"], daemon.status()["slots"]["free"]) == (None, 1)
        job_id = await coordinator.submit("echo", service="batch")
        await coordinator.until(lambda: job_id in coordinator.results)
        assert paused != "batch"


async def test_a_driver_that_is_too_old_withdraws_the_service_after_one_job(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """The owner reads what to do; the machine's other services go on."""
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        job_id = await coordinator.submit("poison", text="The NVIDIA driver on your system is too old")
        await coordinator.until(lambda: job_id in coordinator.failures)
        assert coordinator.failures[job_id]["code"] == "GPU_UNSUPPORTED"
        await until(lambda: daemon.status()["paused_services"])
        ((service, reason),) = daemon.status()["paused_services"].items()
        assert (service, "Update the driver" in reason) == ("scripted", True)
        job_id = await coordinator.submit("echo", service="batch")
        await coordinator.until(lambda: job_id in coordinator.results)


async def test_a_full_outbox_accepts_no_more_leases(coordinator: FakeCoordinator, tmp_path: Path) -> None:
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
