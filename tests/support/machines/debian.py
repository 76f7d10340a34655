"""A minimal Debian for the tests' images, created once with debootstrap in build/debian."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

BUILD = Path(__file__).parents[3] / "build"
SUITE = "trixie"
MAKE_SECONDS = 900


def empty_debian(suite: str = SUITE) -> Path:
    """Return the tar archive of a minimal Debian with apt. Creating it takes about half a minute."""
    directory = BUILD / "debian"
    archive = directory / f"{suite}-minbase.tar"
    if archive.exists():
        return archive
    directory.mkdir(parents=True, exist_ok=True)
    root = directory / f"{suite}-minbase"
    shutil.rmtree(root, ignore_errors=True)
    with (directory / "debootstrap.log").open("wb") as log:
        subprocess.run(
            ["debootstrap", "--variant=minbase", suite, root],
            check=True,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=MAKE_SECONDS,
        )
    # Without syncing: additional packages are discarded long before a disk fails.
    (root / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
    unfinished = archive.with_suffix(".new")
    lists = ["--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*"]
    subprocess.run(
        ["tar", "--one-file-system", "-C", root, *lists, "-cf", unfinished, "."],
        check=True,
        timeout=MAKE_SECONDS,
    )
    unfinished.replace(archive)
    shutil.rmtree(root)
    return archive
