"""Pauses devices: by manual override, by schedule, or because of measurements.

`agent.miner.pausing.gpu_watch` makes the decisions. This module reads the clock and the GPUs, and saves manual
overrides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from agent.core.errors import AgentError
from agent.deadline import call_within
from agent.miner.machine.gpus import Gpu, GpuReadings
from agent.miner.pausing import pause_file
from agent.miner.pausing.gpu_watch import GpuReading, GpuWatch, Pause, PauseCause, whole
from agent.miner.pausing.machine_watch import MachineReading, MachineWatch
from agent.miner.pausing.pause_file import WHOLE, SavedPauses
from agent.miner.pausing.presence import Presence
from agent.miner.schedules import parse_window, paused_until
from agent.miner.settings import MinerSettings, PauseSettings

OWNER_POLL_SECONDS: Final = 5.0
"""How often the machine's use by its owner is read."""
POLL_SECONDS: Final = 1.0
"""How often the clock is read, and the GPUs if a rule needs their readings."""
HEALTH_POLL_SECONDS: Final = 10.0
"""How often the GPUs are read if only faults matter."""
LOST: Final = "the driver no longer finds it"
_MEASURE_SECONDS: Final = 5.0
_PROCESSOR: Final = "cpu"

_log = structlog.get_logger(__name__)


class GpuUnknown(AgentError):
    """The owner named a GPU that this machine does not have."""


@dataclass(frozen=True, slots=True)
class Paused:
    """The pauses at one moment: of the whole `miner`, and of single `gpus` by UUID.

    `needed` are the devices that their owner or other programs use, with what their owner wants for the jobs that run there, also if another cause
    pauses them.
    """

    miner: Pause | None = None
    gpus: Mapping[str, Pause] = field(default_factory=dict)
    needed: Mapping[str, str] = field(default_factory=dict)

    @property
    def devices(self) -> frozenset[str]:
        """The keys of paused devices, including the processor if the whole miner is paused."""
        return frozenset(self.gpus) | (frozenset() if self.miner is None else {_PROCESSOR})


