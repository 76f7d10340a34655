"""Records each call that the agent makes to NVIDIA's management library (NVML), with its answer.

    python scripts/gpu/nvml_record.py FILE

The recording is JSON with the UUIDs of the cards and the ids of processes. Tests replay it: see tests/nvml_shim/recording.py. The program
changes nothing on a card. It needs this checkout and the packages of the agent.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "sdk" / "python")]

import pynvml  # noqa: E402 - the path is set above
import structlog  # noqa: E402 - as above

from agent.miner.machine.gpu_observation import observed  # noqa: E402 - as above
from agent.miner.machine.gpus import Gpus  # noqa: E402 - as above

VERSION: Final = re.compile(r"_v\d+$|WithFlags$")
HANDLES: Final = {"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetMigDeviceHandleByIndex"}


class Recorder:
    """Stands between nvidia-ml-py and the library. `calls` has each different call once, in the order of the first."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.handles: dict[int | None, str] = {}
        """The cards by the addresses that stand for them: "0", or "0:2" for a MIG instance."""
        self._pointer = pynvml._nvmlGetFunctionPointer  # noqa: SLF001 - all its functions call this one
        pynvml._nvmlGetFunctionPointer = self._recording  # noqa: SLF001 - as above

    @property
    def names(self) -> set[str]:
        """The functions that were called, as nvidia-ml-py names them."""
        return {VERSION.sub("", call["function"]) for call in self.calls}

    def _recording(self, name: str) -> Callable[..., int]:
        try:
            function = self._pointer(name)
        except pynvml.NVMLError as error:
            self._add(name, None, [], [], error.value)
            raise

        def call(*arguments: Any) -> int:
            returned: int = function(*arguments)
            outputs = [getattr(argument, "_obj", argument) for argument in arguments if _is_output(argument)]
            inputs = [argument for argument in arguments if not _is_output(argument)]
            if name in HANDLES and returned == 0:
                parts = [self._value(argument) for argument in inputs]
                self.handles[_address(outputs[0])] = ":".join(map(str, parts))
            handle = next(
                (argument for argument in inputs if isinstance(argument, pynvml.c_nvmlDevice_t)), None
            )
            self._add(
                name, handle, [argument for argument in inputs if argument is not handle], outputs, returned
            )
            return returned

        return call

    def _add(
        self, name: str, handle: Any, inputs: Sequence[Any], outputs: Sequence[Any], returned: int
    ) -> None:
        entry = {
            "function": name,
            "device": None if handle is None else self._value(handle),
            "inputs": [self._value(value) for value in inputs],
            "returned": returned,
            "outputs": [
                {"type": type(value).__name__, "size": ctypes.sizeof(value), "value": self._value(value)}
                for value in outputs
            ],
        }
        if entry not in self.calls:
            self.calls.append(entry)

    def _value(self, value: Any) -> Any:  # noqa: PLR0911 - a kind of C's values each
        """Return what JSON can hold of an argument: a handle as the card's number, other addresses as None."""
        match value:
            case pynvml.c_nvmlDevice_t():
                return self.handles.get(_address(value))
            case ctypes.Structure():
                return {field[0]: self._value(getattr(value, field[0])) for field in value._fields_}
            case ctypes.Union():
                return int.from_bytes(bytes(value)[:8], "little")
            case ctypes.Array() if value._type_ is ctypes.c_char:
                return value.value.decode(errors="replace")
            case ctypes.Array():
                # The program reserves more than it needs.
                return [
                    self._value(element) for element in value if any(bytes(memoryview(element).cast("B")))
                ]
            case ctypes._SimpleCData():  # noqa: SLF001 - of ctypes
                return self._value(value.value)
            case bytes():
                return value.decode(errors="replace")
            case int() | str() | float() | None:
                return value
        return None


def record(recorder: Recorder) -> dict[str, Any]:
    """Do what the agent does with NVML, and call what else it may. Returns the recording."""
    # The order of the cards matters only where the owner chose some by their numbers.
    for chosen in (None, "0"):
        os.environ |= {} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}
        gpus = Gpus()
        for _ in range(2):
            gpus.snapshot()
        with observed(gpus.last):
            pass  # it reads the cards once
        gpus.computing()
        asyncio.run(gpus.process_memory())
        gpus.close()
        if not recorder.handles:
            raise SystemExit(f"There is nothing to record. {gpus.reason}")
    _call_getters([name for name in _used_functions() if VERSION.sub("", name) not in recorder.names])
    return {
        "nvidia-ml-py": version("nvidia-ml-py"),
        "not_called": [name for name in _used_functions() if VERSION.sub("", name) not in recorder.names],
        "calls": recorder.calls,
    }


def _used_functions() -> list[str]:
    """Return the functions of nvidia-ml-py that the agent's source names."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "agent").rglob("*.py"))
    names = sorted({*re.findall(r"\bnvml\w+", text)})
    return [name for name in names if inspect.isfunction(getattr(pynvml, name, None))]


def _call_getters(names: Sequence[str]) -> None:
    """Call those that only read, and need nothing but a card, for each card."""
    pynvml.nvmlInit()
    for index in range(pynvml.nvmlDeviceGetCount()):
        for name in names:
            function = getattr(pynvml, name)
            if name.startswith("nvmlDeviceGet") and len(inspect.signature(function).parameters) == 1:
                try:
                    function(pynvml.nvmlDeviceGetHandleByIndex(index))
                except pynvml.NVMLError:
                    continue  # that is recorded too
    pynvml.nvmlShutdown()


def _is_output(argument: Any) -> bool:
    return hasattr(argument, "_obj") or isinstance(argument, ctypes.Array)


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value


def main() -> None:
    """Write the recording into the file that the first argument names."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    recorder = Recorder()
    recording = record(recorder)
    Path(sys.argv[1]).write_text(json.dumps(recording, indent=1) + "\n", encoding="utf-8")
    print(
        f"{len(recorder.calls)} calls of {len(recorder.names)} functions, {len(recorder.handles)} cards and instances"
    )
    if recording["not_called"]:
        print(f"not called: {', '.join(recording['not_called'])}")


if __name__ == "__main__":
    main()
