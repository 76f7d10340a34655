"""Moves the clocks of processes that a test has started, while they run."""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shim.c")


class Clocks:
    """The clocks of all processes that have this `environment`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        library, file = directory / "clock_shim.so", directory / "offsets"
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True, capture_output=True
        )
        file.write_bytes(bytes(16))
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIM_FILE": str(file)}
        self._seconds = [0, 0]
        with file.open("r+b") as content:
            self._memory = mmap.mmap(content.fileno(), 16)

    def set(self, seconds: int) -> None:
        """Move the time of day, as somebody does who changes the clock."""
        self._move(seconds, 0)

    def suspend(self, seconds: int) -> None:
        """Move all clocks that go on while a machine is suspended. Its processes must not run meanwhile."""
        self._move(seconds, seconds)

    def _move(self, *seconds: int) -> None:
        self._seconds = [sum(pair) for pair in zip(self._seconds, seconds, strict=True)]
        self._memory[:] = struct.pack("=qq", *self._seconds)
