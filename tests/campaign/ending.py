"""The end of a campaign: waits until all work has ended, and runs the final checks."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.coordinator.app import build_context
from agent.coordinator.installed import FEATURES
from agent.coordinator.operations.files import removal
from agent.settings import Settings
from aitbc import AITBCClient
from aitbc.receipts import verify_bundle
from campaign import checks
from campaign.faults import JUMPS
from campaign.processes import AgentProcess
from campaign.world import World, wait_for

REST_SECONDS: Final = 180.0
SAMPLE: Final = 200
MOST_DESCRIPTORS: Final = 128
"""Limit for one idle process, including the descriptors of its libraries."""
COMMAND: Final = Path(sys.executable).with_name("aitbc-agent")


def finish_work(world: World) -> Iterator[str]:
    """Wait until all jobs have ended and all messages are sent. Yields violations."""
    for agent in world.agents:
        agent.plan()
    for clock in world.clocks.values():
        clock.set(max(JUMPS))  # no timer that a fast clock has set may delay the end
    if not world.clients.end(REST_SECONDS):
        yield "a client whose call was never answered"
    try:
        wait_for(
            lambda: not checks.examine_end(world.coordinator.data_dir), REST_SECONDS, "the end of all jobs"
        )
    except Exception as error:  # noqa: BLE001 - unfinished work is reported below
        yield str(error)
    yield from checks.examine_end(world.coordinator.data_dir)
    yield from world.check()
    yield from _examine_results(world)
    yield from _examine_receipts(world)
    for agent in world.agents:
        yield from _examine_descriptors(agent)


def examine_remains(world: World) -> Iterator[str]:
    """Stop all processes. Yields violations in the files on disk."""
    for miner in world.miners:
        miner.stop()
        yield from (f"{miner.name}: {fault}" for fault in checks.examine_miner(miner.data_dir))
    world.coordinator.stop()
    data_dir = world.coordinator.data_dir
    print(f"orphaned files of crashes that the cleanup deleted: {_sweep(data_dir)}", flush=True)
    yield from checks.examine_files(data_dir)
    yield from checks.examine_database(data_dir, tuple(world.clients.accepted))
    for agent in world.agents:
        yield from (f"{agent.name}: a temporary file: {path.name}" for path in agent.temporary.iterdir())
    yield from _fsck(data_dir)


def _examine_results(world: World) -> Iterator[str]:
    """Check the results of the campaign's own service, which are predictable."""
    with checks.open_database(world.coordinator.data_dir) as database:
        rows = database.execute(
            "SELECT job_id, spec, results FROM jobs JOIN results USING (job_id) WHERE service = 'campaign_work'"
        ).fetchall()
    for job_id, spec, results in rows:
        parameters, found = json.loads(spec)["parameters"], json.loads(results)
        content = parameters.get("text", "").encode()
        match parameters["mode"]:
            case "echo":
                right = found["sha256"] == hashlib.sha256(content).hexdigest()
            case "file":
                right = found["file"]["artifact_id"] == f"sha256:{hashlib.sha256(content * 1000).hexdigest()}"
            case "read":
                right = f"artifact:sha256:{found['sha256']}" == parameters["source"]
            case _:
                right = False
        if not right:
            yield f"a wrong result: {job_id}"


def _examine_receipts(world: World) -> Iterator[str]:
    """Verify a sample of the receipts with their proofs, as clients receive them."""
    with checks.open_database(world.coordinator.data_dir) as database:
        clients = "SELECT job_id FROM receipts JOIN jobs USING (job_id) WHERE account_id != ? ORDER BY job_id"
        jobs = [job_id for (job_id,) in database.execute(clients, (checks.AUDITS,))]
    chosen = random.Random(world.seed).sample(jobs, min(SAMPLE, len(jobs)))  # noqa: S311
    file = world.coordinator.file
    with AITBCClient(file["client_key"], file["url"]) as client:
        for job_id in chosen:
            verification = verify_bundle(client.receipts.export(job_id), file["log_key"])
            if not verification.valid:
                yield f"a receipt that does not verify: {job_id}: {verification.failures}"


def _examine_descriptors(agent: AgentProcess) -> Iterator[str]:
    """Check that an idle process has no files of jobs or uploads open."""
    directory = Path(f"/proc/{agent.pid}/fd")
    names = [str(path.readlink()) for path in directory.iterdir() if path.is_symlink()]
    wrong = [name for name in names if "(deleted)" in name or "/incoming/" in name or "/jobs/" in name]
    if wrong:
        yield f"{agent.name} holds files open: {wrong[:5]}"
    if len(names) > MOST_DESCRIPTORS:
        yield f"{agent.name} has {len(names)} descriptors open"


def _sweep(data_dir: Path) -> int:
    """Delete files without rows, as the coordinator does when they are a day old. Returns their number."""
    context = build_context(Settings(data_dir=data_dir, coordinator={"orphan_seconds": 0.001}))

    async def sweep() -> int:
        try:
            orphans = [
                task.step for feature in FEATURES for task in feature.tasks if task.name.endswith("_orphans")
            ]
            return sum([await remove(context) for remove in (removal.remove_orphans, *orphans)])
        finally:
            context.database.close()

    return asyncio.run(sweep())


def _fsck(data_dir: Path) -> Iterator[str]:
    done = subprocess.run(
        [COMMAND, "fsck", "--data-dir", data_dir],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "AITBC_LOG__LEVEL": "warning"},
    )
    if done.returncode != 0:
        yield f"fsck: {done.stdout[-1000:]}{done.stderr[-1000:]}"
