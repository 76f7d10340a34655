"""The start of an agent with these settings, after or during an update; see `switching`."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from agent import __version__
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from agent.updates import database
from agent.updates.directory import RECORD, VersionsDirectory
from agent.updates.settings import UpdateSettings
from agent.updates.supervisor import Order
from agent.updates.switching import Switch

ALIVE_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


def versions_of(settings: Settings) -> VersionsDirectory:
    """Return VERSIONS of an agent."""
    chosen = section_of(settings, UpdateSettings).directory
    return VersionsDirectory((chosen or settings.data_dir / "versions").expanduser().absolute())


def before_start(settings: Settings, alive: Callable[[], None]) -> None:
    """Complete an interrupted update, or begin a trial that is due, and then not return. `alive` reports progress to systemd.

    The caller has checked that no other agent uses the data directory.
    """
    versions = versions_of(settings)
    updates = section_of(settings, UpdateSettings)

    def order(version: str) -> Order:
        return Order(
            versions=str(versions.path),
            version=version,
            trial_seconds=updates.trial_seconds,
            stop_seconds=section_of(settings, MinerSettings).drain_seconds + updates.stop_seconds,
            arguments=tuple(sys.argv[1:]),
        )

    switch = Switch(
        versions,
        __version__,
        order,
        back_up=lambda name, version: database.back_up(
            settings, versions.backups / name, _schema(versions, version)
        ),
        restore=lambda name, version: database.restore_if_needed(settings, versions.backups / name, version),
        on_error=lambda error: _log.error("update_not_completed", error=error),
    )
    with _reporting_progress(alive):
        switch.before_start()


def _schema(versions: VersionsDirectory, version: str) -> str | None:
    """Return the revision of a version's database, None if it is unknown."""
    try:
        return str(json.loads((versions.environment(version) / RECORD).read_bytes())["schema"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


@contextmanager
def _reporting_progress(alive: Callable[[], None]) -> Iterator[None]:
    """Report progress meanwhile: a large database takes longer to copy than a watchdog waits."""
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(ALIVE_SECONDS):
            alive()

    thread = threading.Thread(target=report, name="update-alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
