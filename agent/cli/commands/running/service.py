"""`aitbc-agent service`: install, remove and inspect the agent as a systemd service."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from agent.cli.options import AsJson, Enroll, print_json, reading_from, secret_from
from agent.cli.systemd import systemctl
from agent.cli.systemd.systemctl import SystemdUnavailable
from agent.cli.systemd.unit_files import DATA_DIR, HELPER_UNIT, ServiceFiles, ServiceRole
from agent.configuring.description import variable
from agent.configuring.reading import load_settings
from agent.protocol.join_code import parse_join_code
from agent.updates.installation import InstallationWay, installation

app = typer.Typer(
    help="""Manage the agent as a systemd service.

Examples:
  sudo aitbc-agent service install
  aitbc-agent service install --user
  aitbc-agent service status
""",
    no_args_is_help=True,
)

START_SECONDS: Final = 330.0
"""Slightly longer than the unit's own limit for a start."""
STOP_SECONDS: Final = 86_400.0
"""A stop takes as long as the owner's drain time."""
SHOWN_ERRORS: Final = 5
NOT_RUNNING: Final = 3
NOT_INSTALLED: Final = 4
"""The exit codes of `systemctl status`."""
_WARNING: Final = 4
_PROPERTIES: Final = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "StatusText", "MainPID", "NRestarts", "Result",
    "StateChangeTimestamp",
)  # fmt: skip

Which = Annotated[
    ServiceRole,
    typer.Argument(
        help="`agent` runs jobs on this machine; `coordinator` only assigns jobs to miners.",
        show_default=True,
    ),
]
User = Annotated[bool, typer.Option("--user", help="Use a service of this user, with this user's data.")]


