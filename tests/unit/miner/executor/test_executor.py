"""Child processes, with the real host and a runner that misbehaves on request."""

# ruff: noqa: ASYNC110 - processes have no events to wait on

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.miner.engines.interpreters import Interpreter, Interpreters
from agent.miner.executor.child import RunListener
from agent.miner.executor.contract import Execution
from agent.miner.executor.local import LocalExecutor
from agent.miner.executor.output import MAX_FILE, ChildOutput
from agent.miner.settings import MinerSettings
from miner_support.daemons import HOST, no_remaining_children
from runners.api import Device, Fail, Retry, Tools
from runners.host.protocol import Run

pytestmark = pytest.mark.anyio
forked = pytest.mark.usefixtures("forked_hosts")
CPU = Device(kind="cpu", name="cpu")


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


@asynccontextmanager
async def executor(
    tmp_path: Path, devices: tuple[Device, ...] = (CPU,), **settings: Any
) -> AsyncIterator[LocalExecutor]:
    subject = LocalExecutor(
        devices, Tools(), MinerSettings(**settings), tmp_path, interpreters=Interpreters(Interpreter(HOST))
    )
    async with no_remaining_children():
        try:
            yield subject
        finally:
            await asyncio.wait_for(subject.close(), 60)


async def do(
    subject: LocalExecutor,
    tmp_path: Path,
    mode: str,
    on_progress: Callable[[float, Decimal], None] | None = None,
    **parameters: Any,
) -> Execution:
    output, work = tmp_path / "output", tmp_path / "work"
    output.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    message = Run(
        run_id=os.urandom(4).hex(),
        parameters={"mode": mode, **parameters},
        output=output,
        work=work,
        timeout_seconds=60,
    )
    ignore: Callable[..., None] = lambda *_: None  # noqa: E731
    return await subject.run("scripted", None, message, RunListener(progress=on_progress or ignore))


async def until(condition: Callable[[], Any], limit: float = 120) -> None:
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_child_stays_alive_and_sees_its_device(tmp_path: Path) -> None:
    async with executor(tmp_path) as subject:
        first = await do(subject, tmp_path, "echo", text="abc")
        second = await do(subject, tmp_path, "echo", text="abc")
        assert first.done.results["pid"] == second.done.results["pid"]
        assert first.done.units == Decimal(3)
        environment = psutil.Process(first.done.results["pid"]).environ()
        assert environment["CUDA_VISIBLE_DEVICES"] == ""


async def test_gpu_children_see_one_gpu_each(tmp_path: Path) -> None:
    """Two concurrent jobs run on two GPUs."""
    cards = tuple(Device(kind="cuda", name="card", uuid=f"GPU-{number}") for number in range(2))
    async with executor(tmp_path, cards) as subject:
        done = await asyncio.gather(do(subject, tmp_path, "echo"), do(subject, tmp_path, "echo"))
        pids = [execution.done.results["pid"] for execution in done]
        seen = {psutil.Process(pid).environ()["CUDA_VISIBLE_DEVICES"] for pid in pids}
        assert seen == {"GPU-0", "GPU-1"} == {execution.device.uuid for execution in done}


async def test_children_do_not_get_the_agents_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AITBC_MINER__ENROLMENT_TOKEN", "secret")
    async with executor(tmp_path) as subject:
        done = (await do(subject, tmp_path, "echo")).done
        assert "AITBC_MINER__ENROLMENT_TOKEN" not in psutil.Process(done.results["pid"]).environ()


@forked
async def test_a_failed_run_leaves_the_child_usable(tmp_path: Path) -> None:
    async with executor(tmp_path) as subject:
        before = await do(subject, tmp_path, "echo")
        with pytest.raises(Fail, match="The text is wrong"):
            await do(subject, tmp_path, "fail")
        with pytest.raises(Retry, match="tired"):
            await do(subject, tmp_path, "retry")
        after = await do(subject, tmp_path, "echo")
        assert before.done.results["pid"] == after.done.results["pid"]


@forked
@pytest.mark.parametrize(
    ("mode", "message"),
    [("crash", r"SIGSEGV.*about to crash"), ("exit", "exit status 3"), ("garbage", "malformed message")],
)
async def test_a_broken_child_is_replaced(tmp_path: Path, mode: str, message: str) -> None:
    async with executor(tmp_path) as subject:
        before = await do(subject, tmp_path, "echo")
        with pytest.raises(Retry, match=message) as caught:
            await do(subject, tmp_path, mode)
        assert caught.value.code == "RUNNER_CRASHED"
        await until(lambda: not psutil.pid_exists(before.done.results["pid"]))
        after = await do(subject, tmp_path, "echo")
        assert before.done.results["pid"] != after.done.results["pid"]


