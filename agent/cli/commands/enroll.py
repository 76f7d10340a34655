"""`aitbc-agent enroll`: create enrolment tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from


def enroll(
    data_dir: DataDir = None,
    uses: Annotated[int, typer.Option(min=1, help="Number of miners that may join with the token.")] = 1,
    hours: Annotated[float, typer.Option(min=0.01, help="Validity in hours.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Create an enrolment token, with which miners on other machines join this coordinator."""
    settings = settings_from(data_dir)
    answer = local_api.call(
        settings, "POST", "admin/enrolments", {"uses": uses, "valid_seconds": hours * 3600}
    )
    if as_json:
        print_json(answer)
        return
    url = agent_file.read(settings).url
    typer.echo(answer["enrolment_token"])
    typer.echo(f"Valid until {answer['expires_at']}. On the other machine, run:", err=True)
    typer.echo(f"  aitbc-agent start --coordinator {url} --enroll {answer['enrolment_token']}", err=True)
