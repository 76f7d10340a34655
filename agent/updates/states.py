"""The states of an update, and the steps between them. Pure: the state and what happened in, the next state out.

    idle -> preparing -> prepared -> due -> trial -> passed -> idle
              |                              |
              +-> idle (rejected)            +-> returning -> idle
    idle -> returning (an owner's rollback)

Until `passed`, the former version is the current one, so a crash in between leaves a version that works. `passed` and `returning` are decisions whose consequences (the link, the database) can be carried out again after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final

MAX_ATTEMPTS: Final = 2
"""How many trials of a version may be interrupted by a crash or a loss of power, which need not be its fault."""
MAX_FAILED: Final = 20
"""How many versions that failed are stored; more are of no use, since only the newest is installed."""
MAX_REASON: Final = 1000
LEAST_FAULTS: Final = 2
"""How many jobs must fail for the machine's fault, and none succeed, before a trial ends early."""


class Phase(StrEnum):
    """What an update is doing."""

    IDLE = "idle"
    """No update is in progress."""
    PREPARING = "preparing"
    """A version is downloaded, checked, installed and tried. Nothing depends on it yet."""
    PREPARED = "prepared"
    """It waits for the time at which its owner allows a restart."""
    DUE = "due"
    """The running agent drains; the next start begins the trial."""
    TRIAL = "trial"
    """It runs as the agent, watched by the former version's supervisor."""
    PASSED = "passed"
    """It becomes the current version."""
    RETURNING = "returning"
    """The former version becomes the current one."""


class UpdateEnding(StrEnum):
    """How an update has ended."""

    UPDATED = "updated"
    FAILED = "failed"
    """It was refused before it ran as the agent."""
    RETURNED = "returned"
    """It did not pass its trial, and the former version works again."""
    ROLLED_BACK = "rolled_back"
    """The owner has returned to the former version."""


class IllegalStep(Exception):
    """A step that does not follow the state."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The latest update that has ended: from version `former` to `version`, at `at` in seconds since the epoch."""

    ending: UpdateEnding
    former: str
    version: str
    at: float
    reason: str = ""

    @property
    def words(self) -> str:
        """The outcome for the owner."""
        if self.ending is UpdateEnding.UPDATED:
            return f"updated from {self.former} to {self.version}"
        if self.ending is UpdateEnding.ROLLED_BACK:
            return f"rolled back from {self.version} to {self.former}"
        update = f"the update to {self.version}" if self.version else "the update"
        returned = f", and {self.former} has returned" if self.ending is UpdateEnding.RETURNED else ""
        return f"{update} failed{returned}: {self.reason}"


