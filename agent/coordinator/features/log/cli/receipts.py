"""`aitbc-agent receipts`: verify receipts offline, as the SDK does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import AsJson, DataDir, settings_from
from agent.coordinator.features.log.offline import own_log_key
from aitbc.cli.commands import receipts

app = typer.Typer(
    help="""Verify receipts.

Examples:
  aitbc-agent receipts verify
""",
    no_args_is_help=True,
)


@app.callback()
def group() -> None:
    """Verify receipts."""


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A receipt or an exported bundle.")],
    log_key: Annotated[
        str | None, typer.Option(help="Public key of the coordinator's log.", show_default="this agent's own")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="Policy file with logs, witnesses and a quorum, instead of a log key."),
    ] = None,
    artifact: Annotated[
        list[Path] | None, typer.Option(help="Also check this output file; may be repeated.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Verify a receipt offline. Ends with exit code 3 if it is not valid."""
    key = log_key if log_key or policy else own_log_key(settings_from(data_dir))
    receipts.verify(file, key, policy, artifact, as_json)
