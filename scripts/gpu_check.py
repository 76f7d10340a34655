"""Tests every use of an NVIDIA GPU in this project, and prints a table of results with reasons and speeds.

    python scripts/gpu_check.py                   all checks on this machine's cards
    python scripts/gpu_check.py --only nvenc      the checks whose name contains a word
    python scripts/gpu_check.py --require nvenc   fails unless the checks whose name contains the word were performed; repeatable
    python scripts/gpu_check.py --rehearse        the checks that also run on the processor, to test the checks themselves

The script needs a checkout and the Python packages of the engines, but no installed agent. Checks that lack a package are skipped;
with only torch, that is all but one. The exit status is 1 if any check failed, or if a required one was not performed. The script downloads nothing, changes nothing outside a temporary directory except the
caches of the engines, and uses only as much of a card's memory as small models need. See docs/how-to/gpu.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).with_name("gpu")))

import gpu_check_bare  # noqa: F401 - imported first: ends the program where the packages of the others are missing

# isort: split
import structlog

import gpu_check_child  # noqa: F401 - imported first, since it makes the checkout importable
from agent.miner.machine.gpus import Gpu, Gpus
from gpu_check_report import Checks, Failed, Line, Machine, NotChecked, perform
from runners.api import Device, Tools

PROGRAM_SECONDS: Final = 120.0
_CORES: Final = os.cpu_count() or 1

CHECKS: Final = Checks()


@CHECKS.add("nvml inventory", needs="card")
def _inventory(_machine: Machine) -> str:
    """Every card has a name, a UUID, memory and a compute capability, and responds."""
    cards, reason = _cards()
    if reason is not None:
        raise Failed(reason)
    for card in cards:
        if (
            not card.uuid.startswith(("GPU-", "MIG-"))
            or card.memory_total <= 0
            or card.compute_capability is None
        ):
            raise Failed(f"the description of card {card.index} is incomplete: {card}")
    return "; ".join(
        f"{card.name}, {card.memory_total / 2**30:.1f} GiB, compute capability {card.compute_capability}, "
        f"driver {card.driver}"
        for card in cards
    )


@CHECKS.add("nvml telemetry", needs="card")
def _telemetry(_machine: Machine) -> str:
    """Free memory, utilisation, temperature and power are readable."""
    descriptions = []
    for card in _cards()[0]:
        # The driver reports the utilisation of a card in MIG mode for none of its instances.
        expected = card.telemetry() if card.slice is None else card.telemetry() | {"utilization": 0}
        silent = [name for name, value in expected.items() if value is None]
        if silent:
            raise Failed(f"{card.name} does not report {', '.join(silent)}")
        utilization = "" if card.utilization is None else f"{card.utilization} %, "
        descriptions.append(
            f"{card.memory_free / 2**30:.1f} GiB free, {utilization}{card.temperature} C, {card.power:.0f} W"
        )
    return "; ".join(descriptions)


@CHECKS.add("torch", needs="card")
def _torch(machine: Machine) -> str:
    """The card computes the same as the processor, in each precision that the runners use."""
    answer = _torch_says(
        """
import json, torch
made = torch.randn(512, 512)
right = made @ made
wrong = []
for kind in (torch.float32, torch.float16, torch.bfloat16):
    got = (made.to('cuda', kind) @ made.to('cuda', kind)).float().cpu()
    if (got - right).abs().max() > 0.05 * right.abs().max():
        wrong.append(str(kind))
print(json.dumps({'wrong': wrong, 'capability': torch.cuda.get_device_capability(0)}))
""",
        machine.device,
    )
    if answer["wrong"]:
        raise Failed(f"the results of card and processor differ in {', '.join(answer['wrong'])}")
    return f"torch {answer['torch']}, CUDA {answer['cuda']}, compute capability {answer['capability']}"


@CHECKS.add("child bound by uuid", needs="card")
def _binding(machine: Machine) -> str:
    """The child process of a card sees only that card."""
    program = """
