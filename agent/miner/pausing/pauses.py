"""Which devices take no jobs at present, and why: by their owner's word, by schedule, by what is measured.

Decided in `agent.core.machine.pausing`; here the clock is read, the GPUs are measured, and the owner's word is kept on disk.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psutil
import structlog

from agent.core.errors import AgentError
from agent.core.machine.pausing import Cause, GpuWatch, Pause, Reading, Rules, whole
from agent.core.machine.schedules import parse_window, paused_until
from agent.deadline import call_within
from agent.miner.machine.gpus import Gpu, Gpus
from agent.miner.pausing import pause_file
from agent.miner.pausing.pause_file import WHOLE, Kept
from agent.settings import MinerSettings

LOOK_SECONDS: Final = 1.0
"""How often clock and GPUs are looked at."""
_MEASURE_SECONDS: Final = 5.0
_PROCESSOR: Final = "cpu"

_log = structlog.get_logger(__name__)


class GpuUnknown(AgentError):
    """The owner named a GPU that is not here."""


@dataclass(frozen=True, slots=True)
class Paused:
    """What is paused at one moment: the whole `miner`, and single `gpus` by their UUIDs."""

    miner: Pause | None = None
    gpus: Mapping[str, Pause] = field(default_factory=dict)

    @property
    def devices(self) -> frozenset[str]:
        """The keys of devices that take nothing; with the whole miner paused the processor is among them."""
        return frozenset(self.gpus) | (frozenset() if self.miner is None else {_PROCESSOR})


class Pauses:
    """`measure` once before work begins, then `run`. `on_change` is called when something else is paused than before.

    `path` is the file that is kept, `working` names the devices on which jobs run. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        path: Path,
        settings: MinerSettings,
        gpus: Gpus,
        *,
        working: Callable[[], Collection[str]],
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._gpus = gpus
        self._cards: dict[str, Gpu] = {gpu.uuid: gpu for gpu in gpus.last}
        self._whole_rules = _rules(settings)
        self._rules = {gpu.uuid: _rules(settings, gpu) for gpu in gpus.last}
        self._watches = {gpu.uuid: GpuWatch() for gpu in gpus.last}
        self._working = working
        self._on_change = on_change
        self._clock = clock
        self._kept = pause_file.read(path)
        self.now = Paused()
        for name in settings.gpus:
            if not any(_is_named(gpu, name) for gpu in gpus.last):
                _log.warning("settings_of_absent_gpu", gpu=name)
        self._decide()

    # What is paused -------------------------------------------------------------------------------------------------

    @property
    def cards(self) -> int:
        """How many GPUs there are."""
        return len(self._rules)

    def reason(self) -> str | None:
        """Why the whole miner takes nothing, in words: "by hand until 14:30"."""
        return None if self.now.miner is None else self.now.miner.words(self._clock())

    def gpu_reason(self, uuid: str) -> str | None:
        """The same for one GPU."""
        pause = self.now.gpus.get(uuid)
        return None if pause is None else pause.words(self._clock())

    def status(self) -> dict[str, Any]:
        """For `aitbc-agent status --json`; `until` in seconds since the epoch."""
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

    # The owner's word -----------------------------------------------------------------------------------------------

    def pause(
        self, gpu: str | None = None, seconds: float | None = None, *, command: str | None = None
    ) -> None:
        """Take nothing more on this GPU, or at all, for so long, or until `resume`. Lasts when this returns.

        Raises `GpuUnknown`, and `OSError` if the disk refuses. `command` is remembered as executed with it.
        """
        scope = WHOLE if gpu is None else self.find(gpu)
        until = None if seconds is None else self._clock() + seconds
        skipped = {} if gpu is None else {key: end for key, end in self._kept.skipped.items() if key != scope}
        self._keep(hand={**self._kept.hand, scope: until}, skipped=skipped, command=command)
        _log.info("paused_by_hand", gpu=None if gpu is None else scope, seconds=seconds)
        self.update()

    def resume(self, gpu: str | None = None, *, command: str | None = None) -> None:
        """Take jobs again: on this GPU, or everywhere. A schedule that pauses now is ignored until its window ends.

        What is measured (heat, other programs) goes on pausing. Raises as `pause` does.
        """
        scopes = {self.find(gpu)} if gpu is not None else {WHOLE, *self._rules}
        skipped = dict(self._kept.skipped)
        for scope in scopes:
            if (end := self._scheduled(self._rules.get(scope, self._whole_rules))) is not None:
                skipped[scope] = end
        hand = {scope: until for scope, until in self._kept.hand.items() if scope not in scopes}
        self._keep(hand=hand, skipped=skipped, command=command)
        _log.info("resumed_by_hand", gpu=None if gpu is None else next(iter(scopes)))
        self.update()

    def executed(self, command: str) -> bool:
        """Whether a command was executed already."""
        return command in self._kept.executed

    def remember(self, command: str) -> None:
        """Do not execute this order again. Raises `OSError`."""
        if not self.executed(command):
            self._keep(hand=self._kept.hand, skipped=self._kept.skipped, command=command)

    def find(self, name: str) -> str:
        """The UUID of the GPU that `name` means: an index, a UUID or its beginning. Raises `GpuUnknown`."""
        found = [gpu.uuid for gpu in self._cards.values() if _is_named(gpu, name)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in self._cards.values())
        raise GpuUnknown(
            f"There is no GPU {name!r} here; there are {known}."
            if known
            else f"There is no GPU {name!r}: this machine has none."
        )

    def _keep(
        self, *, hand: Mapping[str, float | None], skipped: Mapping[str, float], command: str | None
    ) -> None:
        executed = self._kept.executed if command is None else (*self._kept.executed, command)
        kept = Kept(hand=dict(hand), skipped=dict(skipped), executed=executed).at(self._clock())
        pause_file.write(self._path, kept)
        self._kept = kept

    # Clock and measurements -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at the clock and, if a rule needs it, at the GPUs, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if any(rules.measure for rules in self._rules.values()):
                await self._measure()
            self.update()

    async def measure(self) -> None:
        """Decide anew, with what the rules need measured; tells nobody. For the time before work begins."""
        if any(rules.measure for rules in self._rules.values()):
            await self._measure()
        self._decide()

    def update(self) -> None:
        """Decide anew, and say so if it comes out differently."""
        if self._decide():
            now = {"miner": self.reason(), "gpus": {uuid: self.gpu_reason(uuid) for uuid in self.now.gpus}}
            _log.info("pauses_changed", **now)
            self._on_change()

    def _decide(self) -> bool:
        """Returns whether something else is paused than before."""
        now = self._clock()
        hand = self._kept.at(now).hand
        own = Pause(Cause.HAND, until=hand[WHOLE]) if WHOLE in hand else None
        gpus = {uuid: own or next(self._pauses_of(uuid, hand), None) for uuid in self._rules}
        if not self._rules and own is None and (end := self._effective(WHOLE, self._whole_rules)) is not None:
            own = Pause(Cause.SCHEDULE, until=end)
        names = {f"GPU {self._cards[uuid].index}": pause for uuid, pause in gpus.items()}
        before = self.now
        self.now = Paused(
            whole(own, names), {uuid: pause for uuid, pause in gpus.items() if pause is not None}
        )
        return self.now != before

    def _pauses_of(self, uuid: str, hand: Mapping[str, float | None]) -> Iterator[Pause]:
        rules = self._rules[uuid]
        if uuid in hand:
            yield Pause(Cause.HAND, until=hand[uuid])
        if (end := self._effective(uuid, rules)) is not None:
            yield Pause(Cause.SCHEDULE, until=end)
        yield from self._watches[uuid].pauses(rules)

    def _effective(self, scope: str, rules: Rules) -> float | None:
        """Until when the schedule pauses; None if it does not, or if its owner resumed in this window."""
        return None if self._kept.skipped.get(scope, 0) > self._clock() else self._scheduled(rules)

    def _scheduled(self, rules: Rules) -> float | None:
        # Schedules are about the clock on the owner's wall.
        end = paused_until(rules.schedule, datetime.fromtimestamp(self._clock()))  # noqa: DTZ006
        return None if end is None else end.timestamp()

    async def _measure(self) -> None:
        cards = {gpu.uuid: gpu for gpu in await self._gpus.refresh()}
        others: Mapping[str, int] = {}
        if any(rules.other_programs for rules in self._rules.values()):
            with suppress(TimeoutError):
                others = await call_within(_MEASURE_SECONDS, self._count_others, name="gpus-programs")
        working = self._working()
        for uuid, rules in self._rules.items():
            if (gpu := cards.get(uuid)) is not None:
                reading = Reading(
                    gpu.temperature, gpu.power, gpu.utilization, others.get(uuid, 0), uuid in working
                )
                self._watches[uuid] = self._watches[uuid].update(reading, rules, self._clock())

    def _count_others(self) -> dict[str, int]:
        """How many processes that are not ours compute on each card. What is not among this system's processes is left."""
        computing = self._gpus.computing()
        if not any(computing.values()):
            return {}
        ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        return {
            uuid: sum(psutil.pid_exists(pid) for pid in processes - ours)
            for uuid, processes in computing.items()
        }


def _is_named(gpu: Gpu, name: str) -> bool:
    return int(name) == gpu.index if name.isdecimal() else gpu.uuid.lower().startswith(name.lower())


def _rules(settings: MinerSettings, gpu: Gpu | None = None) -> Rules:
    """What the settings say of a GPU, or of all; those of a longer name win."""
    values = settings.pause.model_dump()
    for name in sorted(settings.gpus, key=len):
        if gpu is not None and _is_named(gpu, name):
            own = settings.gpus[name].pause.model_dump()
            values |= {key: value for key, value in own.items() if value is not None}
    values["schedule"] = tuple(parse_window(window) for window in values["schedule"])
    return Rules(**values)
