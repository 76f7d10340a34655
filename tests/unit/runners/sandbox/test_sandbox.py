"""What a program can and cannot do in the sandbox, and how each limit ends it."""

from __future__ import annotations

import dataclasses
import os
import time

import psutil
import pytest

from runners.api import Cancelled, Device, Retry
from runners.ffmpeg.process import job_limits
from runners.sandbox import Sandbox, unavailable
from runners.sandbox.watch import Ended, Limits

LIMITS = Limits(memory=256 * 2**20, output=4 * 2**20, seconds=20, cpu_seconds=20, processes=24)
PYTHON = "/usr/bin/python3"


@pytest.fixture(params=["bubblewrap", "landlock", "off"])
def either(tools, request):
    """The tools with and without the sandbox: the limits apply to both."""
    return dataclasses.replace(tools, sandbox=request.param)


@pytest.fixture
def execute(tmp_path):
    """Run a shell command in a writable directory; return the outcome and the printed lines."""

    def run(tools, *command, device=None, environment=None, on_cancel=None, **limits):
        sandbox = Sandbox(tools, dataclasses.replace(LIMITS, **limits), device, environment or {})
        directory = tmp_path / "writable"
        directory.mkdir(exist_ok=True)
        lines = []
        seen = sandbox.write(directory, "/work")
        outcome = sandbox.run(command, directory=seen, on_line=lines.append, on_cancel=on_cancel)
        return outcome, lines

    return run


def test_output_exit_code_and_the_end_of_standard_error_are_returned(execute, either):
    outcome, lines = execute(either, "sh", "-c", "echo one; echo two; echo oops >&2; exit 3")
    assert (outcome.ended, outcome.exit_code, outcome.stderr) == (Ended.EXITED, 3, "oops\n")
    assert lines == ["one", "two"]


def test_only_the_end_of_standard_error_is_retained(execute, either):
    outcome, _ = execute(either, "sh", "-c", "yes complaint | head -n 100000 >&2; echo last >&2")
    assert len(outcome.stderr) <= 64 * 1024
    assert outcome.stderr.endswith("last\n")


def test_a_line_without_end_does_not_fill_the_memory(execute, either):
    _, lines = execute(either, "sh", "-c", "head -c 30000000 /dev/zero")
    assert max(len(line) for line in lines) <= 64 * 1024


@pytest.mark.parametrize(
    ("command", "limits", "ended"),
    [
        (("sh", "-c", "sleep 60"), {"seconds": 1}, Ended.DEADLINE),
        (("sh", "-c", "while :; do :; done"), {"cpu_seconds": 1}, Ended.CPU),
        (("sh", "-c", "head -c 9000000 /dev/zero > big"), {}, Ended.OUTPUT),
        ((PYTHON, "-c", "import time\nfor n in range(9): open(str(n), 'wb').write(bytes(10**6))\ntime.sleep(60)"), {}, Ended.OUTPUT),
        ((PYTHON, "-c", "import time\nfor n in range(90): open(str(n), 'wb')\ntime.sleep(60)"), {"files": 50}, Ended.OUTPUT),
        ((PYTHON, "-c", "import os, time\nfor _ in range(4):\n  if not os.fork(): x = b'x' * (120 * 2**20); time.sleep(60)\ntime.sleep(60)"), {}, Ended.MEMORY),
        (("sh", "-c", "for n in 1 2 3 4 5 6 7 8 9 10; do sleep 60 & done; wait"), {"processes": 8}, Ended.PROCESSES),
    ],
)  # fmt: skip
def test_each_limit_ends_the_program_and_is_reported(execute, either, command, limits, ended):
    began = time.monotonic()
    outcome, _ = execute(either, *command, **limits)
    assert outcome.ended in (ended, Ended.EXITED) if ended is Ended.PROCESSES else outcome.ended is ended
    assert outcome.exit_code != 0
    assert time.monotonic() - began < 120


def test_one_process_gets_no_more_memory_than_allowed(execute, either):
    outcome, _ = execute(either, PYTHON, "-c", "bytearray(10**9)")
    assert "MemoryError" in outcome.stderr


def test_a_callback_that_raises_ends_the_program(tools):
    sandbox = Sandbox(tools, LIMITS)

    def refuse(line):
        raise LookupError(line)

    began = time.monotonic()
    with pytest.raises(LookupError):
        sandbox.run(["sh", "-c", "echo x; sleep 600"], on_line=refuse)
    assert time.monotonic() - began < 300


