"""Payouts: from balances to batches, approval, sending, proofs, and addresses that only the miner's identity key changes."""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey
from sqlalchemy import true, update

from agent.coordinator.features.log.fsck import examine
from agent.coordinator.features.log.tables import log_leaves
from agent.coordinator.features.payouts import worker
from agent.coordinator.features.payouts.adapter import (
    Answer,
    NewTransfer,
    Outcome,
    Prepared,
    Report,
    Transfer,
)
from agent.coordinator.features.payouts.adapters.installed import Adapters
from agent.coordinator.features.payouts.tables import payouts
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.store import events, ledger
from agent.coordinator.store.schema.tables import balances
from agent.core.market.ledger import earned
from agent.core.values.quantities import parse_time
from aitbc.leaves.payouts import verify_payout
from support.clients.scripted_miner import ScriptedMiner
from support.payouts.stage import (
    SETTINGS,
    approve,
    batch_of,
    create,
    earn,
    rich_miner,
    set_address,
    statement,
    wait_for,
)
from support.server import Served, serve


@dataclass
class FakeBank:
    """An adapter that pays at once, unless a test replaces `outcome`, `sending` or `preparing`."""

    name: str = "bank"
    currencies: dict[str, int] = field(default_factory=lambda: {"EUR": 2})
    by_hand: bool = False
    paid: dict[str, list[bytes]] = field(default_factory=dict)
    outcome: Callable[[str], Outcome] = lambda _: Outcome.CONFIRMED
    sending: Callable[[Transfer], None] = lambda _: None
    preparing: Callable[[], None] = lambda: None

    def check_address(self, address: str, currency: str) -> str:  # noqa: ARG002
        return address.strip()

    async def prepare(self, batch: Any, payments: Any, nonces: dict[str, int]) -> Prepared:  # noqa: ARG002
        self.preparing()
        first = nonces.get("till", 0) + 1
        return Prepared(
            tuple(
                NewTransfer(
                    (one.payout_id,), f"{one.address} {one.amount}".encode(), one.payout_id, "till", first + n
                )
                for n, one in enumerate(payments)
            )
        )

    async def send(self, transfer: Transfer) -> Answer:
        self.sending(transfer)
        self.paid.setdefault(transfer.reference, []).append(transfer.content)
        return Answer()

    async def poll(self, transfer: Transfer) -> Answer:
        found = [(one.payout_id, self.outcome(one.payout_id)) for one in transfer.payments]
        return Answer(tuple(Report(one, what, reason=f"it is {what}", reference="r1") for one, what in found))

    async def close(self) -> None:
        pass


@pytest.fixture
def bank() -> FakeBank:
    return FakeBank()


def has_bank(monkeypatch: pytest.MonkeyPatch, bank: FakeBank) -> None:
    """Have the coordinators that start from now on pay out by the bank too."""
    original = PayoutWorker.__init__

    def with_bank(self: PayoutWorker, database: Any, settings: Any, adapters: Adapters, clock: Any) -> None:
        original(self, database, settings, Adapters({**adapters.usable, "bank": bank}), clock)

    monkeypatch.setattr(PayoutWorker, "__init__", with_bank)


