"""Writes the lock files of engines: all packages of an environment, in exact versions, with the SHA-256 of their wheels.

.venv/bin/python scripts/engine_locks.py            locks all engines of configs/engines.toml
.venv/bin/python scripts/engine_locks.py NAME...    locks these
.venv/bin/python scripts/engine_locks.py --file PATH [NAME...]   locks the engines of an owner's engines.toml

The versions come from the package index that pip or uv is configured for, which is not written down: a lock file is valid for every
index that has the same wheels. The index of a variant is used as in an installation.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

from uv import find_uv_bin

from agent.configuration import configuration_directory
from agent.miner.engines.catalogue import FILE_NAME, Engine, Variant, find_engine, parse_engines
from agent.miner.engines.uv import environment

OPTIONS: Final = (
    "--generate-hashes", "--only-binary=:all:", "--no-header", "--no-annotate", "--no-emit-index-url",
    "--no-emit-find-links", "--no-sources", "--quiet",
)  # fmt: skip


def main(words: list[str]) -> None:
    """Write the lock files of the named engines, or of all."""
    parser = argparse.ArgumentParser(description="Write the lock files of engines.")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--file", type=Path, default=configuration_directory() / FILE_NAME)
    arguments = parser.parse_args(words)
    document = tomllib.loads(arguments.file.read_text(encoding="utf-8"))
    shipped = tomllib.loads((configuration_directory() / FILE_NAME).read_text(encoding="utf-8"))
    engines = parse_engines(document, arguments.file)
    chosen = [find_engine(engines, name) for name in arguments.names] or list(engines.values())
    for engine in chosen:
        for variant in engine.variants.values():
            _write(engine, variant, shipped["host"])


def _write(engine: Engine, variant: Variant, host: list[str]) -> None:
    """Lock one variant. A lock file for several versions of Python has conditions for them."""
    several = ("--universal",) if len(variant.python) > 1 else ()
    excluded = [word for name in variant.exclude for word in ("--no-emit-package", name)]
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text("\n".join([*variant.packages, *host]) + "\n", encoding="utf-8")
        locked = Path(folder, "locked.txt")
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
        packages = locked.read_text(encoding="utf-8")
    if "://" in packages:
        sys.exit(f"The lock file of {engine.name} would name an index or a URL; it must not.")
    variant.lock.parent.mkdir(exist_ok=True)
    heading = f"# {engine.name}, {variant.name}: written by scripts/engine_locks.py from {FILE_NAME}. Do not edit it."
    variant.lock.write_text(f"{heading}\n{packages}", encoding="utf-8")
    print(f"{variant.lock}: {packages.count('==')} packages")


if __name__ == "__main__":
    main(sys.argv[1:])
