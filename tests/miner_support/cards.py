"""A third-party runner whose models claim GPU memory, and simulated GPUs that count the claims.

The runner is installed as a package beside the agent, so that a whole real agent uses it.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from miner_support.runner import ScriptedInput, ScriptedRunner
from nvml_shim.shim import NvmlShim

GIBIBYTE = 2**30
COUNT_SECONDS = 0.02


class CardsInput(ScriptedInput):
    """The input of the scripted runner, with a model."""

    model: str


class CardsOutput(BaseModel):
    model_config = ConfigDict(extra="allow")


class CardsRunner(ScriptedRunner):
    """The scripted runner as a service of its own."""

    name = "cards"
    definition = dataclasses.replace(
        ScriptedRunner.definition,
        service_id="cards",
        name="Cards",
        input_model=CardsInput,
        output_model=CardsOutput,
        model_field="model",
        route="cards/run",
    )


def install(directory: Path) -> dict[str, str]:
    """Make `directory` an installed package with the runner. Return the environment in which it is found."""
    information = directory / "cards-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: cards\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[aitbc.runners]\ncards = miner_support.cards:CardsRunner\n"
    )
    return {"PYTHONPATH": f"{directory}:{Path(__file__).parents[1]}"}


def add_models(models: Path, catalogue: Path, **sizes: float) -> None:
    """Create models of so many GiB on disk, and their entries in an owner's catalogue."""
    entries = []
    for name, size in sizes.items():
        (models / name).mkdir(parents=True)
        (models / name / "bytes").write_text(str(int(size * GIBIBYTE)))
        entries.append(
            f'[[models]]\nname = "{name}"\nservice = "cards"\nengines = ["scripted"]\nvram = "{int(size * 1024)}Mi"\nlicence = "MIT"\n'
        )
    catalogue.parent.mkdir(parents=True, exist_ok=True)
    catalogue.write_text("\n".join(entries))


class Cards:
    """GPUs whose used memory is that of other programs plus the claims of living children."""

    def __init__(self, shim: NvmlShim, claims: Path) -> None:
        self.others = [0] * len(shim.cards)
        self._shim = shim
        self._claims = claims
        self._ended = threading.Event()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count claims until the block ends."""
        thread = threading.Thread(target=self._count, name="cards", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(60)

    def claimed(self, uuid: str) -> int:
        """Return the bytes that living processes on this GPU claim."""
        total = 0
        for path in self._claims.iterdir():
            try:
                if psutil.Process(int(path.name)).environ()["CUDA_VISIBLE_DEVICES"] == uuid:
                    total += int(path.read_text())
            except (psutil.Error, ValueError, KeyError, OSError):
                continue
        return total

    def _count(self) -> None:
        while not self._ended.wait(COUNT_SECONDS):
            for index, card in enumerate(self._shim.cards):
                used = self.others[index] + self.claimed(card.uuid)
                if used != card.used:
                    self._shim.change(index, used=used)
