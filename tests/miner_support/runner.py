"""A runner whose jobs follow a test's script: work, wait, crash, hang, send malformed messages."""

# ruff: noqa: ARG002, ARG003, T201 - every mode has the same signature; printed text goes to the log

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict

from runners.api import (
    Audited,
    AuditResult,
    Checkpoints,
    Comparer,
    Condition,
    Context,
    Fail,
    InputFile,
    Model,
    OutputFile,
    Probe,
    Result,
    Retry,
    Runner,
    ServiceDefinition,
    Strict,
    Tools,
    judge,
)


class ScriptedInput(Strict):
    mode: Literal[
        "echo",
        "wait",
        "deaf",
        "crash",
        "poison",
        "exit",
        "garbage",
        "file",
        "forged",
        "meter_and_fail",
        "too_large",
        "fail",
        "retry",
        "events",
        "read",
        "keep",
        "part",
        "resume",
        "pretend",
        "leak",
        "log",
        "program",
        "prove",
        "second_engine",
    ]
    text: str = ""
    gate: str = ""
    source: Annotated[str | None, InputFile()] = None


class ScriptedOutput(BaseModel):
    model_config = ConfigDict(extra="allow")


class ScriptedRunner(Runner[ScriptedInput]):
    """`wait` works until the file `gate` exists; `deaf` ignores cancellations and reports nothing.

    A model claims as much GPU memory as the file `bytes` in its directory states, in a file named after the process's id
    below `SCRIPTED_CLAIMS`. A model whose directory is missing fails to load. One with a file `server` has a program beside it, as
    engines have, which really takes as much main memory as the file states. With a file `loading` too, it ends with the load, which
    lasts until the file is removed. One with a file `locked` reports that as its page-locked memory.
    """

    name = "scripted"
    version = "1.0"
    _taken = 0
    _locked = 0
    _engine = ""
    _server: subprocess.Popen[bytes] | None = None
    definition = ServiceDefinition(
        service_id="scripted",
        name="Scripted",
        category="test",
        description="Follows a script.",
        tags=(),
        unit="letter",
        determinism="exact",
        input_model=ScriptedInput,
        output_model=ScriptedOutput,
        checkpoints=Checkpoints("parts", {r"(part|lost)\.txt": "text/plain"}),
        comparer=Comparer("The text and the seed are exact.", cost="rerun"),
    )

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        return Probe(available=True, version="engine", versions=("engine", "second engine"))

    def engine_version(self) -> str:
        return self._engine

    def load(self, model: Model | None) -> None:
        self.close()
        if model is None:
            return
        if (fault := model.path / "fault").is_file():
            raise RuntimeError(fault.read_text())
        try:
            self._taken = int((model.path / "bytes").read_text())
        except FileNotFoundError:
            raise Retry(f"{model.name} is damaged.", code="MODEL_UNAVAILABLE") from None
        if self.vram is not None and self._taken > self.vram * len(self.device.gpus):
            self._taken = 0
            raise Retry("It does not fit.", code="OUT_OF_MEMORY")
        self._claim()
        if (locked := model.path / "locked").is_file():
            self._locked = int(locked.read_text())
        # Read first: a test may see the program's memory, and remove the file, before this goes on.
        ends_with_load = (loading := model.path / "loading").is_file()
        if (server := model.path / "server").is_file():
            self._server = _holding(server.read_text())
        if ends_with_load:
            while loading.is_file():
                time.sleep(0.01)
            self._end_server()

    def weights(self, model: Model) -> tuple[Path, ...]:
        return (model.path / "bytes",)

    def vram_peak(self) -> int:
        return self._taken

    def locked_memory(self) -> int:
        return self._locked

    def close(self) -> None:
        self._taken = self._locked = 0
        self._claim()
        self._end_server()

    def _end_server(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.communicate()
            self._server = None

    def _claim(self) -> None:
        if claims := os.environ.get("SCRIPTED_CLAIMS"):
            path = Path(claims) / str(os.getpid())
            path.with_suffix(".new").write_text(str(self._taken))
            path.with_suffix(".new").replace(path)

    def run(self, request: ScriptedInput, context: Context) -> Result:
        context.progress(1, Decimal(0))
        self._engine = ""
        results = getattr(self, f"_{request.mode}")(request, context)
        evidence = {"seed": context.seed} if request.mode == "prove" else None
        return Result(results, Decimal(len(request.text)), evidence)

    def audit(self, request: ScriptedInput, audited: Audited, context: Context) -> AuditResult:
        assert audited.evidence is not None
        wrong = {
            "text": audited.files["answer.txt"].read_text() != request.text,
            "seed": audited.evidence["seed"] != audited.seed,
        }
        condition = Condition("scripted", "exact", audited.device)
        comparison = judge(
            {name: float(value) for name, value in wrong.items()},
            audited.calibration(condition, condition),
            where="the file",
        )
        return AuditResult(comparison, Decimal(1))

    def _echo(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        return {"text": request.text, "pid": os.getpid()}

    def _second_engine(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        self._engine = f"{request.text} second engine".strip()
        return {}

    def _read(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        return {"text": context.files["source"].read_text()}

    def _program(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        """Start a program that claims `text` bytes of GPU memory until the gate opens. With a "!" it runs out of memory."""
        wait = ["sh", "-c", 'while [ ! -e "$0" ]; do sleep 0.02; done', request.gate]
        program = subprocess.Popen(wait, start_new_session=True)
        claim = Path(os.environ["SCRIPTED_CLAIMS"]) / str(program.pid)
        claim.with_suffix(".new").write_text(request.text.strip("!"))
        claim.with_suffix(".new").replace(claim)
        program.wait()
        if request.text.endswith("!"):
            raise Retry("It does not fit.", code="OUT_OF_MEMORY")
        return {}

    def _keep(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        path = context.output / "part.txt"
        path.write_text(request.text)
        context.checkpoint(OutputFile(path, "text/plain", "part.txt", {"part": 1}))
        return self._wait(request, context)

    def _part(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        """Make a checkpoint when the gate opens, and wait for another gate. With the checkpoint of an earlier run, end at once."""
        if context.checkpoints:
            return self._resume(request, context)
        self._wait(request, context)
        self._keep(request.model_copy(update={"gate": f"{request.gate}.end"}), context)
        return {"resumed": None}

    def _pretend(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        """Name a file in the results that this run has not written."""
        return {"file": OutputFile(context.output / "part.txt", "text/plain", "part.txt")}

    def _resume(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        return {"resumed": {name: path.read_text() for name, path in context.checkpoints.items()}}

    def _leak(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        hoard = []
        while True:
            hoard.append(os.urandom(2**20) * 8)
            context.progress(50)

    def _log(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        """Write to the job's log, wait for the gate, and write much more. With a text, fail with it."""
        context.log("the first line", "stdout")
        self._wait(request, context)
        for number in range(5000):
            context.log(f"line {number}", "stderr")
        if request.text:
            raise Fail(request.text)
        return {}

    def _wait(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        units = Decimal(0)
        while not Path(request.gate).exists():
            context.check()
            units += 1
            context.progress(50, units)
            time.sleep(0.01)
        return {"waited": True}

    def _deaf(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        time.sleep(3600)
        return {}

    def _crash(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        print("about to crash", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
        return {}

    def _poison(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        raise RuntimeError(request.text or "CUDA error: an illegal memory access was encountered")

    def _exit(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        os._exit(3)

    def _garbage(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        descriptor = int(sys.argv[sys.argv.index("--fd") + 1])
        os.write(descriptor, b"\x00\x00\x00\x05hello")
        time.sleep(3600)
        return {}

    def _file(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        path = context.output / "a.txt"
        path.write_text(request.text)
        return {"file": OutputFile(path, "text/plain", "answer.txt", {"lines": 1})}

    _prove = _file

    def _forged(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        file = {
            "artifact_id": f"sha256:{'0' * 64}",
            "url": "/",
            "media_type": "text/plain",
            "size": 1,
            "name": "a",
        }
        return {"file": file}

    def _fail(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        raise Fail(request.text or "The text is wrong.", code="TEXT_WRONG")

    def _meter_and_fail(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        for units in range(8):
            context.progress(10, Decimal(units))
        raise Fail("The text is wrong.", code="TEXT_WRONG")

    def _too_large(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        raise Retry("It does not fit.", code="OUT_OF_MEMORY")

    def _retry(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        raise Retry("The machine is tired.")

    def _events(self, request: ScriptedInput, context: Context) -> dict[str, Any]:
        for number in range(100):
            context.event("token", {"number": number})
            context.progress(number)
        return self._wait(request, context)


def _holding(size: str) -> subprocess.Popen[bytes]:
    """Start a program that takes so many bytes of main memory."""
    code = "import sys; held = b'x' * int(sys.argv[1]); print(flush=True); sys.stdin.read()"
    program = subprocess.Popen(
        [sys.executable, "-S", "-c", code, size], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    program.stdout.readline()
    return program


class BatchRunner(ScriptedRunner):
    """The same, with up to four runs at once in one child, and without checkpoints."""

    name = "batch"
    definition = dataclasses.replace(
        ScriptedRunner.definition, service_id="batch", name="Batch", checkpoints=None
    )
    concurrent = True

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        return Probe(available=True, version="engine", concurrency=4)
