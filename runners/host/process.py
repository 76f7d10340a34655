"""The child process of a runner: `python -m runners.host --service ID --fd N [--runner MODULE:CLASS]`.

An engine that runs out of memory, crashes or hangs ends only this process, never the miner. N is the inherited
end of a socket pair for messages of `runners.host.protocol`; standard output and error belong to the
engine. The process ends with its parent: by a signal from the kernel, and when the socket closes.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import os
import queue
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from runners import code_cache
from runners.api import (
    Audited,
    Cancelled,
    Comparison,
    Fail,
    FailureCode,
    Model,
    Result,
    Retry,
    Runner,
)
from runners.audits import audited_files, printable
from runners.host.context import RunContext
from runners.host.protocol import (
    AuditedRun,
    Cancel,
    Configure,
    Done,
    Error,
    Exit,
    ForChild,
    Load,
    Loaded,
    Log,
    Message,
    ProtocolError,
    Ready,
    Run,
    RunnerIdentity,
    Unloaded,
    encode,
    plain_units,
    read_message,
)
from runners.host.results import mark, reference, replace_files, seen_by_client, units_number
from runners.host.sealing import FAILURE, Quiet
from runners.plain_json import MAX_VALUES, check_json, has_more_values
from runners.registry import find, load
from runners.sandbox.watch import adopt_orphans
from runners.torch_memory import engine_error

QUEUE_LIMIT = 64
"""Messages that may wait behind a run. A parent sends one run at a time, so more are an error of the parent."""

PR_SET_PDEATHSIG = 1
"""From `prctl(2)`: the signal that this process gets when the thread that started it ends."""

OOM_SCORE = 500
"""The kernel's preference for ending this process when memory runs out, from -1000 to 1000."""

MAX_CODE = 64
"""Logged characters of a runner's own failure code."""

OWN_MESSAGES = frozenset(code for code in FailureCode if code.own_message)
"""Codes of failures whose messages never quote the job."""

MAX_SEALED_MESSAGE = 2000
"""Characters of the message of a failure in a sealed log."""

EXIT_PROTOCOL = 2
"""Exit status after an invalid frame."""


