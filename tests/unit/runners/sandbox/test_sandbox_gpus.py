"""What a program gets that computes on a card, and what it gets not."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from runners.api import Device
from runners.sandbox import Sandbox, level
from runners.sandbox.watch import Limits

LIMITS = Limits(memory=512 * 2**20, output=4 * 2**20, seconds=60, cpu_seconds=60, processes=24)
CARD = Device("cuda", "Card", uuid="GPU-1")
PYTHON = "/usr/bin/python3"

NAMING = """
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>
static void *idle(void *unused) { pause(); return unused; }
int main(void) {
    pthread_t thread;
    return pthread_create(&thread, 0, idle, 0) || pthread_setname_np(thread, "cuda00001400006");
}
"""
"""libcuda's thread, as `cuInit` makes it: named by the thread that created it."""


@pytest.fixture(params=["bubblewrap", "landlock", "off"])
def each(tools, request):
    """The tools with each sandbox, and with none."""
    chosen = dataclasses.replace(tools, sandbox=request.param)
    assert level(chosen) == ("none" if request.param == "off" else request.param)
    return chosen


@pytest.fixture(scope="module")
def naming(tmp_path_factory) -> Path:
    """A program that names a thread as CUDA does."""
    path = tmp_path_factory.mktemp("naming") / "naming"
    command = ["gcc", "-pthread", "-x", "c", "-o", str(path), "-"]
    subprocess.run(command, input=NAMING, text=True, check=True, timeout=60)
    return path


def test_a_program_on_a_card_may_name_its_threads(each, naming):
    """Otherwise CUDA does not start, and everything is computed on the processor."""
    sandbox = Sandbox(each, LIMITS, CARD)
    assert sandbox.run([sandbox.program(str(naming))]).exit_code == 0


def test_a_program_on_a_card_cannot_read_about_other_processes(tools):
    """The right to name its threads is one on its own entry of /proc."""
    landlocked = dataclasses.replace(tools, sandbox="landlock")
    command = ["cat", f"/proc/{os.getpid()}/cmdline"]
    outcome = Sandbox(landlocked, LIMITS, CARD).run(command)
    assert (outcome.exit_code, "Permission denied" in outcome.stderr) == (1, True)


@pytest.mark.ship
@pytest.mark.skipif(not os.access("/proc/sys/vm/drop_caches", os.W_OK), reason="needs root")
def test_a_program_can_name_its_threads_also_after_memory_was_short(tools, naming, tmp_path):
    """The kernel then replaces the entries of /proc that nobody has open, and the rule would be for one of the past."""
    sandbox = Sandbox(dataclasses.replace(tools, sandbox="landlock"), LIMITS, CARD)
    program, directory = sandbox.program(str(naming)), sandbox.write(tmp_path, "/work")

    def free_memory(line: str) -> None:
        # The shell's own entry is held by the sandbox, so the end is seen from that of a process which it started.
        entry = Path(f"/proc/{line}")
        number = entry.stat().st_ino
        while entry.stat().st_ino == number:
            Path("/proc/sys/vm/drop_caches").write_text("2")
        (tmp_path / "freed").touch()

    script = f"sleep 60 & echo $!; until [ -e freed ]; do sleep 0.05; done; kill $!; exec {program}"
    assert sandbox.run(["sh", "-c", script], directory=directory, on_line=free_memory).exit_code == 0