@app.command("install")
def install(
    role: Which = ServiceRole.AGENT,
    user: User = False,
    coordinator: Annotated[
        str | None, typer.Option("--coordinator", help="Join this coordinator instead of starting one.")
    ] = None,
    enroll: Enroll = None,
    join: Annotated[
        str | None,
        typer.Option(
            "--join", help="Join with this code instead of --coordinator and --enroll; @FILE and - as there."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address that the coordinator listens on.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port that the coordinator listens on.")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Data directory; the service then runs as its owner."),
    ] = None,
    power_limits: Annotated[
        bool,
        typer.Option(
            "--power-limits", help="Also install the helper that sets the GPUs' power limits as root."
        ),
    ] = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Only write the files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Install or update the service, and start it now and at every boot."""
    manager = systemctl.find(user=user)
    systemctl.require_root(manager)
    files = ServiceFiles(manager, role)
    log_key = None
    if join is not None:
        code = parse_join_code(secret_from(join, "Join code") or "")
        coordinator, enroll, log_key = code.url, code.enrolment_token, code.log_key
    if role is ServiceRole.COORDINATOR and (coordinator or enroll):
        raise typer.BadParameter(
            "A coordinator cannot join another one. Omit --coordinator, --enroll and --join."
        )
    enrolment_token = secret_from(enroll, "Enrolment token")
    changes = _variables(
        data_dir,
        miner={"coordinator": coordinator, "enrolment_token": enrolment_token, "log_key": log_key},
        coordinator={"host": host, "port": port},
    )
    if power_limits and files.account is None:
        raise typer.BadParameter(
            "Only the agent's system service can have the helper for power limits. Omit --user."
        )
    if files.packaged and installation().way is not InstallationWay.DEB:
        raise SystemdUnavailable(
            f"The Debian package aitbc-agent has installed {files.unit}, which runs the package's agent. Use its command, "
            "/usr/bin/aitbc-agent, or remove the package first: sudo apt remove aitbc-agent"
        )
    if files.account is not None:
        # Before the unit is written, which names the account.
        manager.add_user(files.account, files.home)
    written = files.write(changes, power_limits=power_limits)
    manager.call("daemon-reload")
    wanted = power_limits or files.helper_paths[1] in written
    enabled = _enable_helper(files) if files.account is not None and wanted else False
    if not no_start:
        manager.call("enable", files.unit)
        _start(files, changed=enabled or any(written.values()))
    state = _state(files)
    if as_json:
        print_json(
            {
                "files": [{"path": path, "changed": is_changed} for path, is_changed in written.items()],
                **state,
            }
        )
        return
    for path, is_changed in written.items():
        typer.echo(f"{'written' if is_changed else 'unchanged':<10} {path}")
    _print_state(state)
    _print_next_steps(files, started=not no_start)


def _variables(data_dir: Path | None, **options: dict[str, Any]) -> dict[str, str]:
    """Return the options as environment variables. Raises `ConfigurationError` if a value is not allowed."""
    # Here, where the operator sees the error, and not in the journal of a service that restarts again and again.
    flags = reading_from(None, None, **options).flags
    variables = {
        variable(f"{section}.{name}"): str(value)
        for section, values in flags.items()
        for name, value in values.items()
    }
    return variables if data_dir is None else {**variables, DATA_DIR: str(data_dir.absolute())}


def _enable_helper(files: ServiceFiles) -> bool:
    """Let the agent's service start the helper for power limits. Returns whether it did not before."""
    if files.manager.properties(HELPER_UNIT, "UnitFileState")["UnitFileState"] == "enabled":
        return False
    files.manager.call("enable", HELPER_UNIT)
    return True


def _start(files: ServiceFiles, *, changed: bool) -> None:
    try:
        # A running agent reads the settings only when it starts.
        files.manager.call("restart" if changed else "start", files.unit, seconds=START_SECONDS)
    except SystemdUnavailable as error:
        errors = "".join(f"\n  {line}" for line in _errors(files))
        raise SystemdUnavailable(f"{error}{errors}\nsystemd retries at growing intervals.") from None


@app.command("uninstall")
def uninstall(role: Which = ServiceRole.AGENT, user: User = False, as_json: AsJson = False) -> None:
    """Stop the service and remove its files. Running jobs may finish first; the data is not deleted. Units of the Debian package stay, disabled."""
    manager = systemctl.find(user=user)
    systemctl.require_root(manager)
    files = ServiceFiles(manager, role)
    if not _is_installed(_properties(files)):
        raise SystemdUnavailable(f"There is no {files.unit} to remove.")
    # Before the files are removed, which say where the data is.
    data = _data_directories(files)
    removed = _remove(files, "runtime", "logs")
    if as_json:
        print_json({"unit": files.unit, "removed": removed, "not_removed": data})
        return
    for path in removed:
        typer.echo(f"{'removed':<12} {path}")
    for path in data:
        typer.echo(f"{'not removed':<12} {path}")
    if files.packaged:
        typer.echo(
            f"{'not removed':<12} the unit {files.unit} of the Debian package (remove it with sudo apt remove aitbc-agent)"
        )
    elif files.account is not None:
        typer.echo(
            f"{'not removed':<12} the user {files.account}, who owns them (remove it with userdel {files.account})"
        )


def remove_service(files: ServiceFiles, *, data: bool) -> None:
    """Stop a service and remove its files and its caches, with `data` also its data and its user. Raises `SystemdUnavailable`."""
    removed = _remove(files, *(("all",) if data else ("runtime", "logs", "cache")))
    for path in removed:
        typer.echo(f"{'removed':<8} {path}")
    if data and files.account is not None:
        files.manager.remove_user(files.account)


def service_data(files: ServiceFiles) -> list[Path]:
    """Return the directories of a service's data, without its models."""
    return _data_directories(files)[:1]


def _remove(files: ServiceFiles, *directories: str) -> list[Path]:
    """Stop a service, and remove its files and these of its directories. Returns the removed files."""
    manager = files.manager
    manager.call("disable", "--now", files.unit, seconds=STOP_SECONDS)
    if files.account is not None and manager.properties(HELPER_UNIT, "LoadState")["LoadState"] == "loaded":
        manager.call("disable", HELPER_UNIT)
    if not manager.user:
        manager.call("clean", *(f"--what={directory}" for directory in directories), files.unit)
    removed = files.remove()
    manager.call("daemon-reload")
    return removed


@app.command("status")
def status(role: Which = ServiceRole.AGENT, user: User = False, as_json: AsJson = False) -> None:
    """Show the state of the service and its latest errors. Exit code 3: not ready, 4: not installed."""
    files = ServiceFiles(systemctl.find(user=user), role)
    state = _state(files)
    if as_json:
        print_json(state)
    else:
        _print_state(state)
    if not state["installed"]:
        raise typer.Exit(NOT_INSTALLED)
    if not state["ready"]:
        raise typer.Exit(NOT_RUNNING)


def _properties(files: ServiceFiles) -> dict[str, str]:
    return files.manager.properties(files.unit, *_PROPERTIES)


def _is_installed(properties: dict[str, str]) -> bool:
    return properties["LoadState"] == "loaded"


def _state(files: ServiceFiles) -> dict[str, Any]:
    """Return the state of the service for `--json`."""
    properties = _properties(files)
    installed = _is_installed(properties)
    since = properties["StateChangeTimestamp"].removeprefix("@")
    return {
        "unit": files.unit,
        "installed": installed,
        "enabled": properties["UnitFileState"] == "enabled",
        "ready": properties["ActiveState"] == "active",
        "state": f"{properties['ActiveState']} ({properties['SubState']})",
        "status": properties["StatusText"] or None,
        "since": f"{datetime.fromtimestamp(int(since), UTC):%Y-%m-%dT%H:%M:%SZ}"
        if since.isdecimal()
        else None,
        "pid": int(properties["MainPID"]) or None,
        "restarts": int(properties["NRestarts"]),
        "result": properties["Result"],
        "data": [str(path) for path in _data_directories(files)] if installed else [],
        "errors": _errors(files) if installed else [],
    }


def _data_directories(files: ServiceFiles) -> list[Path]:
    """Return the directories with the service's data and models."""
    settings = load_settings()
    if files.manager.user:
        return [files.data_dir() or settings.data_dir, settings.models_dir]
    models = [Path("/var/cache/aitbc-agent/models")] if files.role is ServiceRole.AGENT else []
    return [files.data_dir() or files.home, *models]


def _errors(files: ServiceFiles) -> list[str]:
    """Return the latest errors in the journal: the agent's own, and systemd's about the unit."""
    errors = [line for entry in files.manager.journal(files.unit) if (line := _error(entry)) is not None]
    return errors[-SHOWN_ERRORS:]


def _error(entry: dict[str, Any]) -> str | None:
    message = entry.get("MESSAGE")
    if not isinstance(message, str):  # bytes that are not text
        return None
    moment = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) // 1_000_000, UTC)
    sentence: str | None = None
    try:
        event = json.loads(message)
        if isinstance(event, dict) and event.get("level") in {"error", "critical"}:
            hidden = {"event", "level", "timestamp", "exception"}
            fields = " ".join(f"{name}={value}" for name, value in event.items() if name not in hidden)
            sentence = f"{event.get('event')} {fields}".rstrip()
    except ValueError:
        # Messages of systemd about the unit are not JSON, and show why the agent never got as far as its own log.
        from_systemd = "UNIT" in entry or "USER_UNIT" in entry
        if message.startswith("aitbc-agent: ") or (
            from_systemd and int(entry.get("PRIORITY", 6)) <= _WARNING
        ):
            sentence = message.removeprefix("aitbc-agent: ")
    return None if sentence is None else f"{moment:%Y-%m-%d %H:%M:%S} {sentence}"


