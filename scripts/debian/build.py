"""Builds the Debian packages of the agent: the tree of files, its description, and the archive.

A package contains a complete Python environment for the distribution's Python, so that an installation needs neither a compiler nor
the network, and no library of the distribution can be too old. The systemd units, settings and commands are those of the project.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import md5
from itertools import product
from pathlib import Path
from typing import Final

from packaging.version import Version

ROOT: Final = Path(__file__).parents[2]
# The generators of the pages also write the settings file of the package.
sys.path.insert(0, str(ROOT / "scripts/pages"))

import environment  # noqa: E402
import manual  # noqa: E402
from typer._completion_shared import get_completion_script  # noqa: E402

from agent.cli.systemd.systemctl import account_line  # noqa: E402
from agent.cli.systemd.unit_files import ACCOUNT  # noqa: E402
from agent.configuring.description import describe  # noqa: E402
from agent.power_helper import helper  # noqa: E402
from agent.settings import Settings  # noqa: E402
from settings_docs import section_lines  # noqa: E402

NAME: Final = "aitbc-agent"
HOME: Final = Path("usr/lib") / NAME
FILES: Final = Path(__file__).parent / "files"
LOCK: Final = ROOT / "scripts/releasing/requirements.txt"
HELPER: Final = "/usr/libexec/aitbc-agent/power-helper"
UNITS: Final = (
    "aitbc-agent.service",
    "aitbc-coordinator.service",
    "aitbc-power.service",
    "aitbc-backup@.service",
    "aitbc-backup@.timer",
)
PROGRAMS: Final = {"aitbc-agent": "agent.cli", "aitbc": "aitbc.cli"}
COMPLETIONS: Final = {
    "bash": "usr/share/bash-completion/completions/{}",
    "zsh": "usr/share/zsh/vendor-completions/_{}",
    "fish": "usr/share/fish/vendor_completions.d/{}.fish",
}
SETTINGS: Final = (
    "coordinator.host", "coordinator.public_url", "log.level", "miner.coordinator", "miner.name", "miner.enrolment_token",
    "miner.prices", "miner.hourly_earnings", "miner.drain_seconds", "miner.models_quota", "miner.pause.schedule",
    "miner.pause.other_programs", "miner.energy.price", "miner.energy.currency", "miner.notices.webhook",
)  # fmt: skip
"""What owners change first; `configs/agent.toml` has all settings."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution, and the version of its Python."""

    name: str
    python: str


DISTRIBUTIONS: Final = (
    Distribution("debian12", "3.11"),
    Distribution("debian13", "3.13"),
    Distribution("ubuntu24.04", "3.12"),
)
LIBC: Final = "2.36"
"""The oldest C library of these, of which no wheel may need more."""
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


def main() -> None:
    """Build the packages that the options name."""
    options = _options()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _last_commit())
    os.umask(0o022)  # the modes in the package must not depend on who builds it
    options.out.mkdir(parents=True, exist_ok=True)
    wheels = environment.Wheels.in_directory(options.wheels)
    with tempfile.TemporaryDirectory(prefix="deb-") as scratch:
        for distribution, architecture in product(DISTRIBUTIONS, MACHINES):
            if options.distribution in {distribution.name, "all"} and options.architecture in {
                architecture,
                "all",
            }:
                tree = Path(scratch) / "tree"
                print(
                    build(distribution, architecture, wheels, options.lock, tree, options.out, epoch),
                    flush=True,
                )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/deb", description="Build the Debian packages of the agent."
    )
    parser.add_argument(
        "--wheels", type=Path, required=True, help="directory with the wheels of aitbc and aitbc-agent"
    )
    parser.add_argument("--out", type=Path, required=True, help="directory for the packages")
    parser.add_argument(
        "--lock",
        type=Path,
        default=LOCK,
        help="lock of the dependencies, with hashes (default: that of releases)",
    )
    names = [distribution.name for distribution in DISTRIBUTIONS]
    parser.add_argument("--distribution", choices=[*names, "all"], default="all")
    parser.add_argument("--architecture", choices=[*MACHINES, "all"], default="all")
    return parser.parse_args()


