"""A runner whose engine is `tiny_engine`, which tests install into an environment of its own."""

# ruff: noqa: ARG002, PLC0415, T201 - the contract's signatures; the engine is imported inside functions

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from runners.api import Context, Model, Probe, Result, Retry, Runner, ServiceDefinition, Strict, Tools


def version() -> str:
    """Return the engine's version, in a process that the engine started."""
    import tiny_engine

    return str(tiny_engine.VERSION)


class Wanted(Strict):
    mode: str = "report"
    modules: tuple[str, ...] = ()
    engine: str | None = None
    spawn: bool = False


class Found(BaseModel):
    model_config = ConfigDict(extra="allow")


class EngineRunner(Runner[Wanted]):
    """Reports the engine's version, its interpreter, and which of the named modules it could import."""

    name = "engine"
    version = "1.0"
    definition = ServiceDefinition(
        service_id="engine",
        name="Engine",
        category="test",
        description="Reports its engine.",
        tags=(),
        unit="run",
        determinism="exact",
        input_model=Wanted,
        output_model=Found,
    )

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        if importlib.util.find_spec("tiny_engine") is None:
            return Probe(available=False, reasons=("tiny_engine is missing.",))
        print("probed")  # as packages do: it is not part of the result
        features = {"engines": ["tiny"], "batch": tools.batch}
        return Probe(available=True, version="of " + sys.prefix, features=features, concurrency=2)

    def load(self, model: Model | None) -> None:
        if importlib.util.find_spec("tiny_engine") is None:
            raise Retry("tiny_engine is missing.")

    def run(self, request: Wanted, context: Context) -> Result:
        import tiny_engine

        visible = [name for name in request.modules if importlib.util.find_spec(name) is not None]
        results: dict[str, Any] = {"version": tiny_engine.VERSION, "prefix": sys.prefix, "visible": visible}
        if request.spawn:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                results["spawned"] = pool.apply(version)
        return Result(results, Decimal(1))
