"""The calls that the daemon answers on its control socket: status, stop, pause, resume, and those of other parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent.miner.control import Handler
from agent.miner.models.provider import Models
from agent.miner.pausing.pauses import Pauses
from agent.miner.runs.slots import Workload


class _Stop(Protocol):
    def __call__(self, *, drain: bool) -> None: ...


@dataclass(eq=False)
class ControlCalls:
    """`status` returns the daemon's status, `stop` ends its work, and `others` are further handlers by call name."""

    status: Callable[[], dict[str, Any]]
    stop: _Stop
    pauses: Pauses
    workload: Workload
    models: Models
    others: Mapping[str, Handler]

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by call name."""
        return {
            "status": lambda _: self.status(),
            "stop": self._stop_work,
            "pause": self._pause,
            "resume": self._resume,
            "models_changed": self._models_changed,
            **self.others,
        }

    def _stop_work(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.stop(drain=bool(request.get("drain", True)))
        return {"stopping": True, "running": len(self.workload)}

    def _pause(self, request: Mapping[str, Any]) -> dict[str, Any]:
        gpu = request.get("gpu")
        self.pauses.pause(gpu, request.get("seconds"))
        handed_back = 0
        if request.get("now"):
            handed_back = self.workload.hand_back(None if gpu is None else self.pauses.find(gpu))
        return {**self.pauses.status(), "handed_back": handed_back, "running": len(self.workload)}

    def _resume(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.pauses.resume(request.get("gpu"))
        return {**self.pauses.status(), "running": len(self.workload)}

    def _models_changed(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a command that has changed the catalogue or the models on disk."""
        unload = request.get("unload")
        self.models.refresh(None if unload is None else str(unload))
        return {"refreshing": True}
