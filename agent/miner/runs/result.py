"""The signed result of a run: its output files, and the statement about what was requested, what was made, where, and how much.

Output files are checked to be regular files, and named by their content.

A run may have executed untrusted code. A link in its output directory must not make this miner publish a file of its
owner, and an object in its results must not pass as a file that the run did not create.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from agent.atomic_file import sync_directory
from agent.core.values.quantities import format_time
from agent.miner.executor.contract import Execution
from agent.miner.executor.output_files import open_output
from agent.miner.machine.capabilities import ServiceOffer
from agent.miner.runs.lease import Lease
from agent.miner.runs.outbox_database import OutboxArtifact
from agent.miner.sealing.sealed_jobs import OpenedJob
from agent.miner.session import Session
from agent.protocol.messages import MAX_EVIDENCE
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.dsse import sign_envelope
from aitbc.outputs import output_files
from aitbc.statement import PAYLOAD_TYPE, RESULT_NAME, NamedDigest, Sealing, Statement, job_price
from runners.api import Fail, FailureCode, Retry
from runners.host.protocol import (
    Done,
    FileReference,
    ProtocolError,
    file_references,
    plain_units,
    replace_files,
)

_MAX_NAME: Final = 200
"""Characters of a name or media type that the coordinator accepts."""


@dataclass(frozen=True, slots=True)
class Collected:
    """A run's results as the client receives them, the files that must be stored before them, and the evidence for audits."""

    results: dict[str, Any]
    artifacts: tuple[OutboxArtifact, ...]
    units: Decimal
    evidence: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What a run used and made. `model` names its weights; times are seconds since the epoch, by the coordinator's clock.

    `runner_version` is that of the runner with the engine that ran.
    """

    inputs: Sequence[NamedDigest]
    model: NamedDigest | None
    execution: Execution
    runner_version: str
    collected: Collected
    started_at: float
    finished_at: float


def has_files(outcome: Done) -> bool:
    """Whether the results name any output file."""
    try:
        return next(file_references(outcome.results), None) is not None
    except ProtocolError:
        return True  # `collect` raises the error


def collect(outcome: Done, output: Path) -> Collected:
    """Hash the files below `output` that `outcome` names, and put their addresses into its results.

    Blocking: reads every file, and returns when all are on disk. Raises `Fail` if the results contain a forged file,
    `Retry` if a file is missing or not a regular one, `OSError`.
    """
    artifacts: list[OutboxArtifact] = []

    def hashed(reference: FileReference) -> Mapping[str, Any]:
        artifact = hash_output(reference, output)
        artifacts.append(artifact)
        return {**artifact.to_wire(), "url": f"/v1/artifacts/{artifact.artifact_id}"}

    try:
        results = replace_files(outcome.results, hashed)
    except ProtocolError as error:
        raise Retry(
            f"The runner named an invalid output: {error}", code=FailureCode.RUNNER_CRASHED
        ) from error
    results["units"] = _number(outcome.units)
    files = output_files(results)
    paths = {artifact.artifact_id: artifact.path for artifact in artifacts}
    # A model could write an object that looks like a file. Its digest would be signed, although no such file exists.
    if len(files) != len(artifacts) or {file.artifact_id for file in files} != paths.keys():
        raise Fail(
            "The results contain an object that looks like an output file but is not one. Rename its fields "
            "(artifact_id, url, media_type, size, name).",
            code=FailureCode.RESULT_INVALID,
        )
    if artifacts:
        # The entries too: a file that is on the disk without its name is lost.
        sync_directory(output)
    stored = tuple(
        OutboxArtifact(file.artifact_id, paths[file.artifact_id], file.name, file.media_type, file.size)
        for file in files
    )
    return Collected(results, stored, Decimal(str(results["units"])), _bounded(outcome.evidence))


def hash_output(reference: FileReference, output: Path) -> OutboxArtifact:
    """Hash one output file. Blocking: returns when it is on disk. Raises `ProtocolError`, `OSError`."""
    path = reference.below(output)
    # Opened without following links, since a program in a sandbox made this directory.
    with open_output(reference, output) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        # Files that the outbox names must survive a crash.
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    name, media_type = reference.name[:_MAX_NAME], reference.media_type[:_MAX_NAME]
    return OutboxArtifact(f"sha256:{digest}", path, name, media_type, size)


def registered_version(offer: ServiceOffer, session: Session, execution: Execution) -> str:
    """Return the version of the runner and its engine that made a run, as this miner has registered it.

    An older coordinator accepts only that of the first engine. Raises `Retry` if it was replaced since then.
    """
    version, engine = execution.runner.version, execution.done.engine
    # A coordinator of an earlier version knows one version of a service, and refuses statements with any other.
    if not engine or not session.engine_versions:
        stated, is_offered = offer.version, offer.version.startswith(version)
    else:
        stated = f"{version}+{engine}"
        is_offered = stated in offer.versions
    if not is_offered:
        raise Retry(
            f"The runner of {offer.definition.service_id} was replaced while the agent ran; restart the agent.",
            code=FailureCode.RUNNER_REPLACED,
        )
    return stated


def statement_about(
    lease: Lease,
    offer: ServiceOffer,
    session: Session,
    run: FinishedRun,
    opened: OpenedJob | None = None,
    attestation: Mapping[str, Any] | None = None,
) -> Statement:
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
        runner_version=run.runner_version,
        model=run.model,
        device_kind=device.kind,
        device_name=f"{len(device.gpus)} x {device.name}" if device.others else device.name,
        device_uuid=",".join(device.gpus) or None,
        started_at=format_time(run.started_at),
        finished_at=format_time(run.finished_at),
        units=units,
        unit=offer.definition.unit_on(device.kind),
        unit_price=lease.unit_price,
        # Computed here as the coordinator does it, so that both sign the same price or none.
        price=job_price(units, lease.unit_price, lease.max_cost),
        sandbox=offer.sandbox,
        evidence_sha256=None
        if run.collected.evidence is None
        else sha256_hex(canonical_json(run.collected.evidence)),
        sealed=None if opened is None else _sealing(opened, run.execution.done),
        attestation=attestation,
    )


def _sealing(opened: OpenedJob, outcome: Done) -> Sealing:
    """Return what the statement says about a sealed job. Raises `Retry` if its child did not seal it."""
    if outcome.sealed is None:
        raise Retry(
            "The runner returned the results of a sealed job unsealed.", code=FailureCode.RUNNER_CRASHED
        )
    return Sealing(
        key_id=opened.key_id,
        request_id=opened.request_id,
        request=outcome.sealed.request,
        results=outcome.sealed.results,
        inputs=tuple(outcome.sealed.inputs),
        outputs=tuple(outcome.sealed.outputs),
    )


def result_body(lease: Lease, session: Session, statement: Statement, collected: Collected) -> dict[str, Any]:
    """Return the body of the `result` call, with the statement signed."""
    return {
        "fence": lease.fence,
        "envelope": sign_envelope(PAYLOAD_TYPE, statement.to_payload(), session.identity.signing_key),
        "results": collected.results,
        "artifacts": [artifact.to_wire() for artifact in collected.artifacts],
        **({} if collected.evidence is None else {"evidence": collected.evidence}),
    }


def _bounded(evidence: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return evidence that the coordinator accepts; None for more, which costs the client nothing: an audit is then less certain."""
    if evidence is None or len(json.dumps(evidence)) > MAX_EVIDENCE:
        return None
    return evidence


def _number(units: Decimal) -> int | float:
    text = plain_units(units)
    return float(text) if "." in text else int(text)