def _last_commit() -> str:
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def build(
    distribution: Distribution,
    architecture: str,
    wheels: environment.Wheels,
    lock: Path,
    tree: Path,
    out: Path,
    epoch: int,
) -> Path:
    """Create the tree of files and pack it. Returns the package."""
    version = f"{debian_version(wheels.version)}-1~{distribution.name}"
    moment = datetime.fromtimestamp(epoch, UTC)
    environment.create(
        tree / HOME,
        "/" / HOME,
        wheels,
        lock,
        distribution.python,
        f"{MACHINES[architecture]}-manylinux_{LIBC.replace('.', '_')}",
        PROGRAMS,
    )
    for program in PROGRAMS:
        _link(tree / "usr/bin" / program, f"../lib/{NAME}/bin/{program}")
        for shell, path in COMPLETIONS.items():
            variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
            script = get_completion_script(prog_name=program, complete_var=variable, shell=shell)
            _write(tree / path.format(program), f"{script}\n")
        page = manual.page(program, PROGRAMS[program], wheels.version, moment)
        _write(tree / f"usr/share/man/man1/{program}.1.gz", manual.compressed(page))
    _services(tree)
    _documents(tree / "usr/share/doc" / NAME, version, moment)
    _write(tree / "usr/share/lintian/overrides" / NAME, (FILES / "lintian-overrides").read_text())
    _control(tree, distribution, architecture, version)
    return _pack(tree, out / f"{NAME}_{version}_{architecture}.deb", epoch)


def debian_version(text: str) -> str:
    """Return a version of Python as Debian sorts it: before a release come its candidates, and before these the days of development."""
    version = re.sub(r"(a|b|rc)(\d+)", r"~\1\2", Version(text).public)
    return re.sub(r"\.dev(\d+)", r"~~dev\1", version).replace(".post", "+post")


def _services(tree: Path) -> None:
    """Add the units as the project has them, with the paths of the package; their user and their settings."""
    for name in UNITS:
        unit = (ROOT / "systemd" / name).read_text(encoding="utf-8")
        unit = unit.replace("/usr/local/bin/aitbc-agent", "/usr/bin/aitbc-agent")
        _write(
            tree / "usr/lib/systemd/system" / name,
            unit.replace("/usr/local/libexec/aitbc-power-helper", HELPER),
        )
    _write(tree / HELPER[1:], Path(helper.__file__).read_text(encoding="utf-8"), mode=0o755)
    _write(
        tree / f"usr/lib/sysusers.d/{NAME}.conf", f"{account_line(ACCOUNT, Path('/var/lib/aitbc-agent'))}\n"
    )
    head = (FILES / "agent.toml").read_text(encoding="utf-8")
    first = [setting for setting in describe(Settings) if setting.key in SETTINGS]
    missing = set(SETTINGS) - {setting.key for setting in first}
    if missing:
        raise SystemExit(f"These settings do not exist: {', '.join(sorted(missing))}.")
    _write(tree / "etc/aitbc/agent.toml", head + "\n".join(section_lines(first)) + "\n")


def _documents(directory: Path, version: str, moment: datetime) -> None:
    _write(directory / "copyright", (FILES / "copyright").read_text(encoding="utf-8"))
    entry = f"""{NAME} ({version}) unstable; urgency=medium

  * See changelog.gz beside this file.

 -- The AITBC agent authors <{_address()}>  {format_datetime(moment)}
"""
    _write(directory / "changelog.Debian.gz", manual.compressed(entry))
    _write(directory / "changelog.gz", manual.compressed((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))


def _address() -> str:
    """Return the publisher's address, as the tools of Debian read it."""
    return os.environ.get("DEBEMAIL", "aitbc-agent@localhost")


def _control(tree: Path, distribution: Distribution, architecture: str, version: str) -> None:
    directory = tree / "DEBIAN"
    sizes = [max(1, -(-path.lstat().st_size // 1024)) for path in _paths(tree) if not path.is_dir()]
    major, minor = distribution.python.split(".")
    control = (FILES / "control").read_text(encoding="utf-8").format(
        name=NAME, version=version, address=_address(), architecture=architecture, size=sum(sizes), libc=LIBC,
        python=distribution.python, next_python=f"{major}.{int(minor) + 1}",
    )  # fmt: skip
    sums = [
        f"{md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(tree)}\n"
        for path in _paths(tree)
        if path.is_file() and not path.is_symlink()
    ]
    _write(directory / "control", control)
    _write(directory / "conffiles", "/etc/aitbc/agent.toml\n")
    _write(directory / "md5sums", "".join(sums))
    for name in ("postinst", "prerm", "postrm"):
        _write(directory / name, (FILES / name).read_text(encoding="utf-8"), mode=0o755)


def _pack(tree: Path, package: Path, epoch: int) -> Path:
    for path in [*_paths(tree), tree]:
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    # Debian 12 is the first Debian that reads zstd; xz takes ten times as long for a package that is a tenth smaller.
    command = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z10", "--build", str(tree), str(package)]
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        timeout=1800,
    )
    shutil.rmtree(tree)
    return package


def _paths(tree: Path) -> Iterator[Path]:
    yield from sorted(tree.rglob("*"))


def _write(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


if __name__ == "__main__":
    main()
