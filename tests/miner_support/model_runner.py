"""A runner with models and adapters: it answers what is in their files. As a program it is its own host."""

# ruff: noqa: ARG003 - the contract's signature; the path must be set before what is imported through it

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

sys.path.insert(0, str(Path(__file__).parents[1]))

import runners.host.process
from runners.api import Context, Model, Probe, Result, Runner, ServiceDefinition, Strict, Tools

HOST = (sys.executable, __file__)


class ReadInput(Strict):
    mode: str
    adapters: tuple[str, ...] = ()
    gate: str = ""


class ReadOutput(BaseModel):
    model_config = ConfigDict(extra="allow")


def adapters_of(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(parameters.get("adapters", ()))


class ModelRunner(Runner[ReadInput]):
    """Answers the content of its model and of the request's adapters."""

    name = "scripted"
    version = "1.0"
    definition = ServiceDefinition(
        service_id="scripted",
        name="Scripted",
        category="test",
        description="Reads its models.",
        tags=(),
        unit="letter",
        determinism="exact",
        input_model=ReadInput,
        output_model=ReadOutput,
        model_field="model",
        adapters=adapters_of,
    )

    _model: Model | None = None

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        return Probe(available=True, version="engine")

    def load(self, model: Model | None) -> None:
        self._model = model

    def run(self, request: ReadInput, context: Context) -> Result:
        assert self._model is not None
        while request.gate and not Path(request.gate).exists():
            context.check()
            time.sleep(0.005)
        read = {name: len(_file(model).read_bytes()) for name, model in context.adapters.items()}
        return Result({"size": len(_file(self._model).read_bytes()), "adapters": read}, Decimal(1))

    def weights(self, model: Model) -> tuple[Path, ...]:
        return (_file(model),)


def _file(model: Model) -> Path:
    return model.path / "model.pt"


if __name__ == "__main__":
    runners.host.process.find = lambda _service: ModelRunner
    runners.host.process.main()