import json, torch
properties = torch.cuda.get_device_properties(0)
print(json.dumps({'count': torch.cuda.device_count(), 'uuid': str(getattr(properties, 'uuid', ''))}))
"""
    for device in machine.devices:
        answer = _torch_says(program, device)
        if answer["count"] != 1 or (answer["uuid"] and answer["uuid"] not in (device.uuid or "")):
            raise Failed(
                f"a child for {device.uuid} sees {answer['count']} cards, the first {answer['uuid']}"
            )
    return f"{len(machine.devices)} of {len(machine.devices)} cards"


@CHECKS.add("signatures beside it", needs="nothing")
def _signatures(_machine: Machine) -> str:
    """This process, in machine of the daemon, signs without importing an engine."""
    from nacl.signing import SigningKey  # noqa: PLC0415 - the check includes this import

    key = SigningKey.generate()
    key.verify_key.verify(key.sign(b"a statement"))
    engines = [name for name in ("torch", "ctranslate2", "diffusers", "vllm") if name in sys.modules]
    if engines:
        raise Failed(f"the daemon's modules import {', '.join(engines)}")
    return "PyNaCl signs and verifies; no engine is loaded here"


def _cards() -> tuple[tuple[Gpu, ...], str | None]:
    gpus = Gpus()
    try:
        return gpus.snapshot(), gpus.reason
    finally:
        gpus.close()


def _torch_says(program: str, device: Device) -> dict[str, Any]:
    """Run a program that sees only `device`. Returns the JSON that it prints and the versions of torch and its CUDA."""
    versions = (
        "import json, torch; print(json.dumps({'torch': torch.__version__, 'cuda': torch.version.cuda}))"
    )
    found = json.loads(_python(versions, device))
    if found["cuda"] is None:
        raise NotChecked(f"this torch ({found['torch']}) is built without CUDA; install a build with CUDA")
    return {**found, **json.loads(_python(program, device))}


def _python(program: str, device: Device) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": device.uuid or ""},
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=False,
    )
    if "ModuleNotFoundError: No module named 'torch'" in done.stderr:
        raise NotChecked("torch is not installed")
    if done.returncode != 0:
        raise Failed(done.stderr.strip()[-300:])
    return done.stdout


def _devices(*, rehearse: bool) -> tuple[tuple[Device, ...], str | None]:
    """Return the cards and None, or no card (in a rehearsal, the processor) and the reason."""
    if rehearse:
        return (Device("cpu", "processor", threads=_CORES),), "this is a rehearsal on the processor"
    cards, reason = _cards()
    threads = max(1, _CORES // max(1, len(cards)))
    devices = tuple(
        Device("cuda", card.name, card.uuid, threads, card.memory_total, card.compute_capability)
        for card in cards
    )
    return devices, None if devices else reason or "NVML knows no card"


def _print(line: Line) -> None:
    seconds = f"{line.seconds:8.2f} s" if line.status != "not checked" else " " * 10
    print(f"{line.name:32} {line.status:12}{seconds}  {line.detail}", flush=True)


def main() -> int:
    """Run the checks. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", metavar="WORD", help="only checks whose name holds this word")
    parser.add_argument(
        "--rehearse", action="store_true", help="on the processor, where a check can be tried there"
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="WORD",
        help="fail unless such checks were performed and succeeded",
    )
    parser.add_argument("--models", type=Path, help="directory of models (default: the user's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table here")
    arguments = parser.parse_args()
    import gpu_check_engines  # noqa: PLC0415 - its checks follow those above

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    checks = [check for check in (*CHECKS.all, *gpu_check_engines.CHECKS.all) if arguments.only in check.name]
    devices, missing = _devices(rehearse=arguments.rehearse)
    models = arguments.models or gpu_check_engines.default_models()
    lines = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as name:
        tools = Tools(models_dir=models, cache_dir=Path(name) / "cache")
        machine = Machine(devices, missing, tools, Path(name))
        for check in checks:
            lines.append(perform(check, machine))
            _print(lines[-1])
    counts = {
        status: sum(line.status == status for line in lines) for status in ("ok", "failed", "not checked")
    }
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(line) for line in lines], indent=1), encoding="utf-8")
    return 1 if counts["failed"] or not all(_performed(word, lines) for word in arguments.require) else 0


def _performed(word: str, lines: list[Line]) -> bool:
    """Return whether the checks whose name contains a word were performed, at least one, and all of them with success."""
    chosen = [line for line in lines if word in line.name]
    return bool(chosen) and all(line.status == "ok" for line in chosen)


if __name__ == "__main__":
    sys.exit(main())
