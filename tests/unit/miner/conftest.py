"""Fixtures of the miner's tests: the event loop, a coordinator, and simulated GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from miner_support.coordinator import FakeCoordinator
from miner_support.forked_hosts import server, start
from nvml_shim.shim import NvmlShim, build
from support.servers.ports import reserved_port


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The event loop that the agent uses."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(autouse=True)
def prestarted(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Without this, each daemon would start children that its test does not need. Undo it to have children ready before their first job."""
    with monkeypatch.context() as prestarted:
        prestarted.setattr("agent.miner.executor.pool.MAX_PRESTARTED", 0)
        yield prestarted


@pytest.fixture
def forked_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the children of executors be forks, which need no time to import."""
    server()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)


@pytest.fixture
async def coordinator() -> AsyncIterator[FakeCoordinator]:
    """A coordinator, to which the miner must send only messages as `agent.protocol` declares them."""
    with reserved_port() as port:  # some tests stop it and start it again
        fake = FakeCoordinator(port)
        await fake.start()
        yield fake
        await fake.stop()
    assert fake.malformed == []


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a complete stand-in for NVIDIA's library."""
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path) -> Iterator[NvmlShim]:
    """Two cards of 24 GiB for programs started with `nvml.environment`."""
    shim = NvmlShim(nvml_library, tmp_path / "nvml-state")
    yield shim
    shim.hang = False  # so that a program that hangs in the driver can end
    shim.write()
