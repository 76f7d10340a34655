"""The agent's log: its failures must not affect the agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.terminal.log_entries import FileSource
from agent.cli.terminal.log_file import LogFile
from agent.core.values.quantities import Bytes
from agent.settings import LogSettings

pytestmark = pytest.mark.system

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
from agent.cli.terminal.log_file import LogFile
from agent.settings import LogSettings
settings = LogSettings(format=sys.argv[1], file=sys.argv[3])
configure(settings, log_file=LogFile(Path(sys.argv[2]), settings))
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
            [sys.executable, "-c", STORES_PROBLEMS, form, directory, "problems"], capture_output=True, text=True, timeout=120, check=False,
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


@pytest.mark.parametrize(
    ("in_journal", "events"), [(False, ["routine", "something_odd"]), (True, ["something_odd"])]
)
def test_the_file_has_all_lines_unless_the_journal_has_them(
    in_journal: bool, events: list[str], tmp_path: Path
) -> None:
    """Whether standard error goes to the journal is what systemd says about that stream."""
    with (tmp_path / "error").open("w") as error:
        status = os.fstat(error.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + (not in_journal)}"}
        script = STORES_PROBLEMS.replace(
            "import structlog",
            "import structlog\nfrom agent.cli.terminal import log_file\nlog_file._control_group = lambda: '/system.slice/aitbc-agent.service'",
            1,
        )
        done = subprocess.run(
            [sys.executable, "-c", script, "json", tmp_path, "auto"], stdout=subprocess.PIPE, stderr=error, env=environment, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.stdout == "went on\n", (tmp_path / "error").read_text()
    lines = (tmp_path / "logs/agent.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines][: len(events)] == events


def test_the_file_is_rotated_at_its_size_and_the_oldest_is_deleted(tmp_path: Path) -> None:
    log_file = LogFile(tmp_path, LogSettings(max_file=Bytes("64Ki"), old_files=2))
    for number in range(50):
        log_file(None, "info", {"event": "something_happened", "number": number, "text": "x" * 8000})
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["agent.log", "agent.log.1", "agent.log.2"]
    assert all(path.stat().st_size <= 64 * 1024 for path in (tmp_path / "logs").iterdir())
    numbers = [entry["number"] for entry in FileSource(tmp_path).stored()]
    assert numbers == list(range(numbers[0], 50))
    assert numbers[0] > 0


def test_the_program_continues_when_the_reader_of_its_log_has_ended() -> None:
    """The pipe is closed, and writing to it raises no error in the program."""
    for form in ("text", "json"):
        done = subprocess.run(
            [sys.executable, "-c", LOGS_WITHOUT_A_READER, form],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.stdout == "went on\n", done.stderr


def test_a_problem_is_stored_also_if_its_entry_states_its_level(tmp_path: Path) -> None:
    """An error of the store of problems would become one of the call that logs."""
    entry = {"event": "something_happened", "level": "warning"}
    assert LogFile(tmp_path)(None, "warning", entry) is entry
    stored = json.loads((tmp_path / "logs/agent.log").read_text())
    assert (stored["event"], stored["level"]) == ("something_happened", "warning")
