"""One lease, from its arrival to a signed result in the outbox."""

from __future__ import annotations

import asyncio
import errno
import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import structlog
from structlog.contextvars import bind_contextvars

from agent.core.values.quantities import format_time
from agent.fault_points import reach
from agent.metrics import Meter
from agent.miner import metrics
from agent.miner.data_dir import discard
from agent.miner.executor.child import RunListener
from agent.miner.executor.local import Execution, LocalExecutor, Stage
from agent.miner.identity import Identity
from agent.miner.link.client import Link
from agent.miner.link.errors import Unreachable
from agent.miner.machine.capabilities import ServiceOffer
from agent.miner.models.provider import Lent, ModelProvider
from agent.miner.models.store import ModelStore, ModelUnavailable
from agent.miner.runs.checkpoints import fetch_checkpoints
from agent.miner.runs.events import EventFeed
from agent.miner.runs.inputs import fetch
from agent.miner.runs.lease import Lease, digest_agrees
from agent.miner.runs.outbox import Entry, Outbox
from agent.miner.runs.outputs import Collected, collect, has_files, take
from agent.settings import InputSettings
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.dsse import sign_envelope
from aitbc.outputs import output_files
from aitbc.statement import (
    PAYLOAD_TYPE,
    RESULT_NAME,
    NamedDigest,
    Statement,
    job_price,
    money,
    uncapped_price,
)
from runners.api import Checkpoints, Fail, FailureCode, Model, Retry, RunnerError
from runners.errors import Fault
from runners.host.protocol import FileReference, ProtocolError, Run

