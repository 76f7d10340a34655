"""`aitbc jobs`: list, show, explain, watch, cancel, results, and the commands of `job_data`."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from aitbc._calls.jobs import failure
from aitbc.cli._arguments import complete
from aitbc.cli._arguments.ids import find_job, find_miner, find_offer
from aitbc.cli._arguments.lookup import LAST
from aitbc.cli._arguments.options import JobArgument, JsonOption, client_of, labels_of
from aitbc.cli._arguments.sealing import require_sealed
from aitbc.cli._batch.names import numbered, safe_name
from aitbc.cli._terminal.display import row_of
from aitbc.cli._terminal.exits import raise_last, try_each
from aitbc.cli._terminal.explanation import print_explanation
from aitbc.cli._terminal.job_summary import summary_of
from aitbc.cli._terminal.output import (
    moment,
    print_json,
    print_json_line,
    print_next_page,
    print_pairs,
    print_rows,
    print_status,
    print_text,
    service_name,
)
from aitbc.cli.commands import job_data
from aitbc.outputs import OutputFile

app = typer.Typer(
    help="List, watch, repeat, cancel and delete jobs, and fetch their results and logs.",
    no_args_is_help=True,
)


@app.command("list")
def list_jobs(
    context: typer.Context,
    status: Annotated[
        Literal["submitted", "running", "completed", "failed", "cancelled"] | None,
        typer.Option(
            metavar="STATE", help="Only jobs that are submitted, running, completed, failed or cancelled."
        ),
    ] = None,
    job_type: Annotated[
        str | None,
        typer.Option(
            "--type", metavar="SERVICE", help="Only jobs of this service.", autocompletion=complete.services
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Only jobs of exactly this name.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="Only jobs with this label; may be repeated."),
    ] = None,
    miner: Annotated[
        str | None,
        typer.Option(metavar="MINER", help="Only jobs that this miner runs or ran last: its name or id."),
    ] = None,
    offer: Annotated[
        str | None, typer.Option(metavar="OFFER", help="Only jobs that were given to this offer.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of jobs.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many of the newest jobs to skip.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List the account's jobs, newest first. Options that are combined must all apply.

    Examples:
      aitbc jobs list
      aitbc jobs list --status failed --limit 10
      aitbc jobs list --label project=podcast --json
    """
    with client_of(context) as client:
        page = client.jobs.list(
            status=status,
            type=job_type,
            name=name,
            labels=labels_of(label or ()),
            miner_id=None if miner is None else find_miner(client, miner),
            offer_id=None if offer is None else find_offer(client, offer),
            limit=limit,
            offset=offset,
        )
    if as_json:
        print_json(page.to_dict())
        return
    rows = [
        (
            job.job_id,
            job.status,
            job.name or "",
            moment(job.created_at),
            service_name(job.type),
            " ".join(f"{key}={value}" for key, value in (job.labels or {}).items()),
        )
        for job in page.jobs
    ]
    print_rows(("JOB", "STATUS", "NAME", "CREATED", "TYPE", "LABELS"), rows, free=("NAME", "LABELS"))
    print_next_page(offset + len(rows), page.total, "jobs")


