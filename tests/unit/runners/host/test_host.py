"""The child process, driven over its socket as by the miner."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path

import psutil
import pytest

from runners.api import Model
from runners.host.context import RunContext
from runners.host.protocol import MAX_FRAME, Cancel, Exit, Load, Run, Unload

TIMEOUT = 300


@pytest.fixture
def environment(tmp_path):
    """A directory on the import path that looks like an installed package with a runner."""
    packages = tmp_path / "packages"
    information = packages / "scripted-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[aitbc.runners]\nscripted = scripted_runner:ScriptedRunner\nconcurrent = scripted_runner:ConcurrentRunner\n"
    )
    shutil.copy(Path(__file__).with_name("scripted_runner.py"), packages)
    return {"PYTHONPATH": str(packages)}


@pytest.fixture
def start_child(start_child):
    return partial(start_child, forked=True)


@pytest.fixture
def child(start_child, environment, tools, device):
    started = start_child("scripted", environment)
    ready = started.configure(tools, device)
    assert (ready.runner.name, ready.runner.version) == ("scripted", "9.9")
    return started


@pytest.fixture
def concurrent_child(start_child, environment, tools, device):
    started = start_child("concurrent", environment)
    started.configure(tools, device)
    return started


@pytest.fixture
def order(tmp_path):
    """Make `Run` messages with new directories."""
    count = 0

    def make(do, text=""):
        nonlocal count
        count += 1
        output, work = tmp_path / f"output{count}", tmp_path / f"work{count}"
        output.mkdir()
        work.mkdir()
        return Run(
            run_id=f"r{count}",
            parameters={"do": do, "text": text},
            output=output,
            work=work,
            timeout_seconds=30,
        )

    return make


def test_a_run_reports_and_ends_with_its_results(child, order):
    run = order("echo", "hello").model_copy(update={"trace_id": "ab" * 16})
    child.send(run)
    started, progress, event, ended, done = (child.receive() for _ in range(5))
    assert (started.type, started.event, started.fields) == (
        "log",
        "started",
        {"trace_id": "ab" * 16, "model": None},
    )
    assert (progress.type, progress.progress, progress.units) == ("progress", 50, Decimal("0.5"))
    assert (event.type, event.kind, event.data) == ("event", "token", {"text": "hello"})
    assert done.results == {"value": "hello", "units": 1.5, "processing_time": done.processing_time}
    assert done.units == Decimal("1.5")
    assert ended.event == "ended"
    assert ended.fields == {
        "trace_id": "ab" * 16, "outcome": "done", "seconds": done.processing_time, "units": "1.5"}  # fmt: skip


def test_what_an_engine_compiles_is_stored_in_the_cache(
    start_child, environment, tools, device, order, tmp_path
):
    """And not in a /tmp from which nothing may be loaded; the owner's own choice counts."""
    started = start_child("scripted", {**environment, "TRITON_CACHE_DIR": "/owners"})
    started.configure(tools, device)
    started.send(order("caches"))
    assert started.until("done").results["value"] == {
        "TRITON_CACHE_DIR": "/owners",
        "TORCHINDUCTOR_CACHE_DIR": f"{tmp_path}/cache/compiled/inductor",
        "VLLM_CACHE_ROOT": f"{tmp_path}/cache/compiled/vllm",
    }


def test_progress_without_a_percentage_repeats_the_last_report(order, monkeypatch):
    monkeypatch.setattr("runners.host.context.PROGRESS_INTERVAL", 0)
    sent = []
    context = RunContext(order("echo"), sent.append, None)
    for report in ((None,), (40, Decimal(2)), (None,)):
        context.progress(*report)
    assert [(each.progress, each.units) for each in sent] == [(0, 0), (40, 2), (40, 2)]


def test_the_log_line_of_a_failed_run_has_its_code_but_not_its_message(child, order):
    child.send(order("fail"))
    child.until("log")
    line = child.until("log")
    error = child.until("error")
    assert (line.event, line.fields) == (
        "ended",
        {"trace_id": None, "outcome": error.kind, "code": error.code},
    )


@pytest.mark.parametrize(("text", "end"), [("", "done"), ("The picture is upside down.", "error")])
def test_a_run_writes_to_the_log_of_its_job(child, order, text, end):
    """Lines arrive before the run's end, a flood of them in few messages, and the number of dropped lines is known."""
    child.send(order("log", text))
    messages = []
    while not messages or messages[-1].type != end:
        messages.append(child.until("job_log", end))
    parts = messages[:-1]
    assert [(line.source, line.text) for line in parts[0].lines] == [
        ("stdout", "loading 100 %"),
        ("stdout", "name ?"),
    ]
    assert parts[-1].lines[-1].text == "the last line"
    assert sum(part.dropped + len(part.lines) for part in parts) == 20_003
    assert all(sum(len(line.text) for line in part.lines) <= 64 * 1024 for part in parts)


