"""`aitbc artifacts`: list, upload, download and delete the files that the account stores."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated

import typer

from aitbc._client import AITBCClient
from aitbc.cli._arguments import complete
from aitbc.cli._arguments.ids import find_artifact, find_job
from aitbc.cli._arguments.options import JsonOption, client_of
from aitbc.cli._batch.inputs import find_inputs
from aitbc.cli._batch.names import numbered, safe_name
from aitbc.cli._terminal.display import board
from aitbc.cli._terminal.exits import raise_last, try_each
from aitbc.cli._terminal.output import (
    moment,
    print_json,
    print_next_page,
    print_rows,
    print_status,
    print_text,
    short_artifact,
    size_text,
)
from aitbc.errors import APIError

app = typer.Typer(
    help="List, upload, download and delete the files that your account stores at the coordinator.",
    no_args_is_help=True,
)


@app.command("ls")
def list_artifacts(
    context: typer.Context,
    prefix: Annotated[
        str,
        typer.Argument(metavar="ID", help="Only files whose ids begin with this, such as sha256:9f86."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="The maximum number of files.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many of the newest files to skip.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List the account's files, newest first: their sizes, their age, and which jobs use them.

    Examples:
      aitbc artifacts ls
      aitbc artifacts ls sha256:9f86
      aitbc artifacts ls --limit 500 --json
    """
    with client_of(context) as client:
        page = client.artifacts.list(prefix=_completed(prefix), limit=limit, offset=offset)
    if as_json:
        print_json(page.to_dict())
        return
    rows = [
        (
            short_artifact(artifact.artifact_id),
            size_text(artifact.size),
            moment(artifact.created_at),
            artifact.name or "",
            str(artifact.job_count),
            artifact.media_type,
            artifact.jobs[0].job_id if artifact.jobs else "",
        )
        for artifact in page.artifacts
    ]
    print_rows(("ARTIFACT", "SIZE", "CREATED", "NAME", "JOBS", "TYPE", "NEWEST JOB"), rows, free=("NAME",))
    print_next_page(offset + len(rows), page.total, "files")
    print_status(f"{page.total} files; {size_text(page.stored_bytes)} count towards your quota.")


def _completed(prefix: str) -> str:
    """Return the beginning of an id as the API knows it. Raises `BadParameter`."""
    digits = prefix.lower().removeprefix("artifact:").removeprefix("sha256:")
    if set(digits) - set("0123456789abcdef"):
        raise typer.BadParameter(f"{prefix!r} is not the beginning of an id, such as sha256:9f86.")
    return f"sha256:{digits}" if digits else ""


@app.command()
def get(
    context: typer.Context,
    artifacts: Annotated[
        list[str],
        typer.Argument(
            metavar="ARTIFACT", help="Files: ids (sha256:...) or their beginnings, names, or `last`."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="The file to write, or a directory. Default: the file's own name, in the current directory.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download files, and check their digests. An existing file is never overwritten.

    Examples:
      aitbc artifacts get sha256:9f86
      aitbc artifacts get interview.mp3 -o audio/
      aitbc artifacts get last -o result.mp4
    """
    if output is not None and len(artifacts) > 1 and not output.is_dir():
        raise typer.BadParameter(f"{output} is not a directory. Create one for {len(artifacts)} files.")
    written: dict[str, str] = {}
    with client_of(context) as client:
        for artifact_id in dict.fromkeys(find_artifact(client, named) for named in artifacts):
            path = _path(client, artifact_id, output)
            written[artifact_id] = str(client.artifacts.download(artifact_id, to=path))
            if not as_json:
                print_status(f"wrote {path}")
    if as_json:
        print_json({"written": written})


def _path(client: AITBCClient, artifact_id: str, output: Path | None) -> Path:
    if output is not None and not output.is_dir():
        if output.exists():
            raise typer.BadParameter(f"{output} exists already. Choose another path with -o.")
        return output
    name = artifact_id.removeprefix("sha256:")[:16]
    try:
        page = client.artifacts.list(prefix=artifact_id, limit=1)
    # An older coordinator lists no files, and stores their names all the same.
    except APIError:
        page = None
    for artifact in page.artifacts if page is not None else ():
        name = safe_name(artifact.name or "", name + (mimetypes.guess_extension(artifact.media_type) or ""))
    return next(path for path in numbered((output or Path()) / name) if not path.exists())


@app.command()
def put(
    context: typer.Context,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Files, directories and patterns such as '*.wav'.")
    ],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Include subdirectories.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Upload files, and print their ids. Commands and the API accept an id in place of a file, so that many jobs can use one upload.

    For several files, each line has the id and the file, as `sha256sum` prints them.

    Examples:
      aitbc artifacts put scene.blend
      aitbc render "$(aitbc artifacts put scene.blend)" --frames 1-48
      aitbc artifacts put recordings/ --recursive
    """
    stored: dict[str, str] = {}
    inputs = find_inputs(files, None, recursive=recursive)
    with client_of(context) as client, board(len(inputs)) as display:
        for item in inputs:
            if item.file is None:
                raise typer.BadParameter(f"{item.label} is an address. Name files of this machine.")
            row = display.row(item.label)
            try:
                stored[item.label] = client.artifacts.upload(item.file, progress=row.uploading).artifact_id
            finally:
                row.end()
            display.advance()
    if as_json:
        print_json({"artifacts": stored})
        return
    for label, artifact_id in stored.items():
        print_text(artifact_id if len(stored) == 1 else f"{artifact_id}  {label}")


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
    with client_of(context) as client:
        named = list(artifacts or ())
        if job is not None:
            outputs = client.jobs.get_results(find_job(client, job), wait=False).output_files()
            named += [file.artifact_id for file in outputs]

        def delete(argument: str) -> str:
            artifact_id = find_artifact(client, argument)
            client.artifacts.delete(artifact_id)
            return artifact_id

        # Each once, in order: an output may also have been named itself, and a second deletion would fail.
        deleted, refusals = try_each(dict.fromkeys(named), delete)
    if as_json:
        print_json({"deleted": deleted})
    elif deleted:
        print_rows(("DELETED",), [(artifact_id,) for artifact_id in deleted])
    raise_last(refusals)
