"""A runner for the tests of the child process, which follows the request's script."""

# ruff: noqa: ARG002, ARG003, T201 - its methods have the contract's arguments, and one chatters on purpose

from __future__ import annotations

import dataclasses
import math
import os
import time
from decimal import Decimal

from pydantic import BaseModel

from runners.api import (
    Checkpoints,
    Fail,
    File,
    OutputFile,
    Probe,
    Result,
    Retry,
    Runner,
    ServiceDefinition,
    Strict,
)


class Request(Strict):
    do: str
    text: str = ""


class Answer(BaseModel):
    value: object = None
    file: File | None = None


class ScriptedRunner(Runner[Request]):
    definition = ServiceDefinition(
        service_id="scripted",
        name="Scripted",
        category="test",
        description="",
        tags=(),
        unit="step",
        determinism="exact",
        input_model=Request,
        output_model=Answer,
        checkpoints=Checkpoints("frames", {r"frame_\d+\.png": "image/png"}, outputs=True),
    )
    name = "scripted"
    version = "9.9"

    @classmethod
    def probe(cls, tools):
        return Probe(available=True)

    def load(self, model):
        if model is not None and model.name == "broken":
            raise Retry("The file is damaged.", code="MODEL_UNAVAILABLE")
        self.loaded = [model.path / "weights"] if model is not None else []

    def vram_peak(self):
        return self.vram or 0

    def weights(self, model):
        return tuple(self.loaded)

    def run(self, request, context):
        return getattr(self, f"do_{request.do}")(request, context)

    def do_echo(self, request, context):
        print("chatter on standard output")
        context.progress(50, Decimal("0.5"))
        context.event("token", {"text": request.text})
        return Result({"value": request.text}, Decimal("1.50"))

    def do_caches(self, request, context):
        names = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "VLLM_CACHE_ROOT")
        return Result({"value": {name: os.environ.get(name) for name in names}}, Decimal(1))

    def do_log(self, request, context):
        context.log("loading 10 %\rloading 100 %\nname \udcff\n", "stdout")
        for number in range(20_000):
            context.log(f"line {number:05} {'x' * 40}", "stderr")
        context.log("the last line", "stderr")
        if request.text:
            raise Fail(request.text)
        return Result({"value": 1}, Decimal(1))

    def do_fail(self, request, context):
        raise Fail("The picture is upside down.", code="INPUT_INVALID")

    def do_retry(self, request, context):
        raise Retry("The fan has stopped.")

    def do_crash(self, request, context):
        raise ZeroDivisionError("by the test")

    def do_poison(self, request, context):
        raise RuntimeError(request.text)

    def do_die(self, request, context):
        os.kill(os.getpid(), 9)

    def do_nan(self, request, context):
        return Result({"value": math.nan}, Decimal(1))

    def do_mark(self, request, context):
        return Result({"value": {"$file": {"path": "x"}}}, Decimal(1))

    def do_negative(self, request, context):
        return Result({"value": 1}, Decimal(-1))

    def do_shape(self, request, context):
        return Result({"file": "no file"}, Decimal(1))

    def do_large(self, request, context):
        return Result({"value": "x" * (17 * 2**20)}, Decimal(1))

    def do_many(self, request, context):
        return Result({"value": [[]] * 900_000}, Decimal(1))

    def do_file(self, request, context):
        path = context.output / "a" / "picture.png"
        path.parent.mkdir()
        path.write_bytes(b"12345")
        return Result(
            {"file": OutputFile(path, "image/png", "picture.png", {"seed": 7})}, Decimal("0.1234567")
        )

    def do_link(self, request, context):
        path = context.output / "link"
        path.symlink_to("/etc/hostname")
        return Result({"file": OutputFile(path, "text/plain", "link")}, Decimal(1))

    def do_outside(self, request, context):
        path = context.work / "scratch"
        path.write_text("x")
        return Result({"file": OutputFile(path, "text/plain", "scratch")}, Decimal(1))

    def do_switch(self, request, context):
        """Use other weights than the loaded ones."""
        self.loaded = [context.work / "other"]
        return Result({"value": 1}, Decimal(1))

    def do_keep(self, request, context):
        path = context.output / "frame_1.png"
        path.write_bytes(b"12345")
        context.checkpoint(OutputFile(path, "image/png", "frame_1.png", {"frame": 1}))
        while not (context.work / "go").exists():
            context.check()
            time.sleep(0.01)
        return Result({"value": 1}, Decimal(1))

    def do_wait(self, request, context):
        context.on_cancel((context.work / "cancelled").touch)
        context.progress(1)
        while True:
            context.check()
            time.sleep(0.01)

    def do_ignore(self, request, context):
        """Hang and ignore cancellation."""
        context.progress(1)
        time.sleep(60)

    def close(self):
        self.loaded = []


class ConcurrentRunner(ScriptedRunner):
    definition = dataclasses.replace(ScriptedRunner.definition, service_id="concurrent")
    concurrent = True
