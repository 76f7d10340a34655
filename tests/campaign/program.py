"""Starts `aitbc-agent` with only the services of a campaign, in a tenth of the usual time.

    python program.py

One process imports the agent and then waits: for each line of standard input, a JSON object with `arguments`, `environment`
and `log`, it forks a process that runs the command as if it had been started with them, and prints its process id. The
new process has no parent here, so the campaign, which is the subreaper, adopts it.

The agent's time of day is the true time plus the value in the file that `CAMPAIGN_CLOCK` names: a double, read at every access to
the clock. (libfaketime does the same to any program, but delays waiting threads and occupies a processor.)

With `--runner` as the first argument, it is the program of a runner's process instead.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import struct
import sys
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from campaign.runner import SERVICE, WorkRunner  # noqa: E402 - after the path is set
from runners.ffmpeg import FFmpegRunner  # noqa: E402

CLOCK = "CAMPAIGN_CLOCK"
RUNNERS = {SERVICE: WorkRunner, FFmpegRunner.definition.service_id: FFmpegRunner}


def run_host() -> None:
    """Run as a runner's process."""
    import runners.host.process  # noqa: PLC0415 - only here

    runners.host.process.find = lambda service: RUNNERS[service]
    runners.host.process.main()


def serve() -> None:
    """Fork an agent for every line of standard input."""
    _use_clock(Path(os.environ[CLOCK]))
    _use_runners()
    import agent.cli.commands.running.local_coordinator  # noqa: PLC0415 - after the runners are chosen
    import agent.cli.commands.running.serve  # noqa: PLC0415
    import agent.miner.daemon  # noqa: F401, PLC0415

    _probe_runners()
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"{threads} threads, and a fork would keep only one of them"
    for line in sys.stdin:
        sys.stdout.write(f"{_fork(json.loads(line))}\n")
        sys.stdout.flush()


def _use_clock(path: Path) -> None:
    """Replace the clock, before the import of modules that copy the function."""
    with path.open("rb") as file:
        ahead = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    true_time = time.time
    time.time = lambda: true_time() + struct.unpack("d", ahead)[0]


def _use_runners() -> None:
    import runners.registry  # noqa: PLC0415

    runners.registry._discover = lambda: (RUNNERS, {})  # type: ignore[assignment]  # a cached function
    from agent.miner.engines import interpreters  # noqa: PLC0415

    interpreters.HOST_COMMAND = (sys.executable, "-P", __file__, "--runner")  # type: ignore[misc]  # before its first use


def _probe_runners() -> None:
    """Probe this machine once: runners cache the result, and every start would take seconds for it."""
    from agent.configuring.reading import load_settings  # noqa: PLC0415
    from agent.miner.machine.capabilities import tools  # noqa: PLC0415

    for runner in RUNNERS.values():
        runner.probe(tools(load_settings()))


def _fork(request: dict[str, Any]) -> int:
    reading, writing = os.pipe()
    first = os.fork()
    if first == 0:
        if second := os.fork():
            os.write(writing, str(second).encode())
            os._exit(0)
        _become(request)
    os.close(writing)
    os.waitpid(first, 0)
    with os.fdopen(reading) as pipe:
        return int(pipe.read())


def _become(request: dict[str, Any]) -> None:
    """Run the command; never returns."""
    status = 1
    try:
        os.setsid()
        empty = os.open(os.devnull, os.O_RDONLY)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(empty, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(request["environment"])
        random.seed()
        _follow_plan()
        sys.argv = ["aitbc-agent", *request["arguments"]]
        from agent.cli import main  # noqa: PLC0415

        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the process ends here
        import traceback  # noqa: PLC0415

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _follow_plan() -> None:
    from agent import fault_points  # noqa: PLC0415

    fault_points._plan = fault_points._FaultPlan(Path(os.environ[fault_points.VARIABLE]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--runner"]:
        del sys.argv[1]
        run_host()
    else:
        serve()
