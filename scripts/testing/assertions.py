"""Counts the assertions of the tests, so that a merge of tests can show that it lost none.

python scripts/testing/assertions.py            by folder, of the working tree
python scripts/testing/assertions.py REVISION   of a revision, without checking it out
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("tests", "sdk/python/tests", "extensions")
EXPECTATIONS: Final = frozenset({"raises", "warns", "fail"})
"""Functions of pytest that assert."""


def assertions(text: str) -> int:
    """Return how many assertions a module states: `assert` statements, and calls of `pytest.raises`, `warns` and `fail`."""
    return sum(
        isinstance(node, ast.Assert)
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in EXPECTATIONS
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "pytest"
        )
        for node in ast.walk(ast.parse(text))
    )


def main(revision: str | None) -> None:
    """Print the numbers."""
    counts: Counter[str] = Counter()
    for path in _paths(revision):
        text = _git("show", f"{revision}:{path}") if revision else (ROOT / path).read_text(encoding="utf-8")
        counts["/".join(path.split("/")[:2])] += assertions(text)
    for folder, count in sorted(counts.items()):
        print(f"{count:6}  {folder}")
    print(f"{counts.total():6}  in all")


def _paths(revision: str | None) -> list[str]:
    listed = (
        ("ls-tree", "-r", "--name-only", revision) if revision else ("ls-files", "-co", "--exclude-standard")
    )
    return [
        path
        for path in _git(*listed, *FOLDERS).splitlines()
        if path.endswith(".py") and (revision or (ROOT / path).is_file())
    ]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
