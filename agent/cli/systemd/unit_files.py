"""The files of a service: the shipped unit, a drop-in about this installation, and a private file with settings.

The unit is copied as it is, so that an upgrade can replace it. What depends on this machine is in the drop-in; what may be
secret is in the settings' file (mode 0600), since everybody can read units.
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

DATA_DIR: Final = "AITBC_DATA_DIR"
_DROP_IN: Final = "10-installation.conf"
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
"""What ProtectHome= hides."""


class Role(StrEnum):
    """Which service."""

    AGENT = "agent"
    COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class ServiceFiles:
    """The files of one service under one manager."""

    manager: Systemd
    role: Role

    @property
    def unit(self) -> str:
        """The unit's name."""
        return f"aitbc-{self.role}.service"

    @property
    def account(self) -> str | None:
        """The user that a service of the system runs as, unless systemd makes one at each start."""
        return None if self.manager.user or self.role is Role.COORDINATOR else "aitbc-agent"

    @property
    def home(self) -> Path:
        """Where a service of the system keeps its data."""
        return Path("/var/lib") / f"aitbc-{self.role}"

    @property
    def settings(self) -> Path:
        """The file with settings and secrets."""
        return self.manager.settings / f"{self.role}.env"

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """Unit, drop-in, settings."""
        unit = self.manager.units / self.unit
        return unit, unit.with_name(f"{unit.name}.d") / _DROP_IN, self.settings

    def write(self, changes: Mapping[str, str]) -> dict[Path, bool]:
        """Write all files with these settings added; says of each whether it is another than before.

        Raises `ConfigurationError` for a data directory that the service could not use.
        """
        unit, drop_in, settings = self.paths
        lines = _merged(_lines(settings), changes)
        content = self._drop_in(_value(lines, DATA_DIR))
        shipped = units_directory() / ("user" if self.manager.user else ".") / self.unit
        written = {
            unit: _write(unit, shipped.read_text(encoding="utf-8"), 0o644),
            drop_in: _write(drop_in, content, 0o644),
        }
        if lines:
            settings.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            written[settings] = _write(settings, "".join(f"{line}\n" for line in lines), 0o600)
        return written

    def remove(self) -> list[Path]:
        """Remove all files, and their directories if nothing else is in them; the files that there were."""
        found = [path for path in self.paths if path.exists()]
        for path in found:
            path.unlink()
        for path in self.paths[1:]:
            with suppress(OSError):  # the owner's own drop-ins, or the other service's settings
                path.parent.rmdir()
        return found

    def data_dir(self) -> Path | None:
        """Where the service has its data, if not at its usual place."""
        value = _value(_lines(self.settings), DATA_DIR)
        return None if value is None else Path(value)

    def _drop_in(self, data_dir: str | None) -> str:
        command = "start" if self.role is Role.AGENT else "coordinator"
        lines = [
            "# Made by `aitbc-agent service install`.",
            "[Service]",
            "ExecStart=",
            f"ExecStart={_quoted(program())} {command}",
        ]
        if not self.manager.user:
            lines += _visible(_hidden(_installation()))
            if data_dir is not None:
                lines += _owned(Path(data_dir))
        return "".join(f"{line}\n" for line in lines)


def program() -> Path:
    """The installed command. Raises `ConfigurationError` if there is none beside this Python."""
    path = Path(sys.executable).with_name("aitbc-agent")
    if not path.is_file():
        raise ConfigurationError(
            f"There is no {path}; install the package aitbc-agent with this Python's pip."
        )
    return path


def _installation() -> Iterable[Path]:
    """What this program is made of: the environment, the Python below it, and where packages are imported from."""
    for name in (sys.prefix, sys.base_prefix, *sys.path):
        if name and Path(name).exists():
            yield Path(name).absolute()
            yield Path(name).resolve()


def _hidden(paths: Iterable[Path]) -> list[Path]:
    """Those that lie in home directories, without those inside others."""
    hidden: list[Path] = []
    for path in sorted({path for path in paths if any(path.is_relative_to(home) for home in _HOMES)}):
        if not any(path.is_relative_to(other) for other in hidden):
            hidden.append(path)
    return hidden


def _visible(paths: list[Path]) -> list[str]:
    """What puts these back where ProtectHome= has emptied the homes; a home's own mode, often 0700, would keep them closed."""
    homes = [home for home in _HOMES if any(path.is_relative_to(home) for path in paths)]
    return [
        *(f"TemporaryFileSystem={home}:ro,mode=0755" for home in homes),
        *(f"BindReadOnlyPaths={_quoted(path)}" for path in paths),
    ]


def _owned(directory: Path) -> list[str]:
    """What lets the service keep its data in a directory of somebody's: it runs as its owner."""
    try:
        owner = directory.owner()
    except (FileNotFoundError, KeyError):
        raise ConfigurationError(
            f"{directory} must be there and belong to a user: that user's rights are the service's. Make it first, for example: "
            f"install -d -m 700 -o USER {directory}"
        ) from None
    if owner == "root":
        raise ConfigurationError(
            f"{directory} belongs to root, and the service must not run as root. Give it to another user: chown -R USER {directory}"
        )
    return [
        "DynamicUser=no",  # as the coordinator's unit has it: a user that is there already
        f"User={owner}",
        f"BindPaths={_quoted(directory)}",
        f"ReadWritePaths={_quoted(directory)}",
    ]


def _quoted(path: Path) -> str:
    """A path as units have it."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(character in text for character in " \\\"':;") else text


# --- Settings -------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _merged(lines: list[str], changes: Mapping[str, str]) -> list[str]:
    """The owner's own lines stay as they are."""
    kept = [line for line in lines if line.partition("=")[0].strip() not in changes]
    return [*kept, *(f"{name}={_as_value(value)}" for name, value in changes.items())]


def _as_value(value: str) -> str:
    if any(ord(character) < ord(" ") for character in value):
        raise ConfigurationError("A setting of a service cannot hold line breaks or control characters.")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _value(lines: list[str], name: str) -> str | None:
    for line in reversed(lines):
        key, found, value = line.partition("=")
        if found and key.strip() == name:
            return value.strip().removeprefix('"').removesuffix('"').replace('\\"', '"').replace("\\\\", "\\")
    return None


def _write(path: Path, text: str, mode: int) -> bool:
    """Write a file in one step, if it is not so already. Whether it was another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == mode:
        return False
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask says
        file.write(text)
    temporary.replace(path)
    return True
