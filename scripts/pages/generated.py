"""Writes files that are generated from the code. The pages of the reference are built, and git ignores them; with `--check`, other files are only compared."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
REFERENCE: Final = ROOT / "docs" / "reference"
NOTE: Final = "<!-- Generated from the code by `make docs`; do not edit. -->"
_PAGE: Final = re.compile(r"\bdocs/([a-z-]+/([a-z-]+)\.md)\b")


def publish(files: Mapping[Path, str]) -> int:
    """Write the files that differ from their text, or report those of them that git keeps. Return the exit status."""
    status = 0
    for path, text in files.items():
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        if "--check" in sys.argv[1:] and path.parent != REFERENCE:
            print(f"{path.relative_to(ROOT)} is out of date. Run `make docs`.")
            status = 1
        else:
            path.write_text(text, encoding="utf-8")
    return status


def linked(text: str) -> str:
    """Return the text of a reference page with `docs/FOLDER/PAGE.md` as links, named as in the site's navigation."""
    return _PAGE.sub(lambda page: f"[{_title(page[1])}]({os.path.relpath(page[1], 'reference')})", text)


def _title(page: str) -> str:
    return _titles()[page]


@cache
def _titles() -> dict[str, str]:
    navigation = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    return {page: title for title, page in re.findall(r'"([^"]+)" = "([\w/-]+\.md)"', navigation)}
