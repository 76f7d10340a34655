"""`aitbc jobs log`, `rerun` and `rm`: what jobs wrote, jobs that run again, and jobs whose data is deleted."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from aitbc._client import AITBCClient
from aitbc._http.flow import present
from aitbc.answers.jobs import JobDataDeleted, JobLogEntry
from aitbc.cli._arguments import complete
from aitbc.cli._arguments.ids import find_job, find_miner, find_offer
from aitbc.cli._arguments.options import JobArgument, JsonOption, client_of, labels_of
from aitbc.cli._terminal.exits import raise_last, try_each
from aitbc.cli._terminal.output import print_json, print_json_line, print_rows, print_status

LabelOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; may be repeated.")
]


def log(
    context: typer.Context,
    job: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print further lines until the job ends.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what a job wrote while it ran: the output of a Python model, warnings of ffmpeg and the like.

    Examples:
      aitbc jobs log last
      aitbc jobs log model.py --follow
    """
    with client_of(context) as client:
        job_id = find_job(client, job)
        job_log = client.jobs.log(job_id)
        if job_log.caution is not None:
            print_status(job_log.caution)
        if as_json and not follow:
            print_json(job_log.to_dict())
            return
        printed = _PrintedLog(as_json=as_json)
        printed.add(job_log.entries)
        if follow:
            # Its event has the number of lines and not the lines, so the log is fetched each time it grew.
            for event in client.jobs.events(job_id):
                if event.kind == "log" or (event.job is not None and event.job.is_final):
                    job_log = client.jobs.log(job_id)
                    printed.add(job_log.entries)
    if not job_log.entries:
        print_status("The job has written nothing.")
    if job_log.truncated:
        print_status("The log was longer than the limit: lines in the middle are missing.")


class _PrintedLog:
    """The lines that were printed: the time, the attempt if there are several, the source, and the text."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._count = 0
        self._last: tuple[object, ...] | None = None

    def add(self, entries: Sequence[JobLogEntry]) -> None:
        """Print the lines that follow the last printed one.

        It has the same position as before, unless lines before it were dropped from a long log.
        """
        lines = [(entry.attempt, entry.source, entry.text) for entry in entries]
        begin = self._count
        # A log at its limit loses lines in the middle, which moves the later ones.
        if begin and lines[begin - 1 : begin] != [self._last]:
            matches = (position for position in reversed(range(len(lines))) if lines[position] == self._last)
            begin = next(matches, -1) + 1
        for entry in entries[begin:]:
            self._print(entry)
        if lines:
            self._count, self._last = len(lines), lines[-1]

    def _print(self, entry: JobLogEntry) -> None:
        if self._as_json:
            print_json_line(entry.to_dict())
        elif sys.stdout.isatty():
            attempt = f"#{entry.attempt} " if entry.attempt > 1 else ""
            typer.echo(f"{entry.time[11:19]} {attempt}{entry.source:<8} {entry.text}")
        else:
            typer.echo(f"{entry.time}\t{entry.attempt}\t{entry.source}\t{entry.text}")


def rerun(
    context: typer.Context,
    job: JobArgument,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A parameter's new value: JSON or text, @FILE to upload a file, null for the default. May be repeated.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The new job's name.")] = None,
    label: LabelOption = None,
    max_cost: Annotated[
        str | None, typer.Option("--max-cost", metavar="CREDITS", help="The maximum cost.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option(min=0, max=9, metavar="0..9", help="The priority; 9 is the most urgent.")
    ] = None,
    timeout: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="The time limit of one run.")
    ] = None,
    miner: Annotated[
        str | None, typer.Option(metavar="MINER", help="Only this miner may run it: its name or id.")
    ] = None,
    offer: Annotated[str | None, typer.Option(metavar="OFFER", help="Accept this offer.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a job again, with the same input and options except for changes.

    `aitbc jobs show JOB` lists the parameters, and `aitbc services SERVICE` what they mean: `--set steps=30`, or `--set parameters.threshold=0.5` for a Python model.

    Examples:
      aitbc jobs rerun last
      aitbc jobs rerun last --set steps=30 --set seed=7
      aitbc jobs rerun interview.wav --set audio_url=@better.wav
    """
    with client_of(context) as client:
        changes = {
            "name": name,
            "labels": labels_of(label) if label is not None else None,
            "pricing": None if max_cost is None else {"max_cost": max_cost},
            "priority": priority,
            "timeout_seconds": timeout,
            "miner_id": None if miner is None else find_miner(client, miner),
            "offer_id": None if offer is None else find_offer(client, offer),
        }
        created = client.jobs.rerun(
            find_job(client, job), set=_settings(client, settings or ()), **present(changes)
        )
    if as_json:
        print_json(created.to_dict())
    else:
        typer.echo(created.job_id)
        print_status(f"`aitbc jobs watch {created.job_id}` follows it.")


def _settings(client: AITBCClient, settings: Sequence[str]) -> Mapping[str, Any]:
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{setting!r} is not of the form NAME=VALUE, such as steps=30.")
        if text.startswith("@"):
            # As `curl` and other programs write it.
            values[name] = client.artifacts.upload(Path(text[1:])).address
            continue
        try:
            values[name] = json.loads(text)
        except ValueError:
            # Few people quote a text for the shell and again for JSON.
            values[name] = text
    return values


def remove(
    context: typer.Context,
    jobs: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB",
            help="Jobs that have ended: ids or parts of them, names, or `last` for the newest one.",
            autocompletion=complete.jobs,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete jobs with their parameters, results, logs and files. Receipts and payments remain.

    Files that other jobs use remain. A job that has not ended is not deleted.

    Examples:
      aitbc jobs rm last
      aitbc jobs rm job_06h3 interview.wav --yes
    """
    with client_of(context) as client:

        def delete(job: str) -> JobDataDeleted:
            job_id = find_job(client, job)
            # A script has nobody to ask.
            if not yes and sys.stdin.isatty():
                named = client.jobs.get(job_id).name or ""
                typer.confirm(f"Delete {job_id} ({named}) for good?", abort=True, err=True)
            return client.jobs.delete_data(job_id)

        deleted, refusals = try_each(jobs, delete)
    if as_json:
        print_json({"deleted": [deletion.to_dict() for deletion in deleted]})
    elif deleted:
        print_rows(("JOB", "DELETED"), [(deletion.job_id, deletion.deleted_at) for deletion in deleted])
    raise_last(refusals)
