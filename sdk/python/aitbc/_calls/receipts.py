"""The flows of `client.receipts`. `aitbc.receipts` verifies receipts offline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aitbc._calls import jobs, log, opening
from aitbc._http.flow import Flow, Session, Sleep, fetch, post_json, query, segment
from aitbc.answers.receipts import Receipt, VerifyAnswer
from aitbc.errors import TimeoutError  # noqa: A004 - the package's own, which is the builtin one too
from aitbc.log import parse_proof
from aitbc.policy import Policy
from aitbc.receipts import build_bundle

_WITNESS_PAUSE = 1.0
"""Seconds between two polls for cosignatures."""


def get(session: Session, /, job_id: str) -> Flow[Receipt]:
    """Return the receipt of a completed job. Raises `VerificationError` if it is not about what this client sealed as this job."""
    receipt = yield from query(session, f"/v1/receipts/{segment(job_id)}", Receipt)
    opening.check_receipt(session, job_id, receipt.to_dict())
    return receipt


def verify(session: Session, /, receipt: Mapping[str, Any]) -> Flow[VerifyAnswer]:
    """Have the coordinator verify a receipt, in its complete or its short form.

    This requires trust in the coordinator; `aitbc.verify_receipt` does not.
    """
    request = post_json("/v1/receipts/verify", {"receipt": dict(receipt)}, repeatable=True)
    return fetch(session, request, VerifyAnswer)


def export(
    session: Session, /, job_id: str, *, policy: Policy | None = None, timeout: float = 60
) -> Flow[dict[str, Any]]:
    """Return the bundle of a completed job (receipt, results, proof), which `aitbc.verify_bundle` checks offline.

    With a `policy`, wait until the required witnesses have cosigned a checkpoint that includes the receipt. Raises `TimeoutError` after
    `timeout` seconds, and `VerificationError` if the policy does not include the log, or if receipt and results are not about what this
    client sealed as this job.
    """
    receipt = yield from get(session, job_id)
    # As they were signed, not opened: the receipt's digest is of the ciphertext.
    results = yield from jobs.get_results(session, job_id, wait=False, opened=False)
    opening.check_receipt(session, job_id, receipt.to_dict(), results.results)
    seconds_left = timeout
    while True:
        # Again each time: cosignatures are part of the checkpoint that the proof contains.
        proof = yield from log.proof(session, receipt.receipt_id)
        if policy is None or _accepted(policy, proof):
            return build_bundle(receipt.to_dict(), results.results, proof)
        if seconds_left <= 0:
            raise TimeoutError(
                f"No checkpoint that includes the receipt of {job_id} has the cosignatures that the policy requires. Try again later."
            )
        yield Sleep(min(seconds_left, _WITNESS_PAUSE))
        seconds_left -= _WITNESS_PAUSE


def _accepted(policy: Policy, proof: str) -> bool:
    note = parse_proof(proof).note
    # A checkpoint that the policy's log did not sign has no worth, even with cosignatures.
    policy.open(note)
    return policy.is_met_by(policy.cosigned_by(note))
