"""When a device takes no jobs, and why: rules, readings and the clock in, pauses out.

What is measured has a hold time, so that a pause does not come and go with every reading: the cause must have been away
for that long before it counts as gone. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from agent.core.machine.schedules import Window

ONSET_SECONDS: Final = 10.0
"""How long a GPU must be busy before that counts: a desktop is for moments whenever a window is moved."""


class Cause(StrEnum):
    """Kinds of pauses, in the order in which they are named where several hold."""

    HAND = "by hand"
    SCHEDULE = "by schedule"
    PROGRAM = "for another program"
    TEMPERATURE = "for the temperature"
    POWER = "for the power"

    @property
    def resumable(self) -> bool:
        """Whether its owner can end it: what is measured ends by itself."""
        return self in {Cause.HAND, Cause.SCHEDULE}


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing is taken. `detail` adds what was measured; `until` is None where nobody knows the end."""

    cause: Cause
    detail: str = ""
    until: float | None = None

    def words(self, now: float) -> str:
        """The pause as it is shown, e.g. "by hand until 14:30"; local time."""
        until = ""
        if self.until is not None:
            end, today = datetime.fromtimestamp(self.until), datetime.fromtimestamp(now)  # noqa: DTZ006 - local time
            until = f" until {end:%H:%M}" if end.date() == today.date() else f" until {end:%a %d %b %H:%M}"
        return f"{self.cause}{f' ({self.detail})' if self.detail else ''}{until}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What pauses a GPU, besides its owner's word. Degrees Celsius, watts, percent; None is no limit."""

    schedule: tuple[Window, ...] = ()
    other_programs: bool = False
    other_utilization: float = 25.0
    max_temperature: float | None = None
    temperature_margin: float = 5.0
    max_power: float | None = None
    power_margin: float = 20.0
    hold_seconds: float = 60.0

    @property
    def measure(self) -> bool:
        """Whether any of them needs readings."""
        return self.other_programs or self.max_temperature is not None or self.max_power is not None


@dataclass(frozen=True, slots=True)
class Reading:
    """A GPU at one moment. `others` is how many programs of others compute on it, `working` whether one of ours does.

    What the card does not tell is None.
    """

    temperature: float | None = None
    power: float | None = None
    utilization: float | None = None
    others: int = 0
    working: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """One cause: `since` when it has been there without a gap, when it was seen `last`, and whether it `holds`."""

    since: float | None = None
    last: float = 0.0
    holds: bool = False

    def look(self, now: float, *, seen: bool, hold: float, onset: float = 0.0) -> Watch:
        """The cause after one more look."""
        if not seen:
            return Watch(None, self.last, self.holds and now - self.last < hold)
        since = now if self.since is None else self.since
        return Watch(since, now, self.holds or now - since >= onset)


@dataclass(frozen=True, slots=True)
class GpuWatch:
    """What has been measured of one GPU. `look` gives the next one, `pauses` what follows from it."""

    program: Watch = field(default_factory=Watch)
    busy: Watch = field(default_factory=Watch)
    temperature: Watch = field(default_factory=Watch)
    power: Watch = field(default_factory=Watch)
    reading: Reading = field(default_factory=Reading)

    def look(self, reading: Reading, rules: Rules, now: float) -> GpuWatch:
        """After one more reading. A value that the card does not tell counts as harmless."""
        hold = rules.hold_seconds
        # While one of ours works, nobody can say whose the utilisation is.
        used = 0.0 if reading.working or reading.utilization is None else reading.utilization
        return GpuWatch(
            program=self.program.look(now, seen=rules.other_programs and reading.others > 0, hold=hold),
            busy=self.busy.look(
                now,
                seen=rules.other_programs and used >= rules.other_utilization,
                hold=hold,
                onset=ONSET_SECONDS,
            ),
            temperature=self.temperature.look(
                now,
                seen=_above(
                    reading.temperature, rules.max_temperature, rules.temperature_margin, self.temperature
                ),
                hold=hold,
            ),
            power=self.power.look(
                now, seen=_above(reading.power, rules.max_power, rules.power_margin, self.power), hold=hold
            ),
            reading=reading,
        )

    def pauses(self, rules: Rules) -> Iterator[Pause]:
        """What holds."""
        if self.program.holds or self.busy.holds:
            yield Pause(Cause.PROGRAM)
        if self.temperature.holds:
            yield Pause(Cause.TEMPERATURE, f"limit {rules.max_temperature:g} °C")
        if self.power.holds:
            yield Pause(Cause.POWER, f"limit {rules.max_power:g} W")


def _above(value: float | None, limit: float | None, margin: float, watch: Watch) -> bool:
    """Whether a value is above its limit; once it was, it must fall below the limit less the margin."""
    if value is None or limit is None:
        return False
    return value > (limit - margin if watch.holds else limit)


def whole(miner: Pause | None, gpus: Mapping[str, Pause | None]) -> Pause | None:
    """The pause of the whole miner: its own, else what all its GPUs have in common. `gpus` by their names.

    None while a GPU works, or where there is none and the miner is not paused itself.
    """
    pauses = [pause for pause in gpus.values() if pause is not None]
    if miner is not None or not pauses or len(pauses) < len(gpus):
        return miner
    ends = [pause.until for pause in pauses if pause.until is not None]
    until = min(ends, default=None)
    first = min(pauses, key=lambda pause: list(Cause).index(pause.cause))
    if all(pause.cause == first.cause for pause in pauses):
        return Pause(first.cause, first.detail, until)
    detail = "; ".join(f"{name} {pause.cause}" for name, pause in gpus.items() if pause is not None)
    return Pause(first.cause, detail, until)
