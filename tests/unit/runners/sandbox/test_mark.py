"""All processes of a runner can be found and ended by its mark, even after the runner has ended."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from pathlib import Path

import pytest

from runners.sandbox import Sandbox, mark
from runners.sandbox.watch import Limits

LIMITS = Limits(memory=256 * 2**20, output=4 * 2**20, seconds=20, cpu_seconds=20, processes=24)


@pytest.mark.parametrize("level", ["required", "off"])
def test_a_sandboxed_program_carries_its_runners_mark(tools, tmp_path, monkeypatch, level):
    """It inherits no other variable of the runner."""
    monkeypatch.setenv(mark.VARIABLE, mark.make(tmp_path))
    monkeypatch.setenv("SECRET", "secret")
    lines = []
    Sandbox(dataclasses.replace(tools, sandbox=level), LIMITS, None, {}).run(["env"], on_line=lines.append)
    assert f"{mark.VARIABLE}={os.environ[mark.VARIABLE]}" in lines
    assert not any("SECRET" in line for line in lines)


def test_marked_processes_end_with_all_their_descendants(tmp_path):
    """Those of another runner continue."""
    marks = [mark.make(tmp_path), mark.make(tmp_path)]
    command = ["sh", "-c", "sleep 60 & echo $!; wait"]
    first, second = (
        subprocess.Popen(command, env={**os.environ, mark.VARIABLE: each}, stdout=subprocess.PIPE, text=True)
        for each in marks
    )
    try:
        grandchild = int(first.stdout.readline())
        assert set(mark.end_marked(marks[0])) == {first.pid, grandchild}
        assert first.wait(60) == -signal.SIGKILL
        assert second.poll() is None
        assert len(mark.end_marked(mark.of_directory(tmp_path))) == 2
        assert second.wait(60) == -signal.SIGKILL
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
            process.stdout.close()


def test_a_mark_hides_the_path_and_its_prefix_is_the_same_for_one_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mark.of_directory(Path("miner")) == mark.of_directory(tmp_path / "miner")
    assert "miner" not in mark.make(tmp_path / "miner")
    assert mark.of_directory(tmp_path / "miner") != mark.of_directory(tmp_path / "other")
