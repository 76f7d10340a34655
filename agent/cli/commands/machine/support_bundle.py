"""`aitbc-agent support-bundle`: one file for the person who helps with this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from agent.cli.options import ConfigFile, DataDir
from agent.cli.support import bundle, workplace
from agent.cli.support.readme import diagnostics
from agent.core.errors import AgentError
from aitbc.cli._terminal.output import SafeConsole

SHOWN: Final = 5
"""How many of the diagnostics the terminal shows."""


def support_bundle(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The ZIP file to write.",
            show_default="a name with the time",
        ),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Write one file for the person who helps you: versions, settings, doctor, logs, failures, without secrets. Nothing is sent.

    Examples:
      aitbc-agent support-bundle
      aitbc-agent support-bundle --output /tmp/for-ada.zip
    """
    console = SafeConsole()
    console.print("Collecting, which takes up to a minute, and longer on a busy machine ...")
    collected = bundle.collect(workplace.find(data_dir, config))
    name = time.strftime("aitbc-agent-support-%Y%m%d-%H%M%S.zip", time.gmtime())
    content = collected.packed()
    try:
        path = bundle.save(content, (output or Path(name)).absolute(), chosen=output is not None)
    except OSError as error:
        raise AgentError(
            f"The file cannot be written: {error}. Name another one with --output, on a disk that has space."
        ) from None
    wrong = diagnostics(collected.contents, collected.workplace)
    for sentence in wrong[:SHOWN]:
        console.print(Text(f"* {collected.redactor.text(sentence)}"))
    if len(wrong) > SHOWN:
        console.print(f"* {len(wrong) - SHOWN} more in README.txt")
    for missing, reason in collected.missing.items():
        console.print(Text(f"Left out: {missing}, because {collected.redactor.text(reason)}", "yellow"))
    console.print(Text(f"{path} ({len(content) // 1024 + 1} KiB)", "bold"), soft_wrap=True)
    console.print(
        "Nothing was sent. Look through it, begin with README.txt, then give it to the person who helps you."
    )