class _Host:
    """Processes the parent's messages one after the other; only `Cancel` is processed during a run.

    Each run of a concurrent runner has its own thread; other messages wait until all runs have ended.
    """

    def __init__(self, runner_class: type[Runner[Any]], connection: socket.socket) -> None:
        self._runner_class = runner_class
        self._runner: Runner[Any] | None = None
        self._connection = connection
        self._send_lock = threading.Lock()
        self._inbox: queue.Queue[ForChild] = queue.Queue(QUEUE_LIMIT)
        self._runs: dict[str, RunContext] = {}
        self._threads: list[threading.Thread] = []
        self._model: Model | None = None
        self._quiet = Quiet()

    def serve(self) -> None:
        """Serve until `Exit`, then close the runner."""
        # A thread of its own, so that a cancellation arrives while a run blocks this one.
        threading.Thread(target=self._read, name="protocol-reader", daemon=True).start()
        while True:
            message = self._inbox.get()
            if isinstance(message, Run):
                self._begin(message)
                continue
            # A model must not change under a run that uses it.
            self._await_runs()
            match message:
                case Exit():
                    break
                case Configure():
                    self._guarded(None, partial(self._configure, message))
                case Load():
                    self._guarded(None, partial(self._load, message))
                case _:
                    self._guarded(None, self._unload)
        if self._runner is not None:
            self._runner.close()

    def _begin(self, message: Run) -> None:
        if not self._runner_class.concurrent:
            self._complete(message)
            return
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._complete, args=(message,), name=message.run_id, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _complete(self, message: Run) -> None:
        with ExitStack() as stack:
            if message.sealed is not None:
                stack.enter_context(self._quiet.during())
            self._guarded(message.run_id, partial(self._run, message))
        self._runs.pop(message.run_id, None)

    def _await_runs(self) -> None:
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _read(self) -> None:
        """Read frames until the parent closes the socket, then end the process."""
        status = 0
        try:
            while (message := read_message(self._connection)) is not None:
                self._accept(message)
        except (ProtocolError, queue.Full):
            traceback.print_exc()
            status = EXIT_PROTOCOL
        except OSError:
            status = 0
        for context in list(self._runs.values()):
            context.cancel()
        # Not `sys.exit`, which would wait for threads in which an engine may hang.
        os._exit(status)

    def _accept(self, message: ForChild) -> None:
        match message:
            case Cancel():
                context = self._runs.get(message.run_id)
                if context is not None:
                    context.cancel()
            case Run():
                declared = self._runner_class.definition.checkpoints
                # Known before its turn comes, so that a run can be cancelled while it waits.
                self._runs[message.run_id] = RunContext(message, self._send, declared)
                self._inbox.put_nowait(message)
            case _:
                self._inbox.put_nowait(message)

    def _send(self, message: Message) -> None:
        frame = encode(message)
        with self._send_lock:
            self._connection.sendall(frame)

    def _guarded(self, run_id: str | None, action: Callable[[], None]) -> None:
        """Perform `action` and report any exception as the one `Error` message that the parent expects."""
        try:
            action()
        except Cancelled:
            self._failed(run_id, "cancelled", "CANCELLED", "The job was cancelled.")
        except Fail as error:
            self._failed(run_id, "fail", error.code, str(error))
        except Retry as error:
            self._failed(run_id, "retry", error.code, str(error))
        # The parent has ended, and nobody needs an answer.
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)
        except Exception as error:  # noqa: BLE001 - the boundary: an engine may raise anything
            traceback.print_exc()
            summary = traceback.format_exception_only(error)[-1].strip()
            # The parent ends a process whose engine has died.
            failure = engine_error(error, summary[:2000])
            self._failed(run_id, "retry", failure.code, str(failure))

    def _failed(
        self, run_id: str | None, kind: Literal["fail", "retry", "cancelled"], code: str, message: str
    ) -> None:
        if run_id is not None:
            context = self._runs[run_id]
            if context.sealing is not None:
                context.sealing.log.failure = {"code": code, "message": message[:MAX_SEALED_MESSAGE]}
                # The plaintexts go first: what follows may fail.
                context.sealing.close()
                context.sealing.log.finish()
                # The coordinator sees the message, which may quote what was sealed.
                message = message if code in OWN_MESSAGES else FAILURE
            context.flush()
            self._note(run_id, "ended", outcome=kind, code=code[:MAX_CODE])
        self._send(Error(run_id=run_id, kind=kind, code=code, message=message))

    def _note(self, run_id: str, event: str, **fields: str | float | None) -> None:
        """Send a line for the miner's log, with the job's trace id."""
        self._send(
            Log(run_id=run_id, event=event, fields={"trace_id": self._runs[run_id].trace_id, **fields})
        )

    def _configure(self, message: Configure) -> None:
        # Before any engine is imported.
        for name, value in code_cache.variables(message.tools.cache_dir).items():
            os.environ.setdefault(name, value)
        self._runner = self._runner_class(message.tools, message.device)
        self._send(Ready(runner=RunnerIdentity(name=self._runner.name, version=self._runner.version)))

    def _configured(self) -> Runner[Any]:
        if self._runner is None:
            raise Retry("The child received work before its configuration.", code=FailureCode.RUNNER_CRASHED)
        return self._runner

    def _load(self, message: Load) -> None:
        runner = self._configured()
        began = time.monotonic()
        self._model = None
        runner.vram = message.vram
        runner.load(message.model)
        self._model = message.model
        name = message.model.name if message.model is not None else None
        seconds = round(time.monotonic() - began, 3)
        self._send(
            Loaded(model=name, seconds=seconds, vram=runner.vram_peak(), locked=runner.locked_memory())
        )

    def _unload(self) -> None:
        self._configured().close()
        self._model = None
        self._send(Unloaded())

    def _run(self, message: Run) -> None:
        runner = self._configured()
        context = self._runs[message.run_id]
        context.check()
        sealing = context.sealing
        parameters = context.open(message.parameters, self._runner_class.definition)
        request = self._request(parameters, sealed=sealing is not None)
        model = self._model.name if self._model is not None else None
        self._note(message.run_id, "started", model=model)
        began = time.monotonic()
        with nullcontext() if sealing is None or runner.concurrent else sealing.in_memory():
            if message.audit is None:
                result = runner.run(request, context)
            else:
                result = _audit(runner, request, message.audit, context)
        context.flush_log()
        seconds = round(time.monotonic() - began, 3)
        context.check()
        units = Decimal(plain_units(result.units))
        results = self._results(result, context) if message.audit is None else dict(result.results)
        if has_more_values(results, MAX_VALUES):
            raise Fail(
                f"The results have more than {MAX_VALUES} values; write large data to files.",
                code=FailureCode.RESULT_TOO_LARGE,
            )
        # Evidence is in clear, so a sealed run has none.
        evidence = None if result.evidence is None or sealing is not None else dict(result.evidence)
        check_json(evidence)
        results |= {"processing_time": seconds, "units": units_number(units)}
        digests = None
        if sealing is not None:
            results, digests = sealing.seal(results)
            sealing.close()
            sealing.log.finish()
        self._note(message.run_id, "ended", outcome="done", seconds=seconds, units=plain_units(units))
        weights: Sequence[Path] = ()
        if self._model is not None:
            used = {name: adapter.path for name, adapter in message.adapters.items()}
            weights = runner.weights(replace(self._model, adapters=used))
        self._send_done(
            Done(
                run_id=message.run_id, results=results, units=units, processing_time=seconds, weights=list(weights),
                engine=runner.engine_version(), vram=runner.vram_peak(), evidence=evidence, sealed=digests,
            )
        )  # fmt: skip

    def _send_done(self, message: Done) -> None:
        try:
            self._send(message)
        except ProtocolError:
            raise Fail(
                "The results are larger than 16 MiB; write large data to files.",
                code=FailureCode.RESULT_TOO_LARGE,
            ) from None

    def _request(self, parameters: Mapping[str, Any], *, sealed: bool) -> Any:
        try:
            return self._runner_class.definition.input_model.model_validate(parameters)
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'parameters'}: {first['msg']}"
            if sealed:
                older = (
                    " The miner's version of the service may be older."
                    if first["type"] == "extra_forbidden"
                    else ""
                )
                raise Fail(f"{reason}.{older}") from None
            # The coordinator has accepted the request, so its version differs from this one, and the client is not to blame.
            raise Retry(
                f"The miner's version of the service does not understand the request ({reason}). Its agent may need an update.",
                code=FailureCode.LEASE_MALFORMED,
            ) from None

    def _results(self, result: Result, context: RunContext) -> dict[str, Any]:
        """Return the results in wire form after checking them against the service's output model."""
        sealing, output = context.sealing, context.output
        form = mark if sealing is None else lambda file, output: sealing.file(reference(file, output))
        marked = replace_files(result.results, lambda file: form(file, output))
        for_client = replace_files(result.results, seen_by_client)
        self._runner_class.definition.output_model.model_validate(for_client)
        if not isinstance(marked, dict):
            raise TypeError("A runner's results must be an object.")
        return marked


