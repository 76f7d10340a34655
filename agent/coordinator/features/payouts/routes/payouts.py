"""`/v1/admin/payouts`, `/v1/payouts`, and the payouts and payout address of a miner."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response, status
from pydantic import Field

from agent.coordinator.features.payouts import addresses, batches, miners
from agent.coordinator.features.payouts.batches import NewBatch
from agent.coordinator.features.payouts.rules import BatchState
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import (
    Admin,
    Before,
    ContextOf,
    Envelope,
    Limit,
    OwnerOrAdmin,
    RequestBody,
)
from agent.coordinator.routes._declare import errors
from agent.core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    ServiceUnavailable,
    ValidationFailed,
    invalid_request,
)
from agent.core.values.quantities import Money, parse_time
from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.payouts import (
    MinerPayouts,
    PayoutAddresses,
    PayoutBatchDetails,
    PayoutBatchList,
    PayoutProof,
)

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1", tags=["Payouts"])


class BatchRequest(RequestBody):
    """A new batch. With `dry_run`, it is only computed, and the answer also names the miners that it omits.

    `rate` is what one credit is worth in the `currency`; amounts are rounded down. `cut_off` is a time up to which earnings are counted;
    without it, and without a `rate` or a `minimum`, now and the settings `payouts.*` apply.
    """

    adapter: Annotated[str, Field(max_length=32, examples=["file"])]
    rate: Annotated[str, Field(max_length=64, examples=["0.9137"])] | None = None
    currency: Annotated[str, Field(max_length=16, examples=["EUR"])] | None = None
    cut_off: Annotated[str, Field(max_length=64, examples=["2026-11-01T00:00:00Z"])] | None = None
    minimum: Money | None = Field(default=None, examples=["5"])
    max_payments: Annotated[int, Field(ge=1, le=100_000, examples=[100])] | None = None
    note: Annotated[str, Field(max_length=200, examples=["November"])] = ""
    dry_run: bool = False


class SignedEnvelope(Envelope):
    """A DSSE envelope of the type `application/vnd.aitbc.payout-address+json`, signed with the miner's identity key.

    Its payload is the canonical JSON of `miner_id`, `adapter`, `address`, `currency`, `sequence`, `created_at` and `origin`. The
    sequence must be higher than that of every earlier statement.
    """

    model_config = example(
        {
            "payloadType": "application/vnd.aitbc.payout-address+json",
            "payload": "eyJhZGFwdGVyIjoiZmlsZSJ9",
            "signatures": [{"keyid": "", "sig": "base64_signature"}],
        }
    )


@router.get("/admin/payouts", response_model_exclude_none=True, summary="List batches of payouts")
async def list_batches(
    context: ContextOf,
    _: Admin,
    limit: Limit = 50,
    before: Before = None,
    state: Annotated[
        BatchState | None,
        Query(alias="status", description="Only batches in this state", examples=["sending"]),
    ] = None,
) -> PayoutBatchList:
    """Returns batches without their payments, newest first, and the adapters that batches can use."""
    return await context.database.read(batches.page, context, limit, before, state)


@router.post(
    "/admin/payouts",
    response_model_exclude_none=True,
    status_code=status.HTTP_201_CREATED,
    responses={
        200: {"model": PayoutBatchDetails, "description": "The dry run"},
        **errors(Conflict, ServiceUnavailable, ValidationFailed),
    },
    summary="Create a batch of payouts",
)
async def create(
    context: ContextOf, caller: Admin, request: BatchRequest, response: Response
) -> PayoutBatchDetails:
    """Moves what miners have earned into a batch, which waits for approval. Repeating it creates no second payment: the money has moved already."""
    new_batch = NewBatch(
        adapter=request.adapter,
        rate=request.rate,
        currency=request.currency,
        cut_off=_time(request.cut_off),
        minimum=request.minimum,
        max_payments=request.max_payments,
        note=request.note,
    )
    if request.dry_run:
        response.status_code = status.HTTP_200_OK
        return await batches.preview(context, new_batch)
    return await batches.create(context, caller, new_batch)


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        raise invalid_request({"cut_off": str(error)}) from None


@router.get(
    "/admin/payouts/{batch_id}",
    response_model_exclude_none=True,
    responses=errors(NotFound),
    summary="Get a batch of payouts",
)
async def show(
    context: ContextOf,
    _: Admin,
    batch_id: fields.BatchId,
) -> PayoutBatchDetails:
    """Returns a batch with its payments, its transfers and its manifest."""
    return await batches.show(context, batch_id)


@router.post(
    "/admin/payouts/{batch_id}/approve",
    response_model_exclude_none=True,
    responses=errors(NotFound, Conflict, Forbidden),
    summary="Approve a batch",
)
async def approve(context: ContextOf, caller: Admin, batch_id: fields.BatchId) -> PayoutBatchDetails:
    """Puts the batch's manifest into the log, and has the adapter send the payments. A repetition changes nothing."""
    return await batches.approve(context, caller, batch_id)


@router.post(
    "/admin/payouts/{batch_id}/cancel",
    response_model_exclude_none=True,
    responses=errors(NotFound, Conflict),
    summary="Cancel a batch",
)
async def cancel(context: ContextOf, caller: Admin, batch_id: fields.BatchId) -> PayoutBatchDetails:
    """Moves the money back to the miners. Possible until the adapter begins. A repetition changes nothing."""
    return await batches.cancel(context, caller, batch_id)


@router.get(
    "/miners/{miner_id}/payouts",
    response_model_exclude_none=True,
    responses=errors(NotFound),
    summary="A miner's payouts",
)
async def of_miner(
    context: ContextOf,
    caller: OwnerOrAdmin,
    miner_id: fields.MinerId,
    limit: Limit = 50,
    before: Before = None,
) -> MinerPayouts:
    """Returns the payments to a miner, newest first, and how much is available, on hold, on its way, and paid out."""
    return await context.database.read(miners.payments, context, caller, miner_id, limit, before)


@router.get(
    "/miners/{miner_id}/payout-address", responses=errors(NotFound), summary="A miner's payout address"
)
async def show_address(context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId) -> PayoutAddresses:
    """Returns the address in force, a change that has not taken effect, and what a statement about an address must name."""
    return await addresses.show(context, caller, miner_id)


@router.put(
    "/miners/{miner_id}/payout-address",
    responses=errors(NotFound, Forbidden, Conflict, ValidationFailed, ServiceUnavailable),
    summary="Set a miner's payout address",
)
async def set_address(
    context: ContextOf, miner_id: fields.MinerId, request: SignedEnvelope
) -> PayoutAddresses:
    """Needs no API key, but a statement that the miner's identity key has signed.

    The first address takes effect immediately, a change after `payouts.address_delay_hours`. A statement with the address in force revokes
    a change that is pending.
    """
    return await addresses.set_address(context, miner_id, request.model_dump(by_alias=True))


@router.get(
    "/payouts/{payout_id}/proof",
    responses=errors(NotFound, Conflict, ServiceUnavailable),
    summary="Proof that a payment is part of a batch in the log",
)
async def proof(context: ContextOf, caller: OwnerOrAdmin, payout_id: fields.PayoutId) -> PayoutProof:
    """Returns a proof that can be verified offline. It names no other payment. For a new batch, the call waits for the log's next checkpoint."""
    return await miners.proof(context, caller, payout_id)
