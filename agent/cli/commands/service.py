"""`aitbc-agent service`: have systemd start the agent, keep it running, and say how it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from agent.cli.options import AsJson, print_json
from agent.cli.systemd import systemctl
from agent.cli.systemd.systemctl import SystemdUnavailable
from agent.cli.systemd.unit_files import DATA_DIR, Role, ServiceFiles
from agent.settings import load_settings

app = typer.Typer(help="The agent as a service of systemd.", no_args_is_help=True)

START_SECONDS: Final = 330.0
"""As long as the unit lets a start take, and some more."""
STOP_SECONDS: Final = 86_400.0
"""A stop takes as long as the drain that the owner has set."""
SHOWN_ERRORS: Final = 5
NOT_RUNNING: Final = 3
NOT_INSTALLED: Final = 4
"""As `systemctl status` answers."""
_WARNING: Final = 4
_PROPERTIES: Final = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "StatusText", "MainPID", "NRestarts", "Result",
    "StateChangeTimestamp",
)  # fmt: skip

Which = Annotated[
    Role, typer.Argument(help="`agent`: works here, `coordinator`: gives work to others.", show_default=True)
]
User = Annotated[bool, typer.Option("--user", help="A service of this user, with this user's data.")]


@app.command("install")
def install(
    role: Which = Role.AGENT,
    user: User = False,
    coordinator: Annotated[
        str | None, typer.Option("--coordinator", help="Join this coordinator instead of starting one.")
    ] = None,
    enroll: Annotated[
        str | None, typer.Option("--enroll", help="Enrolment token, needed the first time.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address that the coordinator listens on.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port that the coordinator listens on.")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Where the data is kept; the service then runs as its owner."),
    ] = None,
    no_start: Annotated[bool, typer.Option("--no-start", help="Only write the files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Install the service and start it, now and whenever the machine starts. Again: with what has changed."""
    manager = systemctl.find(user=user)
    systemctl.require_root(manager)
    files = ServiceFiles(manager, role)
    changes = _settings(role, coordinator, enroll, host, port, data_dir)
    if files.account is not None:
        manager.add_user(files.account, files.home)
    written = files.write(changes)
    manager.call("daemon-reload")
    if not no_start:
        manager.call("enable", files.unit)
        _start(files, changed=any(written.values()))
    state = _state(files)
    if as_json:
        print_json({"files": [{"path": path, "changed": new} for path, new in written.items()], **state})
        return
    for path, new in written.items():
        typer.echo(f"{'written' if new else 'unchanged':<10} {path}")
    _say(state)
    _advise(files, started=not no_start)


def _settings(
    role: Role,
    coordinator: str | None,
    enroll: str | None,
    host: str | None,
    port: int | None,
    data_dir: Path | None,
) -> dict[str, str]:
    """What was given, as variables of the environment. Raises `ConfigurationError` if a value does not fit."""
    if role is Role.COORDINATOR and (coordinator or enroll):
        raise typer.BadParameter("A coordinator joins no other: leave out --coordinator and --enroll.")
    given: dict[str, tuple[str, str, Any]] = {
        "AITBC_MINER__COORDINATOR": ("miner", "coordinator", coordinator),
        "AITBC_MINER__ENROLMENT_TOKEN": ("miner", "enrolment_token", enroll),
        "AITBC_COORDINATOR__HOST": ("coordinator", "host", host),
        "AITBC_COORDINATOR__PORT": ("coordinator", "port", port),
    }
    flags: dict[str, Any] = {}
    for section, name, value in given.values():
        if value is not None:
            flags.setdefault(section, {})[name] = value
    load_settings(flags=flags)
    found = {name: str(value) for name, (_, _, value) in given.items() if value is not None}
    return found if data_dir is None else {**found, DATA_DIR: str(data_dir.absolute())}


def _start(files: ServiceFiles, *, changed: bool) -> None:
    try:
        files.manager.call("restart" if changed else "start", files.unit, seconds=START_SECONDS)
    except SystemdUnavailable as error:
        errors = "".join(f"\n  {line}" for line in _errors(files))
        raise SystemdUnavailable(f"{error}{errors}\nIt is tried again in growing pauses.") from None


@app.command("uninstall")
def uninstall(role: Which = Role.AGENT, user: User = False, as_json: AsJson = False) -> None:
    """Stop the service and remove its files. Running jobs may end first. The data stays."""
    manager = systemctl.find(user=user)
    systemctl.require_root(manager)
    files = ServiceFiles(manager, role)
    if not _is_installed(_properties(files)):
        raise SystemdUnavailable(f"There is no {files.unit} to remove.")
    manager.call("disable", "--now", files.unit, seconds=STOP_SECONDS)
    if not user:
        manager.call("clean", "--what=runtime", "--what=logs", files.unit)
    data = _places(files)
    removed = files.remove()
    manager.call("daemon-reload")
    if as_json:
        print_json({"unit": files.unit, "removed": removed, "left": data})
        return
    for path in removed:
        typer.echo(f"{'removed':<10} {path}")
    for path in data:
        typer.echo(f"{'left':<10} {path}")
    if files.account is not None:
        typer.echo(
            f"{'left':<10} the user {files.account}, to whom these belong (userdel {files.account} removes it)"
        )


