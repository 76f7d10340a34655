"""`aitbc-agent selftest` with a runner of tests, as a program: `python program.py DRIVER_DIRECTORY DATA_DIRECTORY REPORT`.

The libraries of the driver are loaded from the environment, so each machine needs a process of its own.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import typer

from agent.cli.commands.machine import selftest as command
from agent.core.errors import ConfigurationError
from agent.miner.selftest.selftest import Selftest
from miner_support.timed_runners import PROGRAM, RUNNERS

if __name__ == "__main__":
    data_dir, report = map(Path, sys.argv[1:3])
    names = sys.argv[3].split(",")
    command.Selftest = partial(  # type: ignore[misc] - the command takes no runners
        Selftest, runners={name: RUNNERS[name] for name in names}, host_command=PROGRAM
    )
    try:
        command.selftest(data_dir=data_dir, minutes=0.03, json_file=report, card=sys.argv[4:])
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except ConfigurationError as error:  # as the command line prints it
        sys.exit(str(error))
