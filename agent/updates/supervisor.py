"""Watches a new version during its trial, in the process of the agent that it replaces.

The process keeps its id, which systemd or a shell knows, and runs the new version as its child: it passes signals on, and the child's messages
to systemd. Once the version has proved that it works, it becomes the current one. Otherwise it is ended, and this process becomes the
former version again. It runs with the former version's code, and imports little, since it stays until the agent ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NoReturn

from agent.fault_points import reach
from agent.updates.directory import VersionsDirectory, base_program
from agent.updates.launcher import AS_IT_IS
from agent.updates.states import Phase

SUPERVISED: Final = "_AITBC_SUPERVISED"
"""In the environment of a child: the id of the supervising process."""
RESTART_STATUS: Final = 85
"""The exit status of a child that wants the agent to be started again, perhaps in another version."""
POLL_SECONDS: Final = 0.2
SECOND_STOP_SECONDS: Final = 10.0
"""How long a child may take after the second request to stop, which means "at once"."""
_PASSED_ON: Final = frozenset(
    {
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGABRT,
        signal.SIGUSR1,
        signal.SIGUSR2,
    }
)
_FROM_KERNEL: Final = 0x80
"""The origin (`si_code`) of a signal from the terminal, which sends it to the child as well."""
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Order:
    """What to supervise: a version in VERSIONS, started with these arguments. Times are in seconds."""

    versions: str
    version: str
    trial_seconds: float
    stop_seconds: float
    arguments: tuple[str, ...]


def supervise(order: Order) -> NoReturn:
    """Replace this process by the supervisor. Raises `OSError`."""
    # -P: not with the modules of the directory in which the agent was started.
    command = [sys.executable, "-P", "-m", "agent.updates.supervisor", json.dumps(asdict(order))]
    os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted


def is_supervised() -> bool:
    """Whether this process is a supervisor's child."""
    return os.environ.get(SUPERVISED) == str(os.getppid())


def end_with_supervisor() -> None:
    """Have this process, a supervisor's child, stopped when that is killed: the next start would find the data directory in use."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if not is_supervised():
        sys.exit("The process that supervised this one was killed. Start the agent again.")


def start_again(arguments: tuple[str, ...]) -> NoReturn:
    """Start the agent again in this process, in the version that is now the current one. Raises `OSError`."""
    if is_supervised():
        sys.exit(RESTART_STATUS)
    program = str(base_program())
    os.execv(program, [program, *arguments])  # noqa: S606 - no shell is wanted


class Supervisor:
    """Starts, watches and ends a version."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._versions = VersionsDirectory(Path(order.versions))
        self._forwarder = _Forwarder.start_for(os.environ)
        self._child = 0
        self._status: int | None = None
        self._stopped = False
        self._deadline = time.monotonic() + order.trial_seconds

    def run(self) -> NoReturn:
        """Supervise until the child has ended, then end likewise, or start the agent again."""
        self._start()
        if self._passes():
            while self._status is None:
                self._next(None)
        else:
            self._end()
        if self._forwarder is not None:
            self._forwarder.close()
        returning = self._versions.read().phase is Phase.RETURNING
        if not self._stopped and (returning or self._status == RESTART_STATUS):
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            start_again(self._order.arguments)
        status = self._status or 0
        sys.exit(128 - status if status < 0 else status)

    def _start(self) -> None:
        program = str(self._versions.program(self._order.version))
        variables = {**os.environ, SUPERVISED: str(os.getpid()), AS_IT_IS: "1"}
        # It names this process, and the child sends its messages by way of it.
        variables.pop("WATCHDOG_PID", None)
        if self._forwarder is not None:
            variables["NOTIFY_SOCKET"] = self._forwarder.address
        self._versions.delete_report()
        reach("update.child_starting")
        try:
            self._child = os.posix_spawn(program, [program, *self._order.arguments], variables, setsigmask=())
        except OSError as error:
            self._status = 1
            self._fail(f"It cannot be started: {error.strerror}.")
        reach("update.child_started")

    def _passes(self) -> bool:
        """Return whether the version works.

        The decision is stored before it is carried out: if this process is killed in between, the next start does so.
        """
        while self._status is None:
            self._next(POLL_SECONDS)
            report = self._versions.read_report(self._child)
            self._stopped |= report.stopping
            # A version that its owner stops is judged after the next start.
            verdict = None if self._stopped else report.verdict(over=time.monotonic() > self._deadline)
            if verdict:
                # On a full disk, the trial goes on until there is space.
                with suppress(OSError):
                    self._succeed()
                    return True
            elif verdict is False:
                self._fail(report.problem(self._order.trial_seconds))
                return False
        if self._stopped:
            self._postpone()
        elif self._child:
            self._fail(f"It ended with {_words(self._status)} during its trial.")
        return False

    def _succeed(self) -> None:
        reach("update.passed")
        with self._versions.locked():
            state = self._versions.read()
            if state.phase is Phase.TRIAL and state.version == self._order.version:
                state = self._versions.write(state.succeed())
                self._versions.make_current(state.version)
                self._versions.write(state.finish(time.time()))
        reach("update.finished")

    def _fail(self, reason: str) -> None:
        reach("update.not_passed")
        if self._forwarder is not None:
            self._forwarder.ending = True
        # On a full disk, the next start begins another trial, and after the last one the former version works anyway.
        with suppress(OSError), self._versions.locked():
            state = self._versions.read()
            if state.phase is Phase.TRIAL:
                self._versions.write(state.fail(reason))

    def _postpone(self) -> None:
        with suppress(OSError), self._versions.locked():
            state = self._versions.read()
            if state.phase is Phase.TRIAL:
                self._versions.write(state.postpone())

    def _next(self, seconds: float | None) -> None:
        """Wait for a signal, for so long or without limit, and pass it on. Note the status of a child that has ended."""
        waited_for = _PASSED_ON | {signal.SIGCHLD}
        received = (
            signal.sigwaitinfo(waited_for) if seconds is None else signal.sigtimedwait(waited_for, seconds)
        )
        if received is not None and received.si_signo in _PASSED_ON:
            self._stopped |= received.si_signo in {signal.SIGTERM, signal.SIGINT}
            # Twice would mean "at once".
            if received.si_code != _FROM_KERNEL:
                self._signal(received.si_signo)
        if self._status is None:
            process_id, status = os.waitpid(self._child, os.WNOHANG)
            if process_id:
                self._status = os.waitstatus_to_exitcode(status)

    def _end(self) -> None:
        """End the child: first as an owner stops it, so that its jobs can end or are handed back."""
        for number, seconds in (
            (signal.SIGTERM, self._order.stop_seconds),
            (signal.SIGTERM, SECOND_STOP_SECONDS),
            (signal.SIGKILL, float("inf")),
        ):
            self._signal(number)
            end = time.monotonic() + seconds
            while self._status is None and time.monotonic() < end:
                self._next(POLL_SECONDS)
        reach("update.child_ended")

    def _signal(self, number: int) -> None:
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self._child, number)


