"""Runners with known speed, and the program of their children: `python timed_runners.py --service ID --fd N`."""

# ruff: noqa: ARG002, ARG003 - the contract's signatures

from __future__ import annotations

import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parents[1]))

import runners.host.process
from runners.api import (
    Benchmark,
    Context,
    Fail,
    InputFile,
    Model,
    Probe,
    Result,
    Retry,
    Runner,
    ServiceDefinition,
    Strict,
    Tools,
)

PROGRAM = (sys.executable, str(Path(__file__)))
SECONDS = 0.05
CONCURRENCY = 4


class Input(Strict):
    source: Annotated[str, InputFile()]
    model: str = "none"


class Output(BaseModel):
    text: str


def definition(service_id: str, model_field: str | None = None) -> ServiceDefinition:
    return ServiceDefinition(
        service_id=service_id,
        name=service_id,
        category="test",
        description="",
        tags=(),
        unit="letter",
        determinism="exact",
        input_model=Input,
        output_model=Output,
        model_field=model_field,
    )


class SleepingRunner(Runner[Input]):
    """Each run sleeps and meters the letters of its input, so the speed is proportional to the concurrent runs."""

    name = "sleeping"
    version = "1.0"
    concurrent = True
    definition = definition("sleeping")

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        return Probe(available=True, version="2.0", concurrency=CONCURRENCY)

    def run(self, request: Input, context: Context) -> Result:
        text = context.files["source"].read_text()
        time.sleep(SECONDS)
        return Result({"text": request.model}, Decimal(len(text)))

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark:
        source = directory / "source.txt"
        source.write_text("ten letter")
        return Benchmark({"source": "artifact:x"}, "word/s", {"source": source}, scale=Decimal("0.2"))


class NamingRunner(SleepingRunner):
    """Has models, and fails unless it gets the smallest."""

    name = "naming"
    concurrent = False
    definition = definition("naming", "model")

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        return Probe(available=True)

    def load(self, model: Model | None) -> None:
        if model is None or model.name != "small":
            raise Retry("Only the small model loads.")

    def run(self, request: Input, context: Context) -> Result:
        if request.model != "small":
            raise Fail("The request does not name the model.")
        return super().run(request, context)


class CountingRunner(NamingRunner):
    """Its unit does not measure its speed, so runs are counted."""

    name = "counting"
    definition = definition("counting")

    def load(self, model: Model | None) -> None:
        return

    def run(self, request: Input, context: Context) -> Result:
        time.sleep(SECONDS)
        return Result({"text": ""}, Decimal(1000))

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark:
        made = super().benchmark(tools, directory)
        return Benchmark(made.parameters, "run/s", made.files, counted="runs")


class FailingRunner(CountingRunner):
    """Fails in its own benchmark."""

    name = "failing"
    definition = definition("failing")

    def run(self, request: Input, context: Context) -> Result:
        raise Retry("The card is on fire.")


class CrashingRunner(CountingRunner):
    """Fails to create its test input."""

    name = "crashing"
    definition = definition("crashing")

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark:
        raise ZeroDivisionError("no")


class PlainRunner(CountingRunner):
    """Has no benchmark."""

    name = "plain"
    definition = definition("plain")

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Any:
        return None


RUNNERS: dict[str, type[Runner[Any]]] = {
    made.definition.service_id: made
    for made in (SleepingRunner, NamingRunner, CountingRunner, FailingRunner, CrashingRunner, PlainRunner)
}

if __name__ == "__main__":
    runners.host.process.find = RUNNERS.__getitem__
    runners.host.process.main()
