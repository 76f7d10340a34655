"""Writes the files of a service: the shipped unit, a drop-in for this installation, and a private file with settings.

The unit is copied unchanged, so that an upgrade can replace it; the Debian package brings it, and then it is not copied. The drop-in contains what depends on this machine. Settings that may
be secret are in a file with mode 0600, since every user can read units.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from agent.cli.systemd.systemctl import Systemd
from agent.configuration import units_directory
from agent.core.errors import ConfigurationError
from agent.power_helper import helper
from agent.updates.directory import base_environment, base_program

DATA_DIR: Final = "AITBC_DATA_DIR"
ACCOUNT: Final = "aitbc-agent"
"""The user of the agent's system service."""
HELPER_UNIT: Final = "aitbc-power.service"
PACKAGED_UNITS: Final = Path("/usr/lib/systemd/system")
"""Where the Debian package has its units."""
_DROP_IN: Final = "10-installation.conf"
HELPER: Final = Path("/usr/local/libexec/aitbc-power-helper")
"""Where the helper for power limits is copied to, since root must run no program that another user could change."""
_CREATED: Final = "# Created by `aitbc-agent service install`."
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
"""The directories that ProtectHome= hides."""


class ServiceRole(StrEnum):
    """The kind of service."""

    AGENT = "agent"
    COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class ServiceFiles:
    """The files of one service under one manager."""

    manager: Systemd
    role: ServiceRole
    helper: Path = HELPER
    packaged_units: Path = PACKAGED_UNITS

    @property
    def packaged(self) -> bool:
        """Whether a package brings the units, so that only settings are written."""
        return not self.manager.user and (self.packaged_units / self.unit).is_file()

    @property
    def unit(self) -> str:
        """The name of the unit."""
        return f"aitbc-{self.role}.service"

    @property
    def account(self) -> str | None:
        """The user that a system service runs as; None if systemd creates one at each start."""
        return None if self.manager.user or self.role is ServiceRole.COORDINATOR else ACCOUNT

    @property
    def home(self) -> Path:
        """The data directory of a system service."""
        return Path("/var/lib") / f"aitbc-{self.role}"

    @property
    def settings(self) -> Path:
        """The file with the settings and secrets."""
        return self.manager.settings / f"{self.role}.env"

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """The unit, the drop-in and the settings."""
        unit = self.manager.units / self.unit
        return unit, unit.with_name(f"{unit.name}.d") / _DROP_IN, self.settings

    @property
    def helper_paths(self) -> tuple[Path, Path, Path]:
        """The helper for power limits, its unit and its drop-in."""
        unit = self.manager.units / HELPER_UNIT
        return self.helper, unit, unit.with_name(f"{unit.name}.d") / _DROP_IN

    def write(self, changes: Mapping[str, str], *, power_limits: bool = False) -> dict[Path, bool]:
        """Write all files with these settings added. Returns for each file whether it has changed.

        With `power_limits` also those of the helper, which are updated if they exist. Raises `ConfigurationError` for a data directory that the
        service could not use.
        """
        settings = self.settings
        lines = _merged(_lines(settings), changes)
        data_dir = _value(lines, DATA_DIR)
        written = self._write_units(data_dir) if not self.packaged else self._write_beside_package(data_dir)
        if lines:
            settings.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            written[settings] = _write(settings, "".join(f"{line}\n" for line in lines), 0o600)
        if self.account is not None and not self.packaged and (power_limits or self.helper_paths[1].exists()):
            written |= self._write_helper(data_dir)
        return written

    def _write_units(self, data_dir: str | None) -> dict[Path, bool]:
        unit, drop_in, _ = self.paths
        content = self._drop_in(data_dir)
        # The unit itself is never edited, so an upgrade can replace it; what belongs to this machine is in the drop-in.
        shipped = units_directory() / ("user" if self.manager.user else ".") / self.unit
        return {
            unit: _write(unit, shipped.read_text(encoding="utf-8"), 0o644),
            drop_in: _write(drop_in, content, 0o644),
        }

    def _write_beside_package(self, data_dir: str | None) -> dict[Path, bool]:
        """Write what only this machine needs, and remove what another installation has left, which would hide the package's units."""
        drop_in, helper_drop_in = self.paths[1], self.helper_paths[2]
        contents: dict[Path, list[str]] = {}
        if data_dir is not None:
            contents[drop_in] = ["[Service]", *_owned(Path(data_dir))]
            if self.account is not None:
                contents[helper_drop_in] = ["[Service]", f"Environment=AITBC_USER={Path(data_dir).owner()}"]
        written = {
            path: _write(path, "".join(f"{line}\n" for line in [_CREATED, *lines]), 0o644)
            for path, lines in contents.items()
        }
        superfluous = [path for path in self._unit_files() if path not in contents and path.exists()]
        for path in superfluous:
            path.unlink()
        return {**written, **dict.fromkeys(superfluous, True)}

    def _unit_files(self) -> tuple[Path, ...]:
        return (*self.paths[:2], *(self.helper_paths if self.account is not None else ()))

    def _write_helper(self, data_dir: str | None) -> dict[Path, bool]:
        program_path, unit, drop_in = self.helper_paths
        user = self.account if data_dir is None else Path(data_dir).owner()
        lines = [_CREATED, "[Service]", f"Environment=AITBC_USER={user}"]
        return {
            program_path: _write(program_path, Path(helper.__file__).read_text(encoding="utf-8"), 0o755),
            unit: _write(unit, (units_directory() / HELPER_UNIT).read_text(encoding="utf-8"), 0o644),
            drop_in: _write(drop_in, "".join(f"{line}\n" for line in lines), 0o644),
        }

    def remove(self) -> list[Path]:
        """Remove all files, and their directories if these are then empty. Returns the removed files."""
        existing_files = [path for path in (*self._unit_files(), self.settings) if path.exists()]
        for path in existing_files:
            path.unlink()
        for path in (*self.paths[1:], self.helper_paths[2]):
            # The owner's own drop-ins, or the other service's settings.
            with suppress(OSError):
                path.parent.rmdir()
        return existing_files

    def data_dir(self) -> Path | None:
        """Return the configured data directory of the service, or None for the default."""
        value = _value(_lines(self.settings), DATA_DIR)
        return None if value is None else Path(value)

    def sets(self, variable: str) -> bool:
        """Whether the file with the service's settings sets a variable, which takes precedence over `agent.toml`. Raises `OSError`."""
        return _value(_lines(self.settings), variable) is not None

    def _drop_in(self, data_dir: str | None) -> str:
        command = "start" if self.role is ServiceRole.AGENT else "coordinator"
        lines = [
            _CREATED,
            "[Service]",
            # An empty one first: systemd adds to the unit's commands otherwise, and a service may have only one.
            "ExecStart=",
            f"ExecStart={_quoted(program())} {command}",
        ]
        # Only the system's service is confined; a user's one sees what its user sees.
        if not self.manager.user:
            lines += _visible(_hidden(_installation()))
            if data_dir is not None:
                lines += _owned(Path(data_dir))
        return "".join(f"{line}\n" for line in lines)


