"""Text from miners and coordinators cannot control the terminal of `aitbc-agent`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.cli import agent_file
from agent.settings import Settings
from support.agents import COMMAND

pytestmark = pytest.mark.system

HOSTILE = "clean\x1b]0;title\x07\x1b[2J\x7f\x9b31m\u202eoverride"
HARMLESS = "clean\ufffd]0;title\ufffd\ufffd[2J\ufffd\ufffd31m\ufffdoverride"
AUDIT = {
    "audit_id": "audit_1", "job_id": "job_1", "miner_id": "miner_1", "kind": HOSTILE, "verdict": "fail", "status": "decided", "service": "llm_inference",
    "model": HOSTILE, "distances": {HOSTILE: 1.5}, "limits": {}, "where": HOSTILE, "reason": HOSTILE, "probability": None, "enforced": False, "forfeited": "0",
    "second_opinion_until": None, "created_at": "2026-11-24T15:00:00Z",
}  # fmt: skip
LOG = """
import structlog
from agent.cli.terminal.logs import configure
from agent.settings import LogSettings
from aitbc.cli._controls import protect_terminal
protect_terminal()
configure(LogSettings(format="text"))
text = {text!r}
try:
    raise ValueError(text)
except ValueError:
    structlog.get_logger().exception(text, reason=text, list=[text])
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """The data directory of an agent whose coordinator answers each request with hostile texts."""

    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = "/audits" in self.path
            body = (
                {"audits": [AUDIT], "next": None, "proofs": []}
                if good
                else {"error": {"code": "REFUSED", "message": HOSTILE}}
            )
            data = json.dumps(body).encode()
            self.send_response(200 if good else 400)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    settings = Settings(data_dir=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server, agent_file.exclusive(settings):
        url = f"http://127.0.0.1:{server.server_port}"
        agent_file.write(settings, agent_file.AgentFile(url, os.getpid(), "miner_1", "", "key", "key", "key"))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield tmp_path
        server.shutdown()
        thread.join()


def on_terminal(*command: str | Path, **environment: str) -> str:
    """Return what the command prints on a terminal."""
    controller, terminal = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        command, env={**inherited, **environment}, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        printed = b""
        try:
            while piece := os.read(controller, 65536):
                printed += piece
        except OSError:
            pass  # raised when the other end of the terminal was closed
        process.wait(60)
    os.close(controller)
    return printed.decode()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("audits show audit_1", marks=pytest.mark.needs("audits")),
        pytest.param("audits list", marks=pytest.mark.needs("audits")),
        "keys list",
        "miners list",
    ],
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_commands(data_dir: Path, words: str, *, as_json: bool) -> None:
    more = ["--json"] if as_json else []
    printed = on_terminal(COMMAND, *words.split(), *more, "--data-dir", data_dir, NO_COLOR="1", TERM="dumb")
    assert "clean" in printed
    assert not (set(HOSTILE) - set(HARMLESS)) & set(printed)


def test_the_log_has_no_sequences_but_its_colours() -> None:
    printed = on_terminal(sys.executable, "-c", LOG.format(text=HOSTILE), TERM="xterm")
    assert printed.count(HARMLESS) >= 3
    assert "\x1b[3" in printed, "the log has colours"
    for sequence in ("\x1b]", "\x1b[2J", "\x07", "\x7f", "\x9b", "\u202e"):
        assert sequence not in printed
