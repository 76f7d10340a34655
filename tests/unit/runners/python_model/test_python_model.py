"""`ai_inference`: clients' models in the real sandbox, both well-behaved and hostile."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from agent.miner.identity import load_identity
from runners.api import Cancelled, Fail, Retry
from runners.host.protocol import Run
from runners.python_model import PythonModelRunner
from runners.python_model.request import InferenceRequest, upload_field


def failure(predict, source, **options):
    with pytest.raises(Fail) as caught:
        predict(source, **options)
    return caught.value


CLASSIFIER = """
import json
import numpy as np
from PIL import Image

def predict(input, threshold=0.5):
    pixels = np.asarray(Image.open(input).convert("RGB"), dtype=float).mean(axis=(0, 1))
    red = float(pixels[0] / pixels.sum())
    with open("means.json", "w") as out:
        json.dump(pixels.tolist(), out)
    return {"prediction": "red" if red > threshold else "other", "confidence": round(red, 3)}
"""


@pytest.mark.ship
def test_a_numpy_model_classifies_a_jpeg(predict, make_media):
    """The reference's example: a Python entrypoint with requirements, a jpeg in, JSON out."""
    image = make_media("red.jpg", "-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1")
    result, context = predict(CLASSIFIER, input_file=image, requirements=["numpy", "pillow"], timeout=170)
    assert result.results["prediction"] == "red"
    assert result.results["confidence"] > 0.9
    (means,) = result.results["files"]
    assert (means.name, means.media_type, means.path) == (
        "means.json",
        "application/json",
        context.output / "means.json",
    )
    began = time.monotonic()
    again, _ = predict(
        CLASSIFIER, input_file=image, requirements=["pillow", "numpy"], parameters={"threshold": 1}
    )
    assert again.results["prediction"] == "other"
    assert time.monotonic() - began < 30, "an environment that satisfies the requirements is used again"


def test_the_slots_wall_time_is_metered_through_the_child_process(start_child, tools, device, tmp_path):
    """A model that only waits also occupies the slot."""
    output, work = tmp_path / "output", tmp_path / "work"
    output.mkdir()
    work.mkdir()
    source = tmp_path / "model.py"
    source.write_text("import time\ndef predict(input):\n  time.sleep(3)\n  return [1, 2]\n")
    child = start_child("ai_inference")
    child.configure(tools, device)
    parameters = {"model": {"type": "python", "entrypoint": "model.py"}}
    began = time.monotonic()
    child.send(
        Run(
            run_id="r",
            parameters=parameters,
            files={"model.source": source},
            output=output,
            work=work,
            timeout_seconds=60,
        )
    )
    done = child.until("done", "error")
    elapsed = time.monotonic() - began
    assert done.type == "done", done
    assert done.results["value"] == [1, 2]
    assert 3 <= float(done.units) <= elapsed


@pytest.mark.ship
@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("raise KeyError('x')", "MODEL_FAILED"),
        ("time.sleep(60)", "TIMEOUT"),
        ("bytearray(2**40)", "MODEL_FAILED"),
    ],
)
def test_the_units_of_a_run_that_fails_are_reported(tools, device, make_context, tmp_path, end, code):
    source = tmp_path / "model.py"
    source.write_text(f"import time\ndef predict(input):\n  time.sleep(0.5)\n  {end}\n")
    context = make_context({"model.source": source}, timeout=4)
    began = time.monotonic()
    with pytest.raises(Fail) as caught:
        PythonModelRunner(tools, device).run(
            InferenceRequest.model_validate({"model": {"entrypoint": "model.py"}}), context
        )
    assert caught.value.code == code
    units = [float(units) for _, units in context.reported]
    assert units == sorted(units)
    assert 0.5 <= units[-1] <= time.monotonic() - began


