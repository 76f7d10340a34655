"""Meters the energy of jobs: that of their cards by NVML's counters, that of the processors by RAPL or as the settings state it.

Counters are read when a job gets a device or ends, and every few seconds. What a counter has counted since the last reading is divided
among the jobs that ran on that card in between; the processors and the rest of the machine serve all jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.deadline import call_within
from agent.miner.energy.shares import JobKey, Stay, divide
from agent.miner.machine.gpu_power import CardPower
from agent.miner.machine.gpus import GpuReadings

PROCESSOR: Final = "cpu"
RAPL: Final = Path("/sys/class/powercap")
_READ_SECONDS: Final = 5.0
_MICRO: Final = 1_000_000


@dataclass(slots=True)
class Usage:
    """What a job has consumed: `joules`, and `seconds` of a device, which jobs at the same time share.

    `measured` is false if one of its devices reports neither energy nor power.
    """

    joules: float = 0.0
    seconds: float = 0.0
    measured: bool = True


@dataclass(frozen=True, slots=True)
class Interval:
    """The consumption since the reading before: of each running job, and while no job ran (`idle`, in joules)."""

    jobs: dict[JobKey, Usage]
    idle: float


@dataclass(frozen=True, slots=True)
class _Reading:
    """All counters at one moment: cards by the UUID of each GPU, and the processors' packages in joules with their range."""

    at: float
    gpus: Mapping[str, CardPower]
    packages: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class FixedPower:
    """Power that no counter reports, in watts: of the processors while jobs run there (None: unknown), and of the rest of the machine."""

    processor: float | None = None
    rest: float = 0.0


@dataclass(slots=True)
class EnergyMeter:
    """Call `begin` when a job has devices, and `end` when it has ended; `read` returns what was consumed since the last call.

    `rapl` is the directory of the kernel's power caps; None if the jobs run on other machines.
    """

    gpus: GpuReadings
    power: FixedPower
    rapl: Path | None = RAPL
    clock: Callable[[], float] = time.monotonic
    _stays: list[Stay] = field(default_factory=list)
    _last: _Reading | None = None

    def begin(self, job: JobKey, devices: tuple[str, ...]) -> None:
        """Note that a job runs on these devices from now on."""
        self.end(job)
        self._stays.append(Stay(job, devices, self.clock()))

    def end(self, job: JobKey) -> None:
        """Note that a job has ended, if it had a device."""
        for stay in self._stays:
            if stay.job == job and stay.end is None:
                stay.end = self.clock()

    async def read(self) -> Interval:
        """Return the consumption since the last call; none the first time, or if the driver does not respond."""
        try:
            reading = await call_within(_READ_SECONDS, self._read, name="energy")
        except TimeoutError:
            return Interval({}, 0.0)
        last, self._last = self._last, reading
        interval = Interval({}, 0.0) if last is None else self._consumed(last, reading)
        # What ends after this reading belongs to the next interval too.
        self._stays = [stay for stay in self._stays if stay.end is None or stay.end > reading.at]
        return interval

    def _read(self) -> _Reading:
        gpus = self.gpus.energy()
        return _Reading(self.clock(), gpus, {} if self.rapl is None else dict(_packages(self.rapl)))

    def _consumed(self, last: _Reading, now: _Reading) -> Interval:
        span = max(now.at - last.at, 1e-9)
        jobs: dict[JobKey, Usage] = {}
        idle = 0.0

        def add(joules: float | None, stays: list[Stay], *, counts: bool = False, idles: bool = True) -> None:
            nonlocal idle
            shares = divide(last.at, now.at, stays)
            for job, seconds in shares.items():
                usage = jobs.setdefault(job, Usage())
                usage.measured = usage.measured and joules is not None
                usage.joules += (joules or 0.0) * seconds / span
                usage.seconds += seconds if counts else 0.0
            if idles:
                idle += (joules or 0.0) * (1 - sum(shares.values()) / span)

        for card, uuids in _cards(now.gpus).items():
            add(
                _of_card(card, last, now),
                [stay for stay in self._stays if uuids & set(stay.devices)],
                counts=True,
            )
        # Cards that the driver does not find at present.
        add(
            None,
            [stay for stay in self._stays if set(stay.devices) - {PROCESSOR} - now.gpus.keys()],
            counts=True,
        )
        on_processor = [stay for stay in self._stays if PROCESSOR in stay.devices]
        processors = _of_processors(last, now)
        add(processors or 0.0, self._stays)
        if processors is not None:
            add(0.0, on_processor, counts=True)
        elif self.power.processor is not None:
            # Nobody states how much they take while no job runs: that is part of the rest.
            add(self.power.processor * span, on_processor, counts=True, idles=False)
        else:
            # On a machine without cards, the rest may be all that its owner knows.
            add(0.0 if self.power.rest else None, on_processor, counts=True)
        add(self.power.rest * span, self._stays)
        return Interval(jobs, idle)


def _cards(gpus: Mapping[str, CardPower]) -> dict[str, set[str]]:
    """Return the UUIDs of the GPUs on each card; several are slices of it."""
    cards: dict[str, set[str]] = {}
    for uuid, power in gpus.items():
        cards.setdefault(power.card, set()).add(uuid)
    return cards


def _of_card(card: str, last: _Reading, now: _Reading) -> float | None:
    """Return the joules of a card between two readings, None if it reports neither energy nor power."""
    latest = next(power for power in now.gpus.values() if power.card == card)
    earlier = next((power for power in last.gpus.values() if power.card == card), latest)
    # A counter begins at zero when the driver is loaded again.
    if latest.joules is not None and earlier.joules is not None and latest.joules >= earlier.joules:
        return latest.joules - earlier.joules
    if latest.watts is None:
        return None
    watts = latest.watts if earlier.watts is None else (earlier.watts + latest.watts) / 2
    return watts * (now.at - last.at)


def _packages(directory: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the joules that each processor package has counted, and the number at which its counter begins again."""
    for path in sorted(directory.glob("intel-rapl:*")):
        # Those with two numbers are parts of a package. AMD's processors have the same name.
        if path.name.count(":") > 1:
            continue
        try:
            counter, largest = (
                int((path / name).read_text()) for name in ("energy_uj", "max_energy_range_uj")
            )
        except (
            OSError,
            ValueError,
        ):  # the kernel lets only root read them, unless the owner has changed that
            continue
        yield path.name, (counter / _MICRO, largest / _MICRO)


def _of_processors(last: _Reading, now: _Reading) -> float | None:
    """Return the joules of all packages between two readings, None if none can be read."""
    if not now.packages:
        return None
    total = 0.0
    for name, (counter, largest) in now.packages.items():
        difference = counter - last.packages.get(name, (counter, largest))[0]
        total += difference if difference >= 0 else difference + largest
    return total
