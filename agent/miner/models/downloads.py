"""Brings models to this machine: once for all programs that want one, within the owner's quota, and whole or not at all.

A model is gathered in a hidden directory beside its place and renamed when every file is there and has the right
content. Whatever interrupts this, the next try goes on where it ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import httpx
import structlog

from agent.core.machine.catalogue import CatalogueEntry
from agent.core.machine.model_cache import plan_evictions
from agent.metrics import Meter
from agent.miner.metrics import DOWNLOADED_BYTES, METRICS
from agent.miner.models.hub import Listing, RemoteFile, list_files, needs_token
from agent.miner.models.locks import (
    PLAN,
    ModelDirectory,
    arrived,
    mark_fetched,
    planned_size,
    size_of,
    sync_directory,
    write_plan,
)
from agent.miner.models.store import ModelStore, ModelUnavailable
from agent.miner.models.transfer import PAUSES, AccessDenied, Transfer, undisturbed
from agent.settings import Settings

OnProgress = Callable[[int, int | None], None]
"""Told how many bytes have arrived, and of how many; None while only the server knows. Some times a second at most."""

STALL_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0
_TELL_SECONDS: Final = 0.5
_RESERVE: Final = 2**30
"""Bytes of the disk that a download leaves free, since other programs need some too."""
_ATTEMPTS_AT_ROOM: Final = 5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the owner allows: bytes for all models together, and names that never make room for others."""

    quota: int | None = None
    pinned: frozenset[str] = frozenset()


def limits(settings: Settings) -> Limits:
    """What the settings allow."""
    quota = settings.miner.models_quota
    return Limits(None if quota is None else int(quota), frozenset(settings.miner.models_pinned))


class Downloads:
    """Fetches models of a store. `endpoint` replaces the address of the Hugging Face Hub."""

    def __init__(
        self,
        store: ModelStore,
        model_directory: ModelDirectory,
        limits: Limits,
        *,
        endpoint: str | None = None,
        stall_seconds: float = STALL_SECONDS,
        pauses: Sequence[float] = PAUSES,
        meter: Meter | None = None,
    ) -> None:
        self._store = store
        self._model_directory = model_directory
        self._limits = limits
        self._endpoint = endpoint
        self._timeout = httpx.Timeout(stall_seconds, connect=_CONNECT_SECONDS)
        self._pauses = tuple(pauses)
        self._meter = meter or Meter(METRICS)

    async def fetch(self, name: str, on_progress: OnProgress, *, may_remove: bool = True) -> None:
        """Bring a model here; returns at once if it is. Cancel it to stop: what has arrived is kept for the next time.

        Another program that fetches the same model is waited for. Without `may_remove` nothing is removed for it. Raises
        `ModelUnknown`, `ModelUnavailable`, `OSError`.
        """
        entry = self._store.entry(name)
        if self._store.is_complete(name):
            return
        if not entry.fetchable:
            raise ModelUnavailable(
                f"The model {name!r} cannot be downloaded: its entry in the catalogue names no repository and no files. "
                f"Put it into {self._store.location(entry)}."
            )
        tell = _Teller(on_progress)
        partial = self._model_directory.partial(name)
        with await self._model_directory.alone(name, lambda: tell.look(partial)):
            if not self._store.is_complete(name):  # else somebody brought it while we waited
                try:
                    await self._fetch(entry, partial, tell, may_remove=may_remove)
                finally:
                    if not arrived(partial):  # nothing that would be worth going on with
                        shutil.rmtree(partial, ignore_errors=True)

    async def keep(self, name: str, on_progress: OnProgress) -> IO[bytes]:
        """Keep a model from being removed until the result is closed. Waits while somebody fetches or removes it."""
        tell = _Teller(on_progress)
        return await self._model_directory.use(name, lambda: tell.look(self._model_directory.partial(name)))

    def partly_here(self, name: str) -> bool:
        """Whether a part of the model has arrived."""
        return self._model_directory.partial(name).exists()

    def remove(self, name: str) -> bool:
        """Remove a model and what has arrived of it. Blocking. False if somebody uses or fetches it. Raises `OSError`."""
        return all(
            self._model_directory.remove(stored)
            for stored in (name, self._model_directory.partial(name).name)
        )

    async def _fetch(self, entry: CatalogueEntry, partial: Path, tell: _Teller, *, may_remove: bool) -> None:
        listing = await list_files(entry, self._endpoint)
        async with httpx.AsyncClient(timeout=self._timeout, follow_redirects=True) as client:
            listing = await _with_sizes(listing, client)
            tell.total = listing.total
            await undisturbed(lambda: self._plan(entry.name, partial, listing, may_remove=may_remove))
            before = size_of(partial)
            _log.info("model_fetching", model=entry.name, files=len(listing.files), size=listing.total)
            began = time.monotonic()
            transfer = Transfer(client, listing.headers, tell.file_has, self._pauses)
            try:
                digests = await _bring_all(listing, partial, transfer, tell)
            except AccessDenied as error:
                raise (error if entry.files else needs_token(entry)) from error
            finally:
                self._meter.count(DOWNLOADED_BYTES, amount=max(0, size_of(partial) - before))
        source = {"repository": None if entry.files else entry.repository, "revision": listing.revision}
        await undisturbed(lambda: self._put_in_place(entry.name, partial, source, digests))
        _log.info("model_fetched", model=entry.name, seconds=round(time.monotonic() - began, 1))

    def _plan(self, name: str, partial: Path, listing: Listing, *, may_remove: bool) -> None:
        """Keep what fits of an earlier try, see to the room, and write down what is to come."""
        partial.mkdir(parents=True, exist_ok=True)
        _drop_what_changed(partial, listing.files)
        files = [asdict(file) for file in listing.files]
        with self._model_directory.space_lock():
            write_plan(partial, files, total=None)  # what is still to come counts once, as needed
            self._find_room(name, max(0, (listing.total or 0) - size_of(partial)), may_remove=may_remove)
            write_plan(partial, files, total=listing.total)

    def _find_room(self, name: str, needed: int, *, may_remove: bool) -> None:
        quota = self._limits.quota
        for _ in range(_ATTEMPTS_AT_ROOM):
            stored = self._model_directory.stored(self._limits.pinned)
            if not may_remove:
                stored = [replace(model, pinned=True) for model in stored]
            free = self._model_directory.free()
            plan = plan_evictions(stored, needed, quota=quota, free=free - _RESERVE)
            if plan.lacking:
                limit = (
                    ""
                    if quota is None
                    else f", the quota of all models (miner.models_quota) is {_gib(quota)}"
                )
                raise ModelUnavailable(
                    f"There is no room for the model {name!r}, which needs {_gib(needed)}: {_gib(plan.lacking)} are lacking. "
                    f"The disk of {self._model_directory.models_dir} has {_gib(free)} free{limit}. Remove models with "
                    "'aitbc-agent models remove NAME', or make room."
                )
            removed = [self._model_directory.remove(one) for one in plan.removals]
            if all(removed):
                if removed:
                    _log.info("models_removed", models=plan.removals, cause=f"room for {name}")
                return
        raise ModelUnavailable(f"There is no room for the model {name!r}: what could go is being used.")

    def _put_in_place(
        self, name: str, partial: Path, source: Mapping[str, Any], digests: Mapping[str, str]
    ) -> None:
        target = self._store.models_dir / name
        if self._store.has(name):
            # In another engine's format, which somebody else brought: so the whole is not ours to remove.
            for file in digests:
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(partial / file, target / file)
            shutil.rmtree(partial)
        else:
            (partial / PLAN).unlink()
            mark_fetched(partial, source)
            shutil.rmtree(target, ignore_errors=True)  # at most an empty directory
            partial.rename(target)
            sync_directory(self._store.models_dir)
        self._store.digests.remember({target / file: digest for file, digest in digests.items()})


