"""Selects the tests that a change needs: those whose module or fixtures import what has changed, and those of its part of the product.

Everything that puts the product together imports all of it, and so do the tests that run it. The graph of imports is cut there: such tests are
selected if they belong to the feature or to the kernel that has changed, or to a few that try the whole.

.venv/bin/python scripts/testing/changed.py [BASE]   prints them, one path a line, for the difference to BASE (default: main) and the files
                                                   that are not committed; to standard error, what it has left out
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from grimp import build_graph

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
PACKAGES: Final = tuple(PROJECT["importlinter"]["root_packages"])
TESTS: Final = (
    "tests",
    "sdk/python/tests",
    *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("extensions/*/tests")),
)

CHECKED: Final = ROOT / "tests/declarations"
"""Tests that `make check` runs."""

LOADED: Final = {
    "runners.registry": r"runners\.\w+\.request",
    "runners.host": r"runners\.\w+\.runner",
    "agent.coordinator.features.payouts.adapters.installed": r"agent\.coordinator\.features\.payouts\.adapters\..*|aitbc_\w+\.adapter",
    "agent.coordinator.installed": r"agent\.coordinator\.features\.\w+\.feature",
    "agent.coordinator.job_fields": r"agent\.coordinator\.features\.\w+\.fields",
    "agent.cli.application": r"agent\.cli\.commands\..*|runners\.host\.__main__|aitbc_ray\..*|agent\.coordinator\.features\.\w+\.(cli|commands).*",
    "agent.diagnostics": r"agent\.coordinator\.features\.\w+\.checks",
    "aitbc.cli": r"aitbc\.cli\.commands\..*",
}
"""What modules load or start by its name, as patterns of module names: the graph has no such imports. Of runners, the
coordinator uses the requests; what they compute matters to those who run them."""

PRELOADED: Final = ROOT / "tests/support/workers/forking.py"
"""It names modules for speed alone."""

ASSEMBLY: Final = frozenset(
    {
        "agent.cli", "agent.cli.__main__", "agent.cli.application", "agent.coordinator.app", "agent.coordinator.background", "agent.coordinator.installed",
        "agent.coordinator.job_fields", "agent.coordinator.features.reference.routes.document", "agent.coordinator.routes", "runners.host", "runners.registry",
        "support.agents", "support.server",
    }
)  # fmt: skip
"""What puts the product together, or runs all of it. A change of one of these needs the tests that import it."""

WHOLE: Final = ("tests/contract/jobs/test_conformance.py",)
"""They try the whole, after a change of any of its parts."""

KERNEL: Final = ("tests/unit/core", "tests/unit/coordinator", "tests/unit/protocol", "tests/contract")
PARTS: Final = {
    r"agent\.coordinator\.features\.(\w+)(\..*)?": (r"tests/features/\1",),
    r"agent\.(coordinator(?!\.features)|core|protocol)(\..*)?": KERNEL,
    r"runners\.(\w+)(\..*)?": (r"tests/unit/runners/\1",),
}
"""The tests of a part, by a pattern of the names of its modules."""

PROGRAMS: Final = {'"aitbc-agent"': "agent.cli", '"aitbc"': "aitbc.cli.__main__"}
"""What the text of a test that starts one of our programs contains, and the module of that program."""

NEEDED: Final = {
    "pyproject.toml": TESTS, "tests/conftest.py": TESTS, "scripts/setup": TESTS, "scripts/test": (),
    "agent/coordinator/web/": ("tests/web", "tests/features/browser/test_dashboard.py"),
    "sdk/js/": ("tests/acceptance/one_agent/test_javascript_sdk.py", "tests/acceptance/one_agent/test_javascript_browser.py"),
    "configs/": ("tests/unit/test_deployment.py",),
    "systemd/": ("tests/unit/test_deployment.py",),
}  # fmt: skip
"""Tests by the beginning of a path that no module imports. Other such files need the tests that mention their name; without any, all tests, but
for pages, which `make check` tests."""


def main(base: str) -> None:
    """Print the selection."""
    tests = {path for path in _texts() if path.name.startswith("test_") and not path.is_relative_to(CHECKED)}
    selected = select(_changed(base)) & tests
    for path in sorted(selected):
        print(path.relative_to(ROOT))
    omitted = Counter(str(path.parent.relative_to(ROOT)) for path in tests - selected)
    print(f"{len(selected)} of {len(tests)} test files; left out:", file=sys.stderr)
    for folder, count in sorted(omitted.items()):
        print(f"  {folder} ({count})", file=sys.stderr)


def select(changed: Iterable[str]) -> set[Path]:
    """Return the test files that a change of these paths, relative to the repository, needs."""
    texts, importers = _texts(), _importers()
    selected: set[Path] = set()
    for path in changed:
        if path.endswith(".py") and path.startswith((*PACKAGES, "sdk/python/", "extensions/", *TESTS)):
            module = _name(ROOT / path)
            selected |= _dependent(module, importers) | _of_part(module)
            if not path.endswith("conftest.py"):
                continue
        rules = [tests for beginning, tests in NEEDED.items() if path.startswith(beginning)]
        if rules:
            selected |= _within(rules[0])
        elif not path.endswith(".py") or path.startswith(("scripts/", "benchmarks/")):
            name = re.escape(Path(path).name)
            if path.endswith(".py"):
                name = rf"[\"/]{Path(path).stem}(\.py)?\"|^(import|from) {Path(path).stem}\b"
            mentions = [test for test, text in texts.items() if re.search(name, text, re.MULTILINE)]
            for test in mentions or ([] if path.endswith(".md") else texts):
                selected |= _dependent(_name(test), importers)
    return selected


def _changed(base: str) -> list[str]:
    """Return the paths of files that differ from where the work has left `base`."""
    origin = _git("merge-base", base, "HEAD").strip()
    return [
        *_git("diff", "--name-only", origin).splitlines(),
        *_git("ls-files", "-o", "--exclude-standard").splitlines(),
    ]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@functools.cache
def _texts() -> dict[Path, str]:
    """Return the content of all Python files of the tests."""
    return {
        path: path.read_text(encoding="utf-8") for folder in TESTS for path in (ROOT / folder).rglob("*.py")
    }


def _name(path: Path) -> str:
    """Return the name under which modules of the packages and of the tests' supports are imported; test modules have their path."""
    relative = path.relative_to(ROOT).with_suffix("").as_posix()
    relative = re.sub(r"^(sdk/python|extensions/\w+)/(?=aitbc)", "", relative)
    return relative.removesuffix("/__init__").removeprefix("tests/").replace("/", ".")


