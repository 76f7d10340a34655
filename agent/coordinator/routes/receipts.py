"""`/v1/receipts`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from agent.coordinator.operations import receipts as operations
from agent.coordinator.routes._answers import Receipt, ReceiptVerification
from agent.coordinator.routes._callers import AnyCaller, ContextOf

router = APIRouter(prefix="/receipts", tags=["Receipts"])


@router.get("/{job_id}", summary="The receipt of a job")
async def get(context: ContextOf, caller: AnyCaller, job_id: str) -> Receipt:
    """For the job's client, the miner's owner and administrators."""
    return Receipt(**await operations.of_job(context, caller, job_id))


@router.post("/verify", summary="Verify a receipt")
async def verify(
    context: ContextOf, receipt: Annotated[dict[str, Any], Body(embed=True)]
) -> ReceiptVerification:
    """Open without a key. Takes a whole receipt, or its `receipt_id` and `signature`."""
    return ReceiptVerification(**await operations.verify(context, receipt))
