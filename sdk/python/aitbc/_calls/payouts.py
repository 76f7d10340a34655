"""The flows of `client.payouts`: batches for administrators; payments, addresses and proofs for miners' owners."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from aitbc._http.flow import Flow, Request, Session, call, fetch, json_body, post_json, query, segment
from aitbc.answers.payouts import (
    DepositList,
    MinerPayouts,
    Payout,
    PayoutAddresses,
    PayoutBatchDetails,
    PayoutBatchList,
)

_BATCHES = "/v1/admin/payouts"


def batches(
    session: Session, /, *, limit: int = 50, before: str | None = None, status: str | None = None
) -> Flow[PayoutBatchList]:
    """Return batches, newest first. Pass a page's `next` as `before` to get the next page."""
    return query(session, _BATCHES, PayoutBatchList, limit=limit, before=before, status=status)


def batch(session: Session, /, batch_id: str) -> Flow[PayoutBatchDetails]:
    """Return a batch with its payments and its manifest."""
    return query(session, _path(batch_id), PayoutBatchDetails)


def preview(
    session: Session, /, adapter: str, rate: str | Decimal | None = None, **options: Any
) -> Flow[PayoutBatchDetails]:
    """Return the batch that `create` would make now, with the miners that it would leave out."""
    body = {**_batch(adapter, rate), "dry_run": True, **options}
    return fetch(session, post_json(_BATCHES, body, repeatable=True), PayoutBatchDetails)


def create(
    session: Session, /, adapter: str, rate: str | Decimal | None = None, **options: Any
) -> Flow[PayoutBatchDetails]:
    """Create a batch, which waits for approval. `rate` is what one credit is worth in the currency; without it, the setting applies.

    `options` are `currency`, `cut_off`, `minimum`, `max_payments` and `note`. Raises `Conflict` if there is nobody to pay, also when it
    is repeated: the money has moved.
    """
    body = {**_batch(adapter, rate), **options}
    return fetch(session, post_json(_BATCHES, body), PayoutBatchDetails)


def _batch(adapter: str, rate: str | Decimal | None) -> dict[str, Any]:
    # Text, because a float would already have another value than the one that the operator typed.
    return {"adapter": adapter, **({} if rate is None else {"rate": str(rate)})}


def approve(session: Session, /, batch_id: str) -> Flow[PayoutBatchDetails]:
    """Approve a batch: its manifest is written to the log, and its adapter sends it. A repetition changes nothing."""
    request = post_json(f"{_path(batch_id)}/approve", None, repeatable=True)
    return fetch(session, request, PayoutBatchDetails)


def cancel(session: Session, /, batch_id: str) -> Flow[PayoutBatchDetails]:
    """Cancel a batch that is not sent yet. A repetition changes nothing."""
    request = post_json(f"{_path(batch_id)}/cancel", None, repeatable=True)
    return fetch(session, request, PayoutBatchDetails)


def report(
    session: Session, /, batch_id: str, outcomes: Sequence[Mapping[str, str]], *, force: bool = False
) -> Flow[PayoutBatchDetails]:
    """Report how payments ended that were made by hand: each `payout_id` with its `outcome` (confirmed, failed), `reason` and `reference`.

    With `force`, also for an adapter that normally reports outcomes itself. A repetition changes nothing.
    """
    body = {"outcomes": [dict(outcome) for outcome in outcomes], "force": force}
    request = post_json(f"{_path(batch_id)}/outcomes", body, repeatable=True)
    return fetch(session, request, PayoutBatchDetails)


def hand_in(session: Session, /, payout_id: str, envelope: Mapping[str, Any]) -> Flow[Payout]:
    """Hand in what a payment waits for. `envelope` is what `PayoutHandIn.sign` returns."""
    path = f"/v1/payouts/{segment(payout_id)}/hand-in"
    return fetch(session, post_json(path, dict(envelope)), Payout)


def deposits(
    session: Session, /, *, account_id: str | None = None, limit: int = 50, before: str | None = None
) -> Flow[DepositList]:
    """Return deposits, perhaps of one account, newest first. Pass a page's `next` as `before` to get the next page."""
    return query(
        session, "/v1/admin/deposits", DepositList, limit=limit, account_id=account_id, before=before
    )


def of_miner(
    session: Session, /, miner_id: str, *, limit: int = 50, before: str | None = None
) -> Flow[MinerPayouts]:
    """Return a miner's payments, newest first, and where its money is."""
    return query(session, f"/v1/miners/{segment(miner_id)}/payouts", MinerPayouts, limit=limit, before=before)


def address(session: Session, /, miner_id: str) -> Flow[PayoutAddresses]:
    """Return where a miner is paid to, and any pending change."""
    return query(session, f"/v1/miners/{segment(miner_id)}/payout-address", PayoutAddresses)


def set_address(session: Session, /, miner_id: str, envelope: Mapping[str, Any]) -> Flow[PayoutAddresses]:
    """Set where a miner is paid to. `envelope` is what `PayoutAddress.sign` returns; the client's key does not matter."""
    request = Request(
        "PUT",
        f"/v1/miners/{segment(miner_id)}/payout-address",
        headers={"Content-Type": "application/json"},
        content=json_body(dict(envelope)),
        # The signed statement has a number, so sending it twice changes nothing more.
        repeatable=True,
    )
    return fetch(session, request, PayoutAddresses)


def proof(session: Session, /, payout_id: str) -> Flow[dict[str, Any]]:
    """Return the proof that a payment is part of a batch in the log. `aitbc.leaves.payouts.verify_payout` verifies it."""
    # Not as a record: the proof is verified, and stored, exactly as it was sent.
    response = yield from call(session, Request("GET", f"/v1/payouts/{segment(payout_id)}/proof"))
    fields: dict[str, Any] = json.loads(response.content)
    return fields


def _path(batch_id: str) -> str:
    return f"{_BATCHES}/{segment(batch_id)}"
