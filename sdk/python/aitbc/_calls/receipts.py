"""The flows of `client.receipts`. What verifies offline is in `aitbc.receipts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aitbc._calls import jobs, log
from aitbc._http.flow import Flow, Request, Session, Sleep, fetch, post_json
from aitbc.errors import TimeoutError  # noqa: A004 - the package's own, which is the builtin one too
from aitbc.log import parse_proof
from aitbc.models import Receipt, VerifyAnswer
from aitbc.policy import Policy
from aitbc.receipts import build_bundle

_WITNESS_PAUSE = 1.0
"""Seconds between two looks for cosignatures."""


def get(session: Session, /, job_id: str) -> Flow[Receipt]:
    """The receipt of a completed job."""
    return (yield from fetch(session, Request("GET", f"/v1/receipts/{quote(job_id, safe='')}"), Receipt))


def verify(session: Session, /, receipt: Mapping[str, Any]) -> Flow[VerifyAnswer]:
    """Ask the coordinator whether a receipt is valid: a whole one, or its short form.

    This trusts the coordinator; `aitbc.verify_receipt` does not need to.
    """
    request = post_json("/v1/receipts/verify", {"receipt": dict(receipt)}, repeatable=True)
    return (yield from fetch(session, request, VerifyAnswer))


def export(
    session: Session, /, job_id: str, *, policy: Policy | None = None, timeout: float = 60
) -> Flow[dict[str, Any]]:
    """The bundle of a completed job (receipt, results, proof), which `aitbc.verify_bundle` checks offline.

    With a `policy`, waits until the witnesses that it asks for have cosigned a checkpoint that has the receipt. Raises
    `TimeoutError` when they have not within `timeout` seconds, `VerificationError` when the log is none of the policy's.
    """
    receipt = yield from get(session, job_id)
    results = yield from jobs.get_results(session, job_id, wait=False)
    left = timeout
    while True:
        proof = yield from log.proof(session, receipt.receipt_id)
        if policy is None or _accepted(policy, proof):
            return build_bundle(receipt.to_dict(), results.results, proof)
        if left <= 0:
            raise TimeoutError(
                f"No checkpoint with the receipt of {job_id} is cosigned as the policy asks; its witnesses may come later."
            )
        yield Sleep(min(left, _WITNESS_PAUSE))
        left -= _WITNESS_PAUSE


def _accepted(policy: Policy, proof: str) -> bool:
    note = parse_proof(proof).note
    policy.open(note)
    return policy.is_met_by(policy.cosigned_by(note))
