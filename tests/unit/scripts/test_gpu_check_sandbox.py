"""The check of the sandboxes of `scripts/gpu_check.py`, without a card."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nvml_shim.shim import NvmlShim, build
from runners.sandbox import landlock

SCRIPTS = Path(__file__).parents[3] / "scripts"
sys.path.insert(0, str(SCRIPTS / "gpu"))

import cuda_probe  # noqa: E402 - a script, from the path above
from gpu_check_sandbox import differences  # noqa: E402 - as above

LIBRARY = """
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
static unsigned memory;
int cuInit(unsigned flags) {
    if (open(OPENED, O_RDONLY) < 0) return 304;
    return getenv("CUINIT") ? atoi(getenv("CUINIT")) : (int)flags;
}
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &memory; return device; }
int cuCtxSetCurrent(void *context) { return context != &memory; }
int cuMemAlloc_v2(unsigned long long *address, size_t size) { *address = (unsigned long long)&memory; return size != 1 << 30; }
int cuModuleLoadData(void **module, const char *code) { *module = &memory; return strstr(code, "answer") == NULL; }
int cuModuleGetFunction(void **function, void *module, const char *name) { *function = module; return strcmp(name, "answer"); }
int cuLaunchKernel(void *function, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f, unsigned shared,
                   void *stream, void **parameters, void **extra) {
    unsigned *target = *(unsigned **)parameters[0];
    *target = a * b * c * d * e * f * 42;
    return !function || shared || stream || extra;
}
int cuMemcpyDtoH_v2(void *target, unsigned long long source, size_t size) { memcpy(target, (void *)source, size); return 0; }
"""


def build_cuda(directory: Path, opened: str) -> None:
    """Compile a stand-in for NVIDIA's library, which wants to open a file."""
    source = directory / "cuda.c"
    source.write_text(LIBRARY)
    command = ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", f'-DOPENED="{opened}"']
    subprocess.run([*command, "-o", directory / "libcuda.so.1", source], check=True, timeout=120)


@pytest.mark.parametrize(
    ("cuinit", "cuda"),
    [
        (0, {"devices": 2, "computed": True}),
        (304, {"cuInit": 304}),
    ],
)
def test_the_probe_computes_through_the_driver(tmp_path: Path, cuinit: int, cuda: dict[str, Any]) -> None:
    """With a stand-in for NVIDIA's library."""
    build_cuda(tmp_path, "/")
    secret = tmp_path / "absent"
    done = subprocess.run(
        [sys.executable, "-I", cuda_probe.__file__, str(secret)],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "CUINIT": str(cuinit)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answer = json.loads(done.stdout)
    assert cuda.items() <= answer["cuda"].items()
    assert (answer["thread_name"], answer["refused"]) == ("", {str(secret): "ENOENT"})


@pytest.mark.parametrize(("level", "error"), [("landlock", "EACCES"), ("bubblewrap", "ENOENT")])
def test_the_probe_names_what_a_sandbox_refuses(tmp_path: Path, level: str, error: str) -> None:
    if level == "landlock" and (reason := landlock.unavailable()):
        pytest.skip(reason)
    secret = tmp_path / "secret"
    secret.touch()
    answer = cuda_probe.probe_in(level, "", "", [str(secret), "/usr/bin"])
    assert answer.get("refused") == {str(secret): error}, answer
    assert "libcuda.so.1" in answer["cuda"]["load"]
    assert answer["thread_name"] == ""


@pytest.mark.ship
@pytest.mark.parametrize("opened", ["/usr", "/etc/passwd"], ids=["granted", "refused"])
def test_the_check_uses_a_card_in_each_sandbox(tmp_path: Path, opened: str) -> None:
    if reason := landlock.unavailable():
        pytest.skip(reason)
    nvml = NvmlShim(build(tmp_path / "nvidia"), tmp_path / "state")
    build_cuda(tmp_path / "nvidia", opened)
    file = tmp_path / "table.json"
    command = [sys.executable, SCRIPTS / "gpu_check.py", "--only", "sandbox", "--part", "1", "--json", file]
    done = subprocess.run(
        command, env=nvml.environment, capture_output=True, text=True, timeout=600, check=False
    )
    line = json.loads(file.read_text())[0]
    if opened == "/usr":
        assert (line["name"], line["status"]) == ("sandbox", "ok"), done.stdout
        user = os.geteuid()
        # Others may not enter the directory with the stand-in.
        assert line["detail"].startswith(
            f"bare as {user}, landlock as {user}, bubblewrap as {user}: computes, sees 2"
        )
    else:
        assert (line["name"], line["status"]) == ("sandbox", "failed"), done.stdout
        assert (
            f"landlock as user {os.geteuid()}: cuInit returns 304; outside: computes, sees 2"
            in line["detail"]
        )
        if shutil.which("strace"):
            assert f"landlock, user {os.geteuid()}: EACCES   openat /etc/passwd x1" in line["evidence"]


def test_a_sandbox_in_which_cuda_does_not_start_fails_the_check() -> None:
    good = {"thread_name": "", "cuda": {"cuInit": 0, "devices": 1, "computed": True}}
    answers = {
        (0, "bare"): good,
        (0, "landlock"): good | {"thread_name": "EACCES", "cuda": {"cuInit": 304}},
        (0, "bubblewrap"): {"sandbox": "bwrap was not found"},
        (65534, "bare"): good | {"cuda": {"cuInit": 100}},
        (65534, "bubblewrap"): good | {"cuda": {"cuInit": 100}},
    }
    assert list(differences(answers)) == [
        "landlock as user 0: cuInit returns 304, cannot name a thread (EACCES); outside: computes, sees 1"
    ]
