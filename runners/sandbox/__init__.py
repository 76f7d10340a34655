"""Runs programs that read untrusted files: without network, without access to the owner's files, with bounded resources.

There are two sandboxes. `bubblewrap` needs namespaces and is the stronger; `landlock` needs no privileges and works in most
containers. The setting `runners.sandbox` selects one, or with "auto" the first that works. `prlimit` bounds each process.
Per-process limits do not add up, so a watch over the whole process tree also bounds the number of processes, their memory and
their output. With "off" only the limits and the watch remain.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from runners.api import Cancelled, Device, FailureCode, Retry, Tools, forget_probes
from runners.sandbox import bubblewrap, gpus, landlock, mark, seccomp, users
from runners.sandbox._launch import CPU_GRACE
from runners.sandbox._syscalls import fresh_session_keyring
from runners.sandbox.transcript import OnText
from runners.sandbox.watch import Callbacks, Ended, Launch, Limits, Outcome, watch

OPEN_FILES = 1024
"""Open files of one process."""

Level = Literal["bubblewrap", "landlock", "none"]
"""The isolation of a program."""

_LIBRARY_SECONDS: Final = 10.0


@dataclass(slots=True)
class Sandbox:
    """One run of one program. Grant it paths, then call `run`.

    `read` and `write` take a path of this machine and the absolute path at which the program should see it, and return
    the path for the command line: the latter in bubblewrap, the former elsewhere.
    """

    tools: Tools
    limits: Limits
    device: Device | None = None
    """With a CUDA device, the program can open the device files of its cards, and no others as far as they are known."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables in addition to those of every program."""
    network: bool = False
    """Whether it can reach other machines."""
    _mounts: list[tuple[str, str, str]] = field(default_factory=list)
    _readable: list[Path] = field(default_factory=list)
    _writable: list[Path] = field(default_factory=list)
    _libraries: list[Path] = field(init=False)

    def __post_init__(self) -> None:
        self._libraries = gpus.library_directories() if self._devices is not None else []
        for directory in self._libraries:
            self.read(directory, str(directory))

    def read(self, host: Path, inside: str) -> str:
        """Grant reading a file or directory. Links in `host` are followed now, outside the sandbox."""
        resolved = host.resolve(strict=True)
        self._mounts.append(("--ro-bind", str(resolved), inside))
        self._readable.append(resolved)
        return inside if self._moved else str(resolved)

    def write(self, host: Path, inside: str) -> str:
        """Grant reading and writing a directory; its content counts towards `limits.output`."""
        resolved = host.resolve(strict=True)
        self._mounts.append(("--bind", str(resolved), inside))
        self._writable.append(resolved)
        return inside if self._moved else str(resolved)

    def program(self, name: str) -> str:
        """Grant running a program by name or path. One outside /usr is granted alone, with its linked libraries.

        Raises `Retry` if it is not found.
        """
        executable = shutil.which(name)
        if executable is None:
            raise Retry(
                f"The program {name!r} was not found on this machine.", code=FailureCode.PROGRAM_MISSING
            )
        path = Path(executable).resolve()
        if path.is_relative_to("/usr"):
            return str(path)
        # A program that was built with its own libraries (upstream Blender, Conda) finds them by their relative path.
        for library in _libraries(path):
            self.read(library, _moved(library, path))
        return self.read(path, _moved(path, path))

    def run(
        self,
        command: Sequence[str],
        *,
        directory: str | None = None,
        on_line: Callable[[str], None] | None = None,
        on_text: OnText | None = None,
        on_tick: Callable[[float], None] | None = None,
        on_cancel: Callable[[Callable[[], None]], None] | None = None,
    ) -> Outcome:
        """Run the program to its end and return how it ended.

        `directory` is its current directory (as `write` returned it), `on_line` gets each line of its standard
        output, `on_text` the text of both streams for the job's log (see `Transcript`), `on_tick` about once a second the CPU seconds used so far, and `on_cancel` is
        `Context.on_cancel`. The process tree is killed if the job is cancelled (raises `Cancelled`), if a limit is
        exceeded, and if a callback raises. Raises `Retry` if the sandbox itself does not work.
        """
        if (reason := unavailable(self.tools)) is not None:
            raise Retry(reason, code=FailureCode.SANDBOX_UNAVAILABLE)
        start = {"bubblewrap": self._bubblewrapped, "landlock": self._landlocked, "none": self._unconfined}
        callbacks = Callbacks(
            on_line=on_line and (lambda line: on_line(self._renamed(line))),
            on_text=on_text and (lambda stream, text: on_text(stream, self._renamed(text))),
            on_tick=on_tick,
            on_cancel=on_cancel,
        )
        with start[level(self.tools) or "bubblewrap"](command, directory) as launch:
            outcome = watch(launch, self.limits, callbacks)
        if outcome.ended is Ended.CANCELLED:
            raise Cancelled
        if launch.complaint and outcome.exit_code != 0 and outcome.stderr.startswith(launch.complaint):
            # A program can write that line too and must not make the machine appear faulty, so only a new probe counts.
            forget_probes()
            if (reason := unavailable(self.tools)) is not None:
                raise Retry(reason, code=FailureCode.SANDBOX_UNAVAILABLE)
        return replace(outcome, stderr=self._renamed(outcome.stderr))

    def _renamed(self, text: str) -> str:
        """Return a program's output with this machine's paths replaced by those inside, because clients see it."""
        if not self._moved:
            # The longest path first, since one may be the beginning of another.
            for _, host, inside in sorted(self._mounts, key=lambda mount: len(mount[1]), reverse=True):
                text = text.replace(host, inside)
        return text

    @property
    def _moved(self) -> bool:
        """Whether the program sees granted paths at other paths."""
        return level(self.tools) not in ("landlock", "none")

    @contextmanager
    def _bubblewrapped(self, command: Sequence[str], directory: str | None) -> Iterator[Launch]:
        # A program could otherwise read the keys of the session that started the agent.
        fresh_session_keyring()
        environment = self._environment("/tmp")  # noqa: S108 - the sandbox's own
        grants = bubblewrap.Grants(self._mounts, environment, directory or "/", self._devices, self.network)
        limited = [*_limits(self.limits, count_processes=True), *command]
        with (
            self._own_user(self._writable) as user,
            bubblewrap.started_by(self.tools.bubblewrap, grants, limited, user) as (line, descriptors),
        ):
            yield Launch(
                line,
                environment,
                tuple(self._writable),
                announce="--info-fd",
                descriptors=tuple(descriptors),
                complaint="bwrap: ",
            )

    @contextmanager
    def _landlocked(self, command: Sequence[str], directory: str | None) -> Iterator[Launch]:
        # A program could otherwise read the keys of the session that started the agent.
        fresh_session_keyring()
        network: seccomp.Network = "host" if self.network else "none"
        devices = self._devices
        proc = landlock.OWN_PROC if devices is None else landlock.OWN_PROC_ON_GPU
        with tempfile.TemporaryDirectory(prefix="aitbc-sandbox-", ignore_cleanup_errors=True) as temporary:
            writable = [*self._writable, Path(temporary).resolve()]
            readable = [*self._readable, *(map(Path, bubblewrap.NETWORK_FILES) if self.network else ())]
            with (
                self._own_user(writable) as user,
                landlock.ruleset(
                    [path for path in readable if path.exists()],
                    writable,
                    network=self.network,
                    devices=devices,
                ) as rules,
                landlock.launched(rules, network, user, self.limits, OPEN_FILES, proc) as (
                    words,
                    descriptors,
                ),
            ):
                if user is not None:
                    # Landlock moves no paths, so the program must pass through the directories above them.
                    users.admit(user, [*self._readable, *writable])
                yield Launch(
                    [*words, *command],
                    self._environment(temporary),
                    tuple(writable),
                    directory=directory or "/",
                    descriptors=tuple(descriptors),
                    complaint="sandbox: ",
                )

    @contextmanager
    def _unconfined(self, command: Sequence[str], directory: str | None) -> Iterator[Launch]:
        limited = [*_limits(self.limits, count_processes=False), *command]
        yield Launch(
            ["setpriv", "--pdeathsig", "KILL", *limited],
            self._environment(directory or "/tmp"),  # noqa: S108 - there is no better directory
            tuple(self._writable),
            directory=directory,
        )

    @contextmanager
    def _own_user(self, writable: Sequence[Path]) -> Iterator[users.User | None]:
        first, count = self.tools.sandbox_first_user, self.tools.sandbox_users
        with users.own_user(first, count, self._readable, writable) as user:
            yield user and replace(user, cards=gpus.group(self._devices or ()))

    @property
    def _devices(self) -> list[str] | None:
        return gpus.device_files(self.device)

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
            # Empty for the CPU, which hides all GPUs.
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.device.gpus)
        environment |= {**mark.inherited(), **self.environment}
        # The program's own libraries first: directories of the driver may have others beside it.
        if searched := [*filter(None, [environment.get("LD_LIBRARY_PATH")]), *map(str, self._libraries)]:
            environment["LD_LIBRARY_PATH"] = ":".join(searched)
        return environment


