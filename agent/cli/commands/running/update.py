"""`aitbc-agent update`: install a newer version beside this one, and have it take over."""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import suppress
from typing import Annotated, Final, Literal

import typer

from agent.cli import agent_file
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, print_result, reading_from
from agent.cli.terminal import logs
from agent.core.errors import AgentError, ConfigurationError
from agent.settings import Settings
from agent.updates.directory import base_version
from agent.updates.installation import installation
from agent.updates.starting import versions_of
from agent.updates.states import Phase, UpdateEnding, UpdateState, describe

POLL_SECONDS: Final = 1.0
START_SECONDS: Final = 180.0


def update(
    check: Annotated[
        bool, typer.Option("--check", help="Only show whether there is a newer version.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="VERSION",
            help="Install this version, also an older one or one that failed before.",
        ),
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Return to the version before the last update.")
    ] = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", hidden=True, help="Stop before the restart; for the running agent.")
    ] = False,
    try_check: Annotated[
        str | None,
        typer.Option("--try", hidden=True, help="Run one check of this version; for the version before it."),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Install the newest version beside this one, try it, and restart the agent with it. If it does not work, this one returns.

    Examples:
      aitbc-agent update --check
      aitbc-agent update
    """
    reading = reading_from(data_dir, config)
    settings = reading.settings
    logs.configure_quietly(settings.log, "warning")
    if try_check is not None:
        _try(settings, try_check)
        return
    found = installation()
    if not found.updates_itself:
        raise ConfigurationError(
            f"Another tool updates this installation ({found.way}). Type: {found.update}"
        )
    _become_owner(settings)
    if rollback:
        _roll_back(settings, as_json=as_json)
        return
    # Imported only here: what a running agent asks for every few seconds needs none of it.
    from agent.updates.preparing import Preparation  # noqa: PLC0415

    preparation = Preparation(
        settings, reading.file, lambda text: typer.echo(f"{text} ...", err=True) if not as_json else None
    )
    if check:
        _print_check(*preparation.check(), as_json=as_json)
        return
    version = preparation.prepare(to, by_itself=prepare)
    if version is None or prepare:
        _print(settings, as_json=as_json)
        return
    _switch(settings, as_json=as_json)


def _try(settings: Settings, name: str) -> None:
    from agent.updates.self_check import find_problems  # noqa: PLC0415 - as above

    checks: dict[str, Literal["doctor", "jobs"]] = {"doctor": "doctor", "jobs": "jobs"}
    if name not in checks:
        raise ConfigurationError(f"--try is for updates: doctor or jobs, not {name!r}.")
    typer.echo(json.dumps({"problems": asyncio.run(find_problems(settings, checks[name]))}))


def _become_owner(settings: Settings) -> None:
    """Go on as the user of the data directory if root updates the agent of a service, which must be able to change what is installed."""
    try:
        owner = settings.data_dir.stat()
    except FileNotFoundError:
        return
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
        os.environ["HOME"] = str(settings.data_dir)


def _print_check(current: str, newer: str | None, *, as_json: bool) -> None:
    if newer is None:
        words = f"Version {current} is the newest."
    else:
        words = (
            f"Version {newer} can be installed; {current} is current. Install it with `aitbc-agent update`."
        )
    print_result({"version": current, "newer": newer}, words, as_json=as_json)


def _print(settings: Settings, *, as_json: bool) -> None:
    versions = versions_of(settings)
    state, current = versions.read(), versions.current
    line = describe(state, current)
    if as_json:
        print_json(
            {
                "version": current,
                "base": base_version(),
                "directory": versions.path,
                "line": line,
                **state.to_json(),
            }
        )
    elif state.phase is Phase.IDLE:
        typer.echo(f"Version {current} is current." + (f" Last: {line}." if line else ""))
    else:
        typer.echo(f"{line[:1].upper()}{line[1:]}.")


def _switch(settings: Settings, *, as_json: bool) -> None:
    versions = versions_of(settings)
    with versions.locked():
        state = versions.read()
        if state.phase is Phase.PREPARED:
            state = versions.write(state.make_due())
    if not agent_file.is_running(settings):
        if not as_json:
            typer.echo(f"Version {state.version} is installed. `aitbc-agent start` starts it on trial.")
            return
    elif not as_json:
        _follow(settings, state)
        return
    _print(settings, as_json=as_json)


def _follow(settings: Settings, state: UpdateState) -> None:
    """Show the steps until the update has ended. Ctrl-C ends only this command. Raises `AgentError` if the update failed."""
    versions, shown = versions_of(settings), ""
    before, wanted = state.last, state.version
    seen_at = time.monotonic()
    while True:
        state = versions.read()
        line = describe(state, versions.current)
        if line != shown:
            shown = line
            typer.echo(f"{line[:1].upper()}{line[1:]}.")
        if state.phase is Phase.IDLE and state.last != before:
            break
        # Between two versions, none runs for a moment.
        if agent_file.is_running(settings):
            seen_at = time.monotonic()
        elif time.monotonic() - seen_at > START_SECONDS:
            raise AgentError("The agent has stopped. `aitbc-agent start` goes on with the update.")
        time.sleep(POLL_SECONDS)
    _wait_until_ready(settings)
    if state.last is not None and state.last.ending not in {UpdateEnding.UPDATED, UpdateEnding.ROLLED_BACK}:
        raise AgentError(
            f"Version {wanted} did not take over; {versions.current} works. See the agent's log."
        )


def _wait_until_ready(settings: Settings) -> None:
    """Wait until the version that has returned has started, if it does so in time."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with suppress(ConfigurationError):
            agent_file.read(settings)
            return
        time.sleep(POLL_SECONDS)


def _roll_back(settings: Settings, *, as_json: bool) -> None:
    from agent.updates.preparing import roll_back  # noqa: PLC0415 - as above

    state = roll_back(settings)
    if as_json:
        _print(settings, as_json=True)
    elif agent_file.is_running(settings):
        _follow(settings, state)
    else:
        typer.echo(f"`aitbc-agent start` starts version {state.former}.")
