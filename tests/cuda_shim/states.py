"""The states in which CUDA does not start: how the stand-in for libcuda shows them, what each engine then says, and the remedy that owners read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from cuda_shim.shim import write


@dataclass(frozen=True)
class State:
    """A state of driver and system: the result of cuInit, and the driver's version of CUDA. `remedy` is a part of the advice."""

    name: str
    init: int
    version: int
    remedy: str

    def environment(self, library: Path) -> dict[str, str]:
        """Put the stand-in in the directory `library` into this state. Return the variables of programs that load it."""
        write(library, init=self.init, version=self.version)
        inherited = os.environ.get("LD_LIBRARY_PATH")
        paths = [str(library), *([inherited] if inherited else [])]
        return {"LD_LIBRARY_PATH": os.pathsep.join(paths)}


OLD_FOR_13 = State("a driver of CUDA 12.8", 0, 12080, "Update the driver")
OLD_FOR_12 = State("a driver of CUDA 11.2", 0, 11020, "Update the driver")
NO_DEVICE = State("no device", 100, 13020, "CUDA sees no card")
REFUSED = State("refused by the system", 304, 13020, "the sandbox or the container")
MISMATCH = State("driver and library differ", 803, 13020, "Restart the machine, or reload the module")
NO_MODULE = State("no nvidia-uvm", 999, 13020, "nvidia-modprobe -c0 -u")

STATES = (NO_DEVICE, REFUSED, MISMATCH, NO_MODULE)


@dataclass(frozen=True)
class Words:
    """What an engine says in a state.

    `seen`: "here" and "ship" are of the real engine with the stand-in for libcuda, in a test of this suite or of `make test-ship`;
    "read" is from the engine's source or from reports of others.
    """

    engine: Literal["torch", "CTranslate2", "ONNX Runtime", "Cycles", "vLLM"]
    state: State
    text: str
    seen: Literal["here", "ship", "read"]


_COUNT = "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that might have already set an error? "

WORDS = (
    Words("torch", OLD_FOR_13, "The NVIDIA driver on your system is too old (found version 12080).", "here"),
    Words("torch", NO_DEVICE, "No CUDA GPUs are available", "here"),
    Words("torch", REFUSED, f"{_COUNT}Error 304: OS call failed or operation not supported on this OS", "here"),
    Words("torch", MISMATCH, f"{_COUNT}Error 803: system has unsupported display driver / cuda driver combination", "here"),
    Words("torch", NO_MODULE, "CUDA unknown error - this may be due to an incorrectly set up environment", "here"),
    Words("torch", NO_DEVICE, "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU", "read"),
    Words("torch", OLD_FOR_13, "CUDA error: the provided PTX was compiled with an unsupported toolchain.", "read"),
    Words("CTranslate2", OLD_FOR_12, "CUDA failed with error CUDA driver version is insufficient for CUDA runtime version", "here"),
    Words("CTranslate2", NO_DEVICE, "CUDA failed with error no CUDA-capable device is detected", "here"),
    Words("CTranslate2", REFUSED, "CUDA failed with error OS call failed or operation not supported on this OS", "here"),
    Words("CTranslate2", MISMATCH, "CUDA failed with error system has unsupported display driver / cuda driver combination", "here"),
    Words("CTranslate2", NO_MODULE, "CUDA failed with error unknown error", "here"),
    Words("ONNX Runtime", OLD_FOR_12, "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version", "ship"),
    Words("ONNX Runtime", NO_DEVICE, "CUDA failure 100: no CUDA-capable device is detected", "ship"),
    Words("ONNX Runtime", REFUSED, "CUDA failure 304: OS call failed or operation not supported on this OS", "ship"),
    Words("ONNX Runtime", MISMATCH, "CUDA failure 803: system has unsupported display driver / cuda driver combination", "ship"),
    Words("ONNX Runtime", NO_MODULE, "CUDA failure 999: unknown error", "ship"),
    # Cycles itself prints other words for each version of Blender, so the check asks the driver for them.
    Words("Cycles", NO_DEVICE, "CUDA error 100: no CUDA-capable device is detected", "ship"),
    Words("Cycles", REFUSED, "CUDA error 304: OS call failed or operation not supported on this OS", "ship"),
    Words("Cycles", MISMATCH, "CUDA error 803: system has unsupported display driver / cuda driver combination", "ship"),
    Words("Cycles", NO_MODULE, "CUDA error 999: unknown error", "ship"),
    Words("vLLM", NO_DEVICE, "RuntimeError: Failed to infer device type", "read"),
)  # fmt: skip


def usual(words: Words, *, first: bool = True) -> Any:
    """Return the marks of a test with these words: torch takes seconds to load, so `make test` has one of its states and leaves the rest to `make test-ship`."""
    return () if words.engine != "torch" or (first and words.state is REFUSED) else pytest.mark.ship
