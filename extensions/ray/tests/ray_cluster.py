"""A Ray cluster of several nodes on this machine, each with processes and a directory of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

from support.servers.ports import reserved_port

RAY = Path(sys.executable).with_name("ray")
START_SECONDS = 180
_OBJECTS = 100_000_000


@dataclass
class RayNode:
    """One node: the process `ray start --block`, and the directory that its environment names."""

    process: subprocess.Popen[bytes]
    directory: Path

    def raylet(self) -> psutil.Process:
        found = [child for child in psutil.Process(self.process.pid).children() if child.name() == "raylet"]
        assert len(found) == 1, "the node has no raylet"
        return found[0]

    def kill(self) -> None:
        """End the node's raylet and all its workers at once, as a power failure does."""
        with suppress(psutil.NoSuchProcess):
            node = psutil.Process(self.process.pid)
            processes = [node, *node.children(recursive=True)]
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()  # none may notice the end of another one
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait(START_SECONDS)


class RayCluster:
    """Nodes on one machine. The first one has the control store, which the others join."""

    def __init__(self, home: Path, port: int, cpus: int, gpus: int, environment: Mapping[str, str]) -> None:
        self._home = home
        self._gpus = gpus
        self._environment = environment
        self._cpus = cpus
        self.address = f"127.0.0.1:{port}"
        self.nodes: list[RayNode] = []

    def add(self, name: str) -> RayNode:
        """Start a node, the first one as the head, and wait until it runs."""
        port = self.address.rpartition(":")[2]
        head = ("--head", f"--port={port}", f"--temp-dir={self._home / 'ray'}", "--include-dashboard=false")
        return self._start(name, *(head if not self.nodes else (f"--address={self.address}",)))

    @property
    def settings(self) -> dict[str, str]:
        """The environment of an agent that works on this cluster."""
        return {
            "AITBC_MINER__EXECUTOR": "ray",
            "AITBC_MINER__RAY__ADDRESS": self.address,
            "AITBC_MINER__RAY__DIRECTORY": "$RAY_TEST_NODE/work",
            "AITBC_MINER__RAY__MODELS_DIR": "$RAY_TEST_NODE/models",
            "AITBC_MINER__RAY__LOST_SECONDS": "5",
            "AITBC_MINER__RAY__START_SECONDS": "120",
        }

    def _start(self, name: str, *options: str) -> RayNode:
        directory = self._home / name
        (directory / "models").mkdir(parents=True)
        for model in Path(os.environ.get("AITBC_MODELS_DIR", "~/.cache/aitbc/models")).expanduser().iterdir():
            if model.is_dir() and not model.name.startswith("."):
                # Links: each node has a directory of its own, and the models' files are never written.
                shutil.copytree(model, directory / "models" / model.name, copy_function=os.symlink)
        log = directory / "ray.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [RAY, "start", "--block", "--disable-usage-stats", f"--num-cpus={self._cpus}", f"--num-gpus={self._gpus}",
                 f"--object-store-memory={_OBJECTS}", *options],
                env={**os.environ, **self._environment, "RAY_TEST_NODE": str(directory), "RAY_USAGE_STATS_ENABLED": "0",
                     "RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "1000",
                     "RAY_health_check_failure_threshold": "3"},
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        node = RayNode(process, directory)
        self.nodes.append(node)
        end = time.monotonic() + START_SECONDS
        while re.search(r"Ray runtime started", log.read_text()) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        return node


@contextmanager
def ray_cluster(
    *, nodes: int, cpus: int, gpus: int = 0, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[RayCluster]:
    """Run a cluster, whose processes have ended afterwards. Each node has so many processors and GPUs."""
    # The path of a socket may have 107 bytes, of which Ray uses about 80.
    home = Path(tempfile.mkdtemp(prefix="r", dir="/dev/shm"))
    with reserved_port() as port:
        cluster = RayCluster(home, port, cpus, gpus, environment)
        try:
            for number in range(nodes):
                cluster.add(f"node{number}")
            yield cluster
        finally:
            for node in reversed(cluster.nodes):
                if node.process.poll() is None:
                    node.kill()
            shutil.rmtree(home, ignore_errors=True)
