"""The flows of `client.receipts`. What verifies offline is in `aitbc.receipts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aitbc import _jobs
from aitbc._flow import Flow, Request, Session, fetch, post_json
from aitbc.models import Receipt, VerifyAnswer
from aitbc.receipts import build_bundle


def get(session: Session, /, job_id: str) -> Flow[Receipt]:
    """The receipt of a completed job."""
    return (yield from fetch(session, Request("GET", f"/v1/receipts/{quote(job_id, safe='')}"), Receipt))


def verify(session: Session, /, receipt: Mapping[str, Any]) -> Flow[VerifyAnswer]:
    """Ask the coordinator whether a receipt is valid: a whole one, or its short form.

    This trusts the coordinator; `aitbc.verify_receipt` does not need to.
    """
    request = post_json("/v1/receipts/verify", {"receipt": dict(receipt)}, repeatable=True)
    return (yield from fetch(session, request, VerifyAnswer))


def export(session: Session, /, job_id: str) -> Flow[dict[str, Any]]:
    """The bundle of a completed job, receipt and results, which `aitbc.verify_bundle` checks offline."""
    receipt = yield from get(session, job_id)
    results = yield from _jobs.get_results(session, job_id)
    return build_bundle(receipt.to_dict(), results.results)