def archive(kind: str, directory: Path) -> Path:
    members = {"package/main.py": "from package.labels import LABEL\ndef predict(input): return {'label': LABEL}\n",
               "package/labels.py": "LABEL = 'cat'\n"}  # fmt: skip
    path = directory / f"model.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, text in members.items():
                packed.writestr(name, text)
    else:
        with tarfile.open(path, "w:gz") as packed:
            for name, text in members.items():
                member = tarfile.TarInfo(f"project/{name}")
                member.size = len(text)
                packed.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_contains_a_model_of_several_files(predict, tmp_path, kind):
    result, _ = predict(archive(kind, tmp_path), entrypoint="package/main.py")
    assert result.results == {"label": "cat"}


def test_an_archive_that_cannot_be_unpacked_is_explained(predict, tmp_path):
    """Without the traceback of the program that unpacks it."""
    path = tmp_path / "model.tar"
    with tarfile.open(path, "w") as packed:
        member = tarfile.TarInfo("../outside.py")
        packed.addfile(member)
    with pytest.raises(Fail) as caught:
        predict(path)
    assert "The archive cannot be unpacked: " in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("def predict(input): raise KeyError('no such label')", "MODEL_FAILED", "no such label"),
        ("def predict(input): return float('nan')", "MODEL_FAILED", "nan, which JSON does not have"),
        ("def predict(input): return object()", "MODEL_FAILED", "an object, which JSON does not have"),
        ("def predict(input): return 2 ** 60", "MODEL_FAILED", "2^53"),
        ("def predict(input): return {'$file': {'path': '/etc/passwd'}}", "MODEL_FAILED", "$file"),
        ("def predict(input): return {'files': 1}", "MODEL_FAILED", "files"),
        ("def predict(input): return '\\ud800'", "MODEL_FAILED", "Unicode"),
        ("def predict(input): return 'x' * 9_000_000", "RESULT_TOO_LARGE", "8 MiB"),
        ("def predict(input): return [[]] * 200_000", "RESULT_TOO_LARGE", "200000 values"),
        ("def prediction(input): return 1", "MODEL_FAILED", "defines no function predict"),
        ("import no_such_package", "MODEL_FAILED", "no_such_package"),
        ("import os\ndef predict(input): os._exit(0)", "MODEL_FAILED", "without returning"),
        ("def predict(input):\n  x = []\n  for _ in range(900): x = [x]\n  return x", "MODEL_FAILED", "nested"),
    ],
)  # fmt: skip
def test_a_failing_model_reports_the_reason_to_its_client(predict, body, code, words):
    error = failure(predict, body)
    assert error.code == code
    assert words in str(error)
    assert str(Path.home()) not in str(error)


def test_a_requirement_that_does_not_exist_is_an_input_error(predict):
    error = failure(predict, "def predict(input): return 1", requirements=["numpy==0.0.1"], timeout=120)
    assert error.code == "REQUIREMENTS_FAILED"
    assert "numpy==0.0.1" in str(error)


@pytest.mark.parametrize(
    "requirement",
    ["--index-url=http://127.0.0.1/", "-r /etc/passwd", "./local", "name @ file:///tmp/x", "git+https://example.com/x", "a;b", "a\nb", ""],
)  # fmt: skip
def test_only_names_and_versions_are_requirements(requirement):
    with pytest.raises(ValidationError):
        InferenceRequest.model_validate({"model": {"entrypoint": "model.py", "requirements": [requirement]}})


@pytest.mark.parametrize(
    "entrypoint", ["/etc/x.py", "../x.py", "a/../x.py", ".hidden.py", "x.sh", "a//x.py", "x.py\n"]
)
def test_an_entrypoint_stays_inside_the_model(entrypoint):
    with pytest.raises(ValidationError):
        InferenceRequest.model_validate({"model": {"entrypoint": entrypoint}})


