"""Programs that read what strangers sent run in here: no network, no view of the owner's files, bounded resources.

There are two sandboxes. `bubblewrap` needs namespaces and is the stronger; `landlock` needs no privilege and works in most
containers. The setting `runners.sandbox` names one, or "auto" takes the first that works. `prlimit` bounds each process, and
because per-process limits do not add up, a watch over the whole process tree bounds their number, their memory and what
they write. With "off" the limits and the watch remain, and the rest does not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from runners.api import Cancelled, Device, FailureCode, Retry, Tools, forget_probes
from runners.sandbox import bubblewrap, landlock, mark, seccomp, users
from runners.sandbox._launch import CPU_GRACE
from runners.sandbox._syscalls import fresh_session_keyring
from runners.sandbox.watch import Ended, Limits, Outcome, watch

OPEN_FILES = 1024
"""Open files of one process."""

Level = Literal["bubblewrap", "landlock", "none"]
"""What isolates a program."""

_LIBRARY_SECONDS: Final = 10.0


@dataclass(slots=True)
class Sandbox:
    """One run of one program. Grant it paths, then call `run`.

    `read` and `write` take a path of this machine and the absolute path at which the program shall see it, and return
    the path to put on the command line: the latter in bubblewrap, the former elsewhere. With a CUDA `device` the
    program sees the GPUs' device files, and of the GPUs only that device. With `network` it can reach other machines.
    """

    tools: Tools
    limits: Limits
    device: Device | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    _mounts: list[tuple[str, str, str]] = field(default_factory=list)
    _readable: list[Path] = field(default_factory=list)
    _writable: list[Path] = field(default_factory=list)

    def read(self, host: Path, inside: str) -> str:
        """Grant reading a file or directory. Links in `host` are followed now, outside the sandbox."""
        resolved = host.resolve(strict=True)
        self._mounts.append(("--ro-bind", str(resolved), inside))
        self._readable.append(resolved)
        return inside if self._moved else str(resolved)

    def write(self, host: Path, inside: str) -> str:
        """Grant reading and writing a directory; what it holds counts against `limits.output`."""
        resolved = host.resolve(strict=True)
        self._mounts.append(("--bind", str(resolved), inside))
        self._writable.append(resolved)
        return inside if self._moved else str(resolved)

    def program(self, name: str) -> str:
        """Grant running a program given by name or path. One outside /usr comes alone, with the libraries that it is linked to.

        Raises `Retry` if it is not found.
        """
        found = shutil.which(name)
        if found is None:
            raise Retry(
                f"The program {name!r} was not found on this machine.", code=FailureCode.PROGRAM_MISSING
            )
        path = Path(found).resolve()
        if path.is_relative_to("/usr"):
            return str(path)
        for library in _libraries(path):
            self.read(library, _moved(library, path))
        return self.read(path, _moved(path, path))

    def run(
        self,
        command: Sequence[str],
        *,
        directory: str | None = None,
        on_line: Callable[[str], None] | None = None,
        on_tick: Callable[[float], None] | None = None,
        on_cancel: Callable[[Callable[[], None]], None] | None = None,
    ) -> Outcome:
        """Run the program to its end and say how it ended.

        `directory` is its current directory (as `write` returned it), `on_line` gets each line of its standard
        output, `on_tick` about once a second the CPU seconds used so far, and `on_cancel` is
        `Context.on_cancel`. The process tree is killed when the job is cancelled (raises `Cancelled`), when a limit is
        passed, and when a callback raises. Raises `Retry` if the sandbox itself does not work.
        """
        if (reason := unavailable(self.tools)) is not None:
            raise Retry(reason, code=FailureCode.SANDBOX_UNAVAILABLE)
        start = {"bubblewrap": self._bubblewrapped, "landlock": self._landlocked, "none": self._unconfined}
        with start[level(self.tools) or "bubblewrap"](command, directory) as prepared:
            outcome = watch(
                prepared.command,
                self.limits,
                directory=prepared.directory,
                environment=prepared.environment,
                writable=prepared.writable,
                on_line=on_line and (lambda line: on_line(self._renamed(line))),
                on_tick=on_tick,
                on_cancel=on_cancel,
                announce=prepared.announce,
                descriptors=prepared.descriptors,
            )
        if outcome.ended is Ended.CANCELLED:
            raise Cancelled
        if prepared.complaint and outcome.exit_code != 0 and outcome.stderr.startswith(prepared.complaint):
            # Programs can write that line too, and must not make the machine look faulty: only a new trial is believed.
            forget_probes()
            if (reason := unavailable(self.tools)) is not None:
                raise Retry(reason, code=FailureCode.SANDBOX_UNAVAILABLE)
        return replace(outcome, stderr=self._renamed(outcome.stderr))

    def _renamed(self, text: str) -> str:
        """What a program says, with the paths of this machine as if they had been moved: clients see these messages."""
        if not self._moved:
            for _, host, inside in sorted(self._mounts, key=lambda mount: len(mount[1]), reverse=True):
                text = text.replace(host, inside)
        return text

    @property
    def _moved(self) -> bool:
        """Whether the program sees what it was granted at other paths."""
        return level(self.tools) not in ("landlock", "none")

    @contextmanager
    def _bubblewrapped(self, command: Sequence[str], directory: str | None) -> Iterator[_Prepared]:
        fresh_session_keyring()
        environment = self._environment("/tmp")  # noqa: S108 - the sandbox's own
        grants = bubblewrap.Grants(self._mounts, environment, directory or "/", self._gpu, self.network)
        limited = [*_limits(self.limits, count_processes=True), *command]
        with (
            self._own_user(self._writable) as user,
            bubblewrap.started_by(self.tools.bubblewrap, grants, limited, user) as (line, descriptors),
        ):
            yield _Prepared(
                line,
                environment,
                tuple(self._writable),
                announce="--info-fd",
                descriptors=tuple(descriptors),
                complaint="bwrap: ",
            )

    @contextmanager
    def _landlocked(self, command: Sequence[str], directory: str | None) -> Iterator[_Prepared]:
        fresh_session_keyring()
        network: seccomp.Network = "host" if self.network else "none"
        with tempfile.TemporaryDirectory(prefix="aitbc-sandbox-", ignore_cleanup_errors=True) as temporary:
            writable = [*self._writable, Path(temporary).resolve()]
            readable = [*self._readable, *(map(Path, bubblewrap.NETWORK_FILES) if self.network else ())]
            with (
                self._own_user(writable) as user,
                landlock.ruleset(
                    [path for path in readable if path.exists()],
                    writable,
                    network=self.network,
                    devices=landlock.nvidia_devices() if self._gpu else (),
                ) as rules,
                landlock.launched(rules, network, user, self.limits, OPEN_FILES) as (words, descriptors),
            ):
                if user is not None:
                    users.admit(user, [*self._readable, *writable])
                yield _Prepared(
                    [*words, *command],
                    self._environment(temporary),
                    tuple(writable),
                    directory=directory or "/",
                    descriptors=tuple(descriptors),
                    complaint="sandbox: ",
                )

    @contextmanager
    def _unconfined(self, command: Sequence[str], directory: str | None) -> Iterator[_Prepared]:
        limited = [*_limits(self.limits, count_processes=False), *command]
        yield _Prepared(
            ["setpriv", "--pdeathsig", "KILL", *limited],
            self._environment(directory or "/tmp"),  # noqa: S108 - nothing better is known
            tuple(self._writable),
            directory=directory,
        )

    @contextmanager
    def _own_user(self, writable: Sequence[Path]) -> Iterator[users.User | None]:
        first, count = self.tools.sandbox_first_user, self.tools.sandbox_users
        with users.own_user(first, count, self._readable, writable) as user:
            yield user

    @property
    def _gpu(self) -> bool:
        return self.device is not None and self.device.kind == "cuda"

    def _environment(self, temporary: str) -> dict[str, str]:
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": temporary,
            "TMPDIR": temporary,
            "USER": "sandbox",
            "LOGNAME": "sandbox",
        }
        if self.device is not None and (self.device.kind == "cpu" or self.device.uuid is not None):
            environment["CUDA_VISIBLE_DEVICES"] = self.device.uuid or ""
        return {**environment, **mark.inherited(), **self.environment}


@dataclass(frozen=True, slots=True)
class _Prepared:
    """How to start a program. `complaint` begins what the sandbox itself writes to standard error."""

    command: list[str]
    environment: Mapping[str, str]
    writable: tuple[Path, ...]
    directory: str | None = None
    announce: str | None = None
    descriptors: tuple[int, ...] = ()
    complaint: str | None = None


def level(tools: Tools) -> Level | None:
    """What isolates programs with these settings on this machine; None if they cannot be run."""
    if tools.sandbox == "off":
        return "none"
    if tools.sandbox != "landlock" and bubblewrap.unavailable(tools.bubblewrap) is None:
        return "bubblewrap"
    if tools.sandbox != "bubblewrap" and landlock.unavailable() is None:
        return "landlock"
    return None


def unavailable(tools: Tools) -> str | None:
    """Why programs cannot be run on this machine and what its owner can do, or None if they can.

    Really starts the sandbox, once for each process and setting.
    """
    match tools.sandbox:
        case "off":
            missing = [name for name in ("setpriv", "prlimit") if shutil.which(name) is None]
            return f"{missing[0]} was not found; install util-linux." if missing else None
        case "bubblewrap":
            return bubblewrap.unavailable(tools.bubblewrap)
        case "landlock":
            return landlock.unavailable()
    first = bubblewrap.unavailable(tools.bubblewrap)
    second = first and landlock.unavailable()
    return f"{first} The second sandbox does not work either: {second}" if second else None


def _limits(limits: Limits, *, count_processes: bool) -> list[str]:
    """The `prlimit` command line. RLIMIT_DATA and not RLIMIT_AS: engines reserve much address space without using it.

    The number of processes is limited only where the count begins at zero, for a user of the run's own and in a user
    namespace; elsewhere it would count the owner's other programs.
    """
    cpu = max(1, round(limits.cpu_seconds))
    words = [
        "prlimit",
        f"--data={limits.memory}",
        f"--cpu={cpu}:{cpu + CPU_GRACE}",
        f"--fsize={limits.output if limits.file is None else min(limits.file, limits.output)}",
        f"--nofile={OPEN_FILES}",
        "--core=0",
    ]
    return [*words, f"--nproc={limits.processes}"] if count_processes else words


def _moved(path: Path, program: Path) -> str:
    """Where a program outside /usr, or a library of its own, is seen: below /program, with the same way between them."""
    top = program.parent.parent if program.parent.name == "bin" else program.parent
    return str(Path("/program", path.relative_to(top)) if path.is_relative_to(top) else path)


def _libraries(program: Path) -> list[Path]:
    """The shared libraries outside the system's directories that a program is linked to, as its loader finds them."""
    try:
        listed = subprocess.run(  # noqa: S603 - the owner's own program
            ["ldd", str(program)],  # noqa: S607 - from util-linux's neighbour libc-bin
            capture_output=True,
            text=True,
            timeout=_LIBRARY_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    paths = [Path(word) for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    return [path for path in paths if path.is_file() and not path.resolve().is_relative_to("/usr")]


def python_prefix() -> Path:
    """The installation of the Python that runs this program, also when that is a virtual environment."""
    return Path(sysconfig.get_config_var("installed_base") or os.sep).resolve()
