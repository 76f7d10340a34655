"""Runs this project's programs as an ordinary user of this machine, even if only root can access them."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote

NOBODY = 65534
PROJECT = Path(__file__).parents[3]


def as_user(uid: int, command: list[str]) -> list[str]:
    """Return the command line that runs `command`, a command of this project's Python, as this user. Only root may run it.

    It needs a directory TMPDIR. In a mount namespace of its own, each directory that other users may not enter is
    covered by one that contains only the path to the program.
    """
    switched = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--", *command]
    closed = {
        shown: above for shown in (Path(sys.base_prefix).resolve(), PROJECT) if (above := _closed(shown))
    }
    if not closed:
        return switched
    mounts = {shown: f'"$TMPDIR"/mount{number}' for number, shown in enumerate(closed)}
    lines = [f"mkdir {mount} && mount --bind {quote(str(shown))} {mount}" for shown, mount in mounts.items()]
    lines += [f"mount -t tmpfs -o mode=0755 none {quote(str(above))}" for above in set(closed.values())]
    for shown, mount in mounts.items():
        lines.append(f"mkdir -p {quote(str(shown))} && mount --move {mount} {quote(str(shown))}")
    script = " && ".join([*lines, 'exec "$@"'])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *switched]


def _closed(path: Path) -> Path | None:
    """Return the outermost directory above `path` that other users cannot enter."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & 0o001:
            return parent
    return None
