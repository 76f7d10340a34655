"""Pages link to files, and name them: all of them exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("agent", "benchmarks", "runners", "scripts", "sdk", "tests")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "sdk/*/README.md", "tests/vectors/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"(?<![\w.-])((?:[\w.-]+/)+\w+\.(?:py|tsx?))\b")
SOURCES = {
    path.relative_to(ROOT).as_posix()
    for folder in CODE
    for pattern in ("*.py", "*.ts", "*.tsx")
    for path in (ROOT / folder).rglob(pattern)
    if "node_modules" not in path.parts
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_links_to_what_exists(page: Path) -> None:
    targets = (link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8")))
    local = {
        target for target in targets if target and "://" not in target and not target.startswith("mailto:")
    }
    assert not {target for target in local if not (page.parent / target).exists()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_files_of_the_code_that_exist(page: Path) -> None:
    """A path may leave out where it begins: `store/jobs.py`."""
    named = {name.lstrip("./") for name in NAMED.findall(page.read_text(encoding="utf-8"))}
    assert not {
        name for name in named if not any(path == name or path.endswith(f"/{name}") for path in SOURCES)
    }
