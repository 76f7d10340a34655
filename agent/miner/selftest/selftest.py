"""Performs the self-test of this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from agent import __version__
from agent.core.errors import ConfigurationError
from agent.deadline import in_thread
from agent.diagnostics import Diagnostic
from agent.miner.data_dir import DataDirectory
from agent.miner.doctor import Cards, examine_cards
from agent.miner.engines.interpreters import HOST_COMMAND
from agent.miner.machine import hardware
from agent.miner.machine.capabilities import job_devices, tools
from agent.miner.machine.gpu_observation import observed
from agent.miner.machine.gpus import Gpu, Gpus
from agent.miner.machine.selftest_report import Check, SelftestReport, save
from agent.miner.selftest import cards, processor, video
from agent.miner.selftest.sandboxed import CARD_PROGRAM, PROCESSOR_PROGRAM, Results, perform
from agent.miner.selftest.services import ServiceJobs
from agent.settings import Settings
from runners.api import Device, Runner, Tools
from runners.registry import installed
from runners.sandbox import unavailable

DEFAULT_MINUTES: Final = 2.0
"""Minutes of load. With the rest of the test, all ends in less than five."""
MAX_MINUTES: Final = 24 * 60.0
REST_SECONDS: Final = 170.0
"""How long all but the load takes at most: jobs that have not ended by then are not tested."""
LEAST_SERVICE_SECONDS: Final = 45.0
"""How long the jobs may take in any case."""
UNUSABLE: Final = frozenset(
    {"driver_missing", "driver_old", "engine_unsuitable", "gpu_faulty", "gpu_unusable"}
)
"""Kinds of diagnostics after which cards, or engines on them, do not work."""
_MEMORY_SECONDS: Final = 45.0
"""How long the memory of the cards is tested at most: 80 GiB take 15 s over PCIe 4."""
_START_SECONDS: Final = 60.0
"""How long CUDA may take to start, and to test the bus. Without the driver's persistence mode, cards sleep until then."""
_MARGIN_SECONDS: Final = 60.0
_SANDBOX_MEMORY: Final = 2**30
"""What the program that tests the main memory may use beyond what it tests."""


