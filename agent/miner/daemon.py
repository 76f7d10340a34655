"""The miner: puts its parts together, keeps them running, and ends them without losing work."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import structlog

from agent.configuration import load_catalogue
from agent.core.liveness import Liveness
from agent.metrics import Meter
from agent.miner.commands import Commands
from agent.miner.control import ControlServer
from agent.miner.data_dir import DataDirectory
from agent.miner.executor.availability import UnavailableModels
from agent.miner.executor.devices import Devices
from agent.miner.executor.footprints import Footprints
from agent.miner.executor.local import HOST_COMMAND, LocalExecutor
from agent.miner.identity import ApiKeyStore, Identity, load_identity
from agent.miner.link.client import Link, LinkCallbacks
from agent.miner.link.errors import SessionSuperseded
from agent.miner.link.heartbeat import Heartbeat
from agent.miner.link.registration import Registration
from agent.miner.machine.capabilities import Capabilities, Machine, tools
from agent.miner.machine.gpus import Gpus
from agent.miner.metrics import METRICS
from agent.miner.models.downloads import Downloads, limits
from agent.miner.models.locks import ModelDirectory
from agent.miner.models.provider import ModelProvider
from agent.miner.models.store import ModelStore
from agent.miner.pausing.pauses import Pauses
from agent.miner.runs.outbox import Outbox
from agent.miner.runs.run import Workplace
from agent.miner.runs.slots import Workload
from agent.miner.status.earnings import Earnings
from agent.miner.status.prometheus import MetricsServer, read
from agent.miner.status.report import Report
from agent.miner.status.utilization import Activity
from agent.miner.status.watchdog import supervise
from agent.miner.tasks import Background
from agent.settings import Settings
from runners.api import Runner, forget_probes
from runners.registry import installed

_FLUSH_SECONDS: Final = 10.0
_HURRIED_FLUSH_SECONDS: Final = 2.0
_BACKGROUND_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class Daemon:
    """A miner that works for the coordinator at `coordinator_url`. `start`, then `run`, in one event loop.

    `enrolment_token` is needed when the coordinator does not know this miner yet. `runners` and `host_command` replace
    the installed runners and their child program in tests. `liveness` hears of what makes progress. `miner_id`, `api_key`
    and `log_key` (the coordinator's) are known after `start`; `machine_changed` says that `run` has ended because there are
    GPUs now and were none: start a new one, which finds out anew what this machine can do.
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
    ) -> None:
        self.machine_changed = False
        self._liveness = liveness or Liveness()
        self.miner_id = ""
        self.api_key: str | None = None
        self.log_key = ""
        self.prepared = False
        self._settings = settings
        self._url = coordinator_url
        self._enrolment_token = enrolment_token or settings.miner.enrolment_token
        self._runners = installed() if runners is None else runners
        self._host_command = tuple(host_command)
        self._directory = settings.data_dir.absolute() / "miner"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._session: int | None = None
        self._parts = AsyncExitStack()
        self._background = Background()
        self._meter = Meter(METRICS)
        self._metrics: MetricsServer | None = None
        self._capabilities: Capabilities
        self._executor: LocalExecutor
        self._outbox: Outbox
        self._link: Link
        self._workload: Workload
        self._pauses: Pauses
        self._report: Report
        self._started_at = time.time()
        self._drain_ends: float | None = None
        self._heartbeat: Heartbeat
        self._gpus: Gpus
        self._models: ModelStore
        self._unavailable: UnavailableModels
        self._models_changed = asyncio.Event()
        self._provider: ModelProvider

    async def start(self) -> None:
        """Prepare everything and register, trying until the coordinator answers or a stop is requested.

        Raises `ConfigurationError`, or `RegistrationRefused` when the coordinator does not take this miner.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._prepare()
            await self._register()
        except BaseException:
            await self._parts.aclose()
            raise

    async def run(self) -> None:
        """Work until `request_stop`, then end in order. Raises `SessionSuperseded`, `RegistrationRefused`."""
        loops = [
            asyncio.create_task(self._link.run(), name="miner-link"),
            asyncio.create_task(self._outbox.run(), name="miner-outbox"),
            asyncio.create_task(self._heartbeat.run(), name="miner-heartbeat"),
            asyncio.create_task(self._heartbeat.watch_gpus(), name="miner-gpus"),
            asyncio.create_task(self._unavailable.run(), name="miner-models"),
            asyncio.create_task(self._provider.run(), name="miner-models"),
            asyncio.create_task(
                supervise(self._liveness, self._outbox, self._executor), name="miner-supervision"
            ),
            asyncio.create_task(self._pauses.run(), name="miner-pauses"),
            asyncio.create_task(self._report.doing.run(), name="miner-activity"),
            asyncio.create_task(self._report.earnings.run(), name="miner-earnings"),
        ]
        stopping = asyncio.create_task(self._stopping.wait(), name="miner-stop")
        changing = asyncio.create_task(self._await_gpus(), name="miner-machine")
        try:
            self._workload.open()
            await asyncio.wait([*loops, stopping, changing], return_when=asyncio.FIRST_COMPLETED)
            ended = [task for task in loops if task.done()]
            if ended:  # they never end by themselves, so whatever is wrong, there is no time to drain
                self._hurry.set()
            if not any(isinstance(task.exception(), SessionSuperseded) for task in ended):
                await self._drain()
            for task in (*ended, *([changing] if changing.done() else ())):
                task.result()
        finally:
            for task in (stopping, changing, *loops):
                task.cancel()
            await asyncio.gather(stopping, changing, *loops, return_exceptions=True)
            self._liveness.leave("heartbeat")
            await self._parts.aclose()
            _log.info("miner_stopped", miner_id=self.miner_id)

    async def _await_gpus(self) -> None:
        """Return when a machine that had no GPU has one and its jobs have ended; until cancelled where it had some."""
        looking = not self._capabilities.gpus
        while not (looking and await self._gpus.refresh()):  # noqa: ASYNC110 - no driver tells of itself
            await asyncio.sleep(self._settings.miner.gpu_look_seconds)
        _log.info("gpus_appeared", gpus=[gpu.uuid for gpu in self._gpus.last], running=len(self._workload))
        await self._workload.finish()
        forget_probes()
        self.machine_changed = not self._stopping.is_set()

    def request_stop(self, *, drain: bool = True) -> None:
        """End `run`: after running jobs had time to finish, or at once without `drain` or on a second call.

        May be called from any thread and from signal handlers. Leases of unfinished jobs are handed back either way.
        """
        if self._loop is None:
            self._stop(drain=drain)
        else:
            self._loop.call_soon_threadsafe(lambda: self._stop(drain=drain))

    def status(self) -> dict[str, Any]:
        """What `aitbc-agent status` shows. May be called once it is `prepared`, which is before it has registered."""
        ends = self._drain_ends
        return {
            "miner_id": self.miner_id,
            "coordinator": self._url,
            "session": self._session,
            "started_at": self._started_at,
            "stopping": self._stopping.is_set(),
            "drain_seconds_left": None if ends is None else max(0.0, round(ends - time.monotonic(), 1)),
            **self._report.status(),
            "metrics": self._metrics.url if self._metrics is not None else None,
        }

    async def _prepare(self) -> None:
        """Build the parts; `_parts` undoes it in the opposite order, however far it came."""
        data_directory = DataDirectory(self._directory)
        data_directory.lock()
        self._parts.callback(data_directory.unlock)
        identity = load_identity(self._directory)
        self.miner_id = identity.miner_id
        self._gpus = gpus = Gpus()
        self._parts.callback(gpus.close)
        self._models = models = ModelStore(self._settings.models_dir, load_catalogue(self._settings.data_dir))
        self._capabilities = await Machine(self._settings, gpus, models, self._runners).probe()
        self._link = Link(self._url, identity, self._callbacks(), transport=self._settings.miner.transport)
        self._parts.push_async_callback(self._link.close)
        self._outbox = Outbox(self._directory / "outbox.db", self._link, on_change=self._on_outbox_change)
        await self._outbox.open()
        self._parts.push_async_callback(self._outbox.close)
        await asyncio.to_thread(data_directory.remove_leftovers, self._outbox.directories())
        self._executor = self._start_executor(gpus)
        self._parts.push_async_callback(self._executor.close)
        self._parts.push_async_callback(self._background.close, _BACKGROUND_SECONDS)
        self._provider = ModelProvider(
            models,
            Downloads(models, ModelDirectory(models.models_dir), limits(self._settings), meter=self._meter),
            download=self._settings.runners.model_download,
            on_change=self._on_recheck,
            release=self._executor.release_model,
        )
        self._pauses = Pauses(
            self._directory / "pauses.json",
            self._settings.miner,
            gpus,
            working=lambda: {child.device for child in self._executor.working()},
            on_change=self._on_pause,
        )
        await self._pauses.measure()
        self._executor.pause(self._pauses.now.devices)
        self._unavailable = UnavailableModels(
            models, self._executor, self._capabilities.services, self._on_recheck, self._models_changed
        )
        await self._unavailable.look()
        self._workload = self._build_workload(identity, models, data_directory.jobs)
        self._parts.push_async_callback(self._workload.close)
        self._report = self._build_report()
        self._heartbeat = Heartbeat(self._link, gpus, self._report, self._liveness)
        control = ControlServer(
            self._directory,
            {
                "status": lambda _: self.status(),
                "stop": self._stop_by_control,
                "pause": self._pause_by_control,
                "resume": self._resume_by_control,
            },
        )
        await control.start()
        self._parts.push_async_callback(control.close)
        await self._serve_metrics()
        self.prepared = True

    async def _serve_metrics(self) -> None:
        """Let Prometheus read the numbers, if the owner named a port."""
        miner = self._settings.miner
        if miner.metrics_port is None:
            return
        places = {"data": self._directory, "models": self._models.models_dir}
        self._metrics = MetricsServer(
            miner.metrics_host, miner.metrics_port, self._meter, lambda: read(self.status(), places)
        )
        await self._metrics.start()
        self._parts.push_async_callback(self._metrics.close)
        _log.info("metrics_served", url=self._metrics.url)

    def _build_report(self) -> Report:
        return Report(
            link=self._link,
            outbox=self._outbox,
            gpus=self._gpus,
            executor=self._executor,
            provider=self._provider,
            pauses=self._pauses,
            workload=self._workload,
            commands=Commands(self._pauses, self._provider, self._on_recheck),
            doing=Activity(self._workload.moment),
            earnings=Earnings(self._link, lambda: (self.api_key, self.miner_id)),
            offers=self._capabilities,
            unavailable_models=lambda: self._unavailable.now,
        )

    def _start_executor(self, gpus: Gpus) -> LocalExecutor:
        services = self._capabilities.services
        definitions = {service: self._runners[service].definition for service in services}
        devices = Devices(
            self._capabilities.devices,
            slots=self._capabilities.slots,
            reserve=int(self._settings.miner.vram_reserve),
            footprints=Footprints(self._directory / "footprints.json", definitions, self._models.catalogue),
            measure=gpus.refresh,
            capacity={service: offer.concurrency for service, offer in services.items()},
            processor=self._capabilities.processor,
            unaccelerated=frozenset(
                service
                for service, definition in definitions.items()
                if definition.requirements.gpu == "unused"
            ),
        )
        executor = LocalExecutor(
            devices,
            tools(self._settings),
            self._settings.miner,
            self._directory,
            command=self._host_command,
            on_change=self._models_changed.set,
            meter=self._meter,
        )
        executor.end_orphans()
        executor.prestart(
            {service: definition.model_field is not None for service, definition in definitions.items()}
        )
        return executor

    def _build_workload(self, identity: Identity, models: ModelStore, jobs_directory: Path) -> Workload:
        services = self._capabilities.services
        definitions = {service: self._runners[service].definition for service in services}
        place = Workplace(
            identity=identity,
            origin="",  # known with the registration, before the first lease
            link=self._link,
            outbox=self._outbox,
            executor=self._executor,
            models=models,
            provider=self._provider,
            offers=services,
            units={service: definition.unit_on for service, definition in definitions.items()},
            adapters={
                service: definition.adapters
                for service, definition in definitions.items()
                if definition.adapters
            },
            checkpoints={
                service: definition.checkpoints
                for service, definition in definitions.items()
                if definition.checkpoints
            },
            inputs=self._settings.miner.inputs,
            jobs_directory=jobs_directory,
            spawn=self._background.spawn,
            meter=self._meter,
        )
        return Workload(
            place,
            self._background,
            self._pauses,
            slots=self._capabilities.slots,
            max_outbox=self._settings.miner.max_outbox,
        )

    def _callbacks(self) -> LinkCallbacks:
        # The link is built before the parts that it calls, which need the link themselves.
        return LinkCallbacks(
            lease=self._on_lease,
            cancelled=self._on_cancelled,
            joining=self._joining,
            registered=self._on_registered,
            excluded=self._on_excluded,
            connected=self._on_connected,
            recheck=self._on_recheck,
        )

    async def _register(self) -> None:
        registering = asyncio.create_task(self._link.register(), name="miner-register")
        stopping = asyncio.create_task(self._stopping.wait(), name="miner-register-stop")
        try:
            await asyncio.wait([registering, stopping], return_when=asyncio.FIRST_COMPLETED)
            if registering.done():
                registering.result()
        finally:
            registering.cancel()
            stopping.cancel()
            await asyncio.gather(registering, stopping, return_exceptions=True)

    def _joining(self) -> dict[str, Any]:
        return {
            "name": (self._settings.miner.name or socket.gethostname())[:100],
            "agent_version": version("aitbc-agent"),
            "enrolment_token": self._enrolment_token,
            "capabilities": self._report.capabilities(),
            "holding": self._workload.holding(),
        }

    def _on_lease(self, message: Mapping[str, Any]) -> None:
        self._workload.take(message)

    def _on_cancelled(self, job_id: str, fence: int) -> None:
        self._workload.drop(job_id, fence)

    def _on_recheck(self) -> None:
        self._heartbeat.soon()

    def _on_pause(self) -> None:
        self._executor.pause(self._pauses.now.devices)
        self._workload.paused()
        self._heartbeat.soon()

    def _on_outbox_change(self) -> None:
        self._workload.update()

    def _on_registered(self, registration: Registration) -> None:
        self._session = registration.session
        self.log_key = registration.log_key
        keys = ApiKeyStore(self._directory)
        if registration.api_key is not None:
            keys.put(registration.origin, registration.api_key)
        self.api_key = registration.api_key or keys.get(registration.origin)
        self._heartbeat.interval = registration.settings.heartbeat_seconds
        self._workload.registered(registration)
        self._on_connected()

    def _on_excluded(self) -> None:
        self._workload.drop_all()

    def _on_connected(self) -> None:
        self._outbox.kick()
        self._heartbeat.soon()
        self._workload.update()

    def _stop(self, *, drain: bool) -> None:
        if not drain or self._stopping.is_set():
            self._hurry.set()
        if not self._stopping.is_set():
            self._drain_ends = time.monotonic() + self._settings.miner.drain_seconds
        _log.info("miner_stopping", drain=not self._hurry.is_set())
        self._stopping.set()

    def _stop_by_control(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._stop(drain=bool(request.get("drain", True)))
        return {"stopping": True, "running": len(self._workload)}

    def toggle_pause(self) -> None:
        """Resume what the owner or a schedule has paused, else pause by hand."""
        pause = self._pauses.now.miner
        try:
            if pause is not None and pause.cause.resumable:
                self._pauses.resume()
            else:
                self._pauses.pause()
        except OSError as error:
            _log.error("pause_not_saved", error=str(error))

    def _pause_by_control(self, request: Mapping[str, Any]) -> dict[str, Any]:
        gpu = request.get("gpu")
        self._pauses.pause(gpu, request.get("seconds"))
        given_back = 0
        if request.get("now"):
            given_back = self._workload.hand_back(None if gpu is None else self._pauses.find(gpu))
        return {**self._pauses.status(), "handed_back": given_back, "running": len(self._workload)}

    def _resume_by_control(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._pauses.resume(request.get("gpu"))
        return {**self._pauses.status(), "running": len(self._workload)}

    async def _drain(self) -> None:
        miner = self._settings.miner
        await self._workload.end(
            drain_seconds=miner.drain_seconds, cancel_seconds=miner.cancel_seconds, hurry=self._hurry
        )
        seconds = _HURRIED_FLUSH_SECONDS if self._hurry.is_set() else _FLUSH_SECONDS
        if not await self._outbox.flush(seconds):
            _log.warning("outbox_stored", entries=len(self._outbox))
