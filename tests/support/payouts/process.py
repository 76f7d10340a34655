"""A process that pays batches with a real database, worker and adapters, and is killed at planned points.

The program forks a child for each line `{"configuration": PATH, "batches": N}` that it reads, and writes the child's exit code, so that
a restart costs no imports; the arguments name further modules that it imports once. The child pays until the database has N batches and all of
them have ended. Everything that it does can be repeated.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select

from agent.coordinator.app import build_context
from agent.coordinator.features.payouts import batches, outcomes, worker
from agent.coordinator.features.payouts.adapter import Payment
from agent.coordinator.features.payouts.rules import BatchState
from agent.coordinator.features.payouts.store import addresses as payout_addresses
from agent.coordinator.features.payouts.store import batches as store
from agent.coordinator.features.payouts.store import transfers as payout_transfers
from agent.coordinator.features.payouts.store.addresses import AddressRecord
from agent.coordinator.features.payouts.tables import payout_batches
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.store import access, ledger
from agent.coordinator.store.ledger import TransactionKind
from agent.coordinator.store.schema import tables
from agent.core.market.ledger import ISSUED, Posting, earned, entry
from agent.network import internet
from agent.settings import Settings
from aitbc.answers.accounts import Role
from aitbc.answers.payouts import PaymentState

MINERS = 4
PAYMENTS = 2
"""Payments of a batch."""
LIMIT_SECONDS = 180
EARNED = 150_000_123
ACCOUNT = "account_tester"
ADMIN = Caller(Role.ADMIN, None, None, "admin", "key_admin")


class Configuration:
    """What the parent process wants: settings, the adapter with its currency, the addresses of the miners, and the rate.

    `hand_in`, "module:function", returns what a miner hands in for a payment; None if payments wait for nothing.
    """

    def __init__(self, path: Path) -> None:
        values = json.loads(path.read_text())
        self.settings = Settings(**values["settings"])
        self.adapter: str = values["adapter"]
        self.addresses: list[str] = values["addresses"]
        self.rate: str = values["rate"]
        self.currency: str = values["currency"]
        self.hand_in: str | None = values["hand_in"]


def miner(number: int) -> str:
    return "miner_" + "abcd"[number] * 26


def main() -> None:
    for name in ("agent.coordinator.features.replicas.store.database", *sys.argv[1:]):
        importlib.import_module(name)
    internet()
    codes = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the log goes to standard output
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(_pay(Configuration(Path(request["configuration"])), request["batches"]))
                code = 0
            except BaseException:  # noqa: BLE001 - the child must not go on as another program
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        codes.write(f"{os.waitstatus_to_exitcode(status)}\n")
        codes.flush()


async def _pay(configuration: Configuration, wanted: int) -> None:
    context = build_context(configuration.settings)
    try:
        await context.database.write(_populate, configuration)
        task = asyncio.create_task(context.part(PayoutWorker).run())
        await _create(context, configuration, wanted)
        async with asyncio.timeout(LIMIT_SECONDS):
            while await context.database.read(_unfinished):
                assert not task.done(), task.exception()
                if configuration.hand_in is not None:
                    await _hand_in(context, configuration.adapter, configuration.hand_in)
                if configuration.adapter == "file":
                    await _report(context)
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    finally:
        await context.part(PayoutWorker).close()
        context.database.close()


def _populate(connection: Connection, configuration: Configuration) -> None:
    """Create the miners with their addresses, once."""
    if access.account_exists(connection, ACCOUNT):
        return
    access.add_account(connection, ACCOUNT, "tester", 0.0)
    for number, address in enumerate(configuration.addresses):
        miner_id = miner(number)
        row = {
            "miner_id": miner_id,
            "public_key": number.to_bytes(32, "big"),
            "name": miner_id,
            "session": 1,
            "session_sha256": miner_id,
            "capabilities": "{}",
            "telemetry": "{}",
            "registered_at": 0.0,
            "seen_at": 0.0,
        }
        connection.execute(insert(tables.miners), row)
        payout_addresses.add(
            connection,
            AddressRecord(
                miner_id, 1, configuration.adapter, configuration.currency, address, "{}", 0.0, 0.0
            ),
        )


async def _create(context: Context, configuration: Configuration, wanted: int) -> None:
    """Let miners earn, and create and approve batches until there are as many as wanted."""
    while (present := await context.database.read(_count)) < wanted:
        if present % (MINERS // PAYMENTS) == 0:
            await context.database.write(_earn, present)
        request = batches.NewBatch(configuration.adapter, configuration.rate, max_payments=PAYMENTS)
        await batches.create(context, ADMIN, request)
    for batch in await context.database.read(store.all_batches):
        if batch.state == BatchState.CREATED:
            await batches.approve(context, ADMIN, batch.batch_id)


def _count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(payout_batches)).scalar_one())


def _earn(connection: Connection, round_number: int) -> None:
    """Credit every miner once a round."""
    for number in range(MINERS):
        tx_id = f"tx_earned_{round_number}_{number}"
        if ledger.find(connection, tx_id) is None:
            amount = EARNED + number
            postings = entry((Posting(ISSUED, -amount), Posting(earned(miner(number)), amount)))
            ledger.add_booking(
                connection, tx_id, TransactionKind.CREDIT, ACCOUNT, amount, postings, note="", now=0.0
            )


def _unfinished(connection: Connection) -> int:
    query = select(func.count()).select_from(payout_batches)
    return int(connection.execute(query.where(payout_batches.c.finished_at.is_(None))).scalar_one())


async def _hand_in(context: Context, name: str, function: str) -> None:
    """Hand in what payments wait for."""
    module, _, attribute = function.partition(":")
    text_for: Callable[[Payment], str] = getattr(importlib.import_module(module), attribute)
    adapter = context.part(PayoutWorker).adapters.usable[name]
    for batch in await context.database.read(store.to_prepare, name):
        for payment in await context.database.read(store.of_batch, batch.batch_id, PaymentState.APPROVED):
            if payment.handed_in is None:
                asked = worker.payment_of(payment)
                accepted = json.dumps(dict(adapter.accept(asked, text_for(asked))))
                await context.database.write(payout_transfers.hand_in, payment, accepted)
    context.part(PayoutWorker)._backoffs.clear()
    context.part(PayoutWorker).wake()


async def _report(context: Context) -> None:
    """Report the payments of written files that were polled: those to the last miner have failed, the others have arrived."""
    due = await context.database.read(payout_transfers.due, "file", context.clock(), 1000)
    waiting = {transfer.transfer_id for transfer in due}
    for batch in await context.database.read(store.all_batches):
        if batch.finished_at is not None:
            continue
        sent = await context.database.read(store.of_batch, batch.batch_id, PaymentState.SENT)
        endings = [
            outcomes.Ending(payment.payout_id, payment.miner_id != miner(MINERS - 1))
            for payment in sent
            if payment.transfer_id not in waiting
        ]
        if endings:
            await outcomes.report(context, ADMIN, batch.batch_id, outcomes.Outcomes(endings))


def read_all(connection: Connection) -> dict[str, Any]:
    """Return what a check needs: the payments, and the balances of the ledger."""
    return {
        "payments": [
            payment
            for batch in store.all_batches(connection)
            for payment in store.of_batch(connection, batch.batch_id)
        ],
        "earned": {
            miner(number): ledger.balance(connection, earned(miner(number))) for number in range(MINERS)
        },
    }


if __name__ == "__main__":
    main()
