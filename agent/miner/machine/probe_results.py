"""Probes take as long as they need: a busy machine loses no service for longer than it is busy.

A probe that does not end in time goes on in the background, and is repeated if it was ended. Until it has an answer, its last good
result is valid.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from agent.deadline import in_thread
from agent.miner.machine import hardware
from runners.api import Probe, TimedOut, forget_probes

PAUSES: Final = (30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds before an undecided probe is repeated; the last pause is that before all later ones."""

LATER: Final = "the service is offered as soon as it succeeds."
"""The end of the reason of a service whose probe is undecided."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _StoredProbe:
    """One probe: its `answer` if it has one, the last good result, and the partial one of the last try."""

    answer: Probe | None = None
    good: Probe | None = None
    partial: Probe | None = None
    task: asyncio.Task[None] | None = None
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def usable(self) -> Probe | None:
        """What is valid at present."""
        partial = self.partial if self.partial is not None and self.partial.available else None
        return self.answer or self.good or partial


class ProbeResults:
    """The results of this process's probes, by keys of the caller. A daemon that replaces another continues with them."""

    def __init__(self, pauses: Sequence[float] = PAUSES) -> None:
        self._pauses = pauses
        self._entries: dict[Hashable, _StoredProbe] = {}

    async def get(self, key: Hashable, name: str, call: Callable[[], Probe], seconds: float) -> Probe:
        """Return the result of the blocking probe `call`, which is made unless `key` has an answer.

        After `seconds`, return the last good result, or that the probe is undecided. `name` is the runner's. Errors are not raised.
        """
        entry = self._entries.setdefault(key, _StoredProbe())
        if entry.answer is None:
            # One probe at a time: a second one would make a busy machine slower still.
            if entry.task is None or entry.task.done():
                entry.task = asyncio.create_task(self._repeat(entry, name, call), name=f"probe-{name}")
            with suppress(TimeoutError):
                await asyncio.wait_for(entry.tried.wait(), seconds)
        return entry.usable or _slow(name, entry.partial, seconds)

    def changed(self, probes: Mapping[Hashable, Probe]) -> bool:
        """Whether a probe now has another result than the one used."""
        results = ((self._entries[key].usable, probe) for key, probe in probes.items())
        return any(result is not None and result != probe for result, probe in results)

    def forget(self) -> None:
        """Probe again when next asked, because the machine has changed. Good results remain valid until then."""
        # Runners remember what they have found too, such as the encoders of FFmpeg.
        forget_probes()
        for entry in self._entries.values():
            entry.answer = entry.partial = None
            entry.tried.clear()
            entry.wake.set()

    async def _repeat(self, entry: _StoredProbe, name: str, call: Callable[[], Probe]) -> None:
        """Probe until there is an answer."""
        for pause in itertools.chain(self._pauses, itertools.repeat(self._pauses[-1])):
            entry.wake.clear()
            result = await _try(name, call)
            # The machine has changed meanwhile.
            if entry.wake.is_set():
                continue
            if not result.undecided:
                entry.answer, entry.partial = result, None
                # A probe that ended and said no is believed, other than one that was only too slow.
                entry.good = result if result.available else None
                entry.tried.set()
                return
            entry.partial = result
            entry.tried.set()
            _log.warning("probe_undecided", runner=name, reasons=result.reasons, repeated_in=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(entry.wake.wait(), pause)


async def _try(name: str, call: Callable[[], Probe]) -> Probe:
    try:
        return await in_thread(call, name=f"probe-{name}")
    except TimedOut as error:
        return Probe(available=False, reasons=(str(error),), undecided=True)
    except Exception as error:  # noqa: BLE001 - a third-party runner must not end the daemon
        _log.warning("probe_failed", runner=name, exc_info=True)
        reason = f"The runner {name} could not be probed ({type(error).__name__}: {error}). Update or uninstall it."
        return Probe(available=False, reasons=(reason,))


def _slow(name: str, partial: Probe | None, seconds: float) -> Probe:
    """Return that a runner's probe is undecided: it has not ended within `seconds`, or was ended itself."""
    load, cores = os.getloadavg()[0], hardware.cpu_cores()
    busy = f"This machine is busy (load {load:.0f} on {cores} processors). " if load > cores else ""
    repeated = f"The probe of {name} is repeated, and {LATER}"
    if partial is not None:
        return replace(partial, reasons=tuple(f"{reason} {busy}{repeated}" for reason in partial.reasons))
    reason = f"The probe of {name} did not end within {seconds:g} s. {busy}It goes on, and {LATER}"
    return Probe(available=False, reasons=(reason,), undecided=True)
