"""The miner's daemon: runs the parts of a miner, and ends them without losing work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog

from agent.configuring.reading import SettingsReading
from agent.core.liveness import Liveness
from agent.miner.backend import MinerOptions, UpdateReport
from agent.miner.build import Miner, build, serve_owner
from agent.miner.control_calls import ControlCalls
from agent.miner.engines.interpreters import HOST_COMMAND
from agent.miner.link.refusals import SessionSuperseded
from agent.miner.link.resuming import watch_clock
from agent.miner.machine.probe_results import ProbeResults
from agent.miner.machine.selftest_report import RunSelftest
from agent.miner.runs.slots import Workload
from agent.miner.settings import EnginesSettings, MinerSettings
from agent.miner.status.report import MinerParts
from agent.miner.status.watchdog import supervise
from agent.miner.tasks import end
from agent.miner.traffic import owners_traffic
from agent.sections import section_of
from agent.settings import Settings
from runners.api import Runner
from runners.registry import installed

_FLUSH_SECONDS: Final = 10.0
_HURRIED_FLUSH_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class Daemon:
    """A miner that works for the coordinator at `coordinator_url`. Call `start`, then `run`, in one event loop.

    A coordinator that does not know this miner yet requires an `enrolment_token`. Tests replace the installed `runners`
    and the `host_command` of their child processes. `liveness` records progress, and `reading` is where the settings were read
    from. `machine_changed` is true when `run` has ended because a GPU appeared on a machine that had none, because an engine was
    installed, upgraded or removed, because a slow probe has ended, or because the owner prefers other engines; a new daemon with the
    same `probes` then probes the machine again. `run_selftest` tests this machine, at intervals and on request. `updates` are those of the agent.
    """

    def __init__(
        self,
        settings: Settings,
        coordinator_url: str,
        enrolment_token: str | None = None,
        *,
        runners: Mapping[str, type[Runner[Any]]] | None = None,
        host_command: Sequence[str] = HOST_COMMAND,
        liveness: Liveness | None = None,
        reading: SettingsReading | None = None,
        probes: ProbeResults | None = None,
        run_selftest: RunSelftest | None = None,
        updates: UpdateReport | None = None,
    ) -> None:
        self.machine_changed = False
        miner = section_of(settings, MinerSettings)
        self._options = MinerOptions(
            settings=settings,
            reading=reading,
            url=coordinator_url,
            enrolment_token=enrolment_token or miner.enrolment_token,
            runners=installed() if runners is None else runners,
            host_command=tuple(host_command),
            liveness=liveness or Liveness(),
            traffic=owners_traffic(settings),
            probes=probes or ProbeResults(),
            run_selftest=run_selftest,
            updates=updates,
        )
        self._settings = miner
        self._built: Miner | None = None
        self._closing = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._started_at = time.time()
        self._drain_ends: float | None = None
        self._metrics_url: str | None = None

    @property
    def prepared(self) -> bool:
        """Whether the parts are built, which is before the miner has registered."""
        return self._built is not None

    @property
    def settings(self) -> Settings:
        """The current settings, which the owner may have changed while the miner was running."""
        return self._options.settings if self._built is None else self._built.parts.settings.current

    @property
    def miner_id(self) -> str:
        """The id of this miner, empty until it is `prepared`."""
        return "" if self._built is None else self._built.parts.session.identity.miner_id

    @property
    def api_key(self) -> str | None:
        """The owner's API key at the coordinator, known after `start`."""
        return self._miner.parts.session.api_key

    @property
    def log_key(self) -> str:
        """The coordinator's log key, known after `start`."""
        return self._miner.parts.session.log_key

    @property
    def workload(self) -> Workload:
        """The runs of this miner, known after `start`."""
        return self._miner.parts.workload

    @property
    def _miner(self) -> Miner:
        if self._built is None:
            raise RuntimeError("the daemon has not been started")
        return self._built

    async def start(self) -> None:
        """Prepare everything and register, trying until the coordinator answers or a stop is requested.

        Raises `ConfigurationError`, or `RegistrationRefused` when the coordinator refuses this miner.
        """
        self._loop = asyncio.get_running_loop()
        try:
            miner = await build(self._options, self._closing)
            parts = miner.parts
            calls = ControlCalls(
                self.status,
                self._stop,
                parts.pauses,
                parts.workload,
                parts.provider,
                miner.selftests.handlers(),
            )
            self._built = miner
            self._metrics_url = await serve_owner(self._options, miner.meter, calls, self._closing)
            await self._register()
        except BaseException:
            await self._closing.aclose()
            raise

    async def _register(self) -> None:
        registering = asyncio.create_task(self._miner.parts.link.register(), name="miner-register")
        stopping = asyncio.create_task(self._stopping.wait(), name="miner-register-stop")
        try:
            await asyncio.wait([registering, stopping], return_when=asyncio.FIRST_COMPLETED)
            # A stop before the registration is no error, and there is nothing to drain.
            if registering.done():
                registering.result()
        finally:
            registering.cancel()
            stopping.cancel()
            await asyncio.gather(registering, stopping, return_exceptions=True)

    async def run(self) -> None:
        """Work until `request_stop`, then end in order. Raises `SessionSuperseded`, `RegistrationRefused`."""
        miner, parts = self._miner, self._miner.parts
        loops = self._start_loops(miner)
        stopping = asyncio.create_task(self._stopping.wait(), name="miner-stop")
        changing = asyncio.create_task(self._await_change(miner), name="miner-machine")
        try:
            parts.workload.open()
            await asyncio.wait([*loops, stopping, changing], return_when=asyncio.FIRST_COMPLETED)
            ended = [task for task in loops if task.done()]
            # Only an error ends them, so there is no time to drain.
            if ended:
                self._hurry.set()
            # Another agent with the same key has this miner's leases now. Handing them back would take them from it.
            if not any(isinstance(task.exception(), SessionSuperseded) for task in ended):
                await self._drain(parts)
            for error in filter(None, (task.exception() for task in ended)):
                await miner.notices.ended(error)
            # Raised only now, after the jobs have ended in order.
            for task in (*ended, *([changing] if changing.done() else ())):
                task.result()
        finally:
            await end((stopping, changing, *loops))
            self._options.liveness.leave("heartbeat")
            await self._closing.aclose()
            _log.info("miner_stopped", miner_id=self.miner_id)

    def _start_loops(self, miner: Miner) -> list[asyncio.Task[None]]:
        parts = miner.parts
        loops = {
            "link": parts.link.run(),
            "clock": watch_clock(parts.link.reconnect),
            "outbox": parts.outbox.run(),
            "heartbeat": miner.heartbeat.run(),
            "gpus": miner.heartbeat.watch_gpus(),
            "availability": parts.unavailable.run(),
            "models": parts.provider.run(),
            "supervision": supervise(self._options.liveness, parts.outbox, parts.executor),
            "pauses": parts.pauses.run(),
            "activity": parts.activity_log.run(),
            "earnings": parts.earnings.run(),
            "energy": parts.energy.run(),
            "power_limits": parts.power_limits.run(),
            "notices": miner.notices.run(),
            "summaries": miner.summaries.run(),
            "selftests": miner.selftests.run(),
            "traffic": self._options.traffic.run(),
            "disk": parts.disk_limit.run(),
            "model_choice": parts.automatic_models.run(),
        }
        return [asyncio.create_task(loop, name=f"miner-{name}") for name, loop in loops.items()]

    async def _await_change(self, miner: Miner) -> None:
        """Return when the machine can do other work than before, or its owner prefers other engines, and its jobs have ended."""
        while True:
            if await miner.machine_changed():
                break
            engines = section_of(self.settings, EnginesSettings)
            if engines != section_of(self._options.settings, EnginesSettings):
                _log.info("engines_preferred", engines=engines.preferred)
                break
            await asyncio.sleep(self._settings.gpu_poll_seconds)
        _log.info("machine_changed", running=len(miner.parts.workload))
        # Running jobs finish on the machine as it was; only then the miner is rebuilt.
        await miner.parts.workload.finish()
        # An owner who stops the agent meanwhile wants no new miner.
        self.machine_changed = not self._stopping.is_set()

    async def _drain(self, parts: MinerParts) -> None:
        await parts.workload.end(
            drain_seconds=self._settings.drain_seconds,
            cancel_seconds=self._settings.cancel_seconds,
            hurry=self._hurry,
        )
        # Results that are not delivered now stay in the outbox for the next start, unless their leases expire until then.
        seconds = _HURRIED_FLUSH_SECONDS if self._hurry.is_set() else _FLUSH_SECONDS
        if not await parts.outbox.flush(seconds):
            _log.warning("outbox_stored", entries=len(parts.outbox))

    def request_stop(self, *, drain: bool = True) -> None:
        """End `run`: after running jobs had time to finish, or at once without `drain` or on a second call.

        May be called from any thread and from signal handlers. Leases of unfinished jobs are handed back either way.
        """
        if self._loop is None:
            self._stop(drain=drain)
        else:
            # Events of the loop must not be set from the thread of the panel.
            self._loop.call_soon_threadsafe(lambda: self._stop(drain=drain))

    def _stop(self, *, drain: bool) -> None:
        if not drain or self._stopping.is_set():
            self._hurry.set()
        if not self._stopping.is_set():
            self._drain_ends = time.monotonic() + self._settings.drain_seconds
        _log.info("miner_stopping", drain=not self._hurry.is_set())
        self._stopping.set()

    def toggle_pause(self) -> None:
        """Resume if the owner or a schedule has paused the miner, else pause it by hand."""
        try:
            self._miner.parts.pauses.toggle()
        except OSError as error:
            _log.error("pause_not_saved", error=str(error))

    def status(self) -> dict[str, Any]:
        """Return the status that `aitbc-agent status` shows. The daemon must be `prepared`."""
        ends = self._drain_ends
        return {
            "miner_id": self.miner_id,
            "coordinator": self._options.url,
            "session": self._miner.parts.session.number,
            "started_at": self._started_at,
            "stopping": self._stopping.is_set(),
            "drain_seconds_left": None if ends is None else max(0.0, round(ends - time.monotonic(), 1)),
            **self._miner.report.status(),
            "update": None if self._options.updates is None else self._options.updates.status(),
            "metrics": self._metrics_url,
        }