@dataclass(frozen=True, slots=True)
class UpdateState:
    """The state of this agent's updates.

    `version` is the new version, `former` the one that worked before; both are empty while `IDLE`. `previous` is the version to which an owner can
    return. `attempts` counts trials, `backup` names the copy of the database from before them. `failed` has reasons by version: these
    versions are not installed automatically again.
    """

    phase: Phase = Phase.IDLE
    version: str = ""
    former: str = ""
    attempts: int = 0
    backup: str | None = None
    reason: str = ""
    by_owner: bool = False
    previous: str | None = None
    previous_backup: str | None = None
    last: Outcome | None = None
    failed: Mapping[str, str] = field(default_factory=dict)

    # Preparing --------------------------------------------------------------------------------------------------------

    def prepare(self, version: str, former: str) -> UpdateState:
        """A version is chosen. What an earlier preparation has left is replaced."""
        self._require(Phase.IDLE, Phase.PREPARING, Phase.PREPARED)
        return replace(self._rest(), phase=Phase.PREPARING, version=version, former=former)

    def reject(self, reason: str, now: float, *, lasting: bool) -> UpdateState:
        """It cannot be installed, or does not work here. `lasting` if trying it again would end the same way."""
        self._require(Phase.PREPARING)
        return self._ended(UpdateEnding.FAILED, reason, now, lasting=lasting)

    def refuse(self, former: str, reason: str, now: float) -> UpdateState:
        """The index offers what must not be trusted. The same again is no news."""
        self._require(Phase.IDLE, Phase.PREPARING, Phase.PREPARED)
        reason = reason[:MAX_REASON]
        if self.last is not None and self.last.reason == reason:
            return self._rest()
        return replace(self._rest(), last=Outcome(UpdateEnding.FAILED, former, "", now, reason))

    def prepared(self) -> UpdateState:
        """It is installed, and its own checks pass on this machine."""
        self._require(Phase.PREPARING)
        return replace(self, phase=Phase.PREPARED)

    def make_due(self) -> UpdateState:
        """The agent is to restart with it now."""
        self._require(Phase.PREPARED, Phase.DUE)
        return replace(self, phase=Phase.DUE)

    # Trial ------------------------------------------------------------------------------------------------------------

    def begin(self, backup: str | None) -> UpdateState:
        """Its trial begins, or begins again after an interruption. After too many of these, the former version returns."""
        self._require(Phase.DUE, Phase.TRIAL)
        if self.attempts >= MAX_ATTEMPTS:
            return replace(
                self,
                phase=Phase.RETURNING,
                reason=f"Its trial was interrupted {self.attempts} times, by a crash or a loss of power.",
            )
        return replace(self, phase=Phase.TRIAL, attempts=self.attempts + 1, backup=self.backup or backup)

    def postpone(self) -> UpdateState:
        """The owner has stopped the agent during the trial, which the next start begins again."""
        self._require(Phase.TRIAL)
        return replace(self, phase=Phase.DUE, attempts=self.attempts - 1)

    def succeed(self) -> UpdateState:
        """It works."""
        self._require(Phase.TRIAL)
        return replace(self, phase=Phase.PASSED)

    def fail(self, reason: str) -> UpdateState:
        """It does not work."""
        self._require(Phase.DUE, Phase.TRIAL)
        return replace(self, phase=Phase.RETURNING, reason=reason[:MAX_REASON])

    # Endings ----------------------------------------------------------------------------------------------------------

    def roll_back(self, current: str) -> UpdateState:
        """The owner wants the version before the `current` one."""
        self._require(Phase.IDLE, Phase.PREPARING, Phase.PREPARED)
        if self.previous is None or self.previous == current:
            raise IllegalStep
        return replace(
            self._rest(),
            phase=Phase.RETURNING,
            version=current,
            former=self.previous,
            backup=self.previous_backup,
            by_owner=True,
            reason="Its owner has returned to the former version.",
        )

    def finish(self, now: float) -> UpdateState:
        """The consequences of the decision are carried out."""
        self._require(Phase.PASSED, Phase.RETURNING)
        if self.phase is Phase.PASSED:
            ended = self._ended(UpdateEnding.UPDATED, "", now, lasting=False)
            failed = {version: reason for version, reason in self.failed.items() if version != self.version}
            return replace(ended, previous=self.former, previous_backup=self.backup, failed=failed)
        if self.by_owner:
            ended = self._ended(UpdateEnding.ROLLED_BACK, self.reason, now, lasting=True)
            return replace(ended, previous=None, previous_backup=None)
        return self._ended(UpdateEnding.RETURNED, self.reason, now, lasting=True)

    @property
    def decided(self) -> str | None:
        """The version that is to become the current one, None without a decision."""
        if self.phase is Phase.PASSED:
            return self.version
        return self.former if self.phase is Phase.RETURNING else None

    def _require(self, *phases: Phase) -> None:
        if self.phase not in phases:
            raise IllegalStep(f"An update that is {self.phase} must be {' or '.join(phases)} for this step.")

    def _rest(self) -> UpdateState:
        return UpdateState(
            previous=self.previous, previous_backup=self.previous_backup, last=self.last, failed=self.failed
        )

    def _ended(self, ending: UpdateEnding, reason: str, now: float, *, lasting: bool) -> UpdateState:
        reason = reason[:MAX_REASON]
        failed = dict(self.failed)
        if lasting:
            failed.pop(self.version, None)
            failed[self.version] = reason
            failed = dict(list(failed.items())[-MAX_FAILED:])
        return replace(
            self._rest(), last=Outcome(ending, self.former, self.version, now, reason), failed=failed
        )

    # File -------------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return it as the file contains it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> UpdateState:
        """Read what `to_json` of this or of another version has returned: unknown fields are left out. Raises `ValueError`, `TypeError`."""
        own = {key: value for key, value in values.items() if key in {item.name for item in fields(cls)}}
        last = own.get("last")
        own["phase"] = Phase(own.get("phase", Phase.IDLE))
        own["last"] = None if last is None else Outcome(**{**last, "ending": UpdateEnding(last["ending"])})
        return cls(**own)


def describe(state: UpdateState, current: str) -> str:
    """Return a line for the owner: what the update in progress does, or how the latest one ended. Empty if there was none."""
    new = f"version {state.version}"
    in_progress = {
        Phase.PREPARING: f"{new} is being installed and tried; {current} works",
        Phase.PREPARED: f"{new} is installed, and waits for the time that updates.automatic allows",
        Phase.DUE: f"{new} takes over as soon as the running jobs have ended",
        Phase.TRIAL: f"{new} is on trial until it has completed a job; otherwise {state.former} returns",
        Phase.PASSED: f"the agent restarts with version {state.decided}",
        Phase.RETURNING: f"the agent restarts with version {state.decided}",
    }
    if state.phase is not Phase.IDLE:
        return in_progress[state.phase]
    return "" if state.last is None else state.last.words


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What a version reports during its trial.

    `ready`: it accepts jobs, and its coordinator has registered it. `completed` and `faults` count the jobs that it has completed, and those that
    failed for this machine's fault. `stopping`: its owner stops it.
    """

    ready: bool = False
    completed: int = 0
    faults: int = 0
    stopping: bool = False

    def verdict(self, *, over: bool) -> bool | None:
        """Return whether the version works, None if that is not known yet. `over` is whether its time is over.

        A version that got no job until then works: it has run jobs of its own before the trial.
        """
        if self.ready and self.completed > self.faults:
            return True
        if self.faults >= LEAST_FAULTS and not self.completed:
            return False
        return (self.ready and self.faults <= self.completed) if over else None

    def problem(self, seconds: float) -> str:
        """Return why a trial of so many seconds was not passed."""
        if not self.ready:
            return f"It did not start and register within {seconds:g} s."
        return f"{self.faults} of its {self.faults + self.completed} jobs failed for this machine's fault."
