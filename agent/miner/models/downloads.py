"""Fetches models: once for all programs that need one, within the owner's quota, and atomically.

The files of a model arrive in a hidden directory next to its final one, which is renamed when every file is complete and
verified. After any interruption, the next attempt continues where it ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

import httpx
import structlog

from agent.atomic_file import sync_directory
from agent.catalogue import CatalogueEntry
from agent.metrics import Meter
from agent.miner.metrics import DOWNLOADED_BYTES, METRICS
from agent.miner.models.disk_use import directories, disk_use
from agent.miner.models.evictions import plan_evictions
from agent.miner.models.hub import Listing, RemoteFile, list_files, needs_token
from agent.miner.models.locks import (
    PLAN,
    ModelDirectory,
    arrived,
    mark_fetched,
    planned_size,
    size_of,
    write_plan,
)
from agent.miner.models.store import ModelStore, ModelUnavailable
from agent.miner.models.transfer import (
    FIRST_DELAY,
    RETRIES,
    AccessDenied,
    ModelTransfer,
    require_downloads,
    undisturbed,
)
from agent.miner.settings import MinerSettings, NetworkSettings
from agent.miner.traffic import Traffic
from agent.sections import section_of
from agent.settings import Settings

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes that have arrived and the total, None while unknown; at most a few times a second."""

_CONNECT_SECONDS: Final = 5.0
_PROGRESS_SECONDS: Final = 0.5
_RESERVE: Final = 2**30
"""Bytes of the disk that a download leaves free for other programs."""
_SPACE_ATTEMPTS: Final = 5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """The owner's limits: bytes for all models together, and models that are never removed to free space for others.

    After `stall_seconds` without a byte, a connection is replaced. `all_files` limits all that the agent stores in `directories`.
    """

    quota: int | None = None
    pinned: frozenset[str] = frozenset()
    stall_seconds: float = 15.0
    all_files: int | None = None
    directories: Mapping[str, Path] = field(default_factory=dict)

    def models_quota(self) -> int | None:
        """Return the bytes that all models may take at present, None without a limit. Blocking."""
        if self.all_files is None:
            return self.quota
        others = sum(size for name, size in disk_use(self.directories).items() if name != "models")
        free = max(0, self.all_files - others)
        return free if self.quota is None else min(free, self.quota)


def limits(settings: Settings) -> DownloadLimits:
    """Return the limits in the settings."""
    miner = section_of(settings, MinerSettings)
    quota = None if miner.models_quota is None else int(miner.models_quota)
    return DownloadLimits(
        quota,
        frozenset(miner.models_pinned),
        miner.download_stall_seconds,
        None if miner.max_disk is None else int(miner.max_disk),
        directories(settings),
    )


