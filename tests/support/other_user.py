"""Runs this project's programs as an ordinary user of this machine, also where only root can reach them."""

from __future__ import annotations

import sys
from pathlib import Path

NOBODY = 65534
PROJECT = Path(__file__).parents[2]

# In a namespace of mounts of its own, each directory that others may not enter is covered by one that holds nothing but the
# way to the program. `open` keeps a way to what is covered.
_UNCOVER = """
set -eu
closed=$1 shown=$2 user=$3
shift 3
mkdir -p "$TMPDIR/kept"
mount --bind "$shown" "$TMPDIR/kept"
mount -t tmpfs -o mode=0755 none "$closed"
mkdir -p "$shown"
mount --move "$TMPDIR/kept" "$shown"
exec "$@"
"""


def as_user(uid: int, command: list[str]) -> list[str]:
    """The command line that runs `command`, a command of this project's Python, as this user. Only root may run it."""
    switched = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--", *command]
    for shown in {Path(sys.base_prefix).resolve(), PROJECT}:
        if (closed := _closed(shown)) is not None:
            inner = ["sh", "-c", _UNCOVER, "sh", str(closed), str(shown), str(uid), *switched]
            switched = ["unshare", "--mount", "--propagation", "private", *inner]
    return switched


def _closed(path: Path) -> Path | None:
    """The outermost directory above `path` that other users may not enter."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & 0o001:
            return parent
    return None
