"""Probes that are slow: they go on, they are repeated, and they take nothing away that worked."""

from __future__ import annotations

import asyncio
import queue
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.miner.daemon import Daemon
from agent.miner.machine.capabilities import Capabilities, Machine
from agent.miner.machine.gpus import Gpus
from agent.miner.machine.probe_results import ProbeResults
from agent.miner.models.store import ModelStore
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import HOST, running, settings_for
from miner_support.runner import ScriptedRunner
from runners.api import Probe, Runner, TimedOut, Tools
from runners.sandbox import bubblewrap

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_hosts")]

WORKS = Probe(available=True, version="7.1")
FAILS = Probe(available=False, reasons=("ffmpeg was not found.",))


class Answers:
    """The answers of a runner's probe, each of which it waits for."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Probe | Exception] = queue.Queue()
        self.calls = 0

    def runner(self) -> type[Runner[Any]]:
        answers = self

        class Slow(ScriptedRunner):
            @classmethod
            def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - the contract's signature
                answers.calls += 1
                answer = answers.queue.get(timeout=300)
                if isinstance(answer, Exception):
                    raise answer
                return answer

        return Slow


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def machine(answers: Answers, tmp_path: Path) -> Callable[[ProbeResults], Machine]:
    runner = answers.runner()

    def make(results: ProbeResults) -> Machine:
        settings = settings_for(tmp_path, probe_seconds=0.05)
        return Machine(settings, Gpus(), ModelStore(tmp_path, {}), {"scripted": runner}, results=results)

    return make


async def until_changed(machine: Machine) -> None:
    async with asyncio.timeout(60):
        while not machine.changed():  # noqa: ASYNC110 - the daemon polls it too
            await asyncio.sleep(0.01)


async def probed(machine: Machine, answers: Answers, answer: Probe) -> Capabilities:
    """Probe the machine until it has this answer."""
    await machine.probe()
    answers.queue.put(answer)
    await until_changed(machine)
    return await machine.probe()


async def test_a_slow_probe_goes_on_and_its_service_is_offered_when_it_succeeds(
    machine: Callable[[ProbeResults], Machine], answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (4000.0, 0.0, 0.0))
    subject = machine(ProbeResults())
    (reason,) = (await subject.probe()).unavailable["scripted"]
    assert reason.startswith(
        "The probe of scripted did not end within 0.05 s. This machine is busy (load 4000 "
    )
    assert "uninstall" not in reason
    assert not subject.changed()
    answers.queue.put(WORKS)
    await until_changed(subject)
    assert list((await subject.probe()).services) == ["scripted"]
    assert (answers.calls, subject.changed()) == (1, False)


async def test_what_worked_is_offered_until_a_probe_fails_for_another_reason_than_time(
    machine: Callable[[ProbeResults], Machine], answers: Answers
) -> None:
    results = ProbeResults()
    subject = machine(results)
    await probed(subject, answers, WORKS)
    results.forget()
    successor = machine(results)
    assert list((await successor.probe()).services) == ["scripted"], "though its second probe is slow"
    answers.queue.put(FAILS)
    await until_changed(successor)
    assert (await successor.probe()).unavailable == {"scripted": FAILS.reasons}
    results.forget()
    (reason,) = (await machine(results).probe()).unavailable["scripted"]
    assert reason.startswith("The probe of scripted did not end")
    answers.queue.put(WORKS)


async def test_a_probe_during_which_the_machine_changed_does_not_count(
    machine: Callable[[ProbeResults], Machine], answers: Answers
) -> None:
    results = ProbeResults()
    subject = machine(results)
    await subject.probe()
    results.forget()
    answers.queue.put(FAILS)
    answers.queue.put(WORKS)
    await until_changed(subject)
    assert list((await subject.probe()).services) == ["scripted"]


async def test_a_probe_that_was_ended_is_repeated_until_it_has_an_answer(
    machine: Callable[[ProbeResults], Machine], answers: Answers
) -> None:
    subject = machine(ProbeResults(pauses=(0.01,)))
    await subject.probe()
    for _ in range(3):
        answers.queue.put(TimedOut("Blender did not end within 200 s."))
    answers.queue.put(WORKS)
    # On a busy machine, the miner reports that a probe was ended before the last one succeeds.
    async with asyncio.timeout(60):
        while list((await subject.probe()).services) != ["scripted"]:
            pass
    assert answers.calls == 4


async def test_the_reason_says_that_a_probe_was_ended(
    machine: Callable[[ProbeResults], Machine], answers: Answers
) -> None:
    subject = machine(ProbeResults())
    answers.queue.put(TimedOut("Blender did not end within 200 s."))
    async with asyncio.timeout(60):
        while not (reason := (await subject.probe()).unavailable["scripted"][0]).startswith("Blender did"):
            pass
    assert reason.endswith(
        "The probe of scripted is repeated, and the service is offered as soon as it succeeds."
    )


async def test_what_works_is_offered_while_a_part_is_undecided(
    machine: Callable[[ProbeResults], Machine], answers: Answers
) -> None:
    subject = machine(ProbeResults(pauses=(0.01,)))
    part = Probe(available=True, features={"engines": ["cycles"]}, undecided=True)
    assert (await probed(subject, answers, part)).services["scripted"].features["engines"] == ["cycles"]
    answers.queue.put(Probe(available=True, features={"engines": ["cycles", "eevee"]}))
    await until_changed(subject)
    assert "eevee" in (await subject.probe()).services["scripted"].features["engines"]


async def test_a_daemon_offers_a_service_without_a_restart_when_its_probe_has_ended(
    coordinator: FakeCoordinator, answers: Answers, tmp_path: Path
) -> None:
    results = ProbeResults()
    runner = answers.runner()

    def daemon() -> Daemon:
        settings = settings_for(tmp_path, probe_seconds=0.05, gpu_poll_seconds=0.05)
        return Daemon(
            settings, coordinator.url, runners={"scripted": runner}, host_command=HOST, probes=results
        )

    subject = daemon()
    async with running(subject) as working:
        assert coordinator.registrations[-1]["capabilities"]["services"] == {}
        answers.queue.put(WORKS)
        await asyncio.wait_for(working, 60)
        assert subject.machine_changed
    async with running(daemon()):
        assert list(coordinator.registrations[-1]["capabilities"]["services"]) == ["scripted"]
    assert answers.calls == 1


def test_a_slow_test_of_the_sandbox_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, timeout: float, **__: Any) -> None:
        raise subprocess.TimeoutExpired("bwrap", timeout)

    with monkeypatch.context() as slow:
        slow.setattr(bubblewrap.subprocess, "run", run)
        for _ in range(2):
            with pytest.raises(TimedOut, match="did not end within 200 s"):
                bubblewrap.unavailable("/bin/true")
    reason = bubblewrap.unavailable("/bin/true") or ""
    assert "did not end" not in reason
