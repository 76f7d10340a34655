"""`aitbc-agent join`: take a code from a coordinator's operator, check it there, and write what it carries into the settings."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from agent.cli import agent_file
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, reading_from, secret_from
from agent.cli.systemd import systemctl
from agent.cli.systemd.systemctl import SystemdUnavailable
from agent.cli.systemd.unit_files import ServiceFiles, ServiceRole
from agent.configuring.reading import SettingsReading
from agent.configuring.storing import changed_by_file, store_file
from agent.core.errors import ConfigurationError
from agent.miner.settings import MinerSettings
from agent.protocol.join_code import JoinCode, parse_join_code
from agent.sections import section_of


def join(
    code: Annotated[
        str,
        typer.Argument(
            metavar="[CODE]",
            help="The code; without one, it is asked for, or read from standard input. @FILE reads it from a file.",
            show_default=False,
        ),
    ] = "-",
    name: Annotated[
        str | None, typer.Option("--name", help="Name of this machine in lists. Without one, its host name.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Join a coordinator with a code from its operator, before `start`.

    The coordinator is asked first whether it accepts the code; a code is not used up by that.

    Examples:
      aitbc-agent join AITBC1...
      aitbc-agent join - --name attic
    """
    join_code = parse_join_code(secret_from(code, "Join code") or "")
    reading = reading_from(data_dir, config)
    _require_settings_file(reading)
    former = section_of(reading.settings, MinerSettings).coordinator
    store_code(reading, join_code, name)
    running = agent_file.is_running(reading.settings)
    if as_json:
        print_json(
            {
                "coordinator": join_code.url,
                "log_key": join_code.log_key,
                "file": reading.file,
                "running": running,
            }
        )
        return
    typer.echo(f"This machine works for {join_code.url} from its next start ({reading.file}).")
    if former not in {None, join_code.url}:
        typer.echo(f"It has worked for {former} so far.")
    elif former is None and (reading.settings.data_dir / "coordinator").is_dir():
        typer.echo("The coordinator that it has run itself is not started any more; its data stays.")
    if running:
        typer.echo(
            "The agent is running. Restart it: aitbc-agent stop, then aitbc-agent start; a service: systemctl restart aitbc-agent"
        )
    else:
        typer.echo("Next: aitbc-agent start")


def _require_settings_file(reading: SettingsReading) -> None:
    """Raise `ConfigurationError` if a service with this data directory has its coordinator from elsewhere: its file would have no effect."""
    for user in (False, True):
        # Another user may not read a service's settings, nor write its data directory.
        with suppress(SystemdUnavailable, OSError):
            files = ServiceFiles(systemctl.find(user=user), ServiceRole.AGENT)
            directory = files.data_dir() or (reading.settings.data_dir if user else files.home)
            if directory == reading.settings.data_dir and files.sets("AITBC_MINER__COORDINATOR"):
                raise ConfigurationError(
                    f"{files.settings} names the coordinator of the service {files.unit}, and takes precedence. "
                    f"Run: {'' if user else 'sudo '}aitbc-agent service install{' --user' if user else ''} --join CODE"
                )


def store_code(reading: SettingsReading, code: JoinCode, name: str | None) -> None:
    """Write what a code carries into the settings file, once its coordinator has answered that it accepts the code.

    Raises `ConfigurationError`, and writes nothing then.
    """
    values = join_values(code) | ({} if name is None else {("miner", "name"): name})
    changed, content = changed_by_file(reading, values)
    check_code(changed, code)
    try:
        store_file(reading, content)
    except OSError as error:
        raise ConfigurationError(f"{reading.file} cannot be written: {error.strerror}.") from None


def join_values(code: JoinCode) -> dict[tuple[str, ...], Any]:
    """Return the settings that a code carries, by the path of their keys."""
    return {
        ("miner", "coordinator"): code.url,
        ("miner", "log_key"): code.log_key,
        ("miner", "enrolment_token"): code.enrolment_token,
    }


def check_code(reading: SettingsReading, code: JoinCode) -> None:
    """Ask the coordinator of these settings whether it has the code's key, and accepts this machine. Raises `ConfigurationError`."""
    from agent.miner import doctor  # noqa: PLC0415 - it loads much that a start does not need yet

    for diagnostic in asyncio.run(doctor.examine_coordinator(reading.settings)):
        if diagnostic.severity != "fault":
            continue
        expired = diagnostic.id == "enrolment_refused" and code.expires_at < time.time()
        if expired:
            moment = datetime.fromtimestamp(code.expires_at, UTC)
            raise ConfigurationError(
                f"The code expired at {moment:%Y-%m-%d %H:%M} UTC. Ask the operator for a new one."
            )
        raise ConfigurationError(f"{diagnostic.message}\n{diagnostic.remedy}")
