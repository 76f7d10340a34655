"""Minimal Debians for the tests' images and machines, created once with debootstrap in build/debian."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

BUILD = Path(__file__).parents[3] / "build"
SUITE = "trixie"
MAKE_SECONDS = 900
SYSTEM = ("systemd", "systemd-sysv", "dbus")
"""What a Debian needs beyond the minimum to boot."""


def empty_debian(suite: str = SUITE) -> Path:
    """Return the tar archive of a minimal Debian with apt. Creating it takes about half a minute."""
    archive = BUILD / "debian" / f"{suite}-minbase.tar"
    if not archive.exists():
        root = _bootstrapped(suite)
        lists = ["--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*"]
        _pack(root, archive, lists)
    return archive


def bootable_debian(suite: str, package: Path) -> Path:
    """Return the tar archive of a Debian that boots, whose apt has downloaded what a package depends on, and needs no network.

    Of the package itself nothing is installed. Creating the archive takes a few minutes.
    """
    depends = _output("dpkg-deb", "--field", package, "Depends")
    name = hashlib.sha256(f"{depends} {SYSTEM}".encode()).hexdigest()[:12]
    archive = BUILD / "debian" / f"{suite}-boots-{name}.tar"
    if not archive.exists():
        root = _bootstrapped(suite, SYSTEM)
        # The machine's own ways to its mirror, which the tested machine does not get.
        settings = root / "etc/apt/apt.conf.d/00build"
        options = [
            line for line in _output("apt-config", "dump").splitlines() if line.startswith("Acquire::")
        ]
        settings.write_text("\n".join(options) + "\n")
        shutil.copy(package, root / "package.deb")
        for words in (
            ("update",),
            ("install", "--yes", "--no-install-recommends", "--download-only", "/package.deb"),
        ):
            _run("chroot", root, "apt-get", *words)
        (root / "package.deb").unlink()
        settings.unlink()
        _pack(root, archive)
    return archive


def _bootstrapped(suite: str, included: Sequence[str] = ()) -> Path:
    directory = BUILD / "debian"
    directory.mkdir(parents=True, exist_ok=True)
    root = directory / f"{suite}-{'boots' if included else 'minbase'}"
    shutil.rmtree(root, ignore_errors=True)
    options = [f"--include={','.join(included)}"] if included else []
    _run("debootstrap", "--variant=minbase", *options, suite, root)
    # Without syncing: additional packages are discarded long before a disk fails.
    (root / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
    return root


def _pack(root: Path, archive: Path, options: Sequence[str] = ()) -> None:
    unfinished = archive.with_suffix(".new")
    _run("tar", "--one-file-system", "-C", root, *options, "-cf", unfinished, ".")
    unfinished.replace(archive)
    shutil.rmtree(root)


def _run(*command: str | Path) -> None:
    with (BUILD / "debian" / "commands.log").open("ab") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT, timeout=MAKE_SECONDS)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=MAKE_SECONDS).stdout
