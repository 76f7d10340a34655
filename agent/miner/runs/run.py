"""One lease, from its arrival to a signed result in the outbox."""

from __future__ import annotations

import asyncio
import errno
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import structlog
from structlog.contextvars import bind_contextvars

from agent import telemetry
from agent.core.matching import Batch
from agent.fault_points import reach
from agent.metrics import Meter
from agent.miner import metrics
from agent.miner.data_dir import discard
from agent.miner.energy.account import EndedRun, EnergyAccount
from agent.miner.executor.child import RunListener
from agent.miner.executor.contract import Execution, Executor, Stage
from agent.miner.link.client import CoordinatorLink
from agent.miner.link.refusals import Unreachable
from agent.miner.machine.calibrations import read_calibrations
from agent.miner.machine.capabilities import ServiceOffer
from agent.miner.models.provider import Lent, Models
from agent.miner.models.store import ModelUnavailable, SourceUnreachable
from agent.miner.runs.audits import same_weights, unsigned_part
from agent.miner.runs.checkpoints import CheckpointUploads, fetch_checkpoints
from agent.miner.runs.events import EventFeed
from agent.miner.runs.inputs import FetchedFile, fetch
from agent.miner.runs.job_log import RunLog
from agent.miner.runs.lease import Lease
from agent.miner.runs.outbox import Outbox
from agent.miner.runs.outbox_database import OutboxEntry
from agent.miner.runs.result import (
    Collected,
    FinishedRun,
    collect,
    has_files,
    registered_version,
    result_body,
    statement_about,
)
from agent.miner.sealing.sealed_jobs import OpenedJob, SealedJobs
from agent.miner.session import Session
from agent.miner.settings import InputSettings
from agent.miner.tasks import Background
from agent.miner.traffic import Traffic
from agent.protocol.messages import MAX_MESSAGE
from agent.telemetry import StageTimes
from aitbc.figures import amounts
from aitbc.statement import NamedDigest, Statement, money, uncapped_price
from runners.api import Fail, FailureCode, Retry, RunnerError
from runners.audits import run_seed
from runners.awake import boot_seconds
from runners.errors import Fault
from runners.host.protocol import AuditedRun, FileReference, JobLog, Run

