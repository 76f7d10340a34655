"""Builds the parts of a miner and connects them: the only module that knows which part needs which."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import structlog

from agent import __version__, telemetry
from agent.core.errors import ConfigurationError
from agent.metrics import Meter
from agent.miner.backend import Backend, LocalBackend, MinerOptions
from agent.miner.commands import Commands
from agent.miner.control import ControlServer
from agent.miner.control_calls import ControlCalls
from agent.miner.data_dir import DataDirectory
from agent.miner.energy.account import EnergyAccount
from agent.miner.energy.meter import RAPL
from agent.miner.energy.power_limits import PowerLimits
from agent.miner.executor.availability import UnavailableModels
from agent.miner.executor.contract import Executor
from agent.miner.identity import default_name, load_identity
from agent.miner.link.client import CoordinatorLink, LinkCallbacks
from agent.miner.link.refusals import Unreachable
from agent.miner.live_settings import LiveSettings
from agent.miner.machine.disk_limit import DiskLimit
from agent.miner.machine.priced_services import unknown_services
from agent.miner.machine.selftest_report import LatestSelftest
from agent.miner.metrics import METRICS
from agent.miner.models.automatic import AutomaticModels
from agent.miner.models.downloads import limits
from agent.miner.models.provider import Models
from agent.miner.notices.summary import Summaries
from agent.miner.notices.watch import Notices
from agent.miner.pausing.pauses import Pauses
from agent.miner.runs.outbox import Outbox
from agent.miner.runs.run import RunDependencies
from agent.miner.runs.slots import Workload
from agent.miner.sealing.sealed_jobs import SealedJobs
from agent.miner.selftest.repeating import RepeatedSelftests
from agent.miner.session import Session
from agent.miner.settings import MinerSettings
from agent.miner.status.earnings import Earnings
from agent.miner.status.heartbeat import HeartbeatSender
from agent.miner.status.prometheus import MetricsServer, read
from agent.miner.status.report import MinerParts, StatusReport
from agent.miner.status.utilization import SlotActivity
from agent.miner.tasks import Background
from agent.protocol.answers import Registered
from agent.sections import section_of
from runners.extras import extra_command

EXECUTORS: Final = "aitbc.executors"
"""The group of entry points that name a `Backend` for each executor but `local`."""
_BACKGROUND_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Miner:
    """The parts of a miner, and those that report about them, to the coordinator and to the owner.

    `machine_changed` returns whether there is other work to do than when the parts were built.
    """

    parts: MinerParts
    machine_changed: Callable[[], Awaitable[bool]]
    meter: Meter
    report: StatusReport
    heartbeat: HeartbeatSender
    notices: Notices
    selftests: RepeatedSelftests
    summaries: Summaries


async def build(options: MinerOptions, closing: AsyncExitStack) -> Miner:
    """Build all parts, ready to register. `closing` undoes all completed steps in reverse order.

    Raises `ConfigurationError`.
    """
    directory = options.directory
    data_directory = DataDirectory(directory)
    data_directory.lock()
    closing.callback(data_directory.unlock)
    for service, advice in unknown_services(options.miner.prices).items():
        _log.warning("price_of_unknown_service", service=service, advice=advice)
    session = Session(load_identity(directory), directory)
    backend = await _open_backend(options)
    closing.push_async_callback(backend.close)
    link = CoordinatorLink(
        options.url,
        session.identity,
        transport=options.miner.transport,
        traffic=options.traffic,
        # The key is of the coordinator that was joined, not of this agent's own.
        log_key=options.miner.log_key if options.miner.coordinator is not None else None,
    )
    closing.push_async_callback(link.close)
    outbox = Outbox(directory / "outbox.db", link)
    await outbox.open()
    closing.push_async_callback(outbox.close)
    await asyncio.to_thread(data_directory.remove_leftovers, outbox.directories())
    sealed_jobs = await asyncio.to_thread(SealedJobs, options.miner, directory, session.identity)
    closing.push_async_callback(asyncio.to_thread, sealed_jobs.close)
    builder = _Builder(options, closing, session, backend, link, outbox, sealed_jobs)
    return await builder.build(data_directory.jobs)


async def _open_backend(options: MinerOptions) -> Backend:
    """Return where the jobs run. Raises `ConfigurationError`."""
    executor = options.miner.executor
    if executor == "local":
        return await LocalBackend.open(options)
    for point in entry_points(group=EXECUTORS, name=executor):
        try:
            backend: type[Backend] = point.load()
        except ImportError as error:
            raise ConfigurationError(
                f"The executor {executor} cannot be loaded ({error}); reinstall its package."
            ) from None
        return await backend.open(options)
    raise ConfigurationError(
        f'miner.executor is "{executor}", which no installed package provides. Install it: {extra_command(executor)}.'
    )


@dataclass(slots=True)
class _Builder:
    """Builds the parts that need those of `build`."""

    options: MinerOptions
    closing: AsyncExitStack
    session: Session
    backend: Backend
    link: CoordinatorLink
    outbox: Outbox
    sealed_jobs: SealedJobs
    meter: Meter = field(default_factory=partial(Meter, METRICS))
    models_changed: asyncio.Event = field(default_factory=asyncio.Event)
    heartbeat_due: asyncio.Event = field(default_factory=asyncio.Event)

    async def build(self, jobs_directory: Path) -> Miner:
        executor, provider = self.backend.start(self.meter, self.models_changed.set, self.heartbeat_due.set)
        # Pushed as soon as it runs. If a step below fails, the children end.
        self.closing.push_async_callback(executor.close)
        pauses = await self._build_pauses(executor)
        unavailable = UnavailableModels(
            self.backend.store.catalogue,
            provider,
            executor,
            self.backend.capabilities.services,
            self.heartbeat_due.set,
            self.models_changed,
        )
        # Awaited here, so that the registration already leaves out models that do not fit at present.
        await unavailable.update()
        settings = LiveSettings(self.options.settings, self.options.reading, self.backend.capabilities)
        energy = await self._build_energy(settings)
        workload = self._build_workload(executor, provider, pauses, energy, jobs_directory)
        selftest = await asyncio.to_thread(LatestSelftest, self.options.directory)
        parts = MinerParts(
            session=self.session,
            capabilities=self.backend.capabilities,
            settings=settings,
            gpus=self.backend.gpus,
            link=self.link,
            outbox=self.outbox,
            executor=executor,
            provider=provider,
            unavailable=unavailable,
            automatic_models=self._build_automatic_models(provider, unavailable),
            pauses=pauses,
            workload=workload,
            sealed_jobs=self.sealed_jobs,
            activity_log=SlotActivity(workload.moment),
            earnings=Earnings(self.link, self.session, energy.earned),
            energy=energy,
            power_limits=PowerLimits(self.options.miner, self.backend.gpus),
            traffic=self.options.traffic,
            disk_limit=DiskLimit(self.options.settings),
            selftest=selftest,
        )
        report = StatusReport(parts, Commands(pauses, provider, settings, self.heartbeat_due.set))
        miner = Miner(
            parts=parts,
            machine_changed=self.backend.changed,
            meter=self.meter,
            report=report,
            heartbeat=HeartbeatSender(report, self.heartbeat_due, self.options.liveness),
            notices=Notices(
                self.options.directory,
                self.options.miner,
                gpus=parts.gpus,
                link=self.link,
                pauses=pauses,
                workload=workload,
                idle=parts.activity_log.shares,
                selftest=selftest,
                updates=self.options.updates,
            ),
            selftests=RepeatedSelftests(
                # Only where the jobs run can a test say anything about them.
                self.options.run_selftest if self.options.miner.executor == "local" else None,
                parts,
                on_change=self.heartbeat_due.set,
            ),
            summaries=Summaries(
                self.options.settings,
                connected=lambda: self.link.connection != "offline",
                paused=lambda: pauses.now.miner is not None,
            ),
        )
        _connect(miner, self.options, self.heartbeat_due)
        return miner

    def _build_automatic_models(self, provider: Models, unavailable: UnavailableModels) -> AutomaticModels:
        async def read_demand() -> Any:
            if self.session.api_key is None:
                return None
            try:
                status, body = await self.link.read("/v1/miners/demand", self.session.api_key)
            except Unreachable:
                return None
            # A coordinator of an earlier version does not know it.
            return body if status == HTTPStatus.OK else None

        return AutomaticModels(
            self.options.miner.models,
            self.backend.store,
            limits(self.options.settings),
            provider,
            services=self.backend.capabilities.services,
            read_demand=read_demand,
            unavailable=lambda: unavailable.now,
        )

    async def _build_pauses(self, executor: Executor) -> Pauses:
        pauses = Pauses(
            self.options.directory / "pauses.json",
            self.options.miner,
            self.backend.gpus,
            working=lambda: {device for child in executor.working() for device in child.devices},
            data_used_until=self.options.traffic.exhausted_until,
        )
        # Before the first lease: a GPU that its owner uses must not get a job in the first second.
        await pauses.measure()
        executor.pause(pauses.now.devices)
        return pauses

    async def _build_energy(self, settings: LiveSettings) -> EnergyAccount:
        services = self.backend.capabilities.services
        energy = EnergyAccount(
            self.options.directory,
            self.options.miner.energy,
            self.backend.gpus,
            self.session,
            unit_price=lambda service: settings.price(service) if service in services else None,
            on_change=self.heartbeat_due.set,
            # On a cluster, this machine's processors do not work for the jobs.
            rapl=RAPL if self.options.miner.executor == "local" else None,
        )
        await energy.open()
        # Pushed before the workload, and so closed after it: runs that end then are part of the account.
        self.closing.push_async_callback(energy.close)
        return energy

    def _build_workload(
        self,
        executor: Executor,
        provider: Models,
        pauses: Pauses,
        energy: EnergyAccount,
        jobs_directory: Path,
    ) -> Workload:
        background = Background()
        # Pushed before the workload, and so closed after it: ending runs still spawn tasks.
        self.closing.push_async_callback(background.close, _BACKGROUND_SECONDS)
        dependencies = RunDependencies(
            session=self.session,
            link=self.link,
            outbox=self.outbox,
            executor=executor,
            provider=provider,
            services=self.backend.capabilities.services,
            inputs=self.options.miner.inputs,
            data_dir=self.options.directory.parent,
            jobs_directory=jobs_directory,
            max_job_log=self.options.miner.max_job_log,
            sealed_jobs=self.sealed_jobs,
            background=background,
            meter=self.meter,
            energy=energy,
            traffic=self.options.traffic,
        )
        workload = Workload(
            dependencies,
            pauses,
            slots=self.backend.capabilities.slots,
            max_outbox=self.options.miner.max_outbox,
            max_downloads=self.options.miner.max_downloads,
        )
        self.closing.push_async_callback(workload.close)
        return workload


def _connect(miner: Miner, options: MinerOptions, heartbeat_due: asyncio.Event) -> None:
    """Connect the parts that are called back by parts built before them."""
    parts = miner.parts
    needed: dict[str, str] = {}

    def pauses_changed() -> None:
        # The executor first. The workload then sees devices that are free no more.
        parts.executor.pause(parts.pauses.now.devices)
        parts.workload.pauses_changed()
        before = dict(needed)
        needed.clear()
        needed.update(parts.pauses.now.needed)
        parts.workload.needed_changed(before, needed)
        heartbeat_due.set()

    def settings_changed() -> None:
        parts.pauses.apply(section_of(parts.settings.current, MinerSettings))
        heartbeat_due.set()

    def registered(registered: Registered) -> None:
        parts.session.begin(registered)
        # Each session may have another interval, as the operator can change it.
        miner.heartbeat.interval = registered.settings.heartbeat_seconds
        parts.workload.session_began(registered)
        connected()

    def connected() -> None:
        # Results before anything else: they are what clients wait for.
        parts.outbox.kick()
        heartbeat_due.set()
        parts.workload.update()

    def results_changed() -> None:
        parts.workload.update()
        parts.earnings.changed()

    parts.outbox.on_change = results_changed
    parts.executor.on_capacity = parts.workload.update
    parts.pauses.on_change = pauses_changed
    parts.settings.on_change = settings_changed
    parts.workload.on_services_changed = heartbeat_due.set
    options.traffic.on_change = heartbeat_due.set
    parts.link.attach(
        LinkCallbacks(
            lease=parts.workload.accept,
            cancelled=parts.workload.drop,
            joining=lambda: _registration(miner, options),
            registered=registered,
            excluded=parts.workload.drop_all,
            connected=connected,
            recheck=heartbeat_due.set,
        )
    )


def _registration(miner: Miner, options: MinerOptions) -> dict[str, Any]:
    return {
        # The coordinator's limit. A long host name should not keep a machine from joining.
        "name": (options.miner.name or default_name(options.directory))[:100],
        "agent_version": __version__,
        "enrolment_token": options.enrolment_token,
        "capabilities": miner.report.capabilities(),
        "holding": miner.parts.workload.holding(),
    }


async def serve_owner(
    options: MinerOptions, meter: Meter, calls: ControlCalls, closing: AsyncExitStack
) -> str | None:
    """Open the control socket, and the port for Prometheus if the settings name one. Return that port's URL.

    Raises `ConfigurationError` if the port is in use.
    """
    control = ControlServer(options.directory, calls.handlers())
    # Before the port: `status` and `stop` must work even if the port is taken by another program.
    await control.start()
    closing.push_async_callback(control.close)
    directories = {"data": options.directory, "models": options.settings.models_dir}
    if telemetry.METRICS_WANTED:
        families = lambda: meter.families(read(calls.status(), directories))  # noqa: E731 - one line, for one call
        exporting = asyncio.create_task(telemetry.export_repeatedly("miner", families), name="miner-otlp")
        closing.callback(exporting.cancel)
    if options.miner.metrics_port is None:
        return None
    server = MetricsServer(
        options.miner.metrics_host,
        options.miner.metrics_port,
        meter,
        lambda: read(calls.status(), directories),
    )
    await server.start()
    closing.push_async_callback(server.close)
    _log.info("metrics_served", url=server.url)
    return server.url
