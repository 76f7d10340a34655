"""Determines the capabilities of this machine, which its registration contains.

Each runner is probed. A service whose runner does not work is listed under `unavailable` with the reasons, so that an
owner sees why a machine earns less than it could.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import structlog

from agent.core.values.quantities import format_money, gibibytes
from agent.miner.engines.catalogue import load_engines
from agent.miner.engines.environments import engines_directory, environments_in_use
from agent.miner.engines.interpreters import OWN, Interpreter, installed_environments
from agent.miner.machine import hardware
from agent.miner.machine.default_prices import USUAL_BATCH_PRICE, usual_price
from agent.miner.machine.gpus import Gpu, Gpus, is_slice
from agent.miner.machine.probe_results import ProbeResults
from agent.miner.machine.probes import Probed, Probes, engine_versions, suggestions
from agent.miner.machine.scores import (
    FILE_NAME,
    BenchScore,
    advertised,
    read_scores,
    suggested_prices,
    valid,
)
from agent.miner.models.store import ModelStore
from agent.miner.settings import EnginesSettings, MinerSettings, RunnersSettings
from agent.sections import section_of
from agent.settings import Settings
from runners.api import USUAL_KINDS, Device, DeviceKind, Probe, Requirements, Runner, ServiceDefinition, Tools
from runners.input_options import OPTIONS
from runners.registry import broken, installed

MAX_UNAVAILABLE_MODELS: Final = 1000
"""How many unavailable models a registration can name."""

AUDITS: Final = "audits"
"""The feature of a service whose runner can check the work of other miners."""

AUDITS_ONLY: Final = "audits_only"
"""The feature of a service that takes audits and no other jobs."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceOffer:
    """A service that this machine offers. `models` are on disk, `loaded` in memory; `unit_price` is money.

    `version` is that of the best engine, `versions` are those of all, one of which a receipt names. `suggested_price` is the price without a setting of the owner's. One slot computes `concurrency` jobs of one model together, and one job can use `gpus` GPUs. `sandbox` isolates the programs that runs start; it is
    "none" without isolation, or if runs start no programs. `score` is that of `aitbc-agent bench` for this version, or None.
    `interpreters` can run it, best first, on devices of these `kinds`.
    """

    definition: ServiceDefinition
    runner: str
    version: str
    models: tuple[str, ...]
    loaded: tuple[str, ...]
    downloadable: bool
    unit_price: str
    suggested_price: str
    features: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 1
    gpus: int = 1
    unavailable_models: tuple[str, ...] = ()
    sandbox: str = "none"
    score: Mapping[str, Any] | None = None
    interpreters: tuple[Interpreter, ...] = ()
    versions: tuple[str, ...] = ()
    kinds: frozenset[DeviceKind] = frozenset(USUAL_KINDS)

    def to_wire(self) -> dict[str, Any]:
        """Return the offer as a registration contains it."""
        return {
            "runner": self.runner,
            "version": self.version,
            "versions": list(self.versions),
            "models": list(self.models),
            "loaded": list(self.loaded),
            "downloadable": self.downloadable,
            "unit_price": self.unit_price,
            "features": dict(self.features),
            "concurrency": self.concurrency,
            "gpus": self.gpus,
            "unavailable_models": list(self.unavailable_models),
            "score": None if self.score is None else dict(self.score),
        }


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The capabilities of this machine. Memory and disk are in bytes.

    `sandbox` isolates programs, None if none can be started. `unavailable` has the reasons why services are not offered,
    `hints` how offered ones would be faster, and `gpu_reason` why GPUs cannot be used. Up to `slots` children run at the
    same time on the `devices`, except for services that never use a GPU, which run on the `processor`. `environments` are those
    of engines that were in use when the machine was probed. `obstacles` state by service which engines cannot use which cards, and what to do.
    """

    services: Mapping[str, ServiceOffer]
    unavailable: Mapping[str, tuple[str, ...]]
    hints: Mapping[str, tuple[str, ...]]
    cpu_cores: int
    memory: int
    disk_free: int
    gpus: tuple[Gpu, ...]
    gpu_reason: str | None
    devices: tuple[Device, ...]
    processor: Device
    slots: int
    sandbox: str | None = None
    environments: frozenset[Path] = frozenset()
    obstacles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def devices_of(self, service: str) -> tuple[Device, ...]:
        """Return the devices that an offered service can use."""
        return _usable(self.devices, self.services[service].kinds, self.processor)

    def with_models(
        self,
        present: Mapping[str, Sequence[str]],
        loaded: Mapping[str, Sequence[str]],
        unavailable_models: Mapping[str, Collection[str]],
    ) -> Capabilities:
        """Return a copy with the names of the models on disk, of loaded and of unavailable ones, by service.

        Services that are not in `present` keep their models.
        """
        services = {
            service: replace(
                offer,
                models=tuple(present.get(service, offer.models)),
                loaded=tuple(loaded.get(service, ())),
                unavailable_models=tuple(sorted(unavailable_models.get(service, ())))[
                    :MAX_UNAVAILABLE_MODELS
                ],
            )
            for service, offer in self.services.items()
        }
        return replace(self, services=MappingProxyType(services))

    def to_wire(self) -> dict[str, Any]:
        """Return the `capabilities` of a registration or a heartbeat."""
        return {
            "services": {service: offer.to_wire() for service, offer in self.services.items()},
            "unavailable": {service: list(reasons) for service, reasons in self.unavailable.items()},
            "cpu_cores": self.cpu_cores,
            "memory": self.memory,
            "disk_free": self.disk_free,
            "gpus": [gpu.to_wire() for gpu in self.gpus],
            "slots": self.slots,
            "sandbox": self.sandbox,
        }


BATCH: Final = {True: 64, False: 8}
"""Requests that share a language model, on a machine with GPUs and on one without, if the settings name no number."""


def tools(settings: Settings, *, gpu: bool = False) -> Tools:
    """Return the settings that runners need, on a machine with GPUs or without."""
    chosen = section_of(settings, RunnersSettings)
    usual = {
        "max_processes": chosen.max_processes or 128 + 2 * (os.cpu_count() or 1),
        "batch": chosen.batch or BATCH[gpu],
    }
    fields = chosen.model_dump(exclude={"model_download"}) | usual
    return Tools(models_dir=settings.models_dir, cache_dir=settings.cache_dir, **fields)


@dataclass(eq=False)
class Machine:
    """Probes this machine. `own` is the agent's own interpreter.

    `results` has earlier results, and `probe` waits `probe_seconds` for each that is not among them, by default those of the settings.
    """

    settings: Settings
    gpus: Gpus
    models: ModelStore
    runners: Mapping[str, type[Runner[Any]]] | None = None
    _: KW_ONLY
    probe_seconds: float | None = None
    own: Interpreter = OWN
    results: ProbeResults = field(default_factory=ProbeResults)

    def __post_init__(self) -> None:
        self._runners = installed() if self.runners is None else self.runners
        self._probe_seconds = self.probe_seconds or section_of(self.settings, MinerSettings).probe_seconds
        self._used: Mapping[Hashable, Probe] = {}

    def changed(self) -> bool:
        """Whether a probe that was slow has ended, so that `probe` would return something else."""
        return self.results.changed(self._used)

    async def probe(self) -> Capabilities:
        """Probe all installed runners concurrently. Errors of runners are not raised.

        Those that are not probed in time are not offered, unless they were before.
        """
        # Read first: an engine that is installed while the probes run then counts as a change, and they are repeated.
        in_use = await asyncio.to_thread(environments_in_use, engines_directory(self.settings))
        gpus = await self.gpus.refresh()
        memory = await asyncio.to_thread(hardware.memory_total)
        free = await asyncio.to_thread(hardware.disk_free, self.settings.data_dir)
        scores = await asyncio.to_thread(read_scores, self.settings.data_dir / "miner" / FILE_NAME)
        slots = section_of(self.settings, MinerSettings).slots or max(1, len(gpus))
        devices = job_devices(gpus, slots)
        if reachable := [gpu.number for gpu in gpus if not gpu.device_files]:
            _log.warning(
                "gpu_device_files_unknown",
                gpus=reachable,
                consequence="Sandboxed programs on these GPUs can open the device files of all GPUs of this machine.",
            )
        engines = load_engines(self.settings.data_dir)
        chosen = section_of(self.settings, EnginesSettings)
        environments = await asyncio.to_thread(
            installed_environments, engines_directory(self.settings), engines, chosen.preferred
        )
        probes = Probes(
            self.results,
            tools(self.settings, gpu=bool(gpus)),
            self.own,
            environments,
            preferred=chosen.preferred,
            seconds=self._probe_seconds,
            gpus=gpus,
        )
        # At once, since each probe starts a process and waits for it most of the time.
        results = await asyncio.gather(
            *(probes.of(service, runner) for service, runner in self._runners.items())
        )
        sandbox = await probes.sandbox()
        # Compared later with what slow probes return, to see whether this miner could offer more.
        self._used = probes.used
        services: dict[str, ServiceOffer] = {}
        unavailable: dict[str, tuple[str, ...]] = {name: (reason,) for name, reason in broken().items()}
        hints: dict[str, tuple[str, ...]] = {}
        for (service, runner), probed in zip(self._runners.items(), results, strict=True):
            probe = probed.probe
            lacks = self._lacks(runner.definition.requirements, gpus, memory, free)
            kinds = _kinds(runner, probed)
            if runner.definition.requirements.gpu == "required" and kinds == {"cpu"}:
                lacks = (*lacks, *probed.obstacles)
            mistaken = _mistaken(runner, probed, gpus)
            if (
                mistaken
                and not any(gpu.by_index for gpu in gpus)
                and all(
                    interpreter.engines[:1] and interpreter.engines[0] in runner.engines_by_index
                    for interpreter in probed.interpreters
                )
            ):
                lacks = (*lacks, *mistaken)
            missing = suggestions(engines, environments, service, gpus)
            # A runner that works is still not offered on a machine that is too small for it: its jobs would fail one after the other.
            if probe.available and not lacks:
                usable = _usable(devices, kinds, _processor(slots))
                services[service] = self._offer(runner, probed, scores, usable, sandbox, kinds)
                hints[service] = (
                    *probe.reasons,
                    *mistaken,
                    *probed.obstacles,
                    *_on_processor(probed, kinds, gpus),
                    *missing,
                )
            else:
                reasons = (*lacks, *(() if probe.available else (*probe.reasons, *missing)))
                unavailable[service] = reasons or (
                    f"The runner {runner.name} is not available and gives no reason.",
                )
        _log.info(
            "machine_probed", services=list(services), unavailable=unavailable, gpus=len(gpus), slots=slots
        )
        return Capabilities(
            services=MappingProxyType(services),
            unavailable=MappingProxyType(unavailable),
            hints=MappingProxyType(hints),
            cpu_cores=hardware.cpu_cores(),
            memory=memory,
            disk_free=free,
            gpus=gpus,
            gpu_reason=self.gpus.reason,
            devices=devices,
            processor=_processor(slots),
            slots=slots,
            sandbox=sandbox,
            environments=in_use,
            obstacles=MappingProxyType(
                {
                    service: probed.obstacles
                    for service, probed in zip(self._runners, results, strict=True)
                    if probed.obstacles
                }
            ),
        )

    def _lacks(self, needs: Requirements, gpus: Sequence[Gpu], memory: int, free: int) -> tuple[str, ...]:
        reasons = []
        gpus = [gpu for gpu in gpus if gpu.kind == "cuda"]
        if needs.gpu == "required" and not gpus:
            reasons.append(f"It needs an NVIDIA GPU. {self.gpus.reason or ''}".strip())
        # The largest card counts, since one is enough to run the service.
        elif needs.gpu == "required" and needs.vram > max(gpu.memory_total for gpu in gpus):
            reasons.append(
                f"It needs a GPU with {gibibytes(needs.vram)} of memory, and no card here has that much."
            )
        if needs.memory > memory:
            reasons.append(
                f"It needs {gibibytes(needs.memory)} of memory, and this machine has {gibibytes(memory)}."
            )
        if needs.disk > free:
            reasons.append(
                f"It needs {gibibytes(needs.disk)} of free disk space, and {gibibytes(free)} are free. Free some space."
            )
        return tuple(reasons)

    def _offer(
        self,
        runner: type[Runner[Any]],
        probed: Probed,
        scores: Sequence[BenchScore],
        devices: Sequence[Device],
        sandbox: str | None,
        kinds: frozenset[DeviceKind],
    ) -> ServiceOffer:
        probe = probed.probe
        definition: ServiceDefinition = runner.definition
        versions = [f"{runner.version}+{version}" for version in engine_versions(probe)] or [runner.version]
        version = versions[0]
        miner = section_of(self.settings, MinerSettings)
        has_models = definition.model_field is not None
        # A score of an earlier version or of another card would suggest a price for a machine that is no longer here.
        measured = valid(scores, definition.service_id, version, devices)
        suggested = _suggested_price(miner, definition, measured, devices)
        return ServiceOffer(
            definition=definition,
            runner=runner.name,
            version=version,
            versions=tuple(versions),
            models=tuple(self.models.on_disk(definition.service_id)) if has_models else (),
            loaded=(),
            downloadable=has_models
            and section_of(self.settings, RunnersSettings).model_download
            and self.models.fetchable(definition.service_id),
            unit_price=price(miner, definition.service_id, suggested),
            # Beside the price itself, so that an owner who removes theirs sees at once what then applies.
            suggested_price=suggested,
            features=MappingProxyType(
                dict(probe.features)
                | ({AUDITS: True} if definition.comparer is not None else {})
                | ({AUDITS_ONLY: True} if miner.auditor else {})
                | ({OPTIONS: list(options)} if (options := definition.input_options()) else {})
            ),
            score=advertised(scores, definition.service_id, version, devices),
            concurrency=max(1, probe.concurrency),
            # Slices of a card cannot be joined to one model, even if the engine uses several.
            gpus=max(1, min(probe.gpus, sum(not is_slice(device) for device in devices))),
            sandbox=(sandbox or "none") if runner.sandboxed else "none",
            interpreters=probed.interpreters,
            kinds=kinds,
        )


def _kinds(runner: type[Runner[Any]], probed: Probed) -> frozenset[DeviceKind]:
    """Return the kinds of devices on which at least one engine of a service computes."""
    if runner.definition.requirements.gpu == "unused":
        return frozenset(("cpu",))
    return frozenset(
        kind
        for interpreter in probed.interpreters
        for engine in interpreter.engines or (None,)
        for kind in interpreter.kinds_of(engine)
    )


def _usable(devices: Sequence[Device], kinds: frozenset[DeviceKind], processor: Device) -> tuple[Device, ...]:
    return tuple(device for device in devices if device.kind in kinds) or (processor,)


def _on_processor(probed: Probed, kinds: frozenset[DeviceKind], gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """Return which engines compute on the processor of a machine with GPUs, as a sentence for each."""
    if not gpus:
        return ()
    if kinds == set(USUAL_KINDS) and all(gpu.kind == "vulkan" for gpu in gpus):
        return ("It runs on the processor: only llama.cpp uses cards of AMD and Intel.",)
    with_gpu, without = (
        {
            engine
            for interpreter in probed.interpreters
            for engine in interpreter.engines
            # An interpreter that cannot use the cards has reasons of its own.
            if (set(interpreter.kinds_of(engine)) != {"cpu"}) is able and (able or not interpreter.unusable)
        }
        for able in (True, False)
    )
    return tuple(
        f"{engine} finds no GPU here and computes on the processor. Install its build for GPUs (aitbc-agent engines install {engine}) "
        "and the card's Vulkan driver: docs/how-to/engines.md."
        for engine in sorted(without - with_gpu)
    )


def _mistaken(runner: type[Runner[Any]], probed: Probed, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """Return which slices of cards an engine of a service cannot use, as a sentence for each engine."""
    numbers = ", ".join(gpu.number for gpu in gpus if not gpu.by_index)
    engines = {engine for interpreter in probed.interpreters for engine in interpreter.engines}
    return tuple(
        f"{engine} cannot use the MIG instances {numbers}: it would take them for other cards. "
        "Its models run on instances whose number is that of a card of the same model."
        for engine in sorted(engines & runner.engines_by_index)
        if numbers
    )


def price(miner: MinerSettings, service: str, suggested: str) -> str:
    """Return the price of a unit: the owner's, else the suggested one."""
    owners = miner.prices.get(service, miner.default_price)
    return suggested if owners is None else format_money(owners)


