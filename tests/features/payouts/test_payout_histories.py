"""Random histories of earnings, forfeits, batches, repeated and outdated answers: the books balance, and nobody is paid twice."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from sqlalchemy import Connection, insert

from agent.coordinator.features.log.fsck import examine
from agent.coordinator.features.log.sequencer import integrate
from agent.coordinator.features.payouts import batches
from agent.coordinator.features.payouts.adapter import Answer, NewTransfer, Outcome, Prepared, Report
from agent.coordinator.features.payouts.adapters.installed import Adapters
from agent.coordinator.features.payouts.batches import NewBatch
from agent.coordinator.features.payouts.rules import DAY_SECONDS, BatchState, TransferState
from agent.coordinator.features.payouts.settings import PayoutSettings
from agent.coordinator.features.payouts.store import addresses as payout_addresses
from agent.coordinator.features.payouts.store import batches as store
from agent.coordinator.features.payouts.store import bookings
from agent.coordinator.features.payouts.store import checks as payout_checks
from agent.coordinator.features.payouts.store import transfers as payout_transfers
from agent.coordinator.features.payouts.store.addresses import AddressRecord
from agent.coordinator.features.payouts.store.batches import PayoutRecord
from agent.coordinator.features.payouts.store.transfers import Outdated, TransferRecord
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.operations.callers import Caller
from agent.coordinator.signer import Signer
from agent.coordinator.store import ledger
from agent.coordinator.store.ledger import TransactionKind
from agent.coordinator.store.schema import upgrade
from agent.coordinator.store.schema.tables import accounts, miners
from agent.coordinator.store.sqlite import database as engine
from agent.core.errors import Conflict
from agent.core.market.ledger import ISSUED, Posting, available, earned, entry
from agent.core.values.quantities import make_id
from aitbc.answers.accounts import Role
from aitbc.answers.payouts import PaymentState

MINERS = tuple(f"miner_{letter * 26}" for letter in "abc")
SIGNER = Signer("log.test", SigningKey(b"l" * 32))
BANK = SimpleNamespace(name="bank", currencies={"EUR": 2}, by_hand=False)
ADMIN = Caller(Role.ADMIN, key_id="key_1")


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Return a connection to a database with three miners that have addresses, in a transaction."""
    path: Path = tmp_path_factory.mktemp("payouts") / "coordinator.db"
    made = engine._engine(path, readers=1, read_only=False)
    with made.connect() as connection:
        upgrade.prepare(connection)
        with connection.begin():
            connection.execute(insert(accounts).values(account_id="account_1", name="a", created_at=0))
            for miner_id in MINERS:
                values = dict.fromkeys(("capabilities", "telemetry", "runners"), "{}")
                connection.execute(
                    insert(miners).values(
                        miner_id=miner_id, public_key=miner_id.encode(), name="m", session=1, session_sha256=miner_id, registered_at=0, seen_at=0, **values
                    )
                )  # fmt: skip
                record = AddressRecord(miner_id, 1, "bank", "EUR", "account", "{}", 0, 0)
                payout_addresses.add(connection, record)
            yield connection
    made.dispose()


