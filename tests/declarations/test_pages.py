"""Pages link to files and name files, and the code names pages: all of them exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from support.guides.blocks import blocks_of

ROOT = Path(__file__).parents[2]
CODE = ("agent", "benchmarks", "extensions", "runners", "scripts", "sdk", "tests")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "sdk/*/README.md", "tests/vectors/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"(?<![\w.-])((?:[\w.-]+/)+\w+\.(?:py|tsx?))\b")
NAMED_PAGE = re.compile(r"(?<![\w/.-])docs/[\w/-]+\.md\b")
SOURCES = {
    path.relative_to(ROOT).as_posix()
    for folder in CODE
    for pattern in ("*.py", "*.ts", "*.tsx")
    for path in (ROOT / folder).rglob(pattern)
    if "node_modules" not in path.parts
}
README_WORDS = 600
FROM_A_REGISTRY = re.compile(r"(?:pip|pipx|uv tool) install (?:--\S+ )*[\"']?aitbc.*|npm install @aitbc/.*")


def local_links(page: Path) -> set[str]:
    targets = (link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8")))
    return {
        target for target in targets if target and "://" not in target and not target.startswith("mailto:")
    }


def test_the_links_of_pages_lead_to_existing_files() -> None:
    for page in PAGES:
        assert not {target for target in local_links(page) if not (page.parent / target).exists()}, page


def test_pages_name_existing_source_files() -> None:
    """A path may omit its beginning: `store/jobs.py`."""
    for page in PAGES:
        named = {name.lstrip("./") for name in NAMED.findall(page.read_text(encoding="utf-8"))}
        assert not {
            name for name in named if not any(path == name or path.endswith(f"/{name}") for path in SOURCES)
        }, page


def test_blocks_that_install_the_projects_packages_name_the_test_that_installs_them() -> None:
    """A block that runs as it stands would install the version that a registry happens to have."""
    for page in PAGES:
        commands = "\n".join(block.text for block in blocks_of(page) if block.run_by is None)
        assert not FROM_A_REGISTRY.findall(commands), page


def test_pages_of_the_site_link_only_to_files_of_the_site() -> None:
    site = ROOT / "docs"
    outside = {
        (page.relative_to(ROOT).as_posix(), target)
        for page in site.rglob("*.md")
        for target in local_links(page)
        if not (page.parent / target).resolve().is_relative_to(site)
    }
    assert outside == set()


def test_the_code_names_existing_pages() -> None:
    listed = subprocess.run(
        ["git", "grep", "-nIE", r"docs/[a-z/-]+\.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = listed.stdout.splitlines()
    assert len(lines) > 50
    missing = [line for line in lines for name in NAMED_PAGE.findall(line) if not (ROOT / name).is_file()]
    assert missing == []


def test_the_navigation_lists_every_page_once() -> None:
    listed = re.findall(r'= "([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))
    site = ROOT / "docs"
    assert sorted(listed) == sorted(page.relative_to(site).as_posix() for page in site.rglob("*.md"))


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= README_WORDS
