"""Fetches the checkpoints of a job's earlier runs. Other miners made them, so they are a stranger's files.

Only files that the service declares reach its runner, in a directory that holds nothing else. They never come near the
output directory: what a miner signs are files that its own run wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from agent.miner.runs.inputs import ArtifactSource, fetch
from agent.miner.runs.lease import Checkpoint, Lease
from agent.settings import InputSettings
from runners.api import Checkpoints, RunnerError

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_log = structlog.get_logger(__name__)


async def fetch_checkpoints(
    lease: Lease,
    declared: Checkpoints | None,
    directory: Path,
    *,
    artifacts: ArtifactSource,
    limits: InputSettings,
) -> dict[str, Path]:
    """Bring the checkpoints that `declared` accepts to `directory`; return their paths by name.

    A checkpoint that cannot be fetched is left out: the run repeats that part. Together they may be as large as one input.
    """
    fetched: dict[str, Path] = {}
    for item in _acceptable(lease, declared, int(limits.max_size)):
        target = directory / item.name
        bounded = limits.model_copy(update={"max_size": item.size})
        try:
            await fetch(f"artifact:{item.artifact_id}", target, artifacts=artifacts, limits=bounded)
        except RunnerError as error:
            _log.info("checkpoint_lost", job_id=lease.job_id, name=item.name, code=error.code)
            continue
        fetched[item.name] = target
    return fetched


def _acceptable(lease: Lease, declared: Checkpoints | None, budget: int) -> Iterator[Checkpoint]:
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
