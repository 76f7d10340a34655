"""Provides jobs with models: fetches those that a job needs, protects them while it runs, and fetches others in advance."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import KW_ONLY, dataclass
from typing import IO, Any, Final, Protocol

import structlog

from agent.catalogue import CatalogueEntry
from agent.core.errors import ConfigurationError
from agent.miner.backoff import sleep
from agent.miner.models.downloads import Downloads, OnProgress
from agent.miner.models.store import ModelStore, ModelUnavailable, SourceUnreachable
from runners.api import Model, RunnerError

OnModel = Callable[[str, int, int | None], None]
"""Called with the name of a model that a job waits for, its bytes that have arrived, and the total."""

POLL_SECONDS: Final = 30.0
"""How often the directory is read, since commands and other agents change it too."""
_COOLDOWN_SECONDS: Final = 600.0
"""How long a fetch command that failed is not retried; the coordinator may repeat it with every heartbeat."""
_MAX_COMMANDED: Final = 16
_ATTEMPTS: Final = 5
_UNREACHABLE_SECONDS: Final = 30.0
"""How long jobs that need a file of an unreachable server fail immediately."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Lent:
    """The model of a job, None if its service has none, and its adapters by name."""

    model: Model | None
    adapters: Mapping[str, Model]


class Models(Protocol):
    """The models that jobs can use, on this machine's disk or on those of a cluster's nodes. The daemon runs `run`."""

    def lend(
        self, model: str | None, adapters: Sequence[str], on_model: OnModel, /
    ) -> AbstractAsyncContextManager[Lent]:
        """Provide a job's models until the end of the block. `on_model` is called only if it waits for one.

        Raises `ModelUnknown`, `ModelUnavailable`, `OSError`.
        """

    @property
    def fetching_for_jobs(self) -> Mapping[str, Mapping[str, str]]:
        """The models that are being downloaded for a job, by service, with a reason why they are not available yet."""

    @property
    def arriving(self) -> list[dict[str, Any]]:
        """The models that are being fetched: `done` of `total` bytes; the total is None while unknown."""

    @property
    def present(self) -> Mapping[str, Sequence[str]]:
        """The models on disk by service, as of the last poll."""

    def has(self, name: str) -> bool:
        """Whether the model is on disk."""

    def command_fetch(self, name: str) -> bool:
        """Fetch a model in advance. Return whether the command is settled: the model is on disk, or must not be fetched."""

    def command_removal(self, name: str) -> bool:
        """Remove a model as soon as no job uses it. Return whether the command is settled: it is removed, or must not be."""

    def refresh(self, unload: str | None = None) -> None:
        """Read the catalogue and the directory soon, because a program has changed them, and `unload` a model that no job uses."""

    async def run(self) -> None:
        """Fetch and remove models by command, until cancelled."""


