"""What the coordinator's heartbeat answers want done: the owner's word from afar, and models to be fetched or removed.

A command with an id comes again with each answer until a heartbeat has said that it was executed; one that cannot be executed
ever is reported the same way. Commands without an id are hints.
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


class Commands:
    """`take` executes; `executed` is what the next heartbeat says, and `told` forgets it once the coordinator has it.

    `on_obeyed` is called when there is something new to say.
    """

    def __init__(self, pauses: Pauses, provider: ModelProvider, on_obeyed: Callable[[], None]) -> None:
        self._pauses = pauses
        self._provider = provider
        self._on_obeyed = on_obeyed
        self._to_tell: dict[str, None] = {}

    def executed(self) -> list[str]:
        """The ids of commands that were carried out, or never will be."""
        return list(self._to_tell)

    def told(self, commands: Sequence[str]) -> None:
        """The coordinator knows of these."""
        for command in commands:
            self._to_tell.pop(command, None)

    def take(self, commands: Sequence[Any]) -> None:
        """Execute the commands of one answer, the oldest first. Whatever a command says, nothing is raised."""
        for command in commands:
            identity = command.get("command_id") if isinstance(command, dict) else None
            if identity is not None and not (isinstance(identity, str) and len(identity) <= _MAX_ID):
                _log.warning("command_malformed")
            elif identity is not None and self._pauses.executed(identity):
                self._to_tell[identity] = None  # the answer crossed the heartbeat that said so
            else:
                self._execute(command, identity)

    def _execute(self, command: Any, identity: str | None) -> None:
        try:
            settled = self._carry_out(command, identity)
            if not settled or identity is None:
                return
            self._pauses.remember(identity)
        except OSError as error:  # the disk does not keep it; the order comes again
            _log.error("command_not_saved", command_id=identity, error=str(error))
            return
        _log.info("command_settled", command_id=identity)
        self._to_tell[identity] = None
        self._on_obeyed()

    def _carry_out(self, command: Any, identity: str | None) -> bool:
        """Returns whether it is done with, for good or ill. Raises `OSError`."""
        match command:
            case {"command": "pause" | "resume" as word}:
                self._pause_or_resume(word, command.get("gpu"), command.get("seconds"), identity)
                return True
            case {"command": "fetch_model", "model": str(name)}:
                return self._provider.command_fetch(name)
            case {"command": "remove_model", "model": str(name)}:
                return self._provider.command_removal(name)
            case _:
                _log.info("command_unknown", command_id=identity)  # a newer coordinator's
                return True

    def _pause_or_resume(self, word: str, gpu: Any, seconds: Any, identity: str | None) -> None:
        if not (gpu is None or isinstance(gpu, str)) or not _is_duration(seconds):
            _log.warning("command_refused", command_id=identity, reason="its GPU or its time is malformed")
            return
        try:
            if word == "pause":
                self._pauses.pause(gpu, seconds, command=identity)
            else:
                self._pauses.resume(gpu, command=identity)
        except GpuUnknown as error:
            _log.warning("command_refused", command_id=identity, reason=str(error))


def _is_duration(seconds: Any) -> bool:
    if seconds is None:
        return True
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return number and math.isfinite(seconds) and 0 < seconds <= MAX_SECONDS
