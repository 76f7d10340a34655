"""The running agent's part in updates: it looks for new versions if its owner wants that, and restarts when one is due.

A version that is on trial reports here how it works.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from agent import __version__
from agent.core.errors import AgentError
from agent.fault_points import reach
from agent.miner.schedules import parse_window
from agent.miner.tasks import Background
from agent.sections import section_of
from agent.settings import Settings
from agent.updates.installation import installation
from agent.updates.launcher import PROGRAM
from agent.updates.settings import UpdateSettings
from agent.updates.starting import versions_of
from agent.updates.states import Phase, TrialReport, UpdateEnding, UpdateState, describe
from agent.updates.supervisor import is_supervised

POLL_SECONDS: Final = 2.0
NOTICE_SECONDS: Final = 3600.0
"""How long an update that has ended is a reason for a notice. Each is sent once."""
_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_END_SECONDS: Final = 10.0

_log = structlog.get_logger(__name__)


class Work(Protocol):
    """The jobs of this agent: how many run, and how many were completed or failed for the machine's fault."""

    completed: int
    machine_faults: int

    def __len__(self) -> int: ...


@dataclass(slots=True)
class RestartTime:
    """Decides when a version that waits may take over. `share` (0 to 1) of the delay passes first: another one on each machine."""

    settings: UpdateSettings
    share: float
    idle_since: float | None = None
    allowed_since: float | None = None

    def is_now(self, now: float, *, jobs: int) -> bool:
        """Return whether it may take over now (in seconds since the epoch), with so many jobs running."""
        self.idle_since = None if jobs else self.idle_since or now
        if self.settings.automatic == "night":
            # The delay runs within each night, or all machines would restart when it begins.
            local = datetime.fromtimestamp(now)  # noqa: DTZ006 - schedules are in local time
            allowed = parse_window(self.settings.night).end_of(local) is not None
            self.allowed_since = (self.allowed_since or now) if allowed else None
            ready = allowed
        else:
            self.allowed_since = self.allowed_since or now
            idle = None if self.idle_since is None else now - self.idle_since
            ready = idle is not None and idle >= self.settings.idle_minutes * _MINUTE
        delay = self.share * self.settings.delay_minutes * _MINUTE
        return ready and self.allowed_since is not None and now - self.allowed_since >= delay


class UpdateWatch:
    """Use `running` while the agent works. `config` is the file of the settings. `restarting` is true once the agent is to start again."""

    def __init__(self, settings: Settings, config: Path) -> None:
        self._settings = settings
        self._config = config
        self._stop: Callable[[], None] = lambda: None
        self._own = section_of(settings, UpdateSettings)
        self._versions = versions_of(settings)
        self._state = self._versions.read()
        self._current = self._versions.current
        self._ready = False
        self._stopping = False
        self._work: Work | None = None
        self._reported: TrialReport | None = None
        self._restart_time: RestartTime | None = None
        self._check_at = time.monotonic() + random.random() * self._own.check_hours * _HOUR  # noqa: S311 - no secret
        self.restarting = False

    def ready(self, work: Work | None) -> None:
        """The agent accepts jobs; without `work` it is a coordinator, which then works already."""
        self._ready, self._work = True, work

    def stopping(self) -> None:
        """The owner stops the agent, which then does not start again."""
        self._stopping, self.restarting = True, False
        self._report()

    def status(self) -> dict[str, Any]:
        """Return the state for the owner."""
        state = self._state
        return {
            "version": __version__,
            "phase": state.phase,
            "next": state.version or None,
            "line": describe(state, self._current),
            "automatic": self._own.automatic,
        }

    def notices(self) -> Iterator[tuple[str, str]]:
        """Yield a word and a text for the notice of an update that has just ended."""
        last = self._state.last
        if last is None or time.time() - last.at > NOTICE_SECONDS:
            return
        kind = {
            UpdateEnding.UPDATED: "updated",
            UpdateEnding.FAILED: "update_failed",
            UpdateEnding.RETURNED: "update_failed",
            UpdateEnding.ROLLED_BACK: "update_rolled_back",
        }[last.ending]
        yield kind, f"The agent {describe(self._state, self._current)}".removesuffix(".") + "."

    @asynccontextmanager
    async def running(self, stop: Callable[[], None]) -> AsyncIterator[None]:
        """Watch while the body runs. `stop` ends the agent as SIGTERM does, so that it can start again."""
        self._stop = stop
        background = Background()
        background.spawn(self._run(), "updates")
        try:
            yield
        finally:
            await background.close()

    async def _run(self) -> None:
        preparing: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(POLL_SECONDS)
                self._state = await asyncio.to_thread(self._versions.read)
                self._current = await asyncio.to_thread(lambda: self._versions.current)
                self._report()
                if self._stopping or self.restarting:
                    continue
                if self._must_restart():
                    self._restart()
                elif self._must_check() and (preparing is None or preparing.done()):
                    self._check_at = time.monotonic() + self._own.check_hours * _HOUR
                    preparing = asyncio.create_task(self._prepare(), name="update-preparing")
                elif self._own.automatic != "off":
                    await self._restart_when_allowed()
        finally:
            if preparing is not None:
                preparing.cancel()
                await asyncio.wait([preparing])

    def _must_restart(self) -> bool:
        """Whether another version than this is to run."""
        if self._state.phase is Phase.RETURNING:
            return self._state.former != __version__
        return self._state.phase is Phase.DUE and self._state.version != __version__

    def _restart(self) -> None:
        _log.info("update_restart", **self.status())
        self.restarting = True
        self._stop()

    def _must_check(self) -> bool:
        return (
            self._own.automatic != "off"
            and self._state.phase in {Phase.IDLE, Phase.PREPARING, Phase.PREPARED}
            and time.monotonic() >= self._check_at
            and installation().updates_itself
        )

    async def _prepare(self) -> None:
        """Prepare the newest version in a process of its own: its load and its errors are not this one's."""
        # The interpreter's own directory: this version, not the one that is current meanwhile.
        command = [
            str(Path(sys.prefix, PROGRAM)),
            "update",
            "--prepare",
            "--data-dir",
            str(self._settings.data_dir),
        ]
        if self._config.is_file():
            command += ["--config", str(self._config)]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()
                async with asyncio.timeout(_END_SECONDS):
                    await process.wait()
        _log.info("update_looked_for", exit_status=status)

    async def _restart_when_allowed(self) -> None:
        if self._state.phase is not Phase.PREPARED:
            self._restart_time = None
            return
        if self._restart_time is None:
            self._restart_time = RestartTime(self._own, random.random())  # noqa: S311 - no secret
        if self._restart_time.is_now(time.time(), jobs=0 if self._work is None else len(self._work)):
            with suppress(AgentError, OSError):
                self._state = await asyncio.to_thread(self._make_due)

    def _make_due(self) -> UpdateState:
        with self._versions.locked():
            state = self._versions.read()
            return self._versions.write(state.make_due()) if state.phase is Phase.PREPARED else state

    def _report(self) -> None:
        """Report to the supervisor, if this version is on trial."""
        if not is_supervised() or self._state.phase is not Phase.TRIAL:
            return
        report = TrialReport(
            ready=self._ready,
            completed=self._work.completed if self._work is not None else int(self._ready),
            faults=0 if self._work is None else self._work.machine_faults,
            stopping=self._stopping,
        )
        if report != self._reported:
            reach("update.reporting")
            try:
                self._versions.report(report)
            except OSError as error:
                _log.warning("trial_not_reported", error=str(error))
                return
            self._reported = report
            reach("update.reported")
