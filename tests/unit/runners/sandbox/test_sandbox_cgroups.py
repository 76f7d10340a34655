"""Control groups for runs. The kernel's part is tested on machines where such groups can be created."""

from __future__ import annotations

import dataclasses
import os
import textwrap

import pytest

from runners.sandbox import Sandbox, cgroups
from runners.sandbox.watch import Ended, Limits

LIMITS = Limits(memory=128 * 2**20, output=2**31, seconds=60, cpu_seconds=60, processes=20)
PYTHON = "/usr/bin/python3"


@pytest.fixture
def imitation(tmp_path, monkeypatch):
    """A directory in place of the parent of the runs' groups."""
    monkeypatch.setattr(cgroups, "base", lambda: tmp_path)
    return tmp_path


def test_the_limits_are_written_in_the_kernels_format(imitation):
    group = cgroups.create(memory=2**30, processes=64, cpus=None)
    assert group is not None
    written = {path.name: path.read_text() for path in group.path.iterdir()}
    assert written == {"memory.max": str(2**30), "memory.oom.group": "1", "pids.max": "64"}
    assert group.path.parent == imitation


def test_two_runs_have_separate_groups(imitation):
    first, second = (cgroups.create(memory=1, processes=1, cpus=None) for _ in range(2))
    assert first != second


def test_the_kernels_counters_are_read(imitation):
    group = cgroups.create(memory=1, processes=1, cpus=None)
    assert not group.ran_out_of_memory()
    (group.path / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 1\n")
    (group.path / "pids.events").write_text("max 3\n")
    (group.path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    assert group.ran_out_of_memory()
    assert group.was_refused_processes()
    assert group.cpu_seconds() == 1.5


def test_a_run_without_a_group_is_bounded_by_the_watch(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "base", lambda: tmp_path / "gone")
    assert cgroups.create(memory=1, processes=1, cpus=None) is None


@pytest.mark.parametrize(
    ("groups", "mounts", "found"),
    [
        ("0::/system.slice/x.service\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/system.slice/x.service"),
        ("0::/\n", "30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup"),
        ("4:memory:/x\n0::/x\n", "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified/x"),
        ("0::/docker/abc\n", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "/sys/fs/cgroup"),
        ("0::/../outside\n", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n", None),
        ("4:memory:/x\n", "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", None),
    ],
)  # fmt: skip
def test_the_own_group_is_found(monkeypatch, groups, mounts, found):
    texts = {"/proc/self/cgroup": groups, "/proc/self/mountinfo": mounts}
    monkeypatch.setattr(cgroups.Path, "read_text", lambda path, **_: texts[str(path)])
    own = cgroups._own()
    assert (None if own is None else str(own[1])) == found


@pytest.fixture
def attack(tools, tmp_path):
    """Run a Python program in the sandbox and in a group."""
    if cgroups.base() is None:
        pytest.skip(
            "this process may not make control groups with the controllers of memory and processes (cgroup v2)"
        )

    def run(source, **limits):
        sandbox = Sandbox(tools, dataclasses.replace(LIMITS, **limits))
        directory = sandbox.write(tmp_path, "/work")
        return sandbox.run([PYTHON, "-c", textwrap.dedent(source)], directory=directory)

    yield run
    assert not list(cgroups.base().glob(f"run-{os.getpid()}-*"))


def test_attack_unmapped_memory_never_exceeds_the_limit(attack, tmp_path):
    """The program reports its progress: the kernel ends it at the limit, before /proc is read."""
    outcome = attack("""
        import os
        progress = open("progress", "w")
        file = os.memfd_create("x")
        for written in range(1200):
            os.write(file, bytes(2**20)); print(written, file=progress, flush=True)
    """)
    assert outcome.ended is Ended.MEMORY
    assert int((tmp_path / "progress").read_text().split()[-1]) < 128


def test_attack_a_fork_bomb_never_exceeds_the_process_limit(attack, tmp_path):
    outcome = attack("""
        import os
        while True:
            try: os.fork()
            except OSError: continue
            open(str(os.getpid()), "w").close()
    """)
    assert outcome.ended is Ended.PROCESSES


def test_processor_time_is_limited(attack):
    outcome = attack(
        """
        import time
        end = time.monotonic() + 3
        while time.monotonic() < end: pass
        """,
        cpus=0.25,
    )
    assert outcome.ended is Ended.EXITED
    assert outcome.cpu_seconds < 1.5


def test_ended_processes_are_counted(attack):
    outcome = attack(
        """
        import os, signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        for _ in range(4):
            if os.fork() == 0:
                sum(range(10**7)); os._exit(0)
        try: os.wait()
        except OSError: pass
        """
    )
    assert outcome.ended is Ended.EXITED
    assert outcome.cpu_seconds > 0.2
