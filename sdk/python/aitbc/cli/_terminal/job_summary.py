"""What `aitbc jobs show` prints: what became of a job, how long it took, what it cost, what came out, and how to fetch it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from aitbc._client import AITBCClient
from aitbc.answers.jobs import Job
from aitbc.cli._arguments.ids import PAGE
from aitbc.cli._terminal.output import credits_text, duration_text, moment, short_artifact, size_text
from aitbc.errors import AITBCError

_ENDS = ("completed_at", "failed_at", "cancelled_at")


def summary_of(client: AITBCClient, job: Job) -> Iterator[tuple[str, str]]:
    """Yield the lines of the summary: a name and a text each."""
    if job.name:
        yield "name", job.name
    yield "job", job.job_id
    yield "status", ", ".join(_state(job))
    if service := job.service_id or job.type:
        yield "service", service
    if job.miner_id is not None:
        yield "miner", _miner(client, job.miner_id)
    if job.cost is not None:
        yield "paid", credits_text(job.cost)
    if job.created_at is not None:
        yield "submitted", moment(job.created_at)
    if job.labels:
        yield "labels", " ".join(f"{key}={value}" for key, value in job.labels.items())
    yield from _inputs(job)
    yield from _parameters(job)
    if job.status == "completed":
        yield from _outputs(client, job)
    if job.error is not None:
        yield "error", f"{job.error.code}: {job.error.message}"


def _state(job: Job) -> Iterator[str]:
    """Yield the parts of the sentence about the state."""
    end = next((time for field in _ENDS if (time := getattr(job, field, None))), None)
    if end is not None:
        yield f"{job.status} {moment(end)}"
    else:
        yield f"{job.status} {job.progress:g} %" if job.progress else job.status
    if job.started_at is not None and end is not None:
        yield f"ran for {_between(job.started_at, end)}"
    attempts, failure = job.attempts or 0, job.last_failure
    if failure is not None:
        yield f"attempt {attempts + 1} of {job.max_attempts} because of {failure.code}: {failure.message}"
    elif attempts > 1:
        yield f"attempt {attempts} of {job.max_attempts}"


def _between(start: str, end: str) -> str:
    return duration_text((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


def _miner(client: AITBCClient, miner_id: str) -> str:
    # The name helps people, and is not worth an error.
    with suppress(AITBCError, LookupError):
        for miner in client.marketplace.miners(limit=PAGE).miners:
            if miner.miner_id == miner_id:
                return f"{miner.name} ({miner_id})"
    return miner_id


def _inputs(job: Job) -> Iterator[tuple[str, str]]:
    for file in job.inputs or ():
        source = short_artifact(file.artifact_id) if file.artifact_id else file.url or "in the request"
        size = "" if file.size is None else f"{size_text(file.size)}, "
        yield "input", f"{file.name} ({size}{source})"


def _parameters(job: Job) -> Iterator[tuple[str, str]]:
    read = {file.field.partition(".")[0] for file in job.inputs or ()}
    parameters = {name: value for name, value in (job.parameters or {}).items() if name not in read}
    if parameters:
        yield "with", ", ".join(f"{name}={value}" for name, value in parameters.items())


def _outputs(client: AITBCClient, job: Job) -> Iterator[tuple[str, str]]:
    # The results may be deleted, or sealed for another key; the rest of the summary holds nevertheless.
    with suppress(AITBCError):
        for file in client.jobs.get_results(job.job_id, wait=False).output_files():
            yield "output", f"{file.name} ({size_text(file.size)}, {short_artifact(file.artifact_id)})"
    yield "results", f"aitbc jobs results {job.job_id} -o DIR"
    yield "receipt", f"aitbc receipts export {job.job_id} -o receipt.json"
