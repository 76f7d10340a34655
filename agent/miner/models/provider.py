"""What the daemon does about models: has those that a job needs brought and kept while it runs, and fetches ahead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Final

import structlog

from agent.miner.models.downloads import Downloads, OnProgress
from agent.miner.models.store import ModelStore, ModelUnavailable
from runners.api import Model, RunnerError

OnModel = Callable[[str, int, int | None], None]
"""Told the name of a model that a job waits for, how many bytes of it are here, and of how many."""

LOOK_SECONDS: Final = 30.0
"""How often the directory is looked at, since commands and other agents change it too."""
_NOT_AGAIN_SECONDS: Final = 600.0
"""How long a command is not tried again after it failed; the coordinator may repeat it with every heartbeat."""
_MAX_ORDERS: Final = 16
_ATTEMPTS: Final = 5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Lent:
    """What a job uses: its model, None if its service has none, and the adapters by name."""

    model: Model | None
    adapters: Mapping[str, Model]


class ModelProvider:
    """The models of a daemon. `download` says whether missing ones may be fetched; `run` is the daemon's to run.

    `on_change` is called when other models are on disk than before, `release` awaited before a model is removed, so that
    it leaves the memory.
    """

    def __init__(
        self,
        store: ModelStore,
        downloads: Downloads,
        *,
        download: bool,
        on_change: Callable[[], None] = lambda: None,
        release: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._downloads = downloads
        self._download = download
        self._on_change = on_change
        self._release = release
        self._present: dict[str, list[str]] = {}
        self._arriving: dict[str, tuple[int, int | None]] = {}
        self._orders: dict[str, None] = {}
        self._removals: dict[str, None] = {}
        self._failed: dict[str, float] = {}
        self._fetching_ahead: asyncio.Task[None] | None = None
        self._jobs_fetching = 0
        self._wake = asyncio.Event()

    # For jobs -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lend(
        self, model: str | None, adapters: Sequence[str], on_model: OnModel
    ) -> AsyncIterator[Lent]:
        """A job's models, on disk and kept there until the end. Raises `ModelUnknown`, `ModelUnavailable`, `OSError`."""
        lent = Lent(
            None if model is None else self._store.resolve(model),
            {name: self._store.resolve(name, "adapter") for name in adapters},
        )
        async with AsyncExitStack() as kept:
            for name in [*([] if model is None else [model]), *lent.adapters]:
                kept.enter_context(await self._keep(name, on_model))
            yield lent

    async def _keep(self, name: str, on_model: OnModel) -> IO[bytes]:
        def tell(done: int, total: int | None) -> None:
            on_model(name, done, total)

        for _ in range(_ATTEMPTS):  # between fetching a model and keeping it, another program may remove it
            kept = await self._downloads.keep(name, tell)
            if await asyncio.to_thread(self._store.has, name):
                return kept
            kept.close()
            await self._bring(name, tell)
        raise ModelUnavailable(f"The model {name!r} was removed each time that it had been fetched.")

    async def _bring(self, name: str, tell: OnProgress) -> None:
        if not self._download:
            raise ModelUnavailable(
                f"The model {name!r} is not on this machine, and runners.model_download is off; fetch it with "
                f"'aitbc-agent models pull {name}'."
            )

        def told(done: int, total: int | None) -> None:
            self._note(name, done, total)
            tell(done, total)

        self._jobs_fetching += 1
        if self._fetching_ahead is not None:
            self._fetching_ahead.cancel()  # it goes on later where it ended
        try:
            await self._downloads.fetch(name, told)
        finally:
            self._arriving.pop(name, None)
            self._jobs_fetching -= 1
            self._wake.set()

    # Ahead of jobs --------------------------------------------------------------------------------------------------

    def command_fetch(self, name: str) -> bool:
        """Bring a model here in time. Returns whether that is settled: it is here, or its owner or catalogue forbid it."""
        entry = self._store.catalogue.get(name)
        if entry is None or name in self.present.get(entry.service, ()):
            return True
        if not self._download or not entry.fetchable:
            _log.info("model_command_refused", model=name, download=self._download, fetchable=entry.fetchable)
            return True
        waits = name in self._orders or self._failed.get(name, 0) > time.monotonic()
        if not waits and len(self._orders) < _MAX_ORDERS:
            self._removals.pop(name, None)
            self._orders[name] = None
            self._wake.set()
        return False

    def command_removal(self, name: str) -> bool:
        """Remove a model as soon as no job uses it. Returns whether that is settled: it is gone, or not ours to remove."""
        entry = self._store.catalogue.get(name)
        if entry is None or entry.path is not None:
            _log.info("model_removal_refused", model=name)
            return True
        if not self._store.has(name) and not self._downloads.partly_here(name):
            return True
        self._failed.pop(name, None)
        if name in self._orders:
            del self._orders[name]
            if self._fetching_ahead is not None:
                self._fetching_ahead.cancel()  # it may be this one; another one goes on at once
        if len(self._removals) < _MAX_ORDERS:
            self._removals[name] = None
            self._wake.set()
        return False

    @property
    def arriving(self) -> list[dict[str, Any]]:
        """The models that are being fetched: bytes `done` of `total`, which is None while unknown."""
        return [
            {"model": name, "done": done, "total": total} for name, (done, total) in self._arriving.items()
        ]

    def _note(self, name: str, done: int, total: int | None) -> None:
        self._arriving[name] = (done, total)

    @property
    def present(self) -> Mapping[str, Sequence[str]]:
        """The models on disk by service, as of the last look."""
        return self._present

    @property
    def waiting(self) -> tuple[str, ...]:
        """The models that were ordered and are not here yet, in the order in which they will be fetched."""
        return tuple(self._orders)

    async def run(self) -> None:
        """Look after the directory and fetch what was ordered, one model at a time, until cancelled."""
        while True:
            self._wake.clear()
            await self._remove()
            await self._look()
            if self._orders and not self._jobs_fetching:
                await self._fetch_ahead(next(iter(self._orders)))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    async def _remove(self) -> None:
        """Remove what was ordered; what a job uses stays for the next look."""
        for name in list(self._removals):
            if self._release is not None:
                await self._release(name)
            try:
                removed = await asyncio.to_thread(self._downloads.remove, name)
            except OSError as error:
                _log.warning("model_not_removed", model=name, error=str(error))
                removed = True  # it is ordered again, and tried again then
            if removed:
                self._removals.pop(name, None)

    async def _look(self) -> None:
        """Find out which models are on disk."""
        services = {entry.service for entry in self._store.catalogue.values()}
        found = await asyncio.to_thread(
            lambda: {service: self._store.on_disk(service) for service in sorted(services)}
        )
        changed, self._present = found != self._present, found
        if changed:
            self._on_change()

    async def _fetch_ahead(self, name: str) -> None:
        fetching = asyncio.create_task(
            self._downloads.fetch(name, lambda done, total: self._note(name, done, total), may_remove=False),
            name=f"fetch-{name}",
        )
        self._fetching_ahead = fetching
        try:
            await asyncio.wait([fetching])
        finally:
            self._fetching_ahead = None
            self._arriving.pop(name, None)
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        if fetching.cancelled():
            return  # for a job's sake; the command stays
        self._orders.pop(name, None)
        error = fetching.exception()
        if error is not None:
            self._failed[name] = time.monotonic() + _NOT_AGAIN_SECONDS
            known = isinstance(error, RunnerError | OSError)
            _log.warning("model_not_fetched", model=name, error=str(error), exc_info=None if known else error)
