"""Starts an agent for the demo as its owner would, and ensures that it is stopped."""

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
    # Most containers support only the weaker sandbox, in which an owner has to allow clients' models. The only client of this agent
    # is the demo, with the model demo_classifier.py.
    "AITBC_RUNNERS__PYTHON_MODELS_IN_LANDLOCK": "true",
}
PASSED_ON = ("AITBC_MODELS_DIR", "AITBC_MINER__EXECUTOR", "AITBC_MINER__RAY__")


class DemoError(Exception):
    """The demo failed. The message has the reason."""


@contextmanager
def running_agent(
    log_file: Path, services: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """Run a standalone agent on a free port with an empty data directory. Yields its `agent.json` and the name of its sandbox.

    Its output goes to `log_file`. Raises `DemoError` if it does not become ready or does not offer one of `services`.
    """
    program = str(Path(sys.executable).parent / "aitbc-agent")
    # Not in build/: the path of the agent's control socket must not exceed 107 bytes.
    with tempfile.TemporaryDirectory(prefix="aitbc-demo-") as data_directory:
        command = [program, "start", "--data-dir", data_directory, "--port", "0"]
        with log_file.open("wb") as log:
            # A session of its own, so that Ctrl-C reaches only the demo, which then stops the agent properly.
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
    """Return this process's environment without settings of another agent, except for the models directory and a Ray cluster."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AITBC_") or name.startswith(PASSED_ON)
    }


def wait_until_ready(process: subprocess.Popen[bytes], agent_file: Path) -> dict[str, Any]:
    """Return the content of the agent's file when it is ready. Raises `DemoError` if it ended or took too long."""
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
    """Return the name of the agent's sandbox.

    Raises `DemoError` with the agent's reasons if it does not offer one of `services`, since that job would wait forever.
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
    """Stop the agent as systemd would. Raises `DemoError` unless it ends in time with status 0."""
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the agent did not stop within {STOP_SECONDS} s.") from None
    if status != 0:
        raise DemoError(f"the agent stopped with status {status}.")


def end(process: subprocess.Popen[bytes]) -> None:
    """End the agent in any case; does nothing after `stop`."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
