"""An engine that is a server with OpenAI's API, run as a process of its own on a Unix socket.

The engine can have an interpreter and packages of its own, a model that takes minutes to load does not stop the runner, and
a crash of the engine ends only this process.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO, Any, Self, cast

import httpx
import psutil

from runners.api import Fail, FailureCode, Retry
from runners.causes import REFUSALS, Outcome, Stage, error_of
from runners.engine_server.failure_log import FailureLog

LAUNCHER = Path(__file__).with_name("launch.py")

PREFIX = "aitbc-engine-"
SOCKET = "engine.sock"
"""The name of the socket in the server's directory."""

START_SECONDS = 1800.0
"""Time limit for loading a model. The parent's own limit ends the runner's process earlier."""

END_SECONDS = 10.0
POLL_SECONDS = 0.02
ANSWER_SECONDS = 600.0
"""Time limit for the next part of an answer. The parent notices earlier that a run makes no progress."""

SHORT = 60.0
"""Time limit for a request that computes nothing."""


class EngineServer:
    """A running server. Safe to use from several threads."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self._process = process
        self._directory = directory
        self._output = cast("IO[bytes]", process.stdout)
        self._log = FailureLog()
        self._reader = threading.Thread(target=self._copy_output, name="engine-output", daemon=True)
        self._reader.start()
        # A new connection for each request costs less than a millisecond, and an idle one may be closed at any time.
        transport = httpx.HTTPTransport(
            uds=str(directory / SOCKET), limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._client = httpx.Client(transport=transport, base_url="http://engine", timeout=SHORT)

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], *, directory: Path) -> Self:
        """Start a server that listens on `directory`/SOCKET, and wait until its model is loaded. Takes over `directory`.

        `command` is an interpreter, the file or module to run, and its arguments. Raises `Retry` with the first messages
        of failure of a server that ends instead: e.g. OUT_OF_MEMORY, by `runners.causes`.
        """
        interpreter, *arguments = command
        process = subprocess.Popen(  # noqa: S603 - the engine's own program
            # Isolated, since the variables for Python are those of the agent's interpreter.
            [interpreter, "-I", str(LAUNCHER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
        )
        server = cls(process, directory)
        try:
            server._wait_ready()
        except BaseException:
            server.close()
            raise
        return server

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def get(self, path: str) -> Any:
        """Return the JSON answer to a GET request."""
        return self._answer("GET", path, None, Stage.LOADING)

    def read(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON answer to a POST request that computes nothing. Raises the error of its cause: see `runners.causes`."""
        return self._answer("POST", path, body, Stage.READING)

    def compute(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON answer to a POST request that uses the model. Raises the error of its cause: see `runners.causes`."""
        return self._answer("POST", path, body, Stage.ANSWERING)

    def stream(self, path: str, body: Mapping[str, Any]) -> Stream:
        """Begin a request whose answer is a series of server-sent events."""
        return Stream(self, self._client, path, body)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._process.pid)
            # Listed before it ends: afterwards they would belong to another process.
            started = process.children(recursive=True)
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
            for running in (*started, process):
                with suppress(psutil.NoSuchProcess):
                    running.kill()
        self._process.wait()
        self._reader.join(END_SECONDS)
        self._client.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.alive and time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if self._client.get("/health").status_code == httpx.codes.OK:
                    return
            time.sleep(POLL_SECONDS)
        self._reader.join(1)
        raise error_of(Stage.LOADING, self._log.text, visible_text=self._log.summary)

    def _copy_output(self) -> None:
        """Copy the server's messages to the runner's log, and store those of a failure."""
        for line in self._output:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            self._log.add(line.decode(errors="replace"))

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None, stage: Stage) -> Any:
        limit = httpx.Timeout(SHORT, read=ANSWER_SECONDS if stage is Stage.ANSWERING else SHORT)
        try:
            response = self._client.request(method, path, json=body, timeout=limit)
        except httpx.TransportError as error:
            raise self.lost(error, stage) from None
        if response.is_error:
            raise failure(stage, response.status_code, response.text)
        return response.json()

    def lost(self, error: httpx.TransportError, stage: Stage) -> Fail | Retry:
        """Return the error for a request without an answer: ENGINE_DIED if the process has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        words = f"its server did not answer ({type(error).__name__})."
        if not self.alive:
            return Retry(f"The engine has ended: {words}", code=FailureCode.ENGINE_DIED)
        outcome = Outcome.LATE if isinstance(error, httpx.ReadTimeout) else Outcome.FAILED
        return error_of(stage, words, outcome)


def failure(stage: Stage, status: int, text: str) -> Fail | Retry:
    """Return the error for a server's answer that is not a success."""
    with suppress(ValueError, AttributeError):
        error = json.loads(text)
        error = error.get("error", error)
        text = str(error.get("message", text))
    return error_of(stage, text, Outcome.REFUSED if status in REFUSALS else Outcome.FAILED)


class Stream:
    """A streamed answer. `cancelled` is true after `cancel`. `body` may change until `events`."""

    def __init__(
        self, server: EngineServer, client: httpx.Client, path: str, body: Mapping[str, Any]
    ) -> None:
        self._server = server
        self._client = client
        self._path = path
        self.body = dict(body)
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self.cancelled = False

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events' data until the end, or until `cancel`. Raises `Fail` or `Retry`."""
        try:
            with self._open() as response:
                if response.is_error:
                    text = response.read().decode(errors="replace")
                    raise failure(Stage.ANSWERING, response.status_code, text)
                for line in _lines(response):
                    if line.startswith(b"data: {"):
                        yield _checked(json.loads(line.removeprefix(b"data: ")))
        except httpx.TransportError as error:
            if not self.cancelled:
                raise self._server.lost(error, Stage.ANSWERING) from None

    def cancel(self) -> None:
        """End the stream immediately, from any thread. The server notices it and drops the request."""
        with self._lock:
            self.cancelled = True
            if self._connection is not None:
                with suppress(OSError):
                    # Closing alone would not wake the thread that reads from it.
                    self._connection.shutdown(socket.SHUT_RDWR)

    def _open(self) -> AbstractContextManager[httpx.Response]:
        return self._client.stream(
            "POST",
            self._path,
            json=self.body,
            timeout=httpx.Timeout(SHORT, read=ANSWER_SECONDS),
            extensions={"trace": self._connected},
        )

    def _connected(self, name: str, details: Mapping[str, Any]) -> None:
        """Remember the connection's socket. httpcore calls this for each step of a request."""
        if name == "connection.connect_unix_socket.complete":
            with self._lock:
                self._connection = details["return_value"].get_extra_info("socket")
            # It was cancelled while the connection was being made.
            if self.cancelled:
                self.cancel()


def _checked(event: dict[str, Any]) -> dict[str, Any]:
    if "error" in event:
        code = str(event["error"].get("code"))
        raise failure(Stage.ANSWERING, int(code) if code.isdecimal() else 500, json.dumps(event))
    return event


def _lines(response: httpx.Response) -> Iterator[bytes]:
    """Yield the lines of an answer as they arrive. httpx's own iterator takes several times as long for each token."""
    unfinished = b""
    for part in response.iter_raw():
        *lines, unfinished = (unfinished + part).split(b"\n")
        yield from lines


def socket_directory() -> Path:
    """Return a new directory for a server's socket, whose path must be short. Deletes those of processes that were killed."""
    shared = Path(tempfile.gettempdir())
    for abandoned in shared.glob(f"{PREFIX}*-*"):
        owner = abandoned.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(abandoned, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=shared))
