"""Mesa's lavapipe as a graphics card with a memory of its own: see card.c."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path

import psutil

MEBIBYTE = 2**20
_LIBRARY = "libvulkan_lvp.so"
_PACKAGES = re.compile(
    r"^(?:libdrm|libelf|libexpat|libllvm|libwayland-client|libx11-xcb|libxcb|libxshmfence|libzstd|libz3|libedit|libbsd|libmd|libtinfo)"
)
"""What the driver needs beside the C and C++ libraries."""


class Card:
    """A card of so many bytes. `directory` is new."""

    def __init__(self, directory: Path, total: int) -> None:
        directory.mkdir()
        self._directory = directory
        self._shim = directory / "card.so"
        source = Path(__file__).with_name("card.c")
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", "-o", str(self._shim), str(source)], check=True, timeout=300
        )
        self._write("total", total)
        self.another_program_uses(0)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which programs have the card."""
        driver = self._directory / "lvp_icd.json"
        library, others = lavapipe(self._directory)
        description = {"library_path": str(library), "api_version": "1.4.0"}
        driver.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": description}))
        return {
            "CARD": str(self._directory),
            "LD_PRELOAD": str(self._shim),
            "VK_DRIVER_FILES": str(driver),
            # Software is no card for llama.cpp unless it is named.
            "GGML_VK_VISIBLE_DEVICES": "0",
            **({"LD_LIBRARY_PATH": str(others)} if others is not None else {}),
        }

    def another_program_uses(self, size: int) -> None:
        self._write("stranger", size)

    def another_program_will_use(self, size: int) -> None:
        """Use so many bytes as soon as a process begins to allocate."""
        self._write("ambush", size)

    def used(self) -> int:
        """Return the bytes that living processes have allocated."""
        claims = [path for path in self._directory.iterdir() if path.name.isdecimal()]
        return sum(int(path.read_text() or 0) for path in claims if psutil.pid_exists(int(path.name)))

    def _write(self, name: str, size: int) -> None:
        # In one step, since processes read it at any time.
        temporary = self._directory / f".{name}"
        temporary.write_text(str(size))
        temporary.replace(self._directory / name)


def lavapipe(directory: Path) -> tuple[Path, Path | None]:
    """Return the driver, and the folder with the libraries that it needs; None if the system has both."""
    installed = [*Path("/usr/lib").glob(f"*/{_LIBRARY}")]
    if installed:
        return installed[0], None
    root = _unpacked(directory)
    (library,) = root.glob(f"usr/lib/*/{_LIBRARY}")
    return library, library.parent


@cache
def _unpacked(directory: Path) -> Path:
    """Unpack Debian's packages below `directory`, without installing them."""
    packages, root = directory / "packages", directory / "root"
    packages.mkdir()
    command = [
        "apt-cache",
        "depends",
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
    ]
    command += ["--no-replaces", "--no-enhances", "mesa-vulkan-drivers"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    names = {line for line in listed.splitlines() if line[:1].isalpha() and _PACKAGES.match(line)}
    subprocess.run(
        ["apt-get", "download", "mesa-vulkan-drivers", *sorted(names)],
        cwd=packages,
        env={**os.environ, "LC_ALL": "C"},
        check=True,
        timeout=600,
        capture_output=True,
    )
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(root)], check=True, timeout=120)
    return root
