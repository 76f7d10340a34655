"""What is installed in the environment in which this program runs, and commands that install what is missing.

They name its Python and use its uv, which every installation has: another Python's pip, which may be the first on the PATH, would
install elsewhere, and an environment of uv or pipx need not have a pip.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "aitbc-agent"

_OF_EXTRA: Final = re.compile(r"""(?P<package>[^;]+);.*\bextra == ['"](?P<extra>[^'"]+)['"]""")


def has_modules(*names: str) -> bool:
    """Return whether these modules are installed, without importing them."""
    return all(find_spec(name) is not None for name in names)


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution; "unknown" if it is missing."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def install_command(*packages: str, python: str = sys.executable) -> str:
    """Return the command that installs packages into the environment of a Python, by default this one."""
    words = [sys.executable, "-m", "uv", "pip", "install", *packages]
    if python != sys.executable:
        # Behind "install": an option of uv's subcommand.
        words[5:5] = ["--python", python]
    # A Debian package's environment, or that of a service, belongs to root.
    if os.geteuid() != 0 and Path(sys.prefix).stat().st_uid == 0:
        words.insert(0, "sudo")
    return shlex.join(words)


def extra_command(extra: str) -> str:
    """Return the command that installs the packages of an extra of this project.

    It names the packages, since the project itself may come from a clone or a file, and from no index.
    """
    try:
        requirements = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # in the environment of an engine
        requirements = []
    packages = [
        match["package"].strip()
        for match in map(_OF_EXTRA.match, requirements)
        if match and match["extra"] == extra
    ]
    return install_command(*(packages or [f"{DISTRIBUTION}[{extra}]"]))
