"""Finished runs that the coordinator has not acknowledged yet, saved before they are sent.

An hour of work must not be lost to a killed process, a network failure or a coordinator that is down for a day. A run is
durable when `put` returns. Sending starts immediately and continues until the coordinator has given its final answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from agent import telemetry
from agent.fault_points import reach
from agent.miner.backoff import Backoff, sleep
from agent.miner.data_dir import discard
from agent.miner.link.client import CoordinatorLink
from agent.miner.link.refusals import Unreachable
from agent.miner.link.registration import error_code
from agent.miner.runs.outbox_database import OutboxArtifact, OutboxDatabase, OutboxEntry
from runners.errors import FailureCode

SENDERS: Final = 4
"""How many entries are sent at the same time."""
_IN_MEMORY: Final = 2 * SENDERS
_RESULT_SECONDS: Final = 60.0
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 60.0

_OK: Final = 200
_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500
_TRANSIENT: Final = frozenset({401, 408, 425, 429})
"""Client errors that are temporary, or that require a new session."""

_STALE: Final = ("STALE_LEASE", "A newer run of the job has replaced this one.")

_Key = tuple[str, int]
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class Outbox:
    """The queue of finished runs. Call `open` first and `close` last; `run` sends until cancelled.

    `on_change` is called from the event loop whenever the number of entries has changed.
    """

    def __init__(
        self, path: Path, link: CoordinatorLink, *, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._database = OutboxDatabase(path)
        self._link = link
        self.on_change = on_change
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")
        self._keys: dict[_Key, OutboxEntry | None] = {}
        self._delays: dict[_Key, Backoff] = {}
        # Holds each key at most once, so it is bounded by the limits on entries and on running jobs.
        self._ready: asyncio.Queue[_Key] = asyncio.Queue()
        self._offline = Backoff(_FIRST_DELAY, _LONGEST_DELAY)
        self._reachable = asyncio.Event()
        self._reachable.set()
        self._unreachable = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: tuple[str, int]) -> bool:
        return key in self._keys

    async def open(self) -> None:
        """Read the entries of an earlier daemon. Raises `ConfigurationError` if the file cannot be used."""
        # Without their bodies, which may be large: they are read when it is their turn.
        for key in await self._in_thread(self._database.open):
            self._keys[key] = None
            self._ready.put_nowait(key)
        if self._keys:
            self._empty.clear()
            _log.info("outbox_resumed", entries=len(self._keys))

    def holding(self) -> list[dict[str, Any]]:
        """Return the leases of all entries, for a registration."""
        return [{"job_id": job_id, "fence": fence} for job_id, fence in self._keys]

    def directories(self) -> frozenset[Path]:
        """Return the directories that entries of an earlier daemon still need."""
        return self._database.directories

    async def put(self, entry: OutboxEntry) -> None:
        """Save `entry` durably. Raises `OSError` if the disk refuses."""
        await self._in_thread(lambda: self._database.put(entry))
        key = (entry.job_id, entry.fence)
        # Most entries are sent immediately. Others are read from the disk again, so that a long queue does not fill the memory.
        self._keys[key] = entry if self._ready.qsize() < _IN_MEMORY else None
        self._empty.clear()
        self._ready.put_nowait(key)
        self.on_change()

    async def run(self) -> None:
        """Send entries until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(SENDERS):
                group.create_task(self._send_ready(), name=f"outbox-sender-{number}")

    def kick(self) -> None:
        """Retry immediately, since the coordinator can be reached again."""
        self._offline.reset()
        self._reachable.set()

    async def flush(self, limit: float) -> bool:
        """Wait until all entries are acknowledged, for `limit` seconds at most and only while the coordinator answers.

        Returns whether all are.
        """
        waits = [
            asyncio.create_task(event.wait(), name="outbox-flush")
            for event in (self._empty, self._unreachable)
        ]
        try:
            await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                # Otherwise they would wait for ever for events of an outbox that nobody uses any more.
                wait.cancel()
        return not self._keys

    async def ping(self) -> None:
        """Return once the database's thread responds."""
        await self._in_thread(lambda: None)

    async def close(self) -> None:
        """Close the database. Unsent entries stay for the next daemon."""
        await self._in_thread(self._database.close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, action: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, action)

    async def _send_ready(self) -> None:
        while True:
            await self._reachable.wait()
            key = await self._ready.get()
            try:
                if await self._send(key):
                    await self._forget(key)
                else:
                    self._retry_later(key)
            except Unreachable as error:
                self._ready.put_nowait(key)
                # One sender that finds the coordinator unreachable spares the others the same time limit.
                await self._pause(str(error))
            except OSError as error:  # e.g. a full disk; the coordinator acknowledges the entry again
                _log.warning("outbox_disk_error", job_id=key[0], fence=key[1], error=str(error))
                self._retry_later(key)

    async def _pause(self, reason: str) -> None:
        """Pause all senders until `kick` or the end of the delay."""
        if not self._reachable.is_set():
            return
        self._reachable.clear()
        self._unreachable.set()
        delay = self._offline.next()
        _log.info("outbox_waiting", entries=len(self._keys), reason=reason, retry_in=round(delay, 2))
        await sleep(delay, self._reachable)
        self._unreachable.clear()
        self._reachable.set()

    def _retry_later(self, key: _Key) -> None:
        delay = self._delays.setdefault(key, Backoff(_FIRST_DELAY, _LONGEST_DELAY)).next()
        asyncio.get_running_loop().call_later(delay, self._ready.put_nowait, key)

    async def _send(self, key: _Key) -> bool:
        """Send one entry. Return whether the coordinator's answer is final. Raises `Unreachable`."""
        began = time.time()
        entry = self._keys[key]
        if entry is None:
            entry = await self._in_thread(lambda: self._database.get(key))
        self._keys[key] = None
        for artifact in entry.artifacts:
            if not artifact.uploaded:
                refusal = await self._upload(entry, artifact)
                # Nobody needs these files any more, nor the result that they belong to.
                if refusal == _STALE:
                    return True
                if refusal is not None:
                    return await self._give_up(entry, refusal) if refusal else False
        status, body = await self._link.call(entry.kind, entry.job_id, entry.body, limit=_RESULT_SECONDS)
        reach("miner.delivered")
        self._offline.reset()
        final = _is_final(status, body)
        if telemetry.WANTED and final:
            telemetry.delivered(*key, (began, time.time()), entry.kind)
        log = _log.info if status == _OK else _log.warning
        log(
            "outbox_answered", job_id=entry.job_id, fence=entry.fence, kind=entry.kind, status=status,
            code=error_code(body), final=final, waited=round(time.time() - entry.created_at, 3),
        )  # fmt: skip
        return final

    async def _upload(
        self, entry: OutboxEntry, artifact: OutboxArtifact
    ) -> tuple[str, str] | tuple[()] | None:
        """Store an output file. Return None if it is stored, () to retry later, else code and message of the error."""
        try:
            status, body = await self._link.upload(
                artifact.path,
                artifact.media_type,
                artifact.size,
                artifact_id=artifact.artifact_id,
                lease=(entry.job_id, entry.fence),
            )
        except OSError as error:
            return (
                FailureCode.OUTPUT_LOST,
                f"The output {artifact.name} can no longer be read ({error.strerror}).",
            )
        # Of the coordinator or of a proxy before it. In both cases the files are still here.
        if status >= _SERVER_ERROR or status in _TRANSIENT or error_code(body) == "STALE_SESSION":
            return ()
        if error_code(body) == _STALE[0]:
            _log.warning("outbox_lease_lost", job_id=entry.job_id, fence=entry.fence)
            return _STALE
        if status >= _CLIENT_ERROR:
            return (
                FailureCode.OUTPUT_REFUSED,
                f"The coordinator refused the output {artifact.name} ({status}).",
            )
        if not isinstance(body, dict) or body.get("artifact_id") != artifact.artifact_id:
            return FailureCode.OUTPUT_LOST, f"The output {artifact.name} has changed since the job ended."
        reach("miner.uploaded")
        await self._in_thread(lambda: self._database.mark_uploaded(entry, artifact))
        return None

    async def _give_up(self, entry: OutboxEntry, refusal: tuple[str, str]) -> bool:
        """Turn a result whose files cannot be delivered into a failure."""
        code, message = refusal
        # Lost files are this machine's fault, and another machine may do better. Refused ones would be refused from all.
        kind = "retry" if code == FailureCode.OUTPUT_LOST else "fail"
        _log.error("outbox_output_undeliverable", job_id=entry.job_id, fence=entry.fence, code=code)
        body = {"fence": entry.fence, "kind": kind, "code": code, "message": message}
        await self._in_thread(lambda: self._database.replace(entry, "fail", body))
        return False

    async def _forget(self, key: _Key) -> None:
        reach("miner.acknowledged")
        # The row goes first. Files without a row are removed at the next start; a row without its files could never be sent.
        directory = await self._in_thread(lambda: self._database.remove(key))
        reach("miner.removed")
        if directory is not None:
            await self._in_thread(lambda: discard(directory))
        self._delays.pop(key, None)
        self._keys.pop(key, None)
        if not self._keys:
            self._empty.set()
        self.on_change()


def _is_final(status: int, body: Any) -> bool:
    if status < _CLIENT_ERROR:
        return True
    if status >= _SERVER_ERROR or status in _TRANSIENT:
        return False
    # The next session may still deliver it.
    return error_code(body) != "STALE_SESSION"
