"""Opens the capsules of sealed jobs, and gives each run the secrets with which its child opens and seals everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from agent.miner.data_dir import discard
from agent.miner.identity import Identity
from agent.miner.sealing import directory as directories
from agent.miner.sealing.keys import DAY, SealingKeys
from agent.miner.sealing.requests import RequestLog
from agent.miner.settings import MinerSettings
from aitbc.canonical import b64decode
from aitbc.errors import VerificationError
from aitbc.sealing import JobOfRequest, new_answer, open_request
from aitbc.sealing.attestation import load
from runners.api import Fail, FailureCode, Retry
from runners.host.protocol import MAX_LINE, SealedRun

LINE_BYTES: Final = 32
"""What a line of a job's log counts towards the limit in addition to its text."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedJob:
    """A sealed job whose capsule this miner has opened. `run` has the secrets for its child, and `directory` contains its plaintexts."""

    key_id: str
    request_id: str
    adapters: tuple[str, ...]
    directory: Path
    run: SealedRun = field(repr=False)


class SealedJobs:
    """What the miner needs for sealed jobs. `path` is the directory in memory; without it the miner accepts none, and `reason` says why."""

    def __init__(self, settings: MinerSettings, directory: Path, identity: Identity) -> None:
        """Prepare the directory in memory, and remove what an earlier process left in it. Blocking.

        Raises `ConfigurationError` for a damaged file of keys or an unknown type of attestation.
        """
        self._identity = identity
        self._settings = settings.sealing
        self._log_bytes = _sealed_log_bytes(int(settings.max_job_log))
        self.path, self.reason = _usable(settings, directory)
        self._keys: SealingKeys | None = None
        if self.path is None:
            _log.info("sealed_jobs_unavailable", reason=self.reason)
            return
        if self.path.is_dir():
            # Memory is not emptied when a process is killed, and plaintexts must not outlive their job.
            for leftover in self.path.iterdir():
                if discard(leftover):
                    _log.info("sealed_leftover_removed", directory=leftover.name)
        chosen = settings.sealing
        self._keys = SealingKeys(
            directory,
            identity,
            rotate_days=chosen.rotate_days,
            grace_days=chosen.grace_days,
            attestation=(chosen.attestation, load(chosen.attestation)),
        )
        self._requests = RequestLog(directory, (chosen.rotate_days + chosen.grace_days) * DAY)

    def published(self, origin: str) -> list[dict[str, Any]]:
        """Return the keys for the capabilities, signed for a coordinator's log."""
        return [] if self._keys is None else self._keys.published(origin)

    async def open(
        self, job_id: str, fence: int, spec_digest: str, service: str, sealed: Mapping[str, Any]
    ) -> OpenedJob:
        """Open a lease's sealed request. Raises `Fail`, for which the client pays nothing."""
        key_id, request_id = str(sealed.get("key_id")), str(sealed.get("request_id"))
        # An expired key counts as absent even while it is still in the file: that is what its date promises.
        private = None if self._keys is None else self._keys.find(key_id)
        if private is None or self.path is None:
            raise Fail(
                "This miner does not have, or no longer has, the key to which the request was sealed. Fetch its key again and "
                "submit a new job.",
                code=FailureCode.SEALED_KEY_EXPIRED,
            )
        miner_id = self._identity.miner_id
        try:
            secret = open_request(private, sealed, miner_id=miner_id, service=service)
            job = JobOfRequest(job_id, miner_id, request_id)
            answer, header = new_answer(b64decode(str(sealed["reply_key"])), job, fence, spec_digest)
        except VerificationError as error:
            raise Fail(
                f"The sealed request does not open: it was changed, or sealed for another job. {error}",
                code=FailureCode.SEALED_INVALID,
            ) from None
        # Claimed on disk before the run. A coordinator could otherwise sell the same request again and compare the answers.
        if not await asyncio.to_thread(self._requests.claim, request_id, job_id):
            raise Fail(
                "This sealed request was already run as another job. Seal it again for each job.",
                code=FailureCode.SEALED_REPLAYED,
            )
        await asyncio.to_thread(_create, self.path)
        directory = self.path / f"{job_id}_{fence}"
        run = SealedRun(
            secret=secret,
            answer=answer,
            header=header,
            ciphertext=str(sealed.get("ciphertext")),
            directory=directory,
            log_bytes=self._log_bytes,
        )
        return OpenedJob(key_id, request_id, tuple(map(str, sealed.get("adapters", ()))), directory, run)

    async def attest(self, job_id: str, key_id: str | None) -> dict[str, Any] | None:
        """Return what this machine attests for a job's statement; None without evidence."""
        if self._keys is None or self._settings.attestation == "none":
            return None
        return await asyncio.to_thread(self._keys.attest, job_id, key_id)

    def close(self) -> None:
        """Remove the directory in memory, unless runs still use it. Blocking."""
        if self.path is not None:
            with suppress(OSError):
                self.path.rmdir()


def _usable(settings: MinerSettings, directory: Path) -> tuple[Path | None, str | None]:
    if not settings.sealing.enabled:
        return None, "miner.sealing.enabled is off."
    if settings.executor != "local":
        return None, "Jobs run on a Ray cluster, whose nodes would receive the plaintexts as files."
    memory = directories.find(settings.sealing.directory, directory)
    return memory.path, memory.reason


def _create(path: Path) -> None:
    try:
        directories.create(path)
    except OSError as error:
        raise Retry(
            f"The directory in memory for sealed jobs cannot be used: {error.strerror}.",
            code=FailureCode.DISK_FAULT,
        ) from None


def _sealed_log_bytes(limit: int) -> int:
    """Return how much text of a sealed log fits into a job's log, which is cut in the middle when it is longer."""
    line = MAX_LINE + LINE_BYTES
    return 2 * (limit // 2 // line) * MAX_LINE
