"""`aitbc-agent trail`: what administrators have done."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from agent.cli import local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from aitbc.answers.trail import TrailEntry
from aitbc.cli._terminal.output import moment, print_rows

_PAGE = 500


def trail(
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, metavar="N", help="Number of the newest entries.")
    ] = 50,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what administrators have done: who credited whom, created keys, removed miners.

    The newest is first.

    The local agent's own key is named "local administrator": it belongs to everyone who may use this machine's agent.

    Examples:
      aitbc-agent trail
      aitbc-agent trail -n 500 --json
    """
    entries: list[TrailEntry] = []
    before: str | None = None
    with local_api.administrator(settings_from(data_dir)) as client:
        while len(entries) < lines:
            page = client.admin.trail(limit=min(_PAGE, lines - len(entries)), before=before)
            entries += page.entries
            before = page.next
            if before is None:
                break
    if as_json:
        print_json(entries)
        return
    if not entries:
        typer.echo("No administrator has changed anything yet.", err=True)
        return
    rows = [
        (moment(entry.at), entry.key_name, entry.action, _object(entry), _details(entry.details))
        for entry in entries
    ]
    print_rows(("WHEN", "WHO", "DID", "WHAT", "WITH"), rows, free=("WHO", "DID", "WITH"))


def _object(entry: TrailEntry) -> str:
    """Return the id in the address: "account_..."."""
    return next((part for part in entry.path.split("/") if "_" in part), "")


def _details(details: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in details.items())
