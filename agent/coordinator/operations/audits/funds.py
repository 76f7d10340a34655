"""The money of audits: the account that pays for them, its budget, and what is taken from a miner that is proven wrong."""

from __future__ import annotations

from typing import Final

from agent.coordinator.operations.context import Connection
from agent.coordinator.store import access as access_store
from agent.coordinator.store import audits as store
from agent.coordinator.store import ledger, locks
from agent.coordinator.store.ledger import Kind
from agent.core.market.ledger import FEES, ISSUED, available, earned, forfeit, funding, transfer
from agent.core.values.quantities import make_id, to_units
from agent.settings.audits import AuditSettings

AUDITS: Final = "account_audits"
"""The account that audit jobs belong to."""
VERDICTS: Final = "account_verdicts"
"""The client as which verdicts count for the reputation of miners. It owns nothing."""
DAY_SECONDS: Final = 86_400.0


def ensure_accounts(connection: Connection, now: float) -> None:
    """Create the accounts of audits unless they exist."""
    for account_id, name in ((AUDITS, "audits"), (VERDICTS, "verdicts of audits")):
        access_store.ensure_account(connection, account_id, name, now)


def fits_budget(connection: Connection, settings: AuditSettings, cost: int, now: float) -> bool:
    """Return whether the jobs of audits and canaries may cost so much more today, in units of 1e-8."""
    accounts = [AUDITS, *filter(None, [store.canary_account(connection)])]
    first = make_id("tx", max(0.0, now - DAY_SECONDS), bytes(10))
    return store.spent_since(connection, accounts, first) + cost <= to_units(settings.budget_per_day)


def fund(connection: Connection, account_id: str, tx_id: str, cost: int, now: float) -> None:
    """Give an account what it lacks for a job, from the operator's fees, or else by issuing money."""
    locks.account(connection, account_id)
    missing = cost - ledger.balance(connection, available(account_id))
    if missing <= 0:
        return
    locks.issued(connection)
    from_fees = max(0, min(missing, ledger.balance(connection, FEES)))
    entry = funding(account_id, missing, from_fees, ledger.balance(connection, ISSUED))
    note = "for audits" if account_id == AUDITS else ""
    ledger.add_booking(connection, tx_id, Kind.FUNDING, account_id, missing, entry, note=note, now=now)


def charge(connection: Connection, account_id: str, job_id: str, tx_id: str, amount: int, now: float) -> None:
    """Have a client pay for the audit that it has requested."""
    if amount:
        ensure_accounts(connection, now)
        entry = transfer(available(account_id), available(AUDITS), amount)
        note = f"audit of {job_id}"
        ledger.add_booking(connection, tx_id, Kind.AUDIT, account_id, amount, entry, note=note, now=now)


def refund(connection: Connection, account_id: str, job_id: str, tx_id: str, amount: int, now: float) -> None:
    """Give a client back what it paid for an audit for which there was no auditor. Missing money is issued."""
    if amount:
        fund(connection, AUDITS, f"{tx_id}f", amount, now)
        entry = transfer(available(AUDITS), available(account_id), amount)
        note = f"no audit of {job_id}"
        ledger.add_booking(connection, tx_id, Kind.REFUND, account_id, amount, entry, note=note, now=now)


def take_back(
    connection: Connection,
    *,
    tx_id: str,
    job_id: str,
    account_id: str,
    miner_id: str,
    audit_id: str,
    now: float,
) -> int:
    """Take the pay of a job from its miner, and give it back to the client with the operator's fee. Return what the miner lost.

    What the miner no longer has cannot be taken, and is lost to the client.
    """
    payment = ledger.payment_id(job_id)
    pay = store.earned_by(connection, payment, earned(miner_id))
    fee = store.earned_by(connection, payment, FEES)
    locks.earnings(connection, [miner_id])
    taken = max(0, min(pay, ledger.balance(connection, earned(miner_id))))
    if not taken + fee:
        return 0
    locks.issued(connection)
    from_fees = max(0, min(fee, ledger.balance(connection, FEES)))
    entry = forfeit(account_id, miner_id, taken, fee, from_fees)
    ledger.add_booking(
        connection,
        tx_id,
        Kind.FORFEIT,
        account_id,
        taken + fee,
        entry,
        note=f"{audit_id}: the result of {job_id} was wrong",
        now=now,
        miner_id=miner_id,
        fee=fee,
    )
    return taken
