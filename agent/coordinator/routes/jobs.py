"""`/v1/jobs`."""

from __future__ import annotations

from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Path, Query, Request, Response, status
from pydantic import TypeAdapter

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.http.plain import RequestReader, json_answer, json_body, plainly
from agent.coordinator.job_fields import OPTION_ERRORS
from agent.coordinator.operations.answers import JobCancelled, JobCreated, JobDetails, JobPage, JobStatus
from agent.coordinator.operations.jobs import details, files, lists, own_jobs, submitting
from agent.coordinator.operations.jobs.requests import JobFilters, JobRequest
from agent.coordinator.routes._callers import (
    Client,
    ContextOf,
    IdempotencyKey,
    PreferredWait,
    announced_size,
    client,
    preferred_wait,
)
from agent.coordinator.routes._declare import FILE_BODY, errors, headers
from agent.core.errors import (
    CannotRun,
    Conflict,
    Forbidden,
    InsufficientBalance,
    InsufficientStorage,
    InvalidJobType,
    JobAlreadyCompleted,
    JobNotCompleted,
    JobNotFound,
    NotFound,
)
from agent.core.values.media_types import clean_media_type
from aitbc.answers import fields
from aitbc.answers.jobs import JobResults

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/jobs", tags=["Jobs"])

_JOB_REQUEST: Final = TypeAdapter(JobRequest)
_IDEMPOTENCY_KEY: Final = TypeAdapter(IdempotencyKey)
_JOB_CREATED: Final = TypeAdapter(JobCreated)
_JOB_DETAILS: Final = TypeAdapter(JobDetails)

log = structlog.get_logger()


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses={
        201: {
            "headers": headers(
                Preference_Applied="`wait=N`, if `Prefer` requested it",
                X_Trace_ID="The job's id in all logs: the trace id of your `traceparent`, or a new one",
            )
        },
        **errors(InvalidJobType, InsufficientBalance, NotFound, Conflict, CannotRun, *OPTION_ERRORS),
    },
    summary="Create a job",
)
async def create(
    context: ContextOf,
    caller: Client,
    request: JobRequest,
    wait: PreferredWait,
    response: Response,
    key: IdempotencyKey = None,
) -> JobCreated:
    """The job is queued immediately, or once the files listed under `missing_files` are uploaded."""
    created = await submitting.submit(context, caller, request, key)
    if wait:
        created = await own_jobs.wait_for_end(context, caller, created, wait)
        response.headers["Preference-Applied"] = f"wait={wait}"
    return created


@plainly(router, create)
async def _create(request: Request) -> Response:
    body = await json_body(request)
    context, caller = await client(request)
    reading = RequestReader()
    job_request = reading.valid(_JOB_REQUEST, body, "body")
    key = reading.valid(_IDEMPOTENCY_KEY, request.headers.get("idempotency-key"), "header", "Idempotency-Key")
    reading.finish()
    wait = await preferred_wait(request.headers.get("prefer"))
    created = await create(context, caller, job_request, wait, Response(), key)
    answer = json_answer(_JOB_CREATED, created, status.HTTP_201_CREATED, without_null=True)
    if wait:
        answer.headers["Preference-Applied"] = f"wait={wait}"
    return answer


@router.get(
    "",
    response_model_exclude_none=True,
    responses=errors(InvalidJobType, Conflict, Forbidden),
    summary="List jobs",
)
async def list_jobs(
    context: ContextOf,
    caller: Client,
    filters: Annotated[JobFilters, Query()],
) -> JobPage:
    """Your jobs, newest first; administrators see those of all accounts. Filters that are combined must all apply."""
    return await lists.page(context, caller, filters)


@router.get(
    "/{job_id}", response_model_exclude_none=True, responses=errors(JobNotFound), summary="Status of a job"
)
async def get(context: ContextOf, caller: Client, job_id: fields.JobId) -> JobDetails:
    """`progress` is 0 to 100; a failed job has an `error`. `parameters` and `inputs` say what the job was asked to do."""
    return await details.get(context, caller, job_id)


@plainly(router, get)
async def _get(request: Request) -> Response:
    context, caller = await client(request)
    job = await get(context, caller, request.path_params["job_id"])
    return json_answer(_JOB_DETAILS, job, without_null=True)


@router.delete("/{job_id}", responses=errors(JobNotFound, JobAlreadyCompleted), summary="Cancel a job")
async def cancel(context: ContextOf, caller: Client, job_id: fields.JobId) -> JobCancelled:
    """The run of a running job is stopped."""
    return await own_jobs.cancel(context, caller, job_id)


@router.get(
    "/{job_id}/results",
    response_model=JobResults,
    responses=errors(JobNotFound, JobNotCompleted),
    summary="Results of a completed job",
)
async def results(context: ContextOf, caller: Client, job_id: fields.JobId) -> Response:
    """Answers 409 `JOB_NOT_COMPLETED` with the state and the cause unless the job is completed."""
    return Response(await own_jobs.results(context, caller, job_id), media_type="application/json")


@plainly(router, results)
async def _results(request: Request) -> Response:
    context, caller = await client(request)
    return await results(context, caller, request.path_params["job_id"])


@router.put(
    "/{job_id}/files/{name}",
    response_model_exclude_none=True,
    responses=errors(JobNotFound, Conflict, InsufficientStorage),
    openapi_extra=FILE_BODY,
    summary="Upload a file that a job waits for",
)
async def upload_file(
    context: ContextOf,
    caller: Client,
    job_id: fields.JobId,
    name: Annotated[str, Path(description="The file's name", examples=["model.py"])],
    request: Request,
    artifact_id: Annotated[
        fields.ArtifactId | None, Query(description="A file that you have stored before, instead of a body")
    ] = None,
) -> JobStatus:
    """The body is the file. The job is queued once its last file is uploaded."""
    if artifact_id is not None:
        return await files.use_stored_file(context, caller, job_id, name, artifact_id)
    media_type = clean_media_type(request.headers.get("content-type"))
    return await files.upload_file(
        context, caller, job_id, name, media_type, request.stream(), announced_size(request)
    )
