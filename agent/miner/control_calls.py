"""The calls that the daemon answers on its control socket: status, stop, pause, resume, and those of other parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from agent.miner.control import Handler
from agent.miner.models.provider import Models
from agent.miner.pausing.pauses import Pauses
from agent.miner.runs.slots import Workload


class _Stop(Protocol):
    def __call__(self, *, drain: bool) -> None: ...


class ControlCalls:
    """`status` returns the daemon's status, `stop` ends its work, and `others` are further handlers by call name."""

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        stop: _Stop,
        pauses: Pauses,
        workload: Workload,
        others: Mapping[str, Handler],
    ) -> None:
        self.status = status
        self._stop = stop
        self._pauses = pauses
        self._workload = workload
        self._others = others

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by call name."""
        return {
            "status": lambda _: self.status(),
            "stop": self._stop_work,
            "pause": self._pause,
            "resume": self._resume,
            **self._others,
        }

    def _stop_work(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._stop(drain=bool(request.get("drain", True)))
        return {"stopping": True, "running": len(self._workload)}

    def _pause(self, request: Mapping[str, Any]) -> dict[str, Any]:
        gpu = request.get("gpu")
        self._pauses.pause(gpu, request.get("seconds"))
        handed_back = 0
        if request.get("now"):
            handed_back = self._workload.hand_back(None if gpu is None else self._pauses.find(gpu))
        return {**self._pauses.status(), "handed_back": handed_back, "running": len(self._workload)}

    def _resume(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._pauses.resume(request.get("gpu"))
        return {**self._pauses.status(), "running": len(self._workload)}


def models_changed(models: Models) -> dict[str, Handler]:
    """Return the call by which a command reports that it has changed the catalogue or the models on disk."""

    def refresh(request: Mapping[str, Any]) -> dict[str, Any]:
        unload = request.get("unload")
        models.refresh(None if unload is None else str(unload))
        return {"refreshing": True}

    return {"models_changed": refresh}