@pytest.fixture
def served(tmp_path: Path, bank: FakeBank, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Run a coordinator that pays out by files and by the bank."""
    has_bank(monkeypatch, bank)
    with serve(tmp_path / "data", open_enrolment=True, payouts=SETTINGS) as served:
        yield served


EVERY_ROW = true()


def problems(served: Served) -> list[str]:
    """Return what `fsck` says about the ledger, the batches and the log."""

    async def read(context: Any) -> list[str]:
        found = await context.database.read(examine, context.signer.vkey, {}, EXAMINERS)
        return [f"{one.where}: {one.message}" for one in found.problems]

    return served.do(read)


def money(served: Served, miner: ScriptedMiner) -> tuple[str, str, str, str]:
    """Return what is available, on hold, pending and paid out."""
    wallet = httpx.get(f"{served.url}/v1/wallet", headers=owner(miner)).raise_for_status().json()
    return wallet["available"], wallet["on_hold"], wallet["pending"], wallet["paid_out"]


def notices(served: Served, **audience: str) -> list[str]:
    """Return the states in the events about payouts that somebody may see."""

    async def read(context: Any) -> list[str]:
        found = await context.database.read(events.after, 0, types={"payout_update"}, **audience)
        return [one.data["status"] for one in found]

    return served.do(read)


def owner(miner: ScriptedMiner) -> dict[str, str]:
    return {"X-API-Key": miner.registration["api_key"]}


def test_a_batch_is_approved_sent_and_confirmed(
    served: Served, client: httpx.Client, admin: httpx.Client, bank: FakeBank, tmp_path: Path
) -> None:
    miners = [rich_miner(served, client, f"account {n}", units=100 + n) for n in range(3)]
    draft = create(admin, adapter="bank", dry_run=True)
    assert (draft["status"], draft["count"]) == ("draft", 0)
    assert [one["reason"] for one in draft["omitted"]] == ["no_address"] * 3
    refused = admin.post("/v1/admin/payouts", json={"adapter": "bank", "rate": "1"})
    assert (refused.status_code, refused.json()["error"]["details"]) == (409, {"reasons": ["no_address"]})

    for wrong in (
        {"rate": "0"},
        {"rate": "1E+99"},
        {"rate": "NaN"},
        {"cut_off": "0001-01-01T00:00:00+14:00"},
        {"adapter": "evm"},
        {"currency": "USD"},
    ):
        refused = admin.post("/v1/admin/payouts", json={"adapter": "file", "rate": "1", **wrong})
        assert (refused.status_code, list(refused.json()["error"]["details"]["fields"])) == (422, list(wrong))
    assert client.get("/v1/admin/payouts").status_code == 403

    batch = create(admin, rate="0.9137", minimum="0.1001", note="November")
    batch_id = batch["batch_id"]
    assert (batch["status"], batch["count"], batch["amount"]) == ("created", 2, "0.203")
    assert [one["sent_amount"] for one in batch["payouts"]] == ["0.09", "0.09"]
    assert money(served, miners[0]) == ("0.1", "0", "0", "0")
    assert money(served, miners[1]) == ("0", "0", "0.101", "0")
    assert problems(served) == []
    with_proof = httpx.get(
        f"{served.url}/v1/payouts/{batch['payouts'][0]['payout_id']}/proof", headers=owner(miners[1])
    )
    assert with_proof.status_code in {404, 409}  # it may be another miner's; there is no manifest yet

    approved = approve(admin, batch_id)
    assert approve(admin, batch_id)["manifest"] == approved["manifest"]
    sent = wait_for(admin, batch_id, lambda found: found["counts"] == {"sent": 2})
    assert sent["status"] == "sending"
    written = tmp_path / "data" / "coordinator" / "payouts" / f"{sent['transfers'][0]['reference']}.json"
    assert {one["address"] for one in json.loads(written.read_bytes())["payments"]} == {
        "account 1",
        "account 2",
    }
    assert admin.post(f"/v1/admin/payouts/{batch_id}/cancel").status_code == 409
    assert problems(served) == []

    prove(served, miners, sent)


def prove(served: Served, miners: list[ScriptedMiner], batch: dict[str, Any]) -> None:
    """Each miner's owner, and nobody else, gets a proof that verifies offline; a changed one does not verify."""
    by_id = {miner.miner_id: miner for miner in miners}
    for payment in batch["payouts"]:
        path = f"{served.url}/v1/payouts/{payment['payout_id']}/proof"
        assert httpx.get(path, headers=owner(miners[0])).status_code == 404
        proof = httpx.get(path, headers=owner(by_id[payment["miner_id"]])).raise_for_status().json()
        verified = verify_payout(proof, served.context.signer.vkey)
        assert verified.failures == ()
        assert verified.payment is not None
        assert verified.payment.address == payment["address"]
        proof["payment"]["address"] = "account 9"
        assert not verify_payout(proof, served.context.signer.vkey).valid


def test_a_payment_that_fails_is_posted_back_and_paid_later(
    served: Served, client: httpx.Client, admin: httpx.Client, bank: FakeBank
) -> None:
    miners = [rich_miner(served, client) for _ in range(2)]
    for number, miner in enumerate(miners):
        set_address(served, miner, f"b{number}", adapter="bank").raise_for_status()
    unlucky, lucky = miners
    batch = create(admin, adapter="bank", rate="100")
    failing = {one["payout_id"] for one in batch["payouts"] if one["miner_id"] == unlucky.miner_id}
    bank.outcome = lambda payout_id: Outcome.FAILED if payout_id in failing else Outcome.CONFIRMED
    approve(admin, batch["batch_id"])
    ended = wait_for(admin, batch["batch_id"], lambda found: found["status"] == "failed")
    assert ended["counts"] == {"confirmed": 1, "failed": 1}
    assert money(served, unlucky) == ("0.1", "0", "0", "0")
    assert money(served, lucky) == ("0", "0", "0", "0.1")
    issued = Decimal(admin.get("/v1/wallet").json()["issued"])

    bank.outcome = lambda _: Outcome.CONFIRMED
    again = create(admin, adapter="bank", rate="100")
    assert [one["miner_id"] for one in again["payouts"]] == [unlucky.miner_id]
    approve(admin, again["batch_id"])
    wait_for(admin, again["batch_id"], lambda found: found["status"] == "confirmed")
    assert Decimal(admin.get("/v1/wallet").json()["issued"]) == issued - Decimal("0.1")
    history = httpx.get(f"{served.url}/v1/miners/{unlucky.miner_id}/payouts", headers=owner(unlucky)).json()
    assert [one["status"] for one in history["payouts"]] == ["confirmed", "failed"]
    assert (history["payouts"][1]["reason"], history["payouts"][0]["reference"]) == ("it is failed", "r1")
    booked = httpx.get(f"{served.url}/v1/wallet/transactions", headers=owner(unlucky)).json()["transactions"]
    assert {(one["type"], one["status"]) for one in booked} == {
        ("payout", "settled"),
        ("payout", "refunded"),
        ("payment", "settled"),
    }
    assert problems(served) == []


def test_calls_that_fail_or_hang_are_repeated_and_hold_up_nothing_else(
    served: Served, client: httpx.Client, admin: httpx.Client, bank: FakeBank
) -> None:
    failures = iter([OSError("down"), OSError("down")])
    release = threading.Event()

    def hang(transfer: Transfer) -> None:
        assert release.wait(60)
        if (error := next(failures, None)) is not None:
            raise error

    bank.sending = hang
    at_bank = rich_miner(served, client)
    set_address(served, at_bank, "b", adapter="bank").raise_for_status()
    hung = create(admin, adapter="bank")["batch_id"]
    approve(admin, hung)
    by_file = rich_miner(served, client, "account 1")
    other = create(admin)["batch_id"]
    approve(admin, other)
    assert {one["miner_id"] for one in batch_of(admin, other)["payouts"]} == {by_file.miner_id}
    wait_for(admin, other, lambda found: found["counts"] == {"sent": 1})
    earn(client, by_file)  # and the coordinator goes on
    release.set()
    ended = wait_for(admin, hung, lambda found: found["status"] == "confirmed")
    assert ended["transfers"][0]["attempts"] == 3
    assert [len(sent) for sent in bank.paid.values()] == [1]


def test_a_batch_can_be_cancelled_until_it_is_sent(
    served: Served, client: httpx.Client, admin: httpx.Client, bank: FakeBank
) -> None:
    miner = rich_miner(served, client)
    set_address(served, miner, "b", adapter="bank").raise_for_status()
    first = create(admin, adapter="bank")["batch_id"]
    for _ in range(2):
        cancelled = admin.post(f"/v1/admin/payouts/{first}/cancel").raise_for_status().json()
    assert (cancelled["status"], cancelled["counts"]) == ("cancelled", {"cancelled": 1})
    assert admin.post(f"/v1/admin/payouts/{first}/approve").status_code == 409
    assert money(served, miner) == ("0.1", "0", "0", "0")

    def refuse() -> None:
        raise OSError("the node is away")

    bank.preparing = refuse
    second = create(admin, adapter="bank")["batch_id"]
    approve(admin, second)
    wait_for(admin, second, lambda found: "the node is away" in found.get("error", ""))
    assert admin.post(f"/v1/admin/payouts/{second}/cancel").raise_for_status().json()["status"] == "cancelled"
    assert money(served, miner) == ("0.1", "0", "0", "0")
    assert bank.paid == {}
    assert problems(served) == []


def test_only_the_identity_key_changes_an_address_and_only_after_the_delay(
    served: Served, client: httpx.Client, admin: httpx.Client
) -> None:
    miner = rich_miner(served, client)
    path = f"{served.url}/v1/miners/{miner.miner_id}/payout-address"
    stolen = owner(miner)
    assert httpx.put(path, json={"adapter": "file", "address": "thief"}, headers=stolen).status_code == 422
    forged = statement(served, miner, "thief").sign(SigningKey.generate())
    for headers in (stolen, {}, {"X-API-Key": served.admin_key}):
        assert httpx.put(path, json=forged, headers=headers).status_code == 403
    thief = ScriptedMiner(served.url)
    assert thief.register().status_code == 200
    own = statement(served, thief, "thief").sign(thief.key)
    assert httpx.put(path, json=own, headers=stolen).status_code == 403
    assert httpx.get(path, headers=stolen).json()["address"] is None

    signed = statement(served, miner, "  account 1 ").sign(miner.key)
    first = httpx.put(path, json=signed).raise_for_status().json()
    assert (first["address"]["address"], first["pending"]) == ("account 1", None)
    changed = set_address(served, miner, "account 2").raise_for_status().json()
    assert (changed["address"]["address"], changed["pending"]["address"]) == ("account 1", "account 2")
    assert httpx.put(path, json=signed).status_code == 409  # an old statement is not accepted again
    for change in ({"origin": "other.test/log"}, {"created_at": "2026-11-01T00:00:00Z"}):
        assert set_address(served, miner, "account 3", **change).status_code == 403
    for change in ({"adapter": "evm"}, {"currency": "USD"}, {"address": "x" * 141}):
        assert set_address(served, miner, **{"address": "account 3", **change}).status_code == 422
    assert create(admin, dry_run=True)["payouts"][0]["address"] == "account 1"

    revoked = set_address(served, miner, "account 1").raise_for_status().json()
    assert (revoked["address"]["address"], revoked["pending"]) == ("account 1", None)
    assert notices(served, miner_id=miner.miner_id) == ["changed", "changed", "revoked"]
    assert notices(served, account_id="account_of_another") == []
    later = set_address(served, miner, "account 2").raise_for_status().json()["pending"]
    clock = served.context.clock
    ahead = parse_time(later["effective_at"]) + 1 - clock()
    object.__setattr__(served.context, "clock", lambda: clock() + ahead)
    assert create(admin, dry_run=True)["payouts"][0]["address"] == "account 2"


def test_two_administrators_and_a_negative_balance(tmp_path: Path) -> None:
    payouts = {**SETTINGS, "four_eyes": True}
    with (
        serve(tmp_path / "data", open_enrolment=True, payouts=payouts) as served,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.admin_key}) as admin,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}) as client,
    ):
        poor, rich = rich_miner(served, client, "poor"), rich_miner(served, client, "rich")

        def forfeit(connection: Any) -> None:
            change = update(balances).where(balances.c.ledger_account == earned(poor.miner_id))
            connection.execute(change.values(amount=-5))

        served.do(lambda context: context.database.write(forfeit))
        batch = create(admin)
        assert [one["miner_id"] for one in batch["payouts"]] == [rich.miner_id]
        assert money(served, poor) == ("0", "0", "0", "0")
        path = f"/v1/admin/payouts/{batch['batch_id']}/approve"
        refused = admin.post(path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
        key = admin.post("/v1/admin/keys", json={"role": "admin", "name": "second"}).json()
        second = (
            httpx.post(f"{served.url}{path}", headers={"X-API-Key": key["key"]}).raise_for_status().json()
        )
        assert second["approved_by"] == key["key_id"] != second["created_by"]


def test_fsck_finds_what_was_changed(served: Served, client: httpx.Client, admin: httpx.Client) -> None:
    rich_miner(served, client, "account 1")
    batch_id = create(admin)["batch_id"]
    approve(admin, batch_id)
    wait_for(admin, batch_id, lambda found: found["counts"] == {"sent": 1})
    assert problems(served) == []

    def change(table: Any, condition: Any = EVERY_ROW, **values: Any) -> None:
        served.do(
            lambda context: context.database.write(
                lambda connection: connection.execute(update(table).where(condition).values(values)).rowcount
            )
        )

    change(payouts, address="account 9")
    assert problems(served) == [f"{batch_id}: the log, the manifest and the payments differ"]
    change(payouts, address="account 1", state="confirmed")
    found = " ".join(problems(served))
    for expected in ("but the ledger says otherwise", "but its payments say otherwise", "units are reserved"):
        assert expected in found
    (amount,) = (one["sent_amount"] for one in batch_of(admin, batch_id)["payouts"])
    for malformed in ({"state": "lost"}, {"sent_amount": "much"}):
        change(payouts, state="sent")
        change(payouts, **malformed)
        assert any(repr("lost") in one or "its manifest cannot be made" in one for one in problems(served))
    change(payouts, state="sent", sent_amount=amount)
    wait_for_leaf = httpx.get(f"{served.url}/v1/log/proof/{batch_id}").raise_for_status()
    assert wait_for_leaf.text.startswith("c2sp.org/tlog-proof")
    change(log_leaves, log_leaves.c.reference == batch_id, reference="batch_other")
    assert "has no leaf in the log" in " ".join(problems(served))


def exclude(admin: httpx.Client, miner: ScriptedMiner) -> None:
    path = f"/v1/admin/miners/{miner.miner_id}/exclude"
    admin.post(path, json={"reason": "It cheats."}).raise_for_status()


def test_a_miner_that_is_excluded_after_the_batch_was_created_is_not_paid(
    served: Served, client: httpx.Client, admin: httpx.Client, bank: FakeBank
) -> None:
    honest, liar, late = (rich_miner(served, client, f"account {n}", 100 + n) for n in range(3))
    for miner in (honest, liar, late):
        set_address(served, miner, miner.miner_id[:20], adapter="bank").raise_for_status()
    object.__setattr__(served.context, "clock", lambda: time.time() + 4 * 86_400)
    batch = create(admin, adapter="bank")
    exclude(admin, liar)
    excluded: list[str] = []

    def preparing() -> None:
        if not excluded:  # one more is excluded while the adapter prepares
            excluded.append(late.miner_id)
            exclude(admin, late)

    bank.preparing = preparing
    approve(admin, batch["batch_id"])
    ended = wait_for(admin, batch["batch_id"], lambda found: found["status"] == "failed")
    outcomes = {one["miner_id"]: (one["status"], one.get("reason")) for one in ended["payouts"]}
    assert outcomes[honest.miner_id][0] == "confirmed"
    for miner in (liar, late):
        assert outcomes[miner.miner_id] == (
            "failed",
            "The miner was excluded before the payment was prepared.",
        )
        assert money(served, miner)[3] == "0"
    assert len(bank.paid) == 1
    assert problems(served) == []


def test_a_payment_whose_adapter_is_not_there_any_more_says_so_and_can_be_ended(
    tmp_path: Path, bank: FakeBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_: Any) -> None:
        raise ConnectionError("the bank is closed")

    bank.sending = down
    with monkeypatch.context() as patched:
        has_bank(patched, bank)
        with serve(tmp_path / "data", open_enrolment=True, payouts=SETTINGS) as served:
            admin = httpx.Client(base_url=served.url, headers={"X-API-Key": served.admin_key})
            client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
            miner = rich_miner(served, client)
            set_address(served, miner, "account 2", adapter="bank").raise_for_status()
            batch_id = create(admin, adapter="bank")["batch_id"]
            approve(admin, batch_id)
            found = wait_for(admin, batch_id, lambda found: found["counts"] == {"prepared": 1})
            outcome = {"payout_id": found["payouts"][0]["payout_id"], "outcome": "failed"}
            report = {"outcomes": [outcome], "force": True}
            path = f"/v1/admin/payouts/{batch_id}/outcomes"
            assert admin.post(path, json=report).status_code == 409  # the adapter may be sending it
    with serve(tmp_path / "data", payouts=SETTINGS) as served:
        admin = httpx.Client(base_url=served.url, headers={"X-API-Key": served.admin_key})
        found = wait_for(admin, batch_id, lambda found: found.get("error") is not None)
        assert found["error"].startswith("The adapter cannot be used, so nothing happens to this batch: ")
        failing = re.search(r"payout_calls_failing (\d+)", admin.get("/metrics").text)
        assert failing is not None
        assert int(failing[1]) > 0
        assert admin.post(path, json={**report, "force": False}).status_code == 409
        assert admin.post(path, json=report).raise_for_status().json()["status"] == "failed"
        assert (
            served.do(lambda context: context.database.read(ledger.balance, earned(miner.miner_id))) == 10**7
        )
        assert problems(served) == []


def test_an_idle_worker_sleeps_until_it_is_woken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: queue.Queue[float] = queue.Queue()
    original = worker._woken

    async def woken(event: Any, seconds: float) -> None:
        pauses.put(seconds)
        await original(event, seconds)

    monkeypatch.setattr(worker, "_woken", woken)
    payouts = {**SETTINGS, "poll_seconds": 7}
    with (
        serve(tmp_path / "data", open_enrolment=True, payouts=payouts) as served,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.admin_key}) as admin,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}) as client,
    ):
        assert min(pauses.get(timeout=300), pauses.get(timeout=300)) > worker.IDLE_SECONDS - 1
        assert pauses.empty()
        rich_miner(served, client, "account 1")
        batch_id = create(admin)["batch_id"]
        approve(admin, batch_id)
        wait_for(admin, batch_id, lambda found: found["counts"] == {"sent": 1})
        while not 6 < pauses.get(timeout=120) <= 7:  # until the transfer is polled again
            pass