@dataclass(eq=False)
class ModelProvider:
    """The models of a daemon, which runs `run`. `download` permits fetching missing ones.

    `on_change` is called when the set of models on disk, or of those that jobs wait for, has changed. `release` is awaited before a model is removed, to
    unload it. `read_catalogue` returns the models that jobs may use, which the owner may change at any time.
    """

    store: ModelStore
    downloads: Downloads
    _: KW_ONLY
    download: bool
    on_change: Callable[[], None] = lambda: None
    release: Callable[[str], Awaitable[None]] | None = None
    read_catalogue: Callable[[], Mapping[str, CatalogueEntry]] | None = None

    def __post_init__(self) -> None:
        self._invalid = ""
        self._unloads: list[str] = []
        self._present: dict[str, list[str]] = {}
        self._arriving: dict[str, tuple[int, int | None]] = {}
        self._commanded: dict[str, None] = {}
        self._removals: dict[str, None] = {}
        self._failed: dict[str, float] = {}
        self._fetching_ahead: asyncio.Task[None] | None = None
        self._jobs_fetching: Counter[str] = Counter()
        self._unreachable: dict[str, tuple[float, str]] = {}
        self._wake = asyncio.Event()

    # For jobs -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lend(
        self, model: str | None, adapters: Sequence[str], on_model: OnModel
    ) -> AsyncIterator[Lent]:
        """Provide a job's models, on disk and protected until the end. `on_model` is called only if it waits for one.

        Raises `ModelUnknown`, `ModelUnavailable`, `OSError`.
        """
        self._resolve(model, adapters)
        async with AsyncExitStack() as stack:
            base = None if model is None else self.store.entry(model).base
            for name in [name for name in (base, model, *adapters) if name is not None]:
                stack.enter_context(await self._hold(name, on_model))
            # Again, as an adapter may just have arrived.
            yield self._resolve(model, adapters)

    def _resolve(self, model: str | None, adapters: Sequence[str]) -> Lent:
        """Return a job's models, on disk or not. Raises `ModelUnknown`."""
        lent_adapters = {name: self.store.resolve(name, "adapter") for name in adapters}
        if model is None:
            return Lent(None, lent_adapters)
        resolved = self.store.resolve(model)
        base = self.store.entry(model).base
        if base is None:
            return Lent(resolved, lent_adapters)
        return Lent(self.store.resolve(base), {model: resolved, **lent_adapters})

    @property
    def fetching_for_jobs(self) -> Mapping[str, Mapping[str, str]]:
        """The models that are being downloaded for a job or may not be downloaded at present, by service, with a reason why they are not available."""
        reasons: dict[str, dict[str, str]] = {}
        hindrance = self.downloads.hindrance
        for name, entry in self.store.catalogue.items() if hindrance is not None else ():
            if entry.fetchable and name not in self.present.get(entry.service, ()):
                reasons.setdefault(entry.service, {})[name] = hindrance or ""
        for name in self._jobs_fetching:
            service = self.store.entry(name).service
            reasons.setdefault(service, {})[name] = "It is being downloaded for a job."
        return reasons

    async def _hold(self, name: str, on_model: OnModel) -> IO[bytes]:
        def on_progress(received: int, total: int | None) -> None:
            on_model(name, received, total)

        # Another program may remove a model between its fetch and its protection.
        for _ in range(_ATTEMPTS):
            held = await self.downloads.hold(name, on_progress)
            if await asyncio.to_thread(self.store.has, name):
                return held
            held.close()
            await self._fetch(name, on_progress)
        raise ModelUnavailable(
            f"Another program removed the model {name!r} each time after it was fetched. "
            "Stop that program, or set models_dir to a directory that it does not use."
        )

    async def _fetch(self, name: str, on_progress: OnProgress) -> None:
        if not self.download:
            raise ModelUnavailable(
                f"The model {name!r} is not on this machine, and runners.model_download is off. Fetch it with "
                f"'aitbc-agent models pull {name}'."
            )

        def report(received: int, total: int | None) -> None:
            self._note(name, received, total)
            on_progress(received, total)

        # The server is what fails, not the model, so all models of a server share the memory of its failure.
        source = self.store.entry(name).source
        self._fail_if_unreachable(name, source)
        self._jobs_fetching[name] += 1
        # At once, so that the client sees why its job does not start, before the first byte arrives.
        report(0, None)
        self.on_change()
        if self._fetching_ahead is not None:
            # It continues later where it ended.
            self._fetching_ahead.cancel()
        try:
            await self.downloads.fetch(name, report)
        except SourceUnreachable as error:
            # Without this, each of many waiting jobs would occupy a slot for the whole time limit, one after the other.
            self._unreachable[source] = (time.monotonic() + _UNREACHABLE_SECONDS, str(error))
            raise
        finally:
            self._arriving.pop(name, None)
            self._jobs_fetching -= Counter((name,))
            self.on_change()
            self._wake.set()

    def _fail_if_unreachable(self, name: str, source: str) -> None:
        """Raise `SourceUnreachable` immediately if the server did not answer a moment ago."""
        until, reason = self._unreachable.get(source, (0.0, ""))
        seconds_left = until - time.monotonic()
        if seconds_left > 0:
            raise SourceUnreachable(
                f"The model {name!r} is not on this machine, and {source} cannot be reached at present; the next attempt is "
                f"in {seconds_left:.0f} s. Last error: {reason}"
            )

    # In advance -----------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether the model is on disk."""
        return self.store.has(name)

    def command_fetch(self, name: str) -> bool:
        """Fetch a model in advance. Return whether the command is settled: the model is on disk, or must not be fetched."""
        entry = self.store.catalogue.get(name)
        if entry is None or name in self.present.get(entry.service, ()):
            return True
        if not self.download or not entry.fetchable:
            _log.info("model_command_refused", model=name, download=self.download, fetchable=entry.fetchable)
            return True
        # The coordinator repeats the command with every heartbeat until it is settled.
        waits = name in self._commanded or self._failed.get(name, 0) > time.monotonic()
        if not waits and len(self._commanded) < _MAX_COMMANDED:
            self._removals.pop(name, None)
            self._commanded[name] = None
            self._wake.set()
        return False

    def command_removal(self, name: str) -> bool:
        """Remove a model as soon as no job uses it. Return whether the command is settled: it is removed, or must not be."""
        entry = self.store.catalogue.get(name)
        # A directory that the owner named belongs to them, and is never deleted.
        if entry is None or entry.path is not None:
            _log.info("model_removal_refused", model=name)
            return True
        if not self.store.has(name) and not self.downloads.is_partial(name):
            return True
        # A fetch that is commanded after the removal must not wait for the pause of an earlier failure.
        self._failed.pop(name, None)
        if name in self._commanded:
            del self._commanded[name]
            if self._fetching_ahead is not None:
                # It may be this one; another one continues immediately.
                self._fetching_ahead.cancel()
        if len(self._removals) < _MAX_COMMANDED:
            self._removals[name] = None
            self._wake.set()
        return False

    @property
    def arriving(self) -> list[dict[str, Any]]:
        """The models that are being fetched: `done` of `total` bytes; the total is None while unknown."""
        return [
            {"model": name, "done": received, "total": total}
            for name, (received, total) in self._arriving.items()
        ]

    def _note(self, name: str, received: int, total: int | None) -> None:
        self._arriving[name] = (received, total)

    @property
    def present(self) -> Mapping[str, Sequence[str]]:
        """The models on disk by service, as of the last poll."""
        return self._present

    async def run(self) -> None:
        """Poll the directory, and remove and fetch models by command, one at a time, until cancelled."""
        while True:
            self._wake.clear()
            await self._remove()
            while self._unloads:
                await self._unload(self._unloads.pop())
            await self._refresh_catalogue()
            await self._poll()
            # Jobs come first: somebody waits for them, and two downloads share one line.
            if self._commanded and not self._jobs_fetching:
                await self._fetch_ahead(next(iter(self._commanded)))
                continue
            await sleep(POLL_SECONDS, self._wake)

    async def _remove(self) -> None:
        """Remove commanded models. A model in use stays until the next poll."""
        for name in list(self._removals):
            # An idle child may still have the file open, which would keep its space from being freed.
            await self._unload(name)
            try:
                removed = await asyncio.to_thread(self.downloads.remove, name)
            except OSError as error:
                _log.warning("model_not_removed", model=name, error=str(error))
                # The coordinator repeats the command.
                removed = True
            if removed:
                self._removals.pop(name, None)

    def refresh(self, unload: str | None = None) -> None:
        """Read the catalogue and the directory soon, because a program has changed them, and `unload` a model that no job uses."""
        if unload is not None and len(self._unloads) < _MAX_COMMANDED:
            self._unloads.append(unload)
        self._wake.set()

    async def _refresh_catalogue(self) -> None:
        """Read the owner's catalogue. An invalid one leaves everything as it was."""
        if self.read_catalogue is None:
            return
        try:
            catalogue = await asyncio.to_thread(self.read_catalogue)
        except ConfigurationError as error:
            if str(error) != self._invalid:
                _log.warning("models_not_read", error=str(error))
            self._invalid = str(error)
            return
        self._invalid = ""
        before = set(self.store.catalogue)
        bases = self._bases()
        changed = self.store.replace(catalogue)
        # A model is loaded with all of its adapters.
        changed += [name for name, base in (bases ^ self._bases()) if name != base]
        if changed or set(self.store.catalogue) != before:
            _log.info("models_changed", models=len(self.store.catalogue), changed=changed)
            # The next job loads it as its entry is now.
            for name in changed:
                await self._unload(name)

    def _bases(self) -> set[tuple[str, str]]:
        """Return the name of each model that another one is based on, with that one's."""
        return {(entry.base, entry.name) for entry in self.store.catalogue.values() if entry.base is not None}

    async def _unload(self, name: str) -> None:
        if self.release is not None:
            await self.release(name)

    async def _poll(self) -> None:
        """Read which models are on disk."""
        services = {entry.service for entry in self.store.catalogue.values()}
        digests = await asyncio.to_thread(
            lambda: {service: self.store.on_disk(service) for service in sorted(services)}
        )
        changed, self._present = digests != self._present, digests
        if changed:
            self.on_change()

    async def _fetch_ahead(self, name: str) -> None:
        fetching = asyncio.create_task(
            self.downloads.fetch(
                name, lambda received, total: self._note(name, received, total), may_remove=False
            ),
            name=f"fetch-{name}",
        )
        self._fetching_ahead = fetching
        try:
            await asyncio.wait([fetching])
        finally:
            self._fetching_ahead = None
            self._arriving.pop(name, None)
            # Harmless if it has ended. Otherwise this task was cancelled, and the download must not outlive it.
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        if fetching.cancelled():
            return  # a job needs the connection; this fetch continues later
        self._commanded.pop(name, None)
        error = fetching.exception()
        if error is not None:
            self._failed[name] = time.monotonic() + _COOLDOWN_SECONDS
            is_expected = isinstance(error, RunnerError | OSError)
            _log.warning(
                "model_not_fetched", model=name, error=str(error), exc_info=None if is_expected else error
            )
