"""The command `aitbc`: a thin layer over the client, one file for each group of commands.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not valid (verification), 130 interrupted.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from aitbc.cli import jobs, log, offers, receipts, transcode, transcribe, wallet
from aitbc.cli._output import complain
from aitbc.cli._state import State
from aitbc.errors import AITBCError, VerificationError

FAILED = 1
NOT_VALID = 3
INTERRUPTED = 130

app = typer.Typer(
    help="Send jobs to an AITBC coordinator, and verify receipts without one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.add_typer(jobs.app, name="jobs")
app.add_typer(receipts.app, name="receipts")
app.add_typer(log.app, name="log")
app.add_typer(offers.app, name="offers")
app.add_typer(wallet.app, name="wallet")
app.command("transcribe")(transcribe.transcribe)
app.command("transcode")(transcode.transcode)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aitbc {version('aitbc')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    base_url: Annotated[
        str | None,
        typer.Option(help="The coordinator's address. Default: AITBC_BASE_URL, else the local agent."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="The key. Default: AITBC_API_KEY, else the local agent's.")
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Send jobs to an AITBC coordinator, and verify receipts without one."""
    del show_version
    context.obj = State(base_url, api_key)


def main() -> None:
    """Run the command; every expected error is one line on stderr."""
    try:
        app(prog_name="aitbc")
    except VerificationError as error:
        complain(str(error))
        sys.exit(NOT_VALID)
    except (AITBCError, OSError) as error:
        complain(str(error))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(INTERRUPTED)
