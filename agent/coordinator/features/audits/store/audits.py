"""Audits: the rows of their opinions, what they cost, and their leaves in the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)

from agent.coordinator.features.audits.rules import AuditKind, UnprovenCause, Verdict
from agent.coordinator.features.audits.tables import audits
from agent.coordinator.features.log.tables import log_leaves, log_queue
from agent.coordinator.store import records
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import jobs, postings, transactions

WAITING: Final = "waiting"
"""No auditor has the audit job."""
RUNNING: Final = "running"
DECIDED: Final = "decided"
FINAL: Final = ("completed", "failed", "cancelled")
ERASED: Final = "The job's data was deleted, and with it what the auditor wrote."


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An opinion that an auditor gives, or is to give. The `root` of an audit is its first opinion.

    `opinion` is what the auditor said, `verdict` what follows: for a root, the decision of all opinions. `evidence`, `distances` and
    `limits` are JSON, `probability` is that of sanctioning an honest miner; money is in units of 1e-8. `model` is empty for services
    without models. `charged` is the client's payment, less what it got back and what runs without an opinion have cost. `cause` is why
    it proves nothing, and `contradiction` what the miner has stated other than it registered.
    """

    audit_id: str
    root: str
    kind: str
    job_id: str
    account_id: str
    miner_id: str
    fence: int
    service: str
    model: str
    engine: str
    created_at: float
    status: str = WAITING
    evidence: str | None = None
    canary_id: str | None = None
    audit_job_id: str | None = None
    asked: int = 0
    auditor_id: str | None = None
    opinion: str | None = None
    verdict: str | None = None
    distances: str = "{}"
    limits: str = "{}"
    position: str = ""
    reason: str = ""
    salt: str = ""
    cause: str = ""
    contradiction: str = ""
    decided_at: float | None = None
    settled_at: float | None = None
    probability: float | None = None
    enforced: int = 0
    forfeited: int = 0
    charged: int = 0

    @property
    def is_root(self) -> bool:
        """Whether this is the first opinion of its audit."""
        return self.root == self.audit_id

    def another(self, kind: AuditKind, audit_id: str, now: float) -> AuditRecord:
        """Return a further opinion for the audit whose root this is, not asked for yet."""
        return AuditRecord(
            audit_id=audit_id,
            root=self.audit_id,
            kind=kind.value,
            job_id=self.job_id,
            account_id=self.account_id,
            miner_id=self.miner_id,
            fence=self.fence,
            service=self.service,
            model=self.model,
            engine=self.engine,
            created_at=now,
            canary_id=self.canary_id,
        )


_COLUMNS = records.columns(audits, AuditRecord)
_insert = Prepared(insert(audits))
_of_job = Prepared(
    select(*_COLUMNS).where(audits.c.job_id == bindparam("key"), audits.c.root == audits.c.audit_id)
)
UNEARNED: Final = "u"
"""What the id of a transaction ends in that takes back a part of an opinion's pay. The rest is that of the payment."""
_take_back = transactions.alias("taken")
_COST: ColumnElement[int] = literal_column(
    "CASE WHEN transactions.status = 'pending' THEN transactions.held ELSE transactions.paid END"
) - func.coalesce(_take_back.c.paid, 0)
_paid = transactions.outerjoin(_take_back, _take_back.c.tx_id == transactions.c.tx_id + UNEARNED)
_OPEN = text("audits.decided_at IS NULL")
_UNSETTLED = text("decided_at IS NOT NULL AND settled_at IS NULL")


def add(connection: Connection, record: AuditRecord) -> None:
    """Store a new audit, or a further opinion for one."""
    _insert.run(connection, records.values(record))


def find(connection: Connection, audit_id: str) -> AuditRecord | None:
    """Return the audit, or None."""
    return _one(connection, select(*_COLUMNS).where(audits.c.audit_id == audit_id))


def lock(connection: Connection, root: str) -> list[AuditRecord]:
    """Return all opinions of an audit, the root first. No other transaction changes them until this one ends."""
    # The root's row stands for the whole audit: opinions that are added later are covered by the same lock.
    connection.execute(select(audits.c.audit_id).where(audits.c.audit_id == root).with_for_update())
    return opinions_of(connection, root)


def opinions_of(connection: Connection, root: str) -> list[AuditRecord]:
    """Return all opinions of an audit, the root first."""
    return _all(connection, select(*_COLUMNS).where(audits.c.root == root).order_by(audits.c.audit_id))


def of_job(connection: Connection, job_id: str) -> AuditRecord | None:
    """Return the audit of a job, or None."""
    row = _of_job.row(connection, {"key": job_id})
    return None if row is None else AuditRecord(*row)


def change(connection: Connection, audit_id: str, **values: Any) -> None:
    """Change a row. The caller has locked the audit."""
    connection.execute(update(audits).where(audits.c.audit_id == audit_id).values(**values))


