"""The interface to systemd: its programs, run with time limits, and its unit directories.

Only this module of the commands starts processes, and only those of systemd and userdel.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, cast

import platformdirs

from agent.core.errors import AgentError

CALL_SECONDS: Final = 30.0
RUNNING: Final = Path("/run/systemd/system")
"""Exists if and only if systemd started this system (sd_booted(3))."""
_JOURNAL_LINES: Final = 200


class SystemdUnavailable(AgentError):
    """systemd is not running, or a call of it failed. The message has the reason."""


@dataclass(frozen=True, slots=True)
class Systemd:
    """The manager of the system, or of this user (`user`), and its directories.

    `units` is the directory of an administrator's units, `settings` that of the services' settings.
    """

    user: bool
    units: Path
    settings: Path

    def call(self, *arguments: str, seconds: float = CALL_SECONDS) -> str:
        """Return the output of `systemctl`. Raises `SystemdUnavailable` with its error message if it fails."""
        return self._run("systemctl", self._scope("--user"), arguments, seconds)

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit; units that do not exist have properties too."""
        properties = self.call("show", unit, f"--property={','.join(names)}", "--timestamp=unix")
        return dict(line.split("=", 1) for line in properties.splitlines() if "=" in line)

    def journal(self, unit: str) -> list[dict[str, Any]]:
        """Return the newest journal entries of a unit, oldest first; none if this user may not read them."""
        scope = ("--user-unit", unit) if self.user else ("--unit", unit)
        options = ("--no-pager", "--quiet", "--output=json", f"--lines={_JOURNAL_LINES}")
        try:
            return [json.loads(line) for line in self._run("journalctl", scope, options).splitlines()]
        except SystemdUnavailable:
            # It fails for users who may read no journal at all.
            return []

    def journal_text(self, *options: str) -> str:
        """Return the lines of the journal that the options choose, or why there are none, for people."""
        try:
            text = self._run(
                "journalctl", self._scope("--user"), ("--no-pager", "--output=short-iso", *options)
            )
        except SystemdUnavailable as error:
            return str(error)
        return text or "no lines"

    def journal_lines(self, unit: str, *options: str) -> Generator[str]:
        """Yield the journal entries of a unit as lines of JSON, oldest first, for as long as `journalctl` has some. Close it to end the program.

        Raises `SystemdUnavailable`.
        """
        scope = ("--user-unit", unit) if self.user else ("--unit", unit)
        command = ["journalctl", *scope, "--no-pager", "--quiet", "--output=json", *options]
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - as below
        except FileNotFoundError:
            raise SystemdUnavailable(_not_found("journalctl")) from None
        try:
            yield from cast("TextIO", process.stdout)
        finally:
            process.terminate()
            process.wait(CALL_SECONDS)

    def add_user(self, name: str, home: Path) -> None:
        """Create a user without a password or shell, unless it exists."""
        self._run("systemd-sysusers", (), ("--inline", account_line(name, home)))

    def remove_user(self, name: str) -> None:
        """Remove a user, if it exists."""
        with suppress(KeyError):
            pwd.getpwnam(name)
            self._run("userdel", (), (name,))

    def _scope(self, option: str) -> tuple[str, ...]:
        return (option,) if self.user else ()

    def _run(
        self, program: str, scope: Sequence[str], arguments: Sequence[str], seconds: float = CALL_SECONDS
    ) -> str:
        try:
            completed = subprocess.run(  # noqa: S603 - the values are arguments; no shell interprets them
                [program, *scope, *arguments], capture_output=True, text=True, timeout=seconds, check=False
            )
        except FileNotFoundError:
            raise SystemdUnavailable(_not_found(program)) from None
        except subprocess.TimeoutExpired:
            raise SystemdUnavailable(
                f"`{program} {arguments[0]}` did not end within {seconds:g} s."
            ) from None
        if completed.returncode != 0:
            raise SystemdUnavailable(
                f"`{program} {' '.join([*scope, *arguments])}` failed: {completed.stderr.strip() or completed.stdout.strip()}"
            )
        return completed.stdout


def _not_found(program: str) -> str:
    return f"The program {program} was not found. This command needs systemd."


def account_line(name: str, home: Path) -> str:
    """Return a user of services as sysusers.d(5) describes it."""
    return f'u {name} - "AITBC agent" {home}'


def find(*, user: bool) -> Systemd:
    """Return the manager to install services with. Raises `SystemdUnavailable` if there is none."""
    if not RUNNING.is_dir() or shutil.which("systemctl") is None:
        raise SystemdUnavailable(
            "This machine does not run systemd, so a service cannot be installed. In a container, let the container's own manager "
            "restart the agent. Otherwise, run `aitbc-agent start` with this machine's own service manager."
        )
    if not user:
        return Systemd(user=False, units=Path("/etc/systemd/system"), settings=Path("/etc/aitbc-agent"))
    # `systemctl --user` would fail with a message about a bus that does not say what to do.
    if not (Path(os.environ.get("XDG_RUNTIME_DIR", "")) / "systemd" / "private").exists():
        raise SystemdUnavailable(
            "This user has no running systemd instance (XDG_RUNTIME_DIR has none). Log in on a terminal or with ssh, not with su or "
            "sudo, or install a system service: as root, without --user."
        )
    configuration = platformdirs.user_config_path()
    return Systemd(user=True, units=configuration / "systemd/user", settings=configuration / "aitbc-agent")


def require_root(manager: Systemd) -> None:
    """Raise `SystemdUnavailable` unless this user may change the manager's units."""
    if not manager.user and os.geteuid() != 0:
        raise SystemdUnavailable(
            "A system service requires root. Run the command with sudo, or with --user for a service of your own."
        )
