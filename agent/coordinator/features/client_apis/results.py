"""Waits for the results of a client's job, and checks them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from agent.coordinator.features.client_apis.errors import (
    AnswerCancelled,
    AnswerFailed,
    AnswerInvalid,
    AnswerRefused,
    AnswerTimeout,
)
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.operations.answers import JobStatus
from agent.coordinator.operations.files import artifacts
from agent.coordinator.operations.jobs import own_jobs
from agent.coordinator.operations.supply import supply
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.core.errors import ApiError, JobAlreadyCompleted, NotFound
from agent.core.jobs import FINAL
from agent.sections import section_of

ResultT = TypeVar("ResultT", bound=BaseModel)
WorkT = TypeVar("WorkT")


async def drop(submission: AnswerSubmission) -> None:
    """Cancel the job of a client that no longer waits, unless the client can resume."""
    if not submission.resumable:
        # The job may end just before the client leaves; then it is paid for anyway.
        with suppress(JobAlreadyCompleted):
            await own_jobs.cancel(submission.context, submission.caller, submission.job_id)


async def result(submission: AnswerSubmission, output: type[ResultT]) -> ResultT:
    """Do the same as `all_results` for an answer from one job."""
    (answer,) = await all_results([submission], output)
    return answer


async def drop_all(submissions: Sequence[AnswerSubmission]) -> None:
    """Do the same as `drop` for several jobs."""
    await asyncio.gather(*map(drop, submissions))


async def all_results(submissions: Sequence[AnswerSubmission], output: type[ResultT]) -> list[ResultT]:
    """Wait for the end of an answer's jobs and return their results. Raises `AnswerFailed`.

    If the client disconnects, or one of the jobs fails or takes too long, all that have not ended are cancelled.
    """
    endings = [
        asyncio.create_task(_result(submission, output), name=f"answer-{submission.job_id}")
        for submission in submissions
    ]
    try:
        return await unless_left(submissions[0], asyncio.gather(*endings))
    except ApiError:
        # Nobody waits for the answer any more, so the client should not pay for the rest of it.
        await drop_all(
            [
                submission
                for submission, ending in zip(submissions, endings, strict=True)
                if not ending.done() or ending.cancelled()
            ]
        )
        raise
    finally:
        for task in endings:
            task.cancel()
        await asyncio.gather(*endings, return_exceptions=True)


async def _result(submission: AnswerSubmission, output: type[ResultT]) -> ResultT:
    limit = section_of(submission.context.settings, ClientApiSettings).answer_seconds
    job, results = await own_jobs.wait_until_final(
        submission.context, submission.caller, submission.job_id, limit
    )
    return await checked_result(submission, job, results, output)


async def unless_left(submission: AnswerSubmission, work: Awaitable[WorkT]) -> WorkT:
    """Return the result of `work`. If the client disconnects first, it is cancelled, and `AnswerCancelled` raised."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(
        submission.call.disconnected(), name=f"answer-disconnect-{submission.job_id}"
    )
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise AnswerCancelled(submission.job_id, "The client has disconnected.")
        return working.result()
    finally:
        # Neither of them may outlive the request, also if it is cancelled.
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def checked_result(
    submission: AnswerSubmission, job: JobStatus, results: dict[str, Any] | None, output: type[ResultT]
) -> ResultT:
    """Return the results of a job that has ended or timed out. Raises `AnswerFailed`."""
    if results is None:
        await _raise_failure(submission, job)
    try:
        # Miners are not trusted: what they send must have the form that clients are promised.
        return output.model_validate(results)
    except ValidationError:
        raise invalid_results(submission) from None


async def result_file(submission: AnswerSubmission, artifact_id: str) -> ArtifactRecord:
    """Return a file that the results name. Raises `AnswerInvalid` if the caller may not read it, since a miner can name any file."""
    try:
        return await artifacts.find(submission.context, submission.caller, artifact_id)
    except NotFound:
        raise invalid_results(submission) from None


def invalid_results(submission: AnswerSubmission) -> AnswerInvalid:
    """Return the error for results that do not follow the service's definition."""
    message = f"The miner's results of job {submission.job_id} are not valid for {submission.service_id}."
    return AnswerInvalid(submission.job_id, message)


async def _raise_failure(submission: AnswerSubmission, job: JobStatus) -> NoReturn:
    if job.status not in FINAL:
        await _too_late(submission)
    if job.error is None:
        raise AnswerCancelled(submission.job_id, f"Job {submission.job_id} was cancelled.")
    by_machines = await own_jobs.failed_by_machines(submission.context, submission.job_id)
    kind = AnswerFailed if by_machines else AnswerRefused
    raise kind(submission.job_id, job.error.message, job.error.code)


async def _too_late(submission: AnswerSubmission) -> NoReturn:
    await drop(submission)
    limit = section_of(submission.context.settings, ClientApiSettings).answer_seconds
    if submission.resumable:
        outcome = "It continues: repeat the request with the same Idempotency-Key to wait for it."
    else:
        outcome = "It was cancelled."
    message = f"Job {submission.job_id} did not end within {limit:g} seconds. {outcome}"
    if (await supply(submission.context, submission.service_id)).online == 0:
        message += f" No online miner offers {submission.service_id}. Try again later."
    raise AnswerTimeout(submission.job_id, message)
