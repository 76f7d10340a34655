#!/usr/bin/env python3
"""Prints every string that users read, grouped by file: help texts, messages, errors, settings, the panel, webhooks, the dashboard.

    scripts/strings/strings.py            all files
    scripts/strings/strings.py sdk agent  only files below these directories

A string counts as text for users if it has several words, and is not a docstring (but for those of commands and settings), a log event, a pattern or a query. `{}` stands for a value.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ("agent", "runners", "sdk/python/aitbc", "extensions")
WEB = ("agent/coordinator/web/src", "sdk/js/src")
SETTINGS = ROOT / "agent" / "settings"
EXCLUDED = ("agent/coordinator/store", "agent/coordinator/web")
"""Directories with SQL, and with the dashboard, which is read separately."""
TEXT = re.compile(r"[A-Za-z]{2,}\S*\s+\S*[A-Za-z]")
NO_TEXT = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE|PRAGMA|CREATE|\^|\(\?)|\\d|\[A-Za-z|\.py$")


def main() -> None:
    """Print the strings."""
    within = tuple(sys.argv[1:])
    paths = [path for path in _files() if not within or str(path.relative_to(ROOT)).startswith(within)]
    web = _of_web([path for path in paths if path.suffix != ".py"])
    for path in paths:
        if found := web.get(path) or (list(_of_python(path)) if path.suffix == ".py" else []):
            print(f"\n## {path.relative_to(ROOT)}")
            for line, text in found:
                print(f"{line:5}  {' '.join(text.split())}")


def _files() -> Iterator[Path]:
    for directory in PYTHON:
        for path in sorted((ROOT / directory).rglob("*.py")):
            if not str(path.relative_to(ROOT)).startswith(EXCLUDED):
                yield path
    for directory in WEB:
        for pattern in ("*.tsx", "*.ts"):
            yield from sorted(path for path in (ROOT / directory).rglob(pattern) if path.name != "answers.ts")


def _of_python(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = set(_docstrings(tree)) - set(_of_commands(tree, path)) - set(_of_settings(tree, path))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in sorted(ast.walk(tree), key=lambda node: getattr(node, "lineno", 0)):
        if id(node) in docstrings or id(node) in inside:
            continue
        text = _text(node)
        if text is not None and TEXT.search(text) and not NO_TEXT.search(text):
            yield node.lineno, text  # type: ignore[attr-defined] # it has a text, so it has a line


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    return None


def _docstrings(tree: ast.AST) -> Iterator[int]:
    """Yield the ids of docstrings, also of those below constants and fields."""
    for node in ast.walk(tree):
        body = getattr(node, "body", ())
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                yield id(statement.value)


def _of_commands(tree: ast.AST, path: Path) -> Iterator[int]:
    """Yield the ids of docstrings that are help texts: those of public functions in the modules of commands."""
    if "commands" not in path.parts and path.name not in {"__init__.py", "application.py"}:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and ast.get_docstring(node):
            statement = node.body[0]
            if isinstance(statement, ast.Expr):
                yield id(statement.value)


def _of_settings(tree: ast.AST, path: Path) -> Iterator[int]:
    """Yield the ids of docstrings of settings, which are their descriptions."""
    if SETTINGS not in path.parents and path.name != "settings.py":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for field, below in pairwise(node.body):
                if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                    yield id(below.value)


def _of_web(paths: list[Path]) -> dict[Path, list[tuple[int, str]]]:
    """Return the strings of the dashboard by file; TypeScript's own parser finds them."""
    command = ["node", str(ROOT / "scripts/strings/web.js"), *map(str, paths)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    found: dict[Path, list[tuple[int, str]]] = {path: [] for path in paths}
    for name, line, text in json.loads(printed):
        found[Path(name)].append((line, text))
    return found


if __name__ == "__main__":
    main()