class History:
    """What happens to a coordinator, and what the receivers of its transfers have seen."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.now = 1000.0 * DAY_SECONDS
        self.numbers = itertools.count()
        self.given: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.outdated: list[TransferRecord] = []
        payouts = PayoutSettings(
            hold_hours=24, new_miner_hours=0, minimum="0.00000001", adapters=(), retry_seconds=1
        )
        self.worker = PayoutWorker(
            SimpleNamespace(),
            payouts,
            Adapters({"bank": BANK}),
            lambda: self.now,  # type: ignore[arg-type, dict-item]
        )
        self.context: Any = SimpleNamespace(
            part=lambda _: self.worker, signer=SIGNER, clock=lambda: self.now, new_id=self.new_id
        )

    def new_id(self, prefix: str) -> str:
        return make_id(prefix, self.now, next(self.numbers).to_bytes(10, "big"))

    def book(self, kind: TransactionKind, *postings: Posting) -> None:
        ledger.add_booking(
            self.connection, self.new_id("tx"), kind, "account_1", 1, entry(postings), note="", now=self.now
        )

    def earn(self, number: int) -> None:
        miner_id, amount = MINERS[number % 3], 10**8 * (1 + number)
        self.book(TransactionKind.CREDIT, Posting(ISSUED, -amount), Posting(earned(miner_id), amount))
        row = {"miner_id": miner_id, "day": int(self.now // DAY_SECONDS), "jobs": 1, "earned": amount}
        miner_stats._earn.run(self.connection, row)
        self.given[miner_id] += amount

    def forfeit(self, number: int) -> None:
        miner_id, amount = MINERS[number % 3], 10**8 * (1 + number)
        self.book(
            TransactionKind.DEBIT, Posting(earned(miner_id), -amount), Posting(available("account_1"), amount)
        )
        self.given[miner_id] -= amount

    def wait(self, number: int) -> None:
        self.now += number * DAY_SECONDS / 4

    def create(self, number: int) -> None:
        plan = batches._plan(
            self.context, NewBatch("bank", "0.0137", cut_off=self.now - number * DAY_SECONDS / 8)
        )
        with suppress(Conflict):
            batches._create(self.connection, self.context, ADMIN, plan)

    def batch(self, number: int) -> str | None:
        found = store.all_batches(self.connection)
        return found[number % len(found)].batch_id if found else None

    def approve(self, number: int) -> None:
        with suppress(Conflict):
            if (batch_id := self.batch(number)) is not None:
                batches._approve(self.connection, self.context, ADMIN, batch_id)

    def cancel(self, number: int) -> None:
        with suppress(Conflict):
            if (batch_id := self.batch(number)) is not None:
                batches._cancel(self.connection, self.context, ADMIN, batch_id)

    def prepare(self, number: int) -> None:
        """Prepare some payments, with a transfer for one or two of them; one may be refused."""
        for batch in store.to_prepare(self.connection, "bank"):
            found = store.of_batch(self.connection, batch.batch_id, PaymentState.APPROVED)[: 1 + number % 3]
            refused = {found[0].payout_id: "no"} if found and number % 5 == 0 else {}
            ids = [one.payout_id for one in found if one.payout_id not in refused]
            nonces = payout_transfers.highest_nonces(self.connection, "bank")
            transfers = (
                (NewTransfer(tuple(ids), b"x", batch.batch_id, "till", nonces.get("till", 0) + 1),)
                if ids
                else ()
            )
            self.worker._store_prepared(self.connection, batch, Prepared(transfers, refused))
            if transfers:
                with pytest.raises(Outdated), self.connection.begin_nested():
                    self.worker._store_prepared(self.connection, batch, Prepared(transfers))

    def call(self, number: int) -> None:
        """Send or poll the transfers that are due. A kill may lose the answer, so that the call is repeated."""
        for transfer in payout_transfers.due(self.connection, "bank", self.now, 10):
            claimed = payout_transfers.claim(self.connection, transfer, self.now + 60)
            assert claimed is not None
            assert payout_transfers.claim(self.connection, transfer, self.now + 60) is None
            if number % 4 == 0:
                self.outdated.append(claimed)
            elif number % 4 == 1:
                payout_transfers.record_failure(self.connection, claimed, "away", self.now + 1)
            else:
                self.answer(claimed, number)

    def answer(self, claimed: TransferRecord, number: int) -> None:
        sends = claimed.state == TransferState.PREPARED
        payments = store.of_transfer(self.connection, claimed.transfer_id)
        reports = ()
        if not sends or number % 7 == 0:
            reports = tuple(Report(one.payout_id, self.outcome(one, number)) for one in payments)
        content = b"y" if not sends and number % 6 == 0 else None
        ended = self.worker._store_answer(
            self.connection, claimed, Answer(reports, content=content), sends=sends
        )
        for one in ended:
            if one.state == PaymentState.CONFIRMED:
                self.paid[one.payout_id] += 1

    def outcome(self, payment: PayoutRecord, number: int) -> Outcome:
        return (Outcome.CONFIRMED, Outcome.FAILED, Outcome.SENT)[(payment.position + number) % 3]

    def resume(self, number: int) -> None:
        """Start another leader; answers of the previous one that come now change nothing."""
        self.now += 1
        payout_transfers.resume(self.connection, "bank", self.now)
        before = payout_transfers.due(self.connection, "bank", self.now, 100)
        for claimed in self.outdated:
            self.answer(replace(claimed, content=b"outdated"), number | 2)
        assert payout_transfers.due(self.connection, "bank", self.now, 100) == before
        self.outdated.clear()

    def check(self) -> None:
        assert [*ledger.problems(self.connection), *bookings.problems(self.connection)] == []
        assert payout_checks.problems(self.connection) == []
        assert set(self.paid.values()) <= {1}
        ids = {
            one.payout_id
            for batch in store.all_batches(self.connection)
            for one in store.of_batch(self.connection, batch.batch_id, PaymentState.CONFIRMED)
        }
        assert ids == set(self.paid)
        for miner_id in MINERS:
            paid_out, pending = store.totals_of_miner(self.connection, miner_id)
            left = ledger.balance(self.connection, earned(miner_id))
            assert left + pending + paid_out == self.given[miner_id]


STEPS = (
    "earn",
    "forfeit",
    "wait",
    "create",
    "approve",
    "cancel",
    "prepare",
    "call",
    "call",
    "call",
    "resume",
)


@settings(
    max_examples=settings().max_examples * 8 // 100,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 20)), min_size=15, max_size=50))
def test_random_histories(connection: Connection, steps: list[tuple[str, int]]) -> None:
    with connection.begin_nested() as savepoint:
        history = History(connection)
        for number in range(6):
            history.earn(number)
        history.wait(9)
        for name, number in steps:
            getattr(history, name)(number)
            history.check()
        integrate(connection, SIGNER, history.now)
        found = examine(connection, SIGNER.vkey, {}, EXAMINERS)
        assert [one for one in found.problems if one.kind != "unlogged" or "payout" in one.message] == []
        savepoint.rollback()


def test_half_a_year_of_payouts_leaves_nobody_unpaid(connection: Connection) -> None:
    """Weekly batches whose answers fail, get lost and come late: what was earned is paid once, within weeks of the last job."""
    chance = random.Random(20)  # noqa: S311 - a repeatable half year
    with connection.begin_nested() as savepoint:
        history = History(connection)
        for _ in range(26):
            for _ in range(5):
                history.earn(chance.randrange(21))
            if chance.random() < 0.2:
                history.forfeit(chance.randrange(21))
            _week(history, chance)
            history.check()
        while _unpaid(connection):
            assert history.now < 1300 * DAY_SECONDS, "money is stuck"
            _week(history, chance)
        history.check()
        assert len(history.paid) > 26
        integrate(connection, SIGNER, history.now)
        problems = examine(connection, SIGNER.vkey, {}, EXAMINERS).problems
        assert not [
            problem for problem in problems if problem.kind != "unlogged" or "payout" in problem.message
        ]
        savepoint.rollback()


def _week(history: History, chance: random.Random) -> None:
    """Work on the payments of seven days, then approve a batch of what was earned."""
    for _ in range(7):
        history.wait(4)
        history.prepare(chance.randrange(1, 21))
        for _ in range(3):
            history.call(chance.randrange(21))
        if chance.random() < 0.1:
            history.resume(chance.randrange(21))
    history.create(0)
    for number in range(len(store.all_batches(history.connection))):
        history.approve(number)


def _unpaid(connection: Connection) -> bool:
    pending = any(not BatchState(batch.state).final for batch in store.all_batches(connection))
    return pending or any(ledger.balance(connection, earned(miner_id)) > 0 for miner_id in MINERS)
