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

from agent.miner.machine.probe_results import LATER

PATIENCE_SECONDS = 1200
"""Time limit of each step. Only what hangs reaches it: on a busy machine, what usually takes a second may take minutes."""
KILL_SECONDS = 60
"""Time limit for an agent of a demo that has failed or was interrupted."""

SETTINGS = {
    "AITBC_LOG__FORMAT": "text",
    # Most containers support only the weaker sandbox, in which an owner has to allow clients' models. The only client of this agent
    # is the demo, with the model demo_classifier.py.
    "AITBC_RUNNERS__PYTHON_MODELS_IN_LANDLOCK": "true",
}
PASSED_ON = ("AITBC_MODELS_DIR", "AITBC_MINER__EXECUTOR", "AITBC_MINER__RAY__")


class DemoError(Exception):
    """The demo failed. The message has the reason."""


def finished(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with any exit status. Raises `DemoError` if it cannot be run or takes too long."""
    try:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS, env=environment()
        )
    except subprocess.TimeoutExpired:
        raise DemoError(f"{_shown(command)} did not end within {PATIENCE_SECONDS} s.") from None
    except OSError as error:
        raise DemoError(f"{_shown(command)} could not be run: {error}.") from None


def _shown(command: Sequence[str]) -> str:
    return " ".join((Path(command[0]).name, *command[1:3]))


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
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not agent_file.exists():
        if process.poll() is not None:
            raise DemoError(f"the agent ended with status {process.returncode} before it was ready.")
        if time.monotonic() > deadline:
            raise DemoError(f"the agent was not ready after {PATIENCE_SECONDS} s.")
        time.sleep(0.05)
    agent: dict[str, Any] = json.loads(agent_file.read_text())
    return agent


def require(status_command: list[str], services: Sequence[str]) -> str:
    """Return the name of the agent's sandbox, when it offers the services.

    Raises `DemoError` with the agent's reasons if it does not offer one of `services`, since that job would wait forever.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        done = finished(*status_command)
        if done.returncode != 0:
            raise DemoError(f"aitbc-agent status ended with status {done.returncode}: {done.stderr}")
        miner = json.loads(done.stdout)["miner"]
        missing = {name: " ".join(miner["unavailable"].get(name, ())) for name in services}
        reasons = {name: reason for name, reason in missing.items() if reason}
        if not reasons:
            return str(miner["sandbox"])
        for name, reason in reasons.items():
            if LATER not in reason or time.monotonic() > deadline:
                raise DemoError(f"this machine does not offer {name}. {reason}")
        time.sleep(1)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the agent as systemd would. Raises `DemoError` unless it ends in time with status 0."""
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the agent did not stop within {PATIENCE_SECONDS} s.") from None
    if status != 0:
        raise DemoError(f"the agent stopped with status {status}.")


def end(process: subprocess.Popen[bytes]) -> None:
    """End the agent in any case; does nothing after `stop`."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
