"""Money for requested audits that a replica without audits has left in escrow, because it settled only a job's `max_cost`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select, update

from agent.coordinator.store import ledger
from agent.coordinator.store.schema.tables import jobs, postings, transactions
from agent.core.market.ledger import available, escrow, transfer

RELEASED: Final = "release"
"""The name of the entry that moves the money back."""


@dataclass(frozen=True, slots=True)
class LeftHold:
    """Money that is in escrow for an ended job, in units of 1e-8."""

    job_id: str
    account_id: str
    amount: int


def left(connection: Connection, first_job: str) -> Sequence[LeftHold]:
    """Return what is left in escrow for ended jobs with a requested audit, from this job's id on."""
    tx_id, amount = ledger.payment_id_of(jobs.c.job_id), func.sum(postings.c.amount)
    query = (
        select(jobs.c.job_id, jobs.c.account_id, amount)
        .join(postings, (postings.c.tx_id == tx_id) & postings.c.ledger_account.startswith(escrow("")))
        .where(jobs.c.job_id >= first_job, jobs.c.audit_hold.is_not(None), jobs.c.finished_at.is_not(None))
        .group_by(jobs.c.job_id, jobs.c.account_id)
        .having(amount > 0)
    )
    return [LeftHold(*row) for row in connection.execute(query)]


def release(connection: Connection, hold: LeftHold) -> bool:
    """Move the money back to its client. Return False, changing nothing, if another replica has done so."""
    tx_id = ledger.payment_id(hold.job_id)
    row = (
        update(transactions)
        .where(transactions.c.tx_id == tx_id, transactions.c.status != ledger.Status.PENDING.value)
        .where(
            ~select(postings.c.tx_id).where(postings.c.tx_id == tx_id, postings.c.entry == RELEASED).exists()
        )
        .values(held=transactions.c.held - hold.amount)  # what was settled, and what the log says
    )
    if connection.execute(row).rowcount != 1:
        return False
    entry = transfer(escrow(hold.account_id), available(hold.account_id), hold.amount)
    ledger.add_entry(connection, tx_id, RELEASED, entry)
    return True
