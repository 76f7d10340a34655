"""An answer's head and body leave in one write, and the head of a stream does not wait for its body."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.coordinator.http.server import _Joined


class Recording:
    """A transport that records what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.written.append(b"closed")


async def written(*steps: bytes | None) -> list[bytes]:
    """Write these; None lets the event loop run once, and an empty step closes."""
    transport: Any = Recording()
    joined = _Joined(transport, asyncio.get_running_loop())
    for step in steps:
        if step is None:
            await asyncio.sleep(0)
        elif step:
            joined.write(step)
        else:
            joined.close()
    await asyncio.sleep(0)
    return transport.written


def test_a_head_and_its_body_are_written_together() -> None:
    assert asyncio.run(written(b"head", b"body")) == [b"headbody"]


def test_the_head_of_a_stream_is_written_before_its_body() -> None:
    assert asyncio.run(written(b"head", None, b"one", b"two")) == [b"head", b"one", b"two"]


def test_a_head_without_a_body_is_written() -> None:
    assert asyncio.run(written(b"head")) == [b"head"]


def test_closing_writes_the_head_first() -> None:
    assert asyncio.run(written(b"head", b"")) == [b"head", b"closed"]
