"""The agent's log: what happens to it must not happen to the agent."""

from __future__ import annotations

import subprocess
import sys

LOGS_TO_NOBODY = """
import os, sys
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 2)
import structlog
from agent.cli.terminal.logs import configure
from agent.settings import LogSettings
configure(LogSettings(format=sys.argv[1]))
for _ in range(3):
    structlog.get_logger().error("something_happened", what="x" * 100_000)
print("went on")
"""


def test_a_reader_of_the_log_that_is_gone_ends_nothing() -> None:
    """Its pipe is closed; the program goes on without being told."""
    for form in ("text", "json"):
        done = subprocess.run(
            [sys.executable, "-c", LOGS_TO_NOBODY, form],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == "went on\n", done.stderr
