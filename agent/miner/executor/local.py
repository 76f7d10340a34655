"""Runs jobs in child processes of this machine.

A child belongs to one service and one device and stays warm between jobs, since starting an engine and loading a model
take longer than many jobs do. Idle ones end after a while. One child per offered service is started ahead, without a
model: it costs little, as engines are imported with the first model, and a lease then finds it ready.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from agent.miner.background import Background
from agent.miner.executor.child import Child, OnEvent, OnProgress
from agent.miner.executor.output import ChildOutput
from agent.miner.executor.records import ChildRecords
from agent.settings import MinerSettings
from runners._base import Device, Model, Retry, Tools
from runners._protocol import Done, Run, RunnerIdentity

HOST_COMMAND: Final = (sys.executable, "-P", "-m", "runners._host")
"""`-P`: a module in the current directory must not take the place of an engine's."""
MAX_PRESTARTED: Final = 3
"""How many children are started ahead; a machine that offers more services starts the others on demand."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Execution:
    """A run that succeeded: its results, and what the receipt says about where they come from."""

    done: Done
    runner: RunnerIdentity
    device: Device
    weights: tuple[Path, ...]


class LocalExecutor:
    """`run` may be called for several jobs at once. `close` ends all children.

    `directory` holds logs and records. `on_run_written(run_id, nanoseconds)` is called with the monotonic time at which
    a run was handed to its child, for measuring. `command` replaces the child's program in tests.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        tools: Tools,
        settings: MinerSettings,
        directory: Path,
        *,
        command: Sequence[str] = HOST_COMMAND,
        on_run_written: Callable[[str, int], None] | None = None,
    ) -> None:
        self._devices = tuple(devices)
        self._tools = tools
        self._settings = settings
        self._directory = directory
        self._command = tuple(command)
        self._on_run_written = on_run_written
        self._records = ChildRecords(directory / "children.json")
        self._outputs: dict[tuple[str, Device], ChildOutput] = {}
        self._children: set[Child] = set()
        self._busy: set[Child] = set()
        self._timed: set[Child] = set()  # idle children have one timer each, however many jobs they did
        self._running: Counter[Device] = Counter()
        self._ahead: dict[str, bool] = {}
        self._background = Background()
        self._closing = False

    def end_orphans(self) -> None:
        """End children that a former life of the daemon left behind."""
        self._records.end_orphans()

    def prestart(self, services: Mapping[str, bool]) -> None:
        """Keep one child ready for each of the first few `services`, from now on.

        The values say whether the service has models; the runner of one that has none is loaded too.
        """
        self._ahead = dict(itertools.islice(services.items(), MAX_PRESTARTED))
        self._fill_up()

    async def run(
        self, service: str, model: Model | None, message: Run, *, on_progress: OnProgress, on_event: OnEvent
    ) -> Execution:
        """Do one job. Raises `Fail` or `Retry`. Cancelling the calling task ends the job first."""
        device = self._choose_device(service, model)
        self._running[device] += 1
        child = self._take_idle(service, device, model)
        try:
            if child is None:
                child = await self._start(service, device)
                self._busy.add(child)
            if not child.loaded or child.model != (model.name if model is not None else None):
                await self._make_room(child)
                await child.load(model, self._settings.load_seconds)
            done = await child.run(
                message,
                on_written=lambda: self._written(message.run_id),
                on_progress=on_progress,
                on_event=on_event,
                stall_seconds=self._settings.stall_seconds,
                cancel_seconds=self._settings.cancel_seconds,
            )
            return Execution(done, child.runner, child.device, tuple(done.weights))
        finally:
            self._running[device] -= 1
            if child is not None:
                self._release(child)

    def loaded(self) -> dict[str, list[str]]:
        """The names of loaded models by service."""
        models: dict[str, set[str]] = {}
        for child in self._children:
            if child.loaded and child.model is not None and child.alive:
                models.setdefault(child.service, set()).add(child.model)
        return {service: sorted(names) for service, names in models.items()}

    def status(self) -> list[dict[str, Any]]:
        """The children, for whoever asks what this machine does."""
        return [
            {
                "service": child.service,
                "device": child.device.uuid or child.device.kind,
                "pid": child.pid,
                "model": child.model,
                "busy": child in self._busy,
                "runs": child.runs,
            }
            for child in sorted(self._children, key=lambda child: child.pid)
        ]

    async def close(self) -> None:
        """End all children."""
        self._closing = True
        await self._background.close()
        await asyncio.gather(*(child.close() for child in self._children))
        for child in self._children:
            self._records.remove(child.pid)
        self._children.clear()
        for output in self._outputs.values():
            output.close()

    def _choose_device(self, service: str, model: Model | None) -> Device:
        """The least busy device; among equals the one where the model, or at least the service, is ready."""
        name = model.name if model is not None else None

        def burden(device: Device) -> tuple[int, int]:
            ready = [child for child in self._idle(service) if child.device == device]
            warmth = 0 if any(child.loaded and child.model == name for child in ready) else 1 if ready else 2
            return self._running[device], warmth

        return min(self._devices, key=burden)

    def _idle(self, service: str | None = None) -> list[Child]:
        return [
            child
            for child in self._children
            if child not in self._busy and child.alive and service in (None, child.service)
        ]

    def _take_idle(self, service: str, device: Device, model: Model | None) -> Child | None:
        ready = [child for child in self._idle(service) if child.device == device]
        if not ready:
            return None
        name = model.name if model is not None else None
        child = max(ready, key=lambda child: (child.loaded and child.model == name, child.idle_since))
        self._busy.add(child)
        return child

    async def _start(self, service: str, device: Device) -> Child:
        output = self._outputs.get((service, device))
        if output is None:
            name = f"{service}-{device.uuid or device.kind}.log"
            output = self._outputs[service, device] = ChildOutput(self._directory / "logs" / name)
        child = await Child.start(service, device, self._tools, command=self._command, output=output)
        self._children.add(child)
        self._records.add(child.pid)
        self._background.spawn(self._await_end(child), f"child-end-{child.pid}")
        return child

    async def _await_end(self, child: Child) -> None:
        await child.wait_ended()
        self._children.discard(child)
        self._busy.discard(child)
        self._records.remove(child.pid)
        if child.runs == 0:
            self._ahead.pop(child.service, None)  # it did not even live until its first job: do not spin
        self._fill_up()

    async def _make_room(self, child: Child) -> None:
        """Before a model goes onto a GPU, idle children give back theirs there."""
        if child.device.kind != "cuda":
            return
        for other in self._idle():
            if other.device == child.device and other.loaded:
                self._busy.add(other)
                await other.close()

    def _release(self, child: Child) -> None:
        self._busy.discard(child)
        if child.alive and not self._closing and child not in self._timed:
            self._timed.add(child)
            asyncio.get_running_loop().call_later(self._settings.idle_seconds, self._end_idle, child)

    def _end_idle(self, child: Child) -> None:
        if child in self._busy or not child.alive or self._closing:
            self._timed.discard(child)
            return
        left = child.idle_since + self._settings.idle_seconds - time.monotonic()
        if left > 0:  # it worked meanwhile, or the timer was a moment early
            asyncio.get_running_loop().call_later(left, self._end_idle, child)
            return
        _log.info("child_idle", service=child.service, pid=child.pid)
        self._busy.add(child)
        self._background.spawn(child.close(), f"child-close-{child.pid}")

    def _fill_up(self) -> None:
        """Start the children that should be ready ahead and are not there."""
        there = {child.service for child in self._children}
        for service in self._ahead.keys() - there:
            if not self._closing and not self._background.has(f"prestart-{service}"):
                self._background.spawn(self._prestart(service), f"prestart-{service}")

    async def _prestart(self, service: str) -> None:
        device = min(
            self._devices, key=lambda device: sum(child.device == device for child in self._children)
        )
        try:
            child = await self._start(service, device)
            if not self._ahead.get(service, True):
                self._busy.add(child)
                await child.load(None, self._settings.load_seconds)
                self._busy.discard(child)
        except (
            Retry
        ) as error:  # not tried again until a job asks for it, so that a broken runner does not spin
            self._ahead.pop(service, None)
            _log.warning("prestart_failed", service=service, code=error.code, error=str(error))

    def _written(self, run_id: str) -> None:
        now = time.monotonic_ns()
        _log.debug("runner_run", run_id=run_id, monotonic_ns=now)
        if self._on_run_written is not None:
            self._on_run_written(run_id, now)
