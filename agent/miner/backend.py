"""Where a miner's jobs run: on this machine. Extensions can have them run elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import structlog

from agent.catalogue import load_catalogue
from agent.configuring.reading import SettingsReading
from agent.core.liveness import Liveness
from agent.metrics import Meter
from agent.miner.engines.environments import engines_directory, environments_in_use
from agent.miner.engines.interpreters import Interpreter, Interpreters
from agent.miner.executor.contract import Executor
from agent.miner.executor.devices import Devices
from agent.miner.executor.footprints import Footprints
from agent.miner.executor.local import LocalExecutor
from agent.miner.machine.capabilities import Capabilities, Machine, tools
from agent.miner.machine.gpus import GpuReadings, Gpus
from agent.miner.machine.installed_vulkan import vulkan_cards
from agent.miner.machine.probe_results import ProbeResults
from agent.miner.machine.selftest_report import RunSelftest
from agent.miner.models.downloads import Downloads, limits
from agent.miner.models.locks import ModelDirectory
from agent.miner.models.provider import ModelProvider, Models
from agent.miner.models.store import ModelStore
from agent.miner.settings import MinerSettings, RunnersSettings
from agent.miner.traffic import Traffic
from agent.sections import section_of
from agent.settings import Settings
from runners.api import Runner

_log = structlog.get_logger(__name__)


class UpdateReport(Protocol):
    """What is known of updates of the agent."""

    def status(self) -> dict[str, Any]:
        """Return their state for the owner."""

    def notices(self) -> Iterable[tuple[str, str]]:
        """Return a word for programs and a text for each update that has just ended."""


@dataclass(frozen=True, slots=True)
class MinerOptions:
    """What a miner is built from.

    `host_command` starts a runner's child process; `reading` is where the settings were read from. `probes` are the results of probes
    that this process has made. `run_selftest` tests this machine, None for a miner without self-tests. `traffic` has the limits of the network.
    `updates` are those of the agent, None where nothing updates it.
    """

    settings: Settings
    reading: SettingsReading | None
    url: str
    enrolment_token: str | None
    runners: Mapping[str, type[Runner[Any]]]
    host_command: tuple[str, ...]
    liveness: Liveness
    traffic: Traffic
    probes: ProbeResults = field(default_factory=ProbeResults)
    run_selftest: RunSelftest | None = None
    updates: UpdateReport | None = None

    @property
    def miner(self) -> MinerSettings:
        """The miner's section of the settings."""
        return section_of(self.settings, MinerSettings)

    @property
    def directory(self) -> Path:
        """The miner's own directory."""
        return self.settings.data_dir.absolute() / "miner"


class Backend(Protocol):
    """Where jobs run: this machine, or a cluster. `store` has the catalogue."""

    @classmethod
    async def open(cls, options: MinerOptions) -> Backend:
        """Find out what can be done there. Raises `ConfigurationError`."""

    @property
    def gpus(self) -> GpuReadings: ...  # noqa: D102 - the GPUs on which jobs run

    @property
    def capabilities(self) -> Capabilities: ...  # noqa: D102 - as probed when it was opened

    @property
    def store(self) -> ModelStore: ...  # noqa: D102 - see the class

    async def changed(self) -> bool:
        """Whether there is other work to do than when the `capabilities` were determined."""

    def start(
        self, meter: Meter, on_models_changed: Callable[[], None], on_disk_changed: Callable[[], None]
    ) -> tuple[Executor, Models]:
        """Start the executor, which the caller closes, and return it with the models that its jobs can use.

        `on_models_changed` is called when the set of available models may have changed, `on_disk_changed` when that of models on
        disk has.
        """

    async def close(self) -> None:
        """Release what it has opened."""


@dataclass(eq=False)
class LocalBackend:
    """This machine."""

    options: MinerOptions
    gpus: Gpus
    store: ModelStore
    machine: Machine
    capabilities: Capabilities

    @classmethod
    async def open(cls, options: MinerOptions) -> LocalBackend:
        """Probe this machine."""
        gpus = Gpus(others=vulkan_cards(options.settings))
        store = ModelStore(options.settings.models_dir, load_catalogue(options.settings.data_dir))
        machine = Machine(
            options.settings,
            gpus,
            store,
            options.runners,
            own=Interpreter(options.host_command),
            results=options.probes,
        )
        return cls(options, gpus, store, machine, await machine.probe())

    async def changed(self) -> bool:
        """Whether there is a new GPU or driver, other environments of engines are in use, or a slow probe has ended."""
        # A GPU that disappears leaves nothing to probe, and often comes back.
        gpus = {(gpu.uuid, gpu.driver) for gpu in await self.gpus.refresh()}
        if gpus - {(gpu.uuid, gpu.driver) for gpu in self.capabilities.gpus}:
            _log.info("gpus_appeared", gpus=[gpu.uuid for gpu in self.gpus.last])
            self.options.probes.forget()
            return True
        environments = await asyncio.to_thread(environments_in_use, engines_directory(self.options.settings))
        if environments != self.capabilities.environments:
            _log.info("engines_changed", engines=sorted(path.parent.name for path in environments))
            self.options.probes.forget()
            return True
        return self.machine.changed()

    def start(
        self, meter: Meter, on_models_changed: Callable[[], None], on_disk_changed: Callable[[], None]
    ) -> tuple[Executor, Models]:
        """See `Backend`."""
        executor = self._start_executor(meter, on_models_changed)
        downloads = Downloads(
            self.store,
            ModelDirectory(self.store.models_dir),
            limits(self.options.settings),
            meter=meter,
            traffic=self.options.traffic,
        )
        provider = ModelProvider(
            self.store,
            downloads,
            download=section_of(self.options.settings, RunnersSettings).model_download,
            on_change=on_disk_changed,
            release=executor.release_model,
            read_catalogue=partial(load_catalogue, self.options.settings.data_dir),
        )
        return executor, provider

    async def close(self) -> None:
        """Disconnect from the driver."""
        self.gpus.close()

    def _start_executor(self, meter: Meter, on_models_changed: Callable[[], None]) -> LocalExecutor:
        services = self.capabilities.services
        definitions = {service: offer.definition for service, offer in services.items()}
        footprints = Footprints(
            self.options.directory / "footprints.json",
            definitions,
            self.store.catalogue,
            {service: ", ".join(offer.versions or (offer.version,)) for service, offer in services.items()},
        )
        devices = Devices(
            self.capabilities.devices,
            slots=self.capabilities.slots,
            reserve=int(self.options.miner.vram_reserve),
            footprints=footprints,
            measure=self.gpus.refresh,
            process_memory=self.gpus.process_memory,
            capacity={service: offer.concurrency for service, offer in services.items()},
            gpus={service: offer.gpus for service, offer in services.items()},
            processor=self.capabilities.processor,
            kinds={service: offer.kinds for service, offer in services.items()},
        )
        executor = LocalExecutor(
            devices,
            tools(
                self.options.settings,
                gpu=any(device.kind != "cpu" for device in self.capabilities.devices),
            ),
            self.options.miner,
            self.options.directory,
            digest=self.store.weights_digest,
            interpreters=Interpreters(
                Interpreter(self.options.host_command),
                {service: offer.interpreters for service, offer in services.items()},
                self.options.runners,
                self.store.resolve,
            ),
            on_change=on_models_changed,
            meter=meter,
        )
        executor.end_orphans()
        executor.prestart(
            {service: definition.model_field is not None for service, definition in definitions.items()}
        )
        return executor
