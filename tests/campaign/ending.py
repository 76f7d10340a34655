"""The end of a campaign: everything comes to rest, and all that can be checked then is."""

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
from agent.coordinator.operations.files import quota
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
"""Of one process at rest, all its libraries' included."""
COMMAND: Final = Path(sys.executable).with_name("aitbc-agent")


def come_to_rest(world: World) -> Iterator[str]:
    """Let all jobs end and all messages go out. Yields what is wrong then."""
    for agent in world.agents:
        agent.plan()
    for clock in world.clocks.values():
        clock.set(
            max(JUMPS)
        )  # nothing that was put off by a clock that was ahead waits for the true time to get there
    if not world.clients.end(REST_SECONDS):
        yield "a client whose call was never answered"
    try:
        wait_for(
            lambda: not checks.examine_end(world.coordinator.data_dir), REST_SECONDS, "the end of all jobs"
        )
    except Exception as error:  # noqa: BLE001 - what has not ended is named below
        yield str(error)
    yield from checks.examine_end(world.coordinator.data_dir)
    yield from world.check()
    yield from _examine_results(world)
    yield from _examine_receipts(world)
    for agent in world.agents:
        yield from _examine_descriptors(agent)


def examine_what_is_left(world: World) -> Iterator[str]:
    """Stop everything in order. Yields what is wrong with what is on disk."""
    for miner in world.miners:
        miner.stop()
        yield from (f"{miner.name}: {fault}" for fault in checks.examine_miner(miner.data_dir))
    world.coordinator.stop()
    data_dir = world.coordinator.data_dir
    print(f"files that crashes left without a row, and the sweep removed: {_sweep(data_dir)}", flush=True)
    yield from checks.examine_files(data_dir)
    yield from checks.examine_database(data_dir, tuple(world.clients.accepted))
    for agent in world.agents:
        yield from (f"{agent.name}: a temporary file: {path.name}" for path in agent.temporary.iterdir())
    yield from _fsck(data_dir)


def _examine_results(world: World) -> Iterator[str]:
    """The campaign's own service has results that can be foretold."""
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
    """Receipts as clients get them, with their place in the log; a sample."""
    with checks.open_database(world.coordinator.data_dir) as database:
        jobs = [job_id for (job_id,) in database.execute("SELECT job_id FROM receipts ORDER BY job_id")]
    chosen = random.Random(world.seed).sample(jobs, min(SAMPLE, len(jobs)))  # noqa: S311
    file = world.coordinator.file
    with AITBCClient(file["client_key"], file["url"]) as client:
        for job_id in chosen:
            verification = verify_bundle(client.receipts.export(job_id), file["log_key"])
            if not verification.valid:
                yield f"a receipt that does not verify: {job_id}: {verification.failures}"


def _examine_descriptors(agent: AgentProcess) -> Iterator[str]:
    """Whether a process at rest holds files of jobs or uploads open."""
    directory = Path(f"/proc/{agent.pid}/fd")
    names = [str(path.readlink()) for path in directory.iterdir() if path.is_symlink()]
    wrong = [name for name in names if "(deleted)" in name or "/incoming/" in name or "/jobs/" in name]
    if wrong:
        yield f"{agent.name} holds files open: {wrong[:5]}"
    if len(names) > MOST_DESCRIPTORS:
        yield f"{agent.name} has {len(names)} descriptors open"


def _sweep(data_dir: Path) -> int:
    """Remove files without rows as the coordinator does once they are a day old. Returns how many."""
    context = build_context(Settings(data_dir=data_dir, coordinator={"orphan_seconds": 0.001}))

    async def sweep() -> int:
        try:
            return await quota.remove_orphans(context)
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
