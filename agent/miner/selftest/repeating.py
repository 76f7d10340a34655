"""Self-tests while the miner runs: at intervals when it is idle, and when its owner asks for one on the control socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog

from agent.core.errors import AgentError
from agent.deadline import call_within
from agent.miner.control import Handler
from agent.miner.machine.selftest_report import RunSelftest
from agent.miner.settings import MinerSettings
from agent.miner.status.report import MinerParts
from agent.sections import section_of

POLL_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 3600.0
"""The pause after a self-test that could not be performed."""
PATIENCE_SECONDS: Final = 60.0
"""How long a test at its interval waits for a job that came at the last moment. An owner's waits as long as it must."""
_GPUS_SECONDS: Final = 5.0
_DAY: Final = 86_400
_MINUTE: Final = 60

_log = structlog.get_logger(__name__)


class SelftestRefused(AgentError):
    """A self-test cannot begin now."""


@dataclass(frozen=True, slots=True)
class _Request:
    """A test with so many `minutes` of load, of these cards or of all. `patience` is how many seconds running jobs may take to end."""

    minutes: float
    cards: tuple[str, ...] = ()
    patience: float | None = None


class RepeatedSelftests:
    """The daemon runs `run`. While `run_selftest` tests the machine, the miner is paused and no job runs.

    `run_selftest` is None where the jobs do not run on this machine.
    """

    def __init__(
        self, run_selftest: RunSelftest | None, parts: MinerParts, on_change: Callable[[], None]
    ) -> None:
        self._run_selftest = run_selftest
        self._parts = parts
        self._pauses = parts.pauses
        self._workload = parts.workload
        self._on_change = on_change
        self._request: _Request | None = None
        self._requested = asyncio.Event()
        self._performing: asyncio.Task[None] | None = None
        self._state: Literal["idle", "waiting", "testing"] = "idle"
        self._step = ""
        self._failure: str | None = None
        self._ended = 0
        self._busy_at = time.monotonic()
        self._not_before = 0.0

    def handlers(self) -> dict[str, Handler]:
        """Return what the control socket calls."""
        return {
            "selftest": self._begin,
            "selftest_state": lambda _: self.state(),
            "selftest_stop": self._stop,
        }

    def state(self) -> dict[str, Any]:
        """Return what is going on: `ended` counts the self-tests, and `failure` is why the last one could not be performed."""
        return {
            "state": self._state,
            "step": self._step,
            "running": len(self._workload),
            "ended": self._ended,
            "failure": self._failure,
        }

    def _begin(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._run_selftest is None:
            raise SelftestRefused(
                "The jobs of this miner do not run on this machine. Test its nodes one by one."
            )
        if self._state != "idle" or self._request is not None:
            raise SelftestRefused("A self-test is in progress. `aitbc-agent status` shows its result.")
        minutes = request.get("minutes", self._interval.minutes)
        self._request = _Request(float(minutes), tuple(map(str, request.get("cards", ()))))
        self._requested.set()
        return self.state()

    def _stop(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        self._request = None
        if self._performing is not None:
            self._performing.cancel()
        return self.state()

    async def run(self) -> None:
        """Test when it is time to, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._requested.wait()
            self._requested.clear()
            request, self._request = self._request, None
            if request is not None:
                await self._perform(request)
            elif await self._is_due():
                await self._perform(_Request(self._interval.minutes, patience=PATIENCE_SECONDS))

    @property
    def _interval(self) -> Any:
        return section_of(self._parts.settings.current, MinerSettings).selftest

    async def _is_due(self) -> bool:
        """Whether the last self-test is too old, and the machine has been idle for so long that its owner will not notice another."""
        settings, now = self._interval, time.monotonic()
        if len(self._workload) or self._pauses.now.miner is not None or self._pauses.now.gpus:
            self._busy_at = now
        report = self._parts.selftest.report
        if (
            self._run_selftest is None
            or not settings.interval_days
            or now < self._not_before
            or now - self._busy_at < settings.idle_minutes * _MINUTE
            or (report is not None and report.age() < settings.interval_days * _DAY)
        ):
            return False
        try:
            others = await call_within(_GPUS_SECONDS, self._parts.gpus.others, name="gpus-programs")
        except TimeoutError:
            return False
        if any(others.values()):
            self._busy_at = now
        return not any(others.values())

    async def _perform(self, request: _Request) -> None:
        self._performing = asyncio.create_task(self._test(request), name="miner-selftest-performing")
        try:
            await asyncio.wait([self._performing])
            self._failure = None
            if self._performing.cancelled():
                self._failure = "It was stopped."
            elif (error := self._performing.exception()) is not None:
                self._failure = str(error) if isinstance(error, AgentError | OSError) else repr(error)
            if self._failure is not None:
                self._not_before = time.monotonic() + RETRY_SECONDS
                _log.warning("selftest_not_performed", error=self._failure)
        finally:
            # Also if the daemon stops: the programs of the test must end with it.
            self._performing.cancel()
            await asyncio.wait([self._performing])
            self._performing = None
            self._state, self._step = "idle", ""
            self._ended += 1
            self._on_change()

    async def _test(self, request: _Request) -> None:
        if self._run_selftest is None:
            return
        self._state = "waiting"
        self._pauses.test(in_progress=True)
        try:
            try:
                async with asyncio.timeout(request.patience):
                    await self._workload.drained()
            except TimeoutError:
                raise SelftestRefused("A job came first.") from None
            self._state = "testing"
            report = await self._run_selftest(
                self._parts.settings.current, request.minutes, request.cards, self._began
            )
            self._parts.selftest.report = report
            _log.info(
                "selftest_ended",
                verdict=report.verdict,
                seconds=round(report.seconds),
                problems=list(report.problems()),
            )
        finally:
            self._pauses.test(in_progress=False)

    def _began(self, step: str) -> None:
        self._step = step
