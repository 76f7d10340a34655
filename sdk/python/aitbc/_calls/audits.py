"""The flows of `client.audits`: which results were checked by another miner, and with what outcome."""

from __future__ import annotations

from urllib.parse import quote

from aitbc._http.flow import Flow, Request, Session, call, fetch, post_json
from aitbc.answers.audits import Audit, AuditList, Canary, CanaryList, MinerAudits

_AUDITS = "/v1/audits"
_CANARIES = "/v1/admin/canaries"


def list_audits(
    session: Session,
    /,
    *,
    miner_id: str | None = None,
    verdict: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> Flow[AuditList]:
    """Return all audits and further opinions, newest first, to which all given filters apply; for administrators.

    Pass a page's `next` as `before` to get the next page.
    """
    filters = {"limit": str(limit), "miner_id": miner_id, "verdict": verdict, "before": before}
    params = {name: value for name, value in filters.items() if value is not None}
    return (yield from fetch(session, Request("GET", _AUDITS, params=params), AuditList))


def get(session: Session, /, audit_id: str) -> Flow[Audit]:
    """Return one audit or further opinion; for administrators."""
    return (yield from fetch(session, Request("GET", f"{_AUDITS}/{quote(audit_id, safe='')}"), Audit))


def of_job(session: Session, /, job_id: str) -> Flow[Audit]:
    """Return the audit of one of the client's jobs. Raises `NotFound` for a job without one."""
    return (yield from fetch(session, Request("GET", f"/v1/jobs/{quote(job_id, safe='')}/audit"), Audit))


def of_miner(
    session: Session, /, miner_id: str, *, limit: int = 50, before: str | None = None
) -> Flow[MinerAudits]:
    """Return the decided audits of a miner, newest first, and what they have shown so far; for its owner and administrators."""
    params = {"limit": str(limit), **({} if before is None else {"before": before})}
    return (yield from fetch(session, Request("GET", _of_miner(miner_id), params=params), MinerAudits))


def ask_for_second_opinion(session: Session, /, miner_id: str, audit_id: str) -> Flow[Audit]:
    """Have another auditor compare the result of a failed audit again, once. Raises `Conflict`."""
    path = f"{_of_miner(miner_id)}/{quote(audit_id, safe='')}/second-opinion"
    return (yield from fetch(session, Request("POST", path, repeatable=False), Audit))


def create_canary(session: Session, /, job_id: str, *, note: str = "") -> Flow[Canary]:
    """Submit a completed job again at random moments, as a job with a known answer; for administrators."""
    return (yield from fetch(session, post_json(_CANARIES, {"job_id": job_id, "note": note}), Canary))


def canaries(session: Session, /) -> Flow[CanaryList]:
    """Return all jobs with known answers, newest first; for administrators."""
    return (yield from fetch(session, Request("GET", _CANARIES), CanaryList))


def delete_canary(session: Session, /, canary_id: str) -> Flow[None]:
    """Delete a canary, so that its job is no longer submitted; for administrators."""
    yield from call(session, Request("DELETE", f"{_CANARIES}/{quote(canary_id, safe='')}"))


def _of_miner(miner_id: str) -> str:
    return f"/v1/miners/{quote(miner_id, safe='')}/audits"
