"""A runner's real child process, started and spoken to as a miner does."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runners.api import Device, Model, Tools
from runners.host.protocol import TO_PARENT, Configure, Exit, Load, Message, Run, encode

MESSAGE_SECONDS = 300.0


class Child:
    """The runner's process, and the parent's end of its socket. Runs write below `folder`."""

    def __init__(self, folder: Path, service: str) -> None:
        self._folder = folder
        self._connection, theirs = socket.socketpair()
        self._connection.settimeout(MESSAGE_SECONDS)
        command = [sys.executable, "-m", "runners.host", "--service", service, "--fd", str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL)
        theirs.close()

    def send(self, message: Message) -> None:
        """Write one message."""
        self._connection.sendall(encode(message))

    def until(self, *types: str) -> Any:
        """Return the next message of one of these types."""
        while True:
            message = TO_PARENT.validate_json(self._exactly(struct.unpack(">I", self._exactly(4))[0]))
            if message.type in types:
                return message

    def load(self, model: Model, threads: int) -> None:
        """Configure the child as a miner without a GPU does, with so many threads, and load the model."""
        self.send(Configure(tools=Tools(), device=Device("cpu", "processor", threads=threads)))
        self.until("ready")
        self.send(Load(model=model))
        if (message := self.until("loaded", "error")).type == "error":
            sys.exit(f"The model could not be loaded: {message.message}")

    def start(self, run_id: str, parameters: dict[str, Any]) -> None:
        """Start a run in directories of its own."""
        output, work = self._folder / run_id / "output", self._folder / run_id / "work"
        output.mkdir(parents=True)
        work.mkdir()
        self.send(Run(run_id=run_id, parameters=parameters, output=output, work=work, timeout_seconds=600))

    def done(self) -> Any:
        """Wait for the end of one run. Returns its message."""
        message = self.until("done", "error")
        if message.type == "error":
            sys.exit(f"A run failed: {message.message}")
        return message

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            chunk = self._connection.recv(count - len(received))
            if not chunk:
                sys.exit("The runner's process ended.")
            received += chunk
        return received


@contextmanager
def running_child(folder: Path, service: str, model: Model, threads: int) -> Iterator[Child]:
    """Start a child with a loaded model, and end it with the block."""
    child = Child(folder, service)
    try:
        child.load(model, threads)
        yield child
        child.send(Exit())
        child.process.wait(60)
    finally:
        child.process.kill()
        child.process.wait()
