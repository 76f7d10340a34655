"""Writes files that are generated from the code, or with `--check` reports those that are out of date."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
REFERENCE: Final = ROOT / "docs" / "reference"
NOTE: Final = "<!-- Generated from the code by `make docs`; do not edit. -->"
_PAGE: Final = re.compile(r"\bdocs/([a-z-]+/([a-z-]+)\.md)\b")


def publish(files: Mapping[Path, str]) -> int:
    """Write the files that differ from their text, or only report them. Return the exit status."""
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date. Run `make docs`.")
        return 1 if stale else 0
    for path in stale:
        path.write_text(files[path], encoding="utf-8")
    return 0


def linked(text: str) -> str:
    """Return the text of a reference page with `docs/FOLDER/PAGE.md` as links."""
    return _PAGE.sub(lambda page: f"[{_title(page[1])}]({os.path.relpath(page[1], 'reference')})", text)


def _title(page: str) -> str:
    first = (ROOT / "docs" / page).read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("# ")
