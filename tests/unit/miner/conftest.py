"""Fixtures of the miner's tests: GPUs that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nvml_shim.shim import NvmlShim, build


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete stand-in for NVIDIA's library."""
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path) -> Iterator[NvmlShim]:
    """Two cards of 24 GiB for programs started with `nvml.environment`."""
    shim = NvmlShim(nvml_library, tmp_path / "nvml-state")
    yield shim
    shim.hang = False  # a program left hanging in the driver must be able to end
    shim.write()