class _Teller:
    """Passes on how far a fetch is, not too often, and only what is new."""

    def __init__(self, on_progress: OnProgress) -> None:
        self.total: int | None = None
        self.before = 0
        self._on_progress = on_progress
        self._told = -1
        self._told_at = float("-inf")

    def file_has(self, size: int) -> None:
        """So many bytes of the file at hand are here, besides the files before it."""
        self._tell(self.before + size, self.total)

    def look(self, partial: Path) -> None:
        """Look how far another program is."""
        if time.monotonic() >= self._told_at + _TELL_SECONDS:
            self._tell(size_of(partial), planned_size(partial) or None)

    def _tell(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if done > self._told and (now >= self._told_at + _TELL_SECONDS or done == total):
            self._told, self._told_at = done, now
            self._on_progress(done, total)


async def _bring_all(listing: Listing, partial: Path, transfer: Transfer, tell: _Teller) -> dict[str, str]:
    """Bring what is not there yet. Returns the SHA-256 of every file by name."""
    digests: dict[str, str] = {}
    for file in listing.files:
        target = partial / file.name
        # What has its own name was right when it got it, and the plan says that it is still what is wanted.
        if not target.is_file():
            digests[file.name] = await transfer.bring(file, target)
        elif file.sha256 is not None:
            digests[file.name] = file.sha256
        else:
            digests[file.name] = await asyncio.to_thread(_sha256, target)
        tell.before += target.stat().st_size
    return digests


async def _with_sizes(listing: Listing, client: httpx.AsyncClient) -> Listing:
    """The listing with the sizes that servers tell where the catalogue does not; those that do not stay unknown."""
    files = [file if file.size is not None else await _with_size(file, client) for file in listing.files]
    return replace(listing, files=tuple(files))


async def _with_size(file: RemoteFile, client: httpx.AsyncClient) -> RemoteFile:
    try:
        answer = await client.head(file.url, headers={"Accept-Encoding": "identity"})
    except httpx.TransportError:
        return file
    length = answer.headers.get("content-length", "")
    return replace(file, size=int(length)) if answer.is_success and length.isdecimal() else file


def _drop_what_changed(partial: Path, files: Sequence[RemoteFile]) -> None:
    """Delete what an earlier try brought of files that have another content by now."""
    try:
        planned: dict[str, Any] = {
            old["name"]: (old["sha256"], old["blob"])
            for old in json.loads((partial / PLAN).read_bytes())["files"]
        }
    except (OSError, ValueError, LookupError, TypeError):
        planned = {}
    kept = {file.name for file in files if planned.get(file.name) == (file.sha256, file.blob)}
    for path in [path for path in partial.rglob("*") if path.is_file() and path.name != PLAN]:
        if path.relative_to(partial).as_posix().removesuffix(".part") not in kept:
            path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
