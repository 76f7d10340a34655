"""A complete agent on a machine with two simulated cards of 24 GiB, with models that claim their memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.miner.control import ask
from aitbc import AITBCClient
from miner_support.cards import GIBIBYTE, Cards, add_models, install
from nvml_shim.shim import TWO_CARDS, NvmlShim, build
from support.agents import Agent, running

SIZES = {"small": 6, "other": 9, "middle": 10, "large": 16, "huge": 40}
FULL = 232 * GIBIBYTE // 10
"""So much used memory of a card that idle models are unloaded."""
WAIT_SECONDS = 180
POLL_SECONDS = 0.05


class Rig:
    """The agent and its cards."""

    def __init__(self, agent: Agent, shim: NvmlShim, cards: Cards, directory: Path) -> None:
        self.agent = agent
        self.shim = shim
        self.cards = cards
        self.directory = directory
        self._gates = directory / "gates"
        self._begun = 0.0

    @property
    def client(self) -> AITBCClient:
        return self.agent.client()

    def submit(self, model: str, gate: str = "", **body: Any) -> str:
        """Submit a job that ends at once, or when its gate is opened."""
        request = {
            "mode": "wait" if gate else "echo",
            "model": model,
            "gate": str(self._gates / gate) if gate else "",
        }
        return str(self.client.services.call("cards/run", {**request, **body}).job_id)

    def open(self, gate: str) -> None:
        (self._gates / gate).touch()

    def miner(self) -> dict[str, Any]:
        return self.ask("status")

    def ask(self, call: str, **fields: Any) -> dict[str, Any]:
        """Call the miner's control socket."""
        return asyncio.run(ask(self.agent.data_dir, call, **fields))

    def until(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until the condition holds, and return the miner's status."""
        end = time.monotonic() + WAIT_SECONDS
        while True:
            miner = self.miner()
            if condition(miner):
                return miner
            assert time.monotonic() < end, f"the condition does not hold; the miner's status: {miner}"
            time.sleep(POLL_SECONDS)

    def clear(self) -> None:
        """Cancel waiting jobs and unload all models. Events until now are no longer reported."""
        for job in self.client.jobs.list(status="submitted").jobs:
            self.client.jobs.cancel(job.job_id)

        def unloaded(miner: dict[str, Any]) -> bool:
            self.cards.others[:] = [FULL - self.cards.claimed(card.uuid) for card in TWO_CARDS]
            return not any(child["model"] for child in miner["children"])

        self.until(unloaded)
        self.cards.others[:] = [0, 0]
        self._begun = time.time()

    def events(self) -> list[tuple[str, str | None]]:
        recent = self.miner()["placement"]["recent"]
        return [(entry["event"], entry["model"]) for entry in recent if entry["at"] > self._begun]


@contextmanager
def machine(directory: Path, **environment: str) -> Iterator[Rig]:
    """Set up the machine with an agent that is not started; `environment` is added to its environment."""
    shim = NvmlShim(build(directory / "nvml"), directory / "cards", TWO_CARDS)
    for name in ("claims", "gates"):
        (directory / name).mkdir()
    cards = Cards(shim, directory / "claims")
    add_models(directory / "models", directory / "data/models.toml", **SIZES)
    environment = {
        **install(directory / "packages"),
        "LD_LIBRARY_PATH": str(shim.library),
        "NVML_SHIM_FILE": str(shim.file),
        "SCRIPTED_CLAIMS": str(directory / "claims"),
        "AITBC_MODELS_DIR": str(directory / "models"),
        "AITBC_COORDINATOR__HEARTBEAT_SECONDS": "1",
        "AITBC_MINER__PLACEMENT_WAIT_SECONDS": "2",
        **environment,
    }
    agent = Agent(directory / "data", "start", "--port", "0", **environment)
    with cards.counting():
        yield Rig(agent, shim, cards, directory)


@contextmanager
def working(directory: Path, **environment: str) -> Iterator[Rig]:
    """Run the machine with its agent."""
    with machine(directory, **environment) as rig, running(rig.agent):
        yield rig
