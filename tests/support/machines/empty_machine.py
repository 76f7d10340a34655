"""An empty Debian in which a script runs as on an owner's new machine: with a network, and without anything of this project."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from runners.python_model.index import index
from support.machines.containers import CERTIFICATES, index_files
from support.machines.debian import empty_debian
from support.machines.nspawn import missing as no_nspawn

SECONDS = 1800
_CERTIFICATES = "/etc/machine.crt"  # Debian's package of certificates writes the usual file
_INSIDE = {"apt": "/etc/apt/apt.conf.d/99machine", "pip": "/etc/pip.conf", "ca": _CERTIFICATES}
# nspawn covers parts of /proc, so that bubblewrap could not create one of its own.
_PREPARE = """
for mount in $(awk '$5 ~ "^/proc/" { print $5 }' /proc/self/mountinfo | sort -r); do umount --lazy "$mount" || true; done
"""


def missing() -> str | None:
    """Return the reason why no empty Debian can run here, or None."""
    if shutil.which("debootstrap") is None:
        return "debootstrap is missing (Debian: apt-get install debootstrap)"
    return no_nspawn()


def configuration(directory: Path) -> tuple[dict[Path, str], dict[str, str]]:
    """Write this machine's configuration of package indexes into a directory.

    Returns the files with their paths in an empty machine, and the variables that it needs.
    """
    files = {file: _INSIDE[name] for name, file in index_files(directory).items()}
    variables = {name: value for name, value in index().environment.items() if name != "UV_FIND_LINKS"}
    if CERTIFICATES in files:
        variables |= {"SSL_CERT_FILE": _CERTIFICATES, "PIP_CERT": _CERTIFICATES}
        variables.pop("SSL_CERT_DIR", None)
    return files, {**variables, "LANG": "C.UTF-8"}


def run_script(
    directory: Path, suite: str, script: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root in a new Debian below an empty `directory`, which has this machine's network and package indexes.

    The root of the file system is `directory / "root"`, and stays.
    """
    root = directory / "root"
    root.mkdir(parents=True)
    subprocess.run(["tar", "-C", root, "-xf", empty_debian(suite)], check=True, timeout=SECONDS)
    files, environment = configuration(directory)
    for inside in files.values():
        target = root / inside.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    (root / "run-this").write_text(_PREPARE + script)
    return subprocess.run(
        [
            *(
                "systemd-nspawn",
                "--quiet",
                f"--directory={root}",
                "--register=no",
                "--keep-unit",
                "--as-pid2",
            ),
            *("--console=pipe", f"--machine=aitbc-{os.getpid()}-{suite}", "--resolv-conf=bind-host"),
            *(f"--bind-ro={file}:{inside}" for file, inside in files.items()),
            *(f"--setenv={name}={value}" for name, value in {**environment, **variables}.items()),
            *("/bin/bash", "-euo", "pipefail", "/run-this"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