def program() -> Path:
    """Return the installed command. Raises `ConfigurationError` if it is not next to this Python."""
    # Not that of a version which an update has installed: the installed command starts whichever is current.
    is_update = base_environment() != Path(sys.prefix)
    path = base_program() if is_update else Path(sys.executable).with_name("aitbc-agent")
    if not path.is_file():
        raise ConfigurationError(
            f"There is no {path}. Install the package aitbc-agent with this Python's pip."
        )
    return path


def _installation() -> Iterable[Path]:
    """Yield the directories of this program: its environment, the base Python, and the import path."""
    for name in (str(base_environment()), sys.prefix, sys.base_prefix, *sys.path):
        if name and Path(name).exists():
            yield Path(name).absolute()
            yield Path(name).resolve()


def _hidden(paths: Iterable[Path]) -> list[Path]:
    """Return the paths in home directories, without those inside another one."""
    hidden: list[Path] = []
    for path in sorted({path for path in paths if any(path.is_relative_to(home) for home in _HOMES)}):
        if not any(path.is_relative_to(hidden_path) for hidden_path in hidden):
            hidden.append(path)
    return hidden


def _visible(paths: list[Path]) -> list[str]:
    """Return directives that make the paths visible again under ProtectHome=.

    The home directories are replaced, since their own mode, often 0700, would deny access.
    """
    homes = [home for home in _HOMES if any(path.is_relative_to(home) for path in paths)]
    return [
        *(f"TemporaryFileSystem={home}:ro,mode=0755" for home in homes),
        *(f"BindReadOnlyPaths={_quoted(path)}" for path in paths),
    ]


def _owned(directory: Path) -> list[str]:
    """Return directives for a service that stores its data in a user's directory: it runs as that user."""
    try:
        owner = directory.owner()
    except (FileNotFoundError, KeyError):
        raise ConfigurationError(
            f"{directory} must exist and belong to the user that the service is to run as. Create it first, for example with: "
            f"install -d -m 700 -o USER {directory}"
        ) from None
    if owner == "root":
        raise ConfigurationError(
            f"{directory} belongs to root, and the service must not run as root. Change its owner: chown -R USER {directory}"
        )
    return [
        "DynamicUser=no",  # overrides the coordinator's unit: the user exists already
        f"User={owner}",
        f"BindPaths={_quoted(directory)}",
        f"ReadWritePaths={_quoted(directory)}",
    ]


def _quoted(path: Path) -> str:
    """Quote a path for a unit file."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(character in text for character in " \\\"':;") else text


# --- Settings -------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _merged(lines: list[str], changes: Mapping[str, str]) -> list[str]:
    """Return the lines with the changed settings at the end; the owner's other lines stay as they are."""
    # The owner's comments and other variables are theirs.
    unchanged = [line for line in lines if line.partition("=")[0].strip() not in changes]
    return [*unchanged, *(f"{name}={_as_value(value)}" for name, value in changes.items())]


def _as_value(value: str) -> str:
    if any(ord(character) < ord(" ") for character in value):
        raise ConfigurationError("A service's setting cannot contain line breaks or control characters.")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _value(lines: list[str], name: str) -> str | None:
    # The last one counts, as for systemd.
    for line in reversed(lines):
        key, separator, value = line.partition("=")
        if separator and key.strip() == name:
            return value.strip().removeprefix('"').removesuffix('"').replace('\\"', '"').replace("\\\\", "\\")
    return None


def _write(path: Path, text: str, mode: int) -> bool:
    """Write a file atomically unless it has this content and mode. Returns whether it was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == mode:
        return False
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    # Created with its mode, since the settings may have a token, which must not be readable even for a moment.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        # Regardless of the umask: the service's user must be able to read it, and nobody else if it has a token.
        os.fchmod(file.fileno(), mode)
        file.write(text)
    temporary.replace(path)
    return True
