"""The campaign's own service: cheap work of a given duration with predictable results. The soak test uses it too."""

# ruff: noqa: ARG003 - the arguments are the contract's

from __future__ import annotations

import hashlib
import time
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from runners.api import (
    Context,
    Fail,
    InputFile,
    OutputFile,
    Probe,
    Result,
    Runner,
    ServiceDefinition,
    Strict,
    Tools,
)

SERVICE = "campaign_work"
STEP_SECONDS = 0.02


class WorkInput(Strict):
    """`echo` returns the text's digest, `file` a file with the text, `read` the digest of its input."""

    mode: Literal["echo", "file", "read", "fail"]
    text: str = ""
    seconds: float = Field(default=0.0, ge=0, le=60)
    source: Annotated[str | None, InputFile()] = None


class WorkOutput(BaseModel):
    model_config = ConfigDict(extra="allow")


class WorkRunner(Runner[WorkInput]):
    """Performs `campaign_work`. One unit is one job."""

    name = "campaign"
    version = "1.0"
    definition = ServiceDefinition(
        service_id=SERVICE,
        name="Campaign work",
        category="test",
        description="Runs the work of a campaign.",
        tags=(),
        unit="job",
        determinism="exact",
        input_model=WorkInput,
        output_model=WorkOutput,
    )

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        return Probe(available=True, version="1")

    def run(self, request: WorkInput, context: Context) -> Result:
        """Take the requested time, then return the result."""
        end = time.monotonic() + request.seconds
        while time.monotonic() < end:
            context.check()
            context.progress(50)
            time.sleep(STEP_SECONDS)
        return Result(self._answer(request, context), Decimal(1))

    def _answer(self, request: WorkInput, context: Context) -> dict[str, Any]:
        if request.mode == "fail":
            raise Fail("The campaign requested this failure.", code="CAMPAIGN_FAILURE")
        if request.mode == "file":
            path = context.output / "text.bin"
            path.write_bytes(request.text.encode() * 1000)
            return {"file": OutputFile(path, "application/octet-stream", "text.bin", {})}
        content = context.files["source"].read_bytes() if request.mode == "read" else request.text.encode()
        return {"sha256": hashlib.sha256(content).hexdigest()}
