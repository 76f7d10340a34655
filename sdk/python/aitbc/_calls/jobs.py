"""The flows of `client.jobs`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from aitbc import errors
from aitbc._calls import direct, opening, sealing
from aitbc._http.flow import Flow, Request, Session, Sleep, fetch, post_json, query, segment
from aitbc._http.transfer import Source, Uploadable
from aitbc.answers.jobs import (
    Job,
    JobDataDeleted,
    JobExplanation,
    JobList,
    JobLog,
    JobResults,
    LabelCounts,
    ServiceJob,
)
from aitbc.errors import AITBCError, JobFailed, VerificationError

_FIRST_POLL = 0.1
_SLOWEST_POLL = 2.0
"""Seconds between two polls of a job. Polls are frequent at first, so that a short job is not delayed."""
_POLL_GROWTH = 1.5
_UNFINISHED = frozenset({"submitted", "running"})


def idempotency_headers(key: str | None) -> dict[str, str]:
    """Return the header that makes a repeated POST return the first response."""
    return {} if key is None else {"Idempotency-Key": key}


def create(
    session: Session,
    /,
    body: Mapping[str, Any],
    files: Mapping[str, Uploadable] | None = None,
    *,
    idempotency_key: str | None = None,
    seal: str | None = None,
) -> Flow[Job]:
    """Create a job, and upload its `files` under the names that the body uses.

    `body` is the job as the API defines it: `name`, `type`, `labels`, `parameters`, `pricing` and so on. A job starts when its files are
    uploaded. If an upload fails, the job is cancelled and the error is raised. Calls with the same `idempotency_key` create a single
    job; without a key, the call is not retried once the coordinator may have received it.
    With `seal`, the id of a miner, only that miner can read the input and only this client the answer; the coordinator stores
    ciphertext (docs/how-to/seal-a-job.md). The machine's owner can still read its memory.
    Raises `APIError`, `TransportError`, `TimeoutError`, and `OSError` for a file that cannot be read; for a sealed job `VerificationError`
    if the coordinator returns the id of another job.
    """
    if seal is not None:
        sealed = yield from sealing.seal(session, body, files, miner_id=seal)
        return (yield from create(session, sealed, idempotency_key=idempotency_key))
    # Before the job exists, so that a file that is missing leaves no job behind.
    sources = {name: Source(content) for name, content in (files or {}).items()}
    # Saved before the request leaves: if this program is killed, the answer must still be verifiable.
    request = yield from sealing.request_of(session, body)
    job = yield from fetch(
        session, post_json("/v1/jobs", body, headers=idempotency_headers(idempotency_key)), Job
    )
    if request is not None:
        yield from sealing.remember_job(session, job.job_id, request)
    try:
        for name, source in sources.items():
            yield from _store(session, job.job_id, name, source)
    # A job whose files never arrive would hold the client's money until it expires.
    except (AITBCError, OSError):
        yield from _abandon(session, job.job_id)
        raise
    return job


def upload(
    session: Session, /, job_id: str, name: str, content: Uploadable, media_type: str | None = None
) -> Flow[Job]:
    """Upload an input file of a job. The job is queued once its last file has arrived."""
    return _store(session, job_id, name, Source(content), media_type)


def _store(
    session: Session, job_id: str, name: str, source: Source, media_type: str | None = None
) -> Flow[Job]:
    path = f"/v1/jobs/{segment(job_id)}/files/{segment(name)}"
    media_type = media_type or source.media_type
    artifact = yield from direct.upload(session, source, media_type)
    if artifact is not None:
        # The file is in the store already; the job only needs to know which one it is.
        request = Request("PUT", path, params={"artifact_id": artifact.artifact_id})
    else:
        request = Request("PUT", path, headers={"Content-Type": media_type}, source=source)
    return (yield from fetch(session, request, Job))


def _abandon(session: Session, job_id: str) -> Flow[None]:
    try:
        yield from cancel(session, job_id)
    except AITBCError as error:
        # The caller raises the first error. The job ends on its own if its files do not arrive.
        error.add_note("while cancelling a job whose files could not be uploaded")


def get(session: Session, /, job_id: str) -> Flow[Job]:
    """Return the state of a job."""
    return query(session, f"/v1/jobs/{segment(job_id)}", Job)


def explain(session: Session, /, job_id: str) -> Flow[JobExplanation]:
    """Return why a job does not run: what and by how much, who can change it, and how."""
    return query(session, f"/v1/jobs/{segment(job_id)}/explain", JobExplanation)


def list_jobs(
    session: Session,
    /,
    *,
    status: str | None = None,
    type: str | None = None,  # noqa: A002 - the API's name
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    miner_id: str | None = None,
    offer_id: str | None = None,
    account_id: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> Flow[JobList]:
    """Return one page of the account's jobs, newest first, to which all given filters apply.

    `labels` are those that the jobs have, perhaps among others. `miner_id` is the miner that runs a job or ran it last, `offer_id` the
    offer that it was given to. Administrators see the jobs of all accounts, or of `account_id`.
    """
    return query(
        session,
        "/v1/jobs",
        JobList,
        status=status,
        type=type,
        name=name,
        label=[f"{key}:{value}" for key, value in (labels or {}).items()] or None,
        miner_id=miner_id,
        offer_id=offer_id,
        account_id=account_id,
        limit=limit,
        offset=offset,
    )


def list_labels(session: Session, /, *, key: str | None = None, limit: int = 100) -> Flow[LabelCounts]:
    """Return the labels of the account's jobs, or those with a key, with the number of jobs that have each."""
    return query(session, "/v1/jobs/labels", LabelCounts, limit=limit, key=key)


