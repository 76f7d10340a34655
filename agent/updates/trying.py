"""Tries an installed version on this machine before it takes over: as itself, in a scratch data directory, on the processor only.

Running jobs go on beside it. What the current version finds as well, such as a service that this machine lacks, is not held against the
new one.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from agent.child_environment import inherited
from agent.fault_points import VARIABLE, reach
from agent.updates.directory import VersionsDirectory, delete
from agent.updates.launcher import AS_IT_IS
from agent.updates.refusals import Refused
from agent.updates.settings import UpdateSettings
from agent.updates.supervisor import SUPERVISED

NICENESS: Final = 10
_VERSION_SECONDS: Final = 120.0
_TAIL: Final = 400


@dataclass(frozen=True, slots=True)
class Trying:
    """Tries a version with the owner's settings, of which `config` is the file. `lock` is inherited by its processes."""

    versions: VersionsDirectory
    settings: UpdateSettings
    config: Path
    lock: IO[bytes]

    def check(self, version: str, current: Path) -> None:
        """Try a version; `current` is the command of the current one. Raises `Refused` with what does not work."""
        program = self.versions.program(version)
        printed = self._run(program, ["--version"], min(_VERSION_SECONDS, self.settings.try_seconds)).strip()
        if printed.split()[-1:] != [version]:
            raise Refused(
                f"Version {version} says that it is {printed[:_TAIL] or 'nothing'}. It was not installed."
            )
        reach("update.started_once")
        for name, words in (("doctor", "its doctor finds"), ("jobs", "its self-test finds")):
            problems = self._problems(program, name)
            reach("update.tried", name)
            if problems and (new := problems.keys() - self._problems(current, name).keys()):
                reasons = " ".join(problems[problem] for problem in sorted(new))
                raise Refused(f"Version {version} does not work on this machine: {words}: {reasons}")

    def _problems(self, program: Path, name: str) -> dict[str, str]:
        """Return the faults that a version finds by one of its checks, by what they are about."""
        arguments = ["update", "--try", name]
        if self.config.is_file():
            arguments += ["--config", str(self.config)]
        answer = self._run(program, arguments, self.settings.try_seconds)
        try:
            problems = json.loads(answer.splitlines()[-1])["problems"]
            return {str(problem): str(words) for problem, words in problems.items()}
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Refused(
                f"The answer of {program} {' '.join(arguments[:3])} cannot be read: {answer[-_TAIL:]}"
            ) from None

    def _run(self, program: Path, arguments: Sequence[str], seconds: float) -> str:
        scratch = self.versions.scratch / f"{time.time_ns()}"
        scratch.mkdir(parents=True, mode=0o700)
        if "--try" in arguments:
            arguments = [*arguments, "--data-dir", str(scratch)]
        began = time.monotonic()
        try:
            done = subprocess.run(  # noqa: S603 - the program is one of the installed versions
                [program, *arguments],
                env=_variables(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
                pass_fds=(self.lock.fileno(),),
                preexec_fn=_nice,
                cwd=scratch,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Refused(
                f"{program} {' '.join(arguments[:3])} did not end within {time.monotonic() - began:.0f} s (updates.try_seconds)."
            ) from None
        except OSError as error:
            raise Refused(f"{program} does not start: {error.strerror}.") from None
        finally:
            delete(scratch)
        if done.returncode != 0:
            words = (done.stderr or done.stdout).decode(errors="replace").strip()[-_TAIL:]
            raise Refused(
                f"{program} {' '.join(arguments[:3])} fails with exit status {done.returncode}: {words or 'it printed nothing'}"
            )
        return done.stdout.decode(errors="replace")


def _variables() -> dict[str, str]:
    """Return the environment: the owner's, with directories and models, but no cards, on which jobs may run."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("AITBC_")}
    for name in (VARIABLE, "AITBC_DATA_DIR", "AITBC_UPDATES__DIRECTORY"):
        settings.pop(name, None)
    hidden = {"CUDA_VISIBLE_DEVICES": "", "GGML_VK_VISIBLE_DEVICES": ""}
    variables = {**inherited(), **settings, **hidden, AS_IT_IS: "1"}
    for name in (SUPERVISED, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        variables.pop(name, None)
    return variables


def _nice() -> None:
    os.nice(NICENESS)
