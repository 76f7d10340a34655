"""Forks the processes that run the tests from one that has imported the agent, which takes each seven seconds.

Engines take longer still: their tests are in one process, and import them where they run.
"""

from __future__ import annotations

import atexit
import os
import sys
from multiprocessing import get_context
from multiprocessing.reduction import DupFd
from typing import IO, Any

from execnet import gateway_io
from execnet.gateway_base import Popen2IO

IMPORTED = (
    "agent.coordinator.app",
    "agent.miner.build",
    "agent.cli.commands.running.serve",
    "eth_account",
    "eth_tester",
    "openai",
    "openresponses",
    "playwright.sync_api",
    "psycopg",
)
"""What the most expensive imports of test files need."""

_processes = get_context("forkserver")


class ForkedWorker(gateway_io.Popen2IOMaster):
    """A process for execnet, which would start a new interpreter."""

    def __init__(self, _command: list[str], execmodel: Any) -> None:
        (read, commands), (answers, write) = os.pipe(), os.pipe()
        self.popen: Any = _processes.Process(target=_work, args=(DupFd(read), DupFd(write)))
        self.popen.start()
        os.close(read)
        os.close(write)
        Popen2IO.__init__(self, _binary(commands, "wb"), _binary(answers, "rb"), execmodel)

    def wait(self) -> int | None:
        """Wait for the end of the process, and return its exit code."""
        self.popen.join()
        code: int | None = self.popen.exitcode
        return code


def fork_workers() -> None:
    """Let pytest-xdist fork its processes."""
    _processes.set_forkserver_preload(list(IMPORTED))
    gateway_io.Popen2IOMaster = ForkedWorker  # type: ignore[misc]


def _work(read: Any, write: Any) -> None:
    for stream, number in ((read, 0), (write, 1)):
        descriptor = stream.detach()
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    try:
        exec(gateway_io.popen_bootstrapline, {"__name__": "__main__"})  # noqa: S102 - what execnet starts an interpreter with
    finally:
        atexit._run_exitfuncs()  # multiprocessing does so only since Python 3.14


def _binary(descriptor: int, mode: str) -> IO[bytes]:
    return os.fdopen(descriptor, mode, buffering=-1)
