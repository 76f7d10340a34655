"""Which finished jobs are audited. Nobody learns the choice before the result is signed: it is drawn when the result is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from pydantic import ValidationError

from agent.coordinator.features.audits import funds
from agent.coordinator.features.audits.rules import AuditKind, contradiction, share, surcharge
from agent.coordinator.features.audits.settings import AuditSettings
from agent.coordinator.features.audits.store import audits, proofs
from agent.coordinator.features.audits.store.audits import AuditRecord
from agent.coordinator.hooks import AcceptedResult
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.supply import known_fleet
from agent.coordinator.randomness import random_bytes
from agent.coordinator.store import miners, queue
from agent.coordinator.store.jobs import JobRecord
from agent.core.feasibility import checks
from agent.core.values.quantities import make_id
from agent.sections import section_of
from aitbc.statement import Statement

_BYTES: Final = 7
_ID_BYTES: Final = 10
UNPROVEN_SEALED: Final = (
    "The job is sealed: only its client and its miner can read what would have to be compared."
)
UNPROVEN_OLD: Final = "The job was submitted to an earlier version, whose request this one cannot read."


@dataclass(frozen=True, slots=True)
class AuditDraw:
    """What decides whether a result is audited: secret random bytes, and the time of the draw."""

    secret: bytes
    at: float

    @property
    def number(self) -> float:
        """The number from 0 to 1 that is compared with the audited share."""
        return _fraction(self.secret[:_BYTES])

    @property
    def audit_id(self) -> str:
        """The id of the audit, if there is one."""
        return make_id("audit", self.at, self.secret[-_ID_BYTES:])

    @property
    def tx_id(self) -> str:
        """The id of the client's payment for it, which is not that of a forfeit (`settling`)."""
        return make_id("tx", self.at, self.secret[-_ID_BYTES:]) + "c"


def random_number() -> float:
    """Return a random number from 0 to 1 that nobody can foresee."""
    return _fraction(random_bytes(_BYTES))


def _fraction(secret: bytes) -> float:
    return int.from_bytes(secret) / float(1 << 8 * _BYTES)


def results_accepted(
    connection: Connection, context: Context, results: Sequence[AcceptedResult], now: float
) -> None:
    """Have results audited that are drawn, or that certainly are."""
    for result in results:
        choose(connection, context, result, AuditDraw(random_bytes(_BYTES + _ID_BYTES), now))


def has_auditor(connection: Connection, context: Context, service: str, miner_id: str) -> bool:
    """Return whether a miner of another owner is online that can audit the service."""
    fleet_answers = known_fleet(connection, context)
    key = ("auditor", service, miner_id)
    if (cached := fleet_answers.answers.get(key)) is None:
        auditors = {
            miner.miner_id for miner in fleet_answers.miners if miner.online and checks(miner, service)
        }
        # First without the database: usually no miner checks the service at all, or the miner is the only one.
        auditors.discard(miner_id)
        if auditors:
            auditors -= {miner.miner_id for miner in miners.fleet(connection, miner_id)}
        # Cached with the fleet, since this is asked for each accepted result.
        cached = bool(auditors)
        fleet_answers.answers[key] = cached
    return cached


def choose(connection: Connection, context: Context, result: AcceptedResult, drawn: AuditDraw) -> None:
    """Have a completed job audited if it is chosen: its client's wish or a known answer decides, or else the draw.

    A job for a miner or an offer that its client has chosen is audited only at the client's wish, because the auditor would see it.
    Nor is one drawn of which no audit can prove anything. Too much evidence is not stored.
    """
    record, statement = result.record, result.statement
    evidence = None if result.evidence is None else result.evidence.canonical
    restrictions = queue.restrictions_of(record)
    settings = section_of(context.settings, AuditSettings)
    certain = restrictions.audited or restrictions.canary is not None
    # An audit of an audit would have no end.
    if restrictions.audit:
        return
    engine = f"{statement.runner_name} {statement.runner_version}"
    if not certain:
        if record.requested_miner_id is not None:
            return
        standing = proofs.find(
            connection, statement.miner_id, proofs.MINER, record.service, record.model or ""
        )
        # The number was drawn after the result was accepted, so a miner cannot know which of its jobs are checked.
        if drawn.number >= share(standing, engine, settings.least_share):
            return
        if not has_auditor(connection, context, record.service, statement.miner_id):
            return
        if unprovable(context, record) is not None:
            return
    charged = 0
    if record.surcharge is not None and record.unit_price is not None:
        # The surcharge is a share of what the job did cost, and not of what it might have cost.
        charged = surcharge(_price(statement), record.max_cost, record.surcharge)
        funds.charge(connection, record.account_id, record.job_id, drawn.tx_id, charged, drawn.at)
    audits.add(
        connection,
        AuditRecord(
            audit_id=drawn.audit_id,
            root=drawn.audit_id,
            kind=(AuditKind.CHECK if restrictions.canary is None else AuditKind.CANARY).value,
            job_id=record.job_id,
            account_id=record.account_id,
            miner_id=statement.miner_id,
            fence=statement.fence,
            service=record.service,
            model=record.model or "",
            engine=engine,
            created_at=drawn.at,
            # Too much evidence is left out instead of refused: the result itself is valid.
            evidence=evidence if len(evidence or "") <= settings.max_evidence else None,
            canary_id=restrictions.canary,
            charged=charged,
            contradiction=_contradiction(connection, result),
        ),
    )


def unprovable(context: Context, record: JobRecord) -> str | None:
    """Return why no audit of a job can prove anything, None if one can."""
    if record.is_opaque:
        return UNPROVEN_SEALED
    definition = context.catalogue.services.get(record.service)
    if definition is None or definition.unprovable is None:
        return None
    try:
        return definition.unprovable(orjson.loads(record.spec)["parameters"])
    # A job may be older than this version of its service.
    except ValidationError:
        return UNPROVEN_OLD


def _contradiction(connection: Connection, result: AcceptedResult) -> str:
    """Return what the miner states other than it has registered; empty if nothing."""
    statement = result.statement
    miner = miners.find(connection, statement.miner_id)
    # The miner was removed, so there is no registration that could be contradicted.
    if miner is None:
        return ""
    return contradiction(
        (statement.device_kind, statement.device_name, statement.device_uuid),
        {gpu["uuid"]: gpu["name"] for gpu in orjson.loads(miner.capabilities).get("gpus", ())},
        (statement.service, statement.runner_name, statement.runner_version),
        None if result.evidence is None else result.evidence.values.get("python"),
    )


def _price(statement: Statement) -> int:
    return int(statement.price * 10**8)