@pytest.mark.parametrize(
    ("name", "field"),
    [("model.py", "model.source"), ("weights.ZIP", "model.source"), ("m.tar.gz", "model.source"), ("cat.jpeg", "input.source"), ("other.py", "input.source")],
)  # fmt: skip
def test_an_uploaded_file_is_assigned_to_a_field_by_its_name(name, field):
    assert upload_field({"model": {"entrypoint": "model.py"}}, name) == field


def test_a_model_without_its_source_is_refused(tools, device, make_context):
    request = InferenceRequest.model_validate({"model": {"entrypoint": "model.py"}})
    with pytest.raises(Fail) as caught:
        PythonModelRunner(tools, device).run(request, make_context())
    assert caught.value.code == "INPUT_MISSING"


def test_a_model_runs_in_landlock_only_if_the_owner_allows_it(tools, device, make_context, tmp_path):
    """With packages, files, threads and a child process; its messages contain no path of the machine."""
    source = tmp_path / "model.py"
    source.write_text(
        "import json, multiprocessing, os, shutil, subprocess, sys, threading\n"
        "import numpy as np\n"
        "def predict(input):\n"
        "  thread = threading.Thread(target=lambda: np.ones((300, 300)) @ np.ones((300, 300))); thread.start(); thread.join()\n"
        "  open('a.txt', 'w').write('x'); shutil.copy('a.txt', 'b.txt')\n"
        "  said = subprocess.run(['echo', 'said'], capture_output=True, text=True).stdout.strip()\n"
        "  try: open('/etc/passwd')\n"
        "  except OSError as error: reached = type(error).__name__\n"
        "  print('at', sys.prefix, os.getcwd(), file=sys.stderr)\n"
        "  return {'sum': float(np.arange(5).sum()), 'said': said, 'reached': reached}\n"
    )
    request = InferenceRequest.model_validate(
        {"model": {"entrypoint": "model.py", "requirements": ["numpy"]}}
    )
    landlock = dataclasses.replace(tools, sandbox="landlock")
    probe = PythonModelRunner.probe(landlock)
    assert not probe.available
    assert "runners.python_models_in_landlock" in probe.reasons[0]
    with pytest.raises(Retry) as refused:
        PythonModelRunner(landlock, device).run(request, make_context({"model.source": source}))
    assert refused.value.code == "SANDBOX_UNAVAILABLE"
    allowed = dataclasses.replace(landlock, python_models_in_landlock=True)
    assert PythonModelRunner.probe(allowed).available
    result = PythonModelRunner(allowed, device).run(
        request, make_context({"model.source": source}, timeout=170)
    )
    files = [file.name for file in result.results["files"]]
    assert (result.results["sum"], result.results["said"], result.results["reached"]) == (
        10.0,
        "said",
        "PermissionError",
    )
    assert files == ["a.txt", "b.txt"]
    source.write_text("import os\ndef predict(input): raise ValueError(os.getcwd())")
    with pytest.raises(Fail) as caught:
        PythonModelRunner(allowed, device).run(request, make_context({"model.source": source}, timeout=170))
    assert str(tmp_path) not in str(caught.value)
    assert str(tools.cache_dir) not in str(caught.value)


# Attacks


