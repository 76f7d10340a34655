"""`scripts/pages/build_site.py` reports broken references, resources of other hosts, and pages that search lacks."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def build_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The script, for a site of one page, `index.html`."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "pages"))
    build_site = importlib.import_module("build_site")
    monkeypatch.setattr(build_site, "SITE", tmp_path)
    build_site._page.cache_clear()
    yield build_site
    sys.modules.pop("build_site")


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<h2 id="a">A</h2><a href="#a">a</a><img src="data:image/png;base64,AA">', None),
        ('<a href="https://example.org/">elsewhere</a>', None),
        ('<a href="missing.html">a</a>', "is not part of the site"),
        ('<a href="#missing">a</a>', "has no such anchor"),
        ('<img src="missing.png">', "is not part of the site"),
        ('<script src="https://cdn.example.org/a.js"></script>', "from another host"),
        ('<link rel="stylesheet" href="//fonts.example.org/a.css">', "from another host"),
    ],
)
def test_reports_broken_and_remote_references(
    build_site: ModuleType, tmp_path: Path, html: str, problem: str | None
) -> None:
    page = tmp_path / "index.html"
    page.write_text(html, encoding="utf-8")
    found = build_site._problems(page)
    assert [problem in line for line in found] == ([True] if problem else [])


def test_reports_pages_that_the_search_index_lacks(build_site: ModuleType, tmp_path: Path) -> None:
    pages = [
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
    ]
    index = {"items": [{"location": f"{page}#a"} for page in pages if page != "index.html"]}
    (tmp_path / "search.json").write_text(json.dumps(index), encoding="utf-8")
    assert build_site._not_indexed() == ["index.html is missing from the search index"]
