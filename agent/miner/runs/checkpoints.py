"""Uploads a run's checkpoints, and fetches those of the job's earlier runs.

Earlier runs belong to other miners, so their checkpoints are untrusted. Only files that the service declares reach its
runner, in a directory that holds nothing else. They are never in the output directory: a miner signs only files that
its own run wrote.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from agent.miner.link.client import CoordinatorLink
from agent.miner.link.refusals import Unreachable
from agent.miner.runs.inputs import ArtifactSource, fetch
from agent.miner.runs.lease import Lease
from agent.miner.runs.result import hash_output
from agent.miner.settings import InputSettings
from agent.miner.traffic import Traffic
from agent.protocol.answers import CheckpointFile
from runners.api import Checkpoints, RunnerError
from runners.host.protocol import FileReference, ProtocolError

_MAX_UPLOADS: Final = 2
"""Checkpoints of one job that are uploaded at the same time."""
_FAILED: Final = 400
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class CheckpointUploads:
    """Stores the checkpoints of one run at the coordinator. `output` is the run's output directory."""

    link: CoordinatorLink
    lease: Lease
    output: Path

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(_MAX_UPLOADS)

    async def upload(self, reference: FileReference) -> bool:
        """Upload a checkpoint, and return whether the coordinator has it. Without it, a miner that takes over the job repeats more of the work."""
        try:
            async with self._slots:
                artifact = await asyncio.to_thread(hash_output, reference, self.output)
                stored, _ = await self.link.upload(
                    artifact.path,
                    artifact.media_type,
                    artifact.size,
                    artifact_id=artifact.artifact_id,
                    lease=self.lease.key,
                )
                event = {"kind": "output", "data": {**artifact.to_wire(), "extra": reference.extra}}
                body = {"fence": self.lease.fence, "events": [event]}
                status, _ = await self.link.call("events", self.lease.job_id, body)
                return max(stored, status) < _FAILED
        except (OSError, ProtocolError, Unreachable) as error:
            _log.info("checkpoint_not_uploaded", job_id=self.lease.job_id, error=str(error))
        return False


async def fetch_checkpoints(
    lease: Lease,
    declared: Checkpoints | None,
    directory: Path,
    *,
    artifacts: ArtifactSource,
    limits: InputSettings,
    traffic: Traffic | None = None,
) -> dict[str, Path]:
    """Fetch the checkpoints that `declared` accepts into `directory`; return their paths by name.

    A checkpoint that cannot be fetched is omitted, and the run repeats that part. All of them together may be as large as
    one input.
    """
    fetched: dict[str, Path] = {}
    for item in _acceptable(lease, declared, int(limits.max_size)):
        target = directory / item.name
        bounded = limits.model_copy(update={"max_size": item.size})
        try:
            await fetch(
                f"artifact:{item.artifact_id}", target, artifacts=artifacts, limits=bounded, traffic=traffic
            )
        except RunnerError as error:
            _log.info("checkpoint_not_fetched", job_id=lease.job_id, name=item.name, code=error.code)
            continue
        fetched[item.name] = target
    return fetched


def _acceptable(lease: Lease, declared: Checkpoints | None, budget: int) -> Iterator[CheckpointFile]:
    if declared is None:
        return
    for item in lease.checkpoints:
        if _FILE_NAME.fullmatch(item.name) is None or not declared.accepts(item.name, item.media_type):
            _log.info("checkpoint_refused", job_id=lease.job_id, name=item.name)
            continue
        budget -= item.size
        if budget < 0:
            _log.info("checkpoints_too_large", job_id=lease.job_id, name=item.name)
            return
        yield item
