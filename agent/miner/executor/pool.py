"""All child processes of this miner: started, kept ready, ended, and remembered so that none outlives the daemon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from agent.core.machine.placement import gibibytes
from agent.miner.executor.child import Child
from agent.miner.executor.loaded_model import card_key
from agent.miner.executor.output import ChildOutput
from agent.miner.tasks import Background
from runners.api import Device, FailureCode, Retry, Tools
from runners.sandbox import mark

MAX_PRESTARTED: Final = 3
"""How many children are started ahead; a machine that offers more services starts the others on demand."""

MEMORY_LOOK_SECONDS: Final = 0.5
"""How often it is looked how much memory children hold."""
_WATCH: Final = "executor-memory"

_log = structlog.get_logger(__name__)


class ChildPool:
    """Starts children and keeps those that have no model. `on_end` hears of each that has ended, for whatever reason.

    `directory` holds logs; `load_seconds` limits what a runner without models does before its first job, and
    `max_memory` (bytes) each child. The programs that runners start in their sandbox have limits of their own.
    """

    def __init__(
        self,
        tools: Tools,
        directory: Path,
        command: Sequence[str],
        *,
        load_seconds: float,
        max_memory: int,
        on_end: Callable[[Child], None],
    ) -> None:
        self._tools = tools
        self._directory = directory
        self._command = tuple(command)
        self._load_seconds = load_seconds
        self._max_memory = max_memory
        self._on_end = on_end
        self._outputs: dict[tuple[str, Device], ChildOutput] = {}
        self._children: set[Child] = set()
        self._spares: list[Child] = []
        self._ahead: dict[str, bool] = {}
        self._device_of: Callable[[str], Sequence[Device]] = lambda _: ()
        self._background = Background()
        self._closing = False

    def end_orphans(self) -> None:
        """End what runners of a former life of the daemon left behind. Blocking."""
        for pid in mark.end_marked(mark.of_directory(self._directory)):
            _log.warning("orphan_ended", pid=pid)

    def prestart(self, services: Mapping[str, bool], devices_of: Callable[[str], Sequence[Device]]) -> None:
        """Keep one child ready for each of the first few `services`, from now on; those without models first.

        The values say whether the service has models; the runner of one that has none is loaded too.
        """
        ordered = sorted(services.items(), key=lambda item: item[1])
        self._ahead = dict(ordered[:MAX_PRESTARTED])
        self._device_of = devices_of
        self._fill_up()

    async def get(self, service: str, device: Device) -> Child:
        """A child without a model: one that is ready, or a new one. Raises `Retry`."""
        for child in self._spares:
            if (child.service, child.device) == (service, device) and child.alive:
                self._spares.remove(child)
                return child
        return await self._start(service, device)

    def put_back(self, child: Child) -> None:
        """A child that has unloaded its model waits for another one."""
        self._spares.append(child)

    def let_go(self, child: Child) -> None:
        """End a child, without waiting for it."""
        self._background.spawn(child.close(), f"child-close-{child.pid}")

    async def close_idle(self, seconds: float) -> float | None:
        """End spare children that have done nothing for so long. Returns the seconds until the next one is due.

        What was started ahead waits for its first job, however long that takes.
        """
        now = time.monotonic()
        due = [child for child in self._spares if child.runs and child.idle_since + seconds <= now]
        for child in due:
            self._spares.remove(child)
        await asyncio.gather(*(child.close() for child in due))
        return min((child.idle_since + seconds - now for child in self._spares if child.runs), default=None)

    async def close_spares(self, devices: Collection[str]) -> None:
        """End the spare children of these devices that have worked: they may hold memory of theirs still."""
        leaving = [child for child in self._spares if child.runs and card_key(child.device) in devices]
        for child in leaving:
            self._spares.remove(child)
        await asyncio.gather(*(child.close() for child in leaving))

    def status(self) -> list[dict[str, Any]]:
        """The children without a model."""
        return [
            {
                "service": child.service,
                "device": card_key(child.device),
                "pid": child.pid,
                "model": None,
                "state": "ready",
                "busy": False,
                "runs": child.runs,
            }
            for child in self._spares
        ]

    @property
    def watched(self) -> bool:
        """Whether somebody looks after the memory of the children, if there are any."""
        return not self._children or self._background.has(_WATCH)

    async def close(self) -> None:
        """End all children."""
        self._closing = True
        await self._background.close()
        await asyncio.gather(*(child.close() for child in self._children))
        self._children.clear()
        await asyncio.to_thread(self.end_orphans)
        self._spares.clear()
        for output in self._outputs.values():
            output.close()

    async def _start(self, service: str, device: Device) -> Child:
        output = self._outputs.get((service, device))
        if output is None:
            name = f"{service}-{card_key(device)}.log"
            output = self._outputs[service, device] = ChildOutput(self._directory / "logs" / name)
        child = await Child.start(
            service,
            device,
            self._tools,
            command=self._command,
            output=output,
            marked=mark.make(self._directory),
        )
        self._children.add(child)
        self._background.spawn(self._await_end(child), f"child-end-{child.pid}")
        if not self._background.has(_WATCH):
            self._background.spawn(self._watch_memory(), _WATCH)
        return child

    async def _watch_memory(self) -> None:
        """End a child that takes too much, before the kernel ends whatever it likes."""
        while self._children:
            await asyncio.sleep(MEMORY_LOOK_SECONDS)
            for child in [child for child in self._children if child.memory() > self._max_memory]:
                limit = gibibytes(self._max_memory)
                await child.condemn(
                    FailureCode.OUT_OF_MEMORY, f"The runner took more than {limit} of memory and was ended."
                )

    async def _await_end(self, child: Child) -> None:
        await child.wait_ended()
        self._children.discard(child)
        if child in self._spares:
            self._spares.remove(child)
        await asyncio.to_thread(
            mark.end_marked, child.mark
        )  # what a sandbox that was just being made has left
        if child.runs == 0:
            self._ahead.pop(child.service, None)  # it did not even live until its first job: do not spin
        self._on_end(child)
        self._fill_up()

    def _fill_up(self) -> None:
        """Start the children that should be ready ahead and are not there."""
        there = {child.service for child in self._children}
        for service in self._ahead.keys() - there:
            if not self._closing and not self._background.has(f"prestart-{service}"):
                self._background.spawn(self._prestart(service), f"prestart-{service}")

    async def _prestart(self, service: str) -> None:
        device = min(
            self._device_of(service),
            key=lambda device: sum(child.device == device for child in self._children),
        )
        try:
            child = await self._start(service, device)
            if not self._ahead.get(service, True):
                await child.load(None, self._load_seconds)
            self._spares.append(child)
        except (
            Retry
        ) as error:  # not tried again until a job asks for it, so that a broken runner does not spin
            self._ahead.pop(service, None)
            _log.warning("prestart_failed", service=service, code=error.code, error=str(error))
