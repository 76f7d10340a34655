"""Sees a job through for the commands that create one: waits, cancels on Ctrl-C, stores the receipt."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from aitbc._client import AITBCClient
from aitbc.cli._output import complain, progress_of
from aitbc.errors import AITBCError, JobAlreadyCompleted
from aitbc.models import Job, JobResults

INTERRUPTED = 130


def finish(client: AITBCClient, job: Job, receipt: Path | None) -> JobResults:
    """Wait for the job and return its results; store the bundle of its receipt in `receipt` where given.

    Ctrl-C cancels the job and ends the program with 130. Raises `JobFailed` and what every call raises.
    """
    try:
        with progress_of(job.job_id) as show:
            client.jobs.wait(job.job_id, on_progress=show)
    except KeyboardInterrupt:
        _cancel(client, job.job_id)
        raise typer.Exit(INTERRUPTED) from None
    results = client.jobs.get_results(job.job_id)
    if receipt is not None:
        write_bundle(receipt, client.receipts.export(job.job_id))
    return results


def _cancel(client: AITBCClient, job_id: str) -> None:
    try:
        client.jobs.cancel(job_id)
    except JobAlreadyCompleted:
        complain(f"interrupted; job {job_id} had ended already")
    except AITBCError as error:
        complain(f"interrupted; job {job_id} could not be cancelled: {error}")
    else:
        complain(f"interrupted; job {job_id} is cancelled")


def write_bundle(path: Path, bundle: dict[str, object]) -> None:
    """Write an exported receipt."""
    path.write_text(json.dumps(bundle, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
