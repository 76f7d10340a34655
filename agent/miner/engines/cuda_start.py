"""Whether CUDA starts on this machine, in a process of its own: a card that NVIDIA's management library lists may still refuse to compute."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from agent.child_environment import inherited
from runners.causes import Stage, cause_of
from runners.errors import FailureCode

SECONDS: Final = 120.0
"""Time limit. Without persistence mode a start takes 10 to 20 s on a machine with eight cards."""

_PROGRAM: Final = """
import ctypes
cuda, words = ctypes.CDLL("libcuda.so.1"), ctypes.c_char_p()
if error := cuda.cuInit(0):
    cuda.cuGetErrorString(error, ctypes.byref(words))
    raise SystemExit(f"CUDA error {error}: {(words.value or b'').decode()}")
"""
NO_LIBRARY: Final = "Install the driver's library for CUDA (Debian: apt-get install libcuda1); in a container, NVIDIA_DRIVER_CAPABILITIES needs compute."
"""What to do without a libcuda.so.1."""
_UNKNOWN: Final = "Check whether nvidia-smi works, and restart the machine."


def failure() -> tuple[str, str] | None:
    """Return why CUDA does not start, in the driver's words, and what to do; None if it starts. Blocking."""
    try:
        start = subprocess.run(  # noqa: S603 - the program is ours
            [sys.executable, "-I", "-c", _PROGRAM],
            env=inherited(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS:g} s", _UNKNOWN
    if start.returncode == 0:
        return None
    words = next(iter(start.stderr.strip().splitlines()[-1:]), f"exit status {start.returncode}")
    return words, NO_LIBRARY if "libcuda.so.1" in words else remedy(words) or _UNKNOWN


def remedy(words: str) -> str | None:
    """Return what to do about a card or driver that made an engine fail with these words; None if they are about something else."""
    cause = cause_of(Stage.LOADING, words)
    return cause.message if cause.code is FailureCode.GPU_UNSUPPORTED else None
