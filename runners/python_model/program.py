"""The client's program: the harness with the job's files, started in a sandbox for each of its steps."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from runners.api import Context, Device, Fail, FailureCode, Tools
from runners.python_model import harness
from runners.python_model.environment import PACKAGES
from runners.python_model.request import InferenceRequest, listed_requirements
from runners.sandbox import Sandbox, granted_python
from runners.sandbox.watch import Ended, Limits, Outcome

MAX_REASON = 3500
"""Characters of the reason of a failure, with its traceback, that the client sees."""

MAX_LISTED = 64 * 1024
"""Bytes of an archive's requirements.txt."""

_REQUIREMENTS = "requirements.txt"
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_TAR = (257, b"ustar")
"""Where the name of the format stands in a plain tar file."""


@dataclass(slots=True)
class Program:
    """One job's program. `limits` are those of the run without its time, which ends at `deadline` (monotonic)."""

    tools: Tools
    device: Device
    request: InferenceRequest
    context: Context
    limits: Limits
    threads: int
    deadline: float = field(init=False)
    packed: bool = field(init=False)

    def __post_init__(self) -> None:
        (self.context.work / "scratch" / "model").mkdir(parents=True)
        self.packed = _is_archive(self.context.files["model.source"])
        self.deadline = time.monotonic() + self.context.timeout_seconds

    @property
    def result(self) -> Path:
        """The file with the value that `predict` returned."""
        return self.context.work / "scratch" / "result.json"

    def unpack(self, report: Callable[[float], None]) -> tuple[str, ...]:
        """Unpack an archive; return the requirements that it names. Raises `Fail`."""
        if not self.packed:
            return ()
        _judge(self._run("unpack", None, report), "The model's archive")
        listed = _read_listed(self.context.work / "scratch" / _REQUIREMENTS)
        try:
            return listed_requirements(listed)
        except ValueError as error:
            raise Fail(
                f"The archive's {_REQUIREMENTS} cannot be installed: {error}.",
                code=FailureCode.REQUIREMENTS_FAILED,
            ) from None

    def predict(self, home: Path, report: Callable[[float], None]) -> None:
        """Call the model with the packages in `home`. Raises `Fail` unless it ends without an error."""
        _judge(self._run("predict", home, report), "The model")

    def _run(
        self, step: Literal["unpack", "predict"], home: Path | None, report: Callable[[float], None]
    ) -> Outcome:
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise Fail(
                "The job took longer than its timeout_seconds; raise timeout_seconds.",
                code=FailureCode.TIMEOUT,
            )
        limits = replace(self.limits, seconds=seconds, cpu_seconds=seconds * self.threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        # NumPy and torch would otherwise start a thread for every core of the machine, and exceed the processor time.
        settings = dict.fromkeys(names, str(self.threads))
        sandbox = Sandbox(self.tools, limits, self.device, environment=settings)
        python = granted_python(sandbox, settings)
        program = sandbox.read(Path(harness.__file__), "/harness.py")
        directory = sandbox.write(self.context.output, "/output")
        job = sandbox.read(self._job(step, home, sandbox), "/job.json")

        def log(stream: str, text: str) -> None:
            self.context.log(text.replace(harness.MARK, ""), stream)

        return sandbox.run(
            [python, "-I", "-S", "-B", program, step, job],
            directory=directory,
            on_text=log,
            on_tick=report,
            on_cancel=self.context.on_cancel,
        )

    def _job(self, step: str, home: Path | None, sandbox: Sandbox) -> Path:
        """Write the file with the harness's instructions; return its path."""
        request, files = self.request, self.context.files
        inside = sandbox.write(self.context.work / "scratch", "/work")
        source = files.get("input.source") if step == "predict" else None
        end = f".{request.input.format}" if request.input is not None and request.input.format else ""
        unpacked = self.packed and step == "predict"
        job = {
            "source": None if unpacked else sandbox.read(files["model.source"], "/source"),
            "entrypoint": request.model.entrypoint,
            "input": sandbox.read(source, f"/input/input{end}") if source is not None else None,
            "parameters": request.parameters,
            "max_unpacked": self.tools.max_unpacked,
            "model": f"{inside}/model",
            "packages": f"{sandbox.read(home, '/environment')}/{PACKAGES}" if home is not None else None,
            "requirements": f"{inside}/{_REQUIREMENTS}",
            "result": f"{inside}/{self.result.name}",
        }
        path = self.context.work / f"{step}.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        return path


def _is_archive(source: Path) -> bool:
    """Return whether a file begins like a zip or tar file. Only the sandboxed program reads further."""
    offset, name = _TAR
    with source.open("rb") as file:
        start = file.read(offset + len(name))
    return start.startswith(_ARCHIVES) or start[offset:] == name


def _read_listed(path: Path) -> str:
    """Return the copy of requirements.txt, "" without one. The sandboxed program that made it is untrusted."""
    try:
        # The program may have put a link or a pipe there, at which opening would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    except OSError:
        raise Fail(
            f"The archive's {_REQUIREMENTS} is not a file.", code=FailureCode.REQUIREMENTS_FAILED
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MAX_LISTED + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    if len(content) > MAX_LISTED:
        raise Fail(
            f"The archive's {_REQUIREMENTS} has more than {MAX_LISTED // 1024} KiB.",
            code=FailureCode.REQUIREMENTS_FAILED,
        )
    return content.decode("utf-8-sig", errors="replace")


def _judge(outcome: Outcome, subject: str) -> None:
    """Raise `Fail` unless the harness ran to its end. `subject` is what failed otherwise: "The model"."""
    limits = {Ended.MEMORY: "memory", Ended.PROCESSES: "processes", Ended.OUTPUT: "file space"}
    if outcome.ended in limits:
        excess = outcome.reason or f"more {limits[outcome.ended]} than allowed"
        raise Fail(f"{subject} exceeded a limit: {excess}.", code=FailureCode.LIMIT_EXCEEDED)
    if outcome.ended is Ended.CPU:
        raise Fail(
            f"{subject} used more processor time than allowed; request more in resources.cpu or raise timeout_seconds.",
            code=FailureCode.LIMIT_EXCEEDED,
        )
    if outcome.ended is Ended.DEADLINE:
        raise Fail(f"{subject} took longer than the job's timeout_seconds.", code=FailureCode.TIMEOUT)
    if outcome.exit_code == 0:
        return
    _, marked, reason = outcome.stderr.rpartition(harness.MARK)
    if not marked:
        reason = _ended_early(subject, outcome)
    code = FailureCode.LIMIT_EXCEEDED if outcome.exit_code == harness.TOO_LARGE else FailureCode.MODEL_FAILED
    raise Fail(_shortened(reason.strip()), code=code)


def _ended_early(subject: str, outcome: Outcome) -> str:
    """Return why a program ended that gave no reason: it was killed, or ended itself."""
    number = outcome.exit_code - 128
    by_signal = number in set(signal.Signals)
    how = (
        f"was killed by {signal.Signals(number).name}"
        if by_signal
        else f"ended with status {outcome.exit_code}"
    )
    last = f" Its last output:\n{outcome.stderr.strip()}" if outcome.stderr.strip() else ""
    return f"{subject} {how} before predict returned.{last}"


def _shortened(reason: str) -> str:
    """Return a reason with its first sentence and the end of its traceback."""
    if len(reason) <= MAX_REASON:
        return reason
    part = MAX_REASON // 2
    return f"{reason[:part]}\n[...]\n{reason[-part:]}"
