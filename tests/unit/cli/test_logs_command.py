"""`aitbc-agent logs`: which lines it shows, from where, and in which words."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli.application import app
from agent.cli.commands.machine import logs
from agent.cli.systemd.systemctl import Systemd
from agent.cli.terminal.log_file import LogFile
from agent.settings import LogSettings
from support.agents import COMMAND

JOB = "job_1"


def written(data_dir: Path) -> LogFile:
    """Write the log of an agent that has done one job and failed at another."""
    log_file = LogFile(data_dir, LogSettings(file="all"))
    with log_file.recorded("start", None):
        log_file(None, "info", {"event": "websocket_open", "url": "http://x"})
        log_file(None, "info", {"event": "job_submitted", "job_id": JOB, "service": "ffmpeg"})
        log_file(None, "info", {"event": "lease_accepted", "job_id": JOB, "service": "ffmpeg", "fence": 1})
        log_file(
            None,
            "warning",
            {
                "event": "job_failed",
                "job_id": "job_2",
                "service": "llm",
                "kind": "retry",
                "code": "NO_MEMORY",
                "error": None,
            },
        )
    return log_file


def shown(data_dir: Path, *options: str) -> list[str]:
    result = CliRunner().invoke(app, ["logs", "--data-dir", str(data_dir), *options])
    assert result.exit_code == 0, result.output
    return [line.partition("  ")[2] or line for line in result.stdout.splitlines()]


def test_the_lines_are_sentences_that_can_be_chosen(tmp_path: Path) -> None:
    written(tmp_path)
    failed = "job_2 failed on this machine; another one may do it (NO_MEMORY). [warning]"
    assert shown(tmp_path)[1:] == [
        "Connected to http://x.",
        "job_1 begins (ffmpeg).",
        failed,
        "The agent has ended.",
    ]
    assert shown(tmp_path, "--lines", "1") == ["The agent has ended."]
    assert shown(tmp_path, "--level", "warning") == [failed]
    assert shown(tmp_path, "--job", JOB) == ["job_1 begins (ffmpeg)."]
    assert shown(tmp_path, "--service", "llm", "--since", "1h") == [failed]
    assert shown(tmp_path, "--since", "2999-01-01") == []
    entries = [
        json.loads(line)
        for line in CliRunner()
        .invoke(app, ["logs", "--data-dir", str(tmp_path), "--json"])
        .stdout.splitlines()
    ]
    assert entries[2]["event"] == "job_submitted"


def test_a_directory_without_a_log_and_a_wrong_time_are_explained(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["logs", "--data-dir", str(tmp_path)])
    assert "Start an agent" in str(result.exception)
    written(tmp_path)
    result = CliRunner().invoke(app, ["logs", "--data-dir", str(tmp_path), "--since", "bogus"])
    assert result.exit_code == 2
    assert "is no time" in result.output


def test_following_shows_new_lines_also_after_a_rotation(tmp_path: Path) -> None:
    log_file = written(tmp_path)
    command = [COMMAND, "logs", "-f", "-n", "1", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("The agent has ended.\n")
        log_file(None, "info", {"event": "model_fetched", "model": "tiny", "seconds": 4})
        assert process.stdout.readline().endswith("tiny was downloaded in 4 s.\n")
        log_file._handler.doRollover()
        log_file(None, "info", {"event": "ready"})
        assert process.stdout.readline().endswith("Ready for jobs.\n")
        process.terminate()


def test_a_service_is_read_from_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program journalctl is a stand-in that prints two messages, one of them not the agent's, and notes its arguments."""
    data = tmp_path / "logs"
    data.mkdir()
    start = {
        "event": "starting",
        "timestamp": "2026-11-30T10:00:00Z",
        "level": "info",
        "journal": "aitbc-agent.service",
        "user": False,
    }
    (data / "agent.log").write_text(json.dumps(start) + "\n")
    messages = [
        json.dumps({"event": "ready", "level": "info", "timestamp": "2026-11-30T10:00:01Z"}),
        "Fatal Python error",
    ]
    records = [{"__CURSOR": "c", "__REALTIME_TIMESTAMP": "1", "MESSAGE": message} for message in messages]
    (tmp_path / "records").write_text("\n".join(map(json.dumps, records)) + "\n")
    program = tmp_path / "bin/journalctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat {tmp_path}/records\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(logs.systemctl, "find", lambda user: Systemd(user, tmp_path, tmp_path))
    assert shown(tmp_path) == ["Ready for jobs.", "Fatal Python error"]
    assert "--unit aitbc-agent.service" in (tmp_path / "arguments").read_text()
    shown(tmp_path, "--since", "1h")
    since = int((tmp_path / "arguments").read_text().partition("--since=@")[2].split()[0])
    assert 3500 < time.time() - since < 3600 + 600
