"""Starts Python programs as forks of a process that has imported their modules: importing takes longer than what most tests do with a program.

This file is also that process's program.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import functools
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, Self

_MESSAGE_BYTES: Final = 2**17
_ENVIRONMENT_BYTES: Final = 2**16
_FIRST_COPY: Final = 500
"""Descriptors from here on are those of the server's caller, until they have their numbers."""


class Fork:
    """A started program, like a `subprocess.Popen`. `pipes` has the pipes to its standard streams by their numbers."""

    def __init__(self, report: socket.socket, pipes: Mapping[int, IO[bytes]]) -> None:
        self.pid = int(report.recv(32))
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = (pipes.get(number) for number in range(3))
        self._report = report
        self._end: asyncio.Task[int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit code, None while the program runs."""
        try:
            return self.wait(0)
        except BlockingIOError:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises `TimeoutError`."""
        if self.returncode is None:
            self._report.settimeout(timeout)
            self._ended(self._report.recv(32))
        assert self.returncode is not None
        return self.returncode

    async def wait_async(self) -> int:
        """Return the exit code. Several tasks may wait."""
        if self.returncode is not None:
            return self.returncode
        if self._end is None:
            self._report.setblocking(False)
            self._end = asyncio.create_task(self._receive())
        return await asyncio.shield(self._end)

    def kill(self) -> None:
        """Kill the program, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # its exit code is on its way
                os.kill(self.pid, signal.SIGKILL)

    async def _receive(self) -> int:
        return self._ended(await asyncio.get_running_loop().sock_recv(self._report, 32))

    def _ended(self, report: bytes) -> int:
        self.returncode = int(report)
        self._report.close()
        return self.returncode


class ForkServer:
    """A process that has imported `modules`. It ends with this one."""

    def __init__(self, *modules: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {**os.environ, "PADDING": "x" * _ENVIRONMENT_BYTES}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", __file__, *modules], stdin=theirs, env=environment
            )

    @classmethod
    @functools.cache
    def of(cls, *modules: str) -> Self:
        """Return this process's server with these modules."""
        return cls(*modules)

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        descriptors: Mapping[int, int] | None = None,
        pipes: Collection[int] = (),
        stderr_to_stdout: bool = False,
        new_session: bool = False,
    ) -> Fork:
        """Start what follows Python on its command line: `-m MODULE` or a file, and arguments.

        `descriptors` has the descriptors of this process by their numbers in the program. Those of `pipes` are pipes, and other standard streams
        `/dev/null`. It has no others.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, open(os.devnull, "r+b") as nowhere:  # noqa: PTH123 - a device
            ends = {number: os.pipe() if number else os.pipe()[::-1] for number in pipes}
            theirs_by_number = dict.fromkeys(range(3), nowhere.fileno())
            theirs_by_number |= {number: end for number, (_, end) in ends.items()}
            theirs_by_number |= descriptors or {}
            if stderr_to_stdout:
                theirs_by_number[2] = theirs_by_number[1]
            request = {
                "command": command,
                "environment": dict(environment),
                "numbers": list(theirs_by_number),
                "directory": str(Path.cwd()),
                "new_session": new_session,
            }
            socket.send_fds(
                self._control,
                [json.dumps(request).encode()],
                [theirs.fileno(), *theirs_by_number.values()],
            )
        for _, end in ends.values():
            os.close(end)
        return Fork(ours, {number: open(end, "rb" if number else "wb") for number, (end, _) in ends.items()})  # noqa: PTH123 - by number


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for each request, and report ends. Return the request in each fork, None when the caller has ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    pid, report = key.data
                    _, status = os.waitpid(pid, 0)
                    with suppress(OSError):  # the test no longer waits for it
                        os.write(report, str(os.waitstatus_to_exitcode(status)).encode())
                    selector.unregister(key.fd)
                    os.close(report)
                    os.close(key.fd)
                    continue
                message, received, *_ = socket.recv_fds(control, _MESSAGE_BYTES, 16)
                if not message:
                    return None
                report, *descriptors = received
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    control.detach()
                    request: dict[str, Any] = json.loads(message)
                    _number(request["numbers"], descriptors)
                    return request
                with suppress(OSError):
                    os.write(report, str(pid).encode())
                for descriptor in descriptors:
                    os.close(descriptor)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, report))


def _number(numbers: Sequence[int], descriptors: Sequence[int]) -> None:
    """Give each descriptor its number, and close all others."""
    copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _FIRST_COPY) for descriptor in descriptors]
    os.closerange(0, _FIRST_COPY)
    for number, copy in zip(numbers, copies, strict=True):
        os.dup2(copy, number)
        os.close(copy)


def _set_environment(variables: Mapping[str, str]) -> None:
    """Replace the environment, also where `/proc` shows it to other processes."""
    os.environ.clear()
    os.environ.update(variables)
    block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in variables.items())
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # from the third on
    start, end = int(fields[50 - 3]), int(fields[51 - 3])
    assert len(block) <= end - start
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, block, len(block))


def _main() -> None:
    modules = sys.argv[1:]
    sys.path[0] = str(Path(__file__).parents[2])
    for module in modules:
        import_module(module)
    gc.freeze()  # else a collection in a fork would copy all memory
    request = _serve(socket.socket(fileno=os.dup(0)))
    if request is None:
        return
    if request["new_session"]:
        os.setsid()
    os.chdir(request["directory"])
    _set_environment(request["environment"])
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if request["command"][0] == "-m":
        _, module, *arguments = request["command"]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(request["command"])
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _main()