@functools.cache
def _importers() -> dict[str, set[str]]:
    """Return the modules that import a module, tests included."""
    graph = build_graph(*PACKAGES, cache_dir=str(ROOT / ".import_linter_cache"))
    texts = _texts()
    modules = graph.modules | {_name(path) for path in texts}
    importers: dict[str, set[str]] = {module: set() for module in modules}
    for module in graph.modules:
        importers[module] |= graph.find_modules_that_directly_import(module)
    for module, pattern in LOADED.items():
        for loaded in graph.modules:
            if re.fullmatch(pattern, loaded):
                importers[loaded].add(module)
    for path, text in texts.items():
        for imported in _mentioned(path, text, modules):
            importers[imported].add(_name(path))
    return importers


def _mentioned(path: Path, text: str, modules: set[str]) -> Iterator[str]:
    """Yield the modules that a file of the tests imports, starts or names in a string, and the fixtures of its folders."""
    for folder in path.parents:
        conftest = folder / "conftest.py"
        if folder.is_relative_to(ROOT) and conftest.exists() and conftest != path:
            yield _name(conftest)
    yield from (module for words, module in PROGRAMS.items() if words in text)
    names: set[str] = set() if path == PRELOADED else set(re.findall(r"\b\w+(?:\.\w+)+", text))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = _name(path).rsplit(".", node.level)[0] if node.level else ""
            package = ".".join(part for part in (start, node.module) if part)
            names |= {package, *(f"{package}.{alias.name}" for alias in node.names)}
    for name in names:
        module = name
        while module and module not in modules:
            module = module.rpartition(".")[0]
        yield from {module, f"{module}.__main__"} & modules


def _dependent(module: str, importers: Mapping[str, set[str]]) -> set[Path]:
    """Return the test files that depend on a module. One that has been deleted still has importers by its package."""
    while module and module not in importers:
        module = module.rpartition(".")[0]
    seen, queue = {module}, deque([module])
    while queue:
        for importer in importers.get(queue.popleft(), ()):
            if importer not in seen:
                seen.add(importer)
                if importer not in ASSEMBLY:
                    queue.append(importer)
    tests = {path for path in _texts() if _name(path) in seen}
    return tests | _within(WHOLE) if seen & ASSEMBLY else tests


def _of_part(module: str) -> set[Path]:
    """Return the tests of the part of the product that a module belongs to."""
    return {
        test
        for pattern, folders in PARTS.items()
        if (match := re.fullmatch(pattern, module))
        for test in _within(match.expand(folder) for folder in folders)
    }


def _within(folders: Iterable[str]) -> set[Path]:
    return {test for folder in folders for test in _texts() if test.is_relative_to(ROOT / folder)}


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "main")
