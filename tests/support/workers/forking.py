"""Forks the processes that run the tests from one that has collected them.

Importing all test modules takes nine seconds of a processor, and 22 in a new clone, whose modules have to be compiled. Engines
take longer still: their tests are in one process, and import them where they run.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.reduction import DupFd
from typing import IO, Any

from execnet import gateway_io
from execnet.gateway_base import Popen2IO

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


def fork_workers(arguments: Sequence[str]) -> None:
    """Let pytest-xdist fork its processes from one that has collected what these arguments of pytest select."""
    os.environ["TESTS_ARGUMENTS"] = json.dumps([*arguments])
    # By its path from the repository: Python 3.11 does not pass `sys.path` to that process.
    _processes.set_forkserver_preload(["tests.support.workers.collected"])
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
