"""Images and containers for tests: buildah and podman with their own storage in build/containers, reused between runs."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.machines.debian import BUILD, empty_debian

ROOT = Path(__file__).parents[3]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BASE = "localhost/aitbc-test-base:trixie"
PROGRAMS = ("buildah", "podman", "runc", "debootstrap")
BUILD_SECONDS = 500
COMMAND_SECONDS = 120
UNUSED_HOURS = 72
"""How long layers without an image are retained, since the next build reuses them."""

_PIP_SETTINGS = ("index-url", "extra-index-url", "proxy", "trusted-host", "default-timeout")


def missing() -> str | None:
    """Return the reason why containers cannot run on this machine, or None."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"missing: {', '.join(lacking)}"
    return None if os.geteuid() == 0 else "only root can unpack the base image"


def run(program: str, *arguments: str | Path, check: bool = True, timeout: float = COMMAND_SECONDS) -> str:
    """Run buildah or podman on the tests' storage. Returns its standard output; fails with its standard error."""
    done = start(program, *arguments, timeout=timeout)
    assert not check or done.returncode == 0, f"{program} {arguments[0]}: {done.stderr[-3000:]}"
    return done.stdout.strip()


def start(
    program: str, *arguments: str | Path, timeout: float = COMMAND_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run buildah or podman with any exit code."""
    return subprocess.run(
        [*command(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment(),
    )


def command(program: str) -> list[str]:
    """Return the command line of buildah or podman with the tests' storage."""
    storage = BUILD / "containers"
    storage.mkdir(parents=True, exist_ok=True)
    # Not in the storage: podman's sockets need a short path.
    running = f"/run/aitbc-tests-{hashlib.sha256(str(storage).encode()).hexdigest()[:8]}"
    words = [program, "--root", str(storage), "--runroot", running]
    return [*words, "--runtime", "runc", "--cgroup-manager", "cgroupfs"] if program == "podman" else words


def environment() -> Mapping[str, str]:
    """Return this process's environment without podman's warning about old control groups."""
    return {**os.environ, "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}


def build_image(name: str, release: Path, secrets: Path, **arguments: str) -> None:
    """Build the image of a release on a minimal Debian. `secrets` is an empty directory; `arguments` are build arguments."""
    if start("podman", "image", "exists", BASE).returncode != 0:
        run("podman", "import", empty_debian(), BASE)
    run("podman", "image", "prune", "--force", "--filter", f"until={UNUSED_HOURS}h")
    limits = []
    for limit, kind in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        soft, hard = resource.getrlimit(kind)
        limits += ["--ulimit", f"{limit}={soft}:{hard}"]
    given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    built = start(
        "buildah",
        *("build", "--isolation", "chroot", "--format", "docker", "--layers", "--jobs", "2", *limits),
        *("--build-arg", f"BASE={BASE}", *given, *_secrets(secrets)),
        *("--tag", name, "--file", release / "Dockerfile.cuda", release),
        timeout=BUILD_SECONDS,
    )
    if built.returncode != 0:  # a failed build leaves mounts behind
        start("buildah", "rm", "--all")
    assert built.returncode == 0, built.stderr[-3000:]


def _secrets(directory: Path) -> list[str]:
    return [
        word
        for name, path in index_files(directory).items()
        for word in ("--secret", f"id={name},src={path}")
    ]


def index_files(directory: Path) -> dict[str, Path]:
    """Write this machine's configuration of package indexes into a directory. Returns the files of `apt`, `pip` and, if it has any, `ca`."""
    listed = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True, timeout=120)
    apt = [line for line in listed.stdout.splitlines() if line.startswith("Acquire::")]
    (directory / "apt.conf").write_text("\n".join(apt) + "\n")
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    pip = ["[global]"]
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        if key.rpartition(".")[2] in _PIP_SETTINGS:
            pip.append(f"{key.rpartition('.')[2]} = {value.strip(chr(39))}")
    sources = {"apt": directory / "apt.conf", "pip": directory / "pip.conf"}
    if CERTIFICATES.exists():
        pip.append(f"cert = {CERTIFICATES}")
        sources["ca"] = CERTIFICATES
    (directory / "pip.conf").write_text("\n".join(pip) + "\n")
    return sources
