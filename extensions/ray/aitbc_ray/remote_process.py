"""The process of a child on another node, as `Child` sees it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from contextvars import Context
from signal import SIGKILL, Signals
from typing import Any, Final, Self

import structlog

from agent.miner.engines.interpreters import Interpreter
from aitbc_ray.connection import Cluster, NodeLost, call, stream
from runners.api import Device, Retry

_KILL_SECONDS: Final = 3.0
"""How long a killed process may take to be reported as ended before its whole actor is ended."""
_LOST_STATUS: Final = -9

_log = structlog.get_logger(__name__)


class RemoteProcess:
    """A process in the actor `actor`, which it ends with itself. `mark` marks the process on its node.

    An actor that is silent for `lost_seconds` counts as lost.
    """

    def __init__(
        self, cluster: Cluster, actor: Any, pid: int, process_mark: str, lost_seconds: float
    ) -> None:
        self.pid = pid
        self.mark = process_mark
        self.frames = asyncio.StreamReader()
        self.output = asyncio.StreamReader()
        self.failure: Retry | None = None
        self.actor = actor
        self._cluster = cluster
        self._lost_seconds = lost_seconds
        self._memory = 0
        self._silent_since = time.monotonic()
        self._unsent = bytearray()
        self._wake = asyncio.Event()
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._background: set[asyncio.Task[None]] = set()
        for work, name in ((self._receive(), "receive"), (self._send(), "send"), (self._watch(), "watch")):
            self._spawn(work, name)

    @classmethod
    async def start(
        cls,
        cluster: Cluster,
        actor: Any,
        service: str,
        device: Device,
        interpreter: Interpreter,
        lost_seconds: float,
    ) -> Self:
        """Start a process in a placed actor. Raises `Retry`."""
        pid, process_mark = await call(actor.start.remote(service, device, interpreter))
        return cls(cluster, actor, pid, process_mark, lost_seconds)

    def write(self, frame: bytes) -> None:
        """Queue a frame. Frames arrive in this order."""
        self._unsent += frame
        self._wake.set()

    def signal(self, number: Signals) -> None:
        """Send a signal to the process group, without waiting."""
        if not self._status.done():
            self._spawn(self._signal(number), "signal")

    async def wait(self) -> int:
        """Wait until it has ended or is lost."""
        return await asyncio.shield(self._status)

    def memory(self) -> int:
        """Return the bytes of main memory that its node reported last."""
        return self._memory

    def close(self) -> None:
        """End the actor, which frees its resources."""
        for task in self._background:
            task.cancel()
        self._cluster.end(self.actor)

    def _spawn(self, work: Any, name: str) -> None:
        # In a context of its own, since the process outlives the job for which it was started.
        task = asyncio.create_task(work, name=f"remote-{name}-{self.pid}", context=Context())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _receive(self) -> None:
        try:
            async for relayed in stream(self.actor.relay):
                self._silent_since = time.monotonic()
                self._memory = relayed.memory
                if relayed.frames:
                    self.frames.feed_data(relayed.frames)
                if relayed.output:
                    self.output.feed_data(relayed.output)
                if relayed.status is not None:
                    self._end(relayed.status)
                    return
            self._lose("Its actor ended.")
        except Retry as error:
            self._lose(str(error))

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unsent:
                # Everything that waits goes in one call, which costs far more than its bytes.
                frames = bytes(self._unsent)
                self._unsent.clear()
                try:
                    await call(self.actor.send.remote(frames), self._lost_seconds)
                except Retry as error:
                    self._lose(str(error))
                    return

    async def _watch(self) -> None:
        while True:
            remaining = self._silent_since + self._lost_seconds - time.monotonic()
            if remaining <= 0:
                break
            await asyncio.sleep(remaining)
        self._lose(f"It was silent for {self._lost_seconds:g} s.")

    async def _signal(self, number: Signals) -> None:
        with suppress(NodeLost):
            await call(self.actor.signal.remote(int(number)), _KILL_SECONDS)
        if number == SIGKILL:
            # A process in a driver's call cannot be killed; ending its actor frees what Ray has reserved.
            await asyncio.wait([self._status], timeout=_KILL_SECONDS)
            if not self._status.done():
                self._lose("Its process did not end.")

    def _lose(self, reason: str) -> None:
        if not self._status.done():
            _log.warning("runner_lost", pid=self.pid, reason=reason)
            self.failure = NodeLost(f"The node of the cluster on which the job ran was lost: {reason}")
            self._end(_LOST_STATUS)

    def _end(self, status: int) -> None:
        if not self._status.done():
            self.frames.feed_eof()
            self.output.feed_eof()
            self._status.set_result(status)
