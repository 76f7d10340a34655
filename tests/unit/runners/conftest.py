"""A parent for runner child processes, a context for runners called directly, and media made by real ffmpeg."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path

from runners.api import Cancelled, Device, Model, OutputFile, Tools
from runners.host.protocol import TO_PARENT, Configure, Message, encode
from runners.sandbox import Sandbox, unavailable
from runners.sandbox.files import remove
from runners.sandbox.watch import Ended, Limits
from support.workers.fork_server import ForkServer

TIMEOUT = 120.0


class Parent:
    """The miner's side of one child, blocking. One that is `forked` needs no time to import."""

    def __init__(
        self, service: str, environment: Mapping[str, str] | None = None, *, forked: bool = False
    ) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(TIMEOUT)
        self.connection = ours
        descriptor = theirs.fileno()
        command = ["-m", "runners.host", "--service", service, "--fd", str(descriptor)]
        environment = {**os.environ, **(environment or {})}
        self.process: Any
        with theirs:
            if forked:
                self.process = ForkServer.of("runners.host.process").start(
                    command, environment, descriptors={descriptor: descriptor}, pipes=(1, 2)
                )
            else:
                self.process = subprocess.Popen(
                    [sys.executable, *command],
                    pass_fds=[descriptor],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )

    def send(self, message: Message) -> None:
        self.connection.sendall(encode(message))

    def receive(self) -> Any:
        """Return the next message, or None if the child has closed the socket."""
        header = self._exactly(4)
        if header is None:
            return None
        body = self._exactly(struct.unpack(">I", header)[0])
        assert body is not None
        return TO_PARENT.validate_json(body)

    def until(self, *types: str) -> Any:
        """Return the next message of one of these types; drop others before it."""
        while True:
            message = self.receive()
            assert message is not None, f"the child ended: {self.process.stderr.read().decode()}"
            if message.type in types:
                return message

    def configure(self, tools: Tools, device: Device) -> Any:
        self.send(Configure(tools=tools, device=device))
        return self.until("ready")

    def close(self) -> int:
        """Close the socket and wait for the child to end."""
        self.connection.close()
        code: int = self.process.wait(TIMEOUT)
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def _exactly(self, count: int) -> bytes | None:
        received = b""
        while len(received) < count:
            chunk = self.connection.recv(count - len(received))
            if not chunk:
                return None
            received += chunk
        return received


class RecordingContext:
    """A `runners.api.Context` that records the runner's reports."""

    def __init__(
        self, directory: Path, files: Mapping[str, Path], timeout: float, resources: Mapping[str, str]
    ):
        self.files = files
        self.adapters: dict[str, Model] = {}
        self.checkpoints: dict[str, Path] = {}
        self.handed_over: list[OutputFile] = []
        self.resources = resources
        self.timeout_seconds = timeout
        self.max_units: Decimal | None = None
        self.seed: str | None = None
        self.cache_salt: str | None = None
        self.wants_evidence = True
        self.output, self.work = directory / "output", directory / "work"
        self.resumed_from = directory / "checkpoints"
        self.output.mkdir(parents=True)
        self.work.mkdir()
        self.resumed_from.mkdir()
        self.reported: list[tuple[float, Decimal]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.lines: list[tuple[str, str]] = []
        self.callbacks: list[Callable[[], None]] = []
        self.cancelled = False
        self.on_progress: Callable[[], None] = lambda: None

    def progress(self, percent: float | None, units: Decimal = Decimal(0)) -> None:
        last = self.reported[-1] if self.reported else (0.0, Decimal(0))
        self.reported.append(last if percent is None else (percent, units))
        self.on_progress()

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append((kind, dict(data)))

    def log(self, text: str, source: str = "runner") -> None:
        self.lines += [(source, line) for line in text.splitlines()]

    def checkpoint(self, file: OutputFile) -> None:
        assert file.path.is_relative_to(self.output)
        self.handed_over.append(file)

    def check(self) -> None:
        if self.cancelled:
            raise Cancelled

    def on_cancel(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def cancel(self) -> None:
        self.cancelled = True
        for callback in self.callbacks:
            callback()


@pytest.fixture(scope="session")
def models() -> Path:
    """The directory of the tests' Whisper model."""
    directory = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models")
    for name in ("model.pt", "model.bin"):
        if not (directory / "tiny.en" / name).is_file():
            pytest.fail(f"The Whisper model tiny.en is not in {directory}; run `make setup`.")
    return directory


@pytest.fixture(scope="session")
def device() -> Device:
    return Device("cpu", "test processor", threads=2)


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(models_dir=tmp_path / "models", cache_dir=tmp_path / "cache")


@pytest.fixture
def start_child() -> Iterator[Callable[..., Parent]]:
    """Start children; those still running at the end of the test are ended."""
    started: list[Parent] = []

    def start(service: str, environment: Mapping[str, str] | None = None, *, forked: bool = False) -> Parent:
        started.append(Parent(service, environment, forked=forked))
        return started[-1]

    yield start
    for parent in started:
        parent.connection.close()
        if parent.process.poll() is None:
            parent.process.kill()
        parent.process.wait(TIMEOUT)
        parent.process.stdout.close()
        parent.process.stderr.close()


@pytest.fixture(scope="session")
def make_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RecordingContext]]:
    """Make the context of a run, with its own directories."""
    made: list[Path] = []

    def make(
        files: Mapping[str, Path] | None = None,
        timeout: float = TIMEOUT,
        resources: Mapping[str, str] | None = None,
    ) -> RecordingContext:
        made.append(tmp_path_factory.mktemp("run"))
        return RecordingContext(made[-1], files or {}, timeout, resources or {})

    yield make
    for directory in made:
        remove(directory)  # pytest's own removal fails on a deep tree


