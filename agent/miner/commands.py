"""Executes the commands in heartbeats' answers: the owner's remote pauses, models to fetch or remove, and settings.

The coordinator repeats a command with an id until a heartbeat has reported it as executed; so is one that can never be
executed. Commands without an id are hints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from agent import __version__
from agent.core.commands import SettingsChange
from agent.miner.live_settings import ChangeRefused, LiveSettings
from agent.miner.models.provider import Models
from agent.miner.pausing.pauses import GpuUnknown, Pauses
from agent.protocol.answers import MAX_COMMAND_ID, Command, NewSettings
from agent.protocol.reading import MalformedMessage, read

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Commands:
    """Pass an answer's commands to `execute`; the next heartbeat reports those that are `executed`.

    `on_executed` is called when there is another one to report.
    """

    pauses: Pauses
    provider: Models
    settings: LiveSettings
    on_executed: Callable[[], None]

    def __post_init__(self) -> None:
        self._unreported: dict[str, None] = {}
        self._refused: dict[str, tuple[str, ...]] = {}

    def executed(self) -> list[str]:
        """Return the ids of commands that were executed, or never can be, and are not reported yet."""
        return list(self._unreported)

    def refused(self) -> list[dict[str, Any]]:
        """Return those of them that were refused with reasons for their owner."""
        return [
            {"command_id": command_id, "reasons": list(reasons)}
            for command_id, reasons in self._refused.items()
        ]

    def reported(self, commands: Sequence[str]) -> None:
        """Forget commands that a heartbeat has reported."""
        for command in commands:
            self._unreported.pop(command, None)
            self._refused.pop(command, None)

    def execute(self, commands: Sequence[Any]) -> None:
        """Execute the commands of one answer, the oldest first. Raises nothing, even for malformed ones."""
        for values in commands:
            command_id = _id_of(values)
            # The coordinator repeats a command until a heartbeat reports it.
            if command_id in self._unreported:
                continue
            if command_id is not None and self.pauses.executed(command_id):
                # The answer crossed the heartbeat that reported it.
                self._unreported[command_id] = None
                continue
            try:
                settled = self._execute(read(Command, values))
            except MalformedMessage as error:  # for example a command of a newer coordinator
                _log.warning("command_malformed", command_id=command_id, error=str(error))
                if command_id is not None:
                    reason = f"The miner's agent, version {__version__}, does not understand this command ({error}). Update it."
                    self._refused[command_id] = (reason,)
                # Repeating it would not make it readable.
                settled = True
            except OSError as error:  # the disk refuses; the coordinator repeats the command
                _log.error("command_not_saved", command_id=command_id, error=str(error))
                continue
            if settled and command_id is not None:
                self._settle(command_id)

    def _settle(self, command_id: str) -> None:
        try:
            # On disk before it is reported, or a restart in between would execute it again.
            self.pauses.save_executed(command_id)
        except OSError as error:
            _log.error("command_not_saved", command_id=command_id, error=str(error))
            return
        _log.info("command_settled", command_id=command_id)
        self._unreported[command_id] = None
        self.on_executed()

    def _execute(self, command: Command) -> bool:
        """Return whether the command is settled: executed, or refused for good. Raises `OSError`."""
        try:
            match command:
                case Command(command="fetch_model", model=str(name)):
                    self.settings.require_fetching()
                    return self.provider.command_fetch(name)
                case Command(command="remove_model", model=str(name)):
                    self.settings.require_removal()
                    return self.provider.command_removal(name)
                case Command(command="change_settings", command_id=str(), settings=NewSettings() as change):
                    self._change(change)
                case Command(command="pause" | "resume"):
                    self._pause_or_resume(command)
                case _:
                    _log.warning("command_refused", command_id=command.command_id, reason="incomplete")
        except ChangeRefused as error:
            _log.warning("command_refused", command_id=command.command_id, reason=" ".join(error.reasons))
            # A hint has no id, and nobody who waits for its reasons.
            if command.command_id is not None:
                self._refused[command.command_id] = error.reasons
        return True

    def _change(self, change: NewSettings) -> None:
        schedule = None if change.schedule is None else tuple(change.schedule)
        engines = None if change.engines is None else tuple(change.engines)
        self.settings.change(SettingsChange(change.prices, schedule, engines))

    def _pause_or_resume(self, command: Command) -> None:
        try:
            if command.command == "pause":
                self.pauses.pause(command.gpu, command.seconds, command=command.command_id)
            else:
                self.pauses.resume(command.gpu, command=command.command_id)
        except GpuUnknown as error:
            _log.warning("command_refused", command_id=command.command_id, reason=str(error))


def _id_of(values: Any) -> str | None:
    """Return the id of a command, which may be malformed otherwise."""
    command_id = values.get("command_id") if isinstance(values, dict) else None
    return command_id if isinstance(command_id, str) and len(command_id) <= MAX_COMMAND_ID else None
