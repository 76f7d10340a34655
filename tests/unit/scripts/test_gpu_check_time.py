"""The budget of time of `scripts/gpu_check.py`, and its table if the program is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.system

SCRIPTS = Path(__file__).parents[3] / "scripts"

PROGRAM = """
import sys
sys.path.insert(0, {scripts!r})
import gpu_check
import gpu_check_report
from gpu_check_report import CHECKS, Failed, NotChecked, Part
import os, pathlib, subprocess, time
CHECKS.all.clear()
{checks}
sys.exit(gpu_check.main())
"""

HANGS = """
@CHECKS.add("quick", "nothing", Part.FACTS, 1)
def quick(machine):
    return "done"

@CHECKS.add("hangs", "nothing", Part.FACTS, 1)
def hangs(machine):
    # A program in a session of its own, as those in the sandboxes are.
    program = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    file = pathlib.Path({pids!r})
    file.with_suffix(".new").write_text(f"{{os.getpid()}} {{program.pid}}")
    file.with_suffix(".new").rename(file)
    time.sleep(3600)

@CHECKS.add("next", "nothing", Part.ENGINES, {seconds})
def following(machine):
    return "done"
"""


def program(checks: str) -> list[str]:
    """Return the command of a `gpu_check.py` with these checks only."""
    return [sys.executable, "-c", PROGRAM.format(scripts=str(SCRIPTS), checks=checks)]


def hanging(directory: Path, seconds: float = 1) -> str:
    return HANGS.format(pids=str(directory / "pids"), seconds=seconds)


def table(file: Path) -> list[tuple[Any, ...]]:
    return [(line["name"], line["status"], line["detail"]) for line in json.loads(file.read_text())]


def wait_until_ended(*pids: int) -> None:
    end = time.monotonic() + 60
    while any(running(pid) for pid in pids):
        assert time.monotonic() < end, pids
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_check_that_hangs_is_ended_with_all_that_it_started_and_the_next_one_runs(tmp_path: Path) -> None:
    checks = hanging(tmp_path) + "gpu_check_report.UNHURRIED_SECONDS = 3.0"
    done = subprocess.run(program(checks), capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "it was ended after 3 s without a result, 1 s were expected" in done.stdout
    assert done.stdout.endswith("2 ok, 1 failed, 0 not checked\n")
    assert not any(map(running, map(int, (tmp_path / "pids").read_text().split())))


@pytest.mark.ship
def test_a_budget_ends_a_running_check_and_leaves_out_those_that_do_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    command = [*program(hanging(tmp_path)), "--seconds", "15", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    quick, hangs, following = table(file)
    assert quick == ("quick", "ok", "done")
    assert hangs[:2] == ("hangs", "not checked")
    assert hangs[2].startswith("no time left: it was ended after ")
    assert following[:2] == ("next", "not checked")
    assert following[2].startswith("no time left: it takes about 1 s")
    assert not any(map(running, map(int, (tmp_path / "pids").read_text().split())))


def test_a_check_that_ends_its_process_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    checks = """
@CHECKS.add("dies", "nothing", Part.FACTS, 1)
def dies(machine):
    os.kill(os.getpid(), 11)

@CHECKS.add("next", "nothing", Part.FACTS, 1)
def following(machine):
    return "done"
"""
    file = tmp_path / "table.json"
    done = subprocess.run(
        [*program(checks), "--json", str(file)], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert table(file) == [("dies", "failed", "its process ended (SIGSEGV)"), ("next", "ok", "done")]


def test_the_table_is_complete_when_the_program_is_killed(tmp_path: Path) -> None:
    file, pids = tmp_path / "table.json", tmp_path / "pids"
    with subprocess.Popen(
        [*program(hanging(tmp_path)), "--json", str(file)], stdout=subprocess.DEVNULL
    ) as process:
        end = time.monotonic() + 120
        while not pids.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.kill()
    assert table(file) == [
        ("quick", "ok", "done"),
        ("hangs", "not checked", "it was running"),
        ("next", "not checked", "it was not reached"),
    ]
    checking, started = map(int, pids.read_text().split())
    wait_until_ended(checking)
    # Nobody is left who could end it.
    psutil.Process(started).kill()


def test_the_plan_names_what_is_missing_and_what_fits(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [
        sys.executable,
        str(SCRIPTS / "gpu_check.py"),
        "--plan",
        "--seconds",
        "60",
        "--models",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    lines = done.stdout.splitlines()
    assert sum("scripts/gpu_check.py --part" in line for line in lines) == 4
    sandbox = next(line for line in lines if line.split()[:1] == ["sandbox"])
    assert sandbox.split() == ["sandbox", "45", "card", "or", "--rehearse", "not", "checked:", "no", "card"]
    onnx = next(line for line in lines if "whisper, onnx-asr" in line)
    assert onnx.endswith(f"no */encoder-model.onnx in {tmp_path}")
    assert lines[-1] == "In 60 s on this machine: signatures beside it."
