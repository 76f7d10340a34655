"""The check of the sandboxes of `scripts/gpu_check.py`, without a card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runners.sandbox import landlock

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts" / "gpu"))

import cuda_probe
from gpu_check_sandbox import differences

LIBRARY = """
#include <stdlib.h>
#include <string.h>
static unsigned memory;
int cuInit(unsigned flags) { (void)flags; return atoi(getenv("CUINIT")); }
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


@pytest.mark.parametrize(
    ("cuinit", "cuda"),
    [
        (0, {"devices": 2, "computed": True}),
        (304, {"cuInit": 304}),
    ],
)
def test_the_probe_computes_through_the_driver(tmp_path: Path, cuinit: int, cuda: dict[str, Any]) -> None:
    """With a stand-in for NVIDIA's library."""
    source, library = tmp_path / "cuda.c", tmp_path / "libcuda.so.1"
    source.write_text(LIBRARY)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=120)
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
    assert answer["refused"] == {str(secret): error}
    assert "libcuda.so.1" in answer["cuda"]["load"]
    assert answer["thread_name"] == ""


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