@dataclass(eq=False)
class Downloads:
    """Fetches models of a store. `endpoint` replaces the address of the Hugging Face Hub."""

    store: ModelStore
    model_directory: ModelDirectory
    limits: DownloadLimits
    _: KW_ONLY
    endpoint: str | None = None
    retries: int = RETRIES
    first_delay: float = FIRST_DELAY
    meter: Meter = field(default_factory=lambda: Meter(METRICS))
    traffic: Traffic = field(default_factory=lambda: Traffic(NetworkSettings()))

    def __post_init__(self) -> None:
        self._timeout = httpx.Timeout(self.limits.stall_seconds, connect=_CONNECT_SECONDS)

    async def fetch(self, name: str, on_progress: OnProgress, *, may_remove: bool = True) -> None:
        """Fetch a model, unless it is complete. The files of a cancelled fetch stay for the next attempt.

        Waits for another program that fetches the same model. Without `may_remove` no other model is removed to free space.
        Raises `ModelUnknown`, `ModelUnavailable`, `OSError`.
        """
        entry = self.store.entry(name)
        # Before the lock: a complete model costs a job no wait for other programs.
        if self.store.is_complete(name):
            return
        await self.traffic.poll()
        require_downloads(self.traffic)
        if not entry.fetchable:
            raise ModelUnavailable(
                f"The model {name!r} cannot be downloaded: its catalogue entry names neither a repository nor files. "
                f"Copy it to {self.store.location(entry)}."
            )
        progress = _FetchProgress(on_progress)
        partial = self.model_directory.partial(name)
        with await self.model_directory.lock_exclusively(name, lambda: progress.poll(partial)):
            # Else another program has fetched it meanwhile.
            if not self.store.is_complete(name):
                try:
                    await self._fetch(entry, partial, progress, may_remove=may_remove)
                finally:
                    if not arrived(partial):  # nothing to continue from
                        # An empty directory would reserve the space of its plan for nothing.
                        shutil.rmtree(partial, ignore_errors=True)

    @property
    def hindrance(self) -> str | None:
        """Why no model is downloaded at present, None if they are."""
        return self.traffic.hindrance

    async def hold(self, name: str, on_progress: OnProgress) -> IO[bytes]:
        """Protect a model from being removed until the result is closed. Waits while it is being fetched or removed."""
        progress = _FetchProgress(on_progress)
        return await self.model_directory.use(name, lambda: progress.poll(self.model_directory.partial(name)))

    def is_partial(self, name: str) -> bool:
        """Whether only a part of the model has arrived."""
        return self.model_directory.partial(name).exists()

    def remove(self, name: str) -> bool:
        """Remove a model and its partial files. Blocking. Return False if it is in use or being fetched. Raises `OSError`."""
        return all(
            self.model_directory.remove(stored) for stored in (name, self.model_directory.partial(name).name)
        )

    async def _fetch(
        self, entry: CatalogueEntry, partial: Path, progress: _FetchProgress, *, may_remove: bool
    ) -> None:
        listing = await list_files(entry, self.endpoint)
        async with httpx.AsyncClient(timeout=self._timeout, follow_redirects=True) as client:
            # The sizes are needed before the first byte, to free the space once and not in the middle of a download.
            listing = await _with_sizes(listing, client)
            progress.total = listing.total
            await undisturbed(lambda: self._plan(entry.name, partial, listing, may_remove=may_remove))
            size_before = size_of(partial)
            _log.info("model_fetching", model=entry.name, files=len(listing.files), size=listing.total)
            began = time.monotonic()
            transfer = ModelTransfer(
                client,
                listing.headers,
                progress.file_has,
                self.traffic,
                retries=self.retries,
                first_delay=self.first_delay,
            )
            try:
                digests = await _fetch_all(listing, partial, transfer, progress)
            except AccessDenied as error:
                raise (error if entry.files else needs_token(entry)) from error
            finally:
                self.meter.count(DOWNLOADED_BYTES, amount=max(0, size_of(partial) - size_before))
        # The revision, not the branch: what was downloaded stays known after the repository has moved on.
        source = {"repository": None if entry.files else entry.repository, "revision": listing.revision}
        await undisturbed(lambda: self._put_in_place(entry.name, partial, source, digests))
        _log.info("model_fetched", model=entry.name, seconds=round(time.monotonic() - began, 1))

    def _plan(self, name: str, partial: Path, listing: Listing, *, may_remove: bool) -> None:
        """Keep usable files of an earlier attempt, free the space that is needed, and save the plan."""
        partial.mkdir(parents=True, exist_ok=True)
        _drop_changed(partial, listing.files)
        files = [asdict(file) for file in listing.files]
        # Two downloads at once would both count the same free space.
        with self.model_directory.space_lock():
            # So that the files to come are not counted twice.
            write_plan(partial, files, total=None)
            self._free_space(name, max(0, (listing.total or 0) - size_of(partial)), may_remove=may_remove)
            write_plan(partial, files, total=listing.total)

    def _free_space(self, name: str, needed: int, *, may_remove: bool) -> None:
        quota = self.limits.models_quota()
        # A model may come into use between the plan and its removal. The next plan then goes without it.
        for _ in range(_SPACE_ATTEMPTS):
            stored = self.model_directory.stored(self.limits.pinned)
            if not may_remove:
                # What nobody has asked for yet must not drive out what jobs use.
                stored = [replace(model, pinned=True) for model in stored]
            free = self.model_directory.free()
            plan = plan_evictions(stored, needed, quota=quota, free=free - _RESERVE)
            if plan.lacking:
                limit = (
                    ""
                    if quota is None
                    else f", and the quota of all models (miner.models_quota, miner.max_disk) is {_gib(quota)}"
                )
                raise ModelUnavailable(
                    f"There is not enough space for the model {name!r}, which needs {_gib(needed)}: {_gib(plan.lacking)} are "
                    f"missing. The disk of {self.model_directory.models_dir} has {_gib(free)} free{limit}. Remove models with "
                    "'aitbc-agent models remove NAME', or free space on the disk."
                )
            removed = [self.model_directory.remove(name) for name in plan.removals]
            if all(removed):
                if removed:
                    _log.info("models_removed", models=plan.removals, cause=f"space for {name}")
                return
        raise ModelUnavailable(
            f"There is not enough space for the model {name!r}: the models that could be removed are in use."
        )

    def _put_in_place(
        self, name: str, partial: Path, source: Mapping[str, Any], digests: Mapping[str, str]
    ) -> None:
        target = self.store.models_dir / name
        if self.store.has(name):
            # The model is there in another engine's format, which this program did not fetch and so must not remove.
            for file in digests:
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(partial / file, target / file)
            shutil.rmtree(partial)
        else:
            (partial / PLAN).unlink()
            # Before the rename, so that a complete model is never without the mark that allows its removal.
            mark_fetched(partial, source)
            shutil.rmtree(target, ignore_errors=True)  # at most an empty directory
            partial.rename(target)
            sync_directory(self.store.models_dir)
        self.store.digests.add({target / file: digest for file, digest in digests.items()})


