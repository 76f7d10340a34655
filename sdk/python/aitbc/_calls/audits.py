"""The flows of `client.audits`: which results were checked by another miner, and with what outcome."""

from __future__ import annotations

from aitbc._http.flow import Flow, Request, Session, call, fetch, post_json, query, segment
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
    return query(session, _AUDITS, AuditList, limit=limit, miner_id=miner_id, verdict=verdict, before=before)


def get(session: Session, /, audit_id: str) -> Flow[Audit]:
    """Return one audit or further opinion; for administrators."""
    return query(session, f"{_AUDITS}/{segment(audit_id)}", Audit)


def of_job(session: Session, /, job_id: str) -> Flow[Audit]:
    """Return the audit of one of the client's jobs. Raises `NotFound` for a job without one."""
    return query(session, f"/v1/jobs/{segment(job_id)}/audit", Audit)


def of_miner(
    session: Session, /, miner_id: str, *, limit: int = 50, before: str | None = None
) -> Flow[MinerAudits]:
    """Return the decided audits of a miner, newest first, and what they have shown so far; for its owner and administrators."""
    return query(session, _of_miner(miner_id), MinerAudits, limit=limit, before=before)


def ask_for_second_opinion(session: Session, /, miner_id: str, audit_id: str) -> Flow[Audit]:
    """Have another auditor compare the result of a failed audit again, once. Raises `Conflict`."""
    path = f"{_of_miner(miner_id)}/{segment(audit_id)}/second-opinion"
    return fetch(session, Request("POST", path, repeatable=False), Audit)


def create_canary(session: Session, /, job_id: str, *, note: str = "") -> Flow[Canary]:
    """Submit a completed job again at random moments, as a job with a known answer; for administrators."""
    return fetch(session, post_json(_CANARIES, {"job_id": job_id, "note": note}), Canary)


def canaries(session: Session, /) -> Flow[CanaryList]:
    """Return all jobs with known answers, newest first; for administrators."""
    return query(session, _CANARIES, CanaryList)


def delete_canary(session: Session, /, canary_id: str) -> Flow[None]:
    """Delete a canary, so that its job is no longer submitted; for administrators."""
    yield from call(session, Request("DELETE", f"{_CANARIES}/{segment(canary_id)}"))


def _of_miner(miner_id: str) -> str:
    return f"/v1/miners/{segment(miner_id)}/audits"
