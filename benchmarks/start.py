"""Processor time of starting the programs: short commands, the coordinator, an agent, and an agent's first job.

    .venv/bin/python benchmarks/start.py [--rounds 5]

Prints the smallest of several rounds in milliseconds, in user and kernel mode and with child processes, and its ratio to
`python -c pass`, which machines and loads change less. All programs are run once before, so that their bytecode exists. An agent is
measured from its start until it is ready, and until it has transcoded a tiny video, for which it starts a runner's process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil
from measuring.processes import AGENT, STOP_SECONDS, Running, coordinator, wait_for
from pickup import make_video

from aitbc import AITBCClient

PROGRAMS = AGENT.parent
JOB_SECONDS = 60
COMMANDS: dict[str, list[str | Path]] = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "aitbc --version": [PROGRAMS / "aitbc", "--version"],
    "aitbc --help": [PROGRAMS / "aitbc", "--help"],
    "aitbc jobs list --help": [PROGRAMS / "aitbc", "jobs", "list", "--help"],
    "aitbc-agent --version": [AGENT, "--version"],
    "aitbc-agent --help": [AGENT, "--help"],
    "aitbc-agent config show": [AGENT, "config", "show"],
    "import aitbc's client": [sys.executable, "-c", "from aitbc import AITBCClient"],
    "import a runner's process": [sys.executable, "-c", "import runners.host.process"],
    "import the coordinator": [sys.executable, "-c", "import agent.coordinator.app"],
    "import the miner": [sys.executable, "-c", "import agent.miner.daemon"],
}


def main() -> None:
    """Measure and print a table; with --json one JSON object."""
    parser = argparse.ArgumentParser(description="Measure what starting takes.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    measured: dict[str, float] = {}
    for _ in range(options.rounds + 1):  # the first round writes bytecode
        for name, command in COMMANDS.items():
            _keep(measured, name, run(command))
        for name, seconds in servers().items():
            _keep(measured, name, seconds)
    bare = measured["python -c pass"]
    if options.json:
        print(json.dumps({name: round(seconds * 1000, 1) for name, seconds in measured.items()}))
    else:
        for name, seconds in measured.items():
            print(f"{name:32} {seconds * 1000:7.0f} ms {seconds / bare:7.1f}")


def _keep(measured: dict[str, float], name: str, seconds: float) -> None:
    measured[name] = min(seconds, measured.get(name, seconds))


def run(command: list[str | Path]) -> float:
    """Run a command and return its processor time in seconds."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return usage.ru_utime + usage.ru_stime


def servers() -> dict[str, float]:
    """Start a coordinator, then an agent, each with an empty data directory, and return their processor times."""
    with tempfile.TemporaryDirectory() as folder:
        with coordinator(Path(folder) / "coordinator", {}) as running:
            alone = tree_seconds(running.process.pid)
        return {"coordinator until ready": alone, **_agent(Path(folder))}


def _agent(folder: Path) -> Mapping[str, float]:
    data = folder / "agent"
    command = [str(AGENT), "start", "--plain", "--data-dir", str(data), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            wait_for(data / "agent.json", process)
            ready = tree_seconds(process.pid)
            transcode(Running(process, json.loads((data / "agent.json").read_text())), make_video(folder))
            return {"agent until ready": ready, "agent until its first job": tree_seconds(process.pid)}
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def transcode(running: Running, video: Path) -> None:
    """Run one small job."""
    with AITBCClient(api_key=running.content["client_key"], base_url=running.url) as client:
        job = client.services.transcode(video, output_format="mp4", codec="h264")
        client.jobs.wait(job.job_id, timeout=JOB_SECONDS)


def tree_seconds(pid: int) -> float:
    """Return the processor time of a process, its children, and the children that have ended."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(it.user + it.system + it.children_user + it.children_system for it in times)


if __name__ == "__main__":
    main()
