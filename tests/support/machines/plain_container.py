"""A container with its runtime's defaults, in which this system's programs and this project can run.

The root has the few files of a new Debian. /usr, the project's environment and the models are this system's, read-only, and the
project is a copy that belongs to the container's user. The only network is loopback.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from support.machines import containers
from support.machines.bare_root import make_root

IMAGE = "localhost/aitbc-test-bare:1"
PROJECT = Path(__file__).parents[3]
HOME = "/home/agent"
MODELS = "/models"
SYSTEM = ("/usr", "/etc/alternatives", "/etc/ld.so.cache", "/etc/fonts", "/etc/ssl")
DOWNLOAD_SECONDS = 120
_NOT_COPIED = (
    "build",
    ".git",
    ".venv",
    "node_modules",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
)
_NAMESPACES = (
    "unshare",
    "setns",
    "mount",
    "mount_setattr",
    "move_mount",
    "fsmount",
    "fsopen",
    "open_tree",
    "pivot_root",
)
_NAMESPACE_FLAGS = 0x7E020000


def build(directory: Path) -> None:
    """Create the image."""
    root = directory / "root"
    make_root(root)
    (root / HOME.lstrip("/")).mkdir(parents=True)
    (root / HOME.lstrip("/")).chmod(0o777)
    for name in ("tmp", "var/tmp"):
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(0o1777)
    (root / "root").chmod(0o711)  # access to a Python that is installed there
    archive = directory / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, ".")
    containers.run("podman", "import", archive, IMAGE)


def copy_models(directory: Path) -> Path:
    """Copy this user's models, readable by all users."""
    shutil.copytree(user_cache_path("aitbc") / "models", directory)
    subprocess.run(["chmod", "-R", "a+rX", directory], check=True, timeout=300)
    return directory


def copy_project(directory: Path, uid: int) -> Path:
    """Copy the project for this user, without build results and installed packages."""
    shutil.copytree(PROJECT, directory, ignore=shutil.ignore_patterns(*_NOT_COPIED), symlinks=True)
    for mounted in (".venv", "node_modules"):
        (directory / mounted).mkdir()
    subprocess.run(["chown", "-R", f"{uid}:{uid}", directory], check=True, timeout=300)
    return directory


def index(directory: Path, *packages: str) -> Path:
    """Create a package index with these packages' wheels as files, downloaded from this machine's own index."""
    for package in packages:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        where = directory / "simple" / package
        subprocess.run([*command, "--dest", where, package], check=True, timeout=DOWNLOAD_SECONDS)
    return directory


def run(
    project: Path, uid: int, command: Sequence[str], *options: str, timeout: float, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a new container, in the project's directory, as this user. `options` are podman's."""
    mounts = [(path, path) for path in SYSTEM if Path(path).exists()]
    mounts += [(str(PROJECT / name), str(PROJECT / name)) for name in (".venv", "node_modules")]
    if not (python := Path(sys.base_prefix).resolve()).is_relative_to("/usr"):
        mounts.append((str(python), str(python)))
    volumes = [word for host, inside in mounts for word in ("--volume", f"{host}:{inside}:ro")]
    variables = {"HOME": HOME, "AITBC_MODELS_DIR": MODELS, **environment}
    return containers.start(
        "podman", "run", "--rm", "--network=none", f"--user={uid}:{uid}", f"--workdir={PROJECT}",
        f"--volume={project}:{PROJECT}", *volumes,
        *(f"--env={name}={value}" for name, value in variables.items()), *options, IMAGE, *command,
        timeout=timeout,
    )  # fmt: skip


def strict_profile(path: Path) -> Path:
    """Write podman's system call filter in the form of other runtimes: without new namespaces and mounts.

    The defaults of Docker and Kubernetes refuse them to unprivileged users.
    """
    profile: dict[str, Any] = json.loads(Path("/usr/share/containers/seccomp.json").read_text())
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in (*_NAMESPACES, "clone", "clone3")]
    profile["syscalls"] = [rule for rule in profile["syscalls"] if rule["names"]]
    without = {"index": 0, "value": _NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    profile["syscalls"] += [
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [without]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ]
    path.write_text(json.dumps(profile))
    return path