def test_attack_the_network_is_out_of_reach(predict):
    """A server that listens on this machine is not reachable from inside, and there is no other interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        result, _ = predict(
            "import socket, os\n"
            "def predict(input, port):\n"
            "  try: socket.create_connection(('127.0.0.1', port), timeout=2)\n"
            "  except OSError as error: reached = type(error).__name__\n"
            "  else: reached = True\n"
            "  return {'reached': reached, 'interfaces': [name for _, name in socket.if_nameindex()]}\n",
            parameters={"port": port},
        )
    assert result.results == {"reached": "ConnectionRefusedError", "interfaces": ["lo"]}


def test_attack_the_owners_files_are_not_visible(predict, monkeypatch, tmp_path):
    home = Path.home()
    secret = home / f".aitbc-test-secret-{os.getpid()}"
    secret.write_text("private")
    monkeypatch.setenv("AITBC_TEST_SECRET", "private")
    try:
        result, _ = predict(
            "import os, glob\n"
            "def predict(input, paths):\n"
            "  return {'seen': [p for p in paths if os.path.exists(p)], 'environment': sorted(os.environ),\n"
            "          'processes': len([p for p in os.listdir('/proc') if p.isdigit()])}\n",
            parameters={
                "paths": [str(secret), "/etc/passwd", "/etc/shadow", "/var", str(tmp_path), __file__]
            },
        )
    finally:
        secret.unlink()
    assert result.results["seen"] == []
    assert "AITBC_TEST_SECRET" not in result.results["environment"]
    assert result.results["processes"] <= 4


def test_attack_a_link_does_not_carry_a_file_out(predict):
    result, _ = predict(
        "import os\n"
        "def predict(input):\n"
        "  os.symlink('/etc/passwd', 'result.txt'); os.symlink('/', 'root'); os.mkfifo('pipe')\n"
        "  open('honest.txt', 'w').write('x')\n"
    )
    assert [file.name for file in result.results["files"]] == ["honest.txt"]


def test_attack_the_environment_and_the_rest_cannot_be_changed(predict):
    result, _ = predict(
        "import sys, os\n"
        "def predict(input):\n"
        "  written = []\n"
        "  for path in (sys.prefix, sys.base_prefix, '/usr', '/', '/dev', '/harness.py', '/source', '/proc/sys/kernel'):\n"
        "    path = path if os.path.isfile(path) else os.path.join(path, 'written')\n"
        "    try: open(path, 'a').close()\n"
        "    except OSError: continue\n"
        "    written.append(path)\n"
        "  return written\n"
    )
    assert result.results["value"] == []


@pytest.mark.ship
def test_attack_never_returning_ends_at_the_deadline(predict):
    began = time.monotonic()
    error = failure(predict, "def predict(input):\n  while True: pass", timeout=3)
    assert error.code in ("TIMEOUT", "LIMIT_EXCEEDED")
    assert time.monotonic() - began < 120


def test_attack_too_much_memory_in_one_process(predict):
    error = failure(
        predict, "def predict(input): return len(bytearray(10**9))", resources={"memory": "256Mi"}
    )
    assert error.code == "MODEL_FAILED"
    assert "MemoryError" in str(error)


def test_attack_too_much_memory_in_many_processes(predict):
    """Each process stays below the limit, but their total exceeds it."""
    error = failure(
        predict,
        "import os, time\n"
        "def predict(input):\n"
        "  for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "      block = bytearray(os.urandom(1)) * (120 * 2**20); time.sleep(30); os._exit(0)\n"
        "  time.sleep(30)\n",
        resources={"memory": "256Mi"},
    )
    assert (error.code, "memory" in str(error)) == ("LIMIT_EXCEEDED", True)


def test_attack_shared_memory_is_bounded(predict):
    result, _ = predict(
        "def predict(input):\n"
        "  written = 0\n"
        "  try:\n"
        "    with open('/dev/shm/x', 'wb', buffering=0) as out:\n"
        "      for _ in range(15): written += out.write(bytes(2**20))\n"
        "    for n in range(200):\n"
        "      with open(f'/dev/shm/{n}', 'wb', buffering=0) as out: written += out.write(bytes(2**20))\n"
        "  except OSError: pass\n"
        "  return written\n"
    )
    assert result.results["value"] <= 64 * 2**20


@pytest.mark.ship
def test_attack_a_fork_bomb_is_stopped(predict):
    """Even where the kernel's own limit does not apply, as for root: before it has filled the machine."""
    began = time.monotonic()
    error = failure(predict, "import os\ndef predict(input):\n  while True: os.fork()", timeout=30)
    assert error.code in ("LIMIT_EXCEEDED", "MODEL_FAILED")
    assert time.monotonic() - began < 120


