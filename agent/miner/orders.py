"""What the coordinator's heartbeat answers want done: the owner's word from afar, and models to be fetched or removed.

An order with an id comes again with each answer until a heartbeat has said that it was obeyed; one that cannot be obeyed
ever is reported the same way. Orders without an id are hints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from agent.miner.models.provider import ModelProvider
from agent.miner.pausing.pauses import GpuUnknown, Pauses

MAX_SECONDS: Final = 366 * 86400
_MAX_ID: Final = 100

_log = structlog.get_logger(__name__)


class Orders:
    """`take` obeys; `obeyed` is what the next heartbeat says, and `told` forgets it once the coordinator has it.

    `on_obeyed` is called when there is something new to say.
    """

    def __init__(self, pauses: Pauses, provider: ModelProvider, on_obeyed: Callable[[], None]) -> None:
        self._pauses = pauses
        self._provider = provider
        self._on_obeyed = on_obeyed
        self._to_tell: dict[str, None] = {}

    def obeyed(self) -> list[str]:
        """The ids of orders that were carried out, or never will be."""
        return list(self._to_tell)

    def told(self, orders: Sequence[str]) -> None:
        """The coordinator knows of these."""
        for order in orders:
            self._to_tell.pop(order, None)

    def take(self, orders: Sequence[Any]) -> None:
        """Obey the orders of one answer, the oldest first. Whatever an order says, nothing is raised."""
        for order in orders:
            identity = order.get("order_id") if isinstance(order, dict) else None
            if identity is not None and not (isinstance(identity, str) and len(identity) <= _MAX_ID):
                _log.warning("order_malformed")
            elif identity is not None and self._pauses.obeyed(identity):
                self._to_tell[identity] = None  # the answer crossed the heartbeat that said so
            else:
                self._obey(order, identity)

    def _obey(self, order: Any, identity: str | None) -> None:
        try:
            settled = self._carry_out(order, identity)
            if not settled or identity is None:
                return
            self._pauses.remember(identity)
        except OSError as error:  # the disk does not keep it; the order comes again
            _log.error("order_not_kept", order_id=identity, error=str(error))
            return
        _log.info("order_settled", order_id=identity)
        self._to_tell[identity] = None
        self._on_obeyed()

    def _carry_out(self, order: Any, identity: str | None) -> bool:
        """Returns whether it is done with, for good or ill. Raises `OSError`."""
        match order:
            case {"order": "pause" | "resume" as word}:
                self._pause_or_resume(word, order.get("gpu"), order.get("seconds"), identity)
                return True
            case {"order": "fetch_model", "model": str(name)}:
                return self._provider.order_fetch(name)
            case {"order": "remove_model", "model": str(name)}:
                return self._provider.order_removal(name)
            case _:
                _log.info("order_unknown", order_id=identity)  # a newer coordinator's
                return True

    def _pause_or_resume(self, word: str, gpu: Any, seconds: Any, identity: str | None) -> None:
        if not (gpu is None or isinstance(gpu, str)) or not _is_duration(seconds):
            _log.warning("order_refused", order_id=identity, reason="its GPU or its time is malformed")
            return
        try:
            if word == "pause":
                self._pauses.pause(gpu, seconds, order=identity)
            else:
                self._pauses.resume(gpu, order=identity)
        except GpuUnknown as error:
            _log.warning("order_refused", order_id=identity, reason=str(error))


def _is_duration(seconds: Any) -> bool:
    if seconds is None:
        return True
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return number and math.isfinite(seconds) and 0 < seconds <= MAX_SECONDS
