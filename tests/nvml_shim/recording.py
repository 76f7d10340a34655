"""Replays what `scripts/gpu/nvml_record.py` recorded on a real card."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from nvml_shim.shim import Card, NvmlShim, Slice, build

NOT_SUPPORTED = 3
NOT_FOUND = 6
FUNCTION_NOT_FOUND = 13

Values = list[Any]
"""What a call wrote, without the lengths of texts."""


def _joined(separator: str) -> Callable[[Values], str]:
    return lambda values: separator.join(map(str, values))


def _processes(values: Values) -> str | None:
    # The program asks for their number first, and is then given a longer list.
    listed = values[-1][: values[0]] if len(values) > 1 else []
    return ",".join(f"{process['pid']}:{process['usedGpuMemory']}" for process in listed) or None


READINGS: Mapping[str, tuple[str, Callable[[Values], Any]]] = {
    **{
        f"nvmlDeviceGet{name}": (key, lambda values: values[0])
        for name, key in {
            "UUID": "uuid",
            "Name": "name",
            "Temperature": "temperature",
            "PowerUsage": "power",
            "EnforcedPowerLimit": "power_limit",
            "PowerManagementDefaultLimit": "power_default",
            "TotalEnergyConsumption": "energy",
            "MinorNumber": "minor",
            "GpuInstanceId": "gi",
            "ComputeInstanceId": "ci",
            "NumGpuCores": "cores",
            "MaxClockInfo": "clock",
            "ClockInfo": "clock_now",
            "ComputeMode": "compute_mode",
            "MigMode": "mig",
            "TotalEccErrors/0": "ecc_corrected",
            "TotalEccErrors/1": "ecc",
            "RetiredPagesPendingStatus": "retired",
            "CurrentClocksEventReasons": "clocks",
        }.items()
    },
    "nvmlDeviceGetUtilizationRates": ("utilization", lambda values: values[0]["gpu"]),
    "nvmlDeviceGetCudaComputeCapability": ("capability", _joined(".")),
    "nvmlDeviceGetPowerManagementLimitConstraints": ("power_range", _joined(",")),
    "nvmlDeviceGetRemappedRows": ("remapped", _joined(",")),
    "nvmlDeviceGetComputeRunningProcesses_v3": ("processes", _processes),
    "nvmlDeviceGetGraphicsRunningProcesses_v3": ("graphics", _processes),
    "nvmlDeviceGetFieldValues": (
        "recovery",
        lambda values: None if values[0][0]["nvmlReturn"] else values[0][0]["value"],
    ),
}
"""The property of the stand-in that each function reads, of one that counts several kinds also the kind, and its value."""

MEMORY = "nvmlDeviceGetMemoryInfo_v2"
LINK = [
    f"nvmlDeviceGet{which}PcieLink{number}" for which in ("Curr", "Max") for number in ("Generation", "Width")
]


def replayed(file: Path, directory: Path) -> NvmlShim:
    """Return a stand-in in `directory` that answers as the card did from which `file` was recorded."""
    calls = json.loads(file.read_text())["calls"]
    last: dict[str | None, dict[str, Any]] = defaultdict(dict)
    for call in calls:
        # A failure after a success is the end of a list, or a card that was lost meanwhile.
        name = call["function"]
        name += f"/{call['inputs'][0]}" if name == "nvmlDeviceGetTotalEccErrors" else ""
        if call["returned"] == 0 or name not in last[call["device"]]:
            last[call["device"]][name] = call
    errors = {
        f"{device}.error.{call['function']}": call["returned"]
        for device, functions in last.items()
        for name, call in functions.items()
        if device is not None
        and call["returned"] not in (0, NOT_SUPPORTED, FUNCTION_NOT_FOUND)
        and name in {*READINGS, *LINK, MEMORY}
    }
    system = last.pop(None)
    numbers = range(_first(system, "nvmlDeviceGetCount_v2") or 0)
    return NvmlShim(
        build(
            directory / "library",
            sorted({call["function"] for call in calls if call["returned"] == FUNCTION_NOT_FOUND}),
        ),
        directory / "state",
        cards=tuple(_card(index, last) for index in numbers),
        init=system["nvmlInitWithFlags"]["returned"],
        driver=_first(system, "nvmlSystemGetDriverVersion") or "",
        errors=errors,
    )


def _card(index: int, last: Mapping[str | None, Mapping[str, Any]]) -> Card:
    slots = _first(last[str(index)], "nvmlDeviceGetMaxMigDeviceCount") or 0
    instances = [last.get(f"{index}:{number}") for number in range(slots)]
    return Card(
        **_properties(Card, last[str(index)]) | {"link": _link(last[str(index)])},
        instances=tuple(part and Slice(**_properties(Slice, part)) for part in instances),
    )


def _link(functions: Mapping[str, Any]) -> str | None:
    numbers = [_first(functions, name) for name in LINK]
    return None if None in numbers else ",".join(map(str, numbers))


def _properties(kind: type[Card | Slice], functions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of a card or an instance; those that it did not report are None."""
    names = {field.name for field in fields(kind)} - {"instances", "total", "reserved", "used"}
    properties = dict.fromkeys(names)
    for function, (name, convert) in READINGS.items():
        if name in names and (values := _values(functions, function)) is not None:
            properties[name] = convert(values)
    memory = _first(functions, MEMORY) or {}
    sizes = {name: memory.get(name, 0) for name in ("reserved", "used")}
    return {**properties, **sizes, "total": memory.get("total")}


def _values(functions: Mapping[str, Any], name: str) -> Values | None:
    call = functions.get(name)
    return None if call is None or call["returned"] else [output["value"] for output in call["outputs"]]


def _first(functions: Mapping[str, Any], name: str) -> Any:
    values = _values(functions, name)
    return None if values is None else values[0]