def test_one_child_performs_many_runs(child, order):
    for text in ("a", "b", "c"):
        child.send(order("echo", text))
        assert child.until("done").results["value"] == text


def test_a_run_that_fails_leaves_the_child_usable(child, order):
    for do, kind, code, words in (
        ("fail", "fail", "INPUT_INVALID", "upside down"),
        ("retry", "retry", "MACHINE_FAULT", "fan"),
        ("crash", "retry", "RUNNER_CRASHED", "ZeroDivisionError: by the test"),
        ("nan", "retry", "RUNNER_CRASHED", "NaN"),
        ("mark", "retry", "RUNNER_CRASHED", "$file"),
        ("negative", "retry", "RUNNER_CRASHED", "zero or more"),
        ("shape", "retry", "RUNNER_CRASHED", "Answer"),
        ("large", "fail", "RESULT_TOO_LARGE", "16 MiB"),
        ("many", "fail", "RESULT_TOO_LARGE", "900000 values"),
        ("link", "retry", "RUNNER_CRASHED", "regular file"),
        ("outside", "retry", "RUNNER_CRASHED", "subpath"),
    ):
        run = order(do)
        child.send(run)
        error = child.until("error", "done")
        assert (error.type, error.run_id, error.kind, error.code) == ("error", run.run_id, kind, code), do
        assert words in error.message
        child.send(order("echo", "still here"))
        assert child.until("done").results["value"] == "still here"


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered",
        "CUDA failed with error unspecified launch failure",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(...)`",
        "CUDA driver error: invalid argument",
    ],
)
def test_an_unusable_gpu_context_has_its_own_code(child, order, text):
    child.send(order("poison", text))
    error = child.until("error")
    assert (error.kind, error.code) == ("retry", "ENGINE_DIED")


def test_a_card_that_the_engine_has_no_code_for_is_no_fault_of_the_job(child, order):
    child.send(order("poison", "CUDA error: no kernel image is available for execution on the device"))
    error = child.until("error")
    assert (error.kind, error.code) == ("retry", "GPU_UNSUPPORTED")
    assert "or another card" in error.message


def test_a_request_that_the_input_model_refuses_is_no_fault_of_the_client(child, order):
    """The coordinator has accepted it, so this version of the service is another one."""
    child.send(order("echo").model_copy(update={"parameters": {"do": "echo", "colour": "red"}}))
    error = child.until("error")
    assert (error.kind, error.code) == ("retry", "LEASE_MALFORMED")
    assert "colour" in error.message


def test_an_output_file_is_named_by_its_path_below_the_output_directory(child, order):
    child.send(order("file"))
    done = child.until("done", "error")
    assert done.results["file"] == {
        "$file": {
            "path": "a/picture.png",
            "media_type": "image/png",
            "name": "picture.png",
            "extra": {"seed": 7},
        }
    }
    assert done.units == Decimal("0.123457")
    assert done.results["units"] == 0.123457


def test_cancelling_ends_a_run_and_calls_its_callbacks(child, order):
    run = order("wait")
    child.send(run)
    child.until("progress")
    child.send(Cancel(run_id="r1"))
    error = child.until("error")
    assert (error.run_id, error.kind, error.code) == ("r1", "cancelled", "CANCELLED")
    assert (run.work / "cancelled").exists()


def test_a_run_cancelled_before_its_turn_never_starts(child, order):
    child.send(order("wait"))
    child.send(order("echo"))
    child.send(Cancel(run_id="r2"))
    child.until("progress")
    child.send(Cancel(run_id="r1"))
    assert [child.until("error", "done").kind for _ in range(2)] == ["cancelled", "cancelled"]


def test_cancelling_an_ended_run_has_no_effect(child, order):
    child.send(order("echo"))
    child.until("done")
    child.send(Cancel(run_id="r1"))
    child.send(order("echo", "next"))
    assert child.until("done", "error").results["value"] == "next"


def test_loading_and_unloading_are_acknowledged(child):
    child.send(Load(model=Model("tiny", Path("/models/tiny"))))
    loaded = child.until("loaded")
    assert loaded.model == "tiny"
    child.send(Unload())
    assert child.until("unloaded")
    child.send(Load(model=None))
    assert (child.until("loaded").model, loaded.seconds >= 0) == (None, True)


def test_a_model_that_cannot_be_loaded_is_a_machine_fault(child):
    child.send(Load(model=Model("broken", Path("/models/broken"))))
    error = child.until("error")
    assert (error.run_id, error.kind, error.code) == (None, "retry", "MODEL_UNAVAILABLE")


@pytest.mark.parametrize(("do", "weights"), [("echo", "/models/tiny/weights"), ("switch", "{work}/other")])
def test_a_run_reports_the_weights_that_it_used(child, order, do, weights):
    """A receipt identifies the weights that produced the result."""
    child.send(Load(model=Model("tiny", Path("/models/tiny"))))
    child.until("loaded")
    run = order(do)
    child.send(run)
    assert child.until("done").weights == [Path(weights.format(work=run.work))]


def test_a_load_passes_the_gpu_memory_limit_and_reports_the_used_memory(child):
    child.send(Load(model=Model("tiny", Path("/models/tiny")), vram=2**30))
    assert child.until("loaded").vram == 2**30


def test_a_checkpoint_is_handed_over_before_the_run_ends(child, order):
    run = order("keep")
    child.send(run)
    handed = child.until("checkpoint")
    assert (handed.run_id, handed.file.path, handed.file.extra) == (run.run_id, "frame_1.png", {"frame": 1})
    (run.work / "go").touch()
    assert child.until("done")


def test_runs_of_a_concurrent_runner_share_the_child_and_are_cancelled_separately(concurrent_child, order):
    """Both are active at once; the cancelled run ends, and the other continues to its end."""
    child = concurrent_child
    first, second = order("wait"), order("keep")
    child.send(first)
    child.send(second)
    seen = {child.until("progress", "checkpoint").run_id for _ in range(2)}
    assert seen == {first.run_id, second.run_id}
    child.send(Cancel(run_id=first.run_id))
    error = child.until("error")
    assert (error.run_id, error.kind) == (first.run_id, "cancelled")
    (second.work / "go").touch()
    assert child.until("done").run_id == second.run_id


def test_exit_ends_the_child_cleanly(child):
    child.send(Exit())
    assert child.receive() is None
    assert child.process.wait(TIMEOUT) == 0


def test_closing_the_socket_ends_the_child_even_during_a_run(child, order):
    child.send(order("ignore"))
    child.until("progress")
    child.connection.close()
    assert child.process.wait(TIMEOUT) == 0


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack(">I", 4) + b"oops",
        struct.pack(">I", MAX_FRAME + 1),
        struct.pack(">I", 0),
        struct.pack(">I", 22) + b'{"type":"make coffee"}',
    ],
)
def test_a_bad_frame_ends_the_child(child, frame):
    child.connection.sendall(frame)
    assert child.process.wait(TIMEOUT) == 2


def test_a_killed_child_ends_the_stream(child, order):
    child.send(order("die"))
    child.until("log")
    assert child.receive() is None
    assert child.process.wait(TIMEOUT) == -signal.SIGKILL


PARENT = """
import socket, subprocess, sys
ours, theirs = socket.socketpair()
# The grandchild keeps our end open, so that only the death of its parent can end it.
child = subprocess.Popen([sys.executable, "-m", "runners.host", "--service", "scripted", "--fd", str(theirs.fileno())],
                         pass_fds=[theirs.fileno(), ours.fileno()])
from runners.api import Device, Tools
from runners.host.protocol import Configure, encode
ours.sendall(encode(Configure(tools=Tools(), device=Device("cpu", "x"))))
ours.recv(1)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_the_child_dies_with_a_parent_that_was_killed(environment, eventually):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(parent.stdout.readline())
    process = psutil.Process(pid)
    parent.kill()
    parent.wait(TIMEOUT)
    eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    parent.stdin.close()
    parent.stdout.close()


def test_the_child_imports_only_its_own_runner():
    """The start must be quick: no engine and no other runner is imported."""
    code = (
        "import sys, runners.host.process\n"
        "from runners.registry import find\n"
        "find('video_transcoding')\n"
        "print(*sorted(sys.modules))"
    )
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "runners.ffmpeg" in modules
    assert not {
        "runners.whisper",
        "runners.python_model",
        "torch",
        "numpy",
        "whisper",
        "ffmpeg",
        "asyncio.windows_events",
    } & set(modules)


def test_an_unknown_service_ends_the_child_with_a_reason(start_child):
    ours = start_child("no_such_service")
    assert ours.receive() is None
    assert ours.process.wait(TIMEOUT) == 1
    assert "no_such_service" in ours.process.stderr.read().decode()
    assert isinstance(ours.connection, socket.socket)