def _print_state(state: dict[str, Any]) -> None:
    if not state["installed"]:
        typer.echo(f"{state['unit']} is not installed. Install it with `aitbc-agent service install`.")
        return
    ready = "ready" if state["ready"] else "not ready"
    enabled = "starts at boot" if state["enabled"] else "does not start at boot"
    process = f", process {state['pid']}" if state["pid"] else ""
    since = f" since {state['since']}" if state["since"] else ""
    typer.echo(f"{state['unit']} is {ready}: {state['state']}{since}{process}; it {enabled}.")
    if state["status"]:
        typer.echo(f"{'activity':<10} {state['status']}")
    if state["restarts"]:
        typer.echo(f"{'restarts':<10} {state['restarts']}")
    for path in state["data"]:
        typer.echo(f"{'data':<10} {path}")
    for line in state["errors"]:
        typer.echo(f"{'error':<10} {line}")


def _print_next_steps(files: ServiceFiles, *, started: bool) -> None:
    scope, user = ("--user ", " --user") if files.manager.user else ("", "")
    unit = files.unit.removesuffix(".service")
    typer.echo("Next steps:")
    if not started:
        typer.echo(f"  systemctl {scope}enable --now {unit}")
    typer.echo(
        f"  aitbc-agent service status{'' if files.role is ServiceRole.AGENT else ' coordinator'}{user}"
    )
    typer.echo(f"  journalctl {scope}-u {unit} -f")
    if files.manager.user:
        typer.echo("  loginctl enable-linger     (keeps it running while you are logged out)")
    else:
        typer.echo(
            f"  aitbc-agent status --data-dir {_data_directories(files)[0]}     (as root, like all other commands)"
        )
