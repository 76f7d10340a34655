"""`aitbc artifacts`: delete files that are no longer needed."""

from __future__ import annotations

from typing import Annotated

import typer

from aitbc.cli._arguments import complete
from aitbc.cli._arguments.ids import find_artifact, find_job
from aitbc.cli._arguments.lookup import AmbiguousName, NoSuchName
from aitbc.cli._arguments.options import JsonOption, client_of
from aitbc.cli._terminal.exits import explain
from aitbc.cli._terminal.output import print_error, print_json, print_rows
from aitbc.errors import AITBCError, APIError

app = typer.Typer(help="Manage the files that your account stores at the coordinator.", no_args_is_help=True)


@app.command("rm")
def remove(
    context: typer.Context,
    artifacts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARTIFACT",
            help="Artifacts: ids (sha256:...) or their beginnings, names of output files, or `last`.",
        ),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(
            "--job", metavar="JOB", help="Delete all output files of this job.", autocompletion=complete.jobs
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Delete files to free space in the account's quota. Results and receipts that name them stay valid.

    A file that an unfinished job needs is not deleted.

    Examples:
      aitbc artifacts rm sha256:9f86
      aitbc artifacts rm --job last
    """
    if not artifacts and job is None:
        raise typer.BadParameter("Name the artifacts, or a job with --job.")
    deleted: list[str] = []
    failed: list[AITBCError] = []
    with client_of(context) as client:
        named = list(artifacts or ())
        if job is not None:
            outputs = client.jobs.get_results(find_job(client, job), wait=False).output_files()
            named += [file.artifact_id for file in outputs]
        # Each once, in order: an output may also have been named itself, and a second deletion would fail.
        for argument in dict.fromkeys(named):
            try:
                artifact_id = find_artifact(client, argument)
                client.artifacts.delete(artifact_id)
                deleted.append(artifact_id)
            except (APIError, NoSuchName, AmbiguousName) as error:
                failed.append(error)
    if as_json:
        print_json({"deleted": deleted})
    elif deleted:
        print_rows(("DELETED",), [(argument,) for argument in deleted])
    # All are tried, and the last error decides the exit code, as for a single file.
    for refusal in failed[:-1]:
        print_error(explain(refusal))
    if failed:
        raise failed[-1]
