"""The daemon's end of one runner's child process.

Whether a child crashes, hangs, sends malformed messages or ignores a cancellation, the caller gets a result, a `Fail` or
a `Retry` within a known time, and the process group has ended before the child is reported as ended.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self, TypeVar

import structlog

from agent.miner.engines.interpreters import Interpreter
from agent.miner.executor.host_process import HostProcess
from agent.miner.executor.output import ChildOutput
from runners.api import Device, Fail, FailureCode, Model, Retry, Tools
from runners.awake import awake_seconds
from runners.host.protocol import (
    Cancel,
    Checkpoint,
    Configure,
    Done,
    Error,
    Event,
    Exit,
    FileReference,
    JobLog,
    Load,
    Loaded,
    Log,
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
from runners.sandbox import processes

START_SECONDS: Final = 60.0
"""Time limit for a child to import its runner; engines are imported later, with a model."""
_TERMINATE_SECONDS: Final = 0.5
"""Time between SIGTERM and SIGKILL. Together with `miner.cancel_seconds` (default 1 s) it stays below the promised 2 s."""
_EXIT_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.5
"""How often a run that ignores its cancellation looks whether other runs still need its child: they may be cancelled too."""
_MESSAGE_TAIL: Final = 500
"""Characters of a crashed child's last output that go into the error's message."""

_M = TypeVar("_M", bound=Message)

_log = structlog.get_logger(__name__)

_MAX_LINES: Final = 20
"""Lines that one run may add to the log."""


def _ignore(*_: Any) -> None:
    """No-op callback."""


@dataclass(frozen=True, slots=True)
class RunListener:
    """Callbacks of a run: for its progress (percent, units), events (kind, data), checkpoints and lines of its log."""

    progress: Callable[[float, Decimal], None] = _ignore
    event: Callable[[str, Mapping[str, Any]], None] = _ignore
    checkpoint: Callable[[FileReference], None] = _ignore
    log: Callable[[JobLog], None] = _ignore


@dataclass(slots=True)
class _Running:
    """A run in progress. `active_at` is when its last message came, in `awake_seconds`."""

    answer: asyncio.Future[Message]
    listener: RunListener
    active_at: float
    cancelled: bool = False
    lines: int = 0
    """How many of its lines were logged."""


@dataclass(slots=True)
class MemoryPeak:
    """The most main memory that was measured in one period of a child: while it loads a model, or while runs overlap."""

    bytes_used: int = 0


class Child:
    """A child that is ready for work.

    Only one of `load`, `unload` and `run` may be in progress at a time, except for several runs of a concurrent runner.
    """

    def __init__(
        self,
        service: str,
        device: Device,
        interpreter: Interpreter,
        process: HostProcess,
        output: ChildOutput,
        process_mark: str,
    ) -> None:
        self.service = service
        self.mark = process_mark
        self.device = device
        self.interpreter = interpreter
        self.pid = process.pid
        self.idle_since = time.monotonic()
        self.runs = 0
        self.runner: RunnerIdentity
        self.model: str | None = None
        self.loaded = False
        self.vram = 0
        self.observed = 0
        self.observed_peak = 0
        self.peak = MemoryPeak()
        self.exceeded_memory = False
        self.has_model = False
        self._memory = self._locked = 0
        self._process = process
        self._output = output
        self._answer: asyncio.Future[Message] | None = None
        self._running: dict[str, _Running] = {}
        self._fault: Retry | None = None
        self._ended = asyncio.Event()
        self._tasks = (
            # In contexts of their own, since the child outlives the job for which it was started.
            asyncio.create_task(self._pump(), name=f"child-output-{self.pid}", context=Context()),
            asyncio.create_task(self._read(), name=f"child-reader-{self.pid}", context=Context()),
        )

    @classmethod
    async def start(
        cls,
        service: str,
        device: Device,
        tools: Tools,
        process: HostProcess,
        *,
        interpreter: Interpreter,
        output: ChildOutput,
        process_mark: str,
    ) -> Self:
        """Wait until a started process is ready for work. Raises `Retry`, after ending it.

        `process_mark` marks it and all processes that it starts.
        """
        child = cls(service, device, interpreter, process, output, process_mark)
        try:
            ready = await child._ask(
                Configure(tools=tools, device=device), Ready, START_SECONDS, FailureCode.RUNNER_CRASHED
            )
        # Cancellation included: a process that nobody knows would keep its GPU's memory.
        except BaseException:
            await child.kill()
            raise
        child.runner = ready.runner
        _log.info(
            "child_started",
            service=service,
            device=device.uuid or device.kind,
            pid=child.pid,
            engine=interpreter.engine,
        )
        return child

    @property
    def alive(self) -> bool:
        """Whether the child can accept work."""
        return self._fault is None and not self._ended.is_set() and not self._process.frames.at_eof()

    @property
    def hides_vram(self) -> bool:
        """Whether it works on a GPU without reporting its memory there: the programs that it starts use it."""
        return self.device.kind != "cpu" and bool(self._running) and not self.vram

    def observe(self, memory_used: Mapping[int, int]) -> None:
        """Record the bytes of GPU memory of this process and its programs, from those of all processes. Blocking."""
        self.observed = sum(memory_used.get(pid, 0) for pid in processes.tree(self.pid)) if memory_used else 0
        self.observed_peak = max(self.observed_peak, self.observed)

    def memory(self) -> int:
        """Return the bytes of main memory of the process and, if they were measured, of the programs that it started."""
        return self._memory or self._process.memory()

    def own_memory(self) -> int:
        """Return the bytes of main memory of the process, without the programs that it started."""
        return self._process.memory()

    def measured(self, memory: int, peak: MemoryPeak) -> None:
        """Record the bytes of main memory of the process and the programs that it started.

        `peak` was this child's when the measurement began: what was there before a run began does not count for the run.
        """
        # Whether a process's figure includes what the driver has locked depends on the driver.
        self._memory = max(memory, self._locked)
        peak.bytes_used = max(peak.bytes_used, self._memory)

    @property
    def memory_peak(self) -> int:
        """The most bytes of main memory that were measured since the child began to load, or the first of the last runs that overlap."""
        return self.peak.bytes_used

    @property
    def busy(self) -> bool:
        """Whether it works, or prepares to."""
        return bool(self._running) or (self._answer is not None and not self._answer.done())

    @property
    def fault_code(self) -> str | None:
        """The error code for which the child ended or is being ended, None without an error."""
        return self._fault.code if self._fault is not None else None

    async def load(self, model: Model | None, limit: float, vram: int | None = None) -> None:
        """Load a model, or the engine of a runner without models, using at most `vram` bytes of the GPU's memory.

        Raises `Retry`. A child that takes longer than `limit` seconds is ended.
        """
        # Reset before the answer, since a load that fails half-way leaves nothing that could be used.
        self.loaded, self.has_model, self._locked = False, model is not None, 0
        self.peak = MemoryPeak()
        await self._ask(Load(model=model, vram=vram), Loaded, limit, FailureCode.MODEL_LOAD_TIMEOUT)

    async def unload(self) -> None:
        """Release the memory of the loaded model. Raises `Retry`."""
        self.loaded, self.has_model, self.model, self.vram, self._locked = False, False, None, 0, 0
        await self._ask(Unload(), Unloaded, _EXIT_SECONDS, FailureCode.RUNNER_HUNG)

    async def run(
        self,
        message: Run,
        listener: RunListener,
        *,
        stall_seconds: float,
        cancel_seconds: float,
    ) -> Done:
        """Run one job. Raises `Fail` or `Retry`. Cancelling the calling task ends the job first."""
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        running = self._running[message.run_id] = _Running(future, listener, awake_seconds())
        self.runs += 1
        # Peaks belong to runs that overlap. The first of them begins new ones.
        if len(self._running) == 1:
            self.observed = self.observed_peak = 0
            self.peak = MemoryPeak()
        try:
            self._require_process()
            self._process.write(encode(message))
            # Only now the job counts as started: before, it could still go to another process without a trace.
            _log.debug("runner_run", run_id=message.run_id, monotonic_ns=time.monotonic_ns())
            try:
                await self._watch(running, stall_seconds)
            except asyncio.CancelledError:
                ending = asyncio.create_task(
                    self._cancel(message.run_id, running, cancel_seconds, stall_seconds),
                    name=f"cancel-{message.run_id}",
                )
                # A second cancellation, such as by the run's time limit, must not end the process of others' runs.
                while not ending.done():
                    with suppress(asyncio.CancelledError):
                        await asyncio.shield(ending)
                raise
            answer = _checked(future.result())
            if not isinstance(answer, Done):
                raise await self._violated(f"it answered a run with {type(answer).__name__}")
            # A process does not return memory to the driver, so the greatest use of all runs is what it holds.
            self.vram = max(self.vram, answer.vram)
            return answer
        finally:
            del self._running[message.run_id]
            self.observed = 0
            self.idle_since = time.monotonic()

    async def close(self) -> None:
        """Ask the child to exit, and kill it if it does not."""
        if self.alive:
            with suppress(OSError):
                self._process.write(encode(Exit()))
            with suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_SECONDS):
                    await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """Kill the whole process group."""
        self._fault = self._fault or Retry(
            "The program that ran the job was ended.", code=FailureCode.RUNNER_ENDED
        )
        self._signal(signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await self._ended.wait()

    async def wait_ended(self) -> None:
        """Wait until the process and its group have ended."""
        await self._ended.wait()

    def _require_process(self) -> None:
        """Raise `Retry` if the process has ended."""
        if self._ended.is_set():
            raise self._fault or Retry(
                "The program that ran the job has ended.", code=FailureCode.RUNNER_ENDED
            )

    async def _watch(self, running: _Running, stall_seconds: float) -> None:
        while not running.answer.done():
            seconds_left = running.active_at + stall_seconds - awake_seconds()
            if seconds_left <= 0:
                await self.condemn(
                    FailureCode.RUNNER_HUNG,
                    f"The job made no progress for {stall_seconds:g} s and was ended.",
                )
                seconds_left = _EXIT_SECONDS
            await asyncio.wait([running.answer], timeout=seconds_left)

    async def _cancel(
        self, run_id: str, running: _Running, cancel_seconds: float, stall_seconds: float
    ) -> None:
        future, running.cancelled = running.answer, True
        try:
            with suppress(OSError):
                self._process.write(encode(Cancel(run_id=run_id)))
            await asyncio.wait([future], timeout=cancel_seconds)
            await self._wait_for_others(future, stall_seconds)
            if future.done():
                return
            _log.warning("child_ignores_cancel", service=self.service, pid=self.pid)
            self._fault = Retry(
                "The job ignored its cancellation and was ended.", code=FailureCode.RUNNER_HUNG
            )
            self._signal(signal.SIGTERM)
            await asyncio.wait([future], timeout=_TERMINATE_SECONDS)
        finally:
            if future.done():
                # Marks it as retrieved: the outcome of a cancelled run is not needed.
                future.exception()
            else:
                await self.kill()

    async def _wait_for_others(self, future: asyncio.Future[Message], limit: float) -> None:
        """Wait until a cancelled run ends, while the child has other runs: ending it would fail them, and they may be other clients'."""
        end = time.monotonic() + limit
        while not future.done() and (seconds_left := end - time.monotonic()) > 0:
            other_runs = [
                running.answer
                for running in self._running.values()
                if not (running.cancelled or running.answer.done())
            ]
            if not other_runs:
                return
            await asyncio.wait(
                [future, *other_runs],
                timeout=min(seconds_left, _LOOK_SECONDS),
                return_when=asyncio.FIRST_COMPLETED,
            )

    async def _ask(self, message: Message, expected: type[_M], limit: float, code: str) -> _M:
        """Send a message and wait for its answer. A child that does not answer in time is ended."""
        self._require_process()
        future = self._answer = asyncio.get_running_loop().create_future()
        self._process.write(encode(message))
        try:
            await asyncio.wait([future], timeout=limit)
        except asyncio.CancelledError:
            await self.kill()
            raise
        if not future.done():
            await self.condemn(
                code, f"The runner did not answer {type(message).__name__} within {limit:g} s and was ended."
            )
        answer = _checked(await future)
        if not isinstance(answer, expected):
            raise await self._violated(f"it answered {type(message).__name__} with {type(answer).__name__}")
        return answer

    async def _read(self) -> None:
        try:
            # A reset is an end of the stream with unread bytes.
            with suppress(OSError):
                while (message := await receive(self._process.frames)) is not None:
                    self._handle(message)
            with suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_SECONDS):
                    await self._process.wait()
        except ProtocolError as error:
            self._fault = self._fault or Retry(
                f"The runner sent a malformed message: {error}"[:1000], code=FailureCode.RUNNER_CRASHED
            )
        except Exception as error:  # noqa: BLE001 - an unexpected error of a listener must fail the run visibly
            _log.exception("child_listener_failed", service=self.service, pid=self.pid)
            self._fault = self._fault or Retry(
                f"The miner failed ({type(error).__name__}).", code=FailureCode.MINER_ERROR
            )
        self._signal(signal.SIGKILL)
        status = await self._process.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await self._tasks[0]
        # Processes that the child started and left behind.
        self._signal(signal.SIGKILL)
        self._process.close()
        self._fault = self._fault or self._process.failure
        self._finish(status)

    def _finish(self, status: int) -> None:
        tail = self._output.tail()
        expected = self._fault is not None or (status == 0 and self._answer is None and not self._running)
        if self._fault is None:
            words = f" Its last output: {tail[-_MESSAGE_TAIL:]}" if tail else ""
            self._fault = Retry(
                f"The program that ran the job ended unexpectedly ({_status(status)}).{words}",
                code=FailureCode.RUNNER_CRASHED,
            )
        log = _log.info if expected else _log.warning
        # Its output may contain prompts and results, so it stays in the child's own log file.
        log("child_ended", service=self.service, pid=self.pid, status=status, code=self._fault.code)
        self._ended.set()
        for answer in (self._answer, *(running.answer for running in self._running.values())):
            if answer is not None and not answer.done():
                answer.set_exception(self._fault)
                # Marks it as retrieved, in case no caller waits any more.
                answer.exception()

    def _handle(self, message: Message) -> None:
        if isinstance(message, Error) and message.code == FailureCode.ENGINE_DIED:
            # Every later run in this process would fail too.
            self._fault = self._fault or Retry(message.message, code=message.code)
            self._signal(signal.SIGKILL)
        match message:
            case Progress() | Event() | Checkpoint() | Log() | JobLog():
                self._notify(message)
            case Loaded():
                self.loaded, self.model, self.vram = True, message.model, message.vram
                self._locked = message.locked
                self._settle(message)
            case Done(run_id=str(run_id)) | Error(run_id=str(run_id)):
                running = self._running.get(run_id)
                if running is None:
                    raise ProtocolError(f"a {type(message).__name__} of a run that is not in progress")
                if not running.answer.done():
                    running.answer.set_result(message)
            case _:
                self._settle(message)

    def _notify(self, message: Progress | Event | Checkpoint | Log | JobLog) -> None:
        running = self._running.get(message.run_id)
        if running is None:
            return  # the run has ended
        running.active_at = awake_seconds()
        match message:
            case Progress():
                running.listener.progress(message.progress, message.units)
            case Event():
                running.listener.event(message.kind, message.data)
            case Checkpoint():
                running.listener.checkpoint(message.file)
            case JobLog():
                running.listener.log(message)
            case Log() if running.lines < _MAX_LINES:
                running.lines += 1
                fields = {
                    "job_id": message.run_id.rpartition("_")[0],
                    "service": self.service,
                    "pid": self.pid,
                }
                _log.info(f"runner_{message.event}", **{**message.fields, **fields})

    def _settle(self, message: Message) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            raise ProtocolError(f"an unrequested {type(message).__name__}")
        if not answer.done():
            answer.set_result(message)

    async def condemn(self, code: str, message: str) -> None:
        """End the child, and fail its runs with this cause."""
        self._fault = Retry(message, code=code)
        _log.warning("child_marked_failed", service=self.service, pid=self.pid, code=code)
        await self.kill()

    async def _violated(self, violation: str) -> Retry:
        await self.condemn(FailureCode.RUNNER_CRASHED, f"The runner violated its protocol: {violation}.")
        return Retry(f"The runner violated its protocol: {violation}.", code=FailureCode.RUNNER_CRASHED)

    async def _pump(self) -> None:
        while data := await self._process.output.read(2**16):
            self._output.write(data)

    def _signal(self, number: signal.Signals) -> None:
        if self._ended.is_set():
            return  # the process id may have been reused
        self._process.signal(number)


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
    return f"killed by {name}, often because memory ran out" if name == "SIGKILL" else f"killed by {name}"
