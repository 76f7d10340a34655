"""A runner that does nothing but answer, and its installation in a folder, as a package of somebody else's would be."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from runners.api import Context, Probe, Result, Runner, ServiceDefinition, Strict, Tools

SERVICE = "soak_echo"
ENTRY_POINTS = "[aitbc.runners]\nsoak_echo = soak_runner:EchoRunner\n"
METADATA = "Metadata-Version: 2.1\nName: soak-runner\nVersion: 1.0\n"


class EchoInput(Strict):
    """The text comes back."""

    text: str


class EchoOutput(BaseModel):
    """What came back."""

    model_config = ConfigDict(extra="allow")


class EchoRunner(Runner[EchoInput]):
    """One unit is one job."""

    name = "soak"
    version = "1.0"
    definition = ServiceDefinition(
        service_id=SERVICE,
        name="Echo",
        category="test",
        description="Answers with what it is given.",
        tags=(),
        unit="job",
        determinism="exact",
        input_model=EchoInput,
        output_model=EchoOutput,
    )

    @classmethod
    def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - the contract's argument
        """Always there."""
        return Probe(available=True, version="1")

    def run(self, request: EchoInput, context: Context) -> Result:  # noqa: ARG002 - as above
        """Answer."""
        return Result({"text": request.text}, Decimal(1))


def install(folder: Path) -> Path:
    """Make a folder of packages with this one in it, for `PYTHONPATH`."""
    information = folder / "soak_runner-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(METADATA)
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    shutil.copy(__file__, folder / "soak_runner.py")
    return folder
