"""When and why a device accepts no jobs: rules, readings and the clock in, pauses out.

Measured causes have a hold time, so that a pause does not flicker with every reading: a pause ends only after its cause has been
absent for that long. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from agent.miner.settings import PauseSettings

SLOWED_SECONDS: Final = 30.0
"""How long the hardware must slow a GPU down before that counts."""
ONSET_SECONDS: Final = 10.0
"""How long a GPU must be busy before that counts. A desktop is briefly busy whenever a window moves."""


class PauseCause(StrEnum):
    """The causes of pauses, in the order of precedence."""

    HAND = "by hand"
    SCHEDULE = "by schedule"
    TEST = "for a self-test"
    FAULT = "because of a fault"
    OWNER = "for its owner"
    PROGRAM = "for another program"
    BATTERY = "for the battery"
    DATA = "for the data limit"
    TEMPERATURE = "for the temperature"
    POWER = "for the power"

    @property
    def resumable(self) -> bool:
        """Whether the owner can end the pause. Measured pauses end automatically."""
        return self in {PauseCause.HAND, PauseCause.SCHEDULE}


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause. `detail` describes the measured cause; `until` is None if the end is unknown."""

    cause: PauseCause
    detail: str = ""
    until: float | None = None

    def words(self, now: float) -> str:
        """Return the pause as displayed, in local time, e.g. "by hand until 14:30"."""
        until = ""
        if self.until is not None:
            end, today = datetime.fromtimestamp(self.until), datetime.fromtimestamp(now)  # noqa: DTZ006 - local time
            until = f" until {end:%H:%M}" if end.date() == today.date() else f" until {end:%a %d %b %H:%M}"
        return f"{self.cause}{f' ({self.detail})' if self.detail else ''}{until}"


@dataclass(frozen=True, slots=True)
class GpuReading:
    """A GPU at one moment.

    `others` is how many other programs compute on it, `largest_other` the memory of the largest one, whether it computes or draws, and `working`
    whether one of this agent does. An `exclusive` GPU lets one process at a time compute. `fault` describes a faulty card, and `slowed` means that
    its hardware protects it from heat or from a weak power supply. Values that the card does not report are None.
    """

    temperature: float | None = None
    power: float | None = None
    utilization: float | None = None
    others: int = 0
    largest_other: int = 0
    working: bool = False
    fault: str | None = None
    slowed: bool = False
    exclusive: bool = False


SLOWED: Final = "its hardware slows it down; check its cooling and its power cables"


@dataclass(frozen=True, slots=True)
class Watch:
    """One cause: `since` when it has been present without a gap, when it was `last` present, and whether it `holds`."""

    since: float | None = None
    last: float = 0.0
    holds: bool = False

    def update(self, now: float, *, present: bool, hold: float, onset: float = 0.0) -> Watch:
        """Return the cause after one more observation."""
        if not present:
            # Before the last observation, the clock was set back, and how long the cause has been absent is unknown.
            return Watch(None, self.last, self.holds and 0 <= now - self.last < hold)
        since = now if self.since is None else min(self.since, now)
        return Watch(since, now, self.holds or now - since >= onset)


@dataclass(frozen=True, slots=True)
class GpuWatch:
    """The measured causes of one GPU. `update` returns the next state, `pauses` the pauses that follow from it."""

    fault: Watch = field(default_factory=Watch)
    slowed: Watch = field(default_factory=Watch)
    program: Watch = field(default_factory=Watch)
    busy: Watch = field(default_factory=Watch)
    temperature: Watch = field(default_factory=Watch)
    power: Watch = field(default_factory=Watch)
    reading: GpuReading = field(default_factory=GpuReading)

    def update(self, reading: GpuReading, rules: PauseSettings, now: float) -> GpuWatch:
        """Return the state after one more reading. A value that the card does not report counts as harmless."""
        hold = rules.hold_seconds
        # While this agent works, the utilisation cannot be attributed to other programs.
        by_others = 0.0 if reading.working or reading.utilization is None else reading.utilization
        return GpuWatch(
            fault=self.fault.update(now, present=rules.faulty and reading.fault is not None, hold=hold),
            slowed=self.slowed.update(
                now, present=rules.faulty and reading.slowed, hold=hold, onset=SLOWED_SECONDS
            ),
            program=self.program.update(
                # Beside another program, each job would fail on an exclusive card, also if its owner would share the card.
                now,
                present=(rules.other_programs and _is_used(reading, rules.other_memory))
                or (reading.exclusive and reading.others > 0),
                hold=hold,
            ),
            busy=self.busy.update(
                now,
                present=rules.other_programs and by_others >= rules.other_utilization,
                hold=hold,
                onset=ONSET_SECONDS,
            ),
            temperature=self.temperature.update(
                now,
                present=_above(
                    reading.temperature, rules.max_temperature, rules.temperature_margin, self.temperature
                ),
                hold=hold,
            ),
            power=self.power.update(
                now, present=_above(reading.power, rules.max_power, rules.power_margin, self.power), hold=hold
            ),
            reading=reading if reading.fault else replace(reading, fault=self.reading.fault),
        )

    @property
    def needed(self) -> bool:
        """Whether another program uses the GPU."""
        return self.program.holds or self.busy.holds

    def pauses(self, rules: PauseSettings) -> Iterator[Pause]:
        """Yield a pause for each cause that holds."""
        if self.fault.holds:
            yield Pause(PauseCause.FAULT, self.reading.fault or "")
        if self.slowed.holds:
            yield Pause(PauseCause.FAULT, SLOWED)
        if self.needed:
            yield Pause(PauseCause.PROGRAM)
        if self.temperature.holds:
            yield Pause(PauseCause.TEMPERATURE, f"limit {rules.max_temperature:g} °C")
        if self.power.holds:
            yield Pause(PauseCause.POWER, f"limit {rules.max_power:g} W")


def _is_used(reading: GpuReading, memory: int | None) -> bool:
    """Return whether another program computes on a GPU, or uses so much of its memory."""
    return reading.others > 0 or (memory is not None and reading.largest_other >= memory)


def _above(value: float | None, limit: float | None, margin: float, watch: Watch) -> bool:
    """Return whether a value is above its limit. While the cause holds, the limit is lower by the margin."""
    if value is None or limit is None:
        return False
    return value > (limit - margin if watch.holds else limit)


def whole(miner: Pause | None, gpus: Mapping[str, Pause | None]) -> Pause | None:
    """Return the pause of the whole miner: its own, or else the combined pause of all its GPUs, which `gpus` has by name.

    None while a GPU works, or if there is no GPU and the miner itself is not paused.
    """
    pauses = [pause for pause in gpus.values() if pause is not None]
    if miner is not None or not pauses or len(pauses) < len(gpus):
        return miner
    ends = [pause.until for pause in pauses if pause.until is not None]
    until = min(ends, default=None)
    first = min(pauses, key=lambda pause: list(PauseCause).index(pause.cause))
    if all(pause.cause == first.cause for pause in pauses):
        return Pause(first.cause, first.detail, until)
    detail = "; ".join(f"{name} {pause.cause}" for name, pause in gpus.items() if pause is not None)
    return Pause(first.cause, detail, until)
