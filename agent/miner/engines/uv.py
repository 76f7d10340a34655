"""Runs uv, which creates an engine's environment from its lock file, with the owner's package index.

uv reads its own configuration; what the owner has configured for pip applies where uv's variables name nothing else. Only
wheels with the digests of the lock file are installed: no code of a package runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import psutil
from uv import find_uv_bin

from runners.python_model.index import index

DIRECTORY_OF_PYTHONS: Final = ".python"
DIRECTORY_OF_PACKAGES: Final = ".packages"

MEMORY: Final = 2 * 2**30
"""Bytes of memory that uv may take. It reads the pages of a package index whole, however long they are."""

_POLL_SECONDS: Final = 0.5
_TAIL: Final = 600
_INDEX_VARIABLES: Final = ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX")
_MISMATCH: Final = re.compile(r"Hash mismatch for `(?P<package>[^`]+)`")
_UNREACHABLE: Final = (
    "error sending request",
    "client error (Connect)",
    "operation timed out",
    "Failed to fetch",
    "dns error",
    "Connection refused",
)
_NO_PYTHON: Final = ("No interpreter found", "No download found", "Could not find a Python")
_FULL: Final = ("No space left on device", "os error 28", "Disk quota exceeded")


class InstallationFailed(Exception):
    """uv failed. The message says why."""


class DiskFull(InstallationFailed):
    """The disk became full."""


class TooLarge(InstallationFailed):
    """The package index sent more than an environment of this size can need."""


def environment(engines_dir: Path, own_index: str | None) -> dict[str, str]:
    """Return the environment variables of uv.

    `own_index` is an index that has packages which PyPI lacks. It is used unless the owner's configuration names an
    index or a directory in addition to the main index, which then has to have them.
    """
    chosen = dict(index().environment)
    owners = {name: value for name, value in os.environ.items() if name.startswith("UV_") and value}
    if own_index is not None and not any(name in chosen or name in owners for name in _INDEX_VARIABLES):
        chosen["UV_INDEX"] = own_index
    return {
        **os.environ,
        "UV_PYTHON_INSTALL_DIR": str(engines_dir / DIRECTORY_OF_PYTHONS),
        **chosen,
        **owners,
        # On the same disk as the environments, whose files are then links to it, and deleted with them.
        "UV_CACHE_DIR": str(engines_dir / DIRECTORY_OF_PACKAGES),
    }


@dataclass(frozen=True, slots=True)
class Uv:
    """uv with the environment variables of `environment`.

    It inherits `lock`: if this program is killed, the lock is held until uv has ended too. `on_tick` is called about twice a second;
    if it raises, uv is ended.
    """

    variables: Mapping[str, str]
    lock: IO[bytes]
    on_tick: Callable[[], None]

    def run(self, *arguments: str) -> None:
        """Run a command. Raises `InstallationFailed`, `DiskFull` or `TooLarge`."""
        options = ("--no-progress", "--color", "never", "--quiet")
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(  # noqa: S603 - the arguments are ours
                [find_uv_bin(), *options, *arguments],
                env=dict(self.variables),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(self.lock.fileno(),),
            )
            try:
                status = _wait(process, self.on_tick)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
            errors.seek(0)
            text = errors.read().decode(errors="replace")
        if status != 0:
            raise _failure(text, status)


def _wait(process: subprocess.Popen[bytes], on_tick: Callable[[], None]) -> int:
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL_SECONDS)
        on_tick()
        if _memory(process.pid) > MEMORY:
            raise TooLarge(
                f"uv took more than {MEMORY / 2**30:.1f} GiB of memory for an answer of the package index"
            )


def _memory(process_id: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(process_id).memory_info().rss)
    return 0


def _failure(text: str, status: int) -> InstallationFailed:
    words = " ".join(text.split())
    if any(sign in words for sign in _FULL):
        return DiskFull("the disk became full")
    if (mismatch := _MISMATCH.search(words)) is not None:
        return InstallationFailed(
            f"the package {mismatch['package']} does not have the SHA-256 digest of the lock file: it was damaged or replaced. "
            "Nothing of it was installed. Try again; if it lasts, check the package index that pip or uv is configured for"
        )
    if any(sign in words for sign in _NO_PYTHON):
        return InstallationFailed(
            f"there is no suitable Python, and none could be downloaded: {words[-_TAIL:]}"
        )
    if any(sign in words for sign in _UNREACHABLE):
        return InstallationFailed(
            f"the package index could not be reached. Run the same command again to continue: {words[-_TAIL:]}"
        )
    return InstallationFailed(
        f"uv failed with exit status {status}: {words[-_TAIL:] or 'it printed nothing'}"
    )
