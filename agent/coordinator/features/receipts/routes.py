"""`/v1/receipts`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from agent.coordinator.features.receipts import receipts
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.http.plain import plainly
from agent.coordinator.routes._callers import AnyCaller, ContextOf, any_caller
from agent.coordinator.routes._declare import errors
from agent.core.errors import JobNotCompleted, JobNotFound
from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.receipts import Receipt, VerifyAnswer

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/receipts", tags=["Receipts"])


class VerifyRequest(BaseModel, defer_build=True):
    """A whole receipt, or its `receipt_id` and `signature`."""

    model_config = example(
        {
            "receipt": {
                "receipt_id": "receipt_1234567890",
                "signature": {"sig": "base64_signature", "public_key": "base64_public_key"},
            }
        }
    )

    receipt: dict[str, Any]


@router.get(
    "/{job_id}",
    response_model=Receipt,
    responses=errors(JobNotFound, JobNotCompleted),
    summary="The receipt of a job",
)
async def get(context: ContextOf, caller: AnyCaller, job_id: fields.JobId) -> Response:
    """Returns the receipt to the job's client, the miner's owner, and administrators."""
    return Response(
        await context.database.peek(receipts.of_job, caller, job_id), media_type="application/json"
    )


@plainly(router, get)
async def _get(request: Request) -> Response:
    context, caller = await any_caller(request)
    return await get(context, caller, request.path_params["job_id"])


@router.post("/verify", summary="Verify a receipt")
async def verify(context: ContextOf, request: VerifyRequest) -> VerifyAnswer:
    """Needs no key. A malformed receipt is answered as not valid, with the reasons."""
    return await receipts.verify(context, request.receipt)
