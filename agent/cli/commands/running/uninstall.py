"""`aitbc-agent uninstall`: stop the agent, remove all that it has on this machine, and name the command that removes the program.

The data, with keys that are worth money, stays unless its owner says otherwise.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from agent.cli import agent_file, removal
from agent.cli.commands.running.service import remove_service, service_data
from agent.cli.commands.running.stop import stop_agent
from agent.cli.options import ConfigFile, DataDir, reading_from
from agent.cli.systemd import systemctl
from agent.cli.systemd.systemctl import SystemdUnavailable
from agent.cli.systemd.unit_files import ServiceFiles, ServiceRole, program
from agent.configuring.reading import SettingsReading
from agent.core.errors import AgentError, ConfigurationError
from agent.core.values.quantities import format_bytes
from agent.miner.identity import ApiKeyStore
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.updates.installation import InstallationWay, installation
from aitbc import AITBCClient
from aitbc.errors import AITBCError
from aitbc.figures import amounts

_AMOUNTS: Final = ("balance", "pending")
_OWN_UNITS: Final = {InstallationWay.DEB, InstallationWay.IMAGE}
_WALLET_SECONDS: Final = 5.0


class Data(StrEnum):
    """What happens to the data."""

    KEEP = "keep"
    DELETE = "delete"


def uninstall(
    data: Annotated[
        Data | None,
        typer.Option(
            help="What happens to keys, database, results and settings.", show_default="asks, or keep"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Stop the agent, remove its services, engines, models and caches, and by choice its data.

    The command that removes the program itself is shown last.

    Examples:
      aitbc-agent uninstall
      aitbc-agent uninstall --data
    """
    reading = reading_from(data_dir, config)
    services = _services()
    service_paths, service_caches = _of_services(services)
    own_data = reading.settings.data_dir
    others = [
        path
        for path in (removal.backups(reading), *removal.clients_data(reading))
        if not path.is_relative_to(own_data)
    ]
    data_paths = _existing([own_data, *service_paths, *others])
    paths = [
        path
        for path in (*removal.replaceable(reading), *_existing(service_caches))
        if not any(data.is_relative_to(path) for data in data_paths)
    ]
    for files in services:
        typer.echo(f"{'remove':<8} the service {files.unit}{' of this user' if files.manager.user else ''}")
    for path in paths:
        typer.echo(f"{'remove':<8} {path} ({format_bytes(removal.size(path))})")
    choice = _choice(reading, data, data_paths, ask=not yes and sys.stdin.isatty())
    removable = [path for path in data_paths if path != own_data]
    removable += [path for path in removal.own_data(reading) if os.path.lexists(path)]
    _confirm(removable if choice is Data.DELETE else [], yes=yes)
    for files in services:
        remove_service(files, data=choice is Data.DELETE)
    stop_agent(reading.settings)
    if choice is Data.DELETE:
        # Versions may be in the data directory.
        paths += removable
    _remove(paths)
    for path in data_paths:
        if path.exists():
            typer.echo(f"{'stays':<8} {path}")
    _print_last_command()


def _confirm(data: list[Path], *, yes: bool) -> None:
    """Name the data that goes too, and let the owner confirm all. Raises `ConfigurationError` if nobody can."""
    for path in data:
        typer.echo(f"{'remove':<8} {path} (data)")
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError("Nothing was removed. Without a terminal, confirm with --yes.")
    typer.confirm("Remove all this?", abort=True)


def _choice(reading: SettingsReading, data: Data | None, paths: list[Path], *, ask: bool) -> Data:
    """Return what happens to the data, after a word about what is worth keeping."""
    for path in paths:
        for key in removal.keys(path):
            typer.echo(f"{'key':<8} {key}")
    balance = _balance(reading) if paths else None
    if balance is not None:
        typer.echo(f"{'money':<8} {balance}")
    if data is None and ask and paths:
        typer.echo("Without its keys, nobody can ever prove to be this miner, or get at what it has earned.")
        return Data.DELETE if typer.confirm("Delete the data too?") else Data.KEEP
    return data or Data.KEEP


def _balance(reading: SettingsReading) -> str | None:
    """Return what this miner's wallet contains, None if that is nothing or if it has none."""
    settings = reading.settings
    url, key = section_of(settings, MinerSettings).coordinator, None
    try:
        agent = agent_file.read(settings)
        url, key = agent.url, agent.miner_key
    except ConfigurationError:
        with suppress(ConfigurationError):
            # The network's name is not known while the agent does not run; a miner has seldom more than one.
            key = ApiKeyStore(settings.data_dir / "miner").latest()
    if key is None or url is None:
        return None if key is None else "unknown, since the agent does not run; see `aitbc-agent earnings`"
    try:
        with AITBCClient(key, url, timeout=_WALLET_SECONDS, retries=0) as client:
            wallet = client.wallet.get()
    except AITBCError as error:
        return f"unknown, since {url} does not answer ({error})"
    money = {name: Decimal(wallet.get(name, "0")) for name in _AMOUNTS}
    if not any(money.values()):
        return None
    words = ", ".join(f"{name} {amounts.in_credits(amount)}" for name, amount in money.items())
    return f"{words} at {url}. Let it be paid out first, or keep the data"


def _services() -> list[ServiceFiles]:
    """Return the services that `aitbc-agent service` has installed, of the system and of this user. Raises `SystemdUnavailable`."""
    # A package removes its units itself.
    if installation().way in _OWN_UNITS:
        return []
    installed = []
    for user in (False, True):
        try:
            manager = systemctl.find(user=user)
        except SystemdUnavailable:
            continue
        for role in ServiceRole:
            files = ServiceFiles(manager, role)
            if files.paths[0].exists():
                installed.append(files)
    if os.geteuid() != 0 and any(not files.manager.user for files in installed):
        raise SystemdUnavailable(
            f"A system service runs this program. Remove it first: sudo {program()} uninstall"
        )
    return installed


def _of_services(installed: list[ServiceFiles]) -> tuple[list[Path], list[Path]]:
    """Return the directories of data and of caches of services, also of those of the system that have been removed before."""
    data = [path for files in installed for path in service_data(files)]
    if os.geteuid() != 0 or not systemctl.RUNNING.is_dir() or installation().way in _OWN_UNITS:
        return data, []
    # One that systemd has created a user for is a link into a private directory.
    names = [f"{parent}aitbc-{role}" for role in ServiceRole for parent in ("", "private/")]
    return (
        [*data, *(Path("/var/lib") / name for name in names)],
        [Path("/var/cache") / name for name in names],
    )


def _existing(paths: list[Path]) -> list[Path]:
    return [path for path in dict.fromkeys(paths) if path.is_dir()]


def _remove(paths: list[Path]) -> None:
    """Remove paths, and say what could not be."""
    for path in paths:
        try:
            removal.remove(path)
        except OSError as error:
            raise AgentError(
                f"{path} cannot be removed: {error.strerror}. Remove it, and run this again."
            ) from None
        typer.echo(f"{'removed':<8} {path}")


def _print_last_command() -> None:
    own = installation()
    purge = (
        " (or sudo apt purge aitbc-agent, with the data of its service)"
        if own.way is InstallationWay.DEB
        else ""
    )
    typer.echo(f"The program itself is left. To remove it:\n  {own.uninstall}{purge}")
