"""Builds the documentation site strictly into build/site, and checks what the generator does not.

A warning of the generator fails the build. So does a page that refers to a missing file or anchor, that loads
something from another host, or that the search index lacks.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

ROOT: Final = Path(__file__).parents[2]
SITE: Final = ROOT / "build" / "site"
COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
LOADED: Final = frozenset({"script", "link", "img", "source", "iframe"})
"""Elements whose address the browser loads without a click."""


class _Page(HTMLParser):
    """The ids of a page and the addresses that it refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids = {"", "__top"}
        self.addresses: list[tuple[str, str]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name in {"href", "src"} and value:
                self.addresses.append((tag, value))


def main() -> int:
    """Return the exit status."""
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--clean", "--strict"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        warnings = COLOUR.sub("", built.stdout)
        print(warnings if "Warning" in warnings else warnings + built.stderr)
        return 1
    problems = [
        problem
        for path in sorted(SITE.rglob("*.html"))
        if path.name != "404.html"
        for problem in _problems(path)
    ]
    problems += _not_indexed()
    for problem in problems:
        print(f"docs: {problem}")
    return 1 if problems else 0


@cache
def _page(path: Path) -> _Page:
    return _Page(path)


def _problems(path: Path) -> list[str]:
    name = path.relative_to(SITE)
    found = []
    for tag, address in _page(path).addresses:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            if tag in LOADED and parts.scheme != "data":
                found.append(f"{name} loads {address} from another host")
            continue
        target = path.parent / unquote(parts.path) if parts.path else path
        if not target.is_file():
            found.append(f"{name} refers to {address}, which is not part of the site")
        elif target.suffix == ".html" and unquote(parts.fragment) not in _page(target.resolve()).ids:
            found.append(f"{name} refers to {address}, but that page has no such anchor")
    return found


def _not_indexed() -> list[str]:
    index = json.loads((SITE / "search.json").read_text(encoding="utf-8"))
    indexed = {item["location"].partition("#")[0] for item in index["items"]}
    pages = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
    }
    return [f"{page} is missing from the search index" for page in sorted(pages - indexed)]


if __name__ == "__main__":
    sys.exit(main())