def cancel(session: Session, /, job_id: str) -> Flow[Job]:
    """Cancel a submitted or running job. Raises `JobAlreadyCompleted` if it has ended."""
    request = Request("DELETE", f"/v1/jobs/{segment(job_id)}", repeatable=False)
    return fetch(session, request, Job)


def rerun(
    session: Session,
    /,
    job_id: str,
    *,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - the API's name
    wait: float | None = None,
    idempotency_key: str | None = None,
    **changes: Any,
) -> Flow[ServiceJob]:
    """Create a job like this one: same input, parameters and options, except for changes.

    `set` has new values of parameters by name, with dots inside objects; None restores a default. `changes` are job options such as
    `name`, `labels`, `pricing`, `priority` or `miner_id`. With `wait` (seconds, at most 60), the response is delayed until the job
    ends, and then includes its `results`. Raises `ValidationFailed` if an input file no longer exists, and `Conflict` for a sealed job.
    """
    headers = idempotency_headers(idempotency_key)
    if wait is not None:
        # RFC 7240: a server that does not know this preference answers immediately.
        headers["Prefer"] = f"wait={wait:g}"
    body = {**changes, "set": dict(set or {})}
    path = f"/v1/jobs/{segment(job_id)}/rerun"
    request = post_json(path, body, headers=headers, extra_timeout=wait or 0.0)
    created = yield from fetch(session, request, ServiceJob)
    # A true coordinator refuses: it has nothing to run, since it cannot read the input.
    if session.sealing.memory.get(job_id) is not None:
        raise VerificationError(
            f"The coordinator says that it runs job {job_id} again, whose input only its miner can read. Do not trust {created.job_id}."
        )
    return created


def log(session: Session, /, job_id: str) -> Flow[JobLog]:
    """Return what the job's runs have written: the output of a Python model, warnings of ffmpeg and the like.

    Raises `VerificationError` for a line that the miner of a job that this client sealed has not sealed.
    """
    job_log = yield from query(session, f"/v1/jobs/{segment(job_id)}/log", JobLog)
    return (yield from opening.open_log(session, job_log, job_id))


def delete_data(session: Session, /, job_id: str) -> Flow[JobDataDeleted]:
    """Delete an ended job from lists, with its parameters, results, log and files that no other job of the account uses.

    Its receipt and payment remain. Raises `Conflict` if the job has not ended.
    """
    request = Request("DELETE", f"/v1/jobs/{segment(job_id)}/data")
    return fetch(session, request, JobDataDeleted)


def get_results(
    session: Session, /, job_id: str, *, wait: bool = True, opened: bool = True
) -> Flow[JobResults]:
    """Return the results of a completed job. Waits, without a time limit, for an unfinished job unless `wait` is false.

    Those of a sealed job are opened, unless `opened` is false: then they are as the miner signed them. Afterwards this client also
    opens their files when it downloads them.

    Raises `JobNotCompleted` if the job failed or was cancelled, and without `wait` also if it is unfinished; `VerificationError` for results
    that the miner of a job that this client sealed has not sealed.
    """
    answer = yield from _results(session, job_id, waits=wait)
    return (yield from opening.open_results(session, answer, job_id, opened=opened))


def _results(session: Session, job_id: str, *, waits: bool) -> Flow[JobResults]:
    path = f"/v1/jobs/{segment(job_id)}/results"
    try:
        return (yield from query(session, path, JobResults))
    except errors.JobNotCompleted as error:
        # A job that has failed will never have results, however long one waits.
        if not waits or error.details.get("status") not in _UNFINISHED:
            raise
    with suppress(JobFailed):  # the next response reports the failure
        yield from wait(session, job_id)
    return (yield from query(session, path, JobResults))


def wait(
    session: Session,
    /,
    job_id: str,
    timeout: float | None = None,
    on_progress: Callable[[Job], object] | None = None,
) -> Flow[Job]:
    """Wait until a job has completed. Returns its final state.

    `timeout` is in seconds (None: no limit). `on_progress` is called with the first state, and whenever status, progress or attempts change. Raises `JobFailed` if the job failed or
    was cancelled, and `TimeoutError` after `timeout`; the job then continues.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST_POLL
    reported: tuple[Any, ...] | None = None
    while True:
        job = yield from get(session, job_id)
        # The attempts too: a job that is queued again after a failure may show the same status and progress.
        state = (job.status, job.progress, job.attempts)
        if on_progress is not None and state != reported:
            on_progress(job)
        reported = state
        if job.status == "completed":
            return job
        if job.is_final:
            raise failure(job)
        # Before the pause and not after it: a wait that cannot end in time ends at once.
        if deadline is not None and time.monotonic() + pause > deadline:
            raise errors.TimeoutError(
                f"Job {job_id} is still {job.status} after {timeout:g} seconds. It continues; wait again, or cancel it."
            )
        yield Sleep(pause)
        pause = min(_SLOWEST_POLL, pause * _POLL_GROWTH)


def failure(job: Job) -> JobFailed:
    """Return the error for a job that ended without results."""
    error: Mapping[str, Any] = job.error or {}
    reason = str(error.get("message") or "no reason was given").removesuffix(".")
    return JobFailed(job.job_id, job.status, str(error.get("code") or job.status.upper()), reason)
