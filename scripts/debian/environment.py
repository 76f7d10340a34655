"""Creates the Python environment of the package, also for processors and Pythons that this machine does not have: uv only unpacks wheels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runners.python_model.index import index

UV: Final = Path(sys.executable).with_name("uv")
SECONDS: Final = 1800


@dataclass(frozen=True, slots=True)
class Wheels:
    """The wheels of this project, and the version of the agent."""

    sdk: Path
    agent: Path

    @classmethod
    def in_directory(cls, directory: Path) -> Wheels:
        """Find them. Raises `SystemExit` unless there is one of each."""
        return cls(_only(directory, "aitbc"), _only(directory, "aitbc_agent"))

    @property
    def version(self) -> str:
        """The version of the agent."""
        return self.agent.name.split("-")[1]


def _only(directory: Path, name: str) -> Path:
    wheels = sorted(directory.glob(f"{name}-*.whl"))
    if len(wheels) != 1:
        raise SystemExit(
            f"{directory} has {len(wheels)} wheels of {name}, and must have one. Build it with `uv build --wheel`."
        )
    return wheels[0]


def create(
    directory: Path,
    installed: Path,
    wheels: Wheels,
    locked: Path,
    python: str,
    platform: str,
    programs: Mapping[str, str],
) -> None:
    """Create the environment that an installation has as `installed`.

    `locked` is a lock of the dependencies with hashes, `python` the version (3.13) and `platform` the kind of machine, with uv's name. `programs` are the commands by the modules of their `main`.
    """
    packages = directory / f"lib/python{python}/site-packages"
    packages.mkdir(parents=True)
    target = [
        "--target",
        str(packages),
        "--python-version",
        python,
        "--python-platform",
        platform,
        "--link-mode",
        "copy",
    ]
    options = ["--no-deps", "--only-binary", ":all:", *target]
    _uv("pip", "install", "--require-hashes", *options, "--requirement", str(locked))
    _uv("pip", "install", *options, str(wheels.sdk), str(wheels.agent))
    programs_directory = directory / "bin"
    programs_directory.mkdir()
    # Of the programs of others only uv, which the agent runs.
    shutil.move(packages / "bin/uv", programs_directory / "uv")
    shutil.rmtree(packages / "bin")
    for name, module in programs.items():
        program = programs_directory / name
        program.write_text(
            f"#!{installed}/bin/python3\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n"
        )
        program.chmod(0o755)
    for name, destination in (("python3", "/usr/bin/python3"), ("python", "python3")):
        (programs_directory / name).symlink_to(destination)
    (directory / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n"
    )
    _clean(packages)


def _clean(packages: Path) -> None:
    """Remove what belongs to the machine of the build, and state who installs the agent."""
    (packages / ".lock").unlink(missing_ok=True)
    for name in ("direct_url.json", "uv_cache.json", "REQUESTED"):
        for path in packages.glob(f"*.dist-info/{name}"):
            path.unlink()
    (information,) = packages.glob("aitbc_agent-*.dist-info")
    (information / "INSTALLER").write_text("deb\n")
    for path in _all(packages):
        if path.is_file() and not path.is_symlink():
            # Libraries and data are not executable: programs are, in bin.
            path.chmod(0o644)
    # The list of each distribution names its programs and what was removed.
    for record in packages.glob("*.dist-info/RECORD"):
        record.write_text("".join(sorted(_existing(record))))


def _existing(record: Path) -> Iterator[str]:
    for line in record.read_text(encoding="utf-8").splitlines(keepends=True):
        path = line.partition(",")[0].strip('"')
        if (record.parents[1] / path).is_file():
            yield f"{path},,\n" if path.endswith("/INSTALLER") else line


def _all(directory: Path) -> Iterator[Path]:
    yield from sorted(directory.rglob("*"))


def _uv(*arguments: str) -> None:
    # uv does not read the configuration of pip, which names the indexes of this machine.
    settings = {**os.environ, **index().environment}
    command = [str(UV), "--no-progress", *arguments]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise SystemExit(f"`uv {' '.join(arguments[:2])}` failed:\n{done.stderr.strip()}")
