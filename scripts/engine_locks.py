"""Writes the lock files of engines: all packages of an environment, in exact versions, with the SHA-256 of their wheels.

.venv/bin/python scripts/engine_locks.py            locks all engines of configs/engines.toml
.venv/bin/python scripts/engine_locks.py NAME...    locks these
.venv/bin/python scripts/engine_locks.py --file PATH [NAME...]   locks the engines of an owner's engines.toml

`uv pip compile` chooses the versions. They come from the package index that uv or pip is configured for, which is not written
down: a lock file is valid for every index that has the same wheels. The index of a variant is used as in an installation. Wheels for
other systems than Linux with the GNU C library, and for other versions of Python than the variant's, are left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from packaging.markers import Marker
from packaging.utils import parse_wheel_filename
from uv import find_uv_bin

from agent.configuration import configuration_directory
from agent.miner.engines.catalogue import FILE_NAME, InstallableEngine, Variant, find_engine, parse_engines
from agent.miner.engines.uv import environment

OPTIONS: Final = (
    "--format",
    "pylock.toml",
    "--only-binary=:all:",
    "--no-header",
    "--no-annotate",
    "--no-sources",
    "--quiet",
)
MACHINES: Final = ("x86_64", "aarch64")


def main(words: list[str]) -> None:
    """Write the lock files of the named engines, or of all."""
    parser = argparse.ArgumentParser(description="Write the lock files of engines.")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--file", type=Path, default=configuration_directory() / FILE_NAME)
    arguments = parser.parse_args(words)
    host = tomllib.loads((configuration_directory() / FILE_NAME).read_text(encoding="utf-8"))["host"]
    engines = parse_engines(tomllib.loads(arguments.file.read_text(encoding="utf-8")), arguments.file)
    chosen = [find_engine(engines, name) for name in arguments.names] or list(engines.values())
    for engine in chosen:
        for variant in engine.variants.values():
            _write(engine, variant, host)


def _write(engine: InstallableEngine, variant: Variant, host: list[str]) -> None:
    packages = [package for package in _resolved(variant, host) if _is_needed(package, variant)]
    lines = [line for package in packages for line in _lines(package, variant)]
    heading = f"# {engine.name}, {variant.name}: written by scripts/engine_locks.py from {FILE_NAME}. Do not edit it."
    variant.lock.parent.mkdir(exist_ok=True)
    variant.lock.write_text("\n".join((heading, *lines, "")), encoding="utf-8")
    print(f"{variant.lock}: {len(packages)} packages")


def _resolved(variant: Variant, host: list[str]) -> list[dict[str, Any]]:
    """Return the packages of a variant, in the form of pylock.toml. Those for several versions of Python have markers."""
    several = ("--universal",) if len(variant.python) > 1 else ()
    excluded = [word for name in variant.exclude for word in ("--no-emit-package", name)]
    with tempfile.TemporaryDirectory() as folder:
        wanted, locked = Path(folder, "wanted.txt"), Path(folder, "pylock.toml")
        wanted.write_text("\n".join([*variant.packages, *host]) + "\n", encoding="utf-8")
        lowest = min(variant.python, key=lambda version: int(version.partition(".")[2]))
        subprocess.run(
            [
                *(find_uv_bin(), "pip", "compile", *OPTIONS, *several, *excluded),
                *("--python-version", lowest, "--output-file", locked, wanted),
            ],
            env=environment(Path(folder), variant.index),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        packages: list[dict[str, Any]] = tomllib.loads(locked.read_text(encoding="utf-8"))["packages"]
        return packages


def _is_needed(package: dict[str, Any], variant: Variant) -> bool:
    """Return whether the package is installed on any of our machines."""
    marker = package.get("marker")
    return marker is None or any(
        Marker(marker).evaluate(
            {
                "sys_platform": "linux",
                "platform_system": "Linux",
                "os_name": "posix",
                "platform_machine": machine,
                "python_version": version,
                "python_full_version": f"{version}.0",
            }
        )
        for machine in MACHINES
        for version in variant.python
    )


def _lines(package: dict[str, Any], variant: Variant) -> Iterator[str]:
    digests = sorted(
        wheel["hashes"]["sha256"]
        for wheel in package.get("wheels", ())
        if _fits(wheel.get("name") or wheel["url"].rpartition("/")[2], variant)
    )
    if not digests:
        sys.exit(f"{package['name']} {package['version']} has no wheel for Linux.")
    marker = f" ; {package['marker']}" if "marker" in package else ""
    yield f"{package['name']}=={package['version']}{marker} \\"
    for number, digest in enumerate(digests, start=1):
        yield f"    --hash=sha256:{digest}" + (" \\" if number < len(digests) else "")


def _fits(wheel: str, variant: Variant) -> bool:
    """Return whether one of our machines can install a wheel of this file name."""
    *_, tags = parse_wheel_filename(wheel.replace("%2B", "+"))
    return any(
        (
            tag.platform == "any"
            or ("linux" in tag.platform and "musl" not in tag.platform and tag.platform.endswith(MACHINES))
        )
        and _runs(tag.interpreter, tag.abi, variant)
        for tag in tags
    )


def _runs(interpreter: str, abi: str, variant: Variant) -> bool:
    """Return whether one of the variant's versions of Python runs a wheel with these tags."""
    if abi in ("abi3", "none"):
        return interpreter.startswith(("py", "cp"))
    return any(abi == f"cp{version.replace('.', '')}" for version in variant.python)


if __name__ == "__main__":
    main(sys.argv[1:])
