"""How the failures of an engine's server appear: real processes that fail as vLLM and llama.cpp do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runners.api import Fail, FailureCode, Retry, RunnerError
from runners.engine_server import EngineServer
from runners.engine_server.server import SOCKET, socket_directory

SERVER = """
import http.server, os, socketserver, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self):
        return "client"

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'data: {"text": "a"}\\n\\n')
        self.wfile.flush()
        os._exit(1)

socketserver.UnixStreamServer(sys.argv[1], Handler).serve_forever()
"""

LOGS = Path(__file__).with_name("logs")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], EngineServer]]:
    started: list[EngineServer] = []

    def run(program: str) -> EngineServer:
        script = tmp_path / "engine.py"
        script.write_text(program)
        directory = socket_directory()
        command = [sys.executable, str(script), str(directory / SOCKET)]
        started.append(EngineServer.start(command, os.environ, directory=directory))
        return started[-1]

    yield run
    for server in started:
        server.close()


@pytest.mark.parametrize(
    ("log", "code", "words"),
    [
        ("vllm-no-nvcc", FailureCode.MODEL_UNAVAILABLE, "Could not find nvcc"),
        ("vllm-no-compiler", FailureCode.MODEL_UNAVAILABLE, "Failed to find C compiler"),
        ("vllm-graph-capture", FailureCode.MODEL_UNAVAILABLE, "InductorError"),
        ("vllm-wrong-file", FailureCode.MODEL_UNAVAILABLE, "There is no module or parameter named"),
        ("vllm-lost-worker", FailureCode.MODEL_UNAVAILABLE, "NCCL error"),
        ("vllm-measuring", FailureCode.NO_MEMORY, "current free memory 21.98 GiB"),
        ("vllm-no-cache-blocks", FailureCode.OUT_OF_MEMORY, "No available memory for the cache blocks"),
        ("vllm-cache-too-small", FailureCode.OUT_OF_MEMORY, "4.11 GiB KV cache is needed"),
        ("vllm-card-in-use", FailureCode.OUT_OF_MEMORY, "is less than desired GPU memory utilization"),
        ("vllm-out-of-memory", FailureCode.OUT_OF_MEMORY, "Tried to allocate 2.00 GiB"),
        ("llama-cuda-weights", FailureCode.OUT_OF_MEMORY, "cudaMalloc failed: out of memory"),
        ("llama-vulkan-weights", FailureCode.OUT_OF_MEMORY, "ErrorOutOfDeviceMemory"),
        ("llama-vulkan-one-memory", FailureCode.OUT_OF_MEMORY, "_M_range_check"),
        ("llama-no-card", FailureCode.GPU_UNSUPPORTED, "engines install llama.cpp"),
        ("llama-cache", FailureCode.OUT_OF_MEMORY, "failed to allocate buffer for kv cache"),
        ("llama-pinned-memory", FailureCode.MODEL_UNAVAILABLE, "missing tensor 'blk.3.ffn_gate.weight'"),
        ("llama-architecture", FailureCode.MODEL_UNAVAILABLE, "unknown model architecture: 'qwen9'"),
    ],
)
def test_a_log_has_the_code_and_the_words_of_its_cause(
    start: Callable[[str], EngineServer], log: str, code: FailureCode, words: str
) -> None:
    """Only what ran out of memory gets more with the next attempt. The cause is far above the last line, and progress is no cause."""
    with pytest.raises(Retry) as caught:
        start(f"import sys\nsys.exit(open({str(LOGS / f'{log}.txt')!r}).read())")
    assert (caught.value.code, words in str(caught.value)) == (code, True)


def test_a_server_that_ends_without_a_word_of_failure_shows_its_last_line(
    start: Callable[[str], EngineServer],
) -> None:
    with pytest.raises(Retry, match="Loading weights took") as caught:
        start("import sys\nsys.exit('INFO 11-30 09:12:04 [loader.py:384] Loading weights took 4.30 seconds')")
    assert caught.value.code == FailureCode.MODEL_UNAVAILABLE


def test_an_engine_that_dies_during_an_answer_ends_the_runner(start: Callable[[str], EngineServer]) -> None:
    """The daemon replaces a runner with this code, so that no later job meets the dead engine."""
    server = start(SERVER)
    events = server.stream("/v1/completions", {}).events()
    assert next(events) == {"text": "a"}
    with pytest.raises(Retry) as caught:
        list(events)
    assert caught.value.code == FailureCode.ENGINE_DIED
    assert not server.alive


REFUSING = """
import http.server, json, socketserver, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self):
        return "client"

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, message, streamed = json.loads(self.path[1:].replace("%20", " ").replace("%22", '"'))
        body = json.dumps({"error": {"message": message, "code": status}})
        self.send_response(200 if streamed else status)
        self.end_headers()
        self.wfile.write((f"data: {body}\\n\\n" if streamed else body).encode())

socketserver.UnixStreamServer(sys.argv[1], Handler).serve_forever()
"""


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "Conversation roles must alternate.", FailureCode.INPUT_INVALID),
        (422, "cuda error in a message", FailureCode.INPUT_INVALID),
        (400, "the request exceeds the available context size", FailureCode.CONTEXT_OVERFLOW),
        (500, "Failed to parse input at pos 5", FailureCode.INPUT_INVALID),
        (500, "Compute error.", FailureCode.RUNNER_CRASHED),
        (404, "Not Found", FailureCode.RUNNER_CRASHED),
    ],
)
def test_what_a_server_refuses_is_the_clients_fault_and_final(
    start: Callable[[str], EngineServer], status: int, message: str, code: FailureCode, streamed: bool
) -> None:
    server = start(REFUSING)
    with pytest.raises(RunnerError) as caught:
        list(server.stream("/" + json.dumps([status, message, streamed]), {}).events())
    assert caught.value.code == code
    assert isinstance(caught.value, Retry if code.retried else Fail)
    assert message in str(caught.value)
