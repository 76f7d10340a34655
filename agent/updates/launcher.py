"""Starts the current version instead of the one that the owner installed, before anything else is imported.

An update creates an environment of its own in VERSIONS, and `VERSIONS/current` names it. The installed command stays where the owner
has put it, so it hands over: with the same process, arguments and variables, if the versions belong to the same user. If anything is wrong with that environment, the
installed version runs. Nothing but `os` and `sys` is imported here, because every command passes by.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` imports more than this module needs
    from collections.abc import Mapping, Sequence

BASE_FILE = "aitbc-base"
"""In an environment of an update: the path of the environment that the owner installed."""
BASE_VERSION_FILE = "aitbc-base-version"
"""Its version then. After the owner has installed another one, that one runs."""
CURRENT = "current"
PROGRAM = "bin/aitbc-agent"
AS_IT_IS = "_AITBC_AS_IT_IS"
"""In the environment of a process that must run in the version that was started: one on trial."""


def redirect(version: str) -> None:
    """Replace this process, which runs the installed `version`, by the current version if there is another one."""
    if AS_IT_IS in os.environ:
        return
    try:
        versions = directory(sys.argv, os.environ)
        current = os.path.join(versions, CURRENT)
        # Root runs commands on the data of a service, whose user must not be able to choose what root executes.
        if os.geteuid() != os.stat(versions).st_uid or os.geteuid() != os.stat(current).st_uid:
            return
        if _line(current, BASE_FILE) != sys.prefix or _line(current, BASE_VERSION_FILE) != version:
            return
        # Its own path, not that of the link: the process must not notice when the link is replaced.
        program = os.path.join(os.path.realpath(current), PROGRAM)
        os.execv(program, [program, *sys.argv[1:]])  # noqa: S606 - the owner's own arguments
    except OSError:
        return


def directory(arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    """Return VERSIONS of the agent that a command is about: `updates.directory`, or `versions` in its data directory.

    Settings take too long to read here, so the file of settings is not consulted: `aitbc-agent update` checks that it agrees.
    """
    if chosen := variables.get("AITBC_UPDATES__DIRECTORY"):
        return os.path.abspath(os.path.expanduser(chosen))
    data_dir = variables.get("AITBC_DATA_DIR", "")
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--data-dir":
            data_dir = value if equals else "".join(arguments[position + 1 : position + 2])
    if not data_dir:
        share = variables.get("XDG_DATA_HOME", "").strip() or os.path.expanduser("~/.local/share")
        data_dir = os.path.join(share, "aitbc-agent")
    return os.path.join(os.path.abspath(os.path.expanduser(data_dir)), "versions")


def _line(environment: str, name: str) -> str:
    descriptor = os.open(os.path.join(environment, name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096).decode().strip()
    finally:
        os.close(descriptor)
