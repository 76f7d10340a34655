"""`aitbc jobs`: list, show, watch, cancel, results."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path, PureWindowsPath
from typing import Annotated

import typer

from aitbc._jobs import failure
from aitbc.cli._output import print_fields, print_json, print_rows, print_text, progress_of, say
from aitbc.cli._state import JsonOption, client_of
from aitbc.outputs import OutputFile

app = typer.Typer(help="Look at jobs, cancel them, fetch their results.", no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


@app.command("list")
def list_jobs(
    context: typer.Context,
    status: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    job_type: Annotated[str | None, typer.Option("--type", help="Only jobs of this type.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many of the newest.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List the account's jobs, the newest first."""
    with client_of(context) as client:
        page = client.jobs.list(status=status, type=job_type, limit=limit, offset=offset)
    if as_json:
        print_json(page.to_dict())
        return
    rows = [(job.job_id, job.status, job.type or "", job.created_at or "") for job in page.jobs]
    print_rows(("JOB", "STATUS", "TYPE", "CREATED"), rows)
    if offset + len(rows) < page.total:
        say(f"{offset + len(rows)} of {page.total} jobs; --offset {offset + len(rows)} shows more")


@app.command()
def show(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Show a job's state."""
    with client_of(context) as client:
        state = client.jobs.get(job).to_dict()
    print_json(state) if as_json else print_fields(state)


@app.command()
def watch(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Follow a job until it ends. With --json every event is printed, tokens and segments too, each on a line."""
    with client_of(context) as client, nullcontext() if as_json else progress_of(job) as show_state:
        for event in client.jobs.events(job):
            if show_state is None:
                typer.echo(json.dumps({"kind": event.kind, "data": dict(event.data)}))
            elif event.job is not None:
                show_state(event.job)
            if event.job is not None and event.job.is_final and event.job.status != "completed":
                raise failure(event.job)


@app.command()
def cancel(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Cancel a submitted or running job."""
    with client_of(context) as client:
        state = client.jobs.cancel(job).to_dict()
    print_json(state) if as_json else print_fields(state)


@app.command()
def results(
    context: typer.Context,
    job: JobArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Fetch the output files into this directory."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a completed job's results, and fetch its files."""
    with client_of(context) as client:
        answer = client.jobs.get_results(job)
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            for position, file in enumerate(answer.output_files(), start=1):
                path = client.artifacts.download(file.artifact_id, to=free_path(output, file, position))
                say(f"wrote {path}")
    if as_json:
        print_json(answer.to_dict())
    else:
        print_text(json.dumps(answer.results, ensure_ascii=False, indent=2))


def free_path(directory: Path, file: OutputFile, position: int) -> Path:
    """Where to write an output file: below `directory` whatever its name says, and over no other file."""
    name = PureWindowsPath(file.name).name.strip()
    if not name.isprintable() or name in {"", ".", ".."}:
        name = f"output-{position}"
    path = directory / name
    return directory / f"{position}-{name}" if path.exists() else path