def level(tools: Tools) -> Level | None:
    """Return the isolation of programs with these settings on this machine; None if they cannot be run. Raises `TimedOut`."""
    if tools.sandbox == "off":
        return "none"
    if tools.sandbox != "landlock" and bubblewrap.unavailable(tools.bubblewrap) is None:
        return "bubblewrap"
    if tools.sandbox != "bubblewrap" and landlock.unavailable() is None:
        return "landlock"
    return None


def unavailable(tools: Tools) -> str | None:
    """Return why programs cannot be run on this machine, with a remedy; None if they can.

    Starts the sandbox, once for each process and setting. Raises `TimedOut` if it does not start in time.
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


def run_limits(tools: Tools, seconds: float, *, cpu_seconds: float, processes: int) -> Limits:
    """Return the limits of one run of a job: the owner's for memory and files, and these."""
    return Limits(
        memory=tools.max_memory,
        output=tools.max_output,
        file=tools.max_file,
        files=tools.max_files,
        depth=tools.max_depth,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        processes=processes,
    )


def _limits(limits: Limits, *, count_processes: bool) -> list[str]:
    """Return the `prlimit` command line. RLIMIT_DATA instead of RLIMIT_AS: engines reserve much unused address space.

    The number of processes is limited only if the kernel's count begins at zero: for the run's own user and in a user
    namespace. Otherwise it would include the owner's other programs.
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
    """Return the path inside of a program outside /usr, or of its library: below /program, with the same relative path."""
    top = program.parent.parent if program.parent.name == "bin" else program.parent
    return str(Path("/program", path.relative_to(top)) if path.is_relative_to(top) else path)


def _libraries(program: Path) -> list[Path]:
    """Return the linked libraries of a program that are outside the system's directories, as its loader finds them."""
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
    """Return the installation directory of this Python, even in a virtual environment."""
    return Path(sysconfig.get_config_var("installed_base") or os.sep).resolve()


def granted_python(sandbox: Sandbox, environment: dict[str, str]) -> str:
    """Grant running this program's own Python, without its packages, at a path that reveals nothing about the machine.

    Return its path. May add to the `environment` in which it runs.
    """
    prefix = python_prefix()
    program = Path("bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    if prefix.is_relative_to("/usr"):
        return str(prefix / program)
    inside = sandbox.read(prefix, "/python")
    environment["LD_LIBRARY_PATH"] = f"{inside}/lib"  # the loader would search the original path
    return f"{inside}/{program}"
