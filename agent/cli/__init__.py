"""`aitbc-agent`: one file per command; the only package that composes the coordinator and the miner."""

import gc
import signal
import sys

from agent import __version__
from agent.updates.launcher import redirect

SERVING = (["start"], ["coordinator"])
"""The commands that run until Ctrl-C, which is therefore not an error."""


def main() -> None:
    """Run the command, in the current version of the agent. An expected error is printed to standard error and ends with its exit code, usually 1.

    Loading the program takes more than a second, in which Ctrl-C must not end in a traceback, or in an error that `make start` would
    report.
    """
    redirect(__version__)
    if sys.argv[1:2] in SERVING and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    # Imports create hardly any garbage.
    gc.disable()
    from agent.cli import application  # noqa: PLC0415 - see above

    gc.enable()
    application.main()


def _stop(*_: object) -> None:
    sys.stdout.write("The agent has stopped.\n")
    sys.exit(0)