class _Forwarder(threading.Thread):
    """Passes the child's messages to systemd on, which accepts those of the service's main process only.

    Until the child has sent its first one, it feeds the watchdog itself: whether a version hangs is for the trial to find out.
    `ending`: the child is being ended, but the service is not.
    """

    def __init__(self, target: str, watchdog: str) -> None:
        super().__init__(name="notify", daemon=True)
        self.ending = False
        self._target = f"\0{target[1:]}" if target.startswith("@") else target
        self._directory = tempfile.mkdtemp(prefix="aitbc-")
        self.address = str(Path(self._directory, "notify"))
        self._own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._own.bind(self.address)
        # A third of the watchdog's time, in microseconds.
        self._own.settimeout(int(watchdog) / 3e6 if watchdog.isdecimal() else None)

    @classmethod
    def start_for(cls, variables: os._Environ[str]) -> _Forwarder | None:
        """Start one if systemd has started this process."""
        target = variables.get("NOTIFY_SOCKET")
        if not target:
            return None
        forwarder = cls(target, variables.get("WATCHDOG_USEC", ""))
        forwarder.start()
        return forwarder

    def run(self) -> None:
        spoken = False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as target:
            while True:
                try:
                    message = self._own.recv(65536)
                    spoken = True
                except TimeoutError:
                    if spoken and not self.ending:
                        continue
                    message = b"WATCHDOG=1"
                if self.ending:
                    message = b"WATCHDOG=1"
                with suppress(OSError):
                    target.sendto(message, self._target)

    def close(self) -> None:
        """Remove the socket."""
        shutil.rmtree(self._directory, ignore_errors=True)


def _words(status: int | None) -> str:
    if status is not None and status < 0:
        return f"signal {-status}"
    return f"exit status {status}"


if __name__ == "__main__":
    # From here on they wait until they are taken one by one; threads inherit that, the child does not.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    values = json.loads(sys.argv[1])
    Supervisor(Order(**{**values, "arguments": tuple(values["arguments"])})).run()
