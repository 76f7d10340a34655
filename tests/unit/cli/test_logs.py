"""The agent's log: its failures must not affect the agent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.terminal.problem_file import ProblemFile

LOGS_WITHOUT_A_READER = """
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


STORES_PROBLEMS = """
import logging, sys
from pathlib import Path
import structlog
from agent.cli.terminal.logs import configure
from agent.cli.terminal.problem_file import ProblemFile
from agent.settings import LogSettings
configure(LogSettings(format=sys.argv[1]), problems=ProblemFile(Path(sys.argv[2])))
structlog.get_logger().info("routine")
structlog.get_logger().warning("something_odd", level_of_water=3)
logging.getLogger("library").error("of a %s", "library")
try:
    raise ValueError("broken")
except ValueError:
    structlog.get_logger().exception("something_failed")
print("went on")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_warnings_and_errors_are_stored_in_a_file_of_the_data_directory(form: str, tmp_path: Path) -> None:
    """Also those of libraries, with their tracebacks; a file that cannot be written stops nothing."""
    for directory in (tmp_path / "data", tmp_path / "data/logs/agent.log"):
        done = subprocess.run(
            [sys.executable, "-c", STORES_PROBLEMS, form, directory], capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.stdout == "went on\n", done.stderr
    entries = [json.loads(line) for line in (tmp_path / "data/logs/agent.log").read_text().splitlines()]
    assert [(entry["level"], entry["event"]) for entry in entries] == [
        ("warning", "something_odd"),
        ("error", "of a library"),
        ("error", "something_failed"),
    ]
    assert entries[0]["level_of_water"] == 3
    assert "broken" in str(entries[2]["exception"])


def test_the_program_continues_when_the_reader_of_its_log_has_ended() -> None:
    """The pipe is closed, and writing to it raises no error in the program."""
    for form in ("text", "json"):
        done = subprocess.run(
            [sys.executable, "-c", LOGS_WITHOUT_A_READER, form],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == "went on\n", done.stderr


def test_a_problem_is_stored_also_if_its_entry_states_its_level(tmp_path: Path) -> None:
    """An error of the store of problems would become one of the call that logs."""
    entry = {"event": "something_happened", "level": "warning"}
    assert ProblemFile(tmp_path)(None, "warning", entry) is entry
    stored = json.loads((tmp_path / "logs/agent.log").read_text())
    assert (stored["event"], stored["level"]) == ("something_happened", "warning")
