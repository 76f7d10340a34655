"""Which finished jobs are audited. Nobody learns the choice before the result is signed: it is drawn when the result has arrived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from agent.coordinator.operations.audits import funds
from agent.coordinator.operations.caches import Fleet
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.supply import fleet
from agent.coordinator.randomness import random_bytes
from agent.coordinator.store import audits as store
from agent.coordinator.store import queue
from agent.coordinator.store.audits import AuditRecord
from agent.coordinator.store.jobs import JobRecord
from agent.core.explaining import checks
from agent.core.market.audits import Kind, share, surcharge
from aitbc.canonical import canonical_json
from aitbc.statement import Statement

_BYTES: Final = 7
UNPROVEN_SEALED: Final = (
    "The job is sealed: only its client and its miner can read what would have to be compared."
)


@dataclass(frozen=True, slots=True)
class Draw:
    """What decides whether a result is audited: a secret random number from 0 to 1, and ids for what may follow.

    `possible` is whether another miner checks work of the service at all.
    """

    number: float
    audit_id: str
    tx_id: str
    possible: bool


def random_number() -> float:
    """Return a random number from 0 to 1 that nobody can foresee."""
    return int.from_bytes(random_bytes(_BYTES)) / float(1 << 8 * _BYTES)


async def draw(context: Context, service: str, miner_id: str) -> Draw:
    """Draw for a result that has arrived. It is drawn once, however often its transaction is tried."""
    possible = has_auditor(await fleet(context), service, miner_id)
    return Draw(random_number(), context.new_id("audit"), context.new_id("tx"), possible)


def has_auditor(known: Fleet, service: str, miner_id: str) -> bool:
    """Return whether another miner that is online checks work of the service."""
    key = ("auditor", service, miner_id)
    if (cached := known.answers.get(key)) is None:
        cached = any(
            miner.online and miner.miner_id != miner_id and checks(miner, service) for miner in known.miners
        )
        known.answers[key] = cached
    return cached


def choose(
    connection: Connection,
    context: Context,
    record: JobRecord,
    statement: Statement,
    evidence: Any,
    drawn: Draw,
    now: float,
) -> None:
    """Have a completed job audited if it is chosen: its client's wish or a known answer decides, or else the draw."""
    restrictions = queue.restrictions_of(record)
    certain = restrictions.audited or restrictions.canary is not None
    if restrictions.audit or not (certain or drawn.possible):
        return
    engine = f"{statement.runner_name} {statement.runner_version}"
    if not certain:
        known = store.standing(
            connection, statement.miner_id, store.MINER, record.service, record.model or ""
        )
        if drawn.number >= share(known, engine, context.settings.audits.least_share):
            return
        if is_sealed(record):
            return
    charged = 0
    if record.audit_hold is not None and record.unit_price is not None:
        charged = surcharge(_price(statement), record.max_cost, record.audit_hold)
        funds.charge(connection, record.account_id, record.job_id, drawn.tx_id, charged, now)
    store.add(
        connection,
        AuditRecord(
            audit_id=drawn.audit_id,
            root=drawn.audit_id,
            kind=(Kind.CHECK if restrictions.canary is None else Kind.CANARY).value,
            job_id=record.job_id,
            account_id=record.account_id,
            miner_id=statement.miner_id,
            fence=statement.fence,
            service=record.service,
            model=record.model or "",
            engine=engine,
            created_at=now,
            evidence=_bounded(evidence, context.settings.audits.max_evidence),
            canary_id=restrictions.canary,
            charged=charged,
        ),
    )


def _bounded(evidence: Any, limit: int) -> str | None:
    """Return evidence as canonical JSON, or None without any or with too much."""
    text = None if evidence is None else canonical_json(evidence)
    return None if text is None or len(text) > limit else text.decode()


def is_sealed(record: JobRecord) -> bool:
    """Return whether only the client and the miner can read the job."""
    return '"sealed":' in record.spec and bool(orjson.loads(record.spec).get("sealed"))


def _price(statement: Statement) -> int:
    return int(statement.price * 10**8)
