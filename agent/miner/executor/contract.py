"""What the miner needs of an executor: the children of this machine, or the nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from agent.miner.executor.child import RunListener
from runners.api import Device, Model, Retry
from runners.host.protocol import Done, Run, RunnerIdentity

Stage: TypeAlias = Literal["loading", "running"]
OnStage: TypeAlias = Callable[[Stage, tuple[str, ...]], None]
"""Called when the job has a device, on which its model may still have to be loaded, and when it runs; with the devices' keys."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A successful run: its results, and their origin for the receipt.

    The output files are in the run's output directory on this machine. `weights` is the hex SHA-256 of the model's weights, None
    without a model.
    """

    done: Done
    runner: RunnerIdentity
    device: Device
    weights: str | None


@dataclass(frozen=True, slots=True)
class Working:
    """A child that works: `runs` of its `capacity` are in use. `devices` are the UUIDs of its GPUs, or "cpu"."""

    service: str
    model: str | None
    devices: tuple[str, ...]
    runs: int
    capacity: int


class Executor(Protocol):
    """Runs jobs. `run` may be called for several jobs at once, and `close` ends all children.

    `on_capacity` is called when `free` may have changed.
    """

    on_capacity: Callable[[], None]

    async def run(
        self,
        service: str,
        model: Model | None,
        message: Run,
        listener: RunListener | None = None,
        *,
        on_stage: OnStage = ...,
    ) -> Execution:
        """Run one job. Raises `Fail` or `Retry`. Cancelling the calling task ends the job first."""

    def pause(self, devices: frozenset[str]) -> None:
        """Pause these devices ("cpu", UUIDs of GPUs) and no others: they get no jobs, and idle models are unloaded at once."""

    async def release_model(self, name: str) -> None:
        """Unload a model that no job uses."""

    def model_failed(self, service: str, model: str, error: Retry) -> None:
        """Count a model that could not be fetched as one that failed to load."""

    @property
    def supervised(self) -> bool:
        """Whether the tasks are alive that monitor the children."""

    def free(self) -> int | None:
        """Return how many more runs the machines have free devices for; None if the slots alone decide."""

    def loaded(self) -> dict[str, list[str]]:
        """Return the names of loaded models by service."""

    def working(self) -> list[Working]:
        """Return every child that is working."""

    async def unavailable_models(self, models: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
        """Return which of these models are unavailable at present, by service, and why."""

    def status(self) -> list[dict[str, Any]]:
        """Return the children's state for the daemon's status."""

    def placement(self) -> dict[str, Any]:
        """Return the jobs that wait for a device, and recent placement events."""

    async def close(self) -> None:
        """End all children."""
