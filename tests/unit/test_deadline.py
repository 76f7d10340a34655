"""Blocking calls with a time limit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from agent.deadline import call_within


def test_the_result_or_error_of_the_function_reaches_the_caller():
    assert asyncio.run(call_within(5, lambda: threading.current_thread().name, name="asking")) == "asking"
    with pytest.raises(ZeroDivisionError):
        asyncio.run(call_within(5, lambda: 1 / 0, name="dividing"))


def test_a_call_that_never_returns_blocks_neither_the_caller_nor_the_exit():
    program = """
import asyncio, threading
from agent.deadline import call_within
try:
    asyncio.run(call_within(0.1, threading.Event().wait, name="hanging"))
except TimeoutError:
    print("given up")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "given up\n"


def test_the_result_of_a_late_call_is_discarded():
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(60)
        threading.Timer(0, ended.set).start()

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await call_within(0.05, work, name="late")
        release.set()
        assert await asyncio.to_thread(ended.wait, 10)

    asyncio.run(run())