@pytest.fixture(scope="session")
def make_media(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a file with ffmpeg from lavfi sources; the same arguments return the same file."""
    directory = tmp_path_factory.mktemp("media")
    made: dict[tuple[str, ...], Path] = {}

    def make(name: str, *arguments: str) -> Path:
        key = (name, *arguments)
        if key not in made:
            made[key] = directory / f"{len(made)}-{name}"
            command = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", *arguments, str(made[key])]
            subprocess.run(command, check=True, timeout=TIMEOUT)
        return made[key]

    return make


@pytest.fixture
def clip(make_media: Callable[..., Path]) -> Path:
    """Two seconds of 320x180 video at 25 pictures per second, with a tone."""
    picture = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2")
    tone = ("-f", "lavfi", "-i", "sine=frequency=440:duration=2")
    return make_media("clip.mp4", *picture, *tone, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until a condition holds, at most `TIMEOUT` seconds."""

    def wait(condition: Callable[[], bool], limit: float = TIMEOUT) -> None:
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, "the condition was not met in time"
            time.sleep(0.02)

    return wait


SYSTEM_PYTHON = "/usr/bin/python3"
ATTACK_LIMITS = Limits(memory=512 * 2**20, output=4 * 2**20, seconds=30, cpu_seconds=20, processes=24)

TRIES = """
import ctypes, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return ctypes.get_errno() if result < 0 else 0
def attempt(action, *arguments):
    try: return action(*arguments) or "done"
    except Exception as error: return type(error).__name__
given = json.loads(sys.argv[1])
def report(**answers): print(json.dumps(answers))
"""


@pytest.fixture(params=["bubblewrap", "landlock"])
def confined(tools, request):
    """The tools with each of the two sandboxes."""
    chosen = dataclasses.replace(tools, sandbox=request.param)
    assert unavailable(chosen) is None
    return chosen


@pytest.fixture
def attack(tmp_path):
    """Run Python code inside, with a writable directory; return its report."""

    def run(tools, code, *, environment=None, on_line=None, **given):
        sandbox = Sandbox(tools, ATTACK_LIMITS, environment=environment or {})
        directory = tmp_path / "writable"
        directory.mkdir(exist_ok=True)
        seen = sandbox.write(directory, "/work")
        lines = []

        def listen(line):
            lines.append(line)
            if on_line is not None:
                on_line(line)

        command = [SYSTEM_PYTHON, "-I", "-c", TRIES + code, json.dumps(given)]
        outcome = sandbox.run(command, directory=seen, on_line=listen)
        assert (outcome.ended, outcome.exit_code) == (Ended.EXITED, 0), outcome.stderr
        return json.loads(lines[-1])

    return run
