"""Starts an agent for the demo as its owner would, and stops it so that nothing is left running, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 120
STATUS_SECONDS = 30
STOP_SECONDS = 60

SETTINGS = {
    "AITBC_LOG__FORMAT": "text",
    # In most containers there is only the weaker sandbox, in which an owner has to allow clients' models. This agent's one client
    # is the demo, whose model is demo_classifier.py.
    "AITBC_RUNNERS__PYTHON_MODELS_IN_LANDLOCK": "true",
}


class DemoError(Exception):
    """Something is not as it should be. The message says what."""


@contextmanager
def running_agent(
    log_file: Path, services: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """A standalone agent on a free port with an empty data directory, and what its `agent.json` says, with the name of its sandbox.

    Its output goes to `log_file`. Raises `DemoError` if it does not get ready, or cannot offer one of `services`.
    """
    program = str(Path(sys.executable).parent / "aitbc-agent")
    # Not below build/: the path of the agent's control socket may not be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="aitbc-demo-") as data_directory:
        command = [program, "start", "--data-dir", data_directory, "--port", "0"]
        with log_file.open("wb") as log:
            # Its own session, so that Ctrl-C reaches only the demo, which then stops the agent in order.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment(), **SETTINGS},
                start_new_session=True,
            )
        try:
            agent = wait_until_ready(process, Path(data_directory) / "agent.json")
            agent["sandbox"] = require([program, "status", "--data-dir", data_directory, "--json"], services)
            yield process, agent
        finally:
            end(process)


def environment() -> dict[str, str]:
    """This process's environment without the owner's settings of another agent; the models stay where they are."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AITBC_") or name == "AITBC_MODELS_DIR"
    }


def wait_until_ready(process: subprocess.Popen[bytes], agent_file: Path) -> dict[str, Any]:
    """What the agent wrote when it was ready. Raises `DemoError` if it ended or took too long."""
    deadline = time.monotonic() + START_SECONDS
    while not agent_file.exists():
        if process.poll() is not None:
            raise DemoError(f"the agent ended with status {process.returncode} before it was ready.")
        if time.monotonic() > deadline:
            raise DemoError(f"the agent was not ready after {START_SECONDS} s.")
        time.sleep(0.05)
    agent: dict[str, Any] = json.loads(agent_file.read_text())
    return agent


def require(status_command: list[str], services: Sequence[str]) -> str:
    """Return which sandbox the agent has.

    Raises `DemoError` with the agent's own reasons if it does not offer one of `services`: its job would only wait.
    """
    done = subprocess.run(
        status_command, check=False, capture_output=True, text=True, timeout=STATUS_SECONDS, env=environment()
    )
    if done.returncode != 0:
        raise DemoError(f"aitbc-agent status ended with status {done.returncode}: {done.stderr}")
    miner = json.loads(done.stdout)["miner"]
    unavailable = miner["unavailable"]
    for service in services:
        if service in unavailable:
            raise DemoError(f"this machine does not offer {service}. {' '.join(unavailable[service])}")
    return str(miner["sandbox"])


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the agent as systemd would. Raises `DemoError` unless it ends in time, with status 0."""
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the agent did not stop within {STOP_SECONDS} s.") from None
    if status != 0:
        raise DemoError(f"the agent stopped with status {status}.")


def end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing running, whatever happened; does nothing after `stop`."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
