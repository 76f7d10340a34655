"""Cost of isolation at the start of a program: /bin/true in each sandbox, compared with a minimal bubblewrap.

    .venv/bin/python benchmarks/sandbox.py [--runs 100]

Each round starts each variant once, so that other load affects all of them alike. `bare bubblewrap` is the command line that this
project used before it had filters and separate users. The other rows are `runners.sandbox.Sandbox` with each setting, from granting
a directory to returning it to the agent. Root and other users take different code paths, so report the user with the results.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runners.api import Tools
from runners.sandbox import Sandbox, unavailable
from runners.sandbox.watch import Callbacks, Launch, Limits, adopt_orphans, watch

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
    adopt_orphans()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), options.runs)
    figures = {
        name: {kind: round(statistics.median(each), 2) for kind, each in times.items()}
        for name, times in measured.items()
    }
    bare = figures["bare bubblewrap"]
    if options.json:
        print(json.dumps(figures))
        return
    print(f"as {'root' if os.geteuid() == 0 else 'a user'}, {options.runs} rounds")
    print(f"{'milliseconds':16} {'elapsed':>9} {'more':>9} {'processor':>10} {'more':>9}")
    for name, each in figures.items():
        more = {kind: value - bare[kind] for kind, value in each.items()}
        print(
            f"{name:16} {each['elapsed']:9.2f} {more['elapsed']:+9.2f} {each['processor']:10.2f} {more['processor']:+9.2f}"
        )


def measure(directory: Path, runs: int) -> dict[str, dict[str, list[float]]]:
    """Return elapsed and processor time of each variant in milliseconds; other load hardly affects the processor time."""
    starts: dict[str, Callable[[], None]] = {"bare bubblewrap": lambda: _bare(directory)}
    for setting in ("bubblewrap", "landlock", "off"):
        tools = Tools(sandbox=setting)
        if unavailable(tools) is None:
            starts[setting] = functools.partial(_sandboxed, tools, directory)
    times: dict[str, dict[str, list[float]]] = {name: {"elapsed": [], "processor": []} for name in starts}
    for _ in range(runs):
        for name, start in starts.items():
            began, used = time.perf_counter(), _processor_seconds()
            start()
            times[name]["elapsed"].append((time.perf_counter() - began) * 1000)
            times[name]["processor"].append((_processor_seconds() - used) * 1000)
    return times


def _processor_seconds() -> float:
    """Return the processor time of this process and of those that it has waited for, including the sandboxes' first processes."""
    usages = (resource.getrusage(kind) for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _bare(directory: Path) -> None:
    command = BARE.format(directory=directory).split()
    launch = Launch(command, dict(os.environ), (), announce="--info-fd")
    outcome = watch(launch, LIMITS, Callbacks())
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