def _audit(runner: Runner[Any], request: Any, audit: AuditedRun, context: RunContext) -> Result:
    """Let the runner compare, and return the outcome as the results of an audit."""
    if runner.definition.comparer is None:
        raise Retry(f"The runner {runner.name} compares nothing.", code=FailureCode.SERVICE_NOT_OFFERED)
    context.files, files = audited_files(context.files)
    if audit.mismatch is not None:
        reason = f"The digest of {audit.mismatch} is not the one that the miner has signed."
        return Result(asdict(printable(Comparison("fail", reason, where=audit.mismatch))), Decimal(0))
    statements = {
        name: getattr(audit, name)
        for name in ("results", "statement", "evidence", "nonce", "choice", "answer")
    }
    audited = Audited(**statements, files=files, calibrations=tuple(audit.calibrations))
    outcome = runner.audit(request, audited, context)
    conditions = (
        {"conditions": [asdict(condition) for condition in audited.asked[-1]]} if audited.asked else None
    )
    comparison = outcome.comparison
    if comparison.verdict == "unproven" and audited.is_unknown:
        comparison = replace(comparison, cause="miner")
    return Result(asdict(printable(comparison)), outcome.units, conditions)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends (`prctl(2)`)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _prefer_for_oom_killer() -> None:
    """Let the kernel end this process before the miner when memory runs out (`proc_pid_oom_score_adj(5)`)."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")


def main(words: Sequence[str] | None = None) -> None:
    """Entry point of the child. `words` are its arguments, by default those of the program."""
    parser = argparse.ArgumentParser(prog="python -m runners.host")
    parser.add_argument("--service", required=True)
    parser.add_argument("--fd", required=True, type=int)
    parser.add_argument("--runner", help="MODULE:CLASS, in an environment whose packages provide no runners")
    arguments = parser.parse_args(words)
    # A crash of an engine leaves no error: the stack, in the log of its output, is all that shows where it was.
    faulthandler.enable()
    _die_with_parent()
    _prefer_for_oom_killer()
    # So that the processor time of all programs of a run counts.
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the parent's to handle
    connection = socket.socket(fileno=arguments.fd)
    # A program that outlives this process would keep the socket open, and the parent would wait for its end.
    connection.set_inheritable(False)
    with suppress(BrokenPipeError, ConnectionResetError):
        _Host(load(arguments.runner) if arguments.runner else find(arguments.service), connection).serve()