def test_attack_a_file_over_the_limit(predict):
    error = failure(predict, "def predict(input): open('big', 'wb').write(bytes(10**8))")
    assert error.code in ("LIMIT_EXCEEDED", "MODEL_FAILED")
    # Whichever of the limits of one file and of all files notices it first.
    assert any(words in str(error) for words in ("large", "file space", "20 MiB of files"))


def test_attack_many_files_over_the_limit(predict):
    error = failure(
        predict,
        "import time\n"
        "def predict(input):\n"
        "  for n in range(100): open(str(n), 'wb').write(bytes(2**20))\n"
        "  time.sleep(30)\n",
    )
    assert (error.code, "20 MiB of files" in str(error)) == ("LIMIT_EXCEEDED", True)


@pytest.mark.ship
def test_attack_a_zip_bomb_is_stopped(predict, tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("model.py", b"#" * 100_000_000)
    assert failure(predict, bomb).code in ("LIMIT_EXCEEDED", "MODEL_FAILED")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_attack_a_small_archive_that_unpacks_to_much(tools, device, make_context, tmp_path, kind):
    """It is refused before anything is unpacked."""
    bomb = tmp_path / f"bomb.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("model.py", b"def predict(input): return 1")
            for number in range(3):
                packed.writestr(f"zeros{number}", bytes(4 * 2**20))
    else:
        with tarfile.open(bomb, "w:gz") as packed:
            for number in range(3):
                member = tarfile.TarInfo(f"zeros{number}")
                member.size = 4 * 2**20
                packed.addfile(member, io.BytesIO(bytes(member.size)))
    assert bomb.stat().st_size < 100_000
    runner = PythonModelRunner(dataclasses.replace(tools, max_unpacked=10 * 2**20), device)
    with pytest.raises(Fail) as caught:
        runner.run(
            InferenceRequest.model_validate({"model": {"entrypoint": "model.py"}}),
            make_context({"model.source": bomb}),
        )
    assert (caught.value.code, "runners.max_unpacked" in str(caught.value)) == ("LIMIT_EXCEEDED", True)


def test_attack_results_over_the_total_limit(predict):
    """One file with several names is uploaded once for each name."""
    error = failure(
        predict,
        "import os\n"
        "def predict(input):\n"
        "  open('0', 'wb').write(bytes(2**20))\n"
        "  for n in range(1, 50): os.link('0', str(n))\n",
    )
    assert (error.code, "in total" in str(error)) == ("LIMIT_EXCEEDED", True)


def test_attack_a_deep_tree_ends_the_run_and_not_the_miner(predict):
    error = failure(
        predict,
        "import os\ndef predict(input):\n  for _ in range(1500):\n    os.mkdir('d'); os.chdir('d')\n",
    )
    assert (error.code, "nested" in str(error)) == ("LIMIT_EXCEEDED", True)


@pytest.mark.parametrize(
    ("limits", "program", "reason"),
    [
        ({"max_files": 40}, "  for n in range(50): open(str(n), 'w').close()\n", "more than 40 files"),
        (
            {"max_depth": 5},
            "  import os\n  for _ in range(9):\n    os.mkdir('d'); os.chdir('d')\n",
            "nested more than 5 deep",
        ),
        (
            {"max_processes": 3},
            "  import os, time\n  for _ in range(6):\n    if os.fork() == 0: time.sleep(30)\n  time.sleep(30)\n",
            "processes|Resource temporarily unavailable",  # by the watch, or by the kernel
        ),
    ],
    ids=["files", "depth", "processes"],
)
def test_the_owner_sets_the_limits_of_a_model(tools, device, make_context, tmp_path, limits, program, reason):
    source = tmp_path / "model.py"
    source.write_text(f"def predict(input):\n{program}")
    runner = PythonModelRunner(dataclasses.replace(tools, **limits), device)
    request = InferenceRequest.model_validate({"model": {"entrypoint": "model.py"}})
    with pytest.raises(Fail) as caught:
        runner.run(request, make_context({"model.source": source}))
    assert re.search(reason, str(caught.value))


def test_a_request_for_too_much_memory_is_not_a_machine_fault(predict):
    """The request is not lowered silently: another miner may have the memory."""
    with pytest.raises(Retry) as caught:
        predict("def predict(input): return 1", resources={"memory": "64Gi"})
    assert caught.value.code == "NO_MEMORY"


def test_attack_nothing_is_left_running(predict, eventually):
    """A process that detaches itself dies with the sandbox."""
    mark = f"aitbc-stray-{os.getpid()}"
    predict(
        "import os, subprocess\n"
        "def predict(input, mark):\n"
        "  if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    os.execv('/bin/sh', ['sh', '-c', 'sleep 300; : ' + mark])\n",
        parameters={"mark": mark},
    )
    eventually(
        lambda: (
            subprocess.run(
                ["pgrep", "-f", f"sleep 300; : {mark}"], capture_output=True, check=False
            ).returncode
            == 1
        ),
        5,
    )


def test_attack_the_miners_identity_key_is_out_of_reach(predict, tmp_path):
    """Neither by its path, nor by a search, nor through the processes that have it open."""
    identity = load_identity(tmp_path / "data" / "miner")
    path = tmp_path / "data" / "miner" / "identity.key"
    secret = path.read_text().strip()
    model = (
        "import os\n"
        "def search(name):\n"
        "  return [root for root, folders, files in os.walk('/') if name in files]\n"
        "def predict(input, path, pid):\n"
        "  answers = {}\n"
        "  for target in (path, '/proc/1/root' + path, f'/proc/{pid}/root' + path, f'/proc/{pid}/environ'):\n"
        "    try: answers[target] = open(target).read()\n"
        "    except OSError as error: answers[target] = type(error).__name__\n"
        "  return {'answers': sorted(set(answers.values())), 'found': search('identity.key')}\n"
    )
    result, _ = predict(model, parameters={"path": str(path), "pid": os.getpid()})
    assert set(result.results["answers"]) <= {"FileNotFoundError", "PermissionError"}
    assert result.results["found"] == []
    error = failure(
        predict, f"def predict(input): return open({str(path)!r}).read()", resources={"memory": "512Mi"}
    )
    assert error.code == "MODEL_FAILED"
    assert "No such file" in str(error)
    assert secret not in str(error)
    assert load_identity(tmp_path / "data" / "miner").public_key == identity.public_key


STUBBORN = {
    "forks": (
        "import os, time\ndef predict(input):\n  while True:\n"
        "    try:\n      if os.fork() == 0: time.sleep(600)\n"
        "    except OSError: pass\n"
    ),
    "allocates": (
        "import os, time\ndef predict(input):\n"
        "  for _ in range(5): os.fork()\n"
        "  chunks = []\n  while True:\n"
        "    try: chunks.append(bytearray(os.urandom(1)) * 2**22)\n"
        "    except MemoryError: time.sleep(0.1)\n"
    ),
    "writes": (
        "def predict(input):\n  n = 0\n  while True:\n    n += 1\n"
        "    try: open(str(n), 'wb').write(bytes(2**20))\n    except OSError: pass\n"
    ),
    "waits": (
        "import signal, time\ndef predict(input):\n"
        "  for number in range(1, 32):\n    try: signal.signal(number, signal.SIG_IGN)\n    except OSError: pass\n"
        "  while True: time.sleep(60)\n"
    ),
    "computes": "def predict(input):\n  while True: pass\n",
}
"""Models that continue after every refusal."""


@pytest.mark.ship
@pytest.mark.parametrize(
    ("deed", "cause"),
    [
        ("forks", "more processes"),
        ("allocates", "more memory"),
        ("writes", "MiB of files"),
        ("waits", "timeout_seconds"),
        ("computes", "timeout_seconds"),
    ],
)
def test_attack_a_stubborn_model_is_stopped_and_removed(predict, eventually, deed, cause):
    """The cause is reported, no process or descriptor of it remains, and the next job runs."""
    predict("def predict(input): return 1")  # the first run opens the descriptors that stay open
    descriptors = psutil.Process().num_fds()
    others = set(psutil.Process().children(recursive=True))
    limit = 4 if deed in ("waits", "computes") else 30
    began = time.monotonic()
    error = failure(predict, STUBBORN[deed], timeout=limit, resources={"memory": "256Mi"})
    assert time.monotonic() - began < limit + 90
    assert error.code in ("LIMIT_EXCEEDED", "TIMEOUT")
    assert cause in str(error)
    eventually(lambda: not set(psutil.Process().children(recursive=True)) - others)
    assert psutil.Process().num_fds() == descriptors
    result, _ = predict("def predict(input): return 2")
    assert result.results == {"value": 2}


def test_cancelling_a_run_ends_the_model_immediately(tools, device, make_context, tmp_path):
    source = tmp_path / "model.py"
    source.write_text("import time\ndef predict(input): time.sleep(600)\n")
    context = make_context({"model.source": source})
    running = threading.Event()
    context.on_progress = running.set
    cancelled_at = []

    def cancel_once_it_runs():
        assert running.wait(60)
        cancelled_at.append(time.monotonic())
        context.cancel()

    thread = threading.Thread(target=cancel_once_it_runs)
    thread.start()
    with pytest.raises(Cancelled):
        PythonModelRunner(tools, device).run(
            InferenceRequest.model_validate({"model": {"entrypoint": "model.py"}}), context
        )
    assert time.monotonic() - cancelled_at[0] < 300
    thread.join(60)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"python_models": False}, "runners.python_models"),
        ({"sandbox": "off"}, "runners.sandbox"),
        ({"sandbox": "bubblewrap", "bubblewrap": "/nonexistent/bwrap"}, "install bubblewrap"),
    ],
)
def test_the_probe_reports_why_models_are_not_available(tools, change, words):
    probe = PythonModelRunner.probe(dataclasses.replace(tools, **change))
    assert not probe.available
    assert words in probe.reasons[0]