_DONE: Final = 100.0
"""The progress in percent at which ending a run saves nothing."""
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_OUTCOMES: Final = {"result": "completed", "fail": "failed", "retry": "retried"}
RunStage: TypeAlias = Literal["downloading", "fetching", "waiting"] | Stage
"""Waiting for the download of its model, fetching its inputs, waiting for a device, loading its model, or running until its outcome is stored."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunDependencies:
    """The parts of the daemon that every run uses. `services` are those that this machine offers."""

    session: Session
    link: CoordinatorLink
    outbox: Outbox
    executor: Executor
    provider: Models
    services: Mapping[str, ServiceOffer]
    inputs: InputSettings
    data_dir: Path
    jobs_directory: Path
    max_job_log: int
    sealed_jobs: SealedJobs
    background: Background
    meter: Meter
    energy: EnergyAccount
    traffic: Traffic


class RunAdmission(Protocol):
    """The slots, as a run sees them that had none while its model was being downloaded."""

    def downloading(self) -> None:
        """Note that a run waits for its model, and needs no slot until then."""

    async def admit(self, run: JobRun) -> None:
        """Wait for a slot, now that the model is there."""


class JobRun:
    """The run of one lease. `progress`, `units` and `counter` go into heartbeats while `run` is running.

    `on_checkpoint` is called when the next checkpoint is stored, once. `stage` and `devices` (UUIDs of GPUs or "cpu", empty before it has one) describe the position. Afterwards `outcome` states
    how it ended, `machine_fault` whether this machine failed, and `unsupported` why it can run no job of the service.
    """

    def __init__(self, lease: Lease, parts: RunDependencies, slots: RunAdmission) -> None:
        self.lease = lease
        self._slots = slots
        self.progress = 0.0
        self.units = Decimal(0)
        self.counter = 0
        self.machine_fault = False
        self.unsupported: str | None = None
        self._stage_times = StageTimes()
        self.stage = "fetching"
        self.devices: tuple[str, ...] = ()
        self.outcome = "dropped"
        self._paid = Decimal(0), Decimal(0)
        self.on_checkpoint: Callable[[], object] | None = None
        self._parts = parts
        self._directory = parts.jobs_directory / f"{lease.job_id}_{lease.fence}"
        self._feed = EventFeed(parts.link, lease, parts.background)
        self._job_log = RunLog(lease, self._feed, parts.max_job_log)
        self._checkpoints = CheckpointUploads(parts.link, lease, self._directory / "output")
        self._opened: OpenedJob | None = None
        self._ending = False
        self._time_left = asyncio.timeout(None)
        self._too_costly = False

    @property
    def stage(self) -> RunStage:
        """What it does or waits for now."""
        return self._stage

    @stage.setter
    def stage(self, stage: RunStage) -> None:
        self._stage: RunStage = stage
        if telemetry.WANTED:
            self._stage_times.note(stage, self.lease.coordinator_time())

    @property
    def batch(self) -> Batch:
        """The service and the model of the job."""
        return self.lease.service, self.lease.spec.model

    @property
    def can_be_cancelled(self) -> bool:
        """False once the outcome is being stored: it is then sent, and the coordinator decides."""
        return not self._ending

    async def run(self) -> None:
        """Run the job. Returns when the outcome is in the outbox; a cancelled run leaves no trace of the lease."""
        # Every log line from here on, in this task and those that it starts, names the job.
        bind_contextvars(job_id=self.lease.job_id, trace_id=self.lease.trace_id)
        try:
            entry = await self._outcome()
            # From here on the outcome is decided. A cancellation would lose a result that was paid for with a machine's time.
            self._ending = True
            reach("miner.signed")
            self.outcome = "completed" if entry.kind == "result" else str(entry.body["code"])
            await self._finish(entry)
            self._count(_OUTCOMES[entry.body.get("kind", "result")])
        except asyncio.CancelledError:
            # Not a failure: the coordinator has ended the lease, and knows why.
            self._count("dropped")
            _log.info("job_dropped", job_id=self.lease.job_id, fence=self.lease.fence)
            await self._remove(self._directory)
            raise
        finally:
            if telemetry.WANTED:
                self._record_spans()
            # Its child has wiped it, unless that was killed.
            if self._opened is not None:
                await self._remove(self._opened.directory)

    def _record_spans(self) -> None:
        lease = self.lease
        attributes = {
            "aitbc.service": lease.service,
            "aitbc.device": "cpu" if "cpu" in self.devices else "gpu" if self.devices else None,
        }
        self._stage_times.record(
            *lease.key, lease.trace_id, self.outcome, attributes, lease.coordinator_time()
        )

    def ended(self) -> EndedRun:
        """Return what its account needs to know, once it has ended."""
        offer = self._parts.services.get(self.lease.service)
        has_models = offer is not None and offer.definition.model_field is not None
        units, price = self._paid
        return EndedRun(
            job=self.lease.key,
            service=self.lease.service,
            model=self.lease.spec.model if has_models else "",
            device=",".join(self.devices),
            outcome=self.outcome,
            units=units,
            price=price,
        )

    def _count(self, outcome: str) -> None:
        self._parts.meter.count(metrics.JOBS, self.lease.service, outcome)

    async def _outcome(self) -> OutboxEntry:
        # Counted from the moment at which the lease was received, so a clock that differs from the coordinator's does not matter.
        self._time_left = asyncio.timeout(max(0.0, self.lease.seconds_left()))
        try:
            async with self._time_left:
                return await self._perform()
        except RunnerError as error:
            return self._failure(error)
        except TimeoutError:
            return self._failure(self._out_of_time())
        except OSError as error:
            code = FailureCode.DISK_FULL if error.errno in _DISK_FULL else FailureCode.DISK_FAULT
            return self._failure(Retry(f"The miner's disk: {error.strerror or error}.", code=code))
        except Exception as error:  # noqa: BLE001 - an unexpected error must fail this job only
            _log.exception("job_error", job_id=self.lease.job_id, fence=self.lease.fence)
            return self._failure(
                Retry(f"The miner failed ({type(error).__name__}).", code=FailureCode.MINER_ERROR)
            )

    def _out_of_time(self) -> RunnerError:
        # The same time limit ends a run that became too costly: see `_on_progress`.
        if self._too_costly:
            return Fail(self._cost_message(), code=FailureCode.COST_LIMIT_REACHED)
        if self._time_left.expired():
            return Fail("The job ran longer than its timeout_seconds.", code=FailureCode.DEADLINE_EXCEEDED)
        return Retry("A step on this machine exceeded its time limit.")

    async def _perform(self) -> OutboxEntry:
        lease, parts = self.lease, self._parts
        # The result will be signed together with this digest, so a wrong one would make the whole work worthless.
        if not lease.has_valid_digest():
            raise Retry("The lease's spec does not match its digest.", code=FailureCode.SPEC_MISMATCH)
        offer = parts.services.get(lease.service)
        if offer is None:
            raise Retry(f"This miner does not offer {lease.service}.", code=FailureCode.SERVICE_NOT_OFFERED)
        await self._open_sealed()
        name_adapters = offer.definition.adapters
        if self._opened is not None:
            # The names are in the sealed input, which the coordinator could not read.
            adapters: Sequence[str] = self._opened.adapters
        else:
            adapters = () if name_adapters is None else name_adapters(lease.spec.parameters)
        async with AsyncExitStack() as stack:
            try:
                lending = parts.provider.lend(lease.spec.model, adapters, self._on_model)
                lent = await stack.enter_async_context(lending)
            except ModelUnavailable as error:
                # An unreachable server says nothing about the model.
                if lease.spec.model is not None and not isinstance(error, SourceUnreachable):
                    parts.executor.model_failed(lease.service, lease.spec.model, error)
                raise
            # A run that downloads gives its slot to others, and must get one again before it uses a device.
            if self.stage == "downloading":
                await self._slots.admit(self)
            run = await self._execute(lent, offer)
        # Made after the run: it states what the machine was when the plaintext had been on it.
        attestation = await parts.sealed_jobs.attest(
            lease.job_id, None if self._opened is None else self._opened.key_id
        )
        statement = statement_about(lease, offer, parts.session, run, self._opened, attestation)
        self._count_result(statement)
        collected = run.collected
        body = result_body(lease, parts.session, statement, collected) | self._job_log.fields()
        return OutboxEntry(
            *lease.key, "result", body, collected.artifacts, self._directory if collected.artifacts else None
        )

    async def _open_sealed(self) -> None:
        lease = self.lease
        if lease.spec.sealed is not None:
            self._opened = await self._parts.sealed_jobs.open(
                lease.job_id, lease.fence, lease.spec_digest, lease.service, lease.spec.sealed
            )

    async def _execute(self, lent: Lent, offer: ServiceOffer) -> FinishedRun:
        """Fetch the inputs, run the job in a child process, and collect what it made."""
        self._make_directories()
        inputs = {
            name: await self._fetch(number, name) for number, name in enumerate(sorted(self.lease.spec.files))
        }
        checkpoints = await fetch_checkpoints(
            self.lease,
            offer.definition.checkpoints,
            self._directory / "checkpoints",
            artifacts=self._parts.link.open_artifact,
            limits=self._parts.inputs,
            traffic=self._parts.traffic,
        )
        reach("miner.inputs_fetched")
        started_at = self.lease.coordinator_time()
        execution = await self._run_in_child(lent, inputs, checkpoints)
        reach("miner.run_finished")
        if telemetry.WANTED:
            self._stage_times.note("collecting", self.lease.coordinator_time())
        if self.lease.spec.audit is not None:
            # An auditor that ran other weights proves nothing about the miner.
            execution = same_weights(execution, self.lease.spec.audit.statement)
        finished_at = self.lease.coordinator_time()
        version = registered_version(offer, self._parts.session, execution)
        return FinishedRun(
            inputs=[NamedDigest(name, file.sha256) for name, file in inputs.items()],
            model=None
            if lent.model is None or execution.weights is None
            # The name that the job has, which may be that of the loaded model with an adapter.
            else NamedDigest(self.lease.spec.model or lent.model.name, execution.weights),
            execution=execution,
            runner_version=version,
            collected=await self._collect(execution),
            started_at=started_at,
            finished_at=finished_at,
        )

    def _make_directories(self) -> None:
        self._directory.mkdir(parents=True)
        names = ["output", "work"]
        names += ["inputs"] if self.lease.spec.files else []
        names += ["checkpoints"] if self.lease.checkpoints else []
        for name in names:
            (self._directory / name).mkdir()

    async def _run_in_child(
        self, lent: Lent, inputs: Mapping[str, FetchedFile], checkpoints: Mapping[str, Path]
    ) -> Execution:
        lease = self.lease
        message = Run(
            # With the fence, because the same miner may get the job again while a child still ends the former run.
            run_id=f"{lease.job_id}_{lease.fence}",
            parameters=lease.spec.parameters,
            files={name: file.path for name, file in inputs.items()},
            checkpoints=dict(checkpoints),
            adapters=dict(lent.adapters),
            output=self._directory / "output",
            work=self._directory / "work",
            resources=lease.spec.resources,
            max_units=lease.max_units,
            # A runner refuses zero; the time limit of this task ends the run anyway.
            timeout_seconds=max(0.001, lease.seconds_left()),
            trace_id=lease.trace_id,
            seed=run_seed(lease.job_id, lease.fence, self._parts.session.identity.miner_id, lease.nonce),
            cache_salt=lease.cache_salt,
            audit=await self._audited({name: file.sha256 for name, file in inputs.items()}),
            sealed=None if self._opened is None else self._opened.run,
        )
        listener = RunListener(self._on_progress, self._on_event, self._on_checkpoint, self._on_log)
        self.stage = "waiting"
        return await self._parts.executor.run(
            lease.service, lent.model, message, listener, on_stage=self._on_stage
        )

    async def _audited(self, digests: Mapping[str, str]) -> AuditedRun | None:
        """Return the work that this job checks, with the honest ranges that this machine knows; None for other jobs.

        `digests` are those of the input files, by name.
        """
        audit = self.lease.spec.audit
        if audit is None:
            return None
        calibrations = await asyncio.to_thread(read_calibrations, self._parts.data_dir)
        return AuditedRun(
            results=audit.results,
            statement=audit.statement,
            evidence=audit.evidence,
            nonce=audit.nonce,
            # Which parts are compared must be unknown to the audited miner beforehand, also with a coordinator that sends no nonce.
            choice=self.lease.nonce or secrets.token_hex(32),
            answer=audit.answer,
            mismatch=unsigned_part(audit.results, audit.statement, digests),
            calibrations=[
                calibration for calibration in calibrations if calibration.service == self.lease.service
            ],
        )

    def _count_result(self, statement: Statement) -> None:
        meter, service = self._parts.meter, statement.service
        meter.count(metrics.UNITS, service, statement.unit, amount=float(statement.units))
        meter.count(metrics.PRICED, service, amount=float(statement.price))
        self._paid = statement.units, statement.price
        meter.observe(metrics.RUN_SECONDS, boot_seconds() - self.lease.received_at, service)

    async def _fetch(self, number: int, name: str) -> FetchedFile:
        # The service defines the names of fields, but a number is a safe file name in any case.
        return await fetch(
            self.lease.spec.files[name],
            self._directory / "inputs" / str(number),
            artifacts=self._parts.link.open_artifact,
            limits=self._parts.inputs,
            traffic=self._parts.traffic,
        )

    def _on_stage(self, stage: Stage, devices: tuple[str, ...]) -> None:
        if devices != self.devices:
            self._parts.energy.began(self.lease.key, devices)
        self.stage, self.devices = stage, devices

    def _on_progress(self, percent: float, units: Decimal) -> None:
        self.progress, self.units = percent, units
        self.counter += 1
        self._feed.progress(percent, units)
        max_units = self.lease.max_units
        ended = self._too_costly or self._time_left.expired()
        # At the end of a run the units are only a little above the limit at most, and the price is capped: such a result is delivered.
        if max_units is not None and units > max_units and percent < _DONE and not ended:
            self._too_costly = True
            # Ending the time limit cancels the run at its next await, wherever it is.
            self._time_left.reschedule(asyncio.get_running_loop().time())

    def _cost_message(self) -> str:
        lease, max_cost = self.lease, amounts.with_currency(money(self.lease.max_cost))
        reached = f"The job reached its max_cost of {max_cost} at {self.progress:.0f} % progress"
        if self.progress < 1:
            return f"{reached}; raise pricing.max_cost."
        # Extrapolated from the work done so far. It is an estimate, but better than a client's next guess.
        enough = uncapped_price(self.units * 100 / Decimal(self.progress), lease.unit_price)
        return f"{reached}; a max_cost of about {amounts.with_currency(amounts.price(enough))} is enough."

    def _on_model(self, name: str, received: int, total: int | None) -> None:
        if self.stage != "downloading":
            self.stage = "downloading"
            self._slots.downloading()
        self._on_event("model", {"model": name, "done": received, "total": total})

    def _on_event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.counter += 1
        self._feed.event(kind, data)

    def _on_checkpoint(self, reference: FileReference) -> None:
        self.counter += 1
        self._parts.background.spawn(
            self._store_checkpoint(reference), f"checkpoint-upload-{self.lease.job_id}"
        )

    async def _store_checkpoint(self, reference: FileReference) -> None:
        # One that was not stored is no reason to end the run: its work would be lost.
        if await self._checkpoints.upload(reference) and self.on_checkpoint is not None:
            on_checkpoint, self.on_checkpoint = self.on_checkpoint, None
            on_checkpoint()

    def _on_log(self, message: JobLog) -> None:
        self.counter += 1
        self._job_log.add(message)

    async def _collect(self, execution: Execution) -> Collected:
        outcome, output = execution.done, self._directory / "output"
        if (
            not self.lease.nonce
        ):  # an older coordinator, which refuses statements with fields that it does not know
            outcome = outcome.model_copy(update={"evidence": None})
        # There is no file to read, so a thread would only cost time.
        if not has_files(outcome):
            return collect(outcome, output)
        return await asyncio.to_thread(collect, outcome, output)

    def _failure(self, error: RunnerError) -> OutboxEntry:
        kind = "fail" if isinstance(error, Fail) else "retry"
        # A runner of another package may raise anything; the coordinator accepts only codes of this form.
        code = error.code if _CODE.fullmatch(error.code) else error.default_code
        # A lost node gets no more jobs; the others are sound.
        self.machine_fault = error.fault is Fault.MACHINE and code != FailureCode.NODE_LOST
        self.unsupported = str(error) if code == FailureCode.GPU_UNSUPPORTED else None
        _log.warning(
            "job_failed", job_id=self.lease.job_id, fence=self.lease.fence, service=self.lease.service,
            # Messages of engines may quote a prompt, so the log has only texts that the runner wrote itself.
            kind=kind, code=code, error=str(error) if error.own_message else None,
        )  # fmt: skip
        body = {
            "fence": self.lease.fence,
            "kind": kind,
            "code": code,
            "message": str(error)[:MAX_MESSAGE],
            "units": f"{self.units:f}",
            **self._job_log.fields(),
        }
        return OutboxEntry(*self.lease.key, "fail", body)

    async def _finish(self, entry: OutboxEntry) -> None:
        self._feed.close()
        try:
            await self._parts.outbox.put(entry)
        except OSError as error:
            _log.error("outcome_not_stored", job_id=entry.job_id, fence=entry.fence, error=str(error))
            # A disk that cannot store a small file will fail the next job as well, so the circuit breaker must know.
            self.machine_fault = True
            failure = Retry(f"The miner could not store the outcome: {error}.", code=FailureCode.DISK_FULL)
            with suppress(Unreachable):
                # Tried once, without the outbox, since that is what failed. If it is lost, the lease expires.
                await self._parts.link.call("fail", entry.job_id, self._failure(failure).body)
            await self._remove(self._directory)
            return
        # The outbox needs the output files only.
        leftovers = [self._directory]
        if entry.directory is not None:
            leftovers = [self._directory / name for name in ("inputs", "checkpoints", "work")]
        self._parts.background.spawn(self._remove(*leftovers), f"remove-{entry.job_id}")

    async def _remove(self, *directories: Path) -> None:
        for directory in directories:
            await asyncio.to_thread(discard, directory)
