"""What an engine lacks that compiles code while it runs, with real and with broken compilers."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from runners import c_compiler

INCLUDE = Path(sysconfig.get_path("include", "posix_prefix"))
PYTHON = Path(getattr(sys, "_base_executable", sys.executable))


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH with nothing but what the tests put there."""
    directory = tmp_path / "programs"
    directory.mkdir()
    return directory


def program(directory: Path, name: str, lines: str) -> Path:
    """Write a program for the shell."""
    path = directory / name
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
@pytest.mark.skipif(not (INCLUDE / "Python.h").exists(), reason="there are no headers of Python")
def test_a_machine_with_compiler_and_headers_lacks_nothing() -> None:
    assert c_compiler.lack(PYTHON) is None


def test_without_a_compiler_the_command_of_this_system_is_named(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("container", raising=False)
    monkeypatch.delenv("CC", raising=False)
    for manager, command in {
        "apt-get": f"gcc g++ libc6-dev python{sys.version_info.major}.{sys.version_info.minor}-dev",
        "dnf": "gcc gcc-c++ glibc-devel python3-devel",
    }.items():
        path = program(programs, manager, "")
        monkeypatch.setenv("PATH", str(programs))
        assert c_compiler.lack(PYTHON, os.environ) == c_compiler.Lack(
            "a C compiler (gcc or clang)", f"Install it: sudo {manager} install {command}"
        )
        path.unlink()


def test_in_a_container_the_image_must_be_built_with_it(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file system is read-only."""
    monkeypatch.setenv("container", "oci")
    lack = c_compiler.lack(PYTHON, {"PATH": str(programs)})
    assert lack is not None
    assert lack.remedy == "Build the image with --build-arg COMPILER=yes."


def test_missing_headers_of_python_are_named(programs: Path, tmp_path: Path) -> None:
    """As on Debian without python3-dev."""
    program(programs, "gcc", "exit 0")
    python = program(tmp_path, "python", f"printf '%s\\n' {tmp_path}/include 3.12")
    lack = c_compiler.lack(python, {"PATH": str(programs)})
    assert lack is not None
    assert lack.what == f"the headers of Python 3.12 ({tmp_path}/include/Python.h)"


def test_a_compiler_without_the_c_librarys_headers_is_shown_with_its_own_words(
    programs: Path, tmp_path: Path
) -> None:
    """As gcc without libc6-dev."""
    (tmp_path / "Python.h").touch()
    program(
        programs, "gcc", "echo 'tried.c:2:10: fatal error: stdlib.h: No such file or directory' >&2; exit 1"
    )
    python = program(tmp_path, "python", f"printf '%s\\n' {tmp_path} 3.12")
    lack = c_compiler.lack(python, {"PATH": f"{programs}:/bin"})
    assert lack is not None
    assert "fatal error: stdlib.h: No such file" in lack.what
