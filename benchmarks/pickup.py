"""Pickup time of an idle agent: from the response of `POST /v1/services/...` to the start command to the runner.

    .venv/bin/python benchmarks/pickup.py [--jobs 100]

Starts a standalone agent with an empty data directory and sends it small real jobs, each while the agent is idle. The agent's log
has the time at which the miner wrote the run to the runner's process (`runner_run`, CLOCK_MONOTONIC, which all processes of a machine
share). The job is the transcoding of a tiny video, which the miner downloads from the coordinator first; that time is part of the
figure. The claim usually shares the submission's commit, so the time from the sending of the request is shown too: a gain after the
response must not be a loss before it. The output also shows the disk's speed during the run (a 4 KiB write with fdatasync), since a
commit waits for the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from measuring.disk import sync_milliseconds
from measuring.processes import AGENT, wait_for

from aitbc import AITBCClient

JOB_SECONDS = 30


def main() -> None:
    """Measure and print a table; with --json one JSON object."""
    parser = argparse.ArgumentParser(description="Measure idle pickup.")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), options.jobs)
        disk = sync_milliseconds(Path(folder))
    pickups = [after_answer for _, after_answer in measured]
    figures = {
        "jobs": len(pickups),
        "from_sending_median_ms": round(statistics.median(sending for sending, _ in measured), 2),
        "pickup_median_ms": round(statistics.median(pickups), 2),
        "pickup_p95_ms": round(statistics.quantiles(pickups, n=20)[18], 2),
        "pickup_max_ms": round(max(pickups), 2),
        "disk_sync_median_ms": round(disk, 3),
    }
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:22} {value}")


def measure(folder: Path, jobs: int) -> list[tuple[float, float]]:
    """Return for each job the milliseconds from the sending of the request, and from its response, to the start."""
    environment = {**os.environ, "AITBC_LOG__LEVEL": "debug", "AITBC_LOG__FORMAT": "json"}
    command = [str(AGENT), "start", "--data-dir", str(folder / "data"), "--port", "0"]
    agent = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        starts = _Starts(agent)
        wait_for(folder / "data" / "agent.json", agent)
        content = json.loads((folder / "data" / "agent.json").read_text())
        client = AITBCClient(api_key=content["client_key"], base_url=content["url"])
        video = client.artifacts.upload(make_video(folder), media_type="video/mp4")
        body = {"input_url": f"artifact:{video.artifact_id}", "output_format": "mp4", "codec": "h264"}
        return [_one(client, starts, body) for _ in range(jobs + 3)][3:]
    finally:
        agent.terminate()
        agent.wait(60)


def _one(client: AITBCClient, starts: _Starts, body: dict[str, Any]) -> tuple[float, float]:
    sent = time.monotonic_ns()
    job = client.services.call("ffmpeg/transcode", body)
    answered = time.monotonic_ns()
    started = starts.of(job["job_id"])
    client.jobs.wait(job["job_id"], timeout=JOB_SECONDS)
    return (started - sent) / 1e6, (started - answered) / 1e6


class _Starts:
    """Reads from the agent's log when each job's run was written to its runner."""

    def __init__(self, agent: subprocess.Popen[str]) -> None:
        self._agent = agent
        self._times: dict[str, int] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._read, name="log-reader", daemon=True).start()

    def _read(self) -> None:
        assert self._agent.stderr is not None
        for line in self._agent.stderr:
            if '"runner_run"' not in line:
                continue
            event = json.loads(line)
            with self._changed:
                self._times[event["run_id"].rpartition("_")[0]] = event["monotonic_ns"]
                self._changed.notify_all()

    def of(self, job_id: str) -> int:
        with self._changed:
            assert self._changed.wait_for(lambda: job_id in self._times, JOB_SECONDS), "the job did not start"
            return self._times[job_id]


def make_video(folder: Path) -> Path:
    """Create a tiny real video."""
    path = folder / "tiny.mp4"
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x64:duration=0.2:rate=10", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-v", "error", *source, path], check=True)
    return path


if __name__ == "__main__":
    main()
