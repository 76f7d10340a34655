"""This machine's Blender: a program, or the module `bpy` in a Python of its own.

The module's wheel contains what Debian's program lacks: kernels for CUDA and OptiX, and a denoiser.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runners.api import PROBE_SECONDS, FailureCode, Retry, TimedOut, Tools, cached_probe
from runners.extras import install_command
from runners.sandbox import Sandbox

PROGRAM: Final = "blender"
MODULE: Final = "bpy"

_QUERY: Final = f"""
import importlib.util, json, sys, sysconfig
print(json.dumps([
    sys.base_prefix, "python%d.%d" % sys.version_info[:2], sysconfig.get_path("purelib"),
    importlib.util.find_spec({MODULE!r}) is not None,
]))
"""
_RELEASE: Final = re.compile(r"\d+\.\d+")
_PYTHON: Final = re.compile(r"python(\d(\.\d+)?)?")


@dataclass(frozen=True, slots=True)
class Start:
    """How Blender is started in a sandbox.

    `script` is the beginning of the command line, up to the path of a script. `packages` are directories in which the
    script finds the module `bpy`, none if Blender itself runs it.
    """

    script: tuple[str, ...]
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Python:
    prefix: Path
    program: str
    packages: Path


def chosen(tools: Tools) -> str:
    """Return the name or path of the Blender to use, or of the Python that has it as a module."""
    if tools.blender is not None:
        return tools.blender
    # `aitbc-agent engines install bpy` makes an environment with whose Python this process then runs.
    return sys.executable if importlib.util.find_spec(MODULE) is not None else PROGRAM


def granted(sandbox: Sandbox, environment: dict[str, str]) -> Start:
    """Grant running Blender; may add to the `environment` in which it runs. Raises `Retry` if it is missing."""
    name = chosen(sandbox.tools)
    if is_python(name):
        return _granted_python(sandbox, environment, name)
    threads = sandbox.device.threads if sandbox.device is not None else 1
    # The owner's preferences could load add-ons, which are Python, and the network would be open to them.
    options = ("-b", "--factory-startup", "--disable-autoexec", "--offline-mode", "-t", str(max(1, threads)))
    return Start((granted_program(sandbox, name), *options, "-P"))


def is_python(name: str) -> bool:
    """Return whether this is the name or path of a Python."""
    return _PYTHON.fullmatch(Path(name).name) is not None


def granted_program(sandbox: Sandbox, name: str) -> str:
    """Grant running the Blender program. Its own archive puts it beside the folders that it needs; only these are granted."""
    program = sandbox.program(name)
    home = Path(shutil.which(name) or program).resolve().parent
    if home.is_relative_to("/usr"):
        return program
    for folder in home.iterdir():
        # Everything else there, such as a portable configuration, is the owner's.
        if folder.name == "lib" or (_RELEASE.fullmatch(folder.name) and (folder / "scripts").is_dir()):
            sandbox.read(folder, str(Path(program).with_name(folder.name)))
    return program


def _granted_python(sandbox: Sandbox, environment: dict[str, str], name: str) -> Start:
    program = shutil.which(name)
    if program is None:
        raise Retry(f"The Python {name!r} was not found on this machine.", code=FailureCode.PROGRAM_MISSING)
    # Only the links of its directory are followed: those of the program itself lead out of the environment.
    python = _described(Path(program).parent.resolve() / Path(program).name)
    prefix = str(python.prefix)
    if not python.prefix.is_relative_to("/usr"):
        prefix = sandbox.read(python.prefix, "/python")
        environment["LD_LIBRARY_PATH"] = f"{prefix}/lib"  # the loader would search the original path
    packages = sandbox.read(python.packages, "/packages")
    # Without `site`: the packages of the underlying Python do not belong to the environment.
    return Start((f"{prefix}/bin/{python.program}", "-I", "-S", "-B"), (packages,))


@cached_probe
def _described(python: Path) -> _Python:
    """Return where a Python and its packages are. Raises `Retry` without the module `bpy`."""
    try:
        answer = subprocess.run(  # noqa: S603 - the owner's own program
            [python, "-I", "-c", _QUERY],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
        prefix, program, packages, has_module = json.loads(answer.stdout)
    except subprocess.TimeoutExpired:
        raise TimedOut(
            f"The Python {python} did not end within {PROBE_SECONDS:g} s.", code=FailureCode.PROGRAM_MISSING
        ) from None
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise Retry(
            f"The Python {python} does not run ({error}).", code=FailureCode.PROGRAM_MISSING
        ) from None
    if not has_module:
        raise Retry(
            f"The Python {python} has no module bpy; install it there: {install_command('bpy', python=str(python))}.",
            code=FailureCode.PROGRAM_MISSING,
        )
    return _Python(Path(prefix), program, Path(packages))
