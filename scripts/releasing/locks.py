"""The locks of a release: the packages of others that the agent needs, and those that build it, in exact versions with their digests.

A release is built from these files and not from what an index has on that day, so that it can be built again.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from uv import find_uv_bin

from runners.python_model.index import index

_HERE: Final = Path(__file__).parent
REQUIREMENTS: Final = _HERE / "requirements.txt"
BUILD_REQUIREMENTS: Final = _HERE / "build_requirements.txt"
LOWEST_PYTHON: Final = "3.11"
_PROJECTS: Final = ("pyproject.toml", "sdk/python/pyproject.toml")
_OWN: Final = ("aitbc", "aitbc-agent")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """A package of a lock, with the SHA-256 of each of its files."""

    name: str
    version: str
    digests: tuple[str, ...]


def write_locks(root: Path) -> None:
    """Resolve the packages again, with the newest versions that the declarations allow."""
    with (root / "pyproject.toml").open("rb") as file:
        backend = tomllib.load(file)["build-system"]["requires"]
    _compile(declared(root), REQUIREMENTS)
    _compile(backend, BUILD_REQUIREMENTS)


def declared(root: Path) -> list[str]:
    """Return what the agent and the SDK require, without each other."""
    texts = [
        text
        for name in _PROJECTS
        for text in tomllib.loads((root / name).read_text(encoding="utf-8"))["project"]["dependencies"]
    ]
    return sorted({text for text in texts if canonicalize_name(Requirement(text).name) not in _OWN})


def locked_packages(lock: str) -> list[LockedPackage]:
    """Return the packages of a lock file's text."""
    packages = []
    for line in _logical_lines(lock):
        requirement, *digests = line.split(" --hash=sha256:")
        parsed = Requirement(requirement)
        version = str(parsed.specifier).removeprefix("==")
        packages.append(
            LockedPackage(
                canonicalize_name(parsed.name), version, tuple(digest.strip() for digest in digests)
            )
        )
    return packages


def missing_packages(root: Path) -> list[str]:
    """Return the declared requirements that the lock does not satisfy."""
    locked = {
        package.name: package.version for package in locked_packages(REQUIREMENTS.read_text(encoding="utf-8"))
    }
    return [
        text
        for text in declared(root)
        if not Requirement(text).specifier.contains(
            locked.get(canonicalize_name(Requirement(text).name), "0"), prereleases=True
        )
    ]


def index_variables() -> dict[str, str]:
    """Return the environment in which uv uses the index that this machine has for pip."""
    variables = {**os.environ, **index().environment}
    # Packages beside the index are those of this machine, and have other digests.
    variables.pop("UV_FIND_LINKS", None)
    return variables


def _logical_lines(lock: str) -> Iterator[str]:
    for line in lock.replace("\\\n", " ").splitlines():
        if line and not line.startswith("#"):
            yield " ".join(line.split())


def _compile(requirements: list[str], lock: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        locked = Path(folder, "locked.txt")
        subprocess.run(
            [
                *(
                    find_uv_bin(),
                    "--quiet",
                    "pip",
                    "compile",
                    "--universal",
                    "--generate-hashes",
                    "--no-annotate",
                ),
                *(
                    "--no-header",
                    "--no-sources",
                    "--python-version",
                    LOWEST_PYTHON,
                    "--output-file",
                    locked,
                    wanted,
                ),
            ],
            env=index_variables(),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        heading = "# Written by scripts/release --lock. Do not edit it.\n"
        lock.write_text(heading + locked.read_text(encoding="utf-8"), encoding="utf-8")
