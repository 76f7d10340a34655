"""Finds the power limit at which a card does the most work for a kilowatt-hour, by running a real job at several limits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.core.errors import ConfigurationError
from agent.miner.energy.meter import EnergyMeter, FixedPower
from agent.miner.energy.power_limits import LimitRefused, PowerHelper
from agent.miner.energy.profit import JOULES
from agent.miner.energy.shares import JobKey
from agent.miner.executor.local import LocalExecutor
from agent.miner.machine.capabilities import Capabilities
from agent.miner.machine.gpus import Gpus, is_slice
from agent.miner.machine.scores import FILE_NAME, read_scores, valid
from agent.miner.measuring.bench import Bench
from agent.miner.measuring.measurement import scratch
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from runners.api import Device, Retry

_KEY: Final[JobKey] = ("efficiency", 1)
"""The job that the meter sees: all rounds of one card."""
NOT_RUNNING: Final = (
    "The helper that sets power limits does not run. It ends with the agent: start it with `sudo systemctl start aitbc-power`. "
    "If it is not installed: `sudo aitbc-agent service install --power-limits`."
)


@dataclass(frozen=True, slots=True)
class LimitScore:
    """A card's work at a limit: `watts` that it took, metered units per second and per kilowatt-hour."""

    limit: float
    watts: float
    speed: float
    units_per_kwh: float


@dataclass(frozen=True, slots=True)
class CardEfficiency:
    """The scores of a card by limit, the largest first. `unit` is what the service meters."""

    gpu: str
    uuid: str
    name: str
    service: str
    model: str | None
    unit: str
    scores: tuple[LimitScore, ...]

    @property
    def best(self) -> LimitScore:
        """The score with the most work for a kilowatt-hour."""
        return max(self.scores, key=lambda score: score.units_per_kwh)


class Efficiency(Bench):
    """Runs one of `services`, or the first that can be measured, on each card at `steps` limits. Other options are those of `Bench`."""

    def __init__(self, settings: Settings, *, steps: int, **options: Any) -> None:
        super().__init__(settings, **options)
        self._steps = steps
        self._helper = PowerHelper(section_of(settings, MinerSettings).energy.power_helper)
        self._gpus = Gpus()

    async def find(self) -> list[CardEfficiency]:
        """Return the efficiency of each card. Raises `ConfigurationError` with what is missing."""
        with self._locked() as jobs:
            capabilities = await self._probe()
            devices = [
                device for device in capabilities.devices if device.kind == "cuda" and not is_slice(device)
            ]
            if not devices:
                raise ConfigurationError(
                    f"There is no card whose power could be limited. {capabilities.gpu_reason or ''}"
                )
            self._gpus.snapshot()
            try:
                with scratch(jobs / "efficiency") as directory:
                    return await self._of_cards(capabilities, devices, directory)
            except LimitRefused as error:
                raise ConfigurationError(str(error) if self._helper.connected else NOT_RUNNING) from None
            finally:
                # The helper restores the limits.
                await self._helper.close()
                self._gpus.close()

    async def _of_cards(
        self, capabilities: Capabilities, devices: Sequence[Device], directory: Path
    ) -> list[CardEfficiency]:
        reasons = []
        for service, offer in capabilities.services.items():
            if not self._is_selected(service):
                continue
            try:
                subject = await self._prepare(service, offer, devices, directory)
            except Retry as error:
                reasons.append(f"{service}: {error}")
                continue
            saved = valid(read_scores(self._directory / FILE_NAME), service, offer.version, devices)
            number = max((score.concurrency for score in saved), default=1)
            return [await self._of_card(subject, device, number, directory) for device in devices]
        raise ConfigurationError(
            f"No service can be measured. {' '.join(reasons) or 'See `aitbc-agent doctor`.'}"
        )

    async def _of_card(self, subject: Any, device: Device, number: int, directory: Path) -> CardEfficiency:
        uuid = device.uuid or ""
        least, most, _ = await self._helper.range(uuid)
        limits = [most - (most - least) * step / (self._steps - 1) for step in range(self._steps)]
        scores = []
        async with self._executor(subject, device) as executor:
            # Loads the model, which is no part of any score.
            await self._round(executor, subject, number, directory)
            for limit in limits:
                self._on_step(f"Measuring {subject.service} on {device.name} at {limit:.0f} W")
                await self._helper.limit(uuid, limit)
                # The card's clocks follow within a round.
                await self._round(executor, subject, number, directory)
                scores.append(await self._score(executor, subject, number, directory, uuid, limit))
            await self._helper.restore(uuid)
        gpu = next(gpu for gpu in self._gpus.last if gpu.uuid == uuid)
        return CardEfficiency(
            gpu=gpu.number,
            uuid=uuid,
            name=gpu.name,
            service=subject.service,
            model=None if subject.model is None else subject.model.name,
            unit=subject.runner.definition.unit_on(device.kind),
            scores=tuple(scores),
        )

    async def _score(
        self, executor: LocalExecutor, subject: Any, number: int, directory: Path, uuid: str, limit: float
    ) -> LimitScore:
        meter = EnergyMeter(self._gpus, FixedPower())
        meter.begin(_KEY, (uuid,))
        await meter.read()
        began = time.monotonic()
        units = joules = 0.0
        while not units or time.monotonic() - began < self._seconds:
            units += float(await self._round(executor, subject, number, directory))
            usage = (await meter.read()).jobs[_KEY]
            if not usage.measured:
                raise ConfigurationError(
                    f"{uuid} reports neither its energy nor its power, so nothing can be compared."
                )
            joules += usage.joules
        seconds = time.monotonic() - began
        if not joules:
            raise ConfigurationError(f"The energy counter of {uuid} does not change; it cannot be measured.")
        return LimitScore(
            limit=round(limit, 1),
            watts=round(joules / seconds, 1),
            speed=units / seconds,
            units_per_kwh=units / joules * JOULES,
        )