def test_no_model_runs_without_the_sandbox(tools, device, make_context, tmp_path):
    """Even if a job arrives although the probe failed."""
    source = tmp_path / "model.py"
    source.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef predict(input): return 1\n")
    off = PythonModelRunner(dataclasses.replace(tools, sandbox="off"), device)
    with pytest.raises(Retry):
        off.run(
            InferenceRequest.model_validate({"model": {"entrypoint": "model.py"}}),
            make_context({"model.source": source}),
        )
    assert not (tmp_path / "ran").exists()


def test_the_probe_offers_python_if_the_sandbox_works(tools):
    assert shutil.which("bwrap")
    assert PythonModelRunner.probe(tools).available


def test_a_request_for_more_memory_than_allowed_is_refused_before_any_work(predict):
    """Neither the client nor the machine is at fault if the request exceeds the machine's own limit."""
    with pytest.raises(Retry) as refused:
        predict("def predict(input): return 1", resources={"memory": "2Gi"})
    assert refused.value.code == "NO_MEMORY"
    assert "at most 1.0 GiB" in str(refused.value)


def test_the_time_of_a_failing_model_is_metered(tools, device, make_context, tmp_path):
    """Text in an error message is not a free result."""
    source = tmp_path / "source"
    source.write_text("import sys\ndef predict(input):\n    sum(range(10**7))\n    sys.exit('ANSWER')")
    context = make_context({"model.source": source})
    request = InferenceRequest.model_validate({"model": {"entrypoint": "model.py"}})
    with pytest.raises(Fail):
        PythonModelRunner(tools, device).run(request, context)
    assert context.reported[-1][1] > 0
