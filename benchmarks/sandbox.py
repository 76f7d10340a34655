"""What isolation costs at the start of a program: /bin/true in each sandbox, beside bubblewrap as bare as it can be.

    .venv/bin/python benchmarks/sandbox.py [--runs 100]

Each round starts all of them once, in turn, so that what else the machine does meets all alike. `bare bubblewrap` is the command line that this
project used before it had filters and users of its own; the other rows are `runners.sandbox.Sandbox` with each setting, from granting a directory
to its return to the agent. Root and other users have different ways, so say as whom it was run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runners._base import Tools
from runners.sandbox import Sandbox, unavailable
from runners.sandbox.watch import Limits, watch

LIMITS = Limits(memory=2**30, output=2**20, seconds=30, cpu_seconds=30)
BARE = (
    "bwrap --unshare-all --cap-drop ALL --die-with-parent --new-session --unshare-user --disable-userns --ro-bind /usr /usr "
    "--symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --ro-bind-try /etc/ld.so.cache /etc/ld.so.cache "
    "--ro-bind-try /etc/alternatives /etc/alternatives --proc /proc --dev /dev --size 67108864 --tmpfs /dev/shm --size 67108864 --tmpfs /tmp "
    "--bind {directory} /work --remount-ro /dev --remount-ro / --chdir /work --clearenv -- prlimit --data=1073741824 --nofile=1024 true"
)


def main() -> None:
    """Measure and print medians in milliseconds; with --json one JSON object."""
    parser = argparse.ArgumentParser(description="Measure the start of sandboxed programs.")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), options.runs)
    bare = statistics.median(measured["bare bubblewrap"])
    figures = {name: round(statistics.median(times), 2) for name, times in measured.items()}
    if options.json:
        print(json.dumps(figures))
        return
    print(f"as {'root' if os.geteuid() == 0 else 'a user'}, {options.runs} rounds")
    for name, median in figures.items():
        print(f"{name:16} {median:7.2f} ms   {median - bare:+7.2f} ms")


def measure(directory: Path, runs: int) -> dict[str, list[float]]:
    """Milliseconds of each start, by name."""
    starts: dict[str, Callable[[], None]] = {"bare bubblewrap": lambda: _bare(directory)}
    for setting in ("bubblewrap", "landlock", "off"):
        tools = Tools(sandbox=setting)
        if unavailable(tools) is None:
            starts[setting] = lambda tools=tools: _sandboxed(tools, directory)
    times: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(runs):
        for name, start in starts.items():
            began = time.perf_counter()
            start()
            times[name].append((time.perf_counter() - began) * 1000)
    return times


def _bare(directory: Path) -> None:
    command = BARE.format(directory=directory).split()
    nothing = dict.fromkeys(("on_line", "on_tick", "on_cancel"))
    outcome = watch(
        command,
        LIMITS,
        directory=None,
        environment=dict(os.environ),
        writable=(),
        announce="--info-fd",
        **nothing,
    )
    if outcome.exit_code != 0:
        raise subprocess.SubprocessError(outcome.stderr)


def _sandboxed(tools: Tools, directory: Path) -> None:
    sandbox = Sandbox(tools, LIMITS)
    inside = sandbox.write(directory, "/work")
    outcome = sandbox.run(["true"], directory=inside)
    if outcome.exit_code != 0:
        raise subprocess.SubprocessError(outcome.stderr)


if __name__ == "__main__":
    main()
