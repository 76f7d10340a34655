"""Benefit of continuous batching: eight concurrent requests, compared with the same eight one after the other.

    .venv/bin/python benchmarks/llm_batch.py [--tokens 64] [--rounds 2]

Starts the runner's real child process as a miner does, with the demo's language model, and sends it real runs over its socket. Both
modes are measured alternately in one process, so that they run under the same conditions; the figure of each is its best round. The
exit status is 1 unless the eight concurrent requests take less than half the time.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from runners.api import Device, Model, Tools
from runners.host.protocol import TO_PARENT, Configure, Exit, Load, Message, Run, encode

MODEL = "smollm2-135m-instruct"
REQUESTS = 8
LIMIT = 0.5
MESSAGE_SECONDS = 300.0


class Child:
    """The runner's process, and the parent's end of its socket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection, theirs = socket.socketpair()
        self._connection.settimeout(MESSAGE_SECONDS)
        command = [
            sys.executable,
            "-m",
            "runners.host",
            "--service",
            "llm_inference",
            "--fd",
            str(theirs.fileno()),
        ]
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

    def start(self, run_id: str, parameters: dict[str, Any]) -> None:
        """Start a run in directories of its own."""
        output, work = self._folder / run_id / "output", self._folder / run_id / "work"
        output.mkdir(parents=True)
        work.mkdir()
        self.send(Run(run_id=run_id, parameters=parameters, output=output, work=work, timeout_seconds=600))

    def done(self) -> int:
        """Wait for the end of one run. Returns the number of generated tokens."""
        message = self.until("done", "error")
        if message.type == "error":
            sys.exit(f"A run failed: {message.message}")
        tokens: int = message.results["usage"]["completion_tokens"]
        return tokens

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            chunk = self._connection.recv(count - len(received))
            if not chunk:
                sys.exit("The runner's process ended.")
            received += chunk
        return received


def main() -> None:
    """Measure and print a table; with --json one JSON object."""
    parser = argparse.ArgumentParser(description="Measure what batching saves.")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: the runner's own choice")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.tokens, options.rounds, options.dtype)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:30} {value}")
    if figures["ratio"] >= LIMIT:
        sys.exit(
            f"Eight at once took {figures['ratio']} of the time of eight in sequence; it must be below {LIMIT}."
        )


def measure(folder: Path, tokens: int, rounds: int, dtype: str | None) -> dict[str, Any]:
    """Return seconds and tokens per second of both modes, after a warm-up request."""
    child = Child(folder)
    try:
        load(child, dtype)
        ask(child, "warm", tokens, 1, together=False)
        sequence, batch = [], []
        for number in range(rounds):
            sequence.append(ask(child, f"sequence{number}", tokens, REQUESTS, together=False))
            batch.append(ask(child, f"batch{number}", tokens, REQUESTS, together=True))
        child.send(Exit())
        child.process.wait(60)
    finally:
        child.process.kill()
        child.process.wait()
    one, other = min(sequence), min(batch)
    return {
        "requests": REQUESTS,
        "tokens_each": tokens,
        "in_sequence_seconds": round(one, 2),
        "at_once_seconds": round(other, 2),
        "in_sequence_tokens_per_second": round(REQUESTS * tokens / one, 1),
        "at_once_tokens_per_second": round(REQUESTS * tokens / other, 1),
        "ratio": round(other / one, 3),
    }


def load(child: Child, dtype: str | None) -> None:
    """Configure the child as a miner without a GPU does, and load the model."""
    models = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models")
    child.send(
        Configure(
            tools=Tools(models_dir=models, batch=REQUESTS),
            device=Device("cpu", "processor", threads=os.cpu_count() or 1),
        )
    )
    child.until("ready")
    options = {} if dtype is None else {"dtype": dtype}
    child.send(Load(model=Model(MODEL, models / MODEL, options=options)))
    answer = child.until("loaded", "error")
    if answer.type == "error":
        sys.exit(f"{answer.message} Run `make setup`.")


def ask(child: Child, name: str, tokens: int, count: int, *, together: bool) -> float:
    """Return the duration of so many requests in seconds."""
    began = time.monotonic()
    generated = 0
    for number in range(count):
        prompt = f"Once upon a time there were {number + 2} friends who"
        # All tokens must be generated: this model's raw text does not end earlier.
        parameters = {"model": MODEL, "prompt": prompt, "raw": True, "max_tokens": tokens, "temperature": 0}
        child.start(f"{name}-{number}", parameters)
        if not together:
            generated += child.done()
    if together:
        generated = sum(child.done() for _ in range(count))
    assert generated == count * tokens, "an answer ended early; the two ways cannot be compared"
    return time.monotonic() - began


if __name__ == "__main__":
    main()
