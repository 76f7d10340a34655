"""Starts, tracks and ends all child processes of this miner, so that none outlives the daemon."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from agent.core.values.quantities import gibibytes
from agent.miner.engines.interpreters import Interpreter, Interpreters
from agent.miner.executor.child import Child
from agent.miner.executor.devices import ProcessMemory
from agent.miner.executor.host_process import LocalProcess
from agent.miner.executor.loaded_model import card_key, card_keys
from agent.miner.executor.output import ChildOutput
from agent.miner.tasks import Background
from runners.api import Device, FailureCode, Retry, Tools
from runners.sandbox import mark, memory, processes

MAX_PRESTARTED: Final = 3
"""How many children are started in advance. Those of further services are started on demand."""

MEMORY_POLL_SECONDS: Final = 0.5
"""How often the memory of children is read."""
_WATCH: Final = "executor-memory"

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class ChildPool:
    """Starts children, and holds the spare ones, which have no model. `on_end` is called for each that has ended.

    `directory` is for logs. `load_seconds` limits the preparation of a runner without models, `max_memory` (bytes) each
    child, with the engine's server if it has a model. The programs that other runners start in their sandbox have limits of their
    own; `process_memory` reads what they use of GPUs.
    """

    tools: Tools
    directory: Path
    interpreters: Interpreters
    _: KW_ONLY
    load_seconds: float
    max_memory: int
    on_end: Callable[[Child], None]
    process_memory: ProcessMemory | None = None

    def __post_init__(self) -> None:
        self._outputs: dict[tuple[str, Device], ChildOutput] = {}
        self._children: set[Child] = set()
        self._spares: list[Child] = []
        self._ahead: dict[str, bool] = {}
        self._device_of: Callable[[str], Sequence[Device]] = lambda _: ()
        self._background = Background()
        self._closing = False

    def end_orphans(self) -> None:
        """End processes that runners of an earlier daemon left behind. Blocking."""
        for pid in mark.end_marked(mark.of_directory(self.directory)):
            _log.warning("orphan_ended", pid=pid)

    def prestart(self, services: Mapping[str, bool], devices_of: Callable[[str], Sequence[Device]]) -> None:
        """From now on, keep one child ready for each of the first few `services`, those without models first.

        The values state whether the service has models. The runner of a service without models is loaded too.
        """
        # Those without models first: such a child can be loaded completely before its job arrives.
        ordered = sorted(services.items(), key=lambda item: item[1])
        self._ahead = dict(ordered[:MAX_PRESTARTED])
        self._device_of = devices_of
        self._start_missing()

    async def get(self, service: str, device: Device, interpreter: Interpreter) -> Child:
        """Return a child without a model: a spare one, or a new one. Raises `Retry`."""
        key = (service, device, interpreter)
        for child in self._spares:
            if (child.service, child.device, child.interpreter) == key and child.alive:
                self._spares.remove(child)
                return child
        return await self._start(service, device, interpreter)

    def put_back(self, child: Child) -> None:
        """Hold a child that has unloaded its model as a spare."""
        self._spares.append(child)

    def discard(self, child: Child) -> None:
        """End a child without waiting for it."""
        self._background.spawn(child.close(), f"child-close-{child.pid}")

    async def close_idle(self, seconds: float, spared: Collection[str] = ()) -> float | None:
        """End spare children that have been idle for so long. Return the seconds until the next one is due.

        Children that were started in advance are exempt until their first job, and those on the devices in `spared` for now.
        """
        now = time.monotonic()
        idle = [
            child for child in self._spares if child.runs and not set(spared) & set(card_keys(child.device))
        ]
        due = [child for child in idle if child.idle_since + seconds <= now]
        await self._end(due)
        return min((child.idle_since + seconds - now for child in idle if child not in due), default=None)

    async def close_spares(self, devices: Collection[str]) -> None:
        """End the spare children of these devices that have run jobs, since they may still hold memory there."""
        leaving = [
            child for child in self._spares if child.runs and set(devices) & set(card_keys(child.device))
        ]
        await self._end(leaving)

    async def _end(self, spares: Sequence[Child]) -> None:
        for child in spares:
            self._spares.remove(child)
        await asyncio.gather(*(child.close() for child in spares))

    def status(self) -> list[dict[str, Any]]:
        """Return the status of the children without a model."""
        return [
            {
                "service": child.service,
                "device": ",".join(card_keys(child.device)),
                "pid": child.pid,
                "model": None,
                "environment": child.interpreter.engine,
                "state": "ready",
                "busy": False,
                "runs": child.runs,
            }
            for child in self._spares
        ]

    @property
    def watched(self) -> bool:
        """Whether the memory of the children is being watched, if there are any."""
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

    async def _start(self, service: str, device: Device, interpreter: Interpreter) -> Child:
        output = self._outputs.get((service, device))
        if output is None:
            name = f"{service}-{card_key(device)}.log"
            output = self._outputs[service, device] = ChildOutput(self.directory / "logs" / name)
        # Made before the process, so that it is found even if this program dies while it starts.
        process_mark = mark.make(self.directory)
        child = await Child.start(
            service,
            device,
            self.tools,
            await LocalProcess.start(service, device, interpreter, process_mark),
            interpreter=interpreter,
            output=output,
            process_mark=process_mark,
        )
        # Known before the next await, so that `close` ends it in any case.
        self._children.add(child)
        self._background.spawn(self._await_end(child), f"child-end-{child.pid}")
        if not self._background.has(_WATCH):
            self._background.spawn(self._watch_memory(), _WATCH)
        return child

    async def _watch_memory(self) -> None:
        """End a child that uses too much memory, before the kernel ends an arbitrary process."""
        while self._children:
            await asyncio.sleep(MEMORY_POLL_SECONDS)
            await self._observe_gpus()
            # Reading /proc takes long with many processes, and an idle child does not grow.
            if any(child.busy for child in self._children):
                await self.measure()
            for child in [child for child in self._children if self._exceeds(child)]:
                limit = gibibytes(self.max_memory)
                child.exceeded_memory = True
                # A swapping machine would slow its owner's programs down for minutes before the kernel acts.
                await child.condemn(
                    FailureCode.OUT_OF_MEMORY, f"The job used more than {limit} of memory and was ended."
                )

    async def measure(self) -> None:
        """Measure the main memory of all children with the programs that they started."""
        children = {child.pid: (child, child.peak) for child in self._children}
        for pid, bytes_used in (await asyncio.to_thread(_main_memory, tuple(children))).items():
            child, peak = children[pid]
            child.measured(bytes_used, peak)

    def peak_of_loading(self, child: Child, use: Callable[[int], None]) -> None:
        """Call `use` soon with the most main memory that a child has taken while it loaded its model, without delaying its first run."""
        peak = child.peak  # before a run begins

        async def measure() -> None:
            child.measured((await asyncio.to_thread(_main_memory, (child.pid,)))[child.pid], peak)
            use(peak.bytes_used)

        self._background.spawn(measure(), f"child-loaded-{child.pid}")

    def _exceeds(self, child: Child) -> bool:
        return (child.memory() if child.has_model else child.own_memory()) > self.max_memory

    async def _observe_gpus(self) -> None:
        # The others report their memory themselves, more exactly than the driver does.
        hidden = [child for child in self._children if child.hides_vram]
        if not hidden or self.process_memory is None:
            return
        memory_used = await self.process_memory()
        for child in hidden:
            of_cards = Counter[int]()
            for card in child.device.gpus:
                of_cards.update(memory_used.get(card, {}))
            await asyncio.to_thread(child.observe, of_cards)

    async def _await_end(self, child: Child) -> None:
        await child.wait_ended()
        self._children.discard(child)
        if child in self._spares:
            self._spares.remove(child)
        # A sandbox that was just being started may have left processes.
        # Before the next child starts, which might need the memory that they hold.
        await asyncio.to_thread(mark.end_marked, child.mark)
        if child.runs == 0:
            self._ahead.pop(
                child.service, None
            )  # it ended before its first job; starting it again could loop
        self.on_end(child)
        self._start_missing()

    def _start_missing(self) -> None:
        """Start the children that should be ready and are missing."""
        present = {child.service for child in self._children}
        for service in self._ahead.keys() - present:
            # Starting takes seconds, in which this method is called again by each child that ends.
            if not self._closing and not self._background.has(f"prestart-{service}"):
                self._background.spawn(self._prestart(service), f"prestart-{service}")

    async def _prestart(self, service: str) -> None:
        device = min(
            self._device_of(service),
            key=lambda device: sum(child.device == device for child in self._children),
        )
        try:
            child = await self._start(service, device, self.interpreters.serving(service))
            if not self._ahead.get(service, True):
                await child.load(None, self.load_seconds)
            self._spares.append(child)
        except Retry as error:  # the next attempt is a job's, so that a broken runner does not loop
            self._ahead.pop(service, None)
            _log.warning("prestart_failed", service=service, code=error.code, error=str(error))


def _main_memory(pids: Sequence[int]) -> dict[int, int]:
    """Return the bytes of main memory that each of these children uses with all that it started. Blocking: reads all of /proc."""
    return {pid: memory.irreclaimable(tree) for pid, tree in processes.trees(pids).items()}