def test_cancelling_kills_the_whole_tree(either, eventually):
    kill, lines = [], []

    def cancel(line):
        lines.append(line)
        kill[0]()

    script = f"trap '' TERM INT; sleep 600.{os.getpid()} & echo started; sleep 600; wait"
    began = time.monotonic()
    with pytest.raises(Cancelled):
        Sandbox(either, LIMITS).run(["sh", "-c", script], on_line=cancel, on_cancel=kill.append)
    assert lines == ["started"]
    assert time.monotonic() - began < 300
    command = ["sleep", f"600.{os.getpid()}"]
    eventually(
        lambda: not any(process.info["cmdline"] == command for process in psutil.process_iter(["cmdline"])), 5
    )


def test_only_granted_paths_are_visible(execute, tools, tmp_path):
    outside = tmp_path / "secret"
    outside.write_text("private")
    _, lines = execute(
        tools, "sh", "-c", f"cat {outside} /etc/passwd; ls -A / /etc; env", environment={"EXTRA": "1"}
    )
    assert "private" not in "".join(lines)
    seen = set(lines)
    assert not {"home", "root", "var", "passwd", "hostname"} & seen
    assert "EXTRA=1" in seen
    assert not [line for line in lines if line.startswith("AITBC")]


def test_a_granted_file_can_be_read_but_not_changed(tools, tmp_path):
    file = tmp_path / "input"
    file.write_text("content")
    sandbox = Sandbox(tools, LIMITS)
    path = sandbox.read(file, "/input/file")
    lines = []
    outcome = sandbox.run(["sh", "-c", f"cat {path}; echo more >> {path}"], on_line=lines.append)
    assert (lines, outcome.exit_code != 0, file.read_text()) == (["content"], True, "content")


def test_only_the_granted_directory_can_be_written(execute, tools, tmp_path):
    _, lines = execute(
        tools,
        "sh",
        "-c",
        "for path in / /usr /etc /dev /proc/sys/kernel /work; do touch $path/written 2>/dev/null && echo $path; done",
    )
    assert lines == ["/work"]
    assert (tmp_path / "writable" / "written").exists()


def test_there_are_no_capabilities_and_none_can_be_gained(execute, tools):
    _, lines = execute(
        tools,
        "sh",
        "-c",
        "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; unshare -Ur true || echo refused",
    )
    assert [line.split()[1] for line in lines[:3]] == ["0000000000000000", "0000000000000000", "1"]
    assert lines[-1] == "refused"


@pytest.mark.parametrize(
    ("device", "visible"),
    [(Device("cpu", "x"), [""]), (Device("cuda", "x", "GPU-1"), ["GPU-1"]), (Device("cuda", "any"), [])],
)
def test_a_program_sees_only_its_gpu(execute, tools, device, visible):
    _, lines = execute(tools, "env", device=device)
    assert [line.split("=", 1)[1] for line in lines if line.startswith("CUDA_VISIBLE_DEVICES=")] == visible


def test_a_missing_program_is_a_machine_fault(tools):
    with pytest.raises(Retry) as caught:
        Sandbox(tools, LIMITS).program("/nonexistent/program")
    assert caught.value.code == "PROGRAM_MISSING"


def test_nothing_runs_without_bubblewrap(tools):
    broken = dataclasses.replace(tools, sandbox="bubblewrap", bubblewrap="/nonexistent/bwrap")
    assert "install bubblewrap" in (unavailable(broken) or "")
    with pytest.raises(Retry) as caught:
        Sandbox(broken, LIMITS).run(["true"])
    assert caught.value.code == "SANDBOX_UNAVAILABLE"


def test_a_granted_path_below_one_of_the_sandboxs_own_is_visible(tools, tmp_path):
    """A home may be below /work; the order of the grants must not matter."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "file").write_text("here\n")
    (tmp_path / "scratch").mkdir()
    sandbox = Sandbox(tools, LIMITS)
    home = sandbox.read(tmp_path / "home", "/work/somebody/home")
    sandbox.write(tmp_path / "scratch", "/work")
    lines = []
    outcome = sandbox.run(["cat", f"{home}/file"], on_line=lines.append)
    assert (outcome.exit_code, lines) == (0, ["here"])


THREADS = """
import sys, threading
threading.stack_size(65536)
end = threading.Event()
threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(int(sys.argv[1]))]
for thread in threads: thread.start()
end.set()
"""


def test_libraries_may_start_a_thread_for_each_processor_of_the_machine(confined, monkeypatch):
    """Three of them on a machine with 128, for a job that may use two. Endlessly many are refused."""
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    for limits in (
        job_limits(confined, Device("cpu", "processor", threads=2), 60),
        Limits(2**30, 2**20, 60, 60),
    ):
        command = [PYTHON, "-I", "-c", THREADS]
        outcome = Sandbox(confined, limits).run([*command, str(3 * 128)])
        assert (outcome.ended, outcome.exit_code) == (Ended.EXITED, 0), outcome.stderr
        assert Sandbox(confined, limits).run([*command, "1000"]).exit_code != 0
