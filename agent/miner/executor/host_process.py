"""The process of a child, on this machine or on another: its start, its streams and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol, Self

import psutil

from agent.child_environment import inherited
from agent.miner.engines.interpreters import Interpreter
from runners.api import Device, FailureCode, Retry
from runners.sandbox import mark

_BUFFER: Final = 2**20


class HostProcess(Protocol):
    """A started process of `runners.host`, with which `Child` exchanges frames.

    `frames` is the stream of its messages, `output` that of its standard output and error. `pid` is its id on its own machine.
    """

    @property
    def pid(self) -> int: ...  # noqa: D102 - see the class

    @property
    def frames(self) -> asyncio.StreamReader: ...  # noqa: D102 - as above

    @property
    def output(self) -> asyncio.StreamReader: ...  # noqa: D102 - as above

    @property
    def failure(self) -> Retry | None:
        """Why it is lost, None if it ended by itself or still runs."""

    def write(self, frame: bytes) -> None:
        """Send a frame. Raises `OSError` if the process has ended, or nothing."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group, unless that has ended."""

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit status, negative after a signal."""

    def memory(self) -> int:
        """Return the bytes of main memory of the process, without the programs that it started."""

    def close(self) -> None:
        """Release what belongs to the process, which has ended."""


class LocalProcess:
    """A process of this machine, in a process group of its own."""

    failure: Retry | None = None

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.pid = process.pid
        self.frames, self._writer = streams
        self._process = process
        self._statistics = _statistics(process.pid)

    @property
    def output(self) -> asyncio.StreamReader:
        """Its standard output and error."""
        stream = self._process.stdout
        if stream is None:
            raise RuntimeError("the process was started without a pipe")
        return stream

    @classmethod
    async def start(cls, service: str, device: Device, interpreter: Interpreter, process_mark: str) -> Self:
        """Start a process of an interpreter. Raises `Retry`. `process_mark` marks it and all processes that it starts."""
        our_end, childs_end = socket.socketpair()
        with childs_end:
            our_end.setblocking(False)
            try:
                process = await asyncio.create_subprocess_exec(
                    *interpreter.command,
                    *("--service", service, "--fd", str(childs_end.fileno())),
                    pass_fds=(childs_end.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                    env=_environment(device, process_mark, interpreter),
                )
            except OSError as error:
                our_end.close()
                raise Retry(
                    f"The runner's process could not be started ({error.strerror}).",
                    code=FailureCode.RUNNER_CRASHED,
                ) from error
        return cls(process, await asyncio.open_connection(sock=our_end, limit=_BUFFER))

    def write(self, frame: bytes) -> None:
        """See `HostProcess`."""
        self._writer.write(frame)

    def signal(self, number: signal.Signals) -> None:
        """See `HostProcess`."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def wait(self) -> int:
        """See `HostProcess`."""
        return await self._process.wait()

    def memory(self) -> int:
        """See `HostProcess`."""
        try:
            return int(self._statistics.memory_info().rss) if self._statistics is not None else 0
        except psutil.Error:
            return 0

    def close(self) -> None:
        """See `HostProcess`."""
        self._writer.close()


def _statistics(pid: int) -> psutil.Process | None:
    """Return the process's statistics, None if it has ended already."""
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _environment(device: Device, process_mark: str, interpreter: Interpreter) -> Mapping[str, str]:
    variables = {
        "CUDA_VISIBLE_DEVICES": ",".join(device.gpus) if device.kind == "cuda" else "",
        "PYTHONUNBUFFERED": "1",
        mark.VARIABLE: process_mark,
    }
    return {**inherited(), **dict(interpreter.variables), **variables}