@app.command("status")
def status(role: Which = Role.AGENT, user: User = False, as_json: AsJson = False) -> None:
    """Whether the service runs and is ready, since when, and its last errors. Exit code 3: not ready, 4: not installed."""
    files = ServiceFiles(systemctl.find(user=user), role)
    state = _state(files)
    if as_json:
        print_json(state)
    else:
        _say(state)
    if not state["installed"]:
        raise typer.Exit(NOT_INSTALLED)
    if not state["ready"]:
        raise typer.Exit(NOT_RUNNING)


def _properties(files: ServiceFiles) -> dict[str, str]:
    return files.manager.properties(files.unit, *_PROPERTIES)


def _is_installed(found: dict[str, str]) -> bool:
    return found["LoadState"] == "loaded"


def _state(files: ServiceFiles) -> dict[str, Any]:
    """The service, as `--json` shows it."""
    found = _properties(files)
    installed = _is_installed(found)
    since = found["StateChangeTimestamp"].removeprefix("@")
    return {
        "unit": files.unit,
        "installed": installed,
        "enabled": found["UnitFileState"] == "enabled",
        "ready": found["ActiveState"] == "active",
        "state": f"{found['ActiveState']} ({found['SubState']})",
        "status": found["StatusText"] or None,
        "since": f"{datetime.fromtimestamp(int(since), UTC):%Y-%m-%dT%H:%M:%SZ}"
        if since.isdecimal()
        else None,
        "pid": int(found["MainPID"]) or None,
        "restarts": int(found["NRestarts"]),
        "result": found["Result"],
        "data": [str(path) for path in _places(files)] if installed else [],
        "errors": _errors(files) if installed else [],
    }


def _places(files: ServiceFiles) -> list[Path]:
    """Where the service has data and models."""
    settings = load_settings()
    if files.manager.user:
        return [files.data_dir() or settings.data_dir, settings.models_dir]
    models = [Path("/var/cache/aitbc-agent/models")] if files.role is Role.AGENT else []
    return [files.data_dir() or files.home, *models]


def _errors(files: ServiceFiles) -> list[str]:
    """The last lines of the log that tell of something wrong: the agent's own, and systemd's about it."""
    found = [line for entry in files.manager.journal(files.unit) if (line := _error(entry)) is not None]
    return found[-SHOWN_ERRORS:]


def _error(entry: dict[str, Any]) -> str | None:
    message = entry.get("MESSAGE")
    if not isinstance(message, str):  # bytes that are no text
        return None
    moment = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) // 1_000_000, UTC)
    shown: str | None = None
    try:
        event = json.loads(message)
        if isinstance(event, dict) and event.get("level") in {"error", "critical"}:
            hidden = {"event", "level", "timestamp", "exception"}
            fields = " ".join(f"{name}={value}" for name, value in event.items() if name not in hidden)
            shown = f"{event.get('event')} {fields}".rstrip()
    except ValueError:
        from_systemd = "UNIT" in entry or "USER_UNIT" in entry
        if message.startswith("aitbc-agent: ") or (
            from_systemd and int(entry.get("PRIORITY", 6)) <= _WARNING
        ):
            shown = message.removeprefix("aitbc-agent: ")
    return None if shown is None else f"{moment:%Y-%m-%d %H:%M:%S} {shown}"


def _say(state: dict[str, Any]) -> None:
    if not state["installed"]:
        typer.echo(f"{state['unit']} is not installed; `aitbc-agent service install` does it.")
        return
    ready = "ready" if state["ready"] else "not ready"
    enabled = "starts with the machine" if state["enabled"] else "is not started by itself"
    process = f", process {state['pid']}" if state["pid"] else ""
    since = f" since {state['since']}" if state["since"] else ""
    typer.echo(f"{state['unit']} is {ready}: {state['state']}{since}{process}; it {enabled}.")
    if state["status"]:
        typer.echo(f"{'does':<10} {state['status']}")
    if state["restarts"]:
        typer.echo(f"{'restarts':<10} {state['restarts']}")
    for path in state["data"]:
        typer.echo(f"{'data':<10} {path}")
    for line in state["errors"]:
        typer.echo(f"{'error':<10} {line}")


def _advise(files: ServiceFiles, *, started: bool) -> None:
    scope, user = ("--user ", " --user") if files.manager.user else ("", "")
    unit = files.unit.removesuffix(".service")
    typer.echo("Next:")
    if not started:
        typer.echo(f"  systemctl {scope}enable --now {unit}")
    typer.echo(f"  aitbc-agent service status{'' if files.role is Role.AGENT else ' coordinator'}{user}")
    typer.echo(f"  journalctl {scope}-u {unit} -f")
    if files.manager.user:
        typer.echo("  loginctl enable-linger     (to have it run while you are not logged in)")
    else:
        typer.echo(
            f"  aitbc-agent status --data-dir {_places(files)[0]}     (as root, like all other commands)"
        )
