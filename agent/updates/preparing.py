"""Prepares an update: finds a release, verifies, installs and tries it. Until it is due, nothing depends on what this leaves behind."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from agent.core.errors import AgentError
from agent.fault_points import reach
from agent.sections import section_of
from agent.settings import Settings
from agent.updates import database
from agent.updates.directory import VersionsDirectory
from agent.updates.installing import install
from agent.updates.launcher import directory
from agent.updates.manifest import Manifest
from agent.updates.refusals import Refused, UpdateDelayed
from agent.updates.releases import Releases, is_newer
from agent.updates.settings import UpdateSettings
from agent.updates.starting import versions_of
from agent.updates.states import Phase, UpdateState
from agent.updates.trying import Trying

_BUSY: Final = frozenset({Phase.DUE, Phase.TRIAL, Phase.PASSED, Phase.RETURNING})


@dataclass(frozen=True, slots=True)
class Preparation:
    """Prepares updates of an agent with these `settings`, read from `config`. `on_step(text)` is called with a description of each step."""

    settings: Settings
    config: Path
    on_step: Callable[[str], None] = lambda _text: None

    @property
    def _own(self) -> UpdateSettings:
        return section_of(self.settings, UpdateSettings)

    def check(self) -> tuple[str, str | None]:
        """Return the current version and the newer one of the index, if there is one. Raises `AgentError`."""
        versions = versions_of(self.settings)
        with versions.locked() as lock:
            release = self._releases(versions, lock).find(None)
            current = versions.current
        return current, release.version if is_newer(release.version, current) else None

    def prepare(self, wanted: str | None, *, by_itself: bool = False) -> str | None:
        """Prepare the `wanted` version, or the newest one; return it, or None if there is nothing newer.

        `by_itself`: the agent does this, not its owner; versions that have failed are skipped. Raises `AgentError`.
        """
        versions = versions_of(self.settings)
        self._require_launcher(versions)
        with versions.locked() as lock:
            state = versions.read()
            if state.phase in _BUSY:
                raise UpdateDelayed(
                    f"The update to {state.version} is in progress ({state.phase}). `aitbc-agent status` shows it; `--rollback` ends it."
                )
            current = versions.current
            try:
                release = self._chosen(versions, lock, wanted, current)
            except Refused as error:
                versions.write(state.refuse(current, str(error), time.time()))
                raise
            if release is None or (by_itself and release.version in state.failed):
                return None
            if state.phase is Phase.PREPARED and state.version == release.version:
                return release.version
            state = versions.write(state.prepare(release.version, current))
            try:
                self._install_and_try(release, versions, lock, current)
            except (Refused, UpdateDelayed) as error:
                versions.write(state.reject(str(error), time.time(), lasting=isinstance(error, Refused)))
                raise
            versions.write(state.prepared())
            return release.version

    def _chosen(
        self, versions: VersionsDirectory, lock: IO[bytes], wanted: str | None, current: str
    ) -> Manifest | None:
        self.on_step("Looking for a release" if wanted is None else f"Looking for release {wanted}")
        release = self._releases(versions, lock).find(wanted)
        if release.version == current:
            return None
        if wanted is None and not is_newer(release.version, current):
            raise Refused(
                f"The newest release of the index is {release.version}, older than {current}. Nothing was installed. Check updates.index; "
                f"to install the older version anyway, use --to {release.version}."
            )
        return release

    def _install_and_try(
        self, release: Manifest, versions: VersionsDirectory, lock: IO[bytes], current: str
    ) -> None:
        database.require_way_back(self.settings, release)
        self.on_step(f"Installing version {release.version}")
        install(release, versions, self._releases(versions, lock), self._own)
        self.on_step(f"Trying version {release.version}")
        reach("update.trying")
        Trying(versions, self._own, self.config, lock).check(release.version, versions.program(current))

    def _releases(self, versions: VersionsDirectory, lock: IO[bytes]) -> Releases:
        return Releases(self._own, versions.path, lock)

    def _require_launcher(self, versions: VersionsDirectory) -> None:
        """Raise `AgentError` unless every command will find VERSIONS without reading the settings."""
        if Path(directory(sys.argv, os.environ)) != versions.path:
            raise AgentError(
                f"Commands would not find the versions in {versions.path}: set AITBC_UPDATES__DIRECTORY to it in the agent's environment "
                "instead of updates.directory, or give --data-dir."
            )


def roll_back(settings: Settings) -> UpdateState:
    """Return to the version before the last update, or end the update in progress. Raises `AgentError`."""
    versions = versions_of(settings)
    with versions.locked():
        state, current = versions.read(), versions.current
        if state.phase in {Phase.DUE, Phase.TRIAL}:
            return versions.write(state.fail("Its owner has ended the trial."))
        if state.phase in _BUSY:
            return state
        if state.previous is None or state.previous == current:
            raise AgentError(
                f"There is no version before {current} on this machine. Install one: aitbc-agent update --to VERSION"
            )
        return versions.write(state.roll_back(current))
