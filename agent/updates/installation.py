"""How this agent was installed, and the commands of that way that update and uninstall it.

An agent may install versions of itself only where it owns its environment. A Debian package, an image and a clone belong to their own
tools, so the agent names these instead.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from agent.updates.launcher import BASE_FILE

DISTRIBUTION: Final = "aitbc-agent"
_PACKAGE: Final = f"./{DISTRIBUTION}_VERSION_ARCHITECTURE.deb"


class InstallationWay(StrEnum):
    """The tool that installed the agent. `DEB` and `IMAGE` are also the content of `INSTALLER` among the metadata, written by their builds."""

    UV_TOOL = "uv tool"
    PIPX = "pipx"
    PIP = "pip"
    DEB = "deb"
    IMAGE = "image"
    CLONE = "clone"


_RECEIPTS: Final = {"uv-receipt.toml": InstallationWay.UV_TOOL, "pipx_metadata.json": InstallationWay.PIPX}
"""The files in an environment by which its tool recognises it."""


@dataclass(frozen=True, slots=True)
class AgentInstallation:
    """An installed agent.

    `environment` is the directory of its Python environment; of a clone, the clone. `update` and `uninstall` are the commands that an owner types,
    VERSION standing for the wanted version.
    """

    way: InstallationWay
    environment: Path
    update: str
    uninstall: str

    @property
    def updates_itself(self) -> bool:
        """Whether `aitbc-agent update` may install a version beside this one."""
        return self.way in {InstallationWay.UV_TOOL, InstallationWay.PIPX, InstallationWay.PIP}


def installation(environment: Path | None = None) -> AgentInstallation:
    """Return how the agent in an environment was installed, by default the one that runs.

    For an environment that an update has created, that is the installation which the owner made.
    """
    prefix = Path(sys.prefix) if environment is None else environment
    try:
        prefix = Path((prefix / BASE_FILE).read_text(encoding="utf-8").strip())
        environment = prefix
    except FileNotFoundError:
        pass
    metadata = _metadata(None if environment is None else prefix)
    way = _way(prefix, metadata)
    directory = prefix if way is not InstallationWay.CLONE or metadata is None else _clone(metadata) or prefix
    return AgentInstallation(way, directory, *_commands(way, directory))


def _metadata(environment: Path | None) -> Distribution | None:
    """Return the metadata of the agent in an environment, or on the path of this process."""
    paths: Iterable[str] = (
        sys.path if environment is None else map(str, environment.glob("lib/python*/site-packages"))
    )
    return next(iter(distributions(name=DISTRIBUTION, path=list(paths))), None)


def _way(prefix: Path, metadata: Distribution | None) -> InstallationWay:
    # A package or an image says so itself. Without any metadata the code was started from a clone.
    if metadata is None or _clone(metadata) is not None:
        return InstallationWay.CLONE
    installer = (metadata.read_text("INSTALLER") or "").strip()
    if installer in {InstallationWay.DEB, InstallationWay.IMAGE}:
        return InstallationWay(installer)
    return next(
        (way for name, way in _RECEIPTS.items() if (prefix / name).is_file()),
        InstallationWay.PIP,
    )


def _clone(metadata: Distribution) -> Path | None:
    """Return the directory of an editable installation."""
    direct_url = json.loads(metadata.read_text("direct_url.json") or "{}")
    if not direct_url.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(direct_url["url"]).path))


def _commands(way: InstallationWay, directory: Path) -> tuple[str, str]:
    # Not pip's: an environment that uv has made has no pip, and every agent has uv.
    uv = f"{shlex.quote(str(directory / 'bin/python'))} -m uv pip"
    clone = shlex.quote(str(directory))
    commands = {
        InstallationWay.UV_TOOL: (f"uv tool upgrade {DISTRIBUTION}", f"uv tool uninstall {DISTRIBUTION}"),
        InstallationWay.PIPX: (f"pipx upgrade {DISTRIBUTION}", f"pipx uninstall {DISTRIBUTION}"),
        InstallationWay.PIP: (
            f"{uv} install --upgrade {DISTRIBUTION}",
            f"{uv} uninstall {DISTRIBUTION} aitbc",
        ),
        InstallationWay.DEB: (f"sudo apt install {_PACKAGE}", f"sudo apt remove {DISTRIBUTION}"),
        InstallationWay.IMAGE: (
            f"docker pull {DISTRIBUTION}:VERSION",
            f"docker rmi {DISTRIBUTION}",
        ),
        InstallationWay.CLONE: (f"git -C {clone} pull && {clone}/scripts/setup", f"rm -r {clone}"),
    }
    return commands[way]