class Pauses:
    """Call `measure` once before work begins, then run `run`. `on_change` is called when the pauses have changed.

    `path` is the file of the saved state, `presence` reads the machine's use by its owner, and `data_used_until`
    returns when the next month begins if the data of this one is used up. `working` returns the devices on which jobs run, `clock` seconds since the epoch.
    """

    def __init__(
        self,
        path: Path,
        settings: MinerSettings,
        gpus: GpuReadings,
        *,
        working: Callable[[], Collection[str]],
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        presence: Presence | None = None,
        data_used_until: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._data_used_until = data_used_until
        self._presence = Presence() if presence is None else presence
        self._machine = MachineWatch()
        self._read_at = float("-inf")
        self._path = path
        self._gpus = gpus
        self._cards: dict[str, Gpu] = {gpu.uuid: gpu for gpu in gpus.last}
        self._apply(settings)
        self._watches = {gpu.uuid: GpuWatch() for gpu in gpus.last}
        self._working = working
        self.on_change = on_change
        self._clock = clock
        self._saved = pause_file.read(path)
        self.now = Paused()
        self._measured_at = float("-inf")
        self._testing = False
        for name in settings.gpus:
            # Only a warning: a card may be out of its slot for a while, and its settings should wait for it.
            if not any(gpu.is_named(name) for gpu in gpus.last):
                _log.warning("settings_of_absent_gpu", gpu=name)
        self._decide()

    def _apply(self, settings: MinerSettings) -> None:
        self._whole_rules = settings.pause
        self._rules = {uuid: _rules(settings, gpu) for uuid, gpu in self._cards.items()}

    def apply(self, settings: MinerSettings) -> None:
        """Use these settings from now on."""
        self._apply(settings)
        self.update()

    # State ----------------------------------------------------------------------------------------------------------

    @property
    def cards(self) -> int:
        """The number of GPUs."""
        return len(self._rules)

    def reason(self) -> str | None:
        """Return why the whole miner is paused ("by hand until 14:30"), None if it is not."""
        return None if self.now.miner is None else self.now.miner.words(self._clock())

    def gpu_reason(self, uuid: str) -> str | None:
        """Return why one GPU is paused, None if it is not."""
        pause = self.now.gpus.get(uuid)
        return None if pause is None else pause.words(self._clock())

    def status(self) -> dict[str, Any]:
        """Return the pauses for the daemon's status; `until` is in seconds since the epoch."""
        return {
            WHOLE: None if self.now.miner is None else self._describe(self.now.miner),
            "gpus": {uuid: self._describe(pause) for uuid, pause in self.now.gpus.items()},
        }

    def _describe(self, pause: Pause) -> dict[str, Any]:
        return {
            "cause": pause.cause.name.lower(),
            "words": pause.words(self._clock()),
            "until": pause.until,
            "resumable": pause.cause.resumable,
        }

    # Manual overrides -----------------------------------------------------------------------------------------------

    def pause(
        self, gpu: str | None = None, seconds: float | None = None, *, command: str | None = None
    ) -> None:
        """Pause this GPU, or the whole miner, for so long, or until `resume`. The pause is saved when this returns.

        Raises `GpuUnknown`, and `OSError` if it cannot be saved. `command` is saved as executed with it.
        """
        scope = WHOLE if gpu is None else self.find(gpu)
        until = None if seconds is None else self._clock() + seconds
        # A pause by hand of one GPU also ends the exception that a `resume` made for it in the schedule.
        skipped = (
            {} if gpu is None else {key: end for key, end in self._saved.skipped.items() if key != scope}
        )
        self._save(hand={**self._saved.hand, scope: until}, skipped=skipped, command=command)
        _log.info("paused_by_hand", gpu=None if gpu is None else scope, seconds=seconds)
        self.update()

    def resume(self, gpu: str | None = None, *, command: str | None = None) -> None:
        """Resume this GPU, or everything. A schedule that pauses now is ignored until its window ends.

        Pauses because of measurements (temperature, other programs) remain. Raises as `pause` does.
        """
        scopes = {self.find(gpu)} if gpu is not None else {WHOLE, *self._rules}
        skipped = dict(self._saved.skipped)
        for scope in scopes:
            # Saved with the end of the window, or a restart in the middle of it would pause again.
            if (end := self._scheduled(self._rules.get(scope, self._whole_rules))) is not None:
                skipped[scope] = end
        hand = {scope: until for scope, until in self._saved.hand.items() if scope not in scopes}
        self._save(hand=hand, skipped=skipped, command=command)
        _log.info("resumed_by_hand", gpu=None if gpu is None else next(iter(scopes)))
        self.update()

    def toggle(self) -> None:
        """Resume if the owner or a schedule has paused the miner, else pause it by hand. Raises `OSError`."""
        pause = self.now.miner
        if pause is not None and pause.cause.resumable:
            self.resume()
        else:
            self.pause()

    def test(self, *, in_progress: bool) -> None:
        """Pause the whole miner while this machine tests itself. This is not saved: a self-test ends with the miner."""
        self._testing = in_progress
        self.update()

    def executed(self, command: str) -> bool:
        """Whether a command has been executed already."""
        return command in self._saved.executed

    def save_executed(self, command: str) -> None:
        """Save that this command is executed. Raises `OSError`."""
        if not self.executed(command):
            self._save(hand=self._saved.hand, skipped=self._saved.skipped, command=command)

    def find(self, name: str) -> str:
        """Return the UUID of the GPU with this index, UUID or prefix of a UUID. Raises `GpuUnknown`."""
        uuids = [gpu.uuid for gpu in self._cards.values() if gpu.is_named(name)]
        if len(uuids) == 1:
            return uuids[0]
        numbers = ", ".join(f"{gpu.number} ({gpu.uuid})" for gpu in self._cards.values())
        raise GpuUnknown(
            f"There is no GPU {name!r} here; this machine has {numbers}."
            if numbers
            else f"There is no GPU {name!r}: this machine has none."
        )

    def _save(
        self, *, hand: Mapping[str, float | None], skipped: Mapping[str, float], command: str | None
    ) -> None:
        # Saved in one file with its effect: after a crash, a command was either executed and noted, or neither.
        executed = self._saved.executed if command is None else (*self._saved.executed, command)
        saved = SavedPauses(hand=dict(hand), skipped=dict(skipped), executed=executed).at(self._clock())
        pause_file.write(self._path, saved)
        # Only after the file is written, so that what is in memory never promises more than the disk.
        self._saved = saved

    # Clock and measurements -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read the clock and the GPUs until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            due = time.monotonic() - self._measured_at >= HEALTH_POLL_SECONDS  # the clock may be set back
            # Faults of a card are looked for rarely, temperature and other programs each second, if a rule needs them.
            exclusive = any(gpu.exclusive for gpu in self._gpus.last)
            if self._rules and (due or exclusive or any(map(_needs_readings, self._rules.values()))):
                await self._measure()
            if time.monotonic() - self._read_at >= OWNER_POLL_SECONDS:
                await self._read_machine()
            self.update()

    async def measure(self) -> None:
        """Read the GPUs, and decide without calling `on_change`, before work begins."""
        if self._rules:
            await self._measure()
        await self._read_machine()
        self._decide()

    def update(self) -> None:
        """Decide again, and call `on_change` if the pauses have changed."""
        # Subscribers hand leases back and wake the coordinator, so they are called for changes only.
        if self._decide():
            now = {"miner": self.reason(), "gpus": {uuid: self.gpu_reason(uuid) for uuid in self.now.gpus}}
            _log.info("pauses_changed", **now)
            self.on_change()

    def _decide(self) -> bool:
        """Decide what is paused. Return whether that has changed."""
        now = self._clock()
        hand = self._saved.at(now).hand
        miners_pause = Pause(PauseCause.HAND, until=hand[WHOLE]) if WHOLE in hand else None
        if self._testing and miners_pause is None:
            miners_pause = Pause(PauseCause.TEST)
        of_machine = next(self._machine.pauses(self._whole_rules), None)
        if (data_until := self._data_used_until()) is not None:
            miners_pause = miners_pause or Pause(PauseCause.DATA, until=data_until)
        miners_pause = miners_pause or of_machine
        gpus = {uuid: miners_pause or next(self._pauses_of(uuid, hand), None) for uuid in self._rules}
        if (
            not self._rules
            and miners_pause is None
            and (end := self._effective(WHOLE, self._whole_rules)) is not None
        ):
            miners_pause = Pause(PauseCause.SCHEDULE, until=end)
        names = {f"GPU {self._cards[uuid].number}": pause for uuid, pause in gpus.items()}
        former = self.now
        self.now = Paused(
            whole(miners_pause, names),
            {uuid: pause for uuid, pause in gpus.items() if pause is not None},
            {uuid: rules.running_jobs for uuid, rules in self._rules.items() if self._watches[uuid].needed}
            | (
                {}
                if of_machine is None
                else dict.fromkeys((_PROCESSOR, *self._rules), self._whole_rules.running_jobs)
            ),
        )
        return self.now != former

    def _pauses_of(self, uuid: str, hand: Mapping[str, float | None]) -> Iterator[Pause]:
        rules = self._rules[uuid]
        if uuid in hand:
            yield Pause(PauseCause.HAND, until=hand[uuid])
        if (end := self._effective(uuid, rules)) is not None:
            yield Pause(PauseCause.SCHEDULE, until=end)
        yield from self._watches[uuid].pauses(rules)

    def _effective(self, scope: str, rules: PauseSettings) -> float | None:
        """Return until when the schedule pauses; None if it does not, or if the owner resumed in this window."""
        return None if self._saved.skipped.get(scope, 0) > self._clock() else self._scheduled(rules)

    def _scheduled(self, rules: PauseSettings) -> float | None:
        # Schedules are in local time.
        windows = [parse_window(window) for window in rules.schedule]
        end = paused_until(windows, datetime.fromtimestamp(self._clock()))  # noqa: DTZ006
        return None if end is None else end.timestamp()

    async def _read_machine(self) -> None:
        self._read_at = time.monotonic()
        try:
            reading = await call_within(
                _MEASURE_SECONDS, partial(self._presence.read, self._whole_rules), name="presence"
            )
        except TimeoutError:
            # What is unknown pauses nothing.
            reading = MachineReading()
        self._machine = self._machine.update(reading, self._whole_rules, self._clock())

    async def _measure(self) -> None:
        self._measured_at = time.monotonic()
        cards = {gpu.uuid: gpu for gpu in await self._gpus.refresh()}
        programs: Mapping[str, int] = {}
        sizes: Mapping[str, int] = {}
        exclusive = any(gpu.exclusive for gpu in cards.values())
        if exclusive or any(rules.other_programs for rules in self._rules.values()):
            with suppress(TimeoutError):
                programs = await call_within(_MEASURE_SECONDS, self._gpus.others, name="gpus-programs")
        if any(rules.other_programs and rules.other_memory is not None for rules in self._rules.values()):
            with suppress(TimeoutError):
                sizes = await call_within(_MEASURE_SECONDS, self._gpus.largest_other, name="gpus-memory")
        working = self._working()
        for uuid, rules in self._rules.items():
            reading = GpuReading(fault=LOST)
            if (gpu := cards.get(uuid)) is not None:
                reading = GpuReading(
                    temperature=gpu.temperature,
                    power=gpu.power,
                    utilization=gpu.utilization,
                    others=programs.get(uuid, 0),
                    largest_other=sizes.get(uuid, 0),
                    working=uuid in working,
                    fault=gpu.fault,
                    slowed=gpu.slowed,
                    exclusive=gpu.exclusive,
                )
            self._watches[uuid] = self._watches[uuid].update(reading, rules, self._clock())


def _rules(settings: MinerSettings, gpu: Gpu) -> PauseSettings:
    """Return the settings' rules for a GPU. Entries with a longer name take precedence."""
    rules = settings.pause
    for name in sorted(settings.gpus, key=len):
        if gpu.is_named(name):
            rules = rules.model_copy(update=settings.gpus[name].pause.model_dump(exclude_none=True))
    return rules


def _needs_readings(rules: PauseSettings) -> bool:
    return rules.other_programs or rules.max_temperature is not None or rules.max_power is not None
