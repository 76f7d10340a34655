"""Notices: once for each event, by a real server and a real command."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent.miner.notices.conditions import Condition, NoticeState
from agent.miner.notices.delivery import Notice, NotSent, send
from agent.miner.settings import NoticeSettings

pytestmark = pytest.mark.anyio

HOT = Condition("gpu_hot", "GPU-1", "GPU 0 has 95 °C.")
LOST = Condition("gpu_lost", "GPU-1", "GPU 0 is lost.")
NOTICE = Notice("gpu_hot", "GPU 0 has 95 °C. Check its fans.", "rig-1", "GPU-1", 1_700_000_000.0)
QUIET, HOLD = 3600.0, 60.0


class Owner(ThreadingHTTPServer):
    """A server that stores what it gets, and answers `status`."""

    status = 204

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/secret"


class _Handler(BaseHTTPRequestHandler):
    server: Owner

    def do_POST(self) -> None:
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def owner() -> Iterator[Owner]:
    with Owner() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


class Story:
    """A history of conditions, in minutes."""

    def __init__(self) -> None:
        self.state = NoticeState()

    def at(self, minute: float, *conditions: Condition) -> list[str]:
        """Return the notices that are due, which are sent."""
        now = 1_000_000.0 + minute * 60
        # As after a restart.
        state = NoticeState.model_validate_json(self.state.model_dump_json()).seen(conditions, now)
        due = state.due(conditions, now, hold=HOLD, quiet=QUIET)
        for condition in due:
            state = state.with_sent(condition, now, quiet=QUIET)
        self.state = state
        return [condition.kind for condition in due]


def test_an_event_is_notified_once_and_again_only_after_a_quiet_period() -> None:
    story = Story()
    assert story.at(0, HOT) == []
    assert story.at(0.9, HOT) == []
    assert story.at(1, HOT, LOST) == ["gpu_hot"]
    assert story.at(2, HOT, LOST) == ["gpu_lost"]
    assert story.at(600, HOT) == []
    # It has ended, and begins again within the quiet period of the latest notice, which was long ago.
    assert story.at(601) == []
    assert story.at(602, HOT) == []
    assert story.at(604, HOT) == ["gpu_hot"]
    assert story.at(605) == []
    assert story.at(606, HOT) == []
    assert story.at(620, HOT) == []
    # It lasts beyond the quiet period: its owner must know.
    assert story.at(664, HOT) == ["gpu_hot"]


async def test_a_notice_reaches_a_server_and_a_command(owner: Owner, tmp_path: Path) -> None:
    script = tmp_path / "mail"
    script.write_text(f'#!/bin/sh\ncat > {tmp_path}/mail.txt\necho "$@" > {tmp_path}/arguments.txt\n')
    script.chmod(0o755)
    await send(NOTICE, NoticeSettings(webhook=owner.url, command=(str(script), "-s", "a subject; $HOME")))
    words = "rig-1: GPU 0 has 95 °C. Check its fans."
    assert (tmp_path / "mail.txt").read_text() == f"{words}\n"
    assert (tmp_path / "arguments.txt").read_text() == "-s a subject; $HOME\n"
    assert owner.received == [
        {
            "text": words, "content": words, "event": "gpu_hot", "machine": "rig-1", "gpu": "GPU-1", "time": "2023-11-14T22:13:20.000Z",
        }
    ]  # fmt: skip


async def test_a_way_that_fails_says_why_and_one_that_works_is_enough(owner: Owner, tmp_path: Path) -> None:
    """The address is not part of an error, since it is the secret of many services."""
    owner.status = 403
    failing = ("sh", "-c", "echo no such mailbox >&2; exit 3")
    with pytest.raises(NotSent, match="answers 403") as error:
        await send(NOTICE, NoticeSettings(webhook=owner.url))
    assert "secret" not in str(error.value)
    with pytest.raises(NotSent, match="exits with 3: no such mailbox"):
        await send(NOTICE, NoticeSettings(command=failing))
    with pytest.raises(NotSent, match="cannot be started"):
        await send(NOTICE, NoticeSettings(command=(str(tmp_path / "missing"),)))
    began = time.monotonic()
    with pytest.raises(NotSent, match="took longer"):
        await send(NOTICE, NoticeSettings(command=("sleep", "300"), timeout_seconds=0.2))
    assert time.monotonic() - began < 250
    owner.status = 200
    await send(NOTICE, NoticeSettings(webhook=owner.url, command=failing))
    assert len(owner.received) == 2
