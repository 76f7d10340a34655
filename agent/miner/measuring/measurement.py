"""What benchmarks and calibrations share: they run requests on each device, in the same child processes that run jobs.

Both lock the miner's directory as a daemon does: while jobs run, their figures would be meaningless.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.catalogue import load_catalogue
from agent.miner.data_dir import DataDirectory, discard
from agent.miner.engines.interpreters import HOST_COMMAND, Interpreter, Interpreters
from agent.miner.executor.contract import Execution
from agent.miner.executor.devices import Devices
from agent.miner.executor.local import Digest, LocalExecutor
from agent.miner.machine.capabilities import Capabilities, Machine, ServiceOffer, tools
from agent.miner.machine.gpus import Gpus
from agent.miner.machine.installed_vulkan import vulkan_cards
from agent.miner.models.store import ModelStore
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from runners.api import PROBE_SECONDS, Benchmark, Device, Model, Runner
from runners.host.protocol import Run
from runners.registry import installed

PREPARATION_SECONDS: Final = 120.0
"""Time limit for a runner to create its test input."""

RUN_SECONDS: Final = 600.0
"""Time limit for one run, in addition to `miner.load_seconds` for its model."""


@dataclass(frozen=True, slots=True)
class MeasuredService:
    """A service of this machine, and the model with which it is measured."""

    runner: type[Runner[Any]]
    offer: ServiceOffer
    model: Model | None

    @property
    def service(self) -> str:
        """The id of the service."""
        return self.runner.definition.service_id

    def parameters(self, request: Benchmark) -> dict[str, Any]:
        """Return a request's parameters, including the model."""
        field_name = self.runner.definition.model_field
        named = {} if field_name is None or self.model is None else {field_name: self.model.name}
        return {**request.parameters, **named}


class Measuring:
    """Runs requests on this machine's devices. `on_step(text)` is called with a description of each step.

    Tests replace the installed `runners` and the `host_command` of their child processes.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_step: Callable[[str], None],
        runners: Mapping[str, type[Runner[Any]]] | None = None,
        host_command: Sequence[str] = HOST_COMMAND,
    ) -> None:
        self._settings = settings
        self._on_step = on_step
        self._runners = installed() if runners is None else runners
        self._own = Interpreter(tuple(host_command))
        self._directory = settings.data_dir.absolute() / "miner"
        self._models = ModelStore(settings.models_dir, load_catalogue(settings.data_dir))
        self._run_seconds = RUN_SECONDS + section_of(settings, MinerSettings).load_seconds
        self._numbers = itertools.count()

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        """Return the directory of jobs. Raises `ConfigurationError` if a daemon uses the data directory."""
        data_directory = DataDirectory(self._directory)
        data_directory.lock()
        try:
            yield data_directory.jobs
        finally:
            data_directory.unlock()

    async def _probe(self) -> Capabilities:
        with closing(Gpus(others=vulkan_cards(self._settings))) as gpus:
            machine = Machine(
                self._settings,
                gpus,
                self._models,
                self._runners,
                own=self._own,
                probe_seconds=PROBE_SECONDS,
            )
            return await machine.probe()

    @asynccontextmanager
    async def _executor(
        self, subject: MeasuredService, device: Device, digest: Digest | None = None
    ) -> AsyncIterator[LocalExecutor]:
        """Open an executor that cannot choose another device. Its children end with the block."""
        executor = LocalExecutor(
            Devices((device,), slots=1, capacity={subject.service: subject.offer.concurrency}),
            tools(self._settings, gpu=device.kind != "cpu"),
            section_of(self._settings, MinerSettings),
            self._directory,
            digest=digest,
            interpreters=Interpreters(
                self._own, {subject.service: subject.offer.interpreters}, self._runners
            ),
        )
        # An interrupted measurement may have left a process that holds the GPU's memory.
        executor.end_orphans()
        try:
            yield executor
        finally:
            await executor.close()

    def _message(
        self,
        subject: MeasuredService,
        request: Benchmark,
        run_id: str,
        directory: Path,
        seed: str | None = None,
    ) -> Run:
        """Return a run of the request, with new directories below `directory`."""
        for name in ("output", "work"):
            (directory / name).mkdir(parents=True)
        return Run(
            run_id=run_id,
            parameters=subject.parameters(request),
            files=dict(request.files),
            output=directory / "output",
            work=directory / "work",
            timeout_seconds=self._run_seconds,
            seed=seed,
        )

    async def _execute(self, executor: LocalExecutor, subject: MeasuredService, message: Run) -> Execution:
        async with asyncio.timeout(self._run_seconds):
            return await executor.run(subject.service, subject.model, message)


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """Create a temporary directory. If this process is killed, the next daemon removes it."""
    discard(directory)
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        discard(directory)