@dataclass(eq=False)
class Selftest:
    """Tests this machine with `minutes` of load, and stores the report. `on_step(text)` is called with a description of each step.

    `chosen` are names of cards (UUIDs, their beginnings, or numbers), none for all. The caller has locked the miner's directory, or no
    job runs meanwhile. Tests replace the installed `runners` and the `host_command` of their child processes.
    """

    settings: Settings
    _: KW_ONLY
    minutes: float = DEFAULT_MINUTES
    chosen: Collection[str] = ()
    on_step: Callable[[str], None] = lambda _text: None
    runners: Mapping[str, type[Runner[Any]]] = field(default_factory=installed)
    host_command: Sequence[str] = HOST_COMMAND

    def __post_init__(self) -> None:
        self._load_seconds = 60 * self.minutes
        self._directory = self.settings.data_dir.absolute() / "miner"
        self._checks: list[Check] = []

    async def run(self) -> SelftestReport:
        """Perform all steps. Raises `ConfigurationError` for a card that is not there, or if another self-test runs."""
        began_at, began = time.time(), time.monotonic()
        gpus = Gpus()
        # Its own directory, since the marks of child processes are by directory: a running miner has children too.
        own = DataDirectory(self._directory / "selftest")
        own.lock()
        try:
            own.remove_leftovers(())
            tested = self._select(await gpus.refresh(), gpus.reason)
            known = Cards(gpus.last, gpus.reason)
            self._checks += [
                _from_diagnostic(diagnostic)
                for diagnostic in await asyncio.to_thread(examine_cards, self.settings, known)
            ]
            chosen_tools = tools(self.settings, gpu=bool(tested))
            if (reason := await asyncio.to_thread(unavailable, chosen_tools)) is not None:
                self._checks.append(
                    Check(name="sandbox", outcome="fault", message=reason, remedy="See aitbc-agent doctor.")
                )
            elif tested:
                await self._test_cards(gpus, tested, chosen_tools)
            else:
                await self._test_processor(chosen_tools)
            await self._test_services(own.directory, tested, began)
            report = SelftestReport(
                began_at=began_at,
                seconds=time.monotonic() - began,
                agent_version=__version__,
                cards={gpu.uuid: f"GPU {gpu.number} ({gpu.name})" for gpu in tested},
                checks=tuple(self._checks),
            )
            await asyncio.to_thread(save, self._directory, report)
            return report
        finally:
            own.unlock()
            gpus.close()

    def _select(self, gpus: Sequence[Gpu], reason: str | None) -> list[Gpu]:
        for name in self.chosen:
            if not any(gpu.is_named(name) for gpu in gpus):
                numbers = ", ".join(f"{gpu.number} ({gpu.uuid})" for gpu in gpus)
                has = (
                    f"this machine has {numbers}"
                    if numbers
                    else f"this machine has none. {reason or ''}".rstrip(" .")
                )
                raise ConfigurationError(f"There is no card {name!r}; {has}.")
        return [gpu for gpu in gpus if not self.chosen or any(gpu.is_named(name) for name in self.chosen)]

    async def _test_cards(self, gpus: Gpus, tested: Sequence[Gpu], chosen_tools: Tools) -> None:
        devices = {device.uuid or "": device for device in job_devices(tested, 1)}
        ready = []
        # One after the other: cards that share the bus would slow each other down.
        for gpu in tested:
            self.on_step(f"Starting CUDA on GPU {gpu.number} and testing its bus")
            with observed([gpu]) as observations:
                results = await perform(
                    chosen_tools,
                    devices[gpu.uuid],
                    CARD_PROGRAM,
                    {"steps": ["facts", "bus"]},
                    _START_SECONDS,
                )
            self._checks.append(cards.cuda(gpu, results))
            self._checks += cards.bus(gpu, results, observations.get(gpu.uuid))
            if "bus" in results.steps:
                ready.append(gpu)
        if ready:
            await self._load_cards(gpus, ready, devices, chosen_tools)
        for gpu in ready:
            self.on_step(f"Encoding and decoding video on GPU {gpu.number}")
            self._checks += await in_thread(
                partial(_video, chosen_tools, gpu, devices[gpu.uuid]), name="selftest-video"
            )

    async def _load_cards(
        self, gpus: Gpus, ready: Sequence[Gpu], devices: Mapping[str, Device], chosen_tools: Tools
    ) -> None:
        """Test memory and load of all cards at the same time, as the power supply and the case will see it."""
        options = {"steps": ["memory", "load"], "memory": _MEMORY_SECONDS, "load": self._load_seconds}
        limit = _START_SECONDS + _MEMORY_SECONDS + self._load_seconds + _MARGIN_SECONDS
        self.on_step(f"Testing the memory of {_cards(len(ready))}, then {self._load_seconds:.0f} s of load")
        with observed(ready) as observations:
            results = await asyncio.gather(
                *(perform(chosen_tools, devices[gpu.uuid], CARD_PROGRAM, options, limit) for gpu in ready)
            )
        after = {gpu.uuid: gpu for gpu in await gpus.refresh()}
        for gpu, result in zip(ready, results, strict=True):
            observation = observations.get(gpu.uuid)
            self._checks += cards.memory(gpu.uuid, result)
            self._checks += cards.load(gpu, result, observation)
            self._checks.append(cards.errors(gpu, after.get(gpu.uuid), observation))

    async def _test_processor(self, chosen_tools: Tools) -> None:
        self.on_step(f"Testing the main memory, then {self._load_seconds:.0f} s of load on the processor")
        threads, size = hardware.cpu_cores(), processor.tested_memory()
        device = Device("cpu", hardware.cpu_name(), threads=threads)
        before = processor.throttled()
        results: Results = await perform(
            chosen_tools,
            device,
            PROCESSOR_PROGRAM,
            {"threads": threads, "memory": size, "load": self._load_seconds},
            _MEMORY_SECONDS + self._load_seconds + _MARGIN_SECONDS,
            memory=size + _SANDBOX_MEMORY,
        )
        self._checks += processor.checks(results, before, processor.throttled())

    async def _test_services(self, directory: Path, tested: Sequence[Gpu], began: float) -> None:
        self.on_step("Running a job of each service")
        until = max(began + self._load_seconds + REST_SECONDS, time.monotonic() + LEAST_SERVICE_SECONDS)
        jobs = ServiceJobs(
            self.settings,
            directory=directory,
            cards=[gpu.uuid for gpu in tested],
            until=until,
            on_step=self.on_step,
            runners=self.runners,
            host_command=self.host_command,
        )
        self._checks += await jobs.checks()


async def run_selftest(
    settings: Settings, minutes: float, chosen: Collection[str], on_step: Callable[[str], None]
) -> SelftestReport:
    """Test this machine, as `Selftest` does."""
    return await Selftest(settings, minutes=minutes, chosen=chosen, on_step=on_step).run()


def _video(chosen_tools: Tools, gpu: Gpu, device: Device) -> list[Check]:
    return list(video.checks(chosen_tools, gpu, device))


def _from_diagnostic(diagnostic: Diagnostic) -> Check:
    # To the doctor, a machine whose card cannot be used still works, more slowly.
    unusable = diagnostic.severity != "ok" and diagnostic.id in UNUSABLE
    return Check(
        name=diagnostic.id,
        outcome="fault" if unusable else diagnostic.severity,
        message=diagnostic.message,
        remedy=diagnostic.remedy,
    )


def _cards(count: int) -> str:
    return "1 card" if count == 1 else f"{count} cards"


def sections(report: SelftestReport) -> Iterator[tuple[str, list[Check]]]:
    """Yield the checks of the machine and of each card, with what they are about."""
    for card, name in ((None, "This machine"), *report.cards.items()):
        chosen = [check for check in report.checks if check.card == card]
        if chosen:
            yield name, chosen
