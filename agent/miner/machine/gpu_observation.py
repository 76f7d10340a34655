"""Watches cards while something works on them: clocks, temperature, power, why they are slow, errors, and the link to the machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pynvml

from agent.miner.machine.gpu_health import optional, slowed
from agent.miner.machine.gpus import Gpu

SECONDS: Final = 0.5
"""The time between two readings."""
_END_SECONDS: Final = 10.0
"""How long the last reading may take if the driver hangs."""

REASONS: Final[Mapping[int, str]] = {
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "heat that its hardware reports",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "the power supply",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "heat",
    pynvml.nvmlClocksEventReasonSwPowerCap: "the power limit",
}
"""Why a card is slower than it could be. The power limit is usual under load."""

_GIGABYTES_PER_LANE: Final = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
"""Of PCI Express, by its generation."""


@dataclass(frozen=True, slots=True)
class Link:
    """A card's link to the machine: the generation of PCI Express, and how many lanes it has."""

    generation: int
    width: int

    @property
    def speed(self) -> float:
        """Bytes per second in one direction."""
        return _GIGABYTES_PER_LANE.get(self.generation, 0.0) * self.width * 1e9


@dataclass(slots=True)
class Observation:
    """What was seen of a card. Clocks in MHz, temperature in degrees Celsius, power in watts; None if the card does not report it.

    `reasons` counts the readings with each reason for being slow, of `readings`, and `slowed` those in which the hardware protected the
    card. `link` is the best that was in use, `best_link` what card and slot support together. `corrected` and `uncorrected` are errors of the memory
    meanwhile, `xids` the errors that the driver has reported.
    """

    readings: int = 0
    slowed: int = 0
    clock: int | None = None
    clock_maximum: int | None = None
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None
    link: Link | None = None
    best_link: Link | None = None
    corrected: int | None = None
    uncorrected: int | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    xids: list[int] = field(default_factory=list)


class _Watched:
    """A card, and what was seen of it."""

    def __init__(self, gpu: Gpu) -> None:
        self.observation = Observation()
        self._name = gpu.name
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(gpu.index)
        self._clocks: list[int] = []
        self._before = self._count_errors()
        self._events = optional(pynvml.nvmlEventSetCreate)
        # Cards without such events are watched all the same.
        with suppress(pynvml.NVMLError):
            pynvml.nvmlDeviceRegisterEvents(self._handle, pynvml.nvmlEventTypeXidCriticalError, self._events)

    def read(self) -> None:
        """Read the card once."""
        handle, seen = self._handle, self.observation
        seen.readings += 1
        clock = optional(lambda: int(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)))
        if clock is not None:
            self._clocks.append(clock)
        seen.temperature = _greater(
            seen.temperature,
            optional(lambda: int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))),
        )
        seen.power = _greater(
            seen.power, optional(lambda: float(pynvml.nvmlDeviceGetPowerUsage(handle) / 1000))
        )
        mask = optional(lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)) or 0
        for bit, reason in REASONS.items():
            if mask & bit:
                seen.reasons[reason] = seen.reasons.get(reason, 0) + 1
        seen.slowed += slowed(handle, self._name)
        link = _link(
            pynvml.nvmlDeviceGetCurrPcieLinkGeneration, pynvml.nvmlDeviceGetCurrPcieLinkWidth, handle
        )
        if link is not None and (seen.link is None or link.speed > seen.link.speed):
            seen.link = link

    def finish(self) -> Observation:
        """Return what was seen. Stop watching."""
        handle, seen = self._handle, self.observation
        # The clock under load: the highest one is only that of the first second.
        seen.clock = sorted(self._clocks)[len(self._clocks) // 2] if self._clocks else None
        seen.clock_maximum = optional(
            lambda: int(pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM))
        )
        seen.power_limit = optional(lambda: float(pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000))
        seen.best_link = _link(
            pynvml.nvmlDeviceGetMaxPcieLinkGeneration, pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle
        )
        seen.corrected, seen.uncorrected = (
            None if before is None or after is None else max(0, after - before)
            for before, after in zip(self._before, self._count_errors(), strict=True)
        )
        seen.xids = list(self._new_xids())
        if self._events is not None:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(self._events)
        return seen

    def _count_errors(self) -> tuple[int | None, int | None]:
        """Return how many errors of the memory were corrected, and how many were not, since the driver was loaded."""
        return (
            self._errors_of(pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
            self._errors_of(pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
        )

    def _errors_of(self, kind: int) -> int | None:
        return optional(
            lambda: int(pynvml.nvmlDeviceGetTotalEccErrors(self._handle, kind, pynvml.NVML_VOLATILE_ECC))
        )

    def _new_xids(self) -> Iterator[int]:
        while self._events is not None:
            try:
                yield int(pynvml.nvmlEventSetWait_v2(self._events, 0).eventData)
            except pynvml.NVMLError:  # most often a timeout: there are no more events
                return


def _greater(first: Any, second: Any) -> Any:
    return max((value for value in (first, second) if value is not None), default=None)


def _link(generation: Callable[[Any], int], width: Callable[[Any], int], handle: Any) -> Link | None:
    values = optional(lambda: (int(generation(handle)), int(width(handle))))
    return None if values is None or 0 in values else Link(*values)


@contextmanager
def observed(gpus: Sequence[Gpu]) -> Iterator[dict[str, Observation]]:
    """Watch cards during the block. What was seen, by UUID, is complete after it; a card that NVML has lost is missing.

    The cards are read in a thread of their own, since the driver may hang.
    """
    observations: dict[str, Observation] = {}
    stopping = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(gpus, observations, stopping), name="gpus-observation", daemon=True
    )
    thread.start()
    try:
        yield observations
    finally:
        stopping.set()
        thread.join(_END_SECONDS)


def _watch(gpus: Sequence[Gpu], observations: dict[str, Observation], stopping: threading.Event) -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return
    try:
        watched: dict[str, _Watched] = {}
        for gpu in gpus:
            with suppress(pynvml.NVMLError):
                watched[gpu.uuid] = _Watched(gpu)
        while True:
            for card in watched.values():
                card.read()
            if stopping.wait(SECONDS):
                break
        observations |= {uuid: card.finish() for uuid, card in watched.items()}
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