def erase_words(connection: Connection, job_ids: Sequence[str]) -> None:
    """Erase what auditors have written about jobs, which may quote their results. Verdicts, distances and limits remain.

    Without the salt, nobody can guess the words from their digest in the log, which remains too.
    """
    row = update(audits).where(audits.c.job_id.in_(job_ids), audits.c.opinion.is_not(None))
    connection.execute(row.values(position="", reason=ERASED, salt=""))


def unasked(connection: Connection, limit: int) -> list[str]:
    """Return the roots of audits of which an opinion has no audit job yet, oldest first."""
    query = select(audits.c.root).where(_OPEN, audits.c.status == WAITING, audits.c.opinion.is_(None))
    return list(dict.fromkeys(connection.execute(query.order_by(audits.c.audit_id).limit(limit)).scalars()))


def unasked_of_jobs(connection: Connection, of_jobs: Select[str], limit: int) -> list[str]:
    """Return the audits that have no audit job yet, of the jobs that the query finds."""
    query = select(audits.c.root).where(
        _OPEN,
        audits.c.root == audits.c.audit_id,
        audits.c.audit_job_id.is_(None),
        audits.c.job_id.in_(of_jobs),
    )
    return list(connection.execute(query.order_by(audits.c.audit_id).limit(limit)).scalars())


def answered(connection: Connection, limit: int) -> list[str]:
    """Return the roots of audits of which an audit job has ended and its opinion is not known yet, oldest first."""
    query = (
        select(audits.c.root)
        .join(jobs, jobs.c.job_id == audits.c.audit_job_id)
        .where(_OPEN, audits.c.status == RUNNING, audits.c.opinion.is_(None), jobs.c.state.in_(FINAL))
    )
    return list(dict.fromkeys(connection.execute(query.order_by(audits.c.audit_id).limit(limit)).scalars()))


def unanswered(connection: Connection, created_before: float, limit: int) -> list[str]:
    """Return audit jobs submitted before this time that no auditor has claimed."""
    query = (
        select(jobs.c.job_id)
        .join(audits, jobs.c.job_id == audits.c.audit_job_id)
        .where(
            _OPEN, audits.c.opinion.is_(None), jobs.c.state == "submitted", jobs.c.created_at < created_before
        )
    )
    return list(connection.execute(query.limit(limit)).scalars())


def unsettled(connection: Connection, decided_before: float, limit: int) -> list[str]:
    """Return the roots of decided audits of which nothing has followed yet: failed ones only if they were decided before this time."""
    query = select(audits.c.audit_id).where(
        _UNSETTLED,
        audits.c.root == audits.c.audit_id,
        # Only a failed audit waits, because its miner may ask for a second opinion.
        or_(audits.c.verdict != Verdict.FAIL.value, audits.c.decided_at <= decided_before),
    )
    return list(connection.execute(query.order_by(audits.c.audit_id).limit(limit)).scalars())


def jobs_in_use(connection: Connection) -> set[str]:
    """Return the jobs whose data audits still need: the audited jobs and audit jobs of audits that are not settled."""
    rows_in_use = [
        connection.execute(select(audits.c.job_id, audits.c.audit_job_id).where(condition))
        for condition in (_OPEN, _UNSETTLED)
    ]
    return {job_id for rows in rows_in_use for row in rows for job_id in row if job_id is not None}


def anything_open(connection: Connection) -> bool:
    """Return whether any audit is undecided or unsettled."""
    undecided = select(audits.c.audit_id).where(_OPEN)
    unfinished = select(audits.c.audit_id).where(_UNSETTLED)
    return any(connection.execute(query.limit(1)).first() is not None for query in (undecided, unfinished))


def failed_of(connection: Connection, miner_id: str, service: str, model: str) -> list[AuditRecord]:
    """Return the audits of a miner in a service and model that count as failed and are not sanctioned yet, oldest first."""
    query = select(*_COLUMNS).where(
        or_(text("verdict = 'fail'"), audits.c.cause == UnprovenCause.REGISTRATION.value),
        audits.c.root == audits.c.audit_id,
        audits.c.miner_id == miner_id,
        audits.c.service == service,
        audits.c.model == model,
        audits.c.enforced == 0,
    )
    return _all(connection, query.order_by(audits.c.audit_id))


def page(
    connection: Connection,
    *,
    miner_id: str | None = None,
    verdict: str | None = None,
    only_decided: bool = False,
    limit: int,
    before_id: str | None,
) -> list[AuditRecord]:
    """Return opinions, newest first, before the id `before_id`; with `only_decided`, those whose audit is decided."""
    conditions: list[ColumnElement[bool]] = []
    if miner_id is not None:
        conditions.append(audits.c.miner_id == miner_id)
    if verdict is not None:
        conditions.append(audits.c.verdict == verdict)
    if before_id is not None:
        conditions.append(audits.c.audit_id < before_id)
    if only_decided:
        root_audit = audits.alias()
        conditions += [
            audits.c.decided_at.is_not(None),
            exists().where(root_audit.c.audit_id == audits.c.root, root_audit.c.decided_at.is_not(None)),
        ]
    query = select(*_COLUMNS).where(*conditions).order_by(audits.c.audit_id.desc()).limit(limit)
    return _all(connection, query)