@app.command("labels")
def list_labels(
    context: typer.Context,
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="Only labels with this key, such as project.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The maximum number of labels.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the labels of the account's jobs, with the number of jobs that have each.

    Examples:
      aitbc jobs labels
      aitbc jobs labels project
    """
    with client_of(context) as client:
        labels = client.jobs.labels(key=key, limit=limit)
    if as_json:
        print_json(labels.to_dict())
        return
    rows = [(f"{label.key}={label.value}", str(label.jobs)) for label in labels.labels]
    print_rows(("LABEL", "JOBS"), rows, free=("LABEL",))
    if labels.more:
        print_status(f"There are more labels; --limit {min(1000, 10 * limit)} shows them.")


@app.command()
def show(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Show a job: its state, duration, cost, files and receipt, or why it waits. --json has every field.

    Examples:
      aitbc jobs show last
      aitbc jobs show interview.wav
      aitbc jobs show job_06h3 --json
    """
    with client_of(context) as client:
        job_id = find_job(client, job)
        requested_job = client.jobs.get(job_id)
        state = requested_job.to_dict()
        # Before anything is shown: the coordinator describes the job, and could describe another one.
        require_sealed(client, job_id, state)
        # Programs that read JSON ask with `aitbc jobs explain`, and need no second request here.
        waits = state["status"] == "submitted" and not as_json
        why = client.jobs.explain(state["job_id"]) if waits else None
        print_json(state) if as_json else print_pairs(list(summary_of(client, requested_job)))
    if why is not None:
        print_explanation(why)


@app.command()
def explain(context: typer.Context, job: JobArgument = LAST, as_json: JsonOption = False) -> None:
    """Show why a job does not run: what prevents it, by how much, who can change that, and how.

    Examples:
      aitbc jobs explain
      aitbc jobs explain interview.wav
    """
    with client_of(context) as client:
        explanation = client.jobs.explain(find_job(client, job))
    print_json(explanation.to_dict()) if as_json else print_explanation(explanation)


@app.command()
def watch(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Follow a job until it ends. With --json, print every event (also tokens and segments) on its own line.

    Ctrl-C stops watching; the job continues.

    Examples:
      aitbc jobs watch last
      aitbc jobs watch job_06h3 --json
    """
    with client_of(context) as client:
        job_id = find_job(client, job)
        with nullcontext() if as_json else row_of(job_id) as row:
            for event in client.jobs.events(job_id):
                # With `--json` there is no display, which would write between the lines.
                if row is None:
                    message = {"kind": event.kind, "data": dict(event.data)}
                    print_json_line({**message, "opened": True} if event.opened else message)
                elif event.job is not None:
                    row.job(event.job)
                if event.job is not None and event.job.is_final and event.job.status != "completed":
                    raise failure(event.job)


@app.command()
def cancel(
    context: typer.Context,
    jobs: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB",
            help="Jobs: ids or parts of them, names, or `last` for the newest one.",
            autocompletion=complete.jobs,
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Cancel submitted or running jobs. You pay for the work that a miner has already reported.

    Examples:
      aitbc jobs cancel last
      aitbc jobs cancel job_06h3 interview.wav
    """
    with client_of(context) as client:
        cancelled, refusals = try_each(jobs, lambda job: client.jobs.cancel(find_job(client, job)))
    if as_json:
        print_json({"jobs": [job.to_dict() for job in cancelled]})
    elif cancelled:
        rows = [(job.job_id, job.status, job.cancelled_at or "") for job in cancelled]
        print_rows(("JOB", "STATUS", "CANCELLED"), rows)
    raise_last(refusals)


@app.command()
def results(
    context: typer.Context,
    job: JobArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Download the output files to this directory."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a completed job's results, and download its files.

    Examples:
      aitbc jobs results last
      aitbc jobs results interview.wav -o results/
    """
    with client_of(context) as client:
        answer = client.jobs.get_results(find_job(client, job), wait=False)
        written: list[str] = []
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            for position, file in enumerate(answer.output_files(), start=1):
                # Results name their files, and those names come from a miner.
                path = free_path(output, file, position)
                written.append(str(client.artifacts.download(file.artifact_id, to=path)))
                print_status(f"wrote {path}")
    if answer.caution is not None:
        print_status(answer.caution)
    if as_json:
        print_json({**answer.to_dict(), "outputs": written})
    else:
        print_text(json.dumps(answer.results, ensure_ascii=False, indent=2))


def free_path(directory: Path, file: OutputFile, position: int) -> Path:
    """Return the path for an output file: always below `directory`, and never an existing file."""
    named = directory / safe_name(file.name, f"output-{position}")
    # A job's files may all have the same name.
    return next(path for path in numbered(named) if not path.exists())


app.command("log")(job_data.log)
app.command("rerun")(job_data.rerun)
app.command("rm")(job_data.remove)
