"""Unpacks what `carry.py` has packed, and prints shell commands that let programs find it.

    eval "$(python3 DIRECTORY/agent/use_carried.py)"

Needs only Python. Everything is unpacked into the directory CARRIED, by default /tmp/carried; loads that come later are added to it.
"""

from __future__ import annotations

import io
import lzma
import os
import subprocess
import sys
import tarfile
import venv
from ctypes.util import find_library
from pathlib import Path
from typing import Any

# Python 3.11.4 and newer want to be given it; the content is our own.
_TRUSTED: Any = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}


def unpack(loads: Path, target: Path) -> None:
    """Unpack each load all of whose pieces are there, once."""
    target.mkdir(parents=True, exist_ok=True)
    for first in sorted(loads.glob("*/*.1-of-*")):
        name, count = first.name.rsplit(".1-of-", 1)
        pieces = [
            path
            for number in range(1, int(count) + 1)
            for path in loads.glob(f"*/{name}.{number}-of-{count}")
        ]
        done = target / f".{name}"
        if len(pieces) < int(count):
            print(f"{name}: only {len(pieces)} of {count} pieces are here", file=sys.stderr)
        elif not done.exists():
            packed = b"".join(piece.read_bytes() for piece in pieces)
            with lzma.open(io.BytesIO(packed)) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                archive.extractall(target, **_TRUSTED)  # noqa: S202 - packed by carry.py
            done.touch()
            print(f"{name}: unpacked", file=sys.stderr)


def make_environment(target: Path) -> None:
    """Create an environment for Python with what was carried beside the packages of this Python.

    PYTHONPATH would not do: the agent's child processes ignore it.
    """
    builder = venv.EnvBuilder(system_site_packages=True, symlinks=True)
    builder.create(target / "python")
    (site,) = (target / "python").glob("lib/python3*/site-packages")
    (site / "carried.pth").write_text(f"{target}/site\n")


def convert_speech(target: Path) -> None:
    """Write the carried model of speech also in openai-whisper's format, which is as large again."""
    model = target / "models" / "tiny.en"
    if not (model / "model.bin").is_file() or (model / "model.pt").exists():
        return
    code = "import sys, pathlib, whisper_checkpoint; whisper_checkpoint.convert(*map(pathlib.Path, sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(model / "model.bin"), str(model / "model.new")]
    done = subprocess.run(command, cwd=target / "tree" / "scripts/conversions", check=False)
    if done.returncode == 0:
        (model / "model.new").rename(model / "model.pt")


def main() -> None:
    """Unpack, and print the commands."""
    target = Path(os.environ.get("CARRIED", "/tmp/carried"))  # noqa: S108 - a machine for one purpose
    unpack(Path(__file__).resolve().parents[1], target)
    make_environment(target)
    convert_speech(target)
    if find_library("seccomp") is None:
        print(
            f"libseccomp is missing: as root, cp {target}/programs/lib/libseccomp.so.2 /usr/lib && ldconfig",
            file=sys.stderr,
        )
    print(f"export CARRIED={target} PATH={target}/python/bin:{target}/programs/bin:$PATH; cd {target}/tree")


if __name__ == "__main__":
    main()