@forked
async def test_a_child_that_leaks_memory_is_ended_at_its_limit(tmp_path: Path) -> None:
    """The failure states why, and the next job runs in a new child."""
    async with executor(tmp_path, child_memory=512 * 2**20) as subject:
        before = await do(subject, tmp_path, "echo")
        with pytest.raises(Retry, match=r"more than 0\.5 GiB of memory") as caught:
            await do(subject, tmp_path, "leak")
        assert caught.value.code == "OUT_OF_MEMORY"
        after = await do(subject, tmp_path, "echo")
        assert before.done.results["pid"] != after.done.results["pid"]


@forked
async def test_a_child_without_progress_counts_as_hung(tmp_path: Path) -> None:
    """A child with progress is never ended, however long it takes."""
    async with executor(tmp_path, stall_seconds=0.5) as subject:
        with pytest.raises(Retry) as caught:
            await do(subject, tmp_path, "deaf")
        assert caught.value.code == "RUNNER_HUNG"
        busy = asyncio.create_task(do(subject, tmp_path, "wait", gate=str(tmp_path / "gate")))
        done, _ = await asyncio.wait([busy], timeout=1.5)
        assert not done
        (tmp_path / "gate").touch()
        await busy


@forked
async def test_a_cancelled_run_ends_by_itself(tmp_path: Path) -> None:
    """The child of a runner that checks for cancellation stays alive, with its loaded model."""
    async with executor(tmp_path) as subject:
        before = await do(subject, tmp_path, "echo")
        started = asyncio.Event()
        task = asyncio.create_task(
            do(subject, tmp_path, "wait", lambda *_: started.set(), gate=str(tmp_path / "gate"))
        )
        await asyncio.wait_for(started.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 60)
        after = await do(subject, tmp_path, "echo")
        assert before.done.results["pid"] == after.done.results["pid"]


@forked
async def test_a_child_that_ignores_a_cancellation_is_ended(tmp_path: Path) -> None:
    async with executor(tmp_path, cancel_seconds=0.2) as subject:
        started = asyncio.Event()
        task = asyncio.create_task(do(subject, tmp_path, "deaf", lambda *_: started.set()))
        await asyncio.wait_for(started.wait(), 60)
        child = psutil.Process(subject.status()[0]["pid"])
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 60)
        assert time.monotonic() - began < 30
        assert not child.is_running()


@forked
async def test_an_idle_child_is_ended(tmp_path: Path) -> None:
    async with executor(tmp_path, idle_seconds=0.2) as subject:
        done = (await do(subject, tmp_path, "echo")).done
        await until(lambda: not psutil.pid_exists(done.results["pid"]) and subject.status() == [])


@forked
async def test_a_prestarted_child_runs_the_first_job(tmp_path: Path, prestarted: pytest.MonkeyPatch) -> None:
    """Another one is started in advance when it ends."""
    prestarted.undo()
    async with executor(tmp_path) as subject:
        subject.prestart({"scripted": False})
        await until(lambda: subject.status() and not subject.status()[0]["busy"])
        [child] = subject.status()
        assert (await do(subject, tmp_path, "echo")).done.results["pid"] == child["pid"]
        os.kill(child["pid"], signal.SIGKILL)
        await until(lambda: [other["pid"] for other in subject.status()] not in ([], [child["pid"]]))


async def test_a_child_that_cannot_start_is_a_machine_fault(tmp_path: Path) -> None:
    subject = LocalExecutor(
        (CPU,), Tools(), MinerSettings(), tmp_path, interpreters=Interpreters(Interpreter(("/bin/false",)))
    )
    with pytest.raises(Retry, match="exit status 1"):
        await do(subject, tmp_path, "echo")
    await subject.close()


def test_log_files_are_bounded(tmp_path: Path) -> None:
    output = ChildOutput(tmp_path / "logs/a.log")
    for number in range(5):
        output.write(b"%d" % number * 300_000 + b"\n")
    output.write(b"the end\n")
    output.close()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "logs").iterdir()}
    assert sizes.keys() == {"a.log", "a.log.1"}
    assert all(size <= MAX_FILE for size in sizes.values())
    assert output.tail(1) == "the end"
