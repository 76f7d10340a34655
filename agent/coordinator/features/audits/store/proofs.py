"""What audits have shown of each miner and auditor, by service and model."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, func, select, text

from agent.coordinator.features.audits.rules import USELESS, Counts, Standing
from agent.coordinator.features.audits.tables import audit_proofs
from agent.coordinator.store.prepared import Prepared

MINER: Final = "miner"
"""The role of a miner whose work is checked."""
AUDITOR: Final = "auditor"

_is_standing = (
    audit_proofs.c.miner_id == bindparam("miner"),
    audit_proofs.c.role == bindparam("in_role"),
    audit_proofs.c.service == bindparam("of_service"),
    audit_proofs.c.model == bindparam("of_model"),
)
_standing = Prepared(
    select(
        audit_proofs.c.engine, audit_proofs.c.passes, audit_proofs.c.checked, audit_proofs.c.failed,
        audit_proofs.c.canaries_checked, audit_proofs.c.canaries_failed, audit_proofs.c.unproven, audit_proofs.c.at_fault,
        audit_proofs.c.refuted_in_row,
    ).where(*_is_standing)
)  # fmt: skip
_save_standing = Prepared(
    text(
        "INSERT INTO audit_proofs (miner_id, role, service, model, engine, passes, checked, failed, canaries_checked, canaries_failed, "
        "unproven, at_fault, refuted_in_row) VALUES (:miner, :in_role, :of_service, :of_model, :engine, :passes, :checked, :failed, "
        ":canaries_checked, :canaries_failed, :unproven, :at_fault, :refuted_in_row) "
        "ON CONFLICT (miner_id, role, service, model) DO UPDATE SET engine = excluded.engine, passes = excluded.passes, "
        "checked = excluded.checked, failed = excluded.failed, canaries_checked = excluded.canaries_checked, "
        "canaries_failed = excluded.canaries_failed, unproven = excluded.unproven, at_fault = excluded.at_fault, refuted_in_row = excluded.refuted_in_row"
    )
)


def find(connection: Connection, miner_id: str, role: str, service: str, model: str) -> Standing:
    """Return what audits have shown of a miner or an auditor."""
    key = {"miner": miner_id, "in_role": role, "of_service": service, "of_model": model}
    row = _standing.row(connection, key)
    if row is None:
        return Standing()
    engine, passes, checked, failed, canaries_checked, canaries_failed, *unproven = row
    return Standing(
        engine, passes, Counts(checked, failed), Counts(canaries_checked, canaries_failed), *unproven
    )


def save(
    connection: Connection, miner_id: str, role: str, service: str, model: str, standing: Standing
) -> None:
    """Store what audits have shown. The caller has locked the miner's statistics."""
    values = {
        "miner": miner_id,
        "in_role": role,
        "of_service": service,
        "of_model": model,
        "engine": standing.engine,
        "passes": standing.passes,
        "checked": standing.organic.checked,
        "failed": standing.organic.failed,
        "canaries_checked": standing.canaries.checked,
        "canaries_failed": standing.canaries.failed,
        "unproven": standing.unproven,
        "at_fault": standing.at_fault,
        "refuted_in_row": standing.refuted_in_row,
    }
    _save_standing.run(connection, values)


def of_miner(connection: Connection, miner_id: str) -> list[tuple[str, str, str, Standing]]:
    """Return role, service, model and standing of everything that audits have shown of a miner."""
    keys = (audit_proofs.c.role, audit_proofs.c.service, audit_proofs.c.model)
    query = select(*keys).where(audit_proofs.c.miner_id == miner_id).order_by(*keys)
    return [
        (role, service, model, find(connection, miner_id, role, service, model))
        for role, service, model in connection.execute(query)
    ]


def useless_auditors(connection: Connection, service: str, model: str) -> set[str]:
    """Return the auditors that have proven nothing for so long that others are asked first."""
    query = select(audit_proofs.c.miner_id).where(
        audit_proofs.c.role == AUDITOR,
        audit_proofs.c.service == service,
        audit_proofs.c.model == model,
        audit_proofs.c.refuted_in_row >= USELESS,
    )
    return set(connection.execute(query).scalars())


def unproven_opinions(connection: Connection) -> int:
    """Return how many opinions of auditors prove nothing."""
    counted = func.coalesce(func.sum(audit_proofs.c.unproven), 0)
    query = select(counted).where(audit_proofs.c.role == AUDITOR)
    return int(connection.execute(query).scalar_one())
