"""Looks at the machine for what its owner should know, and sends a notice of each event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import ValidationError

from agent import __version__
from agent.atomic_file import replace_file
from agent.core.versions import standing
from agent.miner.backend import UpdateReport
from agent.miner.identity import default_name
from agent.miner.link.client import CoordinatorLink
from agent.miner.machine.gpus import Gpu, GpuReadings
from agent.miner.machine.selftest_report import LatestSelftest
from agent.miner.notices.conditions import Condition, NoticeState
from agent.miner.notices.delivery import Notice, NotSent, send
from agent.miner.pausing.pauses import Pauses
from agent.miner.runs.slots import Workload
from agent.miner.settings import MinerSettings, NoticeSettings

FILE_NAME: Final = "notices.json"
POLL_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 60.0
"""The pause after a notice that could not be sent."""
SAVE_SECONDS: Final = 600.0
"""How often the idle time is saved, besides every change."""
_HOUR: Final = 3600

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Notices:
    """The daemon runs `run`, which returns at once if the settings name no way to send. `idle` returns how the last hour was spent."""

    directory: Path
    settings: MinerSettings
    _: KW_ONLY
    gpus: GpuReadings
    link: CoordinatorLink
    pauses: Pauses
    workload: Workload
    idle: Callable[[], list[dict[str, Any]]]
    selftest: LatestSelftest
    updates: UpdateReport | None = None

    def __post_init__(self) -> None:
        self._path = self.directory / FILE_NAME
        self._notices = self.settings.notices
        self._machine = self.settings.name or default_name(self.directory)
        self._known = {gpu.uuid: gpu for gpu in self.gpus.last}
        self._completed = 0
        self._retry_at = 0.0
        self._saved_at = 0.0

    @property
    def wanted(self) -> bool:
        """Whether the settings name a way to send notices."""
        return self._notices.webhook is not None or bool(self._notices.command)

    async def run(self) -> None:
        """Look and send until cancelled."""
        if not self.wanted:
            # The daemon ends when one of its tasks does.
            await asyncio.Event().wait()
        state = await asyncio.to_thread(_read, self._path)
        looked_at = time.monotonic()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            seconds, looked_at = time.monotonic() - looked_at, time.monotonic()
            state = await self._look(state, seconds)

    async def _look(self, state: NoticeState, seconds: float) -> NoticeState:
        """Return the next state, `seconds` after the last one."""
        former = state
        state = state.model_copy(update={"idle_seconds": self._idle_seconds(state.idle_seconds, seconds)})
        conditions = list(self._conditions(state))
        now = time.time()
        state = state.seen(conditions, now)
        settings = self._notices
        quiet = settings.quiet_hours * _HOUR
        if time.monotonic() >= self._retry_at:
            for condition in state.due(conditions, now, hold=settings.hold_seconds, quiet=quiet):
                if not await self._sent(condition):
                    break
                state = state.with_sent(condition, now, quiet=quiet)
        unchanged = state.model_copy(update={"idle_seconds": former.idle_seconds}) == former
        if not unchanged or time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._saved_at = time.monotonic()
            await asyncio.to_thread(_write, self._path, state)
        return state

    async def _sent(self, condition: Condition) -> bool:
        try:
            gpu = condition.subject or None
            notice = Notice(condition.kind, condition.text, self._machine, gpu, time.time())
            await send(notice, self._notices)
        except NotSent:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return False
        _log.info("notice_sent", notice_event=condition.kind, gpu=gpu)
        return True

    async def ended(self, error: BaseException) -> None:
        """Notify that the miner has ended because of an error, such as a coordinator that refuses it."""
        if self.wanted:
            text = f"The miner has stopped: {error} Start it again when that is fixed."
            await self._sent(Condition("miner_stopped", "", text))

    # Conditions -------------------------------------------------------------------------------------------------------

    def _conditions(self, state: NoticeState) -> Iterator[Condition]:
        present = {gpu.uuid: gpu for gpu in self.gpus.last}
        self._known |= present
        for uuid, gpu in self._known.items():
            if uuid not in present:
                yield Condition("gpu_lost", uuid, f"{_words(gpu)} is lost. {self.gpus.reason or _LOST}")
            else:
                yield from _of_card(present[uuid], self._notices)
        if self.link.refusal is not None:
            yield Condition(
                "miner_withdrawn", "", f"The coordinator gives this miner no jobs: {self.link.refusal}"
            )
        advice, coordinator = self.link.version_advice, self.link.coordinator_version
        # One that is older by less goes on getting jobs after the next update, too.
        if advice is not None and coordinator is not None and standing(__version__, coordinator) == "ending":
            yield Condition("agent_outdated", "", advice)
        tested = self.selftest.report
        if tested is not None and not tested.passed:
            problems = " ".join(tested.problems())
            text = f"The machine failed its self-test: {problems} `aitbc-agent selftest` says what to do."
            yield Condition("selftest_failed", "", text)
        if self.updates is not None:
            for kind, text in self.updates.notices():
                yield Condition(kind, "", text)
        hours = self._notices.idle_hours
        if hours is not None and state.idle_seconds >= hours * _HOUR:
            yield Condition("earns_nothing", "", self._nothing(hours))

    def _idle_seconds(self, before: float, seconds: float) -> float:
        """Return for how long no job has been completed, without the time in which the owner wanted none."""
        completed, self._completed = self._completed, self.workload.completed
        if self.workload.completed > completed:
            return 0.0
        pause = self.pauses.now.miner
        return before if pause is not None and pause.cause.resumable else before + seconds

    def _nothing(self, hours: float) -> str:
        reasons = ", ".join(f"{use['reason']} {use['share']:.0%}" for use in self.idle()[:3])
        return (
            f"It has completed no job for {hours:g} hours. The last hour: {reasons}. "
            "`aitbc-agent status` shows which services and models are offered; lower prices or more models bring more jobs."
        )


_LOST: Final = "The driver no longer finds it. Restart the machine, and check the card's power and slot."


def _words(gpu: Gpu) -> str:
    return f"GPU {gpu.number} ({gpu.name}, {gpu.uuid})"


def _of_card(gpu: Gpu, settings: NoticeSettings) -> Iterator[Condition]:
    if gpu.fault is not None:
        yield Condition("gpu_faulty", gpu.uuid, f"{_words(gpu)} may compute wrong results: {gpu.fault}.")
    if gpu.slowed:
        text = f"{_words(gpu)} is slowed down by its hardware. Check its cooling and its power cables."
        yield Condition("gpu_throttled", gpu.uuid, text)
    limit = settings.hot_celsius
    if limit is not None and gpu.temperature is not None and gpu.temperature >= limit:
        text = (
            f"{_words(gpu)} is at {gpu.temperature} °C. Check its fans and the air in the case, or lower its power limit; "
            "miner.pause.max_temperature pauses it."
        )
        yield Condition("gpu_hot", gpu.uuid, text)


def _read(path: Path) -> NoticeState:
    try:
        return NoticeState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return NoticeState()
    except (OSError, ValidationError) as error:
        _log.warning("notices_lost", path=str(path), error=type(error).__name__)
        return NoticeState()


def _write(path: Path, state: NoticeState) -> None:
    try:
        replace_file(path, state.model_dump_json(indent=1).encode(), 0o600)
    except OSError as error:
        _log.warning("notices_not_saved", error=str(error))
