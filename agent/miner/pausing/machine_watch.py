"""When the owner's use of the machine pauses all of it: rules, readings and the clock in, pauses out. Times are as in `gpu_watch`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.miner.pausing.gpu_watch import ONSET_SECONDS, Pause, PauseCause, Watch
from agent.miner.settings import PauseSettings


@dataclass(frozen=True, slots=True)
class MachineReading:
    """The use of a machine by its owner at one moment.

    `idle_seconds` is how long ago keyboard, mouse or a terminal were used, None if that is unknown; `program` the name of a program of the rules
    that runs, and `load` how much of the processors other programs use, in percent.
    """

    idle_seconds: float | None = None
    full_screen: bool = False
    program: str | None = None
    load: float | None = None
    on_battery: bool = False


@dataclass(frozen=True, slots=True)
class MachineWatch:
    """The causes. `update` returns the next state, `pauses` the pauses that follow from it."""

    owner: Watch = field(default_factory=Watch)
    full_screen: Watch = field(default_factory=Watch)
    program: Watch = field(default_factory=Watch)
    load: Watch = field(default_factory=Watch)
    battery: Watch = field(default_factory=Watch)
    name: str = ""

    def update(self, reading: MachineReading, rules: PauseSettings, now: float) -> MachineWatch:
        """Return the state after one more reading. What is unknown pauses nothing."""
        hold, idle, limit = rules.hold_seconds, reading.idle_seconds, rules.idle_minutes
        return MachineWatch(
            # The minutes without use are the hold time.
            owner=self.owner.update(
                now, present=limit is not None and idle is not None and idle < 60 * limit, hold=0
            ),
            full_screen=self.full_screen.update(
                now, present=rules.full_screen and reading.full_screen, hold=hold
            ),
            program=self.program.update(now, present=reading.program is not None, hold=hold),
            load=self.load.update(
                now,
                present=rules.other_load is not None and (reading.load or 0.0) > rules.other_load,
                hold=hold,
                onset=ONSET_SECONDS,
            ),
            battery=self.battery.update(now, present=rules.on_battery and reading.on_battery, hold=hold),
            name=reading.program or self.name,
        )

    def pauses(self, rules: PauseSettings) -> Iterator[Pause]:
        """Yield a pause for each cause that holds."""
        if self.owner.holds:
            yield Pause(PauseCause.OWNER, f"in use within {rules.idle_minutes or 0:g} min")
        if self.full_screen.holds:
            yield Pause(PauseCause.PROGRAM, "it fills the screen")
        if self.program.holds:
            yield Pause(PauseCause.PROGRAM, self.name)
        if self.load.holds:
            yield Pause(PauseCause.PROGRAM, f"more than {rules.other_load or 0:g} % of the processors")
        if self.battery.holds:
            yield Pause(PauseCause.BATTERY)
