"""A runner's process on a node of a Ray cluster, in the actor that holds the resources which Ray has reserved for it.

The process is the same as on a single machine, with the same sandbox and limits. The actor only passes on its messages and files.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.miner.data_dir import discard
from agent.miner.engines.interpreters import Interpreter
from agent.miner.executor.host_process import LocalProcess
from agent.miner.executor.output_files import open_output
from runners.api import Device
from runners.host.protocol import FileReference
from runners.sandbox import mark

REPORT_SECONDS: Final = 1.0
"""How often the actor reports that it lives, with the memory of the process."""
_READ: Final = 2**16
_WAITING: Final = 64
_BATCH: Final = 2**20


@dataclass(frozen=True, slots=True)
class Relayed:
    """What an actor passes on: bytes of messages and of output, the process's memory in bytes, and its exit status at its end."""

    frames: bytes = b""
    output: bytes = b""
    memory: int = 0
    status: int | None = None


class RunnerHost:
    """The actor. Call `start`, then read `relay`; `directory` is the node's."""

    def __init__(self, directory: Path) -> None:
        self._jobs = directory / "jobs"
        self._mark = mark.make(directory)
        self._process: LocalProcess | None = None
        self._queue: asyncio.Queue[Relayed] = asyncio.Queue(_WAITING)

    async def devices(self) -> list[str]:
        """Return the indices or UUIDs of the GPUs that Ray has assigned."""
        return [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]

    async def start(self, service: str, device: Device, interpreter: Interpreter) -> tuple[int, str]:
        """Start the process. Return its id and the mark of all its processes. Raises `Retry`."""
        self._process = await LocalProcess.start(service, device, interpreter, self._mark)
        return self._process.pid, self._mark

    async def relay(self) -> AsyncIterator[Relayed]:
        """Yield what the process sends, and about once a second its memory, until it has ended."""
        process = self._started
        tasks = [
            asyncio.create_task(self._pump(process.frames, frames=True), name="relay-frames"),
            asyncio.create_task(self._pump(process.output, frames=False), name="relay-output"),
        ]
        ending = asyncio.create_task(self._await_end(process, tasks), name="relay-end")
        try:
            while True:
                relayed = await self._next(process)
                yield relayed
                if relayed.status is not None:
                    return
        finally:
            for task in (*tasks, ending):
                task.cancel()

    async def send(self, frames: bytes) -> None:
        """Send messages to the process, which may have ended."""
        self._started.write(frames)

    async def signal(self, number: int) -> None:
        """Send a signal to the process group."""
        self._started.signal(signal.Signals(number))

    async def prepare(self, run_id: str) -> Path:
        """Create the directories of a run, and return the one that contains them."""
        for name in ("inputs", "checkpoints", "output", "work"):
            (self._jobs / run_id / name).mkdir(parents=True)
        return self._jobs / run_id

    async def write(self, path: Path, part: bytes) -> None:
        """Append a part of an input file."""
        await asyncio.to_thread(_append, path, part)

    async def read(self, run_id: str, reference: FileReference, offset: int, size: int) -> bytes:
        """Return a part of an output file, empty at its end. Raises `ProtocolError`, `OSError`."""
        return await asyncio.to_thread(_part, reference, self._jobs / run_id / "output", offset, size)

    async def remove(self, run_id: str) -> None:
        """Remove the directories of a run."""
        await asyncio.to_thread(discard, self._jobs / run_id)

    @property
    def _started(self) -> LocalProcess:
        if self._process is None:
            raise RuntimeError("the process has not been started")
        return self._process

    async def _next(self, process: LocalProcess) -> Relayed:
        """Return everything that is queued, as one. The status comes last."""
        frames, output, status = bytearray(), bytearray(), None
        try:
            async with asyncio.timeout(REPORT_SECONDS):
                part = await self._queue.get()
        except TimeoutError:
            return Relayed(memory=process.memory())
        while True:
            frames += part.frames
            output += part.output
            status = part.status
            # Several parts in one message: each costs a call through Ray.
            if status is not None or self._queue.empty() or len(frames) + len(output) > _BATCH:
                return Relayed(bytes(frames), bytes(output), process.memory(), status)
            part = self._queue.get_nowait()

    async def _pump(self, stream: asyncio.StreamReader, *, frames: bool) -> None:
        while data := await _read(stream):
            await self._queue.put(Relayed(frames=data) if frames else Relayed(output=data))

    async def _await_end(self, process: LocalProcess, tasks: list[asyncio.Task[None]]) -> None:
        # The messages end with the process; the output may stay open in a program that it left behind.
        await asyncio.wait(tasks[:1])
        status = await process.wait()
        process.signal(signal.SIGKILL)  # processes that it started and left behind
        await asyncio.to_thread(mark.end_marked, self._mark)
        await asyncio.wait(tasks, timeout=REPORT_SECONDS)
        await self._queue.put(Relayed(status=status))


async def _read(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.read(_READ)
    except OSError:  # a reset is an end with unread bytes
        return b""


def _append(path: Path, part: bytes) -> None:
    with path.open("ab") as file:
        file.write(part)


def _part(reference: FileReference, output: Path, offset: int, size: int) -> bytes:
    with open_output(reference, output) as file:
        file.seek(offset)
        return file.read(size)