_MAX_MESSAGE: Final = 2000
_DONE: Final = 100.0
"""Percent at which nothing is left to be saved by ending a run."""
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_MAX_HANDING_OVER: Final = 2
"""Checkpoints of one job that are uploaded at the same time while it runs."""
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_OUTCOMES: Final = {"result": "completed", "fail": "failed", "retry": "retried"}
WorkStage: TypeAlias = Literal["fetching", "waiting"] | Stage
"""Its model and inputs are fetched; it waits for a device; its model is loaded; it runs, or its outcome is written down."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Workplace:
    """What all work of a daemon shares.

    `units` names the metering unit of each service on a kind of device; `adapters` the adapters that a request's
    parameters ask for, in services that have any; `checkpoints` the services that resume; `spawn` runs what may outlive the work, under the daemon's eyes.
    """

    identity: Identity
    origin: str
    link: Link
    outbox: Outbox
    executor: LocalExecutor
    models: ModelStore
    provider: ModelProvider
    offers: Mapping[str, ServiceOffer]
    units: Mapping[str, Callable[[str], str]]
    adapters: Mapping[str, Callable[[Mapping[str, Any]], Sequence[str]]]
    checkpoints: Mapping[str, Checkpoints]
    inputs: InputSettings
    jobs_directory: Path
    spawn: Callable[[Coroutine[Any, Any, None], str], None]
    meter: Meter


class Work:
    """The work on one lease. `run` it as a task; `progress`, `units` and `counter` go into heartbeats.

    `stage` and `device` (a GPU's UUID or "cpu", None before it has got one) say how far it is. Afterwards `outcome` says how
    it ended, and `machine_fault` whether this machine failed.
    """

    def __init__(self, lease: Lease, message: Mapping[str, Any], place: Workplace) -> None:
        self.lease = lease
        self.progress = 0.0
        self.units = Decimal(0)
        self.counter = 0
        self.machine_fault = False
        self.stage: WorkStage = "fetching"
        self.device: str | None = None
        self.outcome = "dropped"
        self._message = message
        self._place = place
        self._directory = place.jobs_directory / f"{lease.job_id}_{lease.fence}"
        self._feed = EventFeed(place.link, lease.job_id, lease.fence, place.spawn)
        self._ending = False
        self._time_left = asyncio.timeout(None)
        self._too_costly = False
        self._handing_over = asyncio.Semaphore(_MAX_HANDING_OVER)

    @property
    def can_be_cancelled(self) -> bool:
        """False once the outcome is being written down: then it is sent, and the coordinator decides."""
        return not self._ending

    async def run(self) -> None:
        """Do it all. Returns when the outcome is in the outbox; when cancelled, no trace of the lease is left."""
        # Whatever is logged from here on, in this task and those that it starts, names the job.
        bind_contextvars(job_id=self.lease.job_id, trace_id=self.lease.trace_id)
        try:
            entry = await self._outcome()
            self._ending = True
            reach("miner.signed")
            self.outcome = "completed" if entry.kind == "result" else str(entry.body["code"])
            await self._finish(entry)
            self._note(_OUTCOMES[entry.body.get("kind", "result")])
        except asyncio.CancelledError:
            self._note("dropped")
            _log.info("job_dropped", job_id=self.lease.job_id, fence=self.lease.fence)
            await self._remove(self._directory)
            raise

    def _note(self, outcome: str) -> None:
        self._place.meter.count(metrics.JOBS, self.lease.service, outcome)

    async def _outcome(self) -> Entry:
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
        except Exception as error:  # noqa: BLE001 - one job's surprise must end as that job's failure
            _log.exception("job_error", job_id=self.lease.job_id, fence=self.lease.fence)
            return self._failure(
                Retry(f"The miner failed ({type(error).__name__}).", code=FailureCode.MINER_ERROR)
            )

    def _out_of_time(self) -> RunnerError:
        if self._too_costly:
            return Fail(self._cost_message(), code=FailureCode.COST_LIMIT_REACHED)
        if self._time_left.expired():
            return Fail("The job ran longer than its timeout_seconds.", code=FailureCode.DEADLINE_EXCEEDED)
        return Retry("Something on this machine took too long.")

    async def _perform(self) -> Entry:
        lease, place = self.lease, self._place
        if not digest_agrees(self._message):
            raise Retry("The lease's spec does not agree with its digest.", code=FailureCode.SPEC_MISMATCH)
        if lease.service not in place.offers:
            raise Retry(f"This miner does not offer {lease.service}.", code=FailureCode.SERVICE_NOT_OFFERED)
        name_adapters = place.adapters.get(lease.service)
        adapters = () if name_adapters is None else name_adapters(lease.spec.parameters)
        async with AsyncExitStack() as stack:
            try:
                lending = place.provider.lend(lease.spec.model, adapters, self._on_model)
                lent = await stack.enter_async_context(lending)
            except ModelUnavailable as error:
                if lease.spec.model is not None:
                    place.executor.model_failed(lease.service, lease.spec.model, error)
                raise
            return await self._perform_with(lent)

    async def _perform_with(self, lent: Lent) -> Entry:
        lease, place, model = self.lease, self._place, lent.model
        for name in ("inputs", "checkpoints", "output", "work"):
            (self._directory / name).mkdir(parents=True)
        inputs = [await self._fetch(number, name) for number, name in enumerate(sorted(lease.spec.files))]
        checkpoints = await fetch_checkpoints(
            lease,
            place.checkpoints.get(lease.service),
            self._directory / "checkpoints",
            artifacts=place.link.open_artifact,
            limits=place.inputs,
        )
        reach("miner.inputs_fetched")
        started_at = lease.moment()
        message = Run(
            run_id=f"{lease.job_id}_{lease.fence}",
            parameters=lease.spec.parameters,
            files={name: path for name, path, _ in inputs},
            checkpoints=checkpoints,
            adapters=dict(lent.adapters),
            output=self._directory / "output",
            work=self._directory / "work",
            resources=lease.spec.resources,
            max_units=lease.max_units,
            timeout_seconds=max(0.001, lease.seconds_left()),
            trace_id=lease.trace_id,
        )
        listener = RunListener(self._on_progress, self._on_event, self._on_checkpoint)
        self.stage = "waiting"
        execution = await place.executor.run(lease.service, model, message, listener, on_stage=self._on_stage)
        reach("miner.run_finished")
        finished_at = lease.moment()
        if not place.offers[lease.service].version.startswith(execution.runner.version):
            raise Retry(
                f"The runner of {lease.service} was replaced while the agent ran; restart the agent.",
                code=FailureCode.RUNNER_REPLACED,
            )
        digest = None if model is None else await self._weights_digest(model, execution)
        collected = await self._collect(execution)
        statement = self._statement(
            collected, execution, digest,
            inputs=tuple(NamedDigest(name, sha256) for name, _, sha256 in inputs),
            started_at=format_time(started_at), finished_at=format_time(finished_at),
        )  # fmt: skip
        self._count_result(statement)
        return self._result(collected, statement)

    def _count_result(self, statement: Statement) -> None:
        meter, service = self._place.meter, statement.service
        meter.count(metrics.UNITS, service, statement.unit, amount=float(statement.units))
        meter.count(metrics.PRICED, service, amount=float(statement.price))
        meter.observe(metrics.RUN_SECONDS, time.monotonic() - self.lease.received_at, service)

    async def _fetch(self, number: int, name: str) -> tuple[str, Path, str]:
        # The client chose the field's name only among those of the service, but a number is safe in any case.
        target = self._directory / "inputs" / str(number)
        file = await fetch(
            self.lease.spec.files[name],
            target,
            artifacts=self._place.link.open_artifact,
            limits=self._place.inputs,
        )
        return name, file.path, file.sha256

    def _on_stage(self, stage: Stage, device: str) -> None:
        self.stage, self.device = stage, device

    def _on_progress(self, percent: float, units: Decimal) -> None:
        self.progress, self.units = percent, units
        self.counter += 1
        self._feed.progress(percent, units)
        most = self.lease.max_units
        ended = self._too_costly or self._time_left.expired()
        if most is not None and units > most and percent < _DONE and not ended:
            self._too_costly = True
            self._time_left.reschedule(asyncio.get_running_loop().time())

    def _cost_message(self) -> str:
        lease, most = self.lease, money(self.lease.max_cost)
        reached = f"The job reached its max_cost of {most} when {self.progress:.0f} % of it were done"
        if self.progress < 1:
            return f"{reached}; raise pricing.max_cost."
        enough = uncapped_price(self.units * 100 / Decimal(self.progress), lease.unit_price)
        return f"{reached}; a max_cost of about {money(enough)} would do."

    def _on_model(self, name: str, done: int, total: int | None) -> None:
        self._on_event("model", {"model": name, "done": done, "total": total})

    def _on_event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.counter += 1
        self._feed.event(kind, data)

    def _on_checkpoint(self, reference: FileReference) -> None:
        self.counter += 1
        self._place.spawn(self._hand_over(reference), f"hand-over-{self.lease.job_id}")

    async def _hand_over(self, reference: FileReference) -> None:
        """Upload a checkpoint while the run goes on. If it fails, a miner that takes the job over repeats more work."""
        try:
            async with self._handing_over:
                artifact = await asyncio.to_thread(take, reference, self._directory / "output")
                await self._place.link.upload(
                    artifact.path, artifact.media_type, artifact.size, lease=self.lease.key
                )
                data = {
                    "artifact_id": artifact.artifact_id,
                    "name": artifact.name,
                    "media_type": artifact.media_type,
                    "size": artifact.size,
                    "extra": reference.extra,
                }
                body = {"fence": self.lease.fence, "events": [{"kind": "output", "data": data}]}
                await self._place.link.call("events", self.lease.job_id, body)
        except (OSError, ProtocolError, Unreachable) as error:
            _log.info("checkpoint_not_passed_on", job_id=self.lease.job_id, error=str(error))

    async def _weights_digest(self, model: Model, execution: Execution) -> NamedDigest:
        try:
            return NamedDigest(
                model.name, await asyncio.to_thread(self._place.models.digest, execution.weights)
            )
        except (OSError, ValueError) as error:
            raise Retry(
                f"The weights of {model.name} cannot be identified: {error}.", code=FailureCode.MODEL_FAULT
            ) from error

    async def _collect(self, execution: Execution) -> Collected:
        output = self._directory / "output"
        if not has_files(execution.done):  # nothing to read: a thread would only cost time
            return collect(execution.done, output)
        return await asyncio.to_thread(collect, execution.done, output)

    def _statement(
        self,
        collected: Collected,
        execution: Execution,
        model: NamedDigest | None,
        *,
        inputs: tuple[NamedDigest, ...],
        started_at: str,
        finished_at: str,
    ) -> Statement:
        lease, offer = self.lease, self._place.offers[self.lease.service]
        files = (NamedDigest(file.name, file.sha256) for file in output_files(collected.results))
        return Statement(
            subject=(NamedDigest(RESULT_NAME, sha256_hex(canonical_json(collected.results))), *files),
            job_id=lease.job_id,
            miner_id=self._place.identity.miner_id,
            fence=lease.fence,
            origin=self._place.origin,
            spec_digest=str(self._message["spec_digest"]),
            inputs=inputs,
            service=lease.service,
            runner_name=execution.runner.name,
            runner_version=offer.version,  # as registered: it also names the engine
            model=model,
            device_kind=execution.device.kind,
            device_name=execution.device.name,
            device_uuid=execution.device.uuid,
            started_at=started_at,
            finished_at=finished_at,
            units=collected.units,
            unit=self._place.units[lease.service](execution.device.kind),
            unit_price=lease.unit_price,
            price=job_price(collected.units, lease.unit_price, lease.max_cost),
            sandbox=offer.sandbox,
        )

    def _result(self, collected: Collected, statement: Statement) -> Entry:
        body = {
            "fence": self.lease.fence,
            "envelope": sign_envelope(PAYLOAD_TYPE, statement.to_payload(), self._place.identity.signing_key),
            "results": collected.results,
            "artifacts": [
                {
                    "artifact_id": file.artifact_id,
                    "name": file.name,
                    "media_type": file.media_type,
                    "size": file.size,
                }
                for file in collected.artifacts
            ],
        }
        directory = self._directory if collected.artifacts else None
        return Entry(*self.lease.key, "result", body, collected.artifacts, directory)

    def _failure(self, error: RunnerError) -> Entry:
        kind = "fail" if isinstance(error, Fail) else "retry"
        code = error.code if _CODE.fullmatch(error.code) else error.default_code
        self.machine_fault = error.fault is Fault.MACHINE
        _log.warning(
            "job_failed", job_id=self.lease.job_id, fence=self.lease.fence, service=self.lease.service,
            kind=kind, code=code, error=str(error) if error.own_message else None,
        )  # fmt: skip
        body = {
            "fence": self.lease.fence,
            "kind": kind,
            "code": code,
            "message": str(error)[:_MAX_MESSAGE],
            "units": f"{self.units:f}",
        }
        return Entry(*self.lease.key, "fail", body)

    async def _finish(self, entry: Entry) -> None:
        self._feed.close()
        try:
            await self._place.outbox.put(entry)
        except OSError as error:
            _log.error("outcome_not_stored", job_id=entry.job_id, fence=entry.fence, error=str(error))
            self.machine_fault = True
            failure = Retry(f"The miner could not keep the outcome: {error}.", code=FailureCode.DISK_FULL)
            with suppress(Unreachable):
                await self._place.link.call("fail", entry.job_id, self._failure(failure).body)
            await self._remove(self._directory)
            return
        # Without files the outbox needs nothing here; with files only they must stay.
        leftovers = [self._directory]
        if entry.directory is not None:
            leftovers = [self._directory / name for name in ("inputs", "checkpoints", "work")]
        self._place.spawn(self._remove(*leftovers), f"remove-{entry.job_id}")

    async def _remove(self, *directories: Path) -> None:
        for directory in directories:
            await asyncio.to_thread(discard, directory)
