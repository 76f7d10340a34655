"""Tests every use of an NVIDIA GPU in this project, and prints a table of results with reasons and speeds.

    python scripts/gpu_check.py                   all checks on this machine's cards
    python scripts/gpu_check.py --only nvenc      the checks whose name contains a word
    python scripts/gpu_check.py --seconds 540     the most valuable checks that fit into the time
    python scripts/gpu_check.py --plan            what would run on a machine that is at hand for 45 minutes
    python scripts/gpu_check.py --require nvenc   fails unless the checks whose name contains the word were performed; repeatable
    python scripts/gpu_check.py --rehearse        the checks that also run on the processor, to test the checks themselves

The script needs a checkout and the Python packages of the engines, but no installed agent. Checks that lack a package are skipped;
with only torch, that is all but one. The exit status is 1 if any check failed, or if a required one was not performed. The script downloads
nothing, changes nothing outside a temporary directory except the caches of the engines and `--models`, and uses only as much of a card's
memory as small models need. See docs/how-to/gpu.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).with_name("gpu")))

import gpu_check_bare  # noqa: F401 - imported first: ends the program where the packages of the others are missing

# isort: split
import platformdirs
import psutil
import structlog

import gpu_check_child  # noqa: F401 - imported first, since it makes the checkout importable

# isort: split
import gpu_check_facts

# isort: split
import gpu_check_sandbox  # noqa: F401 - declares checks; within a part, those of the earlier module are worth more

# isort: split
import gpu_check_engines  # noqa: F401 - as above
import gpu_check_plan
import gpu_check_video  # noqa: F401 - as above
from gpu_check_report import CHECKS, END_SECONDS, Check, Line, Machine, Part, Table, adopt_orphans, perform
from runners.api import Device, Tools

_CORES: Final = os.cpu_count() or 1


def main() -> int:
    """Run the checks. Returns the exit status."""
    # The budget includes the time for the imports above.
    end = time.monotonic() - (time.time() - psutil.Process().create_time())
    arguments = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    checks = [
        check
        for check in sorted(CHECKS.all, key=lambda check: check.part)
        if arguments.only in check.name and arguments.part in (None, check.part)
    ]
    devices, reason = _devices(rehearse=arguments.rehearse)
    print(reason or "; ".join(f"{device.words}, {device.uuid}" for device in devices), flush=True)
    with _machine(arguments, devices, None if reason is None else "no card") as machine:
        if arguments.plan:
            print("\n".join(gpu_check_plan.lines(checks, machine, arguments.seconds)))
            return 0
        lines = _performed(
            checks, machine, arguments.json, None if arguments.seconds is None else end + arguments.seconds
        )
    counts = {
        status: sum(line.status == status for line in lines) for status in ("ok", "failed", "not checked")
    }
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return 1 if counts["failed"] or not all(_succeeded(word, lines) for word in arguments.require) else 0


def _performed(checks: list[Check], machine: Machine, file: Path | None, end: float | None) -> list[Line]:
    """Run the checks one after another, until `end` on the monotonic clock; print and write each result at once."""
    table = Table(checks, file)
    adopt_orphans()
    for check in checks:
        table.write(running=check)
        # A check that is ended at the last moment takes a moment to end.
        line = perform(check, machine, None if end is None else end - time.monotonic() - 2 * END_SECONDS)
        table.add(line)
        seconds = f"{line.seconds:8.2f} s" if line.status != "not checked" else " " * 10
        print(f"{line.name:32} {line.status:12}{seconds}  {line.detail}", flush=True)
    return table.lines


def _succeeded(word: str, lines: list[Line]) -> bool:
    """Return whether the checks whose name contains a word were performed, at least one, and all of them with success."""
    chosen = [line for line in lines if word in line.name]
    return bool(chosen) and all(line.status == "ok" for line in chosen)


@contextmanager
def _machine(
    arguments: argparse.Namespace, devices: tuple[Device, ...], missing: str | None
) -> Iterator[Machine]:
    """Yield this machine, with directories for the checks."""
    models: Path = arguments.models or platformdirs.user_cache_path("aitbc") / "models"
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        # Without a word of the user, nothing is added to the models of the agent.
        created: Path = arguments.models or directory / "models"
        created.mkdir(parents=True, exist_ok=True)
        yield Machine(
            devices, missing, Tools(models_dir=models, cache_dir=directory / "cache"), directory, created
        )


def _devices(*, rehearse: bool) -> tuple[tuple[Device, ...], str | None]:
    """Return the cards and None, or no card (in a rehearsal, the processor) and the reason."""
    if rehearse:
        return (Device("cpu", "processor", threads=_CORES),), "This is a rehearsal on the processor."
    cards, reason = gpu_check_facts.cards()
    threads = max(1, _CORES // max(1, len(cards)))
    devices = tuple(
        Device(
            "cuda",
            card.name,
            card.uuid,
            threads,
            card.memory_total,
            card.compute_capability,
            device_files=card.device_files,
            by_index=card.by_index,
        )
        for card in cards
    )
    return devices, None if devices else reason or "NVML knows no card."


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", metavar="WORD", help="only checks whose name holds this word")
    parser.add_argument(
        "--part", type=int, choices=[*map(int, Part)], help="only checks of this part of the plan"
    )
    parser.add_argument(
        "--seconds", type=float, help="end after this time; checks for which none is left are not checked"
    )
    parser.add_argument("--plan", action="store_true", help="print what would run, and what is missing here")
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
    parser.add_argument(
        "--models",
        type=Path,
        help="directory of models, also for those that are created (default: the user's, unchanged)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the table here, after each check"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
