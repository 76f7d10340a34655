"""Whether the log's leaves of verdicts and the rows of audits agree, and none is missing."""

from __future__ import annotations

from collections.abc import Iterator

from agent.coordinator.features.audits.rules import AuditKind, Verdict
from agent.coordinator.features.audits.store import audits
from agent.coordinator.features.audits.store.audits import AuditRecord
from agent.coordinator.operations.files.examination import Find
from agent.coordinator.store.database import Connection
from agent.core.values.quantities import from_units
from aitbc.errors import VerificationError
from aitbc.leaves.verdict import Verdict as LoggedVerdict
from aitbc.leaves.verdict import parse_verdict

SANCTION = ":sanction"


def examine(connection: Connection, _origin: str, find: Find) -> tuple[str, int]:
    """Report where the log and the audits differ. Return how many verdicts there are."""
    decided = {record.audit_id: record for record in audits.with_leaves(connection)}
    # A second opinion changes a verdict after its leaf was logged, and leaves are never changed.
    overturned = {
        record.root
        for record in decided.values()
        if record.kind == AuditKind.SECOND_OPINION and record.opinion == Verdict.PASS
    }
    references: set[str] = set()
    for reference, content in audits.verdicts(connection):
        references.add(reference)
        try:
            logged = parse_verdict(content.encode())
        except VerificationError as error:
            find("verdict", reference, f"its leaf is malformed: {error}")
            continue
        # A sanction has a leaf of its own, which belongs to the same audit.
        record = decided.get(reference.removesuffix(SANCTION))
        if record is None:
            find("verdict", reference, "the log has a verdict that the database lacks")
            continue
        differing = list(_differing(logged, record, reference, overturned))
        if differing:
            find("verdict", reference, f"the log and the database differ in {', '.join(differing)}")
    for record in decided.values():
        # Third opinions have no leaf of their own: that of the audit has all of them.
        if (record.is_root or record.kind == AuditKind.SECOND_OPINION) and record.audit_id not in references:
            find("unlogged", record.audit_id, "the verdict has no leaf in the log")
        if record.enforced and f"{record.audit_id}{SANCTION}" not in references:
            find("unlogged", record.audit_id, "the sanction has no leaf in the log")
    return "verdicts", len(references)


def _differing(
    logged: LoggedVerdict, record: AuditRecord, reference: str, overturned: set[str]
) -> Iterator[str]:
    """Yield the names of what differs. A second opinion changes a verdict after its leaf was written."""
    if (logged.job_id, logged.miner_id, logged.kind) != (record.job_id, record.miner_id, record.kind):
        yield "job_id, miner_id or kind"
    changed = record.is_root and record.audit_id in overturned and logged.verdict == Verdict.FAIL
    if record.is_root and logged.verdict != record.verdict and not changed:
        yield "verdict"
    if reference.endswith(SANCTION):
        if logged.sanction is None or logged.sanction.forfeited != from_units(record.forfeited):
            yield "forfeited"
    elif logged.sanction is not None:
        yield "sanction"
