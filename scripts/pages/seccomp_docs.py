"""Writes configs/seccomp.json from the one definition of the allowed system calls, runners/sandbox/seccomp.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from runners.sandbox.seccomp import container_profile

FILE = Path(__file__).resolve().parents[2] / "configs" / "seccomp.json"


def main() -> None:
    """Write the file; with --check only say whether it is what the code gives."""
    wanted = json.dumps(container_profile(), indent=2) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(wanted, encoding="utf-8")
    elif not FILE.is_file() or FILE.read_text(encoding="utf-8") != wanted:
        sys.exit(f"{FILE.name} is not what the code gives; run: make docs")


if __name__ == "__main__":
    main()
