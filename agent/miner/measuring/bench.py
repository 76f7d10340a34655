"""Benchmarks each runner on each device of this machine, in the same child processes that run jobs.

The benchmark locks the miner's directory as a daemon does: while jobs run, its figures would be meaningless.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from agent.core.errors import ConfigurationError
from agent.core.values.quantities import format_time
from agent.deadline import call_within
from agent.miner.executor.contract import Execution
from agent.miner.executor.local import LocalExecutor
from agent.miner.machine.capabilities import Capabilities, ServiceOffer, tools
from agent.miner.machine.scores import FILE_NAME, BenchScore, add_score, worthwhile_concurrency
from agent.miner.measuring.measurement import PREPARATION_SECONDS, MeasuredService, Measuring, scratch
from agent.settings import Settings
from runners.api import Benchmark, Device, Model, Retry, RunnerError


@dataclass(frozen=True, slots=True)
class Skipped:
    """A service, or a service on one device, that could not be measured, and why."""

    service: str
    device: str | None
    reason: str


@dataclass(slots=True)
class BenchReport:
    """The results of a benchmark."""

    scores: list[BenchScore] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _BenchedService(MeasuredService):
    """A service with the request of its benchmark."""

    benchmark: Benchmark


class Bench(Measuring):
    """Benchmarks `services`, or all of them if it is empty, each figure for `seconds`. Other options are those of `Measuring`."""

    def __init__(
        self, settings: Settings, *, services: Collection[str] = (), seconds: float, **options: Any
    ) -> None:
        super().__init__(settings, **options)
        self._services = frozenset(services)
        self._seconds = seconds
        self._report = BenchReport()

    async def measure(self) -> BenchReport:
        """Measure service by service. Each score is saved as soon as it is known.

        Raises `ConfigurationError` if a daemon uses the data directory, or for an unknown service.
        """
        with self._locked() as jobs:
            capabilities = await self._probe()
            self._check_services(capabilities)
            for service, offer in capabilities.services.items():
                if self._is_selected(service):
                    with scratch(jobs / "benchmark") as directory:
                        await self._measure_service(
                            service, offer, capabilities.devices_of(service), directory
                        )
        return self._report

    def _is_selected(self, service: str) -> bool:
        return not self._services or service in self._services

    def _check_services(self, capabilities: Capabilities) -> None:
        """Report the services that cannot be measured. Raises `ConfigurationError` for an unknown one."""
        service_ids = [*capabilities.services, *capabilities.unavailable]
        for service in sorted(self._services.difference(service_ids)):
            raise ConfigurationError(
                f"No runner is installed for {service!r}; installed are: {', '.join(service_ids) or 'none'}."
            )
        for service, reasons in capabilities.unavailable.items():
            if self._is_selected(service):
                self._skip(service, None, " ".join(reasons))

    async def _measure_service(
        self, service: str, offer: ServiceOffer, devices: Sequence[Device], directory: Path
    ) -> None:
        try:
            subject = await self._prepare(service, offer, devices, directory)
        except Retry as error:
            self._skip(service, None, str(error))
            return
        for device in devices:
            self._on_step(f"Measuring {service} on {device.name}")
            try:
                score = await self._measure_device(subject, device, directory)
            except (RunnerError, TimeoutError) as error:
                self._skip(
                    service, device.name, str(error) or f"A run took longer than {self._run_seconds:g} s."
                )
                continue
            self._report.scores.append(score)
            self._save(score)

    def _save(self, score: BenchScore) -> None:
        add_score(self._directory / FILE_NAME, score)

    @staticmethod
    def _levels(concurrency: int) -> list[int]:
        """Return the numbers of concurrent runs to measure: 1, 2, 4 and so on up to the runner's concurrency."""
        doubled = itertools.takewhile(
            lambda number: number < concurrency, (2**power for power in itertools.count())
        )
        return [*doubled, concurrency]

    async def _prepare(
        self, service: str, offer: ServiceOffer, devices: Sequence[Device], directory: Path
    ) -> _BenchedService:
        """Return the runner and its request. Raises `Retry` with the reason if there is none."""
        runner = self._runners[service]
        model = None
        if runner.definition.model_field is not None:
            model = self._smallest_model(offer.models, on_gpu=devices[0].kind != "cpu")
        available = tools(self._settings)
        try:
            benchmark = await call_within(
                PREPARATION_SECONDS, lambda: runner.benchmark(available, directory), name=f"bench-{service}"
            )
        except TimeoutError:
            raise Retry(f"Its test input was not ready within {PREPARATION_SECONDS:g} s.") from None
        except RunnerError as error:
            raise Retry(str(error)) from None
        except Exception as error:
            raise Retry(
                f"The runner {runner.name} failed to create its test input ({type(error).__name__}: {error})."
            ) from error
        if benchmark is None:
            raise Retry(f"The runner {runner.name} has no benchmark.")
        return _BenchedService(runner, offer, model, benchmark)

    def _smallest_model(self, names: Sequence[str], *, on_gpu: bool) -> Model:
        def size(name: str) -> int:
            entry = self._models.catalogue[name]
            return entry.vram if on_gpu else entry.memory

        usable = [name for name in names if self._models.catalogue[name].kind == "model"]
        if not usable:
            raise Retry("None of its models is on this machine. Fetch one with `aitbc-agent models pull`.")
        return self._models.resolve(min(usable, key=size))

    async def _measure_device(self, subject: _BenchedService, device: Device, directory: Path) -> BenchScore:
        """Return the score of one device. Raises `RunnerError` or `TimeoutError` if not even a single run succeeds."""
        rates: dict[int, tuple[float, float]] = {}
        async with self._executor(subject, device) as executor:
            for number in self._levels(subject.offer.concurrency):
                try:
                    rates[number] = await self._measure_level(executor, subject, number, directory)
                except (RunnerError, TimeoutError):
                    if not rates:
                        raise
                    break  # the device cannot run this many at once, often for lack of memory
        return _score(subject, device, rates)

    async def _measure_level(
        self, executor: LocalExecutor, subject: _BenchedService, number: int, directory: Path
    ) -> tuple[float, float]:
        """Return metered units and runs per second with `number` concurrent runs: medians, after a round of warm-up."""
        await self._round(executor, subject, number, directory)
        units: list[float] = []
        runs: list[float] = []
        end = time.monotonic() + self._seconds
        while not units or time.monotonic() < end:
            began = time.monotonic()
            metered = await self._round(executor, subject, number, directory)
            elapsed = time.monotonic() - began
            units.append(float(metered) / elapsed)
            runs.append(number / elapsed)
        return statistics.median(units), statistics.median(runs)

    async def _round(
        self, executor: LocalExecutor, subject: _BenchedService, number: int, directory: Path
    ) -> Decimal:
        """Run `number` jobs at once and return the sum of their units."""
        outcomes = await asyncio.gather(
            *(self._run(executor, subject, directory) for _ in range(number)), return_exceptions=True
        )
        total = Decimal(0)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            total += outcome.done.units
        return total

    async def _run(self, executor: LocalExecutor, subject: _BenchedService, directory: Path) -> Execution:
        run_id = f"benchmark-{next(self._numbers)}"
        with scratch(directory / run_id) as run_directory:
            message = self._message(subject, subject.benchmark, run_id, run_directory)
            return await self._execute(executor, subject, message)

    def _skip(self, service: str, device: str | None, reason: str) -> None:
        self._report.skipped.append(Skipped(service, device, reason))


def _score(subject: _BenchedService, device: Device, rates: Mapping[int, tuple[float, float]]) -> BenchScore:
    benchmark, definition = subject.benchmark, subject.runner.definition
    counted = 0 if benchmark.counted == "units" else 1
    levels = {number: round(rate[counted] * float(benchmark.scale), 6) for number, rate in rates.items()}
    if not all(levels.values()) or not all(units for units, _ in rates.values()):
        raise Retry("Its benchmark metered nothing.")
    concurrency = worthwhile_concurrency(levels)
    return BenchScore(
        service=subject.service,
        runner=subject.offer.runner,
        version=subject.offer.version,
        device_kind=device.kind,
        device_uuid=device.uuid,
        device_name=device.name,
        model=subject.model.name if subject.model is not None else None,
        metric=benchmark.metric,
        speed=levels[concurrency],
        unit=definition.unit_on(device.kind),
        units_per_second=rates[concurrency][0],
        concurrency=concurrency,
        levels=levels,
        measured_at=format_time(time.time()),
    )
