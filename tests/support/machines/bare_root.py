"""Creates the root directory of a separate system that shares this system's /usr: the few files of a new Debian."""

from __future__ import annotations

import shutil
from pathlib import Path

ACCOUNTS = Path("/usr/share/base-passwd")


def make_root(root: Path) -> None:
    """Create the directory with an empty /usr."""
    for name in ("etc", "usr", "proc", "sys", "dev", "run", "tmp", "var", "home"):
        (root / name).mkdir(parents=True)
    (root / "root").mkdir(mode=0o700)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for name in ("passwd", "group"):
        shutil.copy(ACCOUNTS / f"{name}.master", root / "etc" / name)
    shutil.copy("/etc/nsswitch.conf", root / "etc")
