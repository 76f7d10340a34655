"""A runner's child process, started as a miner starts it, and the parent's end of its socket."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Self

from platformdirs import user_cache_path

from agent.miner.engines.interpreters import OWN, Interpreter
from runners.api import Device, Model, Tools
from runners.host.protocol import TO_PARENT, Configure, Exit, Load, Message, Run, encode

MESSAGE_SECONDS = 600.0


def models_directory() -> Path:
    """Return the directory of the demo's models."""
    return Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models")


class Child:
    """The process. `folder` is for the files of its runs. Ends the program with a message if a run fails.

    `interpreter` is that of an engine's environment, if it is not the agent's own.
    """

    def __init__(self, service: str, folder: Path, interpreter: Interpreter = OWN) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._connection, theirs = socket.socketpair()
        self._connection.settimeout(MESSAGE_SECONDS)
        command = [*interpreter.command, "--service", service, "--fd", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **dict(interpreter.variables)},
        )
        theirs.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._send(Exit())
        try:
            self._process.wait(60)
        finally:
            self._process.kill()
            self._process.wait()

    def load(self, model: Model, *, threads: int = os.cpu_count() or 1) -> None:
        """Configure the child as a miner without a GPU does, and load a model."""
        device = Device("cpu", "processor", threads=threads)
        self._send(Configure(tools=Tools(models_dir=models_directory()), device=device))
        self._until("ready")
        self._send(Load(model=model))
        answer = self._until("loaded", "error")
        if answer.type == "error":
            sys.exit(f"{answer.message} Run `make setup`.")

    def run(self, parameters: dict[str, Any], files: dict[str, Path] | None = None) -> dict[str, Any]:
        """Perform a run in directories of its own. Returns its results."""
        return self.run_together([parameters], files or {})[0]

    def run_together(
        self, requests: Sequence[dict[str, Any]], files: dict[str, Path] | None = None
    ) -> list[dict[str, Any]]:
        """Perform several runs at the same time. Returns their results in the order in which they end."""
        for parameters in requests:
            self._start(parameters, files or {})
        return [self._done() for _ in requests]

    def _start(self, parameters: dict[str, Any], files: dict[str, Path]) -> None:
        run_id = str(next(self._numbers))
        output, work = self._folder / run_id / "output", self._folder / run_id / "work"
        output.mkdir(parents=True)
        work.mkdir()
        message = Run(
            run_id=run_id, parameters=parameters, files=files, output=output, work=work, timeout_seconds=3600
        )
        self._send(message)

    def _done(self) -> dict[str, Any]:
        answer = self._until("done", "error")
        if answer.type == "error":
            sys.exit(f"A run failed: {answer.message}")
        results: dict[str, Any] = answer.results
        return results

    def _send(self, message: Message) -> None:
        self._connection.sendall(encode(message))

    def _until(self, *types: str) -> Any:
        while True:
            message = TO_PARENT.validate_json(self._exactly(struct.unpack(">I", self._exactly(4))[0]))
            if message.type in types:
                return message

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            chunk = self._connection.recv(count - len(received))
            if not chunk:
                sys.exit("The runner's process ended.")
            received += chunk
        return received
