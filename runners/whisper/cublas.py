"""Loads NVIDIA's cuBLAS 12 for CTranslate2, which looks for it by name only.

torch brings the cuBLAS of its own CUDA version, which may be 13. The package `nvidia-cublas-cu12` puts version 12 next to it, in
a directory that the dynamic loader does not search. A library that is already loaded is package by its name.
CTranslate2 4.8 needs no other CUDA library: it contains the CUDA runtime, and no longer uses cuDNN.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = "nvidia.cublas"

LIBRARIES: Final = ("libcublasLt.so.12", "libcublas.so.12")
"""In this order: else cuBLAS could load another version of its own part."""


@cache
def load() -> bool:
    """Load cuBLAS 12 from its package, or else from the machine's library path. Return whether it is loaded."""
    return all(_load(name) for name in LIBRARIES)


def _load(name: str) -> bool:
    for path in [*(str(directory / name) for directory in _directories()), name]:
        try:
            # Global, so that CTranslate2 finds the symbols without naming a path.
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return True
    return False


def _directories() -> list[Path]:
    try:
        package = importlib.util.find_spec(PACKAGE)
    except ModuleNotFoundError:  # no package of NVIDIA
        return []
    locations = package.submodule_search_locations if package is not None else None
    return [Path(location) / "lib" for location in locations or ()]
