"""Version 0.2.0 from the repository's history, the working tree, and a made-up next version of it: their wheels and installations.

They are below `build/versions`, and made again only if their sources have changed. The packages that they need come from the
index that the machine has for pip.
"""

from __future__ import annotations

import fcntl
import functools
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from agent import __version__
from runners.python_model.index import index
from support.versions import following

ROOT = Path(__file__).parents[3]
FORMER = "0.2.0"
THIS = __version__
NEXT = following.NUMBER
ALL = (FORMER, THIS, NEXT)

FORMER_COMMIT = "ad952e2ed7309c107ece0fa2a9e510cb37b79617"
EXTRAS = "ffmpeg,postgresql"
SECONDS = 900
UNUSED_SECONDS = 86_400
GENERATED = ("sdk/js/src/answers.ts", "agent/coordinator/web/dist")
"""What git ignores, but the distributions contain."""


@dataclass(frozen=True)
class Installed:
    """A version that is installed with the packages that it needs, without engines."""

    version: str
    directory: Path

    @property
    def agent(self) -> Path:
        """The command `aitbc-agent`."""
        return self.directory / "environment/bin/aitbc-agent"

    @property
    def python(self) -> Path:
        """The interpreter, which imports the Python SDK."""
        return self.directory / "environment/bin/python"

    @property
    def javascript(self) -> Path:
        """The JavaScript SDK's main module."""
        return self.directory / "source/sdk/js/dist/index.js"

    @property
    def wheels(self) -> Path:
        """The folder with the wheels of `aitbc` and `aitbc-agent`."""
        return self.directory / "wheels"


@functools.cache
def installed(version: str) -> Installed:
    """Return one of `ALL`, which is built and installed if that has not been done."""
    tree = FORMER_COMMIT if version == FORMER else _working_tree()
    versions = ROOT / "build/versions"
    versions.mkdir(parents=True, exist_ok=True)
    result = Installed(version, versions / f"{version}-{tree[:12]}")
    with (versions / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = result.directory / "complete"
        if complete.exists():
            complete.touch()
            return result
        _delete_unused(versions)
        shutil.rmtree(result.directory, ignore_errors=True)
        _extract(tree, result.directory / "source")
        if version != FORMER:
            _copy_generated(result.directory / "source")
        if version == NEXT:
            following.make(result.directory / "source")
        _build(result)
        complete.touch()
    return result


def _working_tree() -> str:
    """Return git's name for the content of the working tree, with files that are not added yet."""
    with tempfile.TemporaryDirectory() as directory:
        theirs = Path(directory, "index")
        shutil.copy2(ROOT / _git("rev-parse", "--git-path", "index").strip(), theirs)
        variables = {"GIT_INDEX_FILE": str(theirs)}
        _git("add", "--all", **variables)
        return _git("write-tree", **variables).strip()


def _git(*arguments: str, **variables: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    ).stdout


def _extract(tree: str, directory: Path) -> None:
    archive = subprocess.run(["git", "archive", tree], cwd=ROOT, capture_output=True, check=False)
    assert archive.returncode == 0, (
        f"The repository's history lacks {tree}. Fetch all of it: git fetch --unshallow ({archive.stderr.decode()})"
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(directory)  # noqa: S202 - of this repository


def _copy_generated(source: Path) -> None:
    for name in GENERATED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        else:
            shutil.copy2(ROOT / name, source / name)


def _build(target: Installed) -> None:
    source, wheels = target.directory / "source", target.wheels
    for project in (source / "sdk/python", source):
        _uv("build", "--wheel", "--out-dir", wheels, project)
    environment = target.directory / "environment"
    _uv("venv", "--python", sys.executable, environment)
    sdk, agent = (str(next(wheels.glob(pattern))) for pattern in ("aitbc-*.whl", "aitbc_agent-*.whl"))
    _uv("pip", "install", "--python", environment, sdk, f"aitbc-agent[{EXTRAS}] @ file://{agent}")
    # The modules that it imports are those of the repository, which is above.
    subprocess.run(
        [ROOT / "node_modules/.bin/tsc", "--project", "tsconfig.build.json"],
        cwd=source / "sdk/js",
        check=True,
        timeout=SECONDS,
    )


def _uv(*arguments: str | Path) -> None:
    done = subprocess.run(
        [find_uv_bin(), "--quiet", *arguments],
        cwd=ROOT / "build",
        env={**os.environ, **index().environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _delete_unused(versions: Path) -> None:
    for directory in versions.iterdir():
        complete = directory / "complete"
        if complete.exists() and complete.stat().st_mtime < time.time() - UNUSED_SECONDS:
            shutil.rmtree(directory)
