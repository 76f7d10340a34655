"""The command `aitbc`: a thin layer over the client, with one module for each command or group of commands.

`_exits` defines the exit codes. docs/reference/cli.md is the users' documentation.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, ClassVar

import typer

from aitbc._http import client_spans
from aitbc.cli._arguments.lazy_group import LazyGroup, ListedCommand, commands_in
from aitbc.cli._arguments.state import GlobalOptions
from aitbc.cli._controls import protect_terminal
from aitbc.errors import AITBCError


class ProgramCommands(LazyGroup):
    """The commands, in the order of the help."""

    listed: ClassVar[Mapping[str, ListedCommand]] = commands_in(
        "aitbc.cli.commands",
        {
            "Run jobs": {
                "transcribe:transcribe": "Transcribe speech to text or subtitles.",
                "imagine:imagine": "Generate images from text. Without --seed, every image differs.",
                "chat:chat": "Chat with a language model. The answer is printed while it is generated.",
                "transcode:transcode": "Convert, resize, trim or compress audio and video.",
                "render:render": "Render scenes. Each frame is written as soon as it is finished.",
                "run:run": "Run a Python model once for each input. The return value of predict is printed, or with -o written to NAME.json.",
                "speak:speak": "Have a text read aloud.",
                "embed:embed": "Turn texts into vectors, for search and comparison by meaning.",
                "rerank:rerank": "Sort texts by how relevant each is to a question.",
            },
            "What is available": {
                "market:models": "List the models: which of them a miner would run now, from what price, and how long a run takes.",
                "market:services": "List the services: which of them a miner would run now, from what price, and how fast. With a name: that service's parameters.",
                "market:miners": "List the miners, available ones first. With a name: that miner's services, prices and speeds.",
                "offers:app": "List miners' offers, and assign jobs to them.",
            },
            "Jobs and payments": {
                "jobs:app": "List, watch, repeat, cancel and delete jobs, and fetch their results and logs.",
                "artifacts:app": "List, upload, download and delete the files that your account stores at the coordinator.",
                "webhooks:app": "Try webhooks on this machine, and see what became of a job's messages.",
                "wallet:app": "Show the account's balance and transactions.",
            },
            "Verification": {
                "receipts:app": "Fetch receipts, and verify them offline.",
                "log:app": "Verify the log of receipts, settlements and verdicts, or act as its witness.",
            },
        },
    )


_HELP = """Send jobs to an AITBC coordinator, and verify receipts without one.

First steps, with an agent on this machine (`aitbc-agent start`):
  aitbc transcode film.mov small.mp4 --receipt receipt.json
  aitbc receipts verify receipt.json
`aitbc COMMAND --help` has examples of each command."""

app = typer.Typer(
    cls=ProgramCommands,
    help=_HELP,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    add_completion=True,
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"aitbc {version('aitbc')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The coordinator's URL. Default: AITBC_BASE_URL, else the local agent."
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The API key. Default: AITBC_API_KEY, else the local agent's."),
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Store the options before the command."""
    del show_version
    context.obj = GlobalOptions(base_url, api_key)


def main() -> None:
    """Run the command. Every expected error becomes one paragraph on stderr and an exit code."""
    protect_terminal()
    if client_spans.is_wanted():
        client_spans.configure("aitbc")
    name = next((word for word in sys.argv[1:2] if word in ProgramCommands.listed), "command")
    try:
        # Its calls belong to one trace, which the job joins.
        with client_spans.span(f"aitbc {name}"):
            app(prog_name="aitbc")
    except (AITBCError, OSError) as error:
        from aitbc.cli._terminal.exits import exit_code, explain  # noqa: PLC0415 - it imports the client
        from aitbc.cli._terminal.output import print_error  # noqa: PLC0415 - as above

        print_error(explain(error))
        sys.exit(exit_code(error))
