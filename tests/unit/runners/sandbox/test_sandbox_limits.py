"""Attacks of a program on the limits of its run: unmapped memory, files that are hard to count."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from runners.sandbox import Sandbox, files
from runners.sandbox.watch import Ended, Limits

MIB = 2**20
LIMITS = Limits(memory=256 * MIB, output=100 * MIB, seconds=30, cpu_seconds=60, processes=24)
PYTHON = "/usr/bin/python3"
NOBODY = 65534


@pytest.fixture
def directory():
    """The program's writable directory, which other users can reach.

    Not below pytest's own, which are closed to others and whose removal fails on a deep tree.
    """
    above = Path(tempfile.mkdtemp(prefix="aitbc-limits-"))
    above.chmod(0o755)
    made = above / "writable"
    made.mkdir()
    yield made
    files.remove(above)


@pytest.fixture
def attack(tools, directory):
    """Run a Python program in the sandbox, in a writable directory; return the outcome and the elapsed time."""

    def run(source, **limits):
        sandbox = Sandbox(tools, dataclasses.replace(LIMITS, **limits))
        seen = sandbox.write(directory, "/work")
        began = time.monotonic()
        outcome = sandbox.run([PYTHON, "-c", textwrap.dedent(source)], directory=seen)
        return outcome, time.monotonic() - began

    return run


MEMORY = {
    "a memfd that is written and not mapped": """
        import os, time
        file = os.memfd_create("x")
        for _ in range(1200): os.write(file, bytes(2**20))
        time.sleep(60)
    """,
    "many memfds": """
        import os, time
        for _ in range(120):
            file = os.memfd_create("x")
            for _ in range(10): os.write(file, bytes(2**20))
        time.sleep(60)
    """,
    "shared memory whose pages were unmapped": """
        import mmap, time
        for _ in range(12):
            block = mmap.mmap(-1, 100 * 2**20)
            for page in range(0, len(block), 4096): block[page] = 1
            block.madvise(mmap.MADV_DONTNEED)
            globals().setdefault("blocks", []).append(block)
        time.sleep(60)
    """,
    "shared memory that a child wrote and its parent holds": """
        import mmap, os, time
        block = mmap.mmap(-1, 600 * 2**20)
        if os.fork() == 0:
            for page in range(0, len(block), 4096): block[page] = 1
            os._exit(0)
        os.wait()
        time.sleep(60)
    """,
    "a memfd of a process that hides": """
        import ctypes, os, time
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
        file = os.memfd_create("x")
        for _ in range(600): os.write(file, bytes(2**20))
        time.sleep(60)
    """,
    "the memory disks": """
        import time
        for path in ("/tmp/x", "/dev/shm/x"):
            with open(path, "wb") as file:
                for _ in range(60): file.write(bytes(2**20))
        block = bytearray(b"x") * (160 * 2**20)
        time.sleep(60)
    """,
}


@pytest.mark.parametrize("source", MEMORY.values(), ids=MEMORY)
def test_attack_memory_outside_any_process_is_counted(attack, source):
    outcome, seconds = attack(source, output=2000 * MIB)
    assert outcome.ended is Ended.MEMORY
    assert seconds < LIMITS.seconds


def test_attack_detached_system_v_segments(attack):
    """Detached segments are refused or counted."""
    outcome, seconds = attack("""
        import ctypes, time
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
        libc.shmdt.argtypes = [ctypes.c_void_p]
        for _ in range(6):
            segment = libc.shmget(0, 100 * 2**20, 0o1600)
            if segment < 0: raise SystemExit("refused")
            address = libc.shmat(segment, None, 0)
            ctypes.memset(address, 1, 100 * 2**20)
            libc.shmdt(address)
        time.sleep(60)
    """)
    assert outcome.ended is Ended.MEMORY or outcome.stderr == "refused\n"
    assert seconds < LIMITS.seconds


FILES = {
    "1,500 nested directories": (
        """
        import os, time
        for _ in range(1500):
            os.mkdir("d"); os.chdir("d")
        time.sleep(60)
        """,
        "nested more than 100 deep",
    ),
    "large files below a path that is longer than a path may be": (
        """
        import os, time
        for _ in range(40):
            os.mkdir("d" * 200); os.chdir("d" * 200)
        for n in range(9): open(str(n), "wb").write(bytes(50 * 2**20))
        time.sleep(60)
        """,
        "more than 100 MiB",
    ),
    "sparse files": (
        """
        import os, time
        for n in range(6):
            with open(str(n), "wb") as file: file.truncate(90 * 2**20)
        time.sleep(60)
        """,
        "more than 100 MiB",
    ),
    "files without a name": (
        """
        import os, time
        files = []
        for n in range(6):
            files.append(open("x", "wb")); os.unlink("x"); files[-1].write(bytes(50 * 2**20)); files[-1].flush()
        time.sleep(60)
        """,
        "deleted open files",
    ),
    "all at once before the first inspection": (
        """
        for n in range(3): open(str(n), "wb").truncate(90 * 2**20)
        """,
        "more than 100 MiB",
    ),
    "too many directories": (
        """
        import os
        for n in range(300): os.mkdir(str(n))
        """,
        "more than 200 files and directories",
    ),
}


@pytest.mark.ship
@pytest.mark.parametrize(("source", "reason"), FILES.values(), ids=FILES)
def test_attack_files_that_are_hard_to_count(attack, source, reason):
    outcome, seconds = attack(source, files=200)
    assert outcome.ended is Ended.OUTPUT
    assert reason in outcome.reason
    assert seconds < LIMITS.seconds


UNREADABLE = """
    import os, time
    os.mkdir("closed")
    for n in range(4): open(f"closed/{n}", "wb").write(bytes(50 * 2**20))
    os.chmod("closed", 0)
    time.sleep(60)
