"""Audit jobs: each asks one auditor for an opinion, but never the audited miner, its owner's others, or one that the client does not trust."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from agent.coordinator import lifecycle
from agent.coordinator.features.audits import funds
from agent.coordinator.features.audits.choosing import UNPROVEN_SEALED
from agent.coordinator.features.audits.rounds import deciding
from agent.coordinator.features.audits.rounds.auditors import independent, is_doubted, preferred
from agent.coordinator.features.audits.settings import AuditSettings
from agent.coordinator.features.audits.store import audits, canaries
from agent.coordinator.features.audits.store.audits import AuditRecord
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import jobs, queue, receipts
from agent.coordinator.store.jobs import JobRecord
from agent.core.jobs import Cancel, Job, JobState
from agent.core.matching import Restrictions
from agent.core.nonces import lease_nonce, nonce_key
from agent.sections import section_of
from aitbc.canonical import canonical_json, sha256_hex

BATCH: Final = 100
"""Maximum number of audits in one round."""
NAME: Final = "audit"
DELETED: Final = "The job's data was deleted before it was compared."
UNAFFORDABLE: Final = "The operator's budget for audits was used up."
NOBODY: Final = "No independent auditor was available in time."


@dataclass(frozen=True, slots=True)
class NewIds:
    """Ids for an audit job, so that a repeated transaction creates the same one."""

    job_id: str
    tx_id: str
    follow_up: deciding.FollowUp

    @classmethod
    def of(cls, context: Context) -> NewIds:
        """Return new ids."""
        return cls(context.new_id("job"), context.new_id("tx"), deciding.FollowUp.of(context))


async def ask(context: Context) -> int:
    """Submit the audit jobs that are missing. Return how many audits were examined."""
    roots = await context.database.read(audits.unasked, BATCH)

    async def submit(root: str) -> None:
        await context.database.write(_ask, context, root, NewIds.of(context))

    await deciding.one_by_one(roots, submit)
    if roots:
        context.dispatcher.job_waiting()
    return len(roots)


async def give_up(context: Context) -> None:
    """Cancel audit jobs that no auditor has claimed in time."""
    created_before = context.clock() - section_of(context.settings, AuditSettings).wait_seconds
    for job_id in await context.database.read(audits.unanswered, created_before, BATCH):
        await context.database.write(_cancel, job_id, context.clock())


def _cancel(connection: Connection, job_id: str, now: float) -> None:
    record = jobs.lock(connection, job_id)
    # A job that a miner runs is not taken from it: its opinion may come any moment.
    if record is not None and record.life.state is JobState.SUBMITTED:
        lifecycle.change(connection, record, Cancel(now), now)


def ask_now(connection: Connection, context: Context, root: str) -> None:
    """Submit the audit job of an audit immediately, because data that it needs is about to be deleted."""
    _ask(connection, context, root, NewIds.of(context), final=True)


def _ask(connection: Connection, context: Context, root: str, ids: NewIds, *, final: bool = False) -> None:
    """Submit the audit job of an audit's newest opinion, if it has none and an independent auditor is online.

    With `final`, submit it even if none is online.
    """
    opinions = audits.lock(connection, root)
    open_audit = next(
        (audit for audit in opinions if audit.opinion is None and audit.status == audits.WAITING), None
    )
    if open_audit is None:
        return
    now, settings = context.clock(), section_of(context.settings, AuditSettings)
    source = jobs.find(connection, opinions[0].job_id)
    restrictions, auditors = independent(connection, context, opinions, now)
    recheck = ids.follow_up.number < settings.recheck_share
    restrictions, auditors = preferred(connection, open_audit, restrictions, auditors, recheck=recheck)
    # An opinion that is not worth waiting for is given up at once.
    waited = open_audit.created_at + settings.wait_seconds <= now or not is_doubted(opinions)
    # Auditors come and go, so this waits for a while before it gives up.
    if not final and not auditors:
        if waited:
            deciding.answer_missing(connection, context, opinions, open_audit, NOBODY, ids.follow_up)
        return
    payload = None if source is None else _specification(connection, context, source, opinions, ids.job_id)
    if source is None or payload is None:
        why = UNPROVEN_SEALED if source is not None and source.is_opaque else DELETED
        deciding.answer_missing(connection, context, opinions, open_audit, why, ids.follow_up)
        return
    max_cost = funds.max_cost(connection, settings, source, auditors, opinions, now)
    if max_cost is None:
        # What the first opinion has shown is worth waiting for other audits to end, which frees what they might have cost.
        if final or open_audit.is_root or waited:
            deciding.answer_missing(connection, context, opinions, open_audit, UNAFFORDABLE, ids.follow_up)
        return
    _submit(connection, context, source, opinions, open_audit, payload, restrictions, max_cost, ids)


def _submit(
    connection: Connection,
    context: Context,
    source: JobRecord,
    opinions: Sequence[AuditRecord],
    audit: AuditRecord,
    payload: bytes,
    restrictions: Restrictions,
    max_cost: int,
    ids: NewIds,
) -> None:
    now = context.clock()
    funds.ensure_accounts(connection, now)
    # The money is there before the job is submitted, as for jobs of clients.
    funds.fund(connection, funds.AUDITS, ids.tx_id, max_cost, now)
    record = JobRecord(
        life=Job(
            job_id=ids.job_id,
            state=JobState.SUBMITTED,
            timeout_seconds=source.life.timeout_seconds,
            max_attempts=context.settings.default_max_attempts,
        ),
        account_id=funds.AUDITS,
        service=source.service,
        type=source.service,
        name=NAME,
        model=source.model,
        spec=payload.decode(),
        spec_digest=sha256_hex(payload),
        cpu_millis=source.cpu_millis,
        memory=source.memory,
        gpus=source.gpus,
        priority=0,
        max_cost=max_cost,
        fee_ppm=int(context.settings.fee_percent * 10_000),
        requested_miner_id=None,
        missing_files=None,
        created_at=now,
        needs=source.needs,
        restrictions=queue.format_restrictions(restrictions),
    )
    lifecycle.create(connection, record)
    # An earlier audit job has all files already, also those that the client has deleted since.
    earlier = _earlier_job(opinions)
    if earlier is None:
        canaries.copy_inputs(connection, source.job_id, record.job_id, with_outputs=True)
    else:
        canaries.copy_inputs(connection, earlier, record.job_id, with_outputs=False)
    if audit.audit_job_id is not None:  # its run failed, and what it contained is in the new one
        deciding.delete_data(connection, audit.audit_job_id, now)
        unspent = max(0, opinions[0].charged - audits.cost_of(connection, [audit.audit_job_id]))
        # What the failed run has cost is no longer available for the opinion, nor for a refund.
        audits.change(connection, opinions[0].audit_id, charged=unspent)
    audits.change(
        connection,
        audit.audit_id,
        audit_job_id=record.job_id,
        status=audits.RUNNING,
        asked=audit.asked + 1,
        # The evidence is part of the audit job now. A second copy would only take space.
        evidence=None,
    )


def _earlier_job(opinions: Sequence[AuditRecord]) -> str | None:
    """Return an audit job of this audit: it contains everything that the next one needs."""
    return next(iter(audits.audit_jobs_of(opinions)), None)


def _specification(
    connection: Connection,
    context: Context,
    source: JobRecord,
    opinions: Sequence[AuditRecord],
    job_id: str,
) -> bytes | None:
    """Return the specification of an audit job as canonical JSON, or None if its data was deleted or cannot be read.

    Results and evidence are stored as canonical JSON and are inserted as they are: all other writes wait for this transaction.
    """
    # All auditors compare the same specification, so that their opinions are about the same thing.
    earlier = _earlier_job(opinions)
    if earlier is not None:
        record = jobs.find(connection, earlier)
        if record is None or record.deleted_at is not None:
            return None
        return _renamed(record.spec, earlier, job_id)
    root = opinions[0]
    results = jobs.results_of(connection, source.job_id)
    receipt = receipts.of_job(connection, source.job_id)
    if source.deleted_at is not None or results is None or receipt is None or source.is_opaque:
        return None
    spec: dict[str, Any] = orjson.loads(source.spec)
    signed = orjson.loads(base64.b64decode(orjson.loads(receipt.receipt)["envelope"]["payload"]))
    canary = None if root.canary_id is None else canaries.find(connection, root.canary_id)
    if canary is not None and canary.deleted_at is not None:  # the known answer was deleted
        return None
    # After the results, the statement lists the files in them; that it does was checked when it was accepted.
    outputs = signed["subject"][1:]
    files = {f"audit:{item['name']}": f"artifact:sha256:{item['digest']['sha256']}" for item in outputs}
    inserted = {"results": results, "evidence": root.evidence or "null"}
    # Random marks: a client cannot guess one and have its own text replaced.
    marks = {name: secrets.token_hex() for name in inserted}
    payload = canonical_json(
        {
            **spec,
            "job_id": job_id,
            "files": {**spec["files"], **files},
            "audit": {
                **marks,
                "statement": signed,
                "nonce": lease_nonce(nonce_key(bytes(context.signer.key)), source.job_id, root.fence),
                "answer": None if canary is None else orjson.loads(canary.results),
            },
        }
    )
    for name, mark in marks.items():
        payload = payload.replace(f'"{mark}"'.encode(), inserted[name].encode(), 1)
    return payload


def _renamed(spec: str, earlier: str, job_id: str) -> bytes:
    """Return the specification of an audit job with the id of another one.

    The id of the earlier job is random and younger than everything else in its specification, so it occurs once.
    """
    return spec.replace(f'"job_id":"{earlier}"', f'"job_id":"{job_id}"', 1).encode()