def agreeing_reasons(connection: Connection, roots: Sequence[str]) -> dict[str, str]:
    """Return why audits have their verdicts: the reason of the first further opinion that agrees, by root."""
    if not roots:
        return {}
    root_audit = audits.alias()
    query = (
        select(audits.c.root, audits.c.reason)
        .join(root_audit, root_audit.c.audit_id == audits.c.root)
        .where(
            audits.c.root.in_(roots),
            audits.c.audit_id != audits.c.root,
            audits.c.opinion == root_audit.c.verdict,
        )
    )
    rows = connection.execute(query.order_by(audits.c.audit_id.desc()))
    return {root: str(reason) for root, reason in rows}  # the first one comes last, and remains


def counted(connection: Connection) -> list[tuple[str, str, int]]:
    """Return how many decided opinions there are by kind and verdict."""
    query = (
        select(audits.c.kind, audits.c.verdict, func.count())
        .where(audits.c.verdict.is_not(None))
        .group_by(audits.c.kind, audits.c.verdict)
    )
    return [(kind, verdict, count) for kind, verdict, count in connection.execute(query)]


def undecided(connection: Connection) -> int:
    """Return how many opinions are asked for."""
    return int(connection.execute(select(func.count()).select_from(audits).where(_OPEN)).scalar_one())


def with_leaves(connection: Connection) -> list[AuditRecord]:
    """Return all decided opinions, oldest first; for `fsck`."""
    decided = audits.c.decided_at.is_not(None)
    return _all(connection, select(*_COLUMNS).where(decided).order_by(audits.c.audit_id))


def _one(connection: Connection, query: Select[*tuple[Any, ...]]) -> AuditRecord | None:
    return records.find(connection, AuditRecord, query)


def _all(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[AuditRecord]:
    return records.find_all(connection, AuditRecord, query)


def spent_since(connection: Connection, account_ids: Sequence[str], first_tx: str) -> int:
    """Return what the jobs of these accounts cost or may still cost, from the first transaction id on, in units of 1e-8."""
    query = (
        select(func.coalesce(func.sum(_COST), 0))
        .select_from(_paid)
        .where(
            transactions.c.account_id.in_(account_ids),
            transactions.c.kind == "payment",
            transactions.c.tx_id >= first_tx,
        )
    )
    return int(connection.execute(query).scalar_one())


def covered_since(connection: Connection, first_audit: str, first_tx: str) -> int:
    """Return how much of what `spent_since` returns clients have paid, in units of 1e-8.

    An audit's payment covers its first costs. Audits before the id `first_audit` are left out.
    """
    root, earlier = audits.alias(), case((transactions.c.tx_id < first_tx, _COST), else_=0)
    opinion = root.join(audits, audits.c.root == root.c.audit_id)
    query = (
        select(root.c.charged, func.sum(_COST), func.sum(earlier))
        .select_from(opinion.join(_paid, transactions.c.job_id == audits.c.audit_job_id))
        .where(root.c.audit_id >= first_audit, root.c.charged > 0)
        .group_by(root.c.audit_id, root.c.charged)
    )
    return sum(
        min(charged, int(cost)) - min(charged, int(cost_before))
        for charged, cost, cost_before in connection.execute(query)
    )


def cost_of(connection: Connection, job_ids: Sequence[str]) -> int:
    """Return what audit jobs cost or may still cost, in units of 1e-8."""
    query = (
        select(func.coalesce(func.sum(_COST), 0)).select_from(_paid).where(transactions.c.job_id.in_(job_ids))
    )
    return int(connection.execute(query).scalar_one())


def earned_by(connection: Connection, tx_id: str, ledger_account: str) -> int:
    """Return what a transaction has added to a ledger account, in units of 1e-8."""
    query = select(func.coalesce(func.sum(postings.c.amount), 0)).where(
        postings.c.tx_id == tx_id, postings.c.ledger_account == ledger_account
    )
    return int(connection.execute(query).scalar_one())


def audit_jobs_of(opinions: Iterable[AuditRecord]) -> list[str]:
    """Return the audit jobs of opinions."""
    return [audit.audit_job_id for audit in opinions if audit.audit_job_id is not None]


def verdicts(connection: Connection) -> Iterator[tuple[str, str]]:
    """Iterate over the references and contents of the verdicts' leaves, numbered or queued."""
    for table in (log_leaves, log_queue):
        query = select(table.c.reference, table.c.content).where(
            table.c.reference.startswith("audit_", autoescape=True)
        )
        for reference, content in connection.execute(query):
            yield reference, content or ""