class _FetchProgress:
    """Reports the progress of a fetch, only when it has changed and not too often."""

    def __init__(self, on_progress: OnProgress) -> None:
        self.total: int | None = None
        self.before = 0
        self._on_progress = on_progress
        self._reported = -1
        self._reported_at = float("-inf")

    def file_has(self, size: int) -> None:
        """Report the bytes that have arrived of the current file."""
        self._report(self.before + size, self.total)

    def poll(self, partial: Path) -> None:
        """Report the progress of another program."""
        if time.monotonic() >= self._reported_at + _PROGRESS_SECONDS:
            self._report(size_of(partial), planned_size(partial) or None)

    def _report(self, received: int, total: int | None) -> None:
        now = time.monotonic()
        # Never backwards: a file that is started again would look like a loss to who watches.
        if received > self._reported and (now >= self._reported_at + _PROGRESS_SECONDS or received == total):
            self._reported, self._reported_at = received, now
            self._on_progress(received, total)


async def _fetch_all(
    listing: Listing, partial: Path, transfer: ModelTransfer, progress: _FetchProgress
) -> dict[str, str]:
    """Fetch the missing files. Return the SHA-256 of every file by name."""
    digests: dict[str, str] = {}
    for file in listing.files:
        target = partial / file.name
        # A file gets its final name when it is verified, and the plan shows that the same content is still needed.
        if not target.is_file():
            digests[file.name] = await transfer.fetch(file, target)
        elif file.sha256 is not None:
            digests[file.name] = file.sha256
        else:
            digests[file.name] = await asyncio.to_thread(_sha256, target)
        progress.before += target.stat().st_size
    return digests


async def _with_sizes(listing: Listing, client: httpx.AsyncClient) -> Listing:
    """Return the listing with sizes that only the servers know; sizes that they do not report stay unknown."""
    files = [file if file.size is not None else await _with_size(file, client) for file in listing.files]
    return replace(listing, files=tuple(files))


async def _with_size(file: RemoteFile, client: httpx.AsyncClient) -> RemoteFile:
    try:
        # Of a compressed answer, the length would be that of the compressed bytes.
        answer = await client.head(file.url, headers={"Accept-Encoding": "identity"})
    except httpx.TransportError:
        return file
    length = answer.headers.get("content-length", "")
    return replace(file, size=int(length)) if answer.is_success and length.isdecimal() else file


def _drop_changed(partial: Path, files: Sequence[RemoteFile]) -> None:
    """Delete files of an earlier attempt whose expected content has changed."""
    try:
        planned: dict[str, Any] = {
            former["name"]: (former["sha256"], former["blob"])
            for former in json.loads((partial / PLAN).read_bytes())["files"]
        }
    except (OSError, ValueError, LookupError, TypeError):
        # Without a readable plan nothing is known about the bytes that are there, so they are fetched again.
        planned = {}
    usable = {file.name for file in files if planned.get(file.name) == (file.sha256, file.blob)}
    for path in [path for path in partial.rglob("*") if path.is_file() and path.name != PLAN]:
        if path.relative_to(partial).as_posix().removesuffix(".part") not in usable:
            path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
