"""What a starting agent does about an update: it carries out a decision that a crash has interrupted, and begins a trial that is due."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.core.errors import AgentError
from agent.fault_points import reach
from agent.updates.directory import VersionsDirectory
from agent.updates.states import Phase, UpdateState
from agent.updates.supervisor import SUPERVISED, Order, end_with_supervisor, start_again, supervise

STARTED_AGAIN: Final = "_AITBC_STARTED_AGAIN"
"""In the environment of an agent that another version has started in its stead."""
_UNFINISHED: Final = frozenset({Phase.DUE, Phase.TRIAL, Phase.PASSED, Phase.RETURNING})


@dataclass(frozen=True, slots=True)
class Switch:
    """Switches from the starting `version` to another one.

    `order` is for the trial of a version, whose name it gets here. `back_up(name, version)` copies the database to the backup of this name
    before a version may migrate it, and returns whether there was anything to copy; `restore(name, version)` restores that copy if the starting
    version cannot use what a version has left. Both raise `AgentError`, `OSError`. `on_error` gets what went wrong: no update keeps an agent from
    starting.
    """

    versions: VersionsDirectory
    version: str
    order: Callable[[str], Order]
    back_up: Callable[[str, str], bool]
    restore: Callable[[str, str], object]
    on_error: Callable[[str], None]

    def before_start(self) -> UpdateState:
        """Complete an interrupted update, and return its state. Does not return if another version is to run, or one on trial.

        The caller has made sure that no other agent works on the same data.
        """
        # Two versions that each start the other would do so for ever.
        may_start_again = os.environ.pop(STARTED_AGAIN, None) is None
        state = self.versions.read()
        if SUPERVISED in os.environ:
            end_with_supervisor()
            return state
        if state.phase not in _UNFINISHED:
            return state
        order = self.order(state.version)
        try:
            with self.versions.locked():
                state = self._complete(self.versions.read())
                if state.phase is Phase.DUE or state.phase is Phase.TRIAL:
                    state = self._complete(self._begin(state))
            if state.phase is Phase.TRIAL:
                reach("update.supervising")
                supervise(order)
        except (AgentError, OSError) as error:
            self.on_error(str(error))
        if self.versions.current != self.version and may_start_again:
            os.environ[STARTED_AGAIN] = "1"
            start_again(order.arguments)
        return state

    def _complete(self, state: UpdateState) -> UpdateState:
        """Carry out a decision, as far as this version can: the one that is to use the database restores it."""
        if state.decided is None:
            return state
        if self.versions.is_complete(state.decided):
            self.versions.make_current(state.decided)
            if state.decided != self.version:
                return state
        else:
            self.on_error(f"Version {state.decided} is no longer installed in {self.versions.path}.")
        if state.phase is Phase.RETURNING and state.backup is not None:
            self.restore(state.backup, state.version)
        return self.versions.write(state.finish(time.time()))

    def _begin(self, state: UpdateState) -> UpdateState:
        if not self.versions.is_complete(state.version):
            return self.versions.write(state.fail(f"It is no longer installed in {self.versions.path}."))
        name = f"{state.former}-{state.version}"
        try:
            has_copy = state.backup is None and self.back_up(name, state.version)
        except (AgentError, OSError) as error:
            return self.versions.write(
                state.fail(f"The database could not be copied before its migration: {error}")
            )
        return self.versions.write(state.begin(name if has_copy else None))
