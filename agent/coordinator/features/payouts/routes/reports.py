"""What others report about payments: administrators their outcomes, miners what they hand in."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from agent.coordinator.features.payouts import hand_ins, outcomes
from agent.coordinator.features.payouts.outcomes import Ending, Outcomes
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Admin, ContextOf, Envelope, RequestBody
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, Forbidden, NotFound, ServiceUnavailable, ValidationFailed
from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.payouts import Payout, PayoutBatchDetails

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1", tags=["Payouts"])

MAX_OUTCOMES = 10_000


class PaymentOutcome(RequestBody):
    """How a payment ended. `reference` and `reason` are shown to its miner; the amount of one that failed returns to its earnings."""

    payout_id: fields.PayoutId
    outcome: Annotated[Literal["confirmed", "failed"], Field(examples=["confirmed"])]
    reason: Annotated[str, Field(max_length=500, examples=["The bank returned the payment."])] = ""
    reference: Annotated[str, Field(max_length=200, examples=["E2E-17"])] = ""


class OutcomesRequest(RequestBody):
    """Outcomes of payments of one batch. With `force`, also for an adapter that normally reports outcomes itself, but cannot now.

    Report a payment as failed only if it is certain that it was not and will not be paid.
    """

    outcomes: Annotated[list[PaymentOutcome], Field(min_length=1, max_length=MAX_OUTCOMES)]
    force: bool = False


class HandInEnvelope(Envelope):
    """A DSSE envelope of the type `application/vnd.aitbc.payout-hand-in+json`, signed with the miner's identity key.

    Its payload is the canonical JSON of `payout_id`, `miner_id`, `text`, `created_at` and `origin`.
    """

    model_config = example(
        {
            "payloadType": "application/vnd.aitbc.payout-hand-in+json",
            "payload": "eyJtaW5lcl9pZCI6Im1pbmVyIn0=",
            "signatures": [{"keyid": "", "sig": "base64_signature"}],
        }
    )


@router.post(
    "/admin/payouts/{batch_id}/outcomes",
    operation_id="payout_reports_report",
    response_model_exclude_none=True,
    responses=errors(NotFound, Conflict, ValidationFailed),
    summary="Report the outcome of payments",
)
async def report(
    context: ContextOf, caller: Admin, batch_id: fields.BatchId, request: OutcomesRequest
) -> PayoutBatchDetails:
    """Reports how payments ended that people make by hand, for example at a bank. Either all outcomes are stored or none; a repetition changes nothing."""
    endings = [
        Ending(
            outcome.payout_id,
            outcome.outcome == "confirmed",
            outcome.reason or None,
            outcome.reference or None,
        )
        for outcome in request.outcomes
    ]
    return await outcomes.report(context, caller, batch_id, Outcomes(endings, request.force))


@router.post(
    "/payouts/{payout_id}/hand-in",
    operation_id="payout_reports_hand_in",
    response_model_exclude_none=True,
    responses=errors(NotFound, Forbidden, Conflict, ValidationFailed, ServiceUnavailable),
    summary="Hand in what a payment waits for",
)
async def hand_in(context: ContextOf, payout_id: fields.PayoutId, request: HandInEnvelope) -> Payout:
    """Needs no API key, but a statement that the miner's identity key has signed. It contains, for example, an invoice; `waiting_for` says what the payment waits for."""
    return await hand_ins.hand_in(context, payout_id, request.model_dump(by_alias=True))
