"""What audits have shown of each miner and auditor, by service and model."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, select, text

from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import audit_proofs
from agent.core.market.audits import Counts, Standing

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
        audit_proofs.c.canaries_checked, audit_proofs.c.canaries_failed,
    ).where(*_is_standing)
)  # fmt: skip
_save_standing = Prepared(
    text(
        "INSERT INTO audit_proofs (miner_id, role, service, model, engine, passes, checked, failed, canaries_checked, canaries_failed) "
        "VALUES (:miner, :in_role, :of_service, :of_model, :engine, :passes, :checked, :failed, :canaries_checked, :canaries_failed) "
        "ON CONFLICT (miner_id, role, service, model) DO UPDATE SET engine = excluded.engine, passes = excluded.passes, "
        "checked = excluded.checked, failed = excluded.failed, canaries_checked = excluded.canaries_checked, "
        "canaries_failed = excluded.canaries_failed"
    )
)


def find(connection: Connection, miner_id: str, role: str, service: str, model: str) -> Standing:
    """Return what audits have shown of a miner or an auditor."""
    key = {"miner": miner_id, "in_role": role, "of_service": service, "of_model": model}
    row = _standing.row(connection, key)
    if row is None:
        return Standing()
    engine, passes, checked, failed, canaries_checked, canaries_failed = row
    return Standing(engine, passes, Counts(checked, failed), Counts(canaries_checked, canaries_failed))


def save(connection: Connection, miner_id: str, role: str, service: str, model: str, known: Standing) -> None:
    """Store what audits have shown. The caller has locked the miner's statistics."""
    values = {
        "miner": miner_id,
        "in_role": role,
        "of_service": service,
        "of_model": model,
        "engine": known.engine,
        "passes": known.passes,
        "checked": known.organic.checked,
        "failed": known.organic.failed,
        "canaries_checked": known.canaries.checked,
        "canaries_failed": known.canaries.failed,
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
