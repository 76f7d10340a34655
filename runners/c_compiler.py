"""What engines need that compile code while they run: a C compiler, and the headers of the C library and of Python.

Triton, with which vLLM and compiled pictures compute, builds its access to the driver with them on the first use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SECONDS: Final = 120.0
"""Time limit for compiling a few lines."""

_SOURCE: Final = "#include <Python.h>\n#include <stdlib.h>\nPyObject *PyInit_tried(void) { return NULL; }\n"
_INCLUDE: Final = "import sysconfig; print(sysconfig.get_path('include', 'posix_prefix')); print(sysconfig.get_python_version())"
_MESSAGE: Final = 200
_PACKAGES: Final = {
    "apt-get": "gcc g++ libc6-dev python{version}-dev",
    "dnf": "gcc gcc-c++ glibc-devel python3-devel",
    "zypper": "gcc gcc-c++ glibc-devel python3-devel",
}
"""The packages that have what is needed, by the program that installs them."""


@dataclass(frozen=True, slots=True)
class Lack:
    """What is missing on this machine, and a sentence that says how to mend it."""

    what: str
    remedy: str


def lack(python: str | Path, variables: Mapping[str, str] = os.environ) -> Lack | None:
    """Return what an engine with this interpreter and these environment variables lacks; None if a few lines were compiled. Blocking."""
    # In the order in which Triton looks for it.
    search = variables.get("PATH")
    compiler = variables.get("CC") or shutil.which("gcc", path=search) or shutil.which("clang", path=search)
    try:
        include, version = subprocess.run(  # noqa: S603 - the engine's own interpreter
            [python, "-I", "-c", _INCLUDE], capture_output=True, text=True, timeout=SECONDS, check=True
        ).stdout.splitlines()
        if compiler is None:
            what = "a C compiler (gcc or clang)"
        elif not Path(include, "Python.h").is_file():
            what = f"the headers of Python {version} ({include}/Python.h)"
        elif (reason := _failure(compiler, include, variables)) is not None:
            what = f"what {compiler} needs to compile a few lines ({reason})"
        else:
            return None
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Lack(f"an answer of its compiler or interpreter ({type(error).__name__})", "Try again.")
    return Lack(what, _remedy(version))


def _failure(compiler: str, include: str, variables: Mapping[str, str]) -> str | None:
    """Return the first error of a compiler, such as a header of the C library that it does not find; None if it works."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "tried.c")
        source.write_text(_SOURCE, encoding="ascii")
        compiled = subprocess.run(  # noqa: S603 - the owner's compiler
            [compiler, "-shared", "-fPIC", f"-I{include}", source, "-o", source.with_suffix(".so")],
            env=dict(variables),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    errors = [line for line in compiled.stderr.splitlines() if "error" in line]
    failure = errors[0][-_MESSAGE:] if errors else f"exit status {compiled.returncode}"
    return failure if compiled.returncode != 0 else None


def _remedy(version: str) -> str:
    # Its file system is read-only, or forgets what is installed.
    if "container" in os.environ:
        return "Build the image with --build-arg COMPILER=yes."
    for program, command in _PACKAGES.items():
        if shutil.which(program) is not None:
            return f"Install it: sudo {program} install {command.format(version=version)}"
    return "Install gcc, and the headers of the C library and of Python."
