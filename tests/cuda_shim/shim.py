"""Builds the stand-in for libcuda, and writes its state. The sandbox shows both, since they are in the driver's directory."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("cuda_shim.c")


def build(directory: Path) -> None:
    """Compile the library into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    options = ["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    command = ["gcc", *options, "-o", str(directory / "libcuda.so.1"), str(SOURCE)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)


def write(directory: Path, **state: object) -> None:
    """Write the state of the card; cuda_shim.c lists its keys."""
    lines = (f"{key} {value}\n" for key, value in state.items())
    (directory / "cuda_shim.state").write_text("".join(lines))
