"""Uses a card through CUDA's driver, without any package, and prints what happened as JSON.

    python scripts/gpu/cuda_probe.py [PATH ...]                       here
    python scripts/gpu/cuda_probe.py --in landlock UUID [PATH ...]    in the agent's sandbox

For each PATH that cannot be opened, the answer has the name of the error. In a sandbox the program needs this checkout and the packages of
the agent; otherwise only Python.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

LIBRARY: Final = "libcuda.so.1"
ALLOCATED: Final = 2**30
ANSWER: Final = 42
SECONDS: Final = 50.0
DEVICE_FILES: Final = (
    *("/dev/nvidia*", "/dev/nvidia-caps/*", "/dev/dxg"),
    *("/proc/driver/nvidia/params", "/proc/driver/nvidia/gpus", "/proc/devices", "/proc/modules"),
    *("/sys/bus/pci/devices", "/sys/module/nvidia/version", "/proc/self/maps", "/proc/self/status"),
)
"""Patterns of what NVIDIA's libraries open."""

KERNEL: Final = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry answer(.param .u64 target) {
    .reg .u64 %address;
    .reg .u32 %value;
    ld.param.u64 %address, [target];
    mov.u32 %value, 42;
    st.global.u32 [%address], %value;
    ret;
}
"""


def probe(paths: Sequence[str]) -> dict[str, Any]:
    """Use the first card: start CUDA, allocate memory, compute. Returns each step's status, and what could not be opened."""
    return {
        "user": os.geteuid(),
        "cuda": _cuda(),
        "thread_name": _thread_name(),
        "refused": {path: error for path in paths if (error := _open_error(path)) is not None},
    }


def _cuda() -> dict[str, Any]:
    """Return the status of each call, 0 for success, up to the first that fails."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        return {"load": str(error)}
    steps: dict[str, Any] = {}

    def call(name: str, *arguments: Any) -> bool:
        steps[name] = getattr(library, name)(*arguments)
        return bool(steps[name] == 0)

    number, device, context, module, function = (ctypes.c_int(), ctypes.c_int(), *(ctypes.c_void_p() for _ in range(3)))  # fmt: skip
    memory, answer = ctypes.c_uint64(), ctypes.c_uint32()
    parameters = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.byref(memory), ctypes.c_void_p))
    grid = (1, 1, 1, 1, 1, 1, 0)
    calls: tuple[tuple[Any, ...], ...] = (
        ("cuInit", 0),
        ("cuDeviceGetCount", ctypes.byref(number)),
        ("cuDeviceGet", ctypes.byref(device), 0),
        ("cuDevicePrimaryCtxRetain", ctypes.byref(context), device),
        ("cuCtxSetCurrent", context),
        ("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(ALLOCATED)),
        ("cuModuleLoadData", ctypes.byref(module), KERNEL),
        ("cuModuleGetFunction", ctypes.byref(function), module, b"answer"),
        ("cuLaunchKernel", function, *grid, None, parameters, None),
        ("cuMemcpyDtoH_v2", ctypes.byref(answer), memory, ctypes.c_size_t(4)),
    )
    if all(call(*arguments) for arguments in calls):
        steps |= {"devices": number.value, "computed": answer.value == ANSWER}
    return steps


def _thread_name() -> str:
    """Return the error of naming another thread, which the driver does from version 570 on; "" if there is none."""
    c, end = ctypes.CDLL(None), threading.Event()
    thread = threading.Thread(target=end.wait, args=(SECONDS,))
    thread.start()
    try:
        status = c.pthread_setname_np(ctypes.c_ulong(thread.ident or 0), b"cuda-probe")
    finally:
        end.set()
        thread.join()
    return "" if status == 0 else errno.errorcode.get(status, str(status))


def _open_error(path: str) -> str | None:
    try:
        flags = os.O_RDWR if path.startswith("/dev/") and not Path(path).is_dir() else os.O_RDONLY
        os.close(os.open(path, flags | os.O_CLOEXEC))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    return None


def probe_in(level: str, uuid: str, device_files: str, paths: Sequence[str]) -> dict[str, Any]:
    """Return what `probe` returns in a sandbox, or {"sandbox": why there is no answer}.

    `device_files` are those of the card, with commas between them.
    """
    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root), str(root / "sdk" / "python")]
    # Not at the top: the program that runs inside the sandbox has no packages.
    from runners.api import Device, RunnerError, Tools  # noqa: PLC0415
    from runners.sandbox import Sandbox, granted_python  # noqa: PLC0415
    from runners.sandbox.watch import Limits  # noqa: PLC0415

    names = tuple(device_files.split(",")) if device_files else ()
    device = Device("cuda", "a card", uuid or None, device_files=names)
    limits = Limits(memory=8 * 2**30, output=2**20, seconds=SECONDS, cpu_seconds=SECONDS)
    environment: dict[str, str] = {}
    printed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cuda-probe-") as directory:
        tools = Tools(sandbox=level, cache_dir=Path(directory))  # type: ignore[arg-type]  # a Literal
        sandbox = Sandbox(tools, limits, device, environment)
        try:
            python = granted_python(sandbox, environment)
            program = sandbox.read(Path(__file__), "/probe/cuda_probe.py")
            outcome = sandbox.run([python, "-I", program, *paths], on_line=printed.append)
        except RunnerError as error:
            return {"sandbox": str(error)}
    answer: dict[str, Any]
    try:
        answer = json.loads(printed[-1])
    except (IndexError, ValueError):
        answer = {"sandbox": f"{outcome.ended}, status {outcome.exit_code}: {outcome.stderr.strip()[-300:]}"}
    return answer


def main() -> None:
    """Print the answer."""
    match sys.argv[1:]:
        case ["--in", level, uuid, device_files, *paths]:
            answer = probe_in(level, uuid, device_files, paths)
        case paths:
            answer = probe(paths)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
