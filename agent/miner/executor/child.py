"""One runner's child process, seen from the daemon.

Whatever a child does (crash, hang, print rubbish, ignore a cancellation), the caller gets a result, a `Fail` or a `Retry`
within a known time, and the process group is gone when the child is said to have ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final, Self, TypeVar

import structlog

from agent.miner.executor.output import ChildOutput
from runners._base import Device, Fail, Model, Retry, Tools
from runners._protocol import (
    Cancel,
    Configure,
    Done,
    Error,
    Event,
    Exit,
    Load,
    Loaded,
    Message,
    Progress,
    ProtocolError,
    Ready,
    Run,
    RunnerIdentity,
    Unload,
    Unloaded,
    encode,
    receive,
)

START_SECONDS: Final = 60.0
"""How long a child may take to import its runner; engines are imported later, when a model is loaded."""
_TERMINATE_SECONDS: Final = 0.5
"""Time between SIGTERM and SIGKILL. With the default second to obey a cancellation it stays below the promised two."""
_EXIT_SECONDS: Final = 2.0
_BUFFER: Final = 2**20
_MESSAGE_TAIL: Final = 500
"""Characters of a crashed child's last words that go into the error's message."""

OnProgress = Callable[[float, Decimal], None]
OnEvent = Callable[[str, Mapping[str, Any]], None]
_M = TypeVar("_M", bound=Message)

_log = structlog.get_logger(__name__)


class Child:
    """A child that is ready for work. It does one thing at a time: `load`, `unload` or `run`."""

    def __init__(
        self,
        service: str,
        device: Device,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        output: ChildOutput,
    ) -> None:
        self.service = service
        self.device = device
        self.pid = process.pid
        self.idle_since = time.monotonic()
        self.runs = 0
        self.runner: RunnerIdentity
        self.model: str | None = None
        self.loaded = False
        self._process = process
        self._reader, self._writer = streams
        self._output = output
        self._answer: asyncio.Future[Message] | None = None
        self._run_id: str | None = None
        self._on_progress: OnProgress = lambda _percent, _units: None
        self._on_event: OnEvent = lambda _kind, _data: None
        self._last_sign = 0.0
        self._fault: Retry | None = None
        self._ended = asyncio.Event()
        self._tasks = (
            asyncio.create_task(self._pump(), name=f"child-output-{self.pid}"),
            asyncio.create_task(self._read(), name=f"child-reader-{self.pid}"),
        )

    @classmethod
    async def start(
        cls, service: str, device: Device, tools: Tools, *, command: Sequence[str], output: ChildOutput
    ) -> Self:
        """Start a child and wait until it is ready. Raises `Retry` if it does not become so."""
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    *("--service", service, "--fd", str(theirs.fileno())),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                    env=_environment(device),
                )
            except OSError as error:
                ours.close()
                raise Retry(
                    f"No process could be started ({error.strerror}).", code="RUNNER_CRASHED"
                ) from error
        streams = await asyncio.open_connection(sock=ours, limit=_BUFFER)
        child = cls(service, device, process, streams, output)
        try:
            ready = await child._ask(
                Configure(tools=tools, device=device), Ready, START_SECONDS, "RUNNER_CRASHED"
            )
        except BaseException:
            await child.kill()
            raise
        child.runner = ready.runner
        _log.info("child_started", service=service, device=device.uuid or device.kind, pid=child.pid)
        return child

    @property
    def alive(self) -> bool:
        """Whether the child can take work."""
        return self._fault is None and not self._ended.is_set() and not self._reader.at_eof()

    async def load(self, model: Model | None, limit: float) -> None:
        """Load a model, or what the runner needs without one. Raises `Retry`; the child has ended if it took too long."""
        self.loaded = False
        await self._ask(Load(model=model), Loaded, limit, "MODEL_LOAD_TIMEOUT")

    async def unload(self) -> None:
        """Give back what `load` took. Raises `Retry` if that fails."""
        self.loaded, self.model = False, None
        await self._ask(Unload(), Unloaded, _EXIT_SECONDS, "RUNNER_HUNG")

    async def run(
        self,
        message: Run,
        *,
        on_written: Callable[[], None],
        on_progress: OnProgress,
        on_event: OnEvent,
        stall_seconds: float,
        cancel_seconds: float,
    ) -> Done:
        """Do one job. Raises `Fail` or `Retry`; when the calling task is cancelled, the job is ended first."""
        self._run_id, self._on_progress, self._on_event = message.run_id, on_progress, on_event
        self._last_sign = time.monotonic()
        self.runs += 1
        try:
            future = self._send(message)
            on_written()
            try:
                await self._watch(future, stall_seconds)
            except asyncio.CancelledError:
                await self._cancel(message.run_id, future, cancel_seconds)
                raise
            answer = _checked(future.result())
            if not isinstance(answer, Done):
                raise await self._garbled(f"it answered a run with {type(answer).__name__}")
            return answer
        finally:
            self._run_id = None
            self.idle_since = time.monotonic()

    async def close(self) -> None:
        """Let the child end by itself, or end it."""
        if self.alive:
            with suppress(OSError):
                self._writer.write(encode(Exit()))
            with suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_SECONDS):
                    await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the whole process group at once."""
        self._fault = self._fault or Retry("The runner was ended.", code="RUNNER_ENDED")
        self._signal(signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await self._ended.wait()

    async def wait_ended(self) -> None:
        """Wait until the process and its group are gone."""
        await self._ended.wait()

    async def _watch(self, future: asyncio.Future[Message], stall_seconds: float) -> None:
        while not future.done():
            left = self._last_sign + stall_seconds - time.monotonic()
            if left <= 0:
                await self._condemn(
                    "RUNNER_HUNG", f"The runner reported no progress for {stall_seconds:g} s and was ended."
                )
                left = _EXIT_SECONDS
            await asyncio.wait([future], timeout=left)

    async def _cancel(self, run_id: str, future: asyncio.Future[Message], cancel_seconds: float) -> None:
        try:
            with suppress(OSError):
                self._writer.write(encode(Cancel(run_id=run_id)))
            await asyncio.wait([future], timeout=cancel_seconds)
            if future.done():
                return
            _log.warning("child_ignores_cancel", service=self.service, pid=self.pid)
            self._fault = Retry("The runner did not obey a cancellation and was ended.", code="RUNNER_HUNG")
            self._signal(signal.SIGTERM)
            await asyncio.wait([future], timeout=_TERMINATE_SECONDS)
        finally:
            if future.done():
                future.exception()  # nobody asks for the outcome of a cancelled run
            else:
                await self.kill()

    async def _ask(self, message: Message, expected: type[_M], limit: float, code: str) -> _M:
        """Send a message and wait for its answer; a child that does not give it in time is ended."""
        future = self._send(message)
        try:
            await asyncio.wait([future], timeout=limit)
        except asyncio.CancelledError:
            await self.kill()
            raise
        if not future.done():
            await self._condemn(
                code, f"The runner did not answer {type(message).__name__} within {limit:g} s and was ended."
            )
        answer = _checked(await future)
        if not isinstance(answer, expected):
            raise await self._garbled(f"it answered {type(message).__name__} with {type(answer).__name__}")
        return answer

    def _send(self, message: Message) -> asyncio.Future[Message]:
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        if self._ended.is_set():
            future.set_exception(self._fault or Retry("The runner has ended.", code="RUNNER_ENDED"))
            return future
        self._answer = future
        self._writer.write(encode(message))
        return future

    async def _read(self) -> None:
        try:
            with suppress(OSError):  # a reset is an end with unread bytes
                while (message := await receive(self._reader)) is not None:
                    self._take(message)
            with suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_SECONDS):
                    await self._process.wait()
        except ProtocolError as error:
            self._fault = self._fault or Retry(
                f"The runner sent nonsense: {error}"[:1000], code="RUNNER_CRASHED"
            )
        self._signal(signal.SIGKILL)
        status = await self._process.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await self._tasks[0]
        self._signal(signal.SIGKILL)  # what the child had started and left behind
        self._writer.close()
        self._finish(status)

    def _finish(self, status: int) -> None:
        tail = self._output.tail()
        expected = self._fault is not None or (status == 0 and self._answer is None)
        if self._fault is None:
            words = f" Its last words: {tail[-_MESSAGE_TAIL:]}" if tail else ""
            self._fault = Retry(
                f"The runner ended unexpectedly ({_status(status)}).{words}", code="RUNNER_CRASHED"
            )
        log = _log.info if expected else _log.warning
        log(
            "child_ended", service=self.service, pid=self.pid, status=status, code=self._fault.code, tail=tail
        )
        self._ended.set()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(self._fault)
            self._answer.exception()  # it may have nobody left who waits for it

    def _take(self, message: Message) -> None:
        match message:
            case Progress(run_id=self._run_id):
                self._last_sign = time.monotonic()
                self._on_progress(message.progress, message.units)
            case Event(run_id=self._run_id):
                self._last_sign = time.monotonic()
                self._on_event(message.kind, message.data)
            case Progress() | Event():
                return  # of a run that has ended
            case Loaded():
                self.loaded, self.model = True, message.model
                self._settle(message)
            case Done(run_id=run_id) | Error(run_id=run_id) if run_id != self._run_id:
                raise ProtocolError(f"a {type(message).__name__} of another run")
            case _:
                self._settle(message)

    def _settle(self, message: Message) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            raise ProtocolError(f"a {type(message).__name__} that nothing asked for")
        if not answer.done():
            answer.set_result(message)

    async def _condemn(self, code: str, message: str) -> None:
        self._fault = Retry(message, code=code)
        _log.warning("child_condemned", service=self.service, pid=self.pid, code=code)
        await self.kill()

    async def _garbled(self, what: str) -> Retry:
        await self._condemn("RUNNER_CRASHED", f"The runner broke its protocol: {what}.")
        return Retry(f"The runner broke its protocol: {what}.", code="RUNNER_CRASHED")

    async def _pump(self) -> None:
        stream = self._process.stdout
        while stream is not None and (data := await stream.read(2**16)):
            self._output.write(data)

    def _signal(self, number: signal.Signals) -> None:
        if self._ended.is_set():
            return  # the process id may be somebody else's by now
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _checked(answer: Message) -> Message:
    if isinstance(answer, Error):
        if answer.kind == "fail":
            raise Fail(answer.message, code=answer.code)
        raise Retry(answer.message, code=answer.code)
    return answer


def _status(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    return f"killed by {name}, often for lack of memory" if name == "SIGKILL" else f"killed by {name}"


def _environment(device: Device) -> dict[str, str]:
    # The parent's environment is inherited (PATH, proxies, caches) but for our settings, which can hold secrets.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    return {**inherited, "CUDA_VISIBLE_DEVICES": device.uuid or "", "PYTHONUNBUFFERED": "1"}