def lowest_share(miner: MinerSettings, service: str) -> float:
    """Return for which share of its price jobs of batches may run: the owner's, else all of a price that the owner has set."""
    if miner.batch_price is not None:
        return miner.batch_price
    has_own_price = service in miner.prices or miner.default_price is not None
    return 1.0 if has_own_price else USUAL_BATCH_PRICE


def _suggested_price(
    miner: MinerSettings,
    definition: ServiceDefinition,
    measured: Sequence[BenchScore],
    devices: Sequence[Device],
) -> str:
    """Return the price that the benchmark suggests, else the usual one."""
    unit = definition.unit_on(devices[0].kind)
    suggested = suggested_prices(measured, miner.hourly_earnings)
    return suggested.get(definition.service_id) or format_money(usual_price(miner.hourly_earnings, unit))


def job_devices(gpus: Sequence[Gpu], slots: int) -> tuple[Device, ...]:
    """Return one device per GPU, else the CPU. Their runners share the physical cores evenly."""
    if not gpus:
        return (_processor(slots),)
    # Physical ones, because two threads of one core slow each other down in numerical work.
    threads = max(1, hardware.physical_cores() // len(gpus))
    return tuple(
        Device(
            kind=gpu.kind,
            name=gpu.name,
            uuid=gpu.uuid,
            threads=threads,
            memory=gpu.memory_total,
            compute_capability=gpu.compute_capability,
            device_files=gpu.device_files,
            by_index=gpu.by_index,
            bus=gpu.bus,
        )
        for gpu in gpus
    )


def _processor(slots: int) -> Device:
    return Device(kind="cpu", name=hardware.cpu_name(), threads=max(1, hardware.physical_cores() // slots))
