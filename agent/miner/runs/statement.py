"""The signed result of a run: the statement about what was requested, what was made, where, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.values.quantities import format_time
from agent.miner.executor.local import Execution
from agent.miner.machine.capabilities import ServiceOffer
from agent.miner.runs.lease import Lease
from agent.miner.runs.outputs import Collected
from agent.miner.session import Session
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.dsse import sign_envelope
from aitbc.outputs import output_files
from aitbc.statement import PAYLOAD_TYPE, RESULT_NAME, NamedDigest, Statement, job_price


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What a run used and made. `model` names its weights; times are seconds since the epoch, by the coordinator's clock."""

    inputs: Sequence[NamedDigest]
    model: NamedDigest | None
    execution: Execution
    collected: Collected
    started_at: float
    finished_at: float


def describe(lease: Lease, offer: ServiceOffer, session: Session, run: FinishedRun) -> Statement:
    """Return the statement that this miner signs about a run."""
    results, units, device = run.collected.results, run.collected.units, run.execution.device
    files = (NamedDigest(file.name, file.sha256) for file in output_files(results))
    return Statement(
        subject=(NamedDigest(RESULT_NAME, sha256_hex(canonical_json(results))), *files),
        job_id=lease.job_id,
        miner_id=session.identity.miner_id,
        fence=lease.fence,
        origin=session.origin,
        spec_digest=lease.spec_digest,
        inputs=tuple(run.inputs),
        service=lease.service,
        runner_name=run.execution.runner.name,
        runner_version=offer.version,  # as registered: it also names the engine
        model=run.model,
        device_kind=device.kind,
        device_name=device.name,
        device_uuid=device.uuid,
        started_at=format_time(run.started_at),
        finished_at=format_time(run.finished_at),
        units=units,
        unit=offer.definition.unit_on(device.kind),
        unit_price=lease.unit_price,
        price=job_price(units, lease.unit_price, lease.max_cost),
        sandbox=offer.sandbox,
    )


def result_body(lease: Lease, session: Session, statement: Statement, collected: Collected) -> dict[str, Any]:
    """Return the body of the `result` call, with the statement signed."""
    return {
        "fence": lease.fence,
        "envelope": sign_envelope(PAYLOAD_TYPE, statement.to_payload(), session.identity.signing_key),
        "results": collected.results,
        "artifacts": [artifact.to_wire() for artifact in collected.artifacts],
    }
