"""Fetching and verifying receipts."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import receipts
from agent.coordinator.store.receipts import ReceiptRecord
from agent.core.errors import JobNotCompleted, JobNotFound
from agent.core.values.quantities import format_time
from aitbc.answers.accounts import Role
from aitbc.answers.receipts import VerifyAnswer
from aitbc.receipts import Verification, verify_receipt

SHORT_FORM = frozenset({"receipt_id", "signature"})


def of_job(connection: Connection, caller: Caller, job_id: str) -> str:
    """Return the receipt of a job as JSON to its client, the owner of its miner, or an administrator.

    Raises `JobNotFound`, also for other callers, and `JobNotCompleted`.
    """
    job = receipts.with_job(connection, job_id)
    if job is None or not (
        caller.role is Role.ADMIN
        or (caller.role is Role.CLIENT and job.account_id == caller.account_id)
        or (caller.role is Role.MINER and job.receipt and job.miner_id == caller.miner_id)
    ):
        raise JobNotFound(job_id)
    if job.receipt is None:
        state = job.state
        raise JobNotCompleted(f"Job {job_id} has no receipt because it is {state}.", {"status": state})
    return job.receipt


async def verify(context: Context, receipt: dict[str, Any]) -> VerifyAnswer:
    """Verify a whole receipt, or the short form (`receipt_id` and `signature`) against the stored receipt."""
    receipt_id = receipt.get("receipt_id")
    stored_receipt = None
    if isinstance(receipt_id, str) and receipt_id.isascii():
        stored_receipt = await context.database.read(receipts.find, receipt_id)
    whole_receipt = receipt
    mismatch: list[str] = []
    if set(receipt) <= SHORT_FORM:
        whole_receipt, mismatch = _expand(receipt, stored_receipt)
    verification = await asyncio.to_thread(verify_receipt, whole_receipt, log_key=context.signer.vkey)
    failures = [*mismatch, *([] if mismatch and stored_receipt is None else verification.failures)]
    return _answer(context, verification, failures)


def _expand(
    receipt: dict[str, Any], stored_receipt: ReceiptRecord | None
) -> tuple[dict[str, Any], list[str]]:
    if stored_receipt is None:
        return receipt, ["receipt_id: this coordinator has no such receipt."]
    whole_receipt: dict[str, Any] = orjson.loads(stored_receipt.receipt)
    if receipt.get("signature") != whole_receipt["signature"]:
        return {**whole_receipt, "signature": receipt.get("signature")}, []
    return whole_receipt, []


def _answer(context: Context, verification: Verification, failures: list[str]) -> VerifyAnswer:
    return VerifyAnswer(
        valid=verification.valid and not failures,
        miner_signature_valid=verification.miner_signature_valid,
        coordinator_attestations=verification.coordinator_attestations,
        verified_at=format_time(context.clock()),
        failures=failures,
    )