"""

AS_USER = """
import encodings.ascii, json, os, sys  # Python's own files may lie where only root can read them later
from pathlib import Path
from runners.api import Tools
from runners.sandbox import Sandbox, files, unavailable
from runners.sandbox.watch import Limits
directory, source, output = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
tools = Tools(sandbox=sys.argv[4])
unavailable(tools)  # loads what is needed
if os.getuid() == 0 and sys.argv[5] == "user":
    os.chown(directory, 65534, 65534)
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.chdir("/")
sandbox = Sandbox(tools, Limits(memory=256 * 2**20, output=output, seconds=30, cpu_seconds=60, processes=24))
seen = sandbox.write(directory, "/work")
outcome = sandbox.run(["/usr/bin/python3", "-c", source], directory=seen)
for entry in list(directory.iterdir()):
    files.remove(entry)
print(json.dumps([outcome.ended, outcome.reason, outcome.stderr, sorted(os.listdir(directory))]))
"""


@pytest.fixture
def attack_as_user(directory):
    """Run it with an agent that is not root. Return how and why the program ended, and the files left after removal."""

    def run(source, sandbox="auto", become="user", prefix=()):
        arguments = [str(directory), textwrap.dedent(source), str(2000 * MIB), sandbox, become]
        done = subprocess.run(
            [*prefix, sys.executable, "-c", AS_USER, *arguments],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_attack_a_directory_that_its_owner_cannot_read(attack):
    """An agent that is root can read it and counts its files."""
    outcome, _ = attack(UNREADABLE)
    assert outcome.ended is Ended.OUTPUT


@pytest.mark.ship
@pytest.mark.parametrize(
    ("source", "ended", "reason"),
    [
        (UNREADABLE, "output", "a directory that cannot be read"),
        (FILES["1,500 nested directories"][0], "output", "nested"),
        (MEMORY["a memfd that is written and not mapped"], "memory", ""),
        (MEMORY["a memfd of a process that hides"], "memory", "hide"),
        (MEMORY["shared memory whose pages were unmapped"], "memory", ""),
    ],
)
def test_attack_on_an_agent_that_is_not_root(attack_as_user, source, ended, reason):
    outcome, said, complaint, left = attack_as_user(source)
    assert outcome == ended, complaint
    assert reason in said
    assert left == []


@pytest.mark.ship
@pytest.mark.parametrize(
    "name", ["a memfd that is written and not mapped", "a memfd of a process that hides"]
)
@pytest.mark.skipif(os.getuid() != 0, reason="only an agent that is root gives runs users of their own")
def test_attack_on_an_agent_in_a_container(attack_as_user, name):
    """It is root without the right to inspect other users' processes, as in containers by default."""
    without = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
    outcome, _, complaint, _ = attack_as_user(MEMORY[name], "landlock", "nobody", without)
    assert outcome == "memory", complaint


@pytest.mark.ship
def test_the_total_processor_time_of_all_processes_is_bounded(attack):
    outcome, seconds = attack(
        """
        import os
        for _ in range(3): os.fork()
        while True: pass
        """,
        cpu_seconds=1,
    )
    assert outcome.ended is Ended.CPU
    assert seconds < LIMITS.seconds
