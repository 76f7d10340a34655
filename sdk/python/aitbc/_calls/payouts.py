"""The flows of `client.payouts`: batches for administrators; payments, addresses and proofs for miners' owners."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from aitbc._calls.payout_records import MinerPayouts, PayoutAddresses, PayoutBatch, PayoutBatchList
from aitbc._http.flow import Flow, Request, Session, call, fetch, json_body, post_json

_BATCHES = "/v1/admin/payouts"


def batches(
    session: Session, /, *, limit: int = 50, before: str | None = None, status: str | None = None
) -> Flow[PayoutBatchList]:
    """Return batches, newest first. Pass a page's `next` as `before` to get the next page."""
    params = {"limit": str(limit), **_present(before=before, status=status)}
    return (yield from fetch(session, Request("GET", _BATCHES, params=params), PayoutBatchList))


def batch(session: Session, /, batch_id: str) -> Flow[PayoutBatch]:
    """Return a batch with its payments and its manifest."""
    return (yield from fetch(session, Request("GET", _path(batch_id)), PayoutBatch))


def preview(session: Session, /, adapter: str, rate: str | Decimal, **options: Any) -> Flow[PayoutBatch]:
    """Return the batch that `create` would make now, with the miners that it would leave out."""
    body = {"adapter": adapter, "rate": str(rate), "dry_run": True, **options}
    return (yield from fetch(session, post_json(_BATCHES, body, repeatable=True), PayoutBatch))


def create(session: Session, /, adapter: str, rate: str | Decimal, **options: Any) -> Flow[PayoutBatch]:
    """Create a batch, which waits for approval. `rate` is what one unit of money is worth in the currency.

    `options` are `currency`, `cut_off`, `minimum`, `max_payments` and `note`. Raises `Conflict` if there is nobody to pay, also when it
    is repeated: the money has moved.
    """
    body = {"adapter": adapter, "rate": str(rate), **options}
    return (yield from fetch(session, post_json(_BATCHES, body), PayoutBatch))


def approve(session: Session, /, batch_id: str) -> Flow[PayoutBatch]:
    """Approve a batch: its manifest is written to the log, and its adapter sends it. A repetition changes nothing."""
    request = post_json(f"{_path(batch_id)}/approve", None, repeatable=True)
    return (yield from fetch(session, request, PayoutBatch))


def cancel(session: Session, /, batch_id: str) -> Flow[PayoutBatch]:
    """Cancel a batch that is not sent yet. A repetition changes nothing."""
    request = post_json(f"{_path(batch_id)}/cancel", None, repeatable=True)
    return (yield from fetch(session, request, PayoutBatch))


def of_miner(
    session: Session, /, miner_id: str, *, limit: int = 50, before: str | None = None
) -> Flow[MinerPayouts]:
    """Return a miner's payments, newest first, and where its money is."""
    params = {"limit": str(limit), **_present(before=before)}
    request = Request("GET", f"/v1/miners/{quote(miner_id, safe='')}/payouts", params=params)
    return (yield from fetch(session, request, MinerPayouts))


def address(session: Session, /, miner_id: str) -> Flow[PayoutAddresses]:
    """Return where a miner is paid to, and any pending change."""
    request = Request("GET", f"/v1/miners/{quote(miner_id, safe='')}/payout-address")
    return (yield from fetch(session, request, PayoutAddresses))


def set_address(session: Session, /, miner_id: str, envelope: Mapping[str, Any]) -> Flow[PayoutAddresses]:
    """Set where a miner is paid to. `envelope` is what `PayoutAddress.sign` returns; the client's key does not matter."""
    request = Request(
        "PUT",
        f"/v1/miners/{quote(miner_id, safe='')}/payout-address",
        headers={"Content-Type": "application/json"},
        content=json_body(dict(envelope)),
        repeatable=True,
    )
    return (yield from fetch(session, request, PayoutAddresses))


def proof(session: Session, /, payout_id: str) -> Flow[dict[str, Any]]:
    """Return the proof that a payment is part of a batch in the log. `aitbc.leaves.payouts.verify_payout` verifies it."""
    response = yield from call(session, Request("GET", f"/v1/payouts/{quote(payout_id, safe='')}/proof"))
    fields: dict[str, Any] = json.loads(response.content)
    return fields


def _path(batch_id: str) -> str:
    return f"{_BATCHES}/{quote(batch_id, safe='')}"


def _present(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}
